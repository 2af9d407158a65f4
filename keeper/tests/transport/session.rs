//! Running hives: what happens to calls, to the connection, and to what is left on the pool.

use std::io::{Cursor, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use keeper::transport::{CallError, Connection, Forward, Options};
use pool_core::digest::Sha256;
use pool_core::model::CatalogEntry;
use pool_core::rpc::{Event, Outcome, Request};
use pool_core::supply::HubAccess;

use super::{POLITE, bundle, connect, eventually, options, running, ssh};
use crate::program;
use crate::sshd::Lab;

#[tokio::test]
async fn the_real_hive_answers_takes_content_and_runs_commands_all_over_one_connection() {
    let lab = Lab::new();
    let sshd = lab.server("box").home("a home").start();
    let connection = connect(&lab, &sshd).await;
    let hive = std::fs::read(program("rbee-hive")).unwrap();
    let bundle = bundle(&lab, "build", hive);
    connection.install(&bundle, |_| ()).await.unwrap();
    let client = running(connection.open().await.unwrap());

    let content: Vec<u8> = (0..5_000_000_u32).map(|n| (n >> 3) as u8).collect();
    let (sha256, size) = (Sha256::of(&content), content.len() as u64);
    let entry = Box::new(model(sha256, size));
    let missing = client.call(Request::Register { entry }, |_| ()).await;
    assert!(matches!(missing, Ok(Outcome::Missing(files)) if files.len() == 1));

    let observe = client.call(Request::Observe, |_| ());
    let upload = client.upload(sha256, size, Cursor::new(content), |_| ());
    let mut printed = Vec::new();
    let argv = vec!["devices".to_owned()];
    let request = Request::Command {
        argv,
        access: HubAccess::default(),
    };
    let command = client.call(request, |event| printed.push(event));
    let (observed, uploaded, exit) = tokio::join!(observe, upload, command);

    let Ok(Outcome::Observed(observed)) = observed else {
        panic!("{observed:?}");
    };
    assert_eq!(observed.build, Some(bundle.digest));
    assert_eq!(Path::new(&observed.home), sshd.home());
    assert_eq!(uploaded, Ok(Outcome::Stored));
    assert_eq!(exit, Ok(Outcome::Exit(0)));
    let has_cpu =
        |event: &Event| matches!(event, Event::Output { line, .. } if line.contains("cpu"));
    assert!(printed.iter().any(has_cpu), "{printed:?}");
    client.close().await;
    connection.close().await;
}

/// A model of one file.
fn model(sha256: Sha256, size: u64) -> CatalogEntry {
    let digest = Sha256::of(format!("{sha256}  model.safetensors\n"));
    let entry = serde_json::json!({
        "id": "tiny",
        "name": "tiny",
        "source": { "repo": "./tiny" },
        "path": "",
        "digest": digest,
        "size_bytes": size,
        "files": [{ "path": "model.safetensors", "size": size, "sha256": sha256 }],
        "downloaded": false,
        "backends": ["cpu"],
        "format": "safetensors",
        "architecture": "llama",
        "context_length": 512,
        "vocab_size": 256,
    });
    serde_json::from_value(entry).unwrap()
}

#[tokio::test]
async fn a_killed_server_fails_the_calls_in_flight_at_once() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let connection = connect(&lab, &sshd).await;
    connection
        .install(&bundle(&lab, "build", POLITE), |_| ())
        .await
        .unwrap();
    let client = running(connection.open().await.unwrap());
    let call = client.call(Request::Observe, |_| ());
    let kill = async {
        let asked = sshd.home().join("asked");
        eventually("the call arrived", || asked.exists()).await;
        sshd.kill();
        Instant::now()
    };
    let (result, killed) = tokio::join!(call, kill);
    assert!(
        killed.elapsed() < Duration::from_secs(3),
        "{:?}",
        killed.elapsed()
    );
    let error = result.unwrap_err();
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
    println!("{error} after {:?}", killed.elapsed());
    let again = client.call(Request::Observe, |_| ()).await.unwrap_err();
    assert_eq!(again, error);
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let options = Options {
        alive_interval: Duration::from_secs(1),
        ..options(&lab)
    };
    let pool = "mac".parse().unwrap();
    let connection = Connection::connect(&pool, &ssh(&sshd.destination()), &options).await;
    let connection = connection.unwrap();
    connection
        .install(&bundle(&lab, "build", POLITE), |_| ())
        .await
        .unwrap();
    let client = running(connection.open().await.unwrap());
    sshd.freeze();
    let start = Instant::now();
    let error = client.call(Request::Observe, |_| ()).await.unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    println!("{error} after {:?}", start.elapsed());
    assert!(error.to_string().contains("not responding"), "{error}");
}

#[tokio::test]
async fn a_dropped_client_ends_the_hive_on_the_pool() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let connection = connect(&lab, &sshd).await;
    connection
        .install(&bundle(&lab, "build", POLITE), |_| ())
        .await
        .unwrap();
    let client = running(connection.open().await.unwrap());
    drop((client, connection));
    let ended = sshd.home().join("ended");
    eventually("the hive ended", || ended.exists()).await;
}

#[tokio::test]
async fn a_pool_behind_a_jump_host_is_a_pool_as_any() {
    let lab = Lab::new();
    let outer = lab.sshd("outer");
    let inner = lab.sshd("inner");
    lab.configure("Host inner\n  ProxyJump outer\n");
    let connection = connect(&lab, &inner).await;
    connection
        .install(&bundle(&lab, "build", POLITE), |_| ())
        .await
        .unwrap();
    running(connection.open().await.unwrap()).close().await;
    assert!(inner.home().join("ended").exists());
    assert!(
        outer.log().contains("Accepted publickey"),
        "{}",
        outer.log()
    );
}

#[tokio::test]
async fn one_run_is_one_login() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let start = Instant::now();
    let connection = connect(&lab, &sshd).await;
    println!("connected after {:?}", start.elapsed());
    let start = Instant::now();
    connection.open().await.unwrap();
    println!("opened a bare pool after {:?}", start.elapsed());
    connection
        .install(&bundle(&lab, "build", POLITE), |_| ())
        .await
        .unwrap();
    let start = Instant::now();
    let client = running(connection.open().await.unwrap());
    println!("opened a running hive after {:?}", start.elapsed());
    client.close().await;
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1);
}

#[tokio::test]
async fn a_port_of_the_pool_can_be_reached_through_the_same_connection() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let connection = connect(&lab, &sshd).await;
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word).unwrap();
    });
    let Forward::Unix(path) = connection.forward(address).await.unwrap() else {
        panic!("another machine's port is no address of this one");
    };
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"ping").unwrap();
    let mut word = [0; 4];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"ping");
    echo.join().unwrap();
}
