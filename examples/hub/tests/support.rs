//! What the tests share: a repository's folder, and clients.

use std::time::Duration;

use local_hub::{Builder, Hub};
use reqwest::Response;
use reqwest::header::HeaderMap;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// No wait of a test takes longer.
const LIMIT: Duration = Duration::from_mins(1);

pub const REPO: &str = "acme/tiny";

/// Large enough to be read from the disk, in several pieces.
pub const WEIGHTS: usize = 3 * 1024 * 1024 + 17;

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it takes too long")
}

/// Bytes that are nowhere the same for long.
pub fn bytes(count: usize) -> Vec<u8> {
    (0..count)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 7) as u8)
        .collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let digits = digest.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().concat()
}

pub fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

/// The files of [`REPO`].
pub fn tiny() -> TempDir {
    folder(&[
        ("config.json", b"{}"),
        ("empty.txt", b""),
        ("model.safetensors", &bytes(WEIGHTS)),
        ("notes/deep/er.md", b"deeper"),
        ("notes/read me.md", b"read me"),
    ])
}

/// A hub with [`REPO`], and what else it is told to have.
pub struct Local {
    pub hub: Hub,
    /// As long as the hub is there.
    pub folder: TempDir,
}

impl Local {
    pub fn start() -> Self {
        Self::with(|builder| builder)
    }

    pub fn with(more: impl FnOnce(Builder) -> Builder) -> Self {
        let folder = tiny();
        let builder = Hub::builder().repo(REPO, folder.path());
        let hub = more(builder).start().unwrap();
        Self { hub, folder }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.hub.url())
    }

    /// Where the weights are.
    pub fn blob(&self) -> String {
        format!("{}/blobs/{}", self.hub.blobs_url(), sha256(&bytes(WEIGHTS)))
    }

    pub async fn get(&self, path: &str) -> Response {
        get(&self.url(path), &[]).await
    }

    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }
}

/// Asks once and follows nothing.
pub async fn ask(method: reqwest::Method, url: &str, headers: &[(&str, &str)]) -> Response {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    let mut request = client.build().unwrap().request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    within(request.send()).await.unwrap()
}

pub async fn get(url: &str, headers: &[(&str, &str)]) -> Response {
    ask(reqwest::Method::GET, url, headers).await
}

pub async fn head(url: &str, headers: &[(&str, &str)]) -> Response {
    ask(reqwest::Method::HEAD, url, headers).await
}

/// Follows redirects.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// All bytes of a body that come, and whether it ended as it should.
pub async fn read(mut response: Response) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        match within(response.chunk()).await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return (bytes, true),
            Err(_) => return (bytes, false),
        }
    }
}

pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

/// The status, the code and the message of a refusal.
pub async fn refusal(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let code = text(response.headers(), "x-error-code").to_owned();
    let message = text(response.headers(), "x-error-message").to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"], message);
    (status, code, message)
}
