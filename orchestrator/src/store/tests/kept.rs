//! What was stored is what is read.

use std::time::Duration;

use super::*;

#[test]
fn a_task_is_read_as_it_was_accepted_whatever_its_length() {
    on_both(&Limits::default(), async |store| {
        let mut full = task("full", r#"{"prompt":"é"}"#);
        full.session = Some("s".into());
        full.deadline = Some(9);
        let mut tasks = vec![full];
        for length in [0, 1, 3999, 4000, 4001, 8000, 100_001] {
            tasks.push(task(&format!("of-{length}"), "x".repeat(length)));
        }
        for task in &tasks {
            store
                .accept(task.clone(), events(0..1, "queued"))
                .await
                .unwrap();
        }
        let open = store.open_tasks().await.unwrap();
        let read: Vec<Task> = open.iter().map(|stored| stored.task.clone()).collect();
        assert!(read == tasks, "{read:?}");
        assert!(
            open.iter()
                .all(|stored| stored.state == State::Queued && stored.next_event == 1)
        );
        assert_eq!(store.task("other").await.unwrap(), None);
    });
}

#[test]
fn the_life_of_a_task_is_kept() {
    on_both(&Limits::default(), async |store| {
        store
            .accept(task("a", "{}"), events(0..1, "queued"))
            .await
            .unwrap();
        store.dispatched("a", "w1").await.unwrap();
        store.queued("a").await.unwrap();
        store.dispatched("a", "w2").await.unwrap();
        store.running("a", "w2").await.unwrap();
        store.append("a", events(1..2, "started")).await.unwrap();
        let stored = store.task("a").await.unwrap().unwrap();
        assert_eq!((stored.state, stored.attempts), (State::Running, 2));
        assert_eq!(
            (stored.worker.as_deref(), stored.sent_tokens),
            (Some("w2"), 0)
        );
        store
            .append("a", events(2..5, "token").with_tokens(3))
            .await
            .unwrap();
        assert_eq!(store.task("a").await.unwrap().unwrap().sent_tokens, 3);
        store
            .finish("a", Outcome::Completed, events(5..7, "end"), 50)
            .await
            .unwrap();
        let stored = store.task("a").await.unwrap().unwrap();
        assert_eq!(
            (stored.state, stored.ended_at, stored.next_event),
            (State::Completed, Some(50), 7)
        );
        assert_eq!(stored.terminal.as_deref(), Some(frame(6, "end").as_bytes()));
        assert!(stored.sent_tokens == 3 && stored.task.body.is_empty());
        assert_eq!(store.open_tasks().await.unwrap(), []);
    });
}

#[test]
fn a_wrong_change_is_refused_and_those_committed_with_it_are_not() {
    on_both(&Limits::default(), async |store| {
        let mut answers = vec![
            store.accept(task("a", "{}"), events(0..1, "queued")),
            store.accept(task("b", "{}"), events(0..1, "queued")),
            store.accept(task("a", "{}"), events(0..1, "queued")),
            store.append("a", events(1..3, "token")),
            store.append("a", events(4..5, "token")),
            store.append("a", events(2..4, "token")),
            store.append("c", events(0..1, "token")),
            store.finish("b", Outcome::Failed, events(1..2, "error"), 1),
            store.append("b", events(2..3, "token")),
            store.finish("b", Outcome::Failed, events(2..3, "error"), 1),
            store.running("b", "w"),
        ];
        let gap = |found| StoreError::Gap {
            id: "a".into(),
            expected: 3,
            found,
        };
        let ended = || Err(StoreError::Ended("b".into()));
        let expected = [
            Ok(()),
            Ok(()),
            Err(StoreError::Duplicate("a".into())),
            Ok(()),
            Err(gap(4)),
            Err(gap(2)),
            Err(StoreError::Unknown("c".into())),
            Ok(()),
            ended(),
            ended(),
            ended(),
        ];
        for (answer, expected) in answers.drain(..).zip(expected) {
            assert_eq!(answer.await, expected);
        }
        assert_eq!(store.task("a").await.unwrap().unwrap().next_event, 3);
    });
}

#[test]
fn what_was_used_and_promised_is_what_was_said_last() {
    on_both(&Limits::default(), async |store| {
        let usage = |tenant: &str, unix_ms, day, minute| Usage {
            tenant: tenant.into(),
            unix_ms,
            day,
            minute,
        };
        store.put_usage(usage("b", 0, 5, 5)).await.unwrap();
        store.put_usage(usage("a", DAY, 10, 10)).await.unwrap();
        store.put_usage(usage("a", DAY + 9, 30, 7)).await.unwrap();
        assert_eq!(
            store.usage().await.unwrap(),
            [usage("a", DAY + 9, 30, 7), usage("b", 0, 5, 5)]
        );
        assert_eq!(store.promised().await.unwrap(), None);
        for said in ["one", "and another"] {
            store.put_promised(said.into()).await.unwrap();
            assert_eq!(store.promised().await.unwrap(), Some(said.into()));
        }
    });
}

async fn end(store: &Store, id: &str, at: u64, bytes: usize) {
    store
        .accept(task(id, "{}"), events(0..1, "queued"))
        .await
        .unwrap();
    let last = format!("data: {}\n\n", "x".repeat(bytes));
    store
        .finish(id, Outcome::Completed, Events::new(1, last).unwrap(), at)
        .await
        .unwrap();
}

async fn kept(store: &Store, ids: &[&str]) -> String {
    let mut kept = String::new();
    for id in ids {
        if store.task(id).await.unwrap().is_some() {
            kept.push_str(id);
        }
    }
    kept
}

#[test]
fn ended_tasks_are_forgotten_by_age_by_number_and_by_size() {
    let limits = Limits {
        ended_tasks: 3,
        ended_for: Duration::from_millis(100),
        bytes: 2 << 20,
        ..Limits::default()
    };
    on_both(&limits, async |store| {
        let all = ["o", "a", "b", "c", "d", "e"];
        store
            .accept(task("o", "{}"), events(0..1, "queued"))
            .await
            .unwrap();
        for (id, at) in [("a", 100), ("b", 200), ("c", 150), ("d", 250)] {
            end(&store, id, at, 10).await;
        }
        store.forget(190).await.unwrap();
        assert_eq!(
            kept(&store, &all).await,
            "obcd",
            "the oldest is one too many"
        );
        store.forget(250).await.unwrap();
        assert_eq!(kept(&store, &all).await, "obcd", "100 ms are not over");
        store.forget(251).await.unwrap();
        assert_eq!(kept(&store, &all).await, "obd");
        end(&store, "e", 260, 1 << 20).await;
        store.forget(260).await.unwrap();
        assert_eq!(
            kept(&store, &all).await,
            "o",
            "the newest alone is over half of the store"
        );
        assert!(store.log("d").await.unwrap().is_none());
        // Their names are free again.
        end(&store, "a", 270, 10).await;
        assert_eq!(kept(&store, &all).await, "oa");
    });
}

#[test]
fn many_are_forgotten_at_once() {
    let limits = Limits {
        ended_tasks: 7,
        ..Limits::default()
    };
    on_both(&limits, async |store| {
        let ids: Vec<String> = (0..1200).map(|n| n.to_string()).collect();
        let mut answers = Vec::new();
        for (id, at) in ids.iter().zip(0..) {
            answers.push(store.accept(task(id, "{}"), events(0..1, "queued")));
            answers.push(store.finish(id, Outcome::Cancelled, events(1..2, "error"), at));
        }
        for answer in answers {
            answer.await.unwrap();
        }
        store.forget(0).await.unwrap();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        assert_eq!(kept(&store, &ids).await, "1193119411951196119711981199");
    });
}

#[test]
fn a_full_store_refuses_and_takes_again_when_there_is_room() {
    let limits = Limits {
        bytes: 1 << 20,
        ended_tasks: 0,
        ..Limits::default()
    };
    on_both(&limits, async |store| {
        let mut accepted = 0;
        let refused = loop {
            let task = task(&accepted.to_string(), "x".repeat(50_000));
            match store.accept(task, events(0..1, "queued")).await {
                Ok(()) => accepted += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, StoreError::Full);
        assert!((10..=20).contains(&accepted), "{accepted}");
        assert_eq!(store.open_tasks().await.unwrap().len(), accepted);
        assert_eq!(store.task(&accepted.to_string()).await.unwrap(), None);
        store
            .finish("0", Outcome::Failed, events(1..2, "error"), 1)
            .await
            .unwrap();
        store.forget(1).await.unwrap();
        let next = task("next", "x".repeat(50_000));
        store.accept(next, events(0..1, "queued")).await.unwrap();
    });
}

#[test]
fn a_closed_store_says_so() {
    on_both(&Limits::default(), async |store| {
        store.close().await;
        store.close().await;
        let refused = store.accept(task("a", "{}"), events(0..1, "queued")).await;
        assert_eq!(refused, Err(StoreError::Closed));
        assert_eq!(store.open_tasks().await, Err(StoreError::Closed));
    });
}

#[test]
fn no_text_of_ours_has_the_prompt() {
    assert!(!format!("{:?}", task("a", "secret")).contains("secret"));
}
