//! Tokens: who may have what.

use reqwest::Response;

use crate::support::{Local, client, get, read, refusal, within};

const INFO: &str = "/api/models/acme/tiny";
const TREE: &str = "/api/models/acme/tiny/tree/main";
const CONFIG: &str = "/acme/tiny/resolve/main/config.json";
const MODEL: &str = "/acme/tiny/resolve/main/model.safetensors";

async fn get_as(local: &Local, path: &str, token: &str) -> Response {
    let shown = format!("Bearer {token}");
    get(&local.url(path), &[("authorization", &shown)]).await
}

fn gated() -> Local {
    Local::with(|hub| hub.gated("acme/tiny", "friend").token("stranger"))
}

#[tokio::test]
async fn all_see_what_is_in_a_gated_repository() {
    let local = gated();
    assert_eq!(local.json(INFO).await["gated"], "manual");
    assert_eq!(local.get(TREE).await.status(), 200);
}

#[tokio::test]
async fn files_of_a_gated_repository_are_for_those_with_its_token() {
    let local = gated();
    for path in [CONFIG, MODEL] {
        let (status, code, message) = refusal(local.get(path).await).await;
        assert_eq!((status, code.as_str()), (401, "GatedRepo"));
        assert!(message.ends_with("Please log in."), "{message}");
        let (status, code, message) = refusal(get_as(&local, path, "stranger").await).await;
        assert_eq!((status, code.as_str()), (403, "GatedRepo"));
        let page = format!("Visit {}/acme/tiny to ask", local.hub.url());
        assert!(message.contains(&page), "{message}");
        let status = get_as(&local, path, "friend").await.status().as_u16();
        assert_eq!(status, if path == MODEL { 302 } else { 200 });
    }
}

#[tokio::test]
async fn a_private_repository_is_not_there_for_others() {
    let local = Local::with(|hub| {
        let hub = hub.private("acme/tiny", "friend");
        hub.private("acme/tiny", "other friend").token("stranger")
    });
    for path in [INFO, TREE, CONFIG] {
        let (status, code, _) = refusal(local.get(path).await).await;
        assert_eq!((status, code.as_str()), (401, "RepoNotFound"));
        let (status, code, message) = refusal(get_as(&local, path, "stranger").await).await;
        assert_eq!((status, code.as_str()), (404, "RepoNotFound"));
        assert_eq!(message, "Repository not found");
        for token in ["friend", "other friend"] {
            assert_eq!(get_as(&local, path, token).await.status(), 200);
        }
    }
    let info = get_as(&local, INFO, "friend").await;
    let info: serde_json::Value = info.json().await.unwrap();
    assert_eq!(info["private"], true);
}

#[tokio::test]
async fn a_token_that_nobody_has_is_refused_everywhere() {
    let local = gated();
    for path in [INFO, TREE, CONFIG] {
        let (status, code, message) = refusal(get_as(&local, path, "guess").await).await;
        assert_eq!((status, code.as_str()), (401, ""));
        assert_eq!(message, "Invalid credentials in Authorization header");
    }
}

/// The blob host is another host: a client that shows it the token gives the token away, and the log tells.
#[tokio::test]
async fn the_log_tells_where_a_token_was_shown() {
    let local = gated();
    let request = client().get(local.url(MODEL)).bearer_auth("friend");
    assert!(read(within(request.send()).await.unwrap()).await.1);
    let shown: Vec<_> = local.hub.requests().iter().map(|r| r.has_token).collect();
    assert_eq!(shown, [true, false]);
    get(&local.blob(), &[("authorization", "Bearer friend")]).await;
    assert!(local.hub.requests()[2].has_token);
}

#[test]
fn access_to_what_is_not_there_is_a_mistake() {
    let gate = local_hub::Hub::builder().gated("acme/none", "friend");
    let error = gate.start().unwrap_err();
    assert_eq!(error.to_string(), "the hub has no repository acme/none");
    let named = local_hub::Hub::builder().repo("none", "/");
    let error = named.start().unwrap_err().to_string();
    assert!(error.contains("it looks like org/name"), "{error}");
}
