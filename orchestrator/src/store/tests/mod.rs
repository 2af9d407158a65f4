mod file;
mod follow;
mod kept;
mod killed;

use std::path::{Path, PathBuf};

use super::*;

const DAY: u64 = 86_400_000;

fn task(id: &str, body: impl Into<bytes::Bytes>) -> Task {
    Task {
        id: id.into(),
        tenant: "lab".into(),
        model: "tiny".into(),
        class: "interactive".into(),
        session: None,
        body: body.into(),
        tokens: 7,
        submitted_at: 1,
        deadline: None,
        correlation_id: "c".into(),
    }
}

fn frame(id: u64, event: &str) -> String {
    format!("event: {event}\nid: {id}\ndata: {{\"i\":{id}}}\n\n")
}

/// Events with these ids; the last is the end when `event` says so.
fn events(ids: std::ops::Range<u64>, event: &str) -> Events {
    let first = ids.start;
    let text: String = ids.map(|id| frame(id, event)).collect();
    Events::new(first, text).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(async {
            // So that a fault shows as a fault and not as a test that hangs.
            tokio::time::timeout(std::time::Duration::from_mins(2), future)
                .await
                .unwrap()
        })
}

fn open(kind: &Kind) -> Store {
    Store::open(kind, Limits::default()).unwrap()
}

/// What holds for one kind of store holds for the other.
fn on_both(limits: &Limits, test: impl AsyncFn(Store)) {
    let folder = tempfile::tempdir().unwrap();
    for kind in [Kind::Memory, in_folder(&folder)] {
        block_on(async {
            let store = Store::open(&kind, limits.clone()).unwrap();
            test(store.clone()).await;
            store.close().await;
        });
    }
}

fn path(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("tasks.db")
}

fn in_folder(folder: &tempfile::TempDir) -> Kind {
    Kind::Sqlite(path(folder))
}

/// Every byte of the files of a store.
fn files(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    bytes
}
