//! Files: here or elsewhere, whole or in part.

use crate::support::{Local, REPO, WEIGHTS, bytes, client, get, head, read, sha256, text, within};

const CONFIG: &str = "/acme/tiny/resolve/main/config.json";
const MODEL: &str = "/acme/tiny/resolve/main/model.safetensors";

#[tokio::test]
async fn a_small_file_is_the_answer_itself() {
    let local = Local::start();
    for response in [local.get(CONFIG).await, head(&local.url(CONFIG), &[]).await] {
        assert_eq!(response.status(), 200);
        let headers = response.headers();
        let oid = "\"9e26dfeeb6e641a33dae4961196235bdb965b21b\"";
        assert_eq!(text(headers, "etag"), oid);
        assert_eq!(
            text(headers, "x-repo-commit"),
            local.hub.commit(REPO).unwrap()
        );
        assert_eq!(text(headers, "accept-ranges"), "bytes");
        assert_eq!(text(headers, "content-length"), "2");
    }
    assert_eq!(local.get(CONFIG).await.bytes().await.unwrap(), "{}");
    let head = head(&local.url(CONFIG), &[]).await;
    assert_eq!(head.bytes().await.unwrap(), "");
}

#[tokio::test]
async fn names_are_decoded_and_an_empty_file_is_a_file() {
    let local = Local::start();
    let response = local
        .get("/acme/tiny/resolve/main/notes/read%20me.md")
        .await;
    assert_eq!(response.text().await.unwrap(), "read me");
    let response = local.get("/acme/tiny/resolve/main/empty.txt").await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response.headers(), "content-length"), "0");
    assert_eq!(response.bytes().await.unwrap(), "");
}

#[tokio::test]
async fn a_large_file_is_elsewhere() {
    let local = Local::start();
    let digest = format!("\"{}\"", sha256(&bytes(WEIGHTS)));
    for response in [local.get(MODEL).await, head(&local.url(MODEL), &[]).await] {
        assert_eq!(response.status(), 302);
        let headers = response.headers();
        assert_eq!(text(headers, "location"), local.blob());
        assert_eq!(text(headers, "x-linked-etag"), digest);
        assert_eq!(text(headers, "x-linked-size"), WEIGHTS.to_string());
        assert_eq!(
            text(headers, "x-repo-commit"),
            local.hub.commit(REPO).unwrap()
        );
        assert!(headers.keys().all(|name| !name.as_str().contains("xet")));
    }
    let response = within(client().get(local.url(MODEL)).send()).await.unwrap();
    assert_eq!(text(response.headers(), "etag"), digest);
    let (found, whole) = read(response).await;
    assert!(whole);
    assert!(found == bytes(WEIGHTS));
}

#[tokio::test]
async fn the_size_that_makes_a_file_large_can_be_set() {
    let local = Local::with(|builder| builder.lfs_over(1));
    let response = local.get(CONFIG).await;
    assert_eq!(response.status(), 302);
    assert_eq!(text(response.headers(), "x-linked-size"), "2");
    let response = local.get("/acme/tiny/resolve/main/empty.txt").await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_blob_is_had_in_parts() {
    let local = Local::start();
    let weights = bytes(WEIGHTS);
    let (middle, last) = (WEIGHTS / 2, WEIGHTS - 1);
    let cases = [
        (format!("bytes=0-{middle}"), 0..middle + 1),
        (format!("bytes={middle}-"), middle..WEIGHTS),
        ("bytes=-5".to_owned(), WEIGHTS - 5..WEIGHTS),
        (format!("bytes={last}-999999999"), last..WEIGHTS),
    ];
    for (range, part) in cases {
        let response = get(&local.blob(), &[("range", &range)]).await;
        assert_eq!(response.status(), 206, "{range}");
        let headers = response.headers();
        let place = format!("bytes {}-{}/{WEIGHTS}", part.start, part.end - 1);
        assert_eq!(text(headers, "content-range"), place);
        assert_eq!(text(headers, "content-length"), part.len().to_string());
        assert!(read(response).await.0 == weights[part]);
    }
    let response = get(&local.blob(), &[("range", &format!("bytes={WEIGHTS}-"))]).await;
    assert_eq!(response.status(), 416);
    let place = format!("bytes */{WEIGHTS}");
    assert_eq!(text(response.headers(), "content-range"), place);
    let response = get(&format!("{}/blobs/0", local.hub.blobs_url()), &[]).await;
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn a_small_file_is_had_in_parts() {
    let local = Local::start();
    let url = local.url("/acme/tiny/resolve/main/notes/deep/er.md");
    let response = get(&url, &[("range", "bytes=2-3")]).await;
    assert_eq!(response.status(), 206);
    assert_eq!(response.bytes().await.unwrap(), "ep");
}

#[tokio::test]
async fn a_part_of_another_content_is_not_given() {
    let local = Local::start();
    let same = format!("\"{}\"", sha256(&bytes(WEIGHTS)));
    for (etag, status) in [(same.as_str(), 206), ("\"other\"", 200)] {
        let headers = [("range", "bytes=1-2"), ("if-range", etag)];
        assert_eq!(get(&local.blob(), &headers).await.status(), status);
    }
}

#[tokio::test]
async fn a_file_that_the_client_has_is_not_sent() {
    let local = Local::start();
    for path in [CONFIG, MODEL] {
        let response = head(&local.url(path), &[]).await;
        let etag = text(response.headers(), "etag").to_owned();
        let response = get(&local.url(path), &[("if-none-match", &etag)]).await;
        assert_eq!(response.status(), 304, "{path}");
        assert_eq!(text(response.headers(), "etag"), etag);
        let other = get(&local.url(path), &[("if-none-match", "\"other\"")]).await;
        assert_ne!(other.status(), 304, "{path}");
    }
}

#[tokio::test]
async fn a_large_file_that_changed_on_the_disk_is_not_served() {
    let local = Local::start();
    let path = local.folder.path().join("model.safetensors");
    std::fs::write(path, bytes(WEIGHTS - 1)).unwrap();
    let response = get(&local.blob(), &[]).await;
    assert_eq!(response.status(), 500);
    let message = response.text().await.unwrap();
    assert!(message.contains("changed since it was pushed"), "{message}");
}

#[tokio::test]
async fn no_path_leads_out_of_a_repository() {
    let local = Local::start();
    for path in ["..%2F", "%2e%2e/", "notes/..%2f..%2f", "%2Fetc%2Fpasswd"] {
        let response = local.get(&format!("/acme/tiny/resolve/main/{path}")).await;
        assert!(response.status().is_client_error(), "{path}");
    }
}
