use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;

use http_front::Trace;

use crate::core::AttemptError;
use crate::daemon::Upstream;

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      2\r\nab\r\n1\r\nc\r\n3\r\ndef\r\n0\r\n\r\n";
const TORN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n9\r\nc";

/// A worker that accepts a connection for each list, answers so many requests on it, closes it, and then says so.
fn worker(connections: Vec<Vec<&'static str>>) -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (close, closed) = channel();
    spawn(move || {
        for answers in connections {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let mut asked = Vec::new();
                while !asked.ends_with(b"{}") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    asked.extend(byte);
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
            drop(stream);
            let _ = close.send(());
        }
    });
    (url, closed)
}

/// Waits until the worker closed a connection, and leaves the runtime time to learn of it.
async fn is_closed(closed: Receiver<()>) {
    let waited = tokio::task::spawn_blocking(move || closed.recv());
    waited.await.unwrap().unwrap();
}

async fn ask(upstream: &Upstream, url: &str) -> Result<String, AttemptError> {
    let answer = upstream
        .post(url, "/", "{}".into(), "c", &Trace::default())
        .await?;
    let (_, body) = answer.whole().await?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_connection_is_used_again_and_one_that_was_closed_is_replaced() {
    let upstream = Upstream::new(|| None);
    let (url, closed) = worker(vec![vec![WHOLE, CHUNKS], vec![WHOLE]]);
    assert_eq!(ask(&upstream, &url).await.as_deref(), Ok("ok"));
    assert_eq!(ask(&upstream, &url).await.as_deref(), Ok("abcdef"));
    is_closed(closed).await;
    assert_eq!(ask(&upstream, &url).await.as_deref(), Ok("ok"));
}

#[tokio::test]
async fn all_that_came_is_passed_on_at_once_and_then_that_it_broke_off() {
    let upstream = Upstream::new(|| None);
    let (url, closed) = worker(vec![vec![CHUNKS], vec![TORN]]);
    let mut answer = upstream
        .post(&url, "/", "{}".into(), "c", &Trace::default())
        .await
        .unwrap();
    let first = answer.next().await.unwrap().unwrap();
    assert_eq!(first, "abcdef");
    assert_eq!(answer.next().await, Ok(None));
    assert_eq!(answer.next().await, Ok(None));
    is_closed(closed).await;
    let mut answer = upstream
        .post(&url, "/", "{}".into(), "c", &Trace::default())
        .await
        .unwrap();
    let mut said = Vec::new();
    let error = loop {
        match answer.next().await {
            Ok(Some(bytes)) => said.extend_from_slice(&bytes),
            Ok(None) => panic!("it ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert_eq!((said.as_slice(), error), (&b"abc"[..], AttemptError::Cut));
    assert_eq!(answer.next().await, Err(AttemptError::Cut));
}

#[tokio::test]
async fn who_does_not_listen_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = ask(&Upstream::new(|| None), &url).await.unwrap_err();
    assert!(matches!(error, AttemptError::Connect { .. }), "{error}");
}
