//! The peer: llama.cpp, built for this machine from the sources inside a Python package.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::python::Python;

const PACKAGE: &str = "llama-cpp-python";
const VERSION: &str = "0.3.36";
const TARGETS: [&str; 3] = ["llama-bench", "llama-batched-bench", "llama-quantize"];

/// What cmake is told. Debian's GCC 12 miscompiles the AMX path, so the peer is built without it everywhere.
const OPTIONS: [&str; 10] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DGGML_AMX_INT8=OFF",
    "-DGGML_AMX_TILE=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_UI=OFF",
];

/// Built programs of llama.cpp.
#[derive(Debug)]
pub struct Peer {
    programs: PathBuf,
    /// What was built, with which compiler.
    pub version: String,
}

impl Peer {
    /// The programs under `dir`, downloaded and built when they are not there.
    ///
    /// # Errors
    /// What is missing on this machine: Python, a compiler, the network.
    pub fn install(dir: &Path) -> anyhow::Result<Self> {
        let peer = Self {
            programs: dir.join("build").join("bin"),
            version: format!(
                "llama.cpp of {PACKAGE} {VERSION}, {}, without AMX",
                compiler()?
            ),
        };
        if TARGETS.iter().all(|name| peer.program(name).is_file()) {
            return Ok(peer);
        }
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let install = Install::begin(dir)?;
        let sources = install.sources()?;
        install.build(&sources)?;
        match TARGETS.iter().find(|name| !peer.program(name).is_file()) {
            Some(name) => bail!("the build of llama.cpp made no {name}"),
            None => Ok(peer),
        }
    }

    /// Where one of its programs is.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

/// The C++ compiler of this machine, in its own words.
fn compiler() -> anyhow::Result<String> {
    let name = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let output = Command::new(&name).arg("--version").output();
    let output = output.with_context(|| {
        format!(
            "no C++ compiler: {} does not start",
            Path::new(&name).display()
        )
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or("C++ compiler").to_owned())
}

struct Install<'a> {
    dir: &'a Path,
    python: Python<'a>,
}

impl<'a> Install<'a> {
    fn begin(dir: &'a Path) -> anyhow::Result<Self> {
        let python = Python::begin(dir)?;
        let mut pip = Command::new(python.tool("pip"));
        pip.args(["install", "--quiet", "cmake", "ninja"]);
        python.step("installing cmake and ninja", &mut pip)?;
        Ok(Self { dir, python })
    }

    /// The folder of llama.cpp's sources, downloaded when it is not there.
    fn sources(&self) -> anyhow::Result<PathBuf> {
        let package = format!("{}-{VERSION}", PACKAGE.replace('-', "_"));
        let sources = self.dir.join(&package).join("vendor").join("llama.cpp");
        if sources.join("CMakeLists.txt").is_file() {
            return Ok(sources);
        }
        let mut download = Command::new(self.python.tool("pip"));
        download.args([
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            PACKAGE,
            "--dest",
        ]);
        download.arg(self.dir).arg(format!("{PACKAGE}=={VERSION}"));
        self.python
            .step("downloading llama.cpp's sources", &mut download)?;
        let mut unpack = Command::new(self.python.tool("python"));
        unpack.args(["-m", "tarfile", "--extract"]);
        unpack.arg(self.dir.join(format!("{package}.tar.gz")));
        unpack.arg(self.dir);
        self.python.step("unpacking them", &mut unpack)?;
        if !sources.join("CMakeLists.txt").is_file() {
            bail!("{PACKAGE} {VERSION} holds no vendor/llama.cpp");
        }
        Ok(sources)
    }

    fn build(&self, sources: &Path) -> anyhow::Result<()> {
        let build = self.dir.join("build");
        let mut configure = Command::new(self.python.tool("cmake"));
        configure.arg("-S").arg(sources).arg("-B").arg(&build);
        configure.args(["-G", "Ninja"]).args(OPTIONS);
        configure.arg(format!(
            "-DCMAKE_MAKE_PROGRAM={}",
            self.python.tool("ninja").display()
        ));
        self.python.step("configuring llama.cpp", &mut configure)?;
        let mut compile = Command::new(self.python.tool("cmake"));
        compile.arg("--build").arg(&build).arg("--target");
        self.python.step(
            "compiling llama.cpp, which takes minutes",
            compile.args(TARGETS),
        )
    }
}
