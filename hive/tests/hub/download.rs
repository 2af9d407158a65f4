//! What a download does when nothing goes wrong.

use std::fs;

use local_hub::{Hub, Place};
use pool_core::model::CatalogEntry;

use super::{Scene, repository};
use crate::util::{Pool, Worker, tiny_llama};

#[test]
fn a_model_of_the_hub_is_brought_once_and_answers() {
    let hub = Hub::builder()
        .repo("org/tiny", tiny_llama())
        .start()
        .unwrap();
    let mut pool = Pool::new();
    pool.hub = Some(hub.url().to_owned());
    let run = |arguments: &[&str]| pool.ok(arguments);
    let source = "hf:org/tiny";
    let registered = run(&["models", "register", "tiny", "--source", source, "--json"]);
    let entry: CatalogEntry = serde_json::from_str(&registered).unwrap();
    assert_eq!(entry.source.revision, hub.commit("org/tiny"));
    assert!(!entry.downloaded && entry.name == "org/tiny");
    // The same files, sizes and digests as those of the folder.
    assert_eq!(
        entry.manifest(),
        pool_core::folder::read(&tiny_llama()).unwrap()
    );
    assert_eq!(hub.blob_bytes(), 0);
    run(&["models", "download", "tiny"]);
    assert_eq!(hub.fetched_twice(), 0);
    pool.spawn_tiny();
    // What is here is not asked for again.
    hub.forget_requests();
    run(&["models", "download", "tiny"]);
    assert_eq!(hub.requests(), []);
}

#[test]
fn large_files_come_in_several_ranges_at_once_each_byte_once() {
    let scene = Scene::new(2, 70 << 20);
    scene.download();
    scene.is_right();
    assert_eq!(scene.hub.fetched_twice(), 0);
    let requests = scene.hub.requests();
    let ranges = requests
        .iter()
        .filter(|request| request.place == Place::Blobs && request.method == "GET");
    assert_eq!(ranges.count(), 4, "{requests:?}");
    assert!(scene.pool.observe().rates.hub.is_some_and(|rate| rate > 0));
}

#[test]
fn a_file_that_two_models_share_comes_once_and_stays_for_the_other() {
    let scene = Scene::unregistered(1, 12 << 20);
    let other = repository(&scene.pool.scratch().join("other"), 1, 12 << 20);
    fs::write(other.join("generation_config.json"), "{}").unwrap();
    let hub = Hub::builder()
        .repo("org/m", &scene.folder)
        .repo("org/other", other)
        .start()
        .unwrap();
    let mut scene = Scene { hub, ..scene };
    scene.pool.hub = Some(scene.hub.url().to_owned());
    scene.ok(&["models", "register", "m", "--source", "hf:org/m"]);
    scene.ok(&["models", "register", "n", "--source", "hf:org/other"]);
    scene.download();
    assert_eq!(scene.hub.blob_bytes(), 12 << 20);
    scene.ok(&["models", "download", "n"]);
    assert_eq!(scene.hub.blob_bytes(), 12 << 20);
    let before = scene.pool.blobs().len();
    scene.ok(&["models", "remove", "m"]);
    assert_eq!(scene.pool.blobs().len(), before, "all of m is of n too");
    assert!(!scene.entry().downloaded);
    scene.ok(&["models", "remove", "n"]);
    assert_eq!(scene.pool.blobs().len(), 0);
    // The catalog still knows it, and it can come again.
    scene.download();
    scene.is_right();
}

#[test]
fn what_was_touched_is_read_again_and_brought_only_when_it_is_wrong() {
    let scene = Scene::new(1, 1 << 20);
    scene.download();
    let weights = scene.weights();
    let blob = scene
        .pool
        .home
        .join(format!("models/blobs/{}", weights.sha256));
    let observed = || scene.pool.observe().models.remove(0);
    assert!(observed().is_whole());

    // Copied away and back: the bytes are right.
    let copy = scene.pool.scratch().join("copy");
    fs::copy(&blob, &copy).unwrap();
    fs::rename(&copy, &blob).unwrap();
    assert_eq!(observed().touched, std::slice::from_ref(&weights.path));
    assert_eq!(observed().damaged, []);
    scene.hub.forget_requests();
    scene.download();
    assert!(observed().is_whole());
    assert_eq!(scene.hub.requests(), []);

    // One byte is another, and the time of the file is what it was.
    let before = fs::metadata(&blob).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, bytes).unwrap();
    let file = fs::File::options().write(true).open(&blob).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(observed().touched, std::slice::from_ref(&weights.path));
    scene.download();
    scene.is_right();
    assert_eq!(scene.hub.blob_bytes(), weights.size);
}

/// Bytes that a process read from anywhere.
#[cfg(target_os = "linux")]
fn bytes_read(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar:"));
    read.unwrap().trim().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_pool_tells_what_it_has_without_reading_contents() {
    use pool_core::rpc::{Outcome, Request};

    let scene = Scene::new(2, 8 << 20);
    scene.download();
    let mut connection = scene.pool.connect();
    for _ in 0..2 {
        let observed = connection.call(Request::Observe);
        let Ok(Outcome::Observed(observed)) = observed else {
            panic!("{observed:?}")
        };
        assert!(observed.models[0].is_whole());
    }
    let read = bytes_read(connection.child.id());
    assert!(read < scene.weights().size, "{read} bytes were read");
}

#[test]
fn a_model_that_a_worker_runs_keeps_its_files() {
    let pool = Pool::new();
    pool.register_tiny();
    pool.spawn_tiny();
    for verb in ["remove", "unregister"] {
        let error = pool.fails(&["models", verb, "tiny"]);
        assert!(error.contains("runs the model tiny"), "{error}");
    }
    assert!(pool.observe().models[0].is_whole());
}

#[test]
fn weights_that_the_index_does_not_name_are_left_at_the_hub() {
    let scene = Scene::unregistered(2, 1 << 20);
    for name in ["consolidated.safetensors", "pytorch_model.bin", "README.md"] {
        fs::write(scene.folder.join(name), vec![7; 2 << 20]).unwrap();
    }
    scene.hub.push("org/m", &scene.folder).unwrap();
    scene.ok(&["models", "register", "m", "--source", "hf:org/m"]);
    scene.download();
    scene.is_right();
    assert_eq!(scene.hub.blob_bytes(), 2 << 20);
}

#[test]
fn one_gguf_file_of_a_repository_is_a_model() {
    let gguf = tiny_llama().with_file_name("tiny-llama-gguf");
    let hub = Hub::builder().repo("org/gguf", &gguf).start().unwrap();
    let name = gguf.read_dir().unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        let is_gguf = path.extension().is_some_and(|it| it == "gguf");
        is_gguf.then(|| path.file_name().unwrap().to_str().unwrap().to_owned())
    });
    let name = name.unwrap();
    let mut pool = Pool::new();
    pool.hub = Some(hub.url().to_owned());
    let source = format!("hf:org/gguf::{name}");
    pool.ok(&["models", "register", "tiny", "--source", &source]);
    let entry = pool.observe().models.remove(0).entry;
    assert_eq!(
        entry.manifest(),
        pool_core::folder::read(&gguf.join(&name)).unwrap()
    );
    pool.ok(&["models", "download", "tiny"]);
    pool.spawn_tiny();
    let wrong = source.replace(".gguf", "-x.gguf");
    let error = pool.fails(&["models", "register", "n", "--source", &wrong]);
    assert!(error.contains(&name), "the near name is told: {error}");
}

#[test]
fn only_models_of_the_hub_are_downloaded() {
    let pool = Pool::with(Worker::Missing);
    pool.register_tiny();
    let error = pool.fails(&["models", "download", "tiny"]);
    assert!(error.contains("is not from the hub"), "{error}");
    let error = pool.fails(&["models", "download", "none"]);
    assert!(error.contains("the catalog has no model none"), "{error}");
}
