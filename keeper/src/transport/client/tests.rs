//! The client against a hive of a few lines at the other end of two pipes.

use std::io::Cursor;

use pool_core::rpc::{ErrorCode, PROTOCOL, Progress};
use pool_core::supply::{HubAccess, Secret};
use tokio::io::AsyncBufReadExt;
use tokio::net::unix::pipe::pipe;

use super::*;

struct Hive {
    calls: BufReader<Receiver>,
    replies: Option<Sender>,
}

fn pair() -> (HiveClient, Hive) {
    let (stdin, calls) = pipe().unwrap();
    let (replies, stdout) = pipe().unwrap();
    let hello = Hello {
        protocol: PROTOCOL,
        version: "test".to_owned(),
        platform: None,
        build: None,
    };
    let end = async { "killed".to_owned() };
    let pool = "mac".parse().unwrap();
    let client = HiveClient::new(pool, hello, stdin, BufReader::new(stdout), end);
    let hive = Hive {
        calls: BufReader::new(calls),
        replies: Some(replies),
    };
    (client, hive)
}

impl Hive {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.calls.read_line(&mut line).await.unwrap();
        line
    }

    /// The next call, whatever signs of life come before it.
    async fn next(&mut self) -> Option<Call> {
        loop {
            let line = self.line().await;
            if line != "\n" {
                return (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap());
            }
        }
    }

    async fn say(&mut self, line: &str) {
        let replies = self.replies.as_mut().unwrap();
        replies.write_all(line.as_bytes()).await.unwrap();
        replies.write_all(b"\n").await.unwrap();
    }

    async fn reply(&mut self, id: u64, event: Event) {
        let reply = serde_json::to_string(&Reply { id, event }).unwrap();
        self.say(&reply).await;
    }
}

fn done(outcome: Outcome) -> Event {
    Event::Done(Box::new(outcome))
}

fn percent(percent: u8) -> Event {
    Event::Progress(Progress {
        message: "copying".to_owned(),
        percent: Some(percent),
        bytes: None,
    })
}

fn command(word: &str) -> Request {
    Request::Command {
        argv: vec![word.to_owned()],
        access: HubAccess::default(),
    }
}

fn upload(content: &[u8]) -> (Sha256, u64, Cursor<Vec<u8>>) {
    let size = content.len() as u64;
    (Sha256::of(content), size, Cursor::new(content.to_vec()))
}

#[tokio::test]
async fn replies_find_their_calls_in_whatever_order_they_come() {
    let (client, mut hive) = pair();
    let (mut heard_by_a, mut heard_by_b) = (Vec::new(), Vec::new());
    let a = client.call(command("a"), |event| heard_by_a.push(event));
    let b = client.call(command("b"), |event| heard_by_b.push(event));
    let serve = async {
        let (first, second) = (hive.next().await.unwrap(), hive.next().await.unwrap());
        assert_eq!(
            (&first.request, &second.request),
            (&command("a"), &command("b"))
        );
        hive.reply(second.id, percent(2)).await;
        hive.reply(first.id, percent(1)).await;
        hive.reply(999, percent(99)).await;
        hive.reply(second.id, done(Outcome::Exit(2))).await;
        hive.reply(first.id, done(Outcome::Exit(1))).await;
    };
    let (a, b, ()) = tokio::join!(a, b, serve);
    assert_eq!((a, b), (Ok(Outcome::Exit(1)), Ok(Outcome::Exit(2))));
    assert_eq!(
        (heard_by_a, heard_by_b),
        (vec![percent(1)], vec![percent(2)])
    );
}

#[tokio::test]
async fn an_upload_sends_what_is_asked_for_while_others_wait_to_speak_and_still_hear() {
    let (client, mut hive) = pair();
    // More than a pipe holds.
    let content: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    let (sha256, size, reader) = upload(&content);
    let mut progress = Vec::new();
    let earlier = client.call(Request::Observe, |_| ());
    let upload = client.upload(sha256, size, reader, |sent| progress.push(sent));
    let later = client.call(command("later"), |_| ());
    let serve = async {
        let earlier = hive.next().await.unwrap().id;
        let upload = hive.next().await.unwrap();
        assert_eq!(upload.request, Request::Upload { sha256, size });
        hive.reply(upload.id, Event::Send { offset: 1000 }).await;
        hive.reply(earlier, done(Outcome::Exit(0))).await;
        let mut bytes = vec![0; content.len() - 1000];
        hive.calls.read_exact(&mut bytes).await.unwrap();
        assert!(bytes == content[1000..]);
        let later = hive.next().await.unwrap();
        assert_eq!(later.request, command("later"));
        hive.reply(later.id, done(Outcome::Exit(7))).await;
        hive.reply(upload.id, done(Outcome::Stored)).await;
    };
    let (earlier, upload, later, ()) = tokio::join!(earlier, upload, later, serve);
    assert_eq!(earlier, Ok(Outcome::Exit(0)));
    assert_eq!(upload, Ok(Outcome::Stored));
    assert_eq!(later, Ok(Outcome::Exit(7)));
    assert_eq!((progress[0], progress.last()), (1000, Some(&300_000)));
}

#[tokio::test]
async fn content_that_is_there_already_is_not_sent() {
    let (client, mut hive) = pair();
    let (sha256, size, reader) = upload(b"abc");
    let serve = async {
        let upload = hive.next().await.unwrap();
        hive.reply(upload.id, done(Outcome::Stored)).await;
        let next = hive.next().await.unwrap();
        hive.reply(next.id, done(Outcome::Exit(0))).await;
    };
    let calls = async {
        client.upload(sha256, size, reader, |_| ()).await.unwrap();
        client.call(command("next"), |_| ()).await.unwrap()
    };
    tokio::join!(calls, serve);
}

#[tokio::test]
async fn a_refusal_is_passed_on_and_names_the_pool() {
    let (client, mut hive) = pair();
    let error = HiveError {
        code: ErrorCode::InUse,
        message: "worker w1 uses it".to_owned(),
        help: None,
    };
    let serve = async {
        let call = hive.next().await.unwrap();
        hive.reply(call.id, Event::Error(error.clone())).await;
    };
    let (result, ()) = tokio::join!(client.call(Request::Observe, |_| ()), serve);
    let error = result.unwrap_err();
    assert_eq!(error.to_string(), "pool `mac`: worker w1 uses it");
}

#[tokio::test]
async fn content_that_ends_early_ends_the_connection_because_the_hive_waits_for_the_rest() {
    let (client, mut hive) = pair();
    let serve = async {
        let upload = hive.next().await.unwrap();
        hive.reply(upload.id, Event::Send { offset: 0 }).await;
        let mut rest = Vec::new();
        hive.calls.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"abc");
    };
    let upload = client.upload(Sha256::of("abcd"), 4, Cursor::new(b"abc".to_vec()), |_| ());
    let (result, ()) = tokio::join!(upload, serve);
    assert_eq!(
        result.unwrap_err().to_string(),
        "cannot read what pool `mac` was to get: it is shorter than it was"
    );
    let next = client.call(Request::Observe, |_| ()).await;
    assert!(matches!(next, Err(CallError::Lost { .. })), "{next:?}");
}

#[tokio::test]
async fn an_upload_that_is_dropped_half_sent_ends_the_connection() {
    let (client, mut hive) = pair();
    let (sha256, size, reader) = upload(&vec![0; 1_000_000]);
    let mut upload = Box::pin(client.upload(sha256, size, reader, |_| ()));
    let begin = async {
        let upload = hive.next().await.unwrap();
        hive.reply(upload.id, Event::Send { offset: 0 }).await;
        hive.calls.read_exact(&mut [0; 1000]).await.unwrap();
    };
    tokio::select! {
        _ = &mut upload => panic!("nobody answered"),
        () = begin => {}
    }
    drop(upload);
    let mut rest = Vec::new();
    hive.calls.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() < 900_000);
}

#[tokio::test]
async fn a_lost_hive_fails_every_call_with_one_cause() {
    let (client, mut hive) = pair();
    let serve = async {
        hive.next().await.unwrap();
        hive.next().await.unwrap();
        hive.replies.take();
    };
    let (a, b, ()) = tokio::join!(
        client.call(command("a"), |_| ()),
        client.call(command("b"), |_| ()),
        serve
    );
    let later = client.call(command("later"), |_| ()).await;
    for result in [a, b, later] {
        assert_eq!(
            result.unwrap_err().to_string(),
            "pool `mac`: connection lost: killed"
        );
    }
}

#[tokio::test]
async fn a_line_that_is_no_reply_ends_the_connection() {
    let (client, mut hive) = pair();
    let serve = async {
        hive.next().await.unwrap();
        hive.say("Segmentation fault").await;
    };
    let (result, ()) = tokio::join!(client.call(Request::Observe, |_| ()), serve);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("wrote what is no reply"), "{error}");
}

#[tokio::test]
async fn a_dropped_call_disturbs_no_other() {
    let (client, mut hive) = pair();
    let mut dropped = Box::pin(client.call(command("dropped"), |_| ()));
    let id = tokio::select! {
        _ = &mut dropped => panic!("nobody answered"),
        call = hive.next() => call.unwrap().id,
    };
    drop(dropped);
    hive.reply(id, done(Outcome::Exit(1))).await;
    let serve = async {
        let call = hive.next().await.unwrap();
        hive.reply(call.id, done(Outcome::Exit(0))).await;
    };
    let (result, ()) = tokio::join!(client.call(command("next"), |_| ()), serve);
    assert_eq!(result, Ok(Outcome::Exit(0)));
}

#[tokio::test]
async fn closing_ends_the_hive() {
    let (client, mut hive) = pair();
    let serve = async {
        assert_eq!(hive.next().await, None);
        hive.replies.take();
    };
    tokio::join!(client.close(), serve);
}

fn serving() -> (Request, Serving) {
    let contents = vec![Sha256::of("content")];
    let interface = Interface::At("127.0.0.1".parse().unwrap());
    let request = Request::Serve {
        contents: contents.clone(),
        interface,
    };
    let serving = Serving {
        address: "127.0.0.1:7000".parse().unwrap(),
        token: Secret::new("once"),
        contents,
    };
    (request, serving)
}

#[tokio::test]
async fn a_pool_serves_until_the_handle_ends() {
    let (client, mut hive) = pair();
    let client = Arc::new(client);
    let (request, wanted) = serving();
    let Request::Serve {
        contents,
        interface,
    } = request.clone()
    else {
        panic!("{request:?}");
    };
    let serve = async {
        let call = hive.next().await.unwrap();
        assert_eq!(call.request, request);
        hive.reply(call.id, Event::Serving(wanted.clone())).await;
        call.id
    };
    let (answer, id) = tokio::join!(client.serve(contents.clone(), interface), serve);
    let (heard, lasting) = answer.unwrap();
    assert_eq!(heard, wanted);
    drop(lasting);
    let cancel = hive.next().await.unwrap();
    assert_eq!(cancel.request, Request::Cancel { call: id });
    hive.reply(cancel.id, done(Outcome::Cancelled)).await;

    // One that was refused needs no end.
    let refuse = async {
        let call = hive.next().await.unwrap();
        let error = HiveError {
            code: ErrorCode::Io,
            message: "no such address".into(),
            help: None,
        };
        hive.reply(call.id, Event::Error(error)).await;
    };
    let (answer, ()) = tokio::join!(client.serve(contents, interface), refuse);
    let error = answer.unwrap_err();
    assert_eq!(error.to_string(), "pool `mac`: no such address");
    let next = async {
        let call = hive.next().await.unwrap();
        assert_eq!(call.request, Request::Observe);
        hive.reply(call.id, done(Outcome::Exit(0))).await;
    };
    let (answer, ()) = tokio::join!(client.call(Request::Observe, |_| ()), next);
    answer.unwrap();
}

fn holder() -> Holder {
    Holder {
        who: "me@here".into(),
        fleet: "home".parse().unwrap(),
        command: "rbee apply".into(),
        pid: 7,
        since: jiff::Timestamp::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn a_lock_is_held_until_the_handle_ends_and_begins_with_a_sign_of_life() {
    let (client, mut hive) = pair();
    let client = Arc::new(client);
    let serve = async {
        assert_eq!(hive.line().await, "\n");
        let call = hive.next().await.unwrap();
        let wanted = Request::Lock { holder: holder() };
        assert_eq!(call.request, wanted);
        hive.reply(call.id, Event::Locked).await;
        call.id
    };
    let (lock, id) = tokio::join!(client.lock(holder()), serve);
    let lock = lock.unwrap();
    assert!(!lock.is_lost());
    let serve = async {
        let cancel = hive.next().await.unwrap();
        assert_eq!(cancel.request, Request::Cancel { call: id });
        hive.reply(cancel.id, done(Outcome::Cancelled)).await;
    };
    tokio::join!(lock.end(), serve);

    let serve = async {
        let call = hive.next().await.unwrap();
        hive.reply(call.id, Event::Locked).await;
    };
    let (lock, ()) = tokio::join!(client.lock(holder()), serve);
    hive.replies.take();
    client.call(Request::Observe, |_| ()).await.unwrap_err();
    assert!(lock.unwrap().is_lost());
}

#[tokio::test]
async fn what_an_action_relied_on_goes_with_its_call() {
    let (client, mut hive) = pair();
    let fact = Fact {
        about: pool_core::facts::About::Programs,
        was: None,
    };
    let facts = [fact];
    let serve = async {
        let call = hive.next().await.unwrap();
        hive.reply(call.id, done(Outcome::Unregistered)).await;
        call.expect
    };
    let call = client.call_while(&facts, Request::Observe, |_| ());
    let (answer, expect) = tokio::join!(call, serve);
    answer.unwrap();
    assert_eq!(expect, facts);
}

/// Content that is there only when it is let go.
struct Slow(Cursor<Vec<u8>>, Option<tokio::sync::oneshot::Receiver<()>>);

impl AsyncRead for Slow {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if let Some(gate) = &mut self.1 {
            std::task::ready!(std::pin::Pin::new(gate).poll(context)).unwrap();
            self.1 = None;
        }
        std::pin::Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncSeek for Slow {
    fn start_seek(mut self: std::pin::Pin<&mut Self>, to: SeekFrom) -> std::io::Result<()> {
        std::pin::Pin::new(&mut self.0).start_seek(to)
    }

    fn poll_complete(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<u64>> {
        std::pin::Pin::new(&mut self.0).poll_complete(context)
    }
}

#[tokio::test]
async fn signs_of_life_come_by_themselves_and_never_among_raw_bytes() {
    let (client, mut hive) = pair();
    assert_eq!(hive.line().await, "\n");
    let content = b"abc".to_vec();
    let (go, gate) = tokio::sync::oneshot::channel();
    let slow = Slow(Cursor::new(content.clone()), Some(gate));
    let upload = client.upload(Sha256::of(&content), 3, slow, |_| ());
    let serve = async {
        let upload = hive.next().await.unwrap();
        hive.reply(upload.id, Event::Send { offset: 0 }).await;
        // Nothing may come, for longer than a sign of life would take.
        let early = tokio::time::timeout(HEARTBEAT * 5 / 4, hive.calls.read_u8());
        assert!(early.await.is_err());
        go.send(()).unwrap();
        let mut bytes = [0; 3];
        hive.calls.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, content[..]);
        hive.reply(upload.id, done(Outcome::Stored)).await;
        assert_eq!(hive.line().await, "\n");
    };
    let (answer, ()) = tokio::join!(upload, serve);
    answer.unwrap();
}
