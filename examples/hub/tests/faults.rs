//! Faults: each as it was asked for, as often as it was asked for, and no other.

use std::time::{Duration, Instant};

use local_hub::{Fault, Place, Times};

use crate::support::{Local, WEIGHTS, bytes, client, get, head, read, text, within};

const INFO: &str = "/api/models/acme/tiny";
const CONFIG: &str = "/acme/tiny/resolve/main/config.json";

fn spoiled(fault: Fault, times: Times) -> Local {
    let local = Local::start();
    local.hub.faults().add(Place::Blobs, fault, times);
    local
}

/// The blob as it came, and whether it came to its end.
async fn blob(local: &Local) -> (Vec<u8>, bool) {
    read(get(&local.blob(), &[]).await).await
}

async fn is_well(local: &Local) -> bool {
    blob(local).await == (bytes(WEIGHTS), true)
}

#[tokio::test]
async fn a_connection_is_cut_after_so_many_bytes() {
    let weights = bytes(WEIGHTS);
    for cut in [0, 1, 300_000, 1 << 20, WEIGHTS - 1] {
        let local = spoiled(Fault::Cut(cut as u64), Times::Next(2));
        for _ in 0..2 {
            let (found, whole) = blob(&local).await;
            assert!(!whole, "{cut}");
            assert!(found == weights[..cut], "{cut}: {}", found.len());
        }
        assert!(is_well(&local).await);
        let sent: Vec<_> = local
            .hub
            .requests()
            .iter()
            .map(|r| r.sent as usize)
            .collect();
        assert_eq!(sent, [cut, cut, WEIGHTS]);
    }
}

#[tokio::test]
async fn a_part_is_cut_too() {
    let local = spoiled(Fault::Cut(1000), Times::Always);
    let range = [("range", "bytes=5000-")];
    let (found, whole) = read(get(&local.blob(), &range).await).await;
    assert!(!whole);
    assert!(found == bytes(WEIGHTS)[5000..6000]);
}

#[tokio::test]
async fn bytes_come_slowly() {
    let rate = WEIGHTS as u64 * 4;
    let local = spoiled(Fault::Slow(rate), Times::Next(1));
    let start = Instant::now();
    assert!(is_well(&local).await);
    assert!(start.elapsed() >= Duration::from_millis(250));
}

#[tokio::test]
async fn one_byte_is_wrong() {
    let local = spoiled(Fault::Flip, Times::Next(1));
    let (found, whole) = blob(&local).await;
    assert!(whole);
    let weights = bytes(WEIGHTS);
    let differ: Vec<_> = (0..WEIGHTS).filter(|&n| found[n] != weights[n]).collect();
    assert_eq!(differ, [WEIGHTS / 2]);
    assert!(is_well(&local).await);
}

#[tokio::test]
async fn the_length_is_a_lie() {
    for more in [1000, -1000] {
        let local = spoiled(Fault::Length(more), Times::Next(1));
        let response = get(&local.blob(), &[]).await;
        let claimed = (WEIGHTS as u64).saturating_add_signed(more).to_string();
        assert_eq!(text(response.headers(), "content-length"), claimed);
        let (found, whole) = read(response).await;
        // Too few bytes come to an early end; too short a length hides the last ones.
        assert_eq!(whole, more < 0);
        let expected = WEIGHTS.min(claimed.parse().unwrap());
        assert!(found == bytes(WEIGHTS)[..expected]);
        assert_eq!(local.hub.blob_bytes(), expected as u64);
        assert!(is_well(&local).await);
    }
}

#[tokio::test]
async fn a_stalled_body_stays_open() {
    let local = spoiled(Fault::Stall(1000), Times::Next(1));
    let mut response = get(&local.blob(), &[]).await;
    let mut found = Vec::new();
    while found.len() < 1000 {
        let piece = within(response.chunk()).await.unwrap().unwrap();
        found.extend_from_slice(&piece);
    }
    assert!(found == bytes(WEIGHTS)[..1000]);
    let more = tokio::time::timeout(Duration::from_millis(100), response.chunk()).await;
    assert!(more.is_err());
    assert!(!local.hub.requests()[0].is_over);
    drop(response);
    within(async {
        while !local.hub.requests()[0].is_over {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_range_is_ignored() {
    let local = spoiled(Fault::Whole, Times::Next(1));
    let range = [("range", "bytes=5-")];
    assert_eq!(get(&local.blob(), &range).await.status(), 200);
    assert_eq!(get(&local.blob(), &range).await.status(), 206);
}

#[tokio::test]
async fn it_is_too_much_for_a_while() {
    let busy = Fault::Status {
        status: 429,
        retry_after: Some(7),
    };
    let start = Instant::now();
    let time = Duration::from_millis(300);
    let local = spoiled(busy, Times::For(time));
    let response = get(&local.blob(), &[]).await;
    if start.elapsed() < time {
        assert_eq!(response.status(), 429);
        assert_eq!(text(response.headers(), "retry-after"), "7");
    }
    within(async { while get(&local.blob(), &[]).await.status() == 429 {} }).await;
    assert!(start.elapsed() >= time);
    assert!(is_well(&local).await);
}

#[tokio::test]
async fn any_status_is_had_anywhere() {
    let local = Local::start();
    let blob = local.blob();
    let places = [
        (Place::Api, local.url(INFO)),
        (Place::Resolve, local.url(CONFIG)),
        (Place::Blobs, blob),
    ];
    for (place, url) in &places {
        for status in [429, 500, 503] {
            let times = Times::Next(1);
            local.hub.faults().add(*place, Fault::status(status), times);
            for (_, other) in places.iter().filter(|(other, _)| other != place) {
                assert_eq!(get(other, &[]).await.status(), 200);
            }
            // A HEAD request has it too.
            let response = head(url, &[]).await;
            assert_eq!(response.status(), status);
            assert!(!response.headers().contains_key("retry-after"));
            assert_eq!(get(url, &[]).await.status(), 200);
        }
    }
}

#[tokio::test]
async fn a_redirect_leads_to_itself() {
    let local = spoiled(Fault::Loop, Times::Always);
    let error = within(client().get(local.blob()).send()).await.unwrap_err();
    assert!(error.is_redirect(), "{error:?}");
    assert!(local.hub.requests().len() > 5);
    local.hub.faults().clear();
    assert!(is_well(&local).await);
    local
        .hub
        .faults()
        .add(Place::Resolve, Fault::Loop, Times::Always);
    let response = get(&local.url(CONFIG), &[]).await;
    assert_eq!(text(response.headers(), "location"), local.url(CONFIG));
}

#[tokio::test]
async fn several_faults_spoil_one_answer() {
    let local = spoiled(Fault::Cut(2_000_000), Times::Next(1));
    local
        .hub
        .faults()
        .add(Place::Blobs, Fault::Flip, Times::Next(2));
    let (found, whole) = blob(&local).await;
    assert!(!whole);
    assert_eq!(found.len(), 2_000_000);
    assert_ne!(found[WEIGHTS / 2], bytes(WEIGHTS)[WEIGHTS / 2]);
    let (found, whole) = blob(&local).await;
    assert!(whole);
    assert!(found != bytes(WEIGHTS));
    assert!(is_well(&local).await);
}

#[tokio::test]
async fn a_fault_is_switched_off() {
    let local = Local::start();
    let faults = local.hub.faults();
    let cut = faults.add(Place::Blobs, Fault::Cut(5), Times::Always);
    let flip = faults.add(Place::Blobs, Fault::Flip, Times::Always);
    faults.remove(cut);
    let (found, whole) = blob(&local).await;
    assert!(whole);
    assert!(found != bytes(WEIGHTS));
    faults.remove(flip);
    assert!(is_well(&local).await);
}

#[tokio::test]
async fn a_head_request_leaves_the_faults_of_bodies_to_the_next() {
    let local = spoiled(Fault::Cut(5), Times::Next(1));
    let response = head(&local.blob(), &[]).await;
    assert_eq!(
        text(response.headers(), "content-length"),
        WEIGHTS.to_string()
    );
    assert!(!blob(&local).await.1);
    assert!(is_well(&local).await);
}

#[tokio::test]
async fn answers_of_the_api_are_spoiled_too() {
    let local = Local::start();
    local
        .hub
        .faults()
        .add(Place::Api, Fault::Cut(10), Times::Next(1));
    let (found, whole) = read(local.get(INFO).await).await;
    assert_eq!((found.len(), whole), (10, false));
    assert!(read(local.get(INFO).await).await.1);
}
