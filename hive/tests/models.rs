//! What happens to content: owners, sharing, damage, use.

use pool_core::rpc::{ErrorCode, Request};

use crate::util::{Pool, Worker, entry, spec};

#[test]
fn a_model_comes_over_the_connection_and_can_be_read() {
    let pool = Pool::with(Worker::Missing);
    let model = entry("m", &[("config.json", b"{}"), ("sub/weights", b"12345")]);
    let mut connection = pool.connect();
    let missing = connection.register(&model).unwrap();
    assert_eq!(missing.len(), 2);
    assert_eq!(pool.observe().models[0].damaged.len(), 2);
    let early = connection.publish(&model).unwrap_err();
    assert_eq!(early.code, ErrorCode::NotFound);
    for content in [&b"{}"[..], b"12345"] {
        connection.upload(content).unwrap();
    }
    let published = connection.publish(&model).unwrap();
    assert!(published.downloaded);
    assert!(
        published
            .files
            .iter()
            .all(|file| file.verified_at.is_some())
    );
    let weights = std::path::Path::new(&published.path).join("sub/weights");
    assert_eq!(std::fs::read(&weights).unwrap(), b"12345");
    assert!(std::fs::read_link(&weights).unwrap().is_relative());
    assert!(pool.observe().models[0].is_whole());
    // Again, all of it: nothing is missing and nothing changes.
    let before = pool.observe();
    assert_eq!(connection.register(&model).unwrap(), []);
    connection.publish(&model).unwrap();
    assert_eq!(pool.observe().models, before.models);
}

#[test]
fn damage_is_seen_and_only_that_file_is_missing() {
    let pool = Pool::with(Worker::Missing);
    let model = entry("m", &[("a", b"aaa"), ("b", b"bbb")]);
    let mut connection = pool.connect();
    connection.bring(&model, &[b"aaa", b"bbb"]);
    let blob = pool
        .home
        .join(format!("models/blobs/{}", model.files[1].file.sha256));

    // Cut: seen by size alone.
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, "bb").unwrap();
    assert_eq!(pool.observe().models[0].damaged, ["b".parse().unwrap()]);
    assert_eq!(
        connection.register(&model).unwrap(),
        [model.files[1].file.clone()]
    );
    connection.upload(b"bbb").unwrap();
    connection.publish(&model).unwrap();
    assert!(pool.observe().models[0].is_whole());

    // Changed: it was touched, which reading finds wrong, and from then on it is missing.
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, "bxb").unwrap();
    let seen = pool.observe().models.remove(0);
    assert_eq!(
        (seen.damaged, seen.touched),
        (vec![], vec!["b".parse().unwrap()])
    );
    let error = pool.fails(&["models", "verify", "m"]);
    assert!(error.contains("the content of b has the sha256"), "{error}");
    assert_eq!(pool.observe().models[0].damaged, ["b".parse().unwrap()]);

    // A link that is gone is laid out again.
    connection.bring(&model, &[b"bbb"]);
    std::fs::remove_file(std::path::Path::new(&pool.observe().models[0].entry.path).join("a"))
        .unwrap();
    assert_eq!(pool.observe().models[0].damaged, ["a".parse().unwrap()]);
    connection.bring(&model, &[]);
    assert!(pool.observe().models[0].is_whole());
}

#[test]
fn what_two_models_share_stays_until_the_last_is_gone() {
    let pool = Pool::with(Worker::Missing);
    let one = entry("one", &[("shared", b"both"), ("own", b"1")]);
    let two = entry("two", &[("shared", b"both"), ("copy", b"both")]);
    let mut connection = pool.connect();
    connection.bring(&one, &[b"1", b"both"]);
    connection.bring(&two, &[]);
    assert_eq!(pool.blobs().len(), 2);
    pool.ok(&["models", "unregister", "one"]);
    assert_eq!(pool.blobs().len(), 1);
    pool.ok(&["models", "verify", "two"]);
    pool.ok(&["models", "unregister", "two"]);
    assert_eq!(pool.blobs().len(), 0);
}

#[test]
fn what_belongs_to_another_fleet_is_refused() {
    let pool = Pool::with(Worker::Missing);
    let ours = entry("m", &[("a", b"ours")]);
    let mut theirs = entry("m", &[("a", b"theirs")]);
    theirs.fleet = Some("lab".parse().unwrap());
    let mut same = ours.clone();
    same.fleet = theirs.fleet.clone();
    let mut connection = pool.connect();
    connection.bring(&ours, &[b"ours"]);

    let refused = connection.register(&theirs).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotOwned);
    assert!(
        refused.message.contains("belongs to the fleet home"),
        "{refused}"
    );
    // The same content is fine; the owner stays.
    assert_eq!(connection.register(&same).unwrap(), []);
    assert_eq!(pool.observe().models[0].entry.fleet, ours.fleet);
    let unregister = |owner: Option<&str>| Request::Unregister {
        model: ours.id.clone(),
        owner: owner.map(|owner| owner.parse().unwrap()),
    };
    let refused = connection.call(unregister(Some("lab"))).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotOwned);
    connection.call(unregister(Some("home"))).unwrap();
    let gone = connection.call(unregister(Some("home"))).unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
}

#[test]
fn the_content_of_a_running_worker_stays() {
    let pool = Pool::new();
    pool.register_tiny();
    let record = pool.spawn_tiny();
    let in_use = pool.fails(&["models", "unregister", "tiny"]);
    assert!(in_use.contains(record.id.as_str()), "{in_use}");

    // Replaced by the same owner: the old content stays while the worker lives.
    let mut second = entry("tiny", &[("config.json", b"{}")]);
    second.fleet = None;
    let old = pool.blobs();
    let mut connection = pool.connect();
    connection.bring(&second, &[b"{}"]);
    assert_eq!(pool.blobs().len(), old.len() + 1);
    assert!(pool.workers()[0].is_serving());
    pool.ok(&["worker", "stop", record.id.as_str()]);
    assert_eq!(pool.blobs().len(), 1);
}

#[test]
fn an_entry_that_contradicts_itself_is_refused() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    let good = entry("m", &[("a", b"a")]);
    let mut digest = good.clone();
    digest.digest = pool_core::digest::Sha256::of("another");
    let mut twice = good.clone();
    twice.files.push(twice.files[0].clone());
    let blobs = entry("blobs", &[("a", b"a")]);
    let empty = entry("m", &[]);
    for (bad, said) in [
        (digest, "digest"),
        (twice, "a twice"),
        (blobs, "under this name"),
        (empty, "no files"),
    ] {
        let refused = connection.register(&bad).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
        assert!(refused.message.contains(said), "{refused}");
    }
    assert!(pool.observe().models.is_empty());
}

#[test]
fn a_worker_is_not_started_on_content_that_is_not_there() {
    let pool = Pool::new();
    let model = entry("m", &[("a", b"a")]);
    let mut connection = pool.connect();
    let refused = connection.spawn(&spec(&model, 0)).unwrap_err();
    assert!(refused.message.contains("not in the catalog"), "{refused}");
    connection.register(&model).unwrap();
    let refused = connection.spawn(&spec(&model, 0)).unwrap_err();
    assert!(refused.message.contains("not all here"), "{refused}");
    let other = entry("m", &[("a", b"b")]);
    let refused = connection.spawn(&spec(&other, 0)).unwrap_err();
    assert!(refused.message.contains("its content is"), "{refused}");
    assert_eq!(pool.workers(), []);
}
