//! One fleet of one pool, of which something dies again and again.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pool_core::digest::Sha256;
use serde_json::Value;

use crate::fleet::orchestrator::{at, free, is_ready};
use crate::fleet::{Desk, recorded_pid, tiny};
use crate::sshd::Sshd;

/// What dies.
#[derive(Debug, Clone, Copy)]
pub enum Victim {
    Rbee,
    Hive,
    Session,
    Orchestrator,
    /// The pool starts again: no process of it is left, and it has another boot id.
    Pool,
}

/// One fleet of one pool, of which something dies again and again.
pub struct Place {
    pub desk: Desk,
    /// None for the local pool.
    server: Option<Sshd>,
    /// Where the orchestrator listens.
    listen: SocketAddr,
    /// How often the fleet file was changed.
    pub edits: u64,
    /// The fleet's token, once there is one.
    token: Option<Value>,
}

impl Place {
    pub fn new(remote: bool) -> Self {
        let desk = Desk::new();
        let server = remote.then(|| desk.lab.sshd("one"));
        fs::create_dir(desk.path("model")).unwrap();
        for entry in fs::read_dir(tiny()).unwrap() {
            let entry = entry.unwrap();
            let to = desk.path("model").join(entry.file_name());
            fs::copy(entry.path(), to).unwrap();
        }
        Self {
            desk,
            server,
            listen: free(),
            edits: 0,
            token: None,
        }
    }

    pub fn home(&self) -> PathBuf {
        let home = self.server.as_ref().map(|server| server.home().to_owned());
        home.unwrap_or_else(|| self.desk.home())
    }

    /// Asks for something that was not there before: other slots, other content of the model, or everything anew.
    pub fn edit(&mut self) {
        self.edits += 1;
        let edits = self.edits;
        if edits.is_multiple_of(3) {
            let settings = self.desk.path("model/generation_config.json");
            fs::write(settings, format!("{{}}{}", " ".repeat(edits as usize))).unwrap();
        }
        if edits.is_multiple_of(8) {
            self.desk.rbee(&["destroy", "--yes"]).exits(0);
            fs::remove_dir_all(self.home()).unwrap();
            self.token = None;
        }
        let connect = if self.server.is_some() {
            "ssh://one"
        } else {
            "local"
        };
        // A second worker comes and goes.
        let second = if edits.is_multiple_of(2) {
            "  more: { model: tiny, on: [one/cpu] }\n"
        } else {
            ""
        };
        // So does the orchestrator, and is another each time.
        let queue = format!(", queue: {edits}");
        let orchestrator = if self.has_orchestrator() {
            at("one", self.listen, &queue)
        } else {
            String::new()
        };
        self.desk.write(&format!(
            "version: 1\nfleet: test\n{orchestrator}pools:\n  one: {{ connect: {connect}, devices: [cpu] }}\n\
             models:\n  tiny: {{ source: ./model }}\n\
             workers:\n  chat: {{ model: tiny, on: [one/cpu], slots: {} }}\n{second}",
            1 + edits % 5
        ));
    }

    fn has_orchestrator(&self) -> bool {
        !self.edits.is_multiple_of(5)
    }

    pub fn apply(&self) -> Child {
        let mut command = self.desk.command(&["apply", "--yes", "--prune-models"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    pub fn strike(&self, victim: Victim, rbee: &mut Child) {
        match victim {
            Victim::Rbee => rbee.kill().unwrap(),
            Victim::Hive => kill(&self.processes("rbee-hive")),
            Victim::Session => {
                if let Some(server) = &self.server {
                    server.sever();
                }
            }
            Victim::Orchestrator => kill(&self.processes("orchestratord")),
            Victim::Pool => {
                self.strike(Victim::Session, rbee);
                // Twice: one of them may just have started another.
                for _ in 0..2 {
                    kill(&self.processes("rbee-hive"));
                    kill(&self.processes("llm-worker-rbee"));
                    kill(&self.processes("orchestratord"));
                }
                self.boot();
            }
        }
    }

    /// To a machine that was started again, all that is recorded is of another boot.
    fn boot(&self) {
        for record in [self.records(), self.orchestrators()].concat() {
            // Of a hive that ended just now.
            let Ok(text) = fs::read_to_string(&record) else {
                continue;
            };
            let mut value: Value = serde_json::from_str(&text).unwrap();
            if value["process"].is_object() {
                value["process"]["boot_id"] = "an-earlier-boot".into();
                fs::write(&record, value.to_string()).unwrap();
            }
        }
    }

    /// The files that record a worker each.
    fn records(&self) -> Vec<PathBuf> {
        records(&self.home().join("workers"))
    }

    /// The files that record an orchestrator each.
    fn orchestrators(&self) -> Vec<PathBuf> {
        records(&self.home().join("orchestrators"))
    }

    pub fn processes(&self, program: &str) -> Vec<u32> {
        processes(&self.home(), program)
    }

    /// What is wanted is there once, and nothing besides.
    pub fn check(&mut self, what: &str) {
        self.desk
            .rbee(&["plan", "--detailed-exitcode", "--prune-models"])
            .exits(0);
        let running: BTreeSet<u32> = self.processes("llm-worker-rbee").into_iter().collect();
        let records = self.records();
        let recorded: BTreeSet<u32> = records.iter().filter_map(|r| recorded_pid(r)).collect();
        assert_eq!(running, recorded, "{what}: a worker without a record");
        let wanted = 1 + usize::from(self.edits.is_multiple_of(2));
        assert_eq!(running.len(), wanted, "{what}");
        let addresses: BTreeSet<String> = records
            .iter()
            .map(|path| json(path)["address"].to_string())
            .collect();
        assert_eq!((addresses.len(), records.len()), (wanted, wanted), "{what}");
        for lock in ["lock", "apply.lock"] {
            let file = fs::File::open(self.home().join(lock)).unwrap();
            let deadline = Instant::now() + Duration::from_secs(5);
            // The hive of the plan before may be ending still.
            while file.try_lock_shared().is_err() {
                assert!(Instant::now() < deadline, "{what}: {lock} is held");
                std::thread::yield_now();
            }
        }
        for blob in files(&self.home().join("models/blobs")) {
            let digest = Sha256::of(fs::read(&blob).unwrap()).to_string();
            let name = blob.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(name, digest, "{what}: half a file");
        }
        assert_eq!(
            files(&self.home().join("models/incoming")),
            [] as [PathBuf; 0]
        );
        json(&self.home().join("catalog.json"));
        self.check_orchestrator(what);
    }

    /// One orchestrator at most, which has the token that the fleet always had.
    fn check_orchestrator(&mut self, what: &str) {
        let running = self.processes("orchestratord");
        let recorded: Vec<u32> = self
            .orchestrators()
            .iter()
            .filter_map(|record| recorded_pid(record))
            .collect();
        assert_eq!(
            running, recorded,
            "{what}: an orchestrator without a record"
        );
        assert_eq!(
            running.len(),
            usize::from(self.has_orchestrator()),
            "{what}"
        );
        assert_eq!(is_ready(self.listen), self.has_orchestrator(), "{what}");
        let link = link(&self.home());
        let url = self
            .has_orchestrator()
            .then(|| format!("http://{}", self.listen));
        assert_eq!(link["orchestrator"].as_str(), url.as_deref(), "{what}");
        let token = &link["token"];
        let before = self.token.get_or_insert_with(|| token.clone());
        assert_eq!(token, before, "{what}: another token");
        if self.has_orchestrator() {
            let answer = asks(self.listen, token.as_str().unwrap());
            assert!(answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
        }
    }
}

/// The link of the fleet, as its workers read it.
pub fn link(home: &Path) -> Value {
    let path = home.join("fleets/test.json");
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    json(&path)
}

/// What an orchestrator answers to whoever has this token.
pub fn asks(listen: SocketAddr, token: &str) -> String {
    let mut stream = TcpStream::connect(listen).unwrap();
    let head = format!("host: x\r\nconnection: close\r\nauthorization: Bearer {token}");
    write!(stream, "GET /v2/workers HTTP/1.1\r\n{head}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The records of a folder. What a killed writer left beside them is none.
fn records(folder: &Path) -> Vec<PathBuf> {
    let mut files = files(folder);
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "json")
    });
    files
}

/// The processes that run a program of a pool.
pub fn processes(home: &Path, program: &str) -> Vec<u32> {
    let Ok(bin) = home.join("bin").canonicalize() else {
        return Vec::new();
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let exe = fs::read_link(format!("/proc/{pid}/exe"));
            exe.is_ok_and(|exe| exe.starts_with(&bin) && exe.ends_with(program))
        })
        .collect()
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

pub fn kill(pids: &[u32]) {
    let pids = pids.iter().map(ToString::to_string);
    let mut kill = Command::new("kill");
    // One may have ended meanwhile.
    kill.arg("-9").args(pids).stderr(Stdio::null());
    kill.status().unwrap();
}
