//! Repository chores: `cargo xtask demo | test | bench | build | man | dist`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::Parser;

#[cfg(test)]
mod architecture;
mod bench;
mod cuda;
mod demo;
mod dist;
mod man;
mod test;

/// Repository chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version = env!("CARGO_PKG_VERSION"))]
enum Cli {
    /// Build, apply the shipped fleet.yaml on this machine, ask its model something, and leave nothing behind
    Demo {
        /// Use the optimised build
        #[arg(long)]
        release: bool,
    },
    /// Measure
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Format, lint, build and run every test
    Test,
    /// Build an optimised worker for the devices of this kind
    Build {
        /// For CUDA, and for the CPU; a card or a toolkit need not be here
        #[arg(long, required = true)]
        cuda: bool,
        /// And the program `speed` beside it, with which `bench gpu` measures
        #[arg(long)]
        bench: bool,
    },
    /// Write manual pages of all programs
    Man {
        /// The folder that they are put into
        #[arg(long, value_name = "DIR", default_value = "target/man")]
        out: PathBuf,
    },
    /// Build optimised binaries into dist/TRIPLE/
    Dist {
        /// For this target triple; its linker and Rust standard library must be installed
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
        /// With a worker for CUDA, and for the CPU
        #[arg(long)]
        cuda: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Demo { release } => demo::run(release),
        Cli::Bench(what) => bench::run(&what),
        Cli::Test => test::run(),
        Cli::Build { bench: true, .. } => bench::build_for_cuda(),
        Cli::Build { .. } => cuda::build().map(|_| ()),
        Cli::Man { out } => man::run(&out),
        Cli::Dist { target, cuda } => dist::run(target, cuda),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A line for people.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A result, on stdout.
fn print(text: &str) {
    use std::io::Write;
    let _ = write!(std::io::stdout(), "{text}");
}

/// The repository's root.
fn root() -> &'static std::path::Path {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo puts what it builds.
fn target_dir() -> anyhow::Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let target = metadata["target_directory"].as_str();
    Ok(target
        .context("cargo metadata names no target folder")?
        .into())
}

/// The cargo that runs this program, at the repository's root.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Shows the command, runs it and fails when it does.
fn check(command: &mut Command) -> anyhow::Result<()> {
    let program = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    let args: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    let shown = format!("{} {}", program.display(), args.join(" "));
    say(&format!("$ {shown}"));
    let status = command
        .status()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}
