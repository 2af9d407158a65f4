//! A pool of its own for each test, and ways to ask it.

mod connection;
pub mod nvml;
mod programs;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use pool_core::digest::Sha256;
use pool_core::model::{CatalogEntry, Manifest, ModelFacts, ModelFile, Origin};
use pool_core::observation::{ObservedWorker, PoolObservation};
use pool_core::rpc::Request;
use pool_core::worker::{Canary, Supervise, WorkerRecord, WorkerSpec};
use serde::de::DeserializeOwned;

pub use connection::{Connection, line};
pub use programs::Worker;

/// The model that the repository brings.
pub fn tiny_llama() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models/tiny-llama")
}

/// Waits until a thing is there.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A pool with a home of its own, its path with a space in it. Whatever runs from there ends with
/// the test.
pub struct Pool {
    folder: tempfile::TempDir,
    pub home: PathBuf,
    pub hive: PathBuf,
    /// The address of the hub that its programs take for the only one.
    pub hub: Option<String>,
}

impl Pool {
    /// A pool with the real worker.
    pub fn new() -> Self {
        Self::with(Worker::Real)
    }

    pub fn with(worker: Worker) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let home = folder.path().join("a home");
        let hive = programs::install(&home.join("bin"), worker);
        Self {
            folder,
            home,
            hive,
            hub: None,
        }
    }

    /// Puts a script in the place of the orchestrator.
    pub fn script_orchestrator(&self, text: &str) {
        programs::script_orchestrator(&self.home.join("bin"), text);
    }

    /// A folder beside the home.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.hive);
        command.args(arguments).env("RBEE_HOME", &self.home);
        self.to_hub(&mut command);
        command
    }

    /// Lets a program know the pool's hub, and no token of whoever runs the test.
    pub fn to_hub(&self, command: &mut Command) {
        command
            .envs(self.hub.as_ref().map(|url| ("HF_ENDPOINT", url)))
            .env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
            .env_remove("HF_TOKEN");
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that has to succeed, and returns what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that has to fail, and returns what it said.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    pub fn workers(&self) -> Vec<ObservedWorker> {
        self.json(&["worker", "list"])
    }

    pub fn observe(&self) -> PoolObservation {
        self.json(&["status"])
    }

    /// Enters the tiny model under the name `tiny`.
    pub fn register_tiny(&self) -> CatalogEntry {
        let source = tiny_llama();
        let source = source.to_str().unwrap();
        self.json(&["models", "register", "tiny", "--source", source])
    }

    pub fn spawn_tiny(&self) -> WorkerRecord {
        self.json(&["worker", "spawn", "cpu", "--model", "tiny"])
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.command(&["rpc"]))
    }

    /// Changes a field of a worker's record behind the hive's back.
    pub fn edit_record(&self, record: &WorkerRecord, edit: impl FnOnce(&mut serde_json::Value)) {
        let path = self.home.join(format!("workers/{}.json", record.id));
        let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        edit(&mut value);
        std::fs::write(&path, serde_json::to_vec(&value).unwrap()).unwrap();
    }

    /// How many worker processes there really are, recorded or not.
    pub fn worker_processes(&self) -> usize {
        programs::running_from(&self.home.join("models")).len()
    }

    /// The contents in the store.
    pub fn blobs(&self) -> BTreeSet<String> {
        let Ok(entries) = self.home.join("models/blobs").read_dir() else {
            return BTreeSet::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for pid in programs::running_from(self.folder.path()) {
            if let Some(process) = hive::process::identify(pid) {
                let _ = hive::process::signal(&process, hive::process::Signal::KILL);
            }
        }
    }
}

/// A spec of the fleet `home` at the address `chat/blep/cpu/<ordinal>`.
pub fn spec(entry: &CatalogEntry, ordinal: u32) -> WorkerSpec {
    WorkerSpec {
        address: Some(format!("chat/blep/cpu/{ordinal}").parse().unwrap()),
        fleet: Some("home".parse().unwrap()),
        model: entry.id.clone(),
        model_digest: entry.digest,
        device: "cpu".parse().unwrap(),
        slots: 1,
        context: None,
        dtype: pool_core::weights::Dtype::Auto,
        quantize: None,
        advertise: None,
        supervise: Supervise::None,
        ephemeral: false,
    }
}

/// An entry of the fleet `home` for a made-up model with these files.
pub fn entry(id: &str, files: &[(&str, &[u8])]) -> CatalogEntry {
    let files = files
        .iter()
        .map(|(path, content)| ModelFile {
            path: path.parse().unwrap(),
            size: content.len() as u64,
            sha256: Sha256::of(content),
        })
        .collect();
    let config = r#"{"model_type":"llama","max_position_embeddings":512,"vocab_size":300}"#;
    let manifest = Manifest::new(files, ModelFacts::from_config(config).unwrap());
    let source = Origin {
        repo: "./models".into(),
        revision: None,
        files: Vec::new(),
    };
    let fleet = "home".parse().unwrap();
    CatalogEntry::new(id.parse().unwrap(), Some(fleet), source, manifest)
}

/// A `GET` in its plainest form: the status line, the headers and the body.
pub fn get(record: &WorkerRecord, path: &str) -> String {
    let mut stream = TcpStream::connect(record.listen).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The request for a worker with this canary.
pub fn spawn(spec: &WorkerSpec, canary: Canary) -> Request {
    Request::Spawn {
        spec: Box::new(spec.clone()),
        canary,
        protect: false,
    }
}
