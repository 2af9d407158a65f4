//! Models on several pools: the hub gives each byte once, pools give it to each other.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use local_hub::{Fault, Hub, Place, Times};
use serde_json::Value;

use super::lock::Office;
use super::tiny;

/// Three pools behind sshd, each with one worker of the tiny model of the hub.
const THREE: &str = "version: 1\nfleet: test\npools:\n\
    \x20 one: { connect: ssh://one, devices: [cpu] }\n\
    \x20 two: { connect: ssh://two, devices: [cpu] }\n\
    \x20 three: { connect: ssh://three, devices: [cpu] }\n\
    models:\n  tiny: { source: hf:org/tiny }\n\
    workers:\n  chat: { model: tiny, on: [\"*/cpu\"] }\n";

fn blobs(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home.join("models/blobs")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn three_pools_cost_the_hub_its_bytes_once() {
    let office = Office::new();
    let pools = ["one", "two", "three"].map(|name| office.desk.lab.sshd(name));
    office.desk.write(THREE);
    office.rbee(&["lock"]).exits(0);
    office.hub().forget_requests();
    let planned = office.rbee(&["plan"]).exits(0);
    let planned = planned
        .says("2.6 MB from the hub")
        .says("2.6 MB from pool one")
        .says("1 to download (2.6 MB), 2 to copy (5.2 MB), 3 to spawn");
    assert!(planned.out.contains("POOL"), "{}", planned.out);
    let bills = office.rbee(&["plan", "--json"]).exits(0).json();
    let bill = |pool: &str, field: &str| bills["plan"]["bills"][pool][field].as_u64().unwrap();
    let size = bill("one", "from_hub");
    assert_eq!(
        (bill("two", "from_pools"), bill("two", "from_hub")),
        (size, 0)
    );
    assert_eq!(bill("three", "peak_disk"), size);
    assert_eq!(office.hub().requests(), []);

    let applied = office.rbee(&["apply", "--yes"]).exits(0);
    assert!(applied.err.contains("from other pools"), "{}", applied.err);
    assert!(!applied.err.contains("note:"), "{}", applied.err);
    assert_eq!(office.hub().fetched_twice(), 0);
    let first = blobs(pools[0].home());
    for pool in &pools[1..] {
        assert_eq!(blobs(pool.home()), first);
    }
    office.rbee(&["plan", "--detailed-exitcode"]).exits(0);

    // One file of one pool is gone: just that comes, from its neighbour.
    let weights = first.iter().max_by_key(|name| {
        let blob = pools[1].home().join("models/blobs").join(name);
        fs::metadata(blob).unwrap().len()
    });
    fs::remove_file(pools[1].home().join("models/blobs").join(weights.unwrap())).unwrap();
    office.hub().forget_requests();
    let planned = office.rbee(&["plan"]).exits(0);
    planned
        .says("damaged: model.safetensors")
        .says("from pool one");
    office.rbee(&["apply", "--yes"]).exits(0);
    assert_eq!(blobs(pools[1].home()), first);
    assert_eq!(office.hub().requests(), []);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn two_applies_at_once_on_a_bare_pool_install_and_bring_the_model_once() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    office.rbee(&["lock"]).exits(0);
    office.hub().forget_requests();
    let slow = Fault::Slow(2 << 20);
    office.hub().faults().add(Place::Blobs, slow, Times::Always);
    let start = || {
        let mut command = office.command(&["apply", "--yes", "--lock-timeout", "100"]);
        command.stderr(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let runs = [start(), start()];
    for run in runs {
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
    assert_eq!(office.hub().fetched_twice(), 0);
    office.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

/// The processes of a pool's hive.
fn hives(home: &Path) -> Vec<u32> {
    let Ok(bin) = home.join("bin").canonicalize() else {
        return Vec::new();
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let exe = fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|exe| exe.starts_with(&bin) && exe.ends_with("rbee-hive"))
    })
    .collect()
}

#[test]
fn an_apply_whose_hive_is_killed_again_and_again_gets_there() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    let slow = office
        .hub()
        .faults()
        .add(Place::Blobs, Fault::Slow(1 << 20), Times::Always);
    for kill in 0..20_u64 {
        let mut apply = office.command(&["apply", "--yes"]).spawn().unwrap();
        // From the first question to the pool on, until within the download.
        std::thread::sleep(Duration::from_millis(100 + kill * 211 % 900));
        for pid in hives(&office.desk.home()) {
            let mut killing = Command::new("kill");
            killing.args(["-9", &pid.to_string()]).stderr(Stdio::null());
            killing.status().unwrap();
        }
        apply.wait().unwrap();
    }
    office.hub().faults().remove(slow);
    office.rbee(&["apply", "--yes"]).exits(0);
    office.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    let incoming = office.desk.home().join("models/incoming");
    assert_eq!(fs::read_dir(incoming).unwrap().count(), 0);
    let twice = office.hub().fetched_twice();
    eprintln!("20 kills: {twice} bytes came twice");
    let status = office.rbee(&["status", "--json"]).exits(0).json();
    let workers = status["pools"]["here"]["workers"].as_array().map(Vec::len);
    assert_eq!(workers, Some(1));
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn what_was_found_wrong_on_the_way_is_not_downloaded_beyond_the_limit() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    office.rbee(&["apply", "--yes"]).exits(0);
    let home = office.desk.home();
    let names = blobs(&home);
    let blob = |name: &String| home.join("models/blobs").join(name);
    let weights = names
        .iter()
        .max_by_key(|name| fs::metadata(blob(name)).unwrap().len());
    let weights = blob(weights.unwrap());
    let mut bytes = fs::read(&weights).unwrap();
    bytes[100] ^= 1;
    fs::remove_file(&weights).unwrap();
    fs::write(&weights, bytes).unwrap();
    office.hub().forget_requests();
    let limited = ["apply", "--yes", "--max-download", "0"];
    office
        .rbee(&["plan", "--max-download", "0"])
        .exits(0)
        .says("to check there, and to bring if they are wrong");
    office
        .rbee(&limited)
        .exits(3)
        .says("--max-download allows 0 B more");
    assert_eq!(office.hub().blob_bytes(), 0);
    // Now the plan knows, and says so.
    office.rbee(&limited).exits(1).says("the plan downloads 2.");
    office
        .rbee(&["apply", "--yes"])
        .exits(0)
        .says("Apply complete: 1 downloaded (2.");
    office.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn an_interrupted_download_ends_at_once_and_is_taken_up() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    office.rbee(&["lock"]).exits(0);
    office.hub().forget_requests();
    let slow = Fault::Slow(300_000);
    let slow = office.hub().faults().add(Place::Blobs, slow, Times::Always);
    let mut command = office.command(&["apply", "--yes"]);
    let run = command
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while office.hub().blob_bytes() < 1_500_000 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut interrupt = Command::new("kill");
    interrupt.args(["-s", "INT", &run.id().to_string()]);
    assert!(interrupt.status().unwrap().success());
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("download tiny: left under way"), "{said}");
    let before = office.hub().blob_bytes();
    assert!(before < 2_400_000, "it went on for {before} bytes");
    office.hub().faults().remove(slow);
    // What came is no part of the next plan.
    let planned = office.rbee(&["plan"]).exits(0);
    assert!(
        !planned.out.contains("2.6 MB from the hub"),
        "{}",
        planned.out
    );
    office.rbee(&["apply", "--yes"]).exits(0);
    assert!(office.hub().fetched_twice() < 1_100_000);
    office.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn every_command_of_models_works_on_a_pool_from_here() {
    let hub = Hub::builder().repo("org/tiny", tiny());
    let office = Office::of(hub.gated("org/tiny", "hf_secret"));
    let _pool = office.desk.lab.sshd("one");
    office
        .desk
        .fleet("  one: { connect: ssh://one, devices: [cpu] }\n", "one/cpu");
    office.rbee(&["apply", "--yes"]).exits(0);
    let models = |args: &[&str], token| {
        let args = [&["pool", "--pool", "one", "models"], args].concat();
        office.rbee_as(&args, token)
    };
    let source = ["--source", "hf:org/tiny"];
    models(&[&["register", "mine"], &source[..]].concat(), None)
        .exits(1)
        .says("is gated, and no token was given");
    let token = Some("hf_secret");
    models(&[&["register", "mine"], &source[..]].concat(), token).exits(0);
    models(&["catalog"], None).exits(0).says("mine");
    // All of its contents are here already: they are those of the fleet's model.
    models(&["download", "mine"], token)
        .exits(0)
        .says("already here: mine");
    models(&["verify", "mine"], None)
        .exits(0)
        .says("verified mine");
    let listed: Value = models(&["list", "--json"], None).exits(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    models(&["remove", "mine"], None).exits(0);
    models(&["unregister", "mine"], None).exits(0);
    models(&["remove", "tiny"], None)
        .exits(1)
        .says("runs the model tiny");
    office.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    office.rbee(&["destroy", "--yes"]).exits(0);
}
