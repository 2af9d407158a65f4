//! What a pool computes on, by a driver of NVIDIA's that is loaded as the real one is.

use std::path::Path;
use std::process::{Command, Output};

use pool_core::observation::{DeviceInfo, PoolObservation};
use pool_core::worker::WorkerRecord;

use crate::util::nvml::{Driver, LIBRARY};
use crate::util::{Pool, Worker};

/// The first that NVML names is the second on the bus.
const TWO_CARDS: &str = "00000000:C1:00.0,NVIDIA GeForce RTX 4090,25757220864,25000000000,8,9,-1;\
                             00000000:41:00.0,NVIDIA H100 80GB HBM3,85520809984,84000000000,9,0,0";

/// What a command prints and warns of, with some cards in the machine.
fn run(pool: &Pool, driver: &Driver, cards: &str, arguments: &[&str]) -> (String, String) {
    told(&mut with(pool, driver, cards, arguments))
}

fn with(pool: &Pool, driver: &Driver, cards: &str, arguments: &[&str]) -> Command {
    let mut command = pool.command(arguments);
    driver.serves(&mut command, cards);
    command
}

fn told(command: &mut Command) -> (String, String) {
    let Output { stdout, stderr, .. } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr))
}

#[test]
fn cards_are_counted_along_the_bus_with_all_that_their_driver_tells() {
    let (pool, driver) = (Pool::with(Worker::Missing), Driver::new());
    let (table, warnings) = run(&pool, &driver, TWO_CARDS, &["devices"]);
    assert_eq!(warnings, "");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|it| !it.is_empty()))
        .map(Iterator::collect)
        .collect();
    let headings = [
        "DEVICE",
        "NAME",
        "MEMORY",
        "AVAILABLE",
        "CAPABILITY",
        "DRIVER",
    ];
    assert_eq!(lines[0], headings, "{table}");
    assert_eq!((lines[1][0], &lines[1][4..]), ("cpu", &["-", "-"][..]));
    let first = "cuda:0|NVIDIA H100 80GB HBM3|85.5 GB|84.0 GB|9.0|580.82.07";
    let second = "cuda:1|NVIDIA GeForce RTX 4090|25.8 GB|25.0 GB|8.9|580.82.07";
    assert_eq!(lines[2].join("|"), first, "{table}");
    assert_eq!(lines[3].join("|"), second, "{table}");

    let (json, _) = run(&pool, &driver, TWO_CARDS, &["devices", "--json"]);
    let devices: Vec<DeviceInfo> = serde_json::from_str(&json).unwrap();
    let card = &devices[2];
    assert_eq!(card.device.to_string(), "cuda:1");
    assert_eq!(card.capability.as_deref(), Some("8.9"));
    assert_eq!(card.driver.as_deref(), Some("580.82.07"));
    let memory = (card.memory.total, card.memory.available);
    assert_eq!(memory, (25_757_220_864, 25_000_000_000));
    let is_small = |info: &DeviceInfo| info.capability.is_none() && info.driver.is_none();
    assert!(is_small(&devices[0]) && !json.contains("null"), "{json}");
}

#[test]
fn where_there_is_no_driver_there_is_nothing_to_tell() {
    let pool = Pool::with(Worker::Missing);
    let (json, warnings) = told(&mut pool.command(&["devices", "--json"]));
    let devices: Vec<DeviceInfo> = serde_json::from_str(&json).unwrap();
    let has_driver = Path::new("/dev/nvidiactl").exists();
    assert_eq!((devices.len() > 1, warnings.as_str()), (has_driver, ""));
}

#[test]
fn a_driver_that_does_not_work_says_why_wherever_a_card_is_missed() {
    let (pool, driver) = (Pool::new(), Driver::new());
    pool.register_tiny();
    let divided = TWO_CARDS.replace(",9,0,0", ",9,0,1");
    let broken = pool.scratch().join(LIBRARY);
    std::fs::write(&broken, "no library").unwrap();
    let broken = broken.parent().unwrap().to_str().unwrap();
    for (variable, value, why) in [
        ("NVML_INIT", "18", "different versions"),
        ("NVML_INIT", "9", "not loaded"),
        ("NVML_INIT", "15", "fell off the bus"),
        (
            "NVML_CARDS",
            &divided,
            "NVIDIA H100 80GB HBM3 at 00000000:41:00.0 is divided (MIG)",
        ),
        ("LD_LIBRARY_PATH", broken, "libnvidia-ml.so.1: "),
    ] {
        let told = |arguments: &[&str]| {
            let mut command = with(&pool, &driver, TWO_CARDS, arguments);
            told(command.env(variable, value))
        };
        let (table, warning) = told(&["devices"]);
        assert!(!table.contains("cuda"), "{table}");
        let begin = "warning: no NVIDIA card can be used: ";
        assert!(
            warning.starts_with(begin) && warning.contains(why),
            "{warning}"
        );
        let (status, _) = told(&["status"]);
        assert!(
            status.contains("\ncuda     no NVIDIA card") && status.contains(why),
            "{status}"
        );
        let (_, refused) = told(&["worker", "spawn", "cuda:0", "--model", "tiny"]);
        let begin = "error: this pool has no device cuda:0: no NVIDIA card can be used: ";
        assert!(
            refused.starts_with(begin) && refused.contains(why),
            "{refused}"
        );
        let (_, refused) = told(&["worker", "spawn", "metal:0", "--model", "tiny"]);
        assert!(
            refused.starts_with("error: this pool has no device metal:0\n"),
            "{refused}"
        );
    }
    assert_eq!(pool.worker_processes(), 0);
}

/// What the login hides from CUDA would have it count anew.
#[test]
fn a_worker_counts_the_cards_as_the_hive_does() {
    let pool = Pool::with(Worker::Script("env; exit 1"));
    pool.register_tiny();
    let driver = Driver::new();
    let spawn = ["worker", "spawn", "cuda:1", "--model", "tiny"];
    let mut command = with(&pool, &driver, TWO_CARDS, &spawn);
    command
        .env("CUDA_VISIBLE_DEVICES", "1")
        .env("CUDA_DEVICE_ORDER", "FASTEST_FIRST");
    let (_, refused) = told(&mut command);
    assert!(
        refused.contains("it ended before it was ready"),
        "{refused}"
    );
    let [worker] = pool.workers().try_into().unwrap();
    let log = std::fs::read_to_string(&worker.record.log).unwrap();
    let cuda: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("CUDA"))
        .collect();
    assert_eq!(cuda, ["CUDA_DEVICE_ORDER=PCI_BUS_ID"]);
}

#[test]
fn what_a_worker_asked_for_and_did_not_touch_of_a_card_is_not_available() {
    let (pool, driver) = (Pool::new(), Driver::new());
    pool.register_tiny();
    let record = pool.spawn_tiny();
    let asked = record.memory.unwrap();
    // A worker of a card is told from one of the processor by its record.
    let available = |state: &str, held: Option<u64>| {
        pool.edit_record(&record, |it| {
            it["device"] = "cuda:1".into();
            it["state"] = state.into();
        });
        let mut command = with(&pool, &driver, TWO_CARDS, &["status", "--json"]);
        // NVML's own index of it is 0.
        let held = held.map(|bytes| format!("0,{},{bytes}", pid(&record)));
        let (json, _) = told(command.envs(held.map(|held| ("NVML_HELD", held))));
        let seen: PoolObservation = serde_json::from_str(&json).unwrap();
        assert_eq!(seen.workers[0].condition(), state);
        assert_eq!(seen.devices[1].memory.available, 84_000_000_000);
        25_000_000_000 - seen.devices[2].memory.available
    };
    assert_eq!(available("ready", Some(1 << 20)), asked - (1 << 20));
    assert_eq!(available("ready", Some(asked * 2)), 0);
    // In a container nobody tells.
    assert_eq!(available("ready", None), 0);
    assert_eq!(available("starting", None), asked);
}

fn pid(record: &WorkerRecord) -> u32 {
    record.process.as_ref().unwrap().pid
}
