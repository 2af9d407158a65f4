//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pool_core::device::Backend;
use pool_core::name::WorkerName;
use reconciler::targets::Targets;

use crate::complete;
use crate::progress::Output;
use crate::transport::Options;

/// What every exit code of [`crate::exit::Exit`] means.
const EXIT_CODES: &str = "\
Exit codes:
  0    done, or nothing to do
  1    an error; for plan, drift and status also something that is blocked or does not serve
  2    plan and drift with --detailed-exitcode: there are changes
  3    partly done
  4    a pool was unreachable; the rest was done
  5    a check or a gate failed, or a model would be down for longer than it may
  6    the saved plan is stale
  7    somebody else applies to a pool
  64   the command line is wrong
  130  interrupted";

/// Keeps a fleet of LLM workers the way fleet.yaml says.
#[derive(Debug, Parser)]
#[command(name = "rbee", version = pool_core::VERSION, propagate_version = false, max_term_width = 100, after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The fleet file [default: the nearest fleet.yaml from here upwards]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print one JSON document to stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Print one JSON object a line to stdout, as things happen
    #[arg(long, global = true, conflicts_with = "json")]
    pub json_stream: bool,
    /// Print no colours (so do `NO_COLOR` and CLICOLOR=0)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Print only data and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Tell what takes how long; twice tells everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Read this in place of ~/.ssh/config
    #[arg(long, global = true, value_name = "FILE", env = "RBEE_SSH_CONFIG")]
    pub ssh_config: Option<PathBuf>,
    /// Give up on a pool that does not answer for so many seconds
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub connect_timeout: u64,
    /// Keep no ssh connections for the next run, and use none of the last (so does `RBEE_SSH_PERSIST=0`)
    #[arg(long, global = true)]
    pub no_persist: bool,
    /// Where builds for other platforms lie, as DIR/TRIPLE/
    #[arg(long, global = true, value_name = "DIR", env = "RBEE_DIST")]
    pub dist: Option<PathBuf>,
}

impl Global {
    pub fn output(&self) -> Output {
        match (self.json, self.json_stream) {
            (true, _) => Output::Json,
            (false, true) => Output::JsonStream,
            (false, false) => Output::Text,
        }
    }

    /// How pools are reached.
    pub fn transport(&self) -> Options {
        Options {
            ssh_config: self.ssh_config.clone(),
            connect_timeout: Duration::from_secs(self.connect_timeout),
            persist: !self.no_persist
                && std::env::var_os("RBEE_SSH_PERSIST").is_none_or(|value| value != "0"),
            ..Options::default()
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a fleet.yaml to begin with
    Init(Init),
    /// Check fleet.yaml and the models' folders
    Validate,
    /// Print the JSON Schema of fleet.yaml, or of what --json and --json-stream print
    Schema {
        #[arg(value_enum, default_value_t)]
        of: SchemaOf,
    },
    /// Look up the models of the hub and write what they are to fleet.lock
    Lock(Lock),
    /// Show what apply would do
    Plan(Plan),
    /// Bring the pools to what fleet.yaml says
    Apply(Apply),
    /// Show a plan that `plan --out` saved
    Show(Show),
    /// Show where the pools differ from fleet.yaml
    Drift(Drift),
    /// Show the pools, their models and workers
    Status,
    /// Stop the fleet's workers and remove its models
    Destroy(Destroy),
    /// Follow fleet.yaml and the pools
    Watch(Watch),
    /// Take what people started on a pool, or what another program serves, into fleet.yaml
    Import(Import),
    /// Ask a worker something
    Infer(Infer),
    /// Ask the workers what the checks of fleet.yaml ask, and tell what works where
    Test(Test),
    /// Run a command of rbee-hive on a pool
    #[command(disable_help_flag = true)]
    Pool(Pool),
    /// Print the script that lets a shell complete commands, flags, and names of fleet.yaml
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Args)]
pub struct Init {
    /// Name of the fleet [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    pub fleet: Option<String>,
    /// Name of the pool that is this machine [default: its host name]
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
}

#[derive(Debug, Args)]
pub struct Lock {
    /// Take what this model is now; may be given more than once
    #[arg(long, value_name = "MODEL", add = complete::hub_models())]
    pub update: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pub run: Run,
    #[command(flatten)]
    pub part: Part,
    /// Exit with 2 when there are changes
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Print it as the comment of a pull request
    #[arg(long, conflicts_with_all = ["json", "json_stream"])]
    pub markdown: bool,
    /// Remove the files of models that the fleet no longer uses
    #[arg(long)]
    pub prune_models: bool,
    /// Save the plan, for `rbee apply FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Apply {
    /// A plan that `rbee plan --out` saved; it is carried out without a question
    #[arg(value_name = "PLANFILE", conflicts_with_all = ["prune_models", "allow_empty", "locked", "pools", "models", "workers"])]
    pub plan: Option<PathBuf>,
    #[command(flatten)]
    pub run: Run,
    #[command(flatten)]
    pub part: Part,
    #[command(flatten)]
    pub lock: LockTimeout,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Actions under way at the same time
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = parallelism)]
    pub parallelism: usize,
    /// Remove the files of models that the fleet no longer uses
    #[arg(long)]
    pub prune_models: bool,
    /// Go on though the fleet file names no worker
    #[arg(long)]
    pub allow_empty: bool,
}

/// How long to wait for somebody else.
#[derive(Debug, Clone, Copy, Args)]
pub struct LockTimeout {
    /// Wait so long for pools that somebody else applies to
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=86_400))]
    lock_timeout: u64,
}

impl LockTimeout {
    pub fn patience(self) -> Duration {
        Duration::from_secs(self.lock_timeout)
    }
}

/// What plan and apply have alike.
#[derive(Debug, Args)]
pub struct Run {
    /// Refuse a plan that downloads more from the hub, such as 10GB or 500MiB
    #[arg(long, value_name = "SIZE", value_parser = pool_core::units::parse_bytes)]
    pub max_download: Option<u64>,
    /// Fail when a model of the hub is not in the lock file, instead of looking it up
    #[arg(long)]
    pub locked: bool,
}

/// The part of the fleet that is asked for.
#[derive(Debug, Args)]
pub struct Part {
    /// Only what is done on these pools, and what that needs; may be given more than once
    #[arg(long = "pool", value_name = "GLOB", add = complete::pools())]
    pub pools: Vec<String>,
    /// Only what is done for these models, and what that needs; may be given more than once
    #[arg(long = "model", value_name = "GLOB", add = complete::models())]
    pub models: Vec<String>,
    /// Only what is done for these workers, by name or address, and what that needs; may be given more than once
    #[arg(long = "worker", value_name = "GLOB", add = complete::workers())]
    pub workers: Vec<String>,
}

impl Part {
    pub fn targets(&self) -> Targets {
        Targets {
            pools: self.pools.clone(),
            models: self.models.clone(),
            workers: self.workers.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub struct Destroy {
    #[command(flatten)]
    pub lock: LockTimeout,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Actions under way at the same time
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = parallelism)]
    pub parallelism: usize,
    /// Leave the models' files on the pools
    #[arg(long)]
    pub keep_models: bool,
}

#[derive(Debug, Args)]
pub struct Import {
    /// The models and workers, by id or the start of it [default: all that belong to no fleet]; with --from, the
    /// folder or file to be read
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Write what this program is configured to serve here into fleet.yaml, and list what cannot be carried over
    #[arg(long, value_name = "PROGRAM", conflicts_with = "name")]
    pub from: Option<Program>,
    /// The pool; may be left out where the fleet has one, and with --from where one is this machine
    #[arg(long, value_name = "NAME", add = complete::pools())]
    pub pool: Option<String>,
    /// What the worker is called in fleet.yaml [default: as its model]
    #[arg(long, value_name = "NAME")]
    pub name: Option<WorkerName>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Whose configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Program {
    /// The folder of its models [default: `OLLAMA_MODELS`, or ~/.ollama/models]
    Ollama,
    /// Its configuration [default: config.yaml]
    LlamaSwap,
}

#[derive(Debug, Args)]
pub struct Show {
    /// The saved plan
    pub plan: PathBuf,
    /// Print it as the comment of a pull request
    #[arg(long, conflicts_with_all = ["json", "json_stream"])]
    pub markdown: bool,
}

#[derive(Debug, Args)]
pub struct Drift {
    /// Exit with 2 when anything differs
    #[arg(long)]
    pub detailed_exitcode: bool,
}

#[derive(Debug, Args)]
pub struct Watch {
    /// Bring the pools to what fleet.yaml says, and bring back workers that died
    #[arg(long)]
    pub apply: bool,
    /// Do not ask; --apply never does
    #[arg(short, long, requires = "apply")]
    pub yes: bool,
    /// How often the pools are asked, such as 90s or 5m
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = interval)]
    pub interval: Duration,
    /// Actions under way at the same time
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = parallelism)]
    pub parallelism: usize,
}

/// What a schema describes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaOf {
    #[default]
    Fleet,
    /// What `plan --json` prints
    Plan,
    /// The lines of `--json-stream`
    Stream,
    /// What `status --json` prints
    Status,
    /// What `drift --json` prints
    Drift,
    /// What `apply --json` and `destroy --json` print
    Apply,
    /// What `test --json` prints
    Test,
    /// What `--json` prints of a command that fails as a whole
    Error,
}

#[derive(Debug, Args)]
pub struct Infer {
    /// The worker: its address or a glob over addresses, or HOST:PORT
    #[arg(
        long,
        value_name = "ADDRESS",
        conflicts_with = "model",
        required_unless_present = "model",
        add = complete::workers()
    )]
    pub worker: Option<String>,
    /// A model; any worker that serves it is asked
    #[arg(long, value_name = "NAME", add = complete::models())]
    pub model: Option<String>,
    /// What to ask; - reads it from stdin
    #[arg(short, long)]
    pub prompt: String,
    /// What the model is told first
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub system: Option<String>,
    /// Send the prompt as it is, without the model's chat template
    #[arg(long)]
    pub raw: bool,
    /// Most tokens of the answer [default: what the context leaves]
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// 0 always takes the likeliest token
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temperature: f32,
    /// Choose among the likeliest tokens that together have this probability
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Choose among so many likeliest tokens; 0 for all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: u32,
    /// The same seed gives the same answer
    #[arg(long)]
    pub seed: Option<u64>,
    /// Stop at this text; may be given up to four times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Test {
    /// Only the checks with this name, or that match this glob
    #[arg(long, value_name = "GLOB")]
    pub check: Option<String>,
    /// Only the workers with this address, or that match this glob
    #[arg(long, value_name = "GLOB", add = complete::workers())]
    pub worker: Option<String>,
    /// Write the results to this page, and beside it as JSON for --stale-only
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "MODEL_SUPPORT.md")]
    pub save: Option<PathBuf>,
    /// Write the results as `JUnit`'s XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Ask only where the model, the worker's build, its settings or the check changed since it passed [implies --save]
    #[arg(long)]
    pub stale_only: bool,
    /// Ask workers on two backends for the same log-probabilities instead, such as cpu,cuda
    #[arg(long, value_name = "BACKEND,BACKEND", value_parser = backends, conflicts_with_all = ["save", "junit", "stale_only"])]
    pub compare: Option<[Backend; 2]>,
    /// With --compare, the largest mean difference that is no failure
    #[arg(
        long,
        value_name = "NATS",
        default_value_t = 0.05,
        requires = "compare"
    )]
    pub tolerance: f64,
    /// How long a worker that does not serve yet is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=3600))]
    pub wait: u64,
    #[command(flatten)]
    pub lock: LockTimeout,
    #[command(flatten)]
    pub run: Run,
}

/// Everything but `--pool NAME` goes to rbee-hive as it is.
#[derive(Debug, Args)]
pub struct Pool {
    /// `--pool NAME`, and a command of rbee-hive with its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub args: Vec<OsString>,
}

fn parallelism(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1000) => Ok(count),
        _ => Err("a number from 1 to 1000".into()),
    }
}

/// `90s`, `5m`, `1h`; a bare number is seconds.
fn interval(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    match digits.parse::<u32>().ok().map(|n| u64::from(n) * factor) {
        Some(seconds @ 1..=86400) => Ok(Duration::from_secs(seconds)),
        _ => Err("a time from 1s to 24h, such as 90s or 5m".into()),
    }
}

/// `cpu,cuda`
fn backends(text: &str) -> Result<[Backend; 2], String> {
    let backend = |name: &str| {
        let mut all = Backend::ALL.into_iter();
        all.find(|backend| backend.as_str() == name)
    };
    let pair = text.split_once(',');
    let pair = pair.and_then(|(one, other)| Some([backend(one)?, backend(other)?]));
    pair.ok_or_else(|| "two of cpu, cuda and metal, such as cpu,cuda".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_a_unit_and_bounds() {
        for (text, seconds) in [("1", 1), ("90s", 90), ("5m", 300), ("24h", 86400)] {
            assert_eq!(interval(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "0s", "25h", "5x", "s", "-1s", "1.5s", "99999999999h"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
