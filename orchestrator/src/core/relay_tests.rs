use super::*;
use jiff::Timestamp;
use pool_core::serving::{FailureCode, Frame, KEEP_ALIVE, SseParser, StopReason, StreamCheck};

fn started(job_id: &str) -> StreamEvent {
    StreamEvent::Started {
        job_id: job_id.into(),
        model: "tiny".parse().unwrap(),
        seed: 7,
        started_at: Timestamp::UNIX_EPOCH,
    }
}

fn token(t: &str, i: u64) -> StreamEvent {
    StreamEvent::Token { t: t.into(), i }
}

fn end() -> StreamEvent {
    StreamEvent::End(End {
        tokens_in: 3,
        tokens_cached: 0,
        tokens_out: 2,
        prefill_time_ms: 0.5,
        decode_time_ms: 0.25,
        stop_reason: StopReason::Eos,
        stop_sequence: None,
    })
}

fn failure() -> Failure {
    Failure {
        code: FailureCode::Internal,
        message: "m".into(),
        retriable: true,
    }
}

fn metrics() -> StreamEvent {
    StreamEvent::Metrics {
        tokens_out: 1,
        decode_time_ms: 1.5,
        memory_bytes: 9,
    }
}

fn write(events: &[StreamEvent]) -> String {
    let frames = events.iter().zip(0..);
    frames
        .map(|(event, id)| event.to_frame(id).to_string())
        .collect()
}

fn whole() -> Vec<StreamEvent> {
    vec![
        started("theirs"),
        token("Pé", 0),
        metrics(),
        token("\n\"🚀", 1),
        end(),
    ]
}

/// Everything that comes out of a stream in pieces, until the first fault.
fn relay(pieces: &[&[u8]]) -> (String, Passed, Result<(), RelayFault>) {
    let mut relay = Relay::new("ours", 1);
    let (mut out, mut all) = (Vec::new(), Passed::default());
    for piece in pieces {
        match relay.push(piece, &mut out) {
            Ok(passed) => {
                all.frames += passed.frames;
                all.tokens += passed.tokens;
                all.started |= passed.started;
                all.terminal = all.terminal.or(passed.terminal);
            }
            Err(fault) => return (String::from_utf8(out).unwrap(), all, Err(fault)),
        }
    }
    let closed = relay.closed();
    assert_eq!(relay.next_id(), 1 + all.frames);
    (String::from_utf8(out).unwrap(), all, closed)
}

fn fault(stream: &str) -> RelayFault {
    relay(&[stream.as_bytes()]).2.unwrap_err()
}

#[test]
fn a_stream_comes_out_with_our_ids_wherever_it_is_torn() {
    let stream = write(&whole()).replacen("event: token", &format!("{KEEP_ALIVE}event: token"), 1);
    let mut expected = whole();
    expected[0] = started("ours");
    let expected: String = expected
        .iter()
        .zip(1..)
        .map(|(event, id)| event.to_frame(id).to_string())
        .collect();
    for line_end in ["\n", "\r\n"] {
        let stream = stream.replace('\n', line_end);
        let bytes = stream.as_bytes();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let (out, passed, closed) = relay(&single);
        assert_eq!((out.as_str(), closed), (expected.as_str(), Ok(())));
        assert_eq!((passed.frames, passed.tokens), (5, 2));
        assert!(passed.started && matches!(passed.terminal, Some(Ok(_))));
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(relay(&[left, right]).0, expected, "torn at {at}");
        }
    }
}

#[test]
fn what_comes_out_of_a_cut_stream_is_whole_frames_and_the_cut_is_told() {
    let stream = write(&whole());
    for at in 0..stream.len() {
        let (out, passed, closed) = relay(&[&stream.as_bytes()[..at]]);
        assert_eq!(closed, Err(StreamFault::Cut.into()), "cut at {at}");
        assert_eq!(passed.terminal, None);
        let frames = SseParser::default().push(out.as_bytes());
        assert_eq!(frames.len() as u64, passed.frames);
        let written: String = frames.iter().map(Frame::to_string).collect();
        assert_eq!(written, out);
    }
}

#[test]
fn started_is_kept_back_until_something_follows() {
    let mut relay = Relay::new("ours", 1);
    let mut out = Vec::new();
    let passed = relay.push(write(&[started("x")]).as_bytes(), &mut out);
    assert!(passed.unwrap().started && out.is_empty());
    assert_eq!(relay.next_id(), 1);
    let rest = write(&[started("x"), token("a", 0)]);
    let rest = &rest[write(&[started("x")]).len()..];
    assert_eq!(relay.push(rest.as_bytes(), &mut out).unwrap().frames, 2);
}

#[test]
fn an_error_is_told_and_not_passed_on() {
    let (out, passed, closed) = relay(&[write(&[StreamEvent::Error(failure())]).as_bytes()]);
    assert_eq!((out.as_str(), closed), ("", Ok(())));
    assert_eq!(passed.terminal, Some(Err(failure())));
    let after_token = write(&[started("x"), token("a", 0), StreamEvent::Error(failure())]);
    let (out, passed, _) = relay(&[after_token.as_bytes()]);
    assert!(!out.contains("error") && out.contains("token"));
    assert_eq!((passed.frames, passed.terminal), (2, Some(Err(failure()))));
}

#[test]
fn what_follows_the_end_is_not_looked_at() {
    let mut events = whole();
    events.extend([end(), token("x", 7)]);
    let stream = write(&events) + "\u{0}garbage\n\n";
    let (out, passed, closed) = relay(&[stream.as_bytes(), b"more"]);
    assert_eq!((passed.frames, closed), (5, Ok(())));
    assert_eq!(out.matches("event: end").count(), 1);
}

#[test]
fn every_fault_is_found() {
    let gap = write(&[started("x"), token("a", 1)]);
    let expected = StreamFault::WrongToken {
        expected: 0,
        found: 1,
    };
    assert_eq!(fault(&gap), expected.into());
    let twice = write(&[started("x"), started("x")]);
    assert_eq!(fault(&twice), StreamFault::StartedTwice.into());
    for early in [token("a", 0), end(), metrics()] {
        assert_eq!(fault(&write(&[early])), StreamFault::NotStarted.into());
    }
    let skipped = started("x").to_frame(1).to_string();
    let expected = StreamFault::WrongId {
        expected: 0,
        found: "1".into(),
    };
    assert_eq!(fault(&skipped), expected.into());
    for garbage in [
        "event: token\nid: 0\ndata: {\"type\":\"token\",\"t\":\"a\"\n\n",
        "event: token\nid: 0\ndata: {\"type\":\"token\",\"t\":\"\",\"i\":0}\n\n",
        "event: token\nid: 0\ndata: {\"type\":\"metrics\",\"t\":\"a\",\"i\":0}\n\n",
        "event: end\nid: 0\ndata: {\"type\":\"token\",\"t\":\"a\",\"i\":0}\n\n",
        "event: token\nid: 0\ndata: {\"type\":\"token\",\"t\":\"\\ud800\",\"i\":0}\n\n",
        "id: 0\ndata: <html>\n\n",
    ] {
        let found = fault(garbage);
        assert!(
            matches!(found, RelayFault::Stream(StreamFault::Unreadable { .. })),
            "{garbage}: {found}"
        );
    }
    let (_, _, found) = relay(&[b"event: token\nid: 0\ndata: \xff\n\n"]);
    assert!(found.is_err());
}

#[test]
fn bytes_with_a_fault_leave_nothing_behind() {
    let mut relay = Relay::new("ours", 1);
    let mut out = b"before".to_vec();
    let stream = write(&[started("x"), token("a", 0), token("b", 7)]);
    assert!(relay.push(stream.as_bytes(), &mut out).is_err());
    assert_eq!((out.as_slice(), relay.next_id()), (b"before".as_slice(), 1));
}

#[test]
fn a_frame_that_does_not_end_is_given_up() {
    let mut relay = Relay::new("ours", 1);
    let mut out = Vec::new();
    let piece = [b'x'; 1000];
    let mut pushed = 0;
    let found = loop {
        match relay.push(&piece, &mut out) {
            Ok(_) => pushed += piece.len(),
            Err(fault) => break fault,
        }
        assert!(relay.held() <= FRAME_MOST);
    };
    assert_eq!(found, RelayFault::Oversized);
    assert!(pushed <= FRAME_MOST && pushed + piece.len() > FRAME_MOST);
    let long = format!("data: {}\n\n", "x".repeat(FRAME_MOST));
    assert_eq!(fault(&long), RelayFault::Oversized);
}

#[test]
fn what_comes_out_passes_the_check_of_a_client() {
    let (out, _, _) = relay(&[write(&whole()).as_bytes()]);
    let mut check = StreamCheck::default();
    for (mut frame, id) in SseParser::default()
        .push(out.as_bytes())
        .into_iter()
        .zip(0..)
    {
        frame.id = Some(format!("{id}"));
        check.frame(&frame).unwrap();
    }
    assert_eq!(check.finish().unwrap().job_id, "ours");
}
