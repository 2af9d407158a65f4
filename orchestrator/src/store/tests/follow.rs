//! Who follows a task sees each event once, in order, from wherever it begins.

use std::pin::pin;

use futures::StreamExt as _;
use proptest::prelude::*;

use super::*;

async fn rest(log: &TaskLog, after: Option<u64>) -> String {
    let pieces: Vec<_> = log.follow(after).collect().await;
    text(pieces.into_iter().map(Result::unwrap))
}

fn text(pieces: impl Iterator<Item = bytes::Bytes>) -> String {
    pieces
        .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
        .collect()
}

fn frames(ids: std::ops::RangeInclusive<u64>, event: &str) -> String {
    ids.map(|id| frame(id, event)).collect()
}

#[test]
fn an_ended_task_is_read_from_any_id_on() {
    on_both(&Limits::default(), async |store| {
        store
            .accept(task("a", "{}"), events(0..1, "e"))
            .await
            .unwrap();
        store.append("a", events(1..5, "e")).await.unwrap();
        store.append("a", events(5..6, "e")).await.unwrap();
        let live = store.log("a").await.unwrap().unwrap();
        store
            .finish("a", Outcome::Completed, events(6..8, "e"), 1)
            .await
            .unwrap();
        let ended = store.log("a").await.unwrap().unwrap();
        for log in [live, ended] {
            assert!(log.has_ended());
            assert_eq!(rest(&log, None).await, frames(0..=7, "e"));
            for after in 0..7 {
                assert_eq!(rest(&log, Some(after)).await, frames(after + 1..=7, "e"));
            }
            for after in [7, 8, u64::MAX] {
                assert_eq!(rest(&log, Some(after)).await, "");
            }
        }
    });
}

#[test]
fn who_waits_is_woken_and_many_may_wait() {
    on_both(&Limits::default(), async |store| {
        store
            .accept(task("a", "{}"), events(0..1, "e"))
            .await
            .unwrap();
        let log = store.log("a").await.unwrap().unwrap();
        let readers = futures::future::join_all((0..50).map(|_| rest(&log, Some(0))));
        let writer = async {
            for id in 1..20 {
                store.append("a", events(id..id + 1, "e")).await.unwrap();
                tokio::task::yield_now().await;
            }
            store
                .finish("a", Outcome::Cancelled, events(20..21, "e"), 1)
                .await
                .unwrap();
        };
        let (texts, ()) = futures::join!(readers, writer);
        assert!(texts.iter().all(|text| *text == frames(1..=20, "e")));
    });
}

#[test]
fn nothing_is_seen_before_it_is_committed() {
    on_both(&Limits::default(), async |store| {
        store
            .accept(task("a", "{}"), events(0..1, "e"))
            .await
            .unwrap();
        let log = store.log("a").await.unwrap().unwrap();
        let mut follower = pin!(log.follow(Some(0)));
        let refused = store.append("a", events(2..3, "e")).await;
        assert!(
            matches!(refused, Err(StoreError::Gap { .. })),
            "{refused:?}"
        );
        assert!(futures::poll!(follower.next()).is_pending());
        store.append("a", events(1..2, "e")).await.unwrap();
        assert_eq!(follower.next().await.unwrap().unwrap(), frame(1, "e"));
        assert!(futures::poll!(follower.next()).is_pending());
    });
}

#[test]
fn who_follows_is_told_when_the_end_cannot_be_stored() {
    let limits = Limits {
        bytes: 400 << 10,
        ..Limits::default()
    };
    on_both(&limits, async |store| {
        store
            .accept(task("a", "{}"), events(0..1, "e"))
            .await
            .unwrap();
        let log = store.log("a").await.unwrap().unwrap();
        let long = |bytes| Events::new(1, format!("data: {}\n\n", "x".repeat(bytes))).unwrap();
        let refused = store
            .finish("a", Outcome::Completed, long(500 << 10), 1)
            .await;
        assert_eq!(refused, Err(StoreError::Full));
        let pieces: Vec<_> = log.follow(Some(0)).collect().await;
        assert_eq!(pieces, [Err(StoreError::Full)]);
        store
            .finish("a", Outcome::Failed, long(10), 1)
            .await
            .unwrap();
        assert_eq!(
            rest(&log, Some(0)).await,
            format!("data: {}\n\n", "x".repeat(10))
        );
    });
}

#[derive(Debug, Clone)]
enum Step {
    /// The next events, so many, with so much data each.
    Append(u64, usize),
    /// Somebody begins after the id.
    Follow(Option<u64>),
    /// Of those who follow, one reads so many pieces.
    Read(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1_u64..6, 0_usize..400).prop_map(|(count, bytes)| Step::Append(count, bytes)),
        prop::option::of(0_u64..60).prop_map(Step::Follow),
        (0_usize..8, 1_usize..5).prop_map(|(who, pieces)| Step::Read(who, pieces)),
    ];
    prop::collection::vec(step, 1..60)
}

fn long_frame(id: u64, bytes: usize) -> String {
    format!("id: {id}\ndata: {}\n\n", "x".repeat(bytes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn each_reader_gets_what_a_plain_list_has(steps in steps(), window_bytes in 0_usize..2000) {
        block_on(async {
            let limits = Limits { window_bytes, ..Limits::default() };
            let store = Store::open(&Kind::Memory, limits).unwrap();
            let mut all = vec![long_frame(0, 1)];
            store.accept(task("a", "{}"), Events::new(0, all.concat()).unwrap()).await.unwrap();
            let log = store.log("a").await.unwrap().unwrap();
            let mut readers = Vec::new();
            for step in steps {
                match step {
                    Step::Append(count, bytes) => {
                        let first = all.len() as u64;
                        all.extend((first..first + count).map(|id| long_frame(id, bytes)));
                        let new = all[first as usize..].concat();
                        store.append("a", Events::new(first, new).unwrap()).await.unwrap();
                    }
                    Step::Follow(after) => {
                        let after = after.filter(|&id| id < all.len() as u64);
                        readers.push((after, Box::pin(log.follow(after)), Vec::new()));
                    }
                    Step::Read(who, pieces) => {
                        let many = readers.len().max(1);
                        let Some((after, reader, read)) = readers.get_mut(who % many) else {
                            continue;
                        };
                        let begin = after.map_or(0, |id| id as usize + 1);
                        for _ in 0..pieces {
                            let have = text(read.iter().cloned()).len();
                            if have < all[begin..].concat().len() {
                                read.push(reader.next().await.unwrap().unwrap());
                            }
                        }
                    }
                }
            }
            let next = all.len() as u64;
            all.push(long_frame(next, 1));
            let end = Events::new(next, all[next as usize].clone()).unwrap();
            store.finish("a", Outcome::Completed, end, 1).await.unwrap();
            for (after, reader, mut read) in readers {
                read.extend(reader.map(Result::unwrap).collect::<Vec<_>>().await);
                let begin = after.map_or(0, |id| id as usize + 1);
                assert_eq!(text(read.into_iter()), all[begin..].concat());
            }
        });
    }
}
