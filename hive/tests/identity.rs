//! A pid alone is no identity.

use hive::process;
use pool_core::worker::WorkerRecord;

use crate::util::{Pool, spec};

#[test]
fn a_pid_that_belongs_to_somebody_else_now_is_never_signalled() {
    let pool = Pool::new();
    pool.register_tiny();
    let record = pool.spawn_tiny();
    pool.edit_record(&record, |record| {
        let started = record["process"]["pid_started_at"].as_u64().unwrap();
        record["process"]["pid_started_at"] = (started - 1).into();
    });
    let observed = pool.workers().remove(0);
    assert!(!observed.alive && !observed.answers);
    assert!(pool.ok(&["worker", "list"]).contains("dead"));
    pool.ok(&["worker", "stop", record.id.as_str()]);
    assert_eq!(pool.workers(), []);
    assert!(process::is_alive(&record.process.unwrap()));
}

#[test]
fn a_worker_of_another_boot_is_dead_and_replaced() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    let first = connection.spawn(&spec(&entry, 0)).unwrap();
    pool.edit_record(&first, |record| {
        record["process"]["boot_id"] = "an earlier boot".into();
    });
    assert!(!pool.workers()[0].alive);
    let second: WorkerRecord = connection.spawn(&spec(&entry, 0)).unwrap();
    assert_ne!(second.id, first.id);
    let ids: Vec<_> = pool.workers().into_iter().map(|w| w.record.id).collect();
    assert_eq!(ids, [second.id]);
    assert!(process::is_alive(&first.process.unwrap()));
}
