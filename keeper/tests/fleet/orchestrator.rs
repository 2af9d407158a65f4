//! The orchestrator as a part of the fleet: its process, and what workers know of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Desk, end, recorded_pid, tiny};

pub const HERE: &str = "  here: { connect: local, devices: [cpu] }\n";

/// An address that nobody listens on now.
pub fn free() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

/// A fleet.yaml with this orchestrator.
pub fn fleet(name: &str, orchestrator: &str, pools: &str, on: &str) -> String {
    format!(
        "version: 1\nfleet: {name}\n{orchestrator}pools:\n{pools}models:\n  tiny: {{ source: {} }}\n\
         workers:\n  chat: {{ model: tiny, on: [{on}] }}\n",
        tiny().display()
    )
}

/// Its line for a pool.
pub fn at(pool: &str, listen: SocketAddr, more: &str) -> String {
    format!("orchestrator: {{ pool: {pool}, listen: \"{listen}\"{more} }}\n")
}

/// Whether a server there says that it is ready.
pub fn is_ready(listen: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(listen)?;
        write!(
            stream,
            "GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

pub fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The pid of the orchestrator that a home has on record.
pub fn pid(home: &Path) -> u32 {
    recorded_pid(&home.join("orchestrators/test.json")).expect("it runs")
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&path)),
            Ok(metadata) if metadata.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

#[test]
fn the_orchestrator_lives_from_apply_to_destroy() {
    let desk = Desk::new();
    let listen = free();
    let (home, store) = (desk.home(), desk.home().join("orchestrators/test"));
    desk.write(&fleet("test", &at("here", listen, ""), HERE, "here/cpu"));
    desk.rbee(&["plan", "--detailed-exitcode"])
        .exits(2)
        .says(&format!("+ orchestrator  {listen}  (not there yet)"))
        .says(&format!("+ link          http://{listen}  (not there yet)"))
        .says("Plan: 1 to install, 1 to copy (2.6 MB), 2 to spawn, 1 to update.");
    desk.rbee(&["apply", "--yes"])
        .exits(0)
        .says("Apply complete: 1 installed, 1 copied (2.6 MB), 2 spawned, 1 updated.");
    assert!(is_ready(listen));
    desk.rbee(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("No changes");
    desk.rbee(&["drift"]).exits(0).says("No drift");
    desk.rbee(&["status"])
        .exits(0)
        .says(&format!("{listen}  here  ready"));

    // What its workers know of it is a secret of the pool's user.
    let path = home.join("fleets/test.json");
    let link = read(&path);
    assert_eq!(link["orchestrator"], format!("http://{listen}"));
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = link["token"].as_str().unwrap();
    assert_eq!(token.len(), 64);
    let holds = |text: &[u8]| text.windows(64).any(|part| part == token.as_bytes());
    let saved = desk.path("saved");
    let status = desk.rbee(&["status", "--json"]).exits(0);
    assert!(!holds(status.out.as_bytes()));
    let told: Vec<_> = files(&home)
        .into_iter()
        .filter(|file| *file != path)
        .collect();
    for file in told {
        assert!(!holds(&fs::read(&file).unwrap()), "{}", file.display());
    }
    let first = pid(&home);
    assert!(!holds(&fs::read(format!("/proc/{first}/cmdline")).unwrap()));

    // Its settings change by another process, with what it stores in its place; a saved plan tells it.
    fs::write(store.join("tasks"), "kept").unwrap();
    let queue = at("here", listen, ", queue: 7");
    desk.write(&fleet("test", &queue, HERE, "here/cpu"));
    let saved = saved.to_str().unwrap();
    let planned = desk.rbee(&["plan", "--out", saved]).exits(0);
    planned
        .says("-/+ orchestrator")
        .says("queue: 100 → 7")
        .says("Plan: 1 to replace.");
    assert!(!holds(&fs::read(saved).unwrap()));
    desk.rbee(&["show", saved, "--markdown"])
        .exits(0)
        .says("Stops or takes away");
    desk.rbee(&["apply", saved]).exits(0).says("1 replaced");
    assert_ne!(pid(&home), first);
    assert!(is_ready(listen) && store.join("tasks").exists());
    desk.rbee(&["apply", saved])
        .exits(6)
        .says("the orchestrator on here changed since the plan was made");

    // One that died is started again, and a link that leads elsewhere is written anew in its place.
    end(pid(&home));
    desk.rbee(&["status"])
        .exits(1)
        .says("dead: the orchestrator on here");
    let mut lost = link.clone();
    lost["orchestrator"] = json!("http://127.0.0.1:1");
    fs::write(&path, lost.to_string()).unwrap();
    desk.rbee(&["apply", "--yes"])
        .exits(0)
        .says("1 spawned, 1 updated");
    assert_eq!(read(&path), link);
    assert!(is_ready(listen));

    desk.rbee(&["destroy", "--yes"])
        .exits(0)
        .says("Destroy complete: 2 stopped, 1 removed, 1 updated.");
    assert!(!is_ready(listen) && !store.exists() && !path.exists());
    desk.rbee(&["destroy", "--yes"])
        .exits(0)
        .says("nothing of fleet test is there");
}

/// A file with one tenant.
pub fn tenant(name: &str) -> String {
    let key = "ab".repeat(32);
    format!("tenants: [{{ name: {name}, keys: [{key}] }}]\n")
}

#[test]
fn its_files_come_from_the_operator_and_change_while_it_runs() {
    let desk = Desk::new();
    let listen = free();
    let declared = at(
        "here",
        listen,
        ", tenants: keys/tenants.yaml, policy: ./night.rhai",
    );
    desk.write(&fleet("test", &declared, HERE, "here/cpu"));
    desk.rbee(&["validate"])
        .exits(1)
        .says("`tenants` of `orchestrator`: ")
        .says("help: the path is relative to the fleet file");
    fs::create_dir(desk.path("keys")).unwrap();
    fs::write(desk.path("keys/tenants.yaml"), tenant("a")).unwrap();
    fs::write(desk.path("night.rhai"), "fn admit(s, t) { true }\n").unwrap();
    desk.rbee(&["apply", "--yes"])
        .exits(0)
        .says("2 spawned, 3 updated");
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    let store = desk.home().join("orchestrators/test");
    let tenants = store.join("tenants.yaml");
    let mode = tenants.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&tenants).unwrap(), tenant("a"));
    assert!(store.join("policy.rhai").exists());
    let before = pid(&desk.home());

    // What it could not use is not given to it, and whoever made the mistake hears of it at once.
    fs::write(desk.path("keys/tenants.yaml"), "tenants: [{ nam: a }]\n").unwrap();
    fs::write(desk.path("night.rhai"), "fn admit(s, t { true }\n").unwrap();
    for command in ["validate", "plan", "apply"] {
        desk.rbee(&[command])
            .exits(1)
            .says("`tenants` of `orchestrator`: tenants.yaml:1:11: a tenant has no `name`")
            .says("`policy` of `orchestrator`: policy.rhai:1:")
            .says("night.rhai");
    }
    assert_eq!(fs::read_to_string(&tenants).unwrap(), tenant("a"));
    fs::write(desk.path("night.rhai"), "fn admit(s, t) { true }\n").unwrap();

    // What a plan saw is what is given.
    fs::write(desk.path("keys/tenants.yaml"), tenant("b")).unwrap();
    let saved = desk.path("saved");
    let saved = saved.to_str().unwrap();
    desk.rbee(&["plan", "--out", saved])
        .exits(0)
        .says("~ tenants  keys/tenants.yaml  (content changed)");
    fs::write(desk.path("keys/tenants.yaml"), tenant("c")).unwrap();
    desk.rbee(&["apply", saved])
        .exits(6)
        .says("the file keys/tenants.yaml");
    desk.rbee(&["apply", "--yes"]).exits(0).says("1 updated");
    assert_eq!(fs::read_to_string(&tenants).unwrap(), tenant("c"));
    assert_eq!(pid(&desk.home()), before, "it reads the file by itself");

    let less = at("here", listen, ", tenants: keys/tenants.yaml");
    desk.write(&fleet("test", &less, HERE, "here/cpu"));
    desk.rbee(&["apply", "--yes"]).exits(0).says("1 replaced");
    assert!(tenants.exists() && !store.join("policy.rhai").exists());
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    desk.rbee(&["destroy", "--yes"]).exits(0);
    assert!(!store.exists());
}

#[test]
fn the_pools_of_a_fleet_share_a_token_and_the_orchestrator_moves() {
    let desk = Desk::new();
    let pools = ["one", "two"].map(|name| desk.lab.sshd(name));
    let listen = free();
    let declared = "  one: { connect: ssh://one, devices: [cpu], advertise: 127.0.0.1 }\n  \
                    two: { connect: ssh://two, devices: [cpu], advertise: 127.0.0.1 }\n";
    desk.write(&fleet("test", &at("two", listen, ""), declared, "'*/cpu'"));
    desk.rbee(&["apply", "--yes"])
        .exits(0)
        .says("2 installed, 2 copied (5.2 MB), 3 spawned, 2 updated");
    let link = |n: usize| pools[n].home().join("fleets/test.json");
    let url = format!("http://{listen}");
    assert_eq!(read(&link(0)), read(&link(1)));
    assert_eq!(read(&link(0))["orchestrator"], url);
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);

    // The orchestrator's pool has the right one.
    let right = read(&link(0));
    let mut wrong = right.clone();
    wrong["token"] = json!("0".repeat(64));
    fs::write(link(0), wrong.to_string()).unwrap();
    desk.rbee(&["drift", "--detailed-exitcode"])
        .exits(2)
        .says("token: another → that of two");
    desk.rbee(&["apply", "--yes"]).exits(0).says("1 updated");
    assert_eq!(read(&link(0)), right);

    let to = free();
    desk.write(&fleet("test", &at("one", to, ""), declared, "'*/cpu'"));
    desk.rbee(&["apply", "--yes"])
        .exits(0)
        .says("1 spawned, 1 stopped, 2 updated");
    assert!(is_ready(to) && !is_ready(listen));
    let moved = read(&link(1));
    assert_eq!(moved, read(&link(0)));
    assert_eq!(
        (&moved["token"], moved["orchestrator"].as_str()),
        (&right["token"], Some(&*format!("http://{to}")))
    );

    // Where the pool that it should move to does not answer, it stays.
    pools[1].kill();
    desk.write(&fleet("test", &at("two", free(), ""), declared, "'*/cpu'"));
    desk.rbee(&["apply", "--yes"])
        .exits(3)
        .says("it stays until the one on two can be started");
    assert!(is_ready(to));
}

#[test]
fn the_orchestrator_of_another_fleet_is_shown_and_never_touched() {
    let desk = Desk::new();
    let listen = free();
    desk.write(&fleet("test", &at("here", listen, ""), HERE, "here/cpu"));
    desk.rbee(&["apply", "--yes"]).exits(0);
    let before = pid(&desk.home());
    let other = desk.path("other.yaml");
    fs::write(
        &other,
        fleet("other", &at("here", listen, ""), HERE, "here/cpu"),
    )
    .unwrap();
    let taken = format!("orchestrator: {listen} is taken by the orchestrator of fleet test");
    desk.rbee(&["-f", "other.yaml", "plan"])
        .exits(1)
        .says(&taken);
    desk.rbee(&["-f", "other.yaml", "drift"])
        .exits(1)
        .says("(of fleet test: not touched)");
    desk.rbee(&["-f", "other.yaml", "apply", "--yes"])
        .exits(3)
        .says(&taken);
    let elsewhere = free();
    fs::write(
        &other,
        fleet("other", &at("here", elsewhere, ""), HERE, "here/cpu"),
    )
    .unwrap();
    desk.rbee(&["-f", "other.yaml", "apply", "--yes"]).exits(0);
    assert!(is_ready(elsewhere));
    desk.rbee(&["-f", "other.yaml", "destroy", "--yes"])
        .exits(0);
    assert!(is_ready(listen) && !is_ready(elsewhere));
    assert_eq!(pid(&desk.home()), before);
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn an_upgrade_replaces_the_orchestrator_and_a_failed_one_leaves_the_old_in_its_place() {
    let desk = Desk::new();
    let listen = free();
    desk.write(&fleet("test", &at("here", listen, ""), HERE, "here/cpu"));
    desk.rbee(&["apply", "--yes"]).exits(0);
    let dist = |name: &str, orchestrator: &[u8]| {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let folder = desk.path(name).join(target);
        fs::create_dir_all(&folder).unwrap();
        for name in ["rbee-hive", "llm-worker-rbee"] {
            fs::copy(crate::program(name), folder.join(name)).unwrap();
        }
        fs::write(folder.join("orchestratord"), orchestrator).unwrap();
        desk.path(name).to_str().unwrap().to_owned()
    };
    let mut program = fs::read(crate::program("orchestratord")).unwrap();
    // The loader does not read what stands behind.
    program.push(0);
    let newer = dist("newer", &program);
    desk.rbee(&["apply", "--yes", "--dist", &newer])
        .exits(0)
        .says("1 installed, 1 replaced");
    desk.rbee(&["plan", "--dist", &newer, "--detailed-exitcode"])
        .exits(0);
    let of = |record: &Value| record["program"].as_str().unwrap().to_owned();
    let record = desk.home().join("orchestrators/test.json");
    let good = of(&read(&record));

    // One that ends at once.
    program.truncate(64);
    let broken = dist("broken", &program);
    desk.rbee(&["apply", "--yes", "--dist", &broken])
        .exits(3)
        .says(&format!("the old one serves again, at {listen}"));
    assert!(is_ready(listen));
    assert_eq!(of(&read(&record)), good);
    desk.rbee(&["plan", "--dist", &broken, "--detailed-exitcode"])
        .exits(2);
    desk.rbee(&["apply", "--yes", "--dist", &newer]).exits(0);
    desk.rbee(&["pool", "orchestrator", "stop"])
        .exits(0)
        .says("stopped the orchestrator of test");
    assert!(!is_ready(listen));
}

/// What a client of OpenAI's asks at an address, and what it hears.
fn asks(listen: SocketAddr, token: &str) -> std::io::Result<String> {
    let body = json!({
        "model": "tiny", "temperature": 0, "max_tokens": 8,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    })
    .to_string();
    let mut stream = TcpStream::connect(listen)?;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn workers_register_by_themselves_and_the_fleet_answers_at_one_door() {
    let desk = Desk::new();
    let listen = free();
    desk.write(&fleet("test", &at("here", listen, ""), HERE, "here/cpu"));
    desk.rbee(&["apply", "--yes"]).exits(0);
    let link = read(&desk.home().join("fleets/test.json"));
    let token = link["token"].as_str().unwrap();
    let answers = |token: &str| asks(listen, token).unwrap_or_default();
    let start = Instant::now();
    let mut answer = answers(token);
    while !answer.starts_with("HTTP/1.1 200 ") {
        assert!(start.elapsed() < Duration::from_secs(30), "{answer}");
        std::thread::sleep(Duration::from_millis(50));
        answer = answers(token);
    }
    assert!(answer.contains("Paris"), "{answer}");
    assert!(answers("the-token-of-somebody-else").starts_with("HTTP/1.1 401 "));
    desk.rbee(&["destroy", "--yes"]).exits(0);
    assert!(asks(listen, token).is_err());
}
