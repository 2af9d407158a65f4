//! The log of requests.

use std::sync::{Arc, Mutex};

use local_hub::{Fault, Place, Request, Times};

use crate::support::{Local, WEIGHTS, get, head, read};

const CONFIG: &str = "/acme/tiny/resolve/main/config.json";

#[tokio::test]
async fn every_request_is_in_the_log() {
    let local = Local::start();
    local.json("/api/models/acme/tiny?blobs=true").await;
    local.get("/elsewhere").await;
    head(&local.url(CONFIG), &[]).await;
    let range = [("range", "bytes=10-19")];
    read(get(&local.blob(), &range).await).await;
    let requests = local.hub.requests();
    let [info, nowhere, file, blob] = &requests[..] else {
        panic!("{requests:?}");
    };
    assert_eq!(info.place, Place::Api);
    assert_eq!(info.path, "/api/models/acme/tiny?blobs=true");
    assert!(info.sent > 100);
    assert_eq!((nowhere.place, nowhere.status), (Place::Resolve, 404));
    assert_eq!(
        (file.method.as_str(), file.status, file.sent),
        ("HEAD", 200, 0)
    );
    assert_eq!(file.place, Place::Resolve);
    assert_eq!((blob.place, blob.status), (Place::Blobs, 206));
    assert_eq!(blob.range.as_deref(), Some("bytes=10-19"));
    assert_eq!((blob.start, blob.sent), (10, 10));
    assert!(!blob.has_token);
    local.hub.forget_requests();
    assert_eq!(local.hub.requests(), []);
}

#[tokio::test]
async fn what_was_fetched_twice_is_known() {
    let local = Local::start();
    let cut = Fault::Cut(1000);
    local.hub.faults().add(Place::Blobs, cut, Times::Next(1));
    read(get(&local.blob(), &[]).await).await;
    assert_eq!(local.hub.fetched_twice(), 0);
    read(get(&local.blob(), &[("range", "bytes=1000-")]).await).await;
    assert_eq!(local.hub.fetched_twice(), 0);
    assert_eq!(local.hub.blob_bytes(), WEIGHTS as u64);
    read(get(&local.blob(), &[("range", "bytes=900-1099")]).await).await;
    assert_eq!(local.hub.fetched_twice(), 200);
    // A refusal gives no bytes of the blob.
    get(&local.blob(), &[("range", "bytes=9999999-")]).await;
    assert_eq!(local.hub.fetched_twice(), 200);
    assert_eq!(local.hub.blob_bytes(), WEIGHTS as u64 + 200);
}

#[tokio::test]
async fn a_listener_hears_of_each_request_once() {
    let heard: Arc<Mutex<Vec<Request>>> = Arc::default();
    let ears = Arc::clone(&heard);
    let local = Local::with(|builder| {
        builder.on_request(move |request| ears.lock().unwrap().push(request.clone()))
    });
    read(local.get(CONFIG).await).await;
    head(&local.url(CONFIG), &[]).await;
    crate::support::within(async {
        while heard.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut heard = heard.lock().unwrap().clone();
    heard.sort_by(|a, b| a.method.cmp(&b.method));
    assert_eq!(heard, local.hub.requests());
    assert!(heard.iter().all(|request| request.is_over));
    assert_eq!(heard[0].to_string(), format!("200 GET {CONFIG}: 2 bytes"));
}
