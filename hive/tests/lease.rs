//! The whole pool for one apply: whose it is, and how it ends.

use std::time::Duration;

use hive::home::{Home, open_lock, try_lock};
use hive::{Hive, rpc, workers};
use pool_core::digest::Sha256;
use pool_core::rpc::{Call, ErrorCode, Holder, Outcome, Request};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf,
};

use crate::util::{Pool, Worker, entry, line, wait_for};

fn holder(who: &str) -> Holder {
    Holder {
        who: who.into(),
        fleet: "home".parse().unwrap(),
        command: "rbee apply".into(),
        pid: 4711,
        since: "2001-02-03T04:05:06.7Z".parse().unwrap(),
    }
}

#[test]
fn a_pool_that_is_held_is_refused_with_its_holder_until_it_is_let_go() {
    let pool = Pool::with(Worker::Missing);
    let (mut one, mut two) = (pool.connect(), pool.connect());
    let id = one.lock(&holder("ann@desk")).unwrap();
    let refused = two.lock(&holder("ci@runner")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Locked);
    assert_eq!(
        refused.message,
        "ann@desk holds the pool with `rbee apply` of the fleet home, process 4711, since 2001-02-03 04:05:06 UTC"
    );
    assert!(refused.help.unwrap().contains("--lock-timeout"));
    // Also for another call of the same connection.
    assert_eq!(
        one.lock(&holder("ann@desk")).unwrap_err().code,
        ErrorCode::Locked
    );
    // It is not the lock that is held while something is written.
    two.bring(&entry("m", &[("a", b"a")]), &[b"a"]);

    assert_eq!(
        one.call(Request::Cancel { call: id }).unwrap(),
        Outcome::Cancelled
    );
    assert_eq!(one.answer(id).unwrap_err().code, ErrorCode::Cancelled);
    two.lock(&holder("ci@runner")).unwrap();
    let refused = one.lock(&holder("ann@desk")).unwrap_err();
    assert!(refused.message.starts_with("ci@runner holds"), "{refused}");
    assert_eq!(two.close().code(), Some(0));
    one.lock(&holder("ann@desk")).unwrap();
}

#[test]
fn a_holder_that_is_killed_frees_the_pool() {
    let pool = Pool::with(Worker::Missing);
    let mut one = pool.connect();
    one.lock(&holder("ann@desk")).unwrap();
    let mut two = pool.connect();
    two.lock(&holder("ci@runner")).unwrap_err();
    one.kill();
    two.lock(&holder("ci@runner")).unwrap();
}

#[test]
fn whoever_holds_the_pool_without_a_word_is_still_somebody() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    let path = pool.home.join("apply.lock");
    let file = open_lock(&path).unwrap();
    assert!(try_lock(&file, &path).unwrap());
    for text in ["", "{\"who\": \"ann", "{}", "\u{0}\u{0}"] {
        std::fs::write(&path, text).unwrap();
        let refused = connection.lock(&holder("ci@runner")).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Locked);
        assert!(
            refused.message.starts_with("somebody else applies"),
            "{refused}"
        );
    }
    drop(file);
    connection.lock(&holder("ci@runner")).unwrap();
}

/// The operator's side of a hive in this process that hears nothing for `silence`.
struct Operator {
    to: WriteHalf<DuplexStream>,
    from: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    hive: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Operator {
    fn of(pool: &Pool, silence: Duration) -> Self {
        let hive = Hive {
            home: Home::new(&pool.home).unwrap(),
            exe: pool.hive.canonicalize().unwrap(),
            http: workers::client().unwrap(),
        };
        let (here, there) = tokio::io::duplex(1 << 20);
        let (input, output) = tokio::io::split(there);
        let serve = async move { rpc::serve(&hive, BufReader::new(input), output, silence).await };
        let (from, to) = tokio::io::split(here);
        Self {
            to,
            from: BufReader::new(from).lines(),
            hive: tokio::spawn(serve),
        }
    }

    async fn send(&mut self, request: Request) {
        let call = Call {
            id: 1,
            expect: Vec::new(),
            request,
        };
        self.to.write_all(&line(&call)).await.unwrap();
    }

    async fn hears(&mut self, text: &str) {
        while let Some(line) = self.from.next_line().await.unwrap() {
            if line.contains(text) {
                return;
            }
        }
        panic!("the hive ended before it said {text}");
    }
}

#[test]
fn a_hive_that_hears_nothing_more_ends_and_frees_the_pool() {
    let pool = Pool::with(Worker::Missing);
    let model = entry("m", &[("a", b"content")]);
    pool.connect().register(&model).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // Once at a call's end, once within the content of a file.
        for is_sending in [false, true] {
            let mut operator = Operator::of(&pool, Duration::from_millis(200));
            let holder = holder("ann@desk");
            operator.to.write_all(b"\n").await.unwrap();
            operator.send(Request::Lock { holder }).await;
            operator.hears("locked").await;
            if is_sending {
                let (sha256, size) = (Sha256::of(b"content"), 7);
                operator.send(Request::Upload { sha256, size }).await;
                operator.hears("send").await;
                operator.to.write_all(b"con").await.unwrap();
            }
            let ended = operator.hive.await.unwrap();
            assert_eq!(ended.is_err(), is_sending, "{ended:?}");
            pool.connect().lock(&self::holder("ci@runner")).unwrap();
        }
    });
}

#[test]
fn a_hive_waits_for_an_operator_that_gives_no_signs_of_life() {
    let pool = Pool::with(Worker::Missing);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut operator = Operator::of(&pool, Duration::from_nanos(1));
        for _ in 0..3 {
            operator.send(Request::Observe).await;
            operator.hears("observed").await;
        }
        assert!(!operator.hive.is_finished());
        operator.to.write_all(b"\n").await.unwrap();
        operator.hive.await.unwrap().unwrap();
    });
}

#[test]
fn a_line_without_an_end_takes_no_memory_without_an_end() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        connection.write(&piece);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", connection.child.id()));
    connection.write(b"\n");
    let refused = connection.answer(0).unwrap_err();
    assert_eq!(refused.code, ErrorCode::BadRequest);
    assert!(refused.message.contains("16 MiB"), "{refused}");
    assert!(connection.call(Request::Observe).is_ok());
    let status = status.unwrap();
    let peak = wait_for("VmHWM", || {
        let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    assert!(peak < 60_000, "{peak} kB");
}
