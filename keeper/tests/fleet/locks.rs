//! Two runs at once: one works, the other is told who does, or waits.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStderr, Command, Stdio};

use local_hub::{Fault, Place, Times};

use super::Ran;
use super::lock::Office;

/// An apply under way.
struct Busy {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStderr>>,
}

impl Busy {
    /// Starts it, and waits until it says this.
    fn start(mut command: Command, until: &str) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut busy = Self { child, lines };
        busy.hears(until);
        busy
    }

    fn hears(&mut self, words: &str) -> String {
        let mut all = String::new();
        for line in self.lines.by_ref().map_while(Result::ok) {
            all += &line;
            all.push('\n');
            if line.contains(words) {
                return line;
            }
        }
        panic!("it never said {words:?}:\n{all}");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn end(self) -> Ran {
        let rest: Vec<String> = self.lines.map_while(Result::ok).collect();
        let mut ran = Ran::from(self.child.wait_with_output().unwrap());
        ran.err = rest.join("\n");
        ran
    }
}

const APPLY: &[&str] = &["apply", "--yes"];

/// A hub that takes five seconds for the tiny model.
fn slow(office: &Office) {
    let slow = Fault::Slow(500_000);
    office.hub().faults().add(Place::Blobs, slow, Times::Always);
}

#[test]
fn of_two_applies_at_once_one_is_told_who_works() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    slow(&office);
    let busy = Busy::start(office.command(APPLY), "download tiny ...");
    let pid = busy.child.id();
    for command in [APPLY, &["destroy", "--yes"]] {
        let refused = office.rbee(command).exits(7);
        let holder = format!("`rbee apply` of the fleet test, process {pid}, since 20");
        refused
            .says("error: pool `here`: ")
            .says(&holder)
            .says("help: `--lock-timeout SECONDS` waits for it");
    }
    // Who only looks is not kept out.
    office.rbee(&["plan"]).exits(0);
    office
        .rbee(&["status"])
        .exits(1)
        .says("missing: chat/here/cpu/0");
    busy.end().exits(0);
    office.rbee(APPLY).exits(0).says("nothing was done");
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn who_waited_while_the_file_was_saved_does_nothing_of_the_old_one() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    slow(&office);
    let busy = Busy::start(office.command(APPLY), "download tiny ...");
    let patient = ["apply", "--yes", "--lock-timeout", "100"];
    let waits = Busy::start(office.command(&patient), "Waiting: pool `here`: ");
    let path = office.desk.path("fleet.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    office
        .desk
        .write(&text.replace("[here/cpu]", "[here/cpu], slots: 2"));
    busy.end().exits(0);
    waits
        .end()
        .exits(1)
        .says("the fleet file changed meanwhile");
    office.rbee(APPLY).exits(0).says("1 replaced");
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn who_waits_finds_the_work_done() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    slow(&office);
    let busy = Busy::start(office.command(APPLY), "download tiny ...");
    let patient = ["apply", "--yes", "--lock-timeout", "100"];
    let mut waits = Busy::start(office.command(&patient), "Waiting: pool `here`: ");
    // One that is interrupted while it waits has done nothing, and disturbs nobody.
    let other = Busy::start(office.command(&patient), "Waiting: pool `here`: ");
    other.signal("INT");
    other.end().exits(130).says("interrupted: nothing was done");
    assert!(waits.child.try_wait().unwrap().is_none());
    busy.end().exits(0).says("1 downloaded");
    waits.end().exits(0).says("nothing was done");
    assert_eq!(office.hub().fetched_twice(), 0);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn two_applies_of_a_bare_pool_do_the_work_once_though_neither_could_lock_it_first() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    office.rbee(&["lock"]).exits(0);
    office.hub().forget_requests();
    slow(&office);
    let busy = Busy::start(office.command(APPLY), "install");
    let late = Busy::start(office.command(APPLY), "");
    let mut codes = [busy.end().code, late.end().code];
    codes.sort_unstable();
    assert!(matches!(codes, [0, 0 | 7]), "{codes:?}");
    assert_eq!(office.hub().fetched_twice(), 0);
    office.rbee(APPLY).exits(0);
    office.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn who_finds_a_bare_pool_held_is_told_by_whom() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    let home = office.desk.home();
    std::fs::create_dir(&home).unwrap();
    // As somebody does who brought no hive yet.
    let lock = std::fs::File::create(home.join("apply.lock")).unwrap();
    lock.lock().unwrap();
    let holder = r#"{"who":"me@lab","fleet":"test","command":"rbee apply","pid":7,"since":"2026-01-01T00:00:00Z"}"#;
    (&lock).write_all(holder.as_bytes()).unwrap();
    let refused = office.rbee(APPLY).exits(7);
    refused
        .says("me@lab holds the pool with `rbee apply` of the fleet test, process 7")
        .says("help: `--lock-timeout SECONDS` waits for it");
    assert!(!home.join("catalog.json").exists());
    drop(lock);
    office.rbee(APPLY).exits(0);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_holder_is_known_by_the_name_that_the_system_has() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    slow(&office);
    let mut command = office.command(APPLY);
    command.env_remove("USER").env_remove("LOGNAME");
    let busy = Busy::start(command, "download tiny ...");
    let name = Command::new("id").arg("-un").output().unwrap().stdout;
    let name = String::from_utf8(name).unwrap();
    let refused = office.rbee(APPLY).exits(7);
    refused.says(&format!("pool `here`: {}@", name.trim()));
    busy.end().exits(0);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_killed_holder_keeps_nobody_out() {
    let office = Office::new();
    let _pool = office.desk.lab.sshd("one");
    let pools = "pools:\n  one: { connect: ssh://one, devices: [cpu] }\n";
    office.desk.write(&format!(
        "version: 1\nfleet: test\n{pools}models:\n  tiny: {{ source: \"hf:org/tiny\" }}\n\
         workers:\n  chat: {{ model: tiny, on: [one/cpu] }}\n"
    ));
    slow(&office);
    let busy = Busy::start(office.command(APPLY), "download tiny ...");
    office.rbee(APPLY).exits(7);
    busy.signal("KILL");
    assert_eq!(busy.end().code, -1);
    office.rbee(APPLY).exits(0).says("1 downloaded");
    office.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn who_is_refused_on_one_pool_holds_no_other() {
    let office = Office::new();
    let _pools = ["one", "two"].map(|name| office.desk.lab.sshd(name));
    let fleet = |name: &str, pools: &[&str]| {
        let declared =
            |pool: &&str| format!("  {pool}: {{ connect: ssh://{pool}, devices: [cpu] }}\n");
        let declared = pools.iter().map(declared).collect::<Vec<_>>().concat();
        let text = format!(
            "version: 1\nfleet: {name}\npools:\n{declared}models:\n  \
             tiny: {{ source: \"hf:org/tiny\" }}\nworkers:\n  chat: {{ model: tiny, on: ['*/cpu'] }}\n"
        );
        std::fs::write(office.desk.path(&format!("{name}.yaml")), text).unwrap();
    };
    fleet("both", &["one", "two"]);
    fleet("second", &["two"]);
    fleet("first", &["one"]);
    let of = |fleet: &'static str| ["-f", fleet, "apply", "--yes"];
    // Both have a hive from here on.
    office.rbee(&of("both.yaml")).exits(0);
    office
        .rbee(&["-f", "both.yaml", "destroy", "--yes"])
        .exits(0);
    slow(&office);
    let busy = Busy::start(office.command(&of("second.yaml")), "download tiny ...");
    let patient = [&of("both.yaml")[..], &["--lock-timeout", "100"]].concat();
    let mut waits = Busy::start(office.command(&patient), "Waiting: ");
    let refused = office.rbee(&of("both.yaml")).exits(7).says("pool `two`");
    assert!(!refused.err.contains("pool `one`"), "{}", refused.err);
    let patient = [&of("first.yaml")[..], &["--lock-timeout", "100"]].concat();
    let first = Busy::start(office.command(&patient), "download tiny ...");
    assert!(waits.child.try_wait().unwrap().is_none());
    busy.end().exits(0);
    first.end().exits(0);
    waits.end().exits(0);
    for fleet in ["both.yaml", "second.yaml", "first.yaml"] {
        office
            .rbee(&["-f", fleet, "plan", "--detailed-exitcode"])
            .exits(0);
        office.rbee(&["-f", fleet, "destroy", "--yes"]).exits(0);
    }
}

/// The command with this said about its signals.
fn under(option: &str, command: &Command) -> Command {
    let mut env = Command::new("env");
    env.arg(option)
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => env.env(name, value),
            None => env.env_remove(name),
        };
    }
    env
}

#[test]
fn a_hangup_interrupts_unless_the_run_is_to_outlive_its_terminal() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    slow(&office);
    let command = under("--default-signal=HUP", &office.command(APPLY));
    let busy = Busy::start(command, "download tiny ...");
    busy.signal("HUP");
    busy.end().exits(130).says("download tiny: left under way");
    let command = under("--ignore-signal=HUP", &office.command(APPLY));
    let busy = Busy::start(command, "download tiny ...");
    busy.signal("HUP");
    busy.end().exits(0).says("1 downloaded");
    office.rbee(&["destroy", "--yes"]).exits(0);
}
