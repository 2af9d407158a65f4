//! Whatever dies at whatever moment of an apply: the next one gets there, and nothing is left over.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pool_core::digest::Sha256;
use serde_json::Value;

use super::{Desk, recorded_pid, tiny};
use crate::sshd::Sshd;

/// What dies.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Rbee,
    Hive,
    Session,
    /// The pool starts again: no process of it is left, and it has another boot id.
    Pool,
}

/// Xorshift: the same seed gives the same moments.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// One fleet of one pool, of which something dies again and again.
struct Place {
    desk: Desk,
    /// None for the local pool.
    server: Option<Sshd>,
    /// How often the fleet file was changed.
    edits: u64,
}

impl Place {
    fn new(remote: bool) -> Self {
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
            edits: 0,
        }
    }

    fn home(&self) -> PathBuf {
        let home = self.server.as_ref().map(|server| server.home().to_owned());
        home.unwrap_or_else(|| self.desk.home())
    }

    /// Asks for something that was not there before: other slots, other content of the model, or everything anew.
    fn edit(&mut self) {
        self.edits += 1;
        let edits = self.edits;
        if edits.is_multiple_of(3) {
            let settings = self.desk.path("model/generation_config.json");
            fs::write(settings, format!("{{}}{}", " ".repeat(edits as usize))).unwrap();
        }
        if edits.is_multiple_of(8) {
            self.desk.rbee(&["destroy", "--yes"]).exits(0);
            fs::remove_dir_all(self.home()).unwrap();
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
        self.desk.write(&format!(
            "version: 1\nfleet: test\npools:\n  one: {{ connect: {connect}, devices: [cpu] }}\n\
             models:\n  tiny: {{ source: ./model }}\n\
             workers:\n  chat: {{ model: tiny, on: [one/cpu], slots: {} }}\n{second}",
            1 + edits % 5
        ));
    }

    fn apply(&self) -> Child {
        let mut command = self.desk.command(&["apply", "--yes", "--prune-models"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn strike(&self, victim: Victim, rbee: &mut Child) {
        match victim {
            Victim::Rbee => rbee.kill().unwrap(),
            Victim::Hive => kill(&self.processes("rbee-hive")),
            Victim::Session => {
                if let Some(server) = &self.server {
                    server.sever();
                }
            }
            Victim::Pool => {
                self.strike(Victim::Session, rbee);
                // Twice: one of them may just have started another.
                for _ in 0..2 {
                    kill(&self.processes("rbee-hive"));
                    kill(&self.processes("llm-worker-rbee"));
                }
                self.boot();
            }
        }
    }

    /// To a machine that was started again, all that is recorded is of another boot.
    fn boot(&self) {
        for record in self.records() {
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

    /// The files that record a worker each. What a killed writer left beside them is none.
    fn records(&self) -> Vec<PathBuf> {
        let mut files = files(&self.home().join("workers"));
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "json")
        });
        files
    }

    /// The processes that run a program of this pool.
    fn processes(&self, program: &str) -> Vec<u32> {
        let Ok(bin) = self.home().join("bin").canonicalize() else {
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

    /// What is wanted is there once, and nothing besides.
    fn check(&self, what: &str) {
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
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn kill(pids: &[u32]) {
    let pids = pids.iter().map(ToString::to_string);
    let mut kill = Command::new("kill");
    // One may have ended meanwhile.
    kill.arg("-9").args(pids).stderr(Stdio::null());
    kill.status().unwrap();
}

/// `RBEE_SEED`, else always the same.
fn seed(usual: u64) -> u64 {
    let seed = std::env::var("RBEE_SEED").ok();
    seed.map_or(usual, |seed| seed.parse().unwrap())
}

/// Something dies at so many moments, spread over the time that an undisturbed apply takes.
fn crash(remote: bool, victims: &[Victim], moments: u64, seed: u64) {
    let mut random = Random(seed);
    let mut place = Place::new(remote);
    place.edit();
    place.desk.rbee(&["apply", "--yes"]).exits(0);
    place.edit();
    let begun = Instant::now();
    assert!(place.apply().wait().unwrap().success());
    let usual = begun.elapsed().as_millis() as u64;
    place.check("before any crash");
    for moment in 0..moments {
        place.edit();
        let victim = victims[random.next(victims.len() as u64) as usize];
        // What comes anew takes longer.
        let time = if place.edits.is_multiple_of(8) {
            3 * usual
        } else {
            usual
        };
        let after = Duration::from_millis(random.next(time));
        let what = format!("moment {moment}: {victim:?} after {after:?}, seed {seed}");
        let mut rbee = place.apply();
        std::thread::sleep(after);
        place.strike(victim, &mut rbee);
        rbee.wait().unwrap();
        let healed = place.desk.rbee(&["apply", "--yes", "--prune-models"]);
        assert_eq!(healed.code, 0, "{what}\n{}\n{}", healed.out, healed.err);
        place.check(&what);
    }
    place.desk.rbee(&["destroy", "--yes"]).exits(0);
    for folder in [place.home(), place.home().join("workers")] {
        let mut left = files(&folder);
        left.retain(|file| file.display().to_string().contains("/.tmp-"));
        assert_eq!(left, [] as [PathBuf; 0], "half-written files");
    }
}

#[test]
fn whatever_dies_of_an_apply_over_ssh_the_next_one_gets_there() {
    let seed = seed(0x5eed_caff);
    eprintln!("RBEE_SEED={seed}");
    let victims = [Victim::Rbee, Victim::Hive, Victim::Session, Victim::Pool];
    crash(true, &victims, 30, seed);
}

#[test]
fn whatever_dies_of_an_apply_on_this_machine_the_next_one_gets_there() {
    let seed = seed(0x5eed_cafe);
    eprintln!("RBEE_SEED={seed}");
    let victims = [Victim::Rbee, Victim::Hive, Victim::Pool];
    crash(false, &victims, 20, seed);
}
