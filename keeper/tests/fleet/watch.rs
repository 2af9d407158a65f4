//! A watch beside an operator who edits, and workers and an orchestrator that die.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::orchestrator::{self, HERE};
use super::{Desk, Ran, end};

/// How long a watch may take for anything.
const PATIENCE: Duration = Duration::from_mins(1);

/// A watch that runs; it is killed when it is dropped.
struct Watch {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Watch {
    fn start(desk: &Desk, args: &[&str]) -> Self {
        let mut child = desk.command(&[&["watch"], args].concat()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let keep = |pipe: Box<dyn Read + Send>| {
            let said = said.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    said.lock().unwrap().push_str(&format!("{line}\n"));
                }
            });
        };
        keep(Box::new(child.stdout.take().unwrap()));
        keep(Box::new(child.stderr.take().unwrap()));
        Self { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it said this so many times.
    #[track_caller]
    fn says(&mut self, text: &str, times: usize) {
        let begun = Instant::now();
        while self.said().matches(text).count() < times {
            let ended = self.child.try_wait().unwrap();
            assert!(
                begun.elapsed() < PATIENCE && ended.is_none(),
                "{ended:?}, and no {text:?} in\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ctrl-C.
    fn interrupt(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn save(desk: &Desk, from: &str, to: &str) {
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    assert!(text.contains(from), "{text}");
    // As editors do: another file in its place.
    fs::write(desk.path(".fleet.yaml.swp"), text.replace(from, to)).unwrap();
    fs::rename(desk.path(".fleet.yaml.swp"), desk.path("fleet.yaml")).unwrap();
}

#[test]
fn what_is_saved_is_shown_and_applied_at_once_and_a_broken_file_changes_nothing() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    let mut watch = Watch::start(&desk, &["--apply", "--interval", "1h"]);
    watch.says(
        "Apply complete: 1 installed, 1 copied (2.6 MB), 1 spawned.",
        1,
    );
    save(&desk, "on: [here/cpu]", "on: [here/cpu], slots: 2");
    watch.says("fleet.yaml was saved", 1);
    watch.says("-  chat: { model: tiny, on: [here/cpu] }", 1);
    watch.says("+  chat: { model: tiny, on: [here/cpu], slots: 2 }", 1);
    watch.says("slots: 1 → 2", 1);
    watch.says("Apply complete: 1 replaced.", 1);

    save(&desk, "slots: 2", "slotz: 3");
    watch.says("did you mean `slots`?", 1);
    watch.says("What the file said before stays in force.", 1);
    watch.says("-->", 1);
    save(&desk, "slotz: 3", "slots: 3");
    watch.says("slots: 2 → 3", 1);
    watch.says("Apply complete: 1 replaced.", 2);
    assert_eq!(watch.interrupt(), Some(130), "{}", watch.said());
    let status = desk.rbee(&["status", "--json"]).exits(0).json();
    let workers = status["pools"]["here"]["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 1);
    assert_eq!(workers[0]["slots"], 3);
}

#[test]
fn without_apply_it_shows_and_touches_nothing() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    let mut watch = Watch::start(&desk, &["--interval", "1s"]);
    watch.says("Plan: 1 to install, 1 to copy (2.6 MB), 1 to spawn.", 1);
    save(&desk, "on: [here/cpu]", "on: [here/cpu], replicas: 2");
    watch.says("Plan: 1 to install, 1 to copy (2.6 MB), 2 to spawn.", 1);
    assert_eq!(watch.interrupt(), Some(130));
    assert!(!desk.home().exists(), "it made something");
    // What stays as it was is shown once.
    let said = watch.said();
    assert_eq!(said.matches("1 to spawn.").count(), 1, "{said}");
}

#[test]
fn a_file_that_names_nothing_any_more_is_not_applied() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    let mut watch = Watch::start(&desk, &["--apply", "--yes", "--interval", "1h"]);
    watch.says("Apply complete", 1);
    desk.write(&format!("version: 1\nfleet: test\npools:\n{HERE}"));
    watch.says("the fleet file names no worker, and 1 thing would go", 1);
    watch.says("`rbee apply --allow-empty` does it", 1);
    assert_eq!(watch.interrupt(), Some(130));
    assert_eq!(desk.workers().len(), 1);
}

#[test]
fn a_worker_that_is_killed_comes_back_and_again_after_a_pause() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    let mut watch = Watch::start(&desk, &["--apply", "--interval", "1s"]);
    watch.says("Apply complete: 1 installed", 1);
    for times in 1..=3 {
        let [pid] = desk.workers()[..] else {
            panic!("{:?}", desk.workers());
        };
        end(pid);
        watch.says("Apply complete: 1 replaced.", times);
    }
    let held = "blocked: here: worker chat/here/cpu/0: its process is gone; \
                it did not stay up, and is held back until 2";
    let times = watch.said().matches(held).count();
    let [pid] = desk.workers()[..] else {
        panic!("{:?}", desk.workers());
    };
    end(pid);
    watch.says(held, times + 1);
    assert_eq!(watch.interrupt(), Some(130));
    let said = watch.said();
    let (_, last) = said.rsplit_once(held).unwrap();
    assert!(
        last.contains("No changes: nothing else of fleet test is to be done.")
            && last.contains("Held back when the watch ended: worker chat/here/cpu/0: ")
            && !last.contains("as its file says"),
        "{last}"
    );
    desk.rbee(&["apply", "--yes"]).exits(0).says("1 replaced");
}

#[test]
fn an_orchestrator_that_is_killed_comes_back_after_a_pause_or_with_what_it_is_given_anew() {
    let desk = Desk::new();
    let listen = orchestrator::free();
    let declared = orchestrator::at("here", listen, ", tenants: tenants.yaml");
    fs::write(desk.path("tenants.yaml"), orchestrator::tenant("a")).unwrap();
    desk.write(&orchestrator::fleet("test", &declared, HERE, "here/cpu"));
    let mut watch = Watch::start(&desk, &["--apply", "--interval", "1s"]);
    watch.says("Apply complete: 1 installed", 1);
    for times in 1..=4 {
        end(orchestrator::pid(&desk.home()));
        watch.says("Apply complete: 1 spawned.", times);
    }
    let held = "blocked: here: orchestrator: its process is gone; \
                it did not stay up, and is held back until ";
    let times = watch.said().matches(held).count();
    end(orchestrator::pid(&desk.home()));
    watch.says(held, times + 1);
    let said = watch.said();
    let (_, until) = said.rsplit_once(held).unwrap();
    let until: Timestamp = until.split_whitespace().next().unwrap().parse().unwrap();

    fs::write(desk.path("tenants.yaml"), orchestrator::tenant("b")).unwrap();
    watch.says("Apply complete: 1 spawned, 1 updated.", 1);
    assert!(Timestamp::now() < until, "{}", watch.said());
    assert!(orchestrator::is_ready(listen));
    assert_eq!(watch.interrupt(), Some(130));
}

#[test]
fn a_pool_that_is_down_is_asked_ever_more_rarely_and_told_of_twice() {
    let desk = Desk::new();
    // Takes a connection, notes when, and hangs up.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            drop(connection);
            log.lock().unwrap().push(Instant::now());
        }
    });
    let down = format!("  down: {{ connect: ssh://127.0.0.1:{port}, devices: [cpu] }}\n");
    desk.fleet(&format!("{HERE}{down}"), "here/cpu");
    let pool = desk.lab.sshd("one");
    let mut watch = Watch::start(&desk, &["--apply", "--interval", "1s"]);
    watch.says("Apply not complete: 1 installed", 1);
    watch.says("Pool down is unreachable: ", 1);
    // What is said of the fleet does not leave out the pool that nothing is known of.
    watch.says("unreachable: down: ", 1);
    watch.says("No changes: nothing else of fleet test is to be done.", 1);
    let begun = Instant::now();
    while asked.lock().unwrap().len() < 5 {
        assert!(
            begun.elapsed() < PATIENCE,
            "{:?}\n{}",
            asked.lock(),
            watch.said()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let times = asked.lock().unwrap().clone();
    let gaps: Vec<Duration> = times.windows(2).map(|two| two[1] - two[0]).collect();
    // The first is as long as the apply that came between; of the others at least half of each pause is kept.
    assert!(
        gaps[2] >= Duration::from_secs(2) && gaps[3] >= Duration::from_secs(4),
        "{gaps:?}"
    );
    assert_eq!(
        watch.said().matches("Pool down is unreachable: ").count(),
        1
    );
    // The file may say another way to it, which is tried at once.
    save(&desk, &format!("ssh://127.0.0.1:{port}"), "ssh://one");
    watch.says("fleet.yaml was saved", 1);
    watch.says("No changes: fleet test is as its file says.", 1);
    pool.kill();
    watch.says("Pool down is unreachable: ", 2);
    assert_eq!(watch.interrupt(), Some(130));
}

#[test]
fn a_pool_that_is_down_is_named_whenever_the_others_are_changed() {
    let desk = Desk::new();
    let pool = desk.lab.sshd("one");
    let pools = format!("{HERE}  one: {{ connect: ssh://one, devices: [cpu] }}\n");
    desk.fleet(&pools, "'*/cpu'");
    let mut watch = Watch::start(&desk, &["--apply", "--interval", "1s", "--json-stream"]);
    watch.says(r#""done":{"install":2"#, 1);
    let unknown = r#""unknown":[{"pool":"one","unreachable":true"#;
    assert!(!watch.said().contains(unknown), "{}", watch.said());
    pool.kill();
    watch.says("Pool one is unreachable: ", 1);
    let edits = [("'] }", "'], slots: 2 }"), ("slots: 2", "slots: 3")];
    for (times, (from, to)) in edits.into_iter().enumerate() {
        save(&desk, from, to);
        // Of the plan that is carried out on the other pool, and of the one with nothing to do that follows.
        watch.says(unknown, 3 + 2 * times);
    }
    let said = watch.said();
    let (_, since) = said.split_once("Pool one is unreachable: ").unwrap();
    let mut summaries = since.lines().filter(|line| line.contains("summary"));
    let names = |line: &str| line.contains(unknown) && line.contains(r#""exit":4"#);
    assert!(summaries.all(names), "{said}");
    assert_eq!(watch.interrupt(), Some(130));
}

#[test]
fn a_watch_whose_reader_is_gone_ends() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    for format in [&["--json-stream"][..], &[]] {
        let mut command = desk.command(&[&["watch", "--interval", "1h"], format].concat());
        let mut watch = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(watch.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        drop(out);
        let begun = Instant::now();
        let code = loop {
            match watch.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                None => {
                    watch.kill().unwrap();
                    panic!("it goes on after {line}");
                }
            }
        };
        assert_eq!(code, Some(0));
        let mut said = String::new();
        watch.stderr.unwrap().read_to_string(&mut said).unwrap();
        assert!(!said.contains("error"), "{said}");
    }
}

#[test]
fn a_stream_of_a_watch_is_one_stream() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    let mut watch = Watch::start(&desk, &["--apply", "--interval", "1h", "--json-stream"]);
    watch.says("\"type\":\"summary\"", 1);
    watch.interrupt();
    let ran = Ran {
        code: 0,
        out: watch.said(),
        err: String::new(),
    };
    let lines = super::output::lines(&ran);
    let versions = lines.iter().filter(|line| line["type"] == "version");
    assert_eq!(versions.count(), 1);
    assert!(lines.iter().any(|line| line["type"] == "apply_complete"));
}
