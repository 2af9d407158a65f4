//! A hub that fails, disks that are full, hives that are killed.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use local_hub::{Fault, Hub, Place, Times};

use super::{Scene, noise, repository};
use crate::util::{Pool, Worker, wait_for};

#[test]
fn a_hive_that_is_killed_twenty_times_takes_up_what_came() {
    const KILLS: u64 = 20;
    const SIZE: usize = 40 << 20;
    let scene = Scene::new(4, SIZE);
    // A download of several seconds, so that each run is killed within it.
    scene
        .hub
        .faults()
        .add(Place::Blobs, Fault::Slow(16 << 20), Times::Always);
    for random in noise(7, KILLS as usize) {
        let moment = u64::from(random) * 2;
        let mut hive = scene
            .command(&["models", "download", "m"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        hive.kill().unwrap();
        hive.wait().unwrap();
    }
    let before_last = scene.hub.blob_bytes();
    scene.hub.faults().clear();
    scene.download();
    scene.is_right();
    let (all, twice) = (4 * SIZE as u64, scene.hub.fetched_twice());
    // One stream for each file: it loses what it had read and not yet written, and what the line had in it.
    assert!(twice <= KILLS * 4 * (4 << 20), "{twice} bytes twice");
    assert!(before_last > 0);
    let last = scene.hub.blob_bytes() - before_last;
    assert!(last < all, "the last run began anew: {last} of {all} bytes");
    eprintln!("{KILLS} kills: {twice} of {all} bytes came twice");
}

#[test]
fn a_line_that_is_cut_after_each_mebibyte_is_enough() {
    let scene = Scene::new(2, 20 << 20);
    scene
        .hub
        .faults()
        .add(Place::Blobs, Fault::Cut(1 << 20), Times::Always);
    scene.download();
    scene.is_right();
    assert_eq!(scene.hub.fetched_twice(), 0);
}

#[test]
fn a_line_that_falls_silent_is_given_up() {
    let scene = Scene::new(1, 12 << 20);
    scene
        .hub
        .faults()
        .add(Place::Blobs, Fault::Stall(1 << 20), Times::Next(1));
    scene.download();
    scene.is_right();
}

#[test]
fn bytes_that_are_wrong_once_come_again_and_are_told_of() {
    let scene = Scene::new(1, 12 << 20);
    let faults = scene.hub.faults();
    faults.add(Place::Blobs, Fault::Flip, Times::Next(1));
    let said = scene.download();
    assert!(
        said.contains("note: the hub gave model-00001-of-00001.safetensors with wrong bytes"),
        "{said}"
    );
    scene.is_right();
}

#[test]
fn bytes_that_are_always_wrong_never_get_in() {
    let scene = Scene::new(1, 12 << 20);
    let always = scene
        .hub
        .faults()
        .add(Place::Blobs, Fault::Flip, Times::Always);
    let error = scene.fails(&["models", "download", "m"]);
    assert!(
        error.contains("the hub gave model-00001-of-00001.safetensors twice"),
        "{error}"
    );
    let weights = scene.weights();
    assert!(!scene.pool.blobs().contains(&weights.sha256.to_string()));
    assert!(!scene.pool.observe().models[0].is_whole());
    scene.hub.faults().remove(always);
    scene.download();
    scene.is_right();
}

#[test]
fn a_server_that_lies_about_lengths_gives_the_right_bytes_or_an_error() {
    let scene = Scene::new(1, 12 << 20);
    let faults = scene.hub.faults();
    faults.add(Place::Blobs, Fault::Length(1000), Times::Always);
    scene.download();
    scene.is_right();
    scene.ok(&["models", "remove", "m"]);
    faults.clear();
    faults.add(Place::Blobs, Fault::Length(-1000), Times::Next(4));
    scene.download();
    scene.is_right();
}

#[test]
fn a_server_that_ignores_ranges_is_understood() {
    let scene = Scene::new(1, 70 << 20);
    scene
        .hub
        .faults()
        .add(Place::Blobs, Fault::Whole, Times::Always);
    scene.download();
    scene.is_right();
}

#[test]
fn a_hub_that_wants_fewer_requests_is_left_alone_for_as_long_as_it_says() {
    let scene = Scene::new(1, 12 << 20);
    let busy = Fault::Status {
        status: 429,
        retry_after: Some(2),
    };
    let time = Duration::from_secs(5);
    let faults = scene.hub.faults();
    for place in [Place::Resolve, Place::Blobs] {
        faults.add(place, busy, Times::For(time));
    }
    let begun = Instant::now();
    scene.download();
    assert!(begun.elapsed() >= time);
    scene.is_right();
    let refused = scene.hub.requests();
    let refused = refused.iter().filter(|request| request.status == 429);
    // Four files, each asked again after 2 s and a little more.
    assert!(refused.count() <= 4 * 3);
}

#[test]
fn a_hub_that_is_busy_for_a_moment_without_saying_how_long_is_asked_again() {
    let scene = Scene::new(1, 12 << 20);
    let faults = scene.hub.faults();
    faults.add(Place::Blobs, Fault::status(503), Times::Next(2));
    faults.add(Place::Resolve, Fault::status(500), Times::Next(2));
    scene.download();
    scene.is_right();
}

#[test]
fn a_redirect_in_a_loop_ends_at_once() {
    let scene = Scene::new(1, 12 << 20);
    scene
        .hub
        .faults()
        .add(Place::Resolve, Fault::Loop, Times::Always);
    let begun = Instant::now();
    let error = scene.fails(&["models", "download", "m"]);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(error.contains("too many redirects"), "{error}");
    assert!(error.contains("org/m"), "{error}");
}

#[test]
fn a_hub_that_is_not_there_is_named() {
    let scene = Scene::new(1, 1 << 20);
    let (url, pool) = (scene.hub.url().to_owned(), scene.pool);
    drop(scene.hub);
    let error = pool.fails(&["models", "register", "n", "--source", "hf:org/m"]);
    assert!(error.contains(&url), "{error}");
    assert!(error.contains("HF_ENDPOINT"), "{error}");
}

#[test]
fn two_that_download_the_same_bring_each_byte_once() {
    let scene = Scene::new(3, 24 << 20);
    scene
        .hub
        .faults()
        .add(Place::Blobs, Fault::Slow(24 << 20), Times::Always);
    let mut runs: Vec<_> = (0..2)
        .map(|_| scene.command(&["models", "download", "m"]).spawn().unwrap())
        .collect();
    for run in &mut runs {
        assert!(run.wait().unwrap().success());
    }
    scene.is_right();
    assert_eq!(scene.hub.fetched_twice(), 0);
}

#[test]
fn who_waits_takes_over_when_the_other_dies() {
    let scene = Scene::new(1, 24 << 20);
    let slow = scene
        .hub
        .faults()
        .add(Place::Blobs, Fault::Slow(4 << 20), Times::Always);
    let mut first = scene.command(&["models", "download", "m"]).spawn().unwrap();
    wait_for("the first bytes", || {
        (scene.hub.blob_bytes() > 0).then_some(())
    });
    let mut second = scene.command(&["models", "download", "m"]).spawn().unwrap();
    // The second has nothing to do as long as the first lives.
    std::thread::sleep(Duration::from_millis(500));
    scene.hub.faults().remove(slow);
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success());
    scene.is_right();
}

#[test]
fn names_that_lead_out_of_the_model_are_nothing_that_is_brought() {
    let scene = Scene::unregistered(1, 1 << 20);
    for path in ["../evil.json", "a/../../evil.json", "/etc/evil.json"] {
        scene.hub.add_file("org/m", path, b"evil").unwrap();
    }
    let link = serde_json::json!({
        "type": "file", "path": "sub/../../evil", "size": 4, "oid": "0".repeat(40)
    });
    scene.hub.add_entry("org/m", link).unwrap();
    scene.ok(&["models", "register", "m", "--source", "hf:org/m"]);
    scene.download();
    scene.is_right();
    let names: Vec<String> = scene
        .entry()
        .files
        .iter()
        .map(|file| file.file.path.to_string())
        .collect();
    assert!(names.iter().all(|name| !name.contains("evil")), "{names:?}");
}

#[test]
fn a_gated_model_says_which_page_and_which_token() {
    let mut pool = Pool::with(Worker::Missing);
    let folder = repository(&pool.scratch().join("repository"), 1, 1 << 20);
    let hub = Hub::builder()
        .repo("org/gated", &folder)
        .repo("org/private", &folder)
        .gated("org/gated", "hf_right")
        .private("org/private", "hf_right")
        .token("hf_other")
        .start()
        .unwrap();
    pool.hub = Some(hub.url().to_owned());
    let register = |repo: &str, token: Option<&str>| {
        let source = format!("hf:{repo}");
        let mut command = pool.command(&["models", "register", "m", "--source", &source]);
        let output = command
            .envs(token.map(|token| ("HF_TOKEN", token)))
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let page = format!("{}/org/gated", hub.url());
    let (_, error) = register("org/gated", None);
    assert!(
        error.contains("is gated, and no token was given"),
        "{error}"
    );
    assert!(
        error.contains(&page) && error.contains("HF_TOKEN"),
        "{error}"
    );
    let (_, error) = register("org/gated", Some("hf_other"));
    assert!(
        error.contains("the account of this token may not have it"),
        "{error}"
    );
    assert!(error.contains(&page), "{error}");
    assert!(!error.contains("hf_other"), "{error}");
    let (_, error) = register("org/private", None);
    assert!(error.contains("no model org/private"), "{error}");
    let (done, error) = register("org/gated", Some("hf_right"));
    assert!(done, "{error}");
    let mut command = pool.command(&["models", "download", "m"]);
    assert!(
        command
            .env("HF_TOKEN", "hf_right")
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn what_is_no_model_is_refused_with_the_reason() {
    let scene = Scene::unregistered(1, 1000);
    fs::write(scene.folder.join("pytorch_model.bin"), "x").unwrap();
    fs::remove_file(scene.folder.join("model-00001-of-00001.safetensors")).unwrap();
    scene.hub.push("org/m", &scene.folder).unwrap();
    let error = scene.fails(&["models", "register", "m", "--source", "hf:org/m"]);
    assert!(error.contains("pickles (pytorch_model.bin)"), "{error}");
    let error = scene.fails(&["models", "register", "m", "--source", "hf:org/none"]);
    assert!(error.contains("no model org/none"), "{error}");
    let error = scene.fails(&["models", "register", "m", "--source", "hf:org/m@nowhere"]);
    assert!(error.contains("no revision nowhere"), "{error}");
}

/// A real disk of 32 MiB, in namespaces of its own; where the kernel refuses these to its users, the test says so.
#[test]
fn a_disk_that_fills_up_on_the_way_is_said_and_the_rest_comes_later() {
    let scene = Scene::new(1, 20 << 20);
    let disk = scene.pool.scratch().join("disk");
    fs::create_dir(&disk).unwrap();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount"])
            .args([
                "sh",
                "-ec",
                &format!("mount -t tmpfs -o size=32m rbee \"$0\"; {script}"),
            ])
            .args([&disk, &scene.pool.hive])
            .env("RBEE_HOME", disk.join("home"));
        scene.pool.to_hub(&mut command);
        command.output().unwrap()
    };
    if !inside("true").status.success() {
        eprintln!("not run: the kernel gives no namespaces to this user");
        return;
    }
    scene
        .hub
        .faults()
        .add(Place::Blobs, Fault::Slow(10 << 20), Times::Always);
    let register = r#""$1" models register m --source hf:org/m >&2"#;
    // Too small from the beginning: nothing moves.
    let script =
        format!(r#"{register}; head -c 20000000 /dev/zero > "$0/fill"; "$1" models download m"#);
    let output = inside(&script);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("is full: 21.0 MB needed, 1"), "{error}");
    assert_eq!(scene.hub.blob_bytes(), 0);
    // Somebody else fills it up while the weights come; then there is room again.
    let script = format!(
        r#"{register}
        "$1" models download m & pid=$!
        until [ "$(du -sk "$0/home/models" | cut -f1)" -gt 5000 ]; do sleep 0.02; done
        cat /dev/zero > "$0/fill" 2>/dev/null || true
        wait $pid && exit 9 || echo "exit $?"
        "$1" models catalog
        rm "$0/fill"
        "$1" models download m
        "$1" models verify m"#
    );
    let output = inside(&script);
    let (said, error) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(output.status.success(), "{said}{error}");
    assert!(said.starts_with("exit 1\n"), "{said}");
    assert!(error.contains("is full"), "{error}");
    assert!(said.contains("incomplete"), "{said}");
    assert!(said.contains("verified m"), "{said}");
}

#[test]
fn a_model_of_many_files_needs_few_descriptors() {
    let scene = Scene::new(300, 5000);
    let script = r#"ulimit -n 128; exec "$0" models download m"#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(&scene.pool.hive);
    command.env("RBEE_HOME", &scene.pool.home);
    scene.pool.to_hub(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    scene.is_right();
    assert_eq!(scene.hub.fetched_twice(), 0);
}

#[test]
fn a_model_that_is_taken_out_while_it_comes_leaves_nothing() {
    let scene = Scene::new(1, 20 << 20);
    let slow = Fault::Slow(10 << 20);
    scene.hub.faults().add(Place::Blobs, slow, Times::Always);
    let mut command = scene.command(&["models", "download", "m"]);
    let run = command.stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the first bytes", || {
        (scene.hub.blob_bytes() > 0).then_some(())
    });
    scene.ok(&["models", "unregister", "m"]);
    let output = run.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("was it removed meanwhile?"), "{error}");
    assert_eq!(scene.pool.blobs().len(), 0);
    assert_eq!(scene.incoming(), Vec::<String>::new());
}

#[test]
fn sizes_that_no_disk_has_are_refused() {
    let scene = Scene::unregistered(1, 1000);
    let entry = serde_json::json!({
        "type": "file", "path": "model-00001-of-00001.safetensors", "size": u64::MAX, "oid": "0".repeat(40),
        "lfs": { "oid": "0".repeat(64), "size": u64::MAX, "pointerSize": 100 }
    });
    scene.hub.add_entry("org/m", entry).unwrap();
    let error = scene.fails(&["models", "register", "m", "--source", "hf:org/m"]);
    assert!(error.contains("larger than any disk"), "{error}");
}
