//! The file of a store.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_files_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(path(&folder), "").unwrap();
    std::fs::set_permissions(path(&folder), std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(&in_folder(&folder));
    block_on(store.accept(task("a", "{}"), events(0..1, "queued"))).unwrap();
    let names: Vec<PathBuf> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        assert_eq!(mode(&name), 0o600, "{name:?}");
    }
}

#[test]
fn a_second_process_is_refused_until_the_first_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(&in_folder(&folder));
    let refused = Store::open(&in_folder(&folder), Limits::default()).err();
    assert_eq!(refused, Some(StoreError::InUse(path(&folder))));
    block_on(first.close());
    open(&in_folder(&folder));
}

/// Each is refused with the reason, and left as it was.
#[test]
fn a_file_that_cannot_be_used_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let store = open(&Kind::Sqlite(path.clone()));
    block_on(async {
        for n in 0..100 {
            let body = "x".repeat(5000);
            let queued = events(0..1, "queued");
            store
                .accept(task(&n.to_string(), body), queued)
                .await
                .unwrap();
        }
        store.close().await;
    });
    let good = std::fs::read(&path).unwrap();

    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&7_u32.to_be_bytes());
    let mut foreign = good.clone();
    foreign[68..72].copy_from_slice(&[0; 4]);
    let mut damaged = good.clone();
    damaged[8192..16_384].fill(0xa5);
    let cut = good[..good.len() / 2].to_vec();
    for (what, bytes) in [
        ("newer", newer),
        ("foreign", foreign),
        ("damaged", damaged),
        ("cut", cut),
        ("text", b"tenants: []\n".repeat(100)),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let refused = Store::open(&Kind::Sqlite(path.clone()), Limits::default()).err();
        let refused = refused.unwrap_or_else(|| panic!("{what} was taken"));
        match (what, &refused) {
            ("newer", StoreError::Newer { found: 7, .. }) => {}
            (_, StoreError::Corrupt { .. }) if what != "newer" => {}
            _ => panic!("{what}: {refused}"),
        }
        assert!(
            refused.to_string().contains("tasks.db"),
            "{what}: {refused}"
        );
        assert!(refused.help().is_some());
        assert!(std::fs::read(&path).unwrap() == bytes, "{what} was changed");
    }
    std::fs::write(&path, &good).unwrap();
    let store = open(&Kind::Sqlite(path));
    assert_eq!(block_on(store.open_tasks()).unwrap().len(), 100);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let kind = Kind::Sqlite("/no/such/folder/tasks.db".into());
    let refused = Store::open(&kind, Limits::default()).err().unwrap();
    assert!(matches!(refused, StoreError::Unopened { .. }), "{refused}");
}

#[test]
fn what_was_open_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let store = open(&in_folder(&folder));
        for id in ["queued", "running", "ended"] {
            store
                .accept(task(id, id.to_owned()), events(0..1, "queued"))
                .await
                .unwrap();
        }
        store.running("running", "w").await.unwrap();
        store
            .append("running", events(1..3, "token").with_tokens(2))
            .await
            .unwrap();
        store
            .finish("ended", Outcome::Completed, events(1..2, "end"), 1)
            .await
            .unwrap();
        store.close().await;

        let store = open(&in_folder(&folder));
        let open = store.open_tasks().await.unwrap();
        let open: Vec<_> = open
            .iter()
            .map(|stored| {
                (
                    &*stored.task.id,
                    stored.state,
                    stored.sent_tokens,
                    &stored.task.body[..],
                )
            })
            .collect();
        let queued = ("queued", State::Queued, 0, &b"queued"[..]);
        assert_eq!(open, [queued, ("running", State::Running, 2, b"running")]);
        store
            .append("running", events(3..4, "token"))
            .await
            .unwrap();
        let log = store.log("running").await.unwrap().unwrap();
        assert_eq!((log.next_event(), log.has_ended()), (4, false));
        assert!(store.log("ended").await.unwrap().unwrap().has_ended());
    });
}

/// Tasks of all lengths, ended in any order while others are there, so that rows move between pages.
#[test]
fn nothing_of_a_prompt_is_in_the_files_after_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        wipe_after: Duration::ZERO,
        ..Limits::default()
    };
    let store = Store::open(&in_folder(&folder), limits).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    block_on(async {
        let mut live: Vec<String> = Vec::new();
        for n in 0..600 {
            let id = n.to_string();
            // Several on a page of the file, or several pages each. 16 bytes name the task.
            let most = [20, 700][n % 2];
            let prompt = format!("<the prompt {n:03}>").repeat(random.usize(1..most));
            store
                .accept(task(&id, prompt), events(0..1, "queued"))
                .await
                .unwrap();
            live.push(id);
            if live.len() > 20 {
                let id = live.swap_remove(random.usize(..live.len()));
                store
                    .finish(&id, Outcome::Completed, events(1..2, "end"), 1)
                    .await
                    .unwrap();
            }
        }
        // Answered after the wiping that followed the last commit.
        let open = store.open_tasks().await.unwrap();
        let mut expected: Vec<&[u8]> = open.iter().map(|stored| &stored.task.body[..16]).collect();
        expected.sort_unstable();
        let files = files(&path(&folder));
        let mut found: Vec<&[u8]> = files
            .windows(16)
            .filter(|text| text.starts_with(b"<the prompt ") && text.ends_with(b">"))
            .collect();
        found.sort_unstable();
        found.dedup();
        assert!(found == expected, "{} for {}", found.len(), expected.len());
        store.close().await;
    });
}

#[test]
fn an_ended_prompt_leaves_the_log_of_the_file_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        wipe_after: Duration::from_millis(20),
        ..Limits::default()
    };
    let store = Store::open(&in_folder(&folder), limits).unwrap();
    let prompt = b"a prompt that nobody shall find";
    let is_found = || {
        let files = files(&path(&folder));
        files.windows(prompt.len()).any(|text| text == prompt)
    };
    block_on(async {
        let queued = events(0..1, "queued");
        store.accept(task("a", &prompt[..]), queued).await.unwrap();
        assert!(is_found());
        let end = events(1..2, "end");
        store.finish("a", Outcome::Completed, end, 1).await.unwrap();
        while is_found() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
