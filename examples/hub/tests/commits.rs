//! Commits: what was pushed stays, and what a hub may lie about.

use serde_json::json;

use crate::support::{Local, REPO, bytes, folder, get, sha256, text};

#[tokio::test]
async fn a_push_moves_the_branch_and_keeps_the_earlier_commit() {
    let local = Local::start();
    let first = local.hub.commit(REPO).unwrap();
    let other = folder(&[("config.json", b"{\"a\":1}"), ("more.safetensors", b"more")]);
    let second = local.hub.push(REPO, other.path()).unwrap();
    assert_ne!(first, second);
    assert_eq!(second.len(), 40);
    assert_eq!(local.json("/api/models/acme/tiny").await["sha"], second);
    for (revision, content) in [
        ("main", "{\"a\":1}"),
        (&first, "{}"),
        (&second, "{\"a\":1}"),
    ] {
        let response = local
            .get(&format!("/acme/tiny/resolve/{revision}/config.json"))
            .await;
        assert_eq!(response.text().await.unwrap(), content, "{revision}");
    }
    // The blobs of both are there.
    assert_eq!(get(&local.blob(), &[]).await.status(), 200);
    let blob = format!("{}/blobs/{}", local.hub.blobs_url(), sha256(b"more"));
    assert_eq!(get(&blob, &[]).await.text().await.unwrap(), "more");
}

#[test]
fn equal_files_make_an_equal_commit() {
    let local = Local::start();
    let first = local.hub.commit(REPO).unwrap();
    let same = crate::support::tiny();
    assert_eq!(local.hub.push(REPO, same.path()).unwrap(), first);
    assert!(local.hub.push("acme/none", same.path()).is_err());
}

#[tokio::test]
async fn small_files_are_kept_when_the_folder_changes() {
    let local = Local::start();
    std::fs::write(local.folder.path().join("config.json"), "other").unwrap();
    let response = local.get("/acme/tiny/resolve/main/config.json").await;
    assert_eq!(response.text().await.unwrap(), "{}");
}

#[tokio::test]
async fn a_commit_can_be_replaced_under_its_own_id() {
    let local = Local::start();
    let id = local.hub.commit(REPO).unwrap();
    let other = folder(&[("config.json", b"changed"), ("w.safetensors", &bytes(9))]);
    local.hub.replace(REPO, other.path()).unwrap();
    assert_eq!(local.hub.commit(REPO).unwrap(), id);
    let path = format!("/acme/tiny/resolve/{id}/config.json");
    let response = local.get(&path).await;
    assert_eq!(text(response.headers(), "x-repo-commit"), id);
    assert_eq!(response.text().await.unwrap(), "changed");
}

#[tokio::test]
async fn a_tree_can_list_a_path_that_leads_out() {
    let local = Local::start();
    let path = "../../escaped.safetensors";
    let id = local.hub.add_file(REPO, path, b"escaped").unwrap();
    let tree = local
        .json(&format!("/api/models/acme/tiny/tree/{id}?recursive=true"))
        .await;
    let entries = tree.as_array().unwrap();
    let entry = entries.iter().find(|e| e["path"] == path).unwrap();
    assert_eq!(entry["lfs"]["oid"], sha256(b"escaped"));
    // A client that asks for it gets it.
    let response = local
        .get(&format!(
            "/acme/tiny/resolve/{id}/..%2F..%2Fescaped.safetensors"
        ))
        .await;
    assert_eq!(text(response.headers(), "x-linked-size"), "7");
}

#[tokio::test]
async fn a_tree_can_list_what_git_has_and_the_hub_has_not() {
    let local = Local::start();
    let link = json!({ "type": "symlink", "path": "link", "size": 11, "oid": "0", "target": "/etc/passwd" });
    local.hub.add_entry(REPO, link.clone()).unwrap();
    let tree = local.json("/api/models/acme/tiny/tree/main").await;
    assert_eq!(tree.as_array().unwrap().last(), Some(&link));
}

#[test]
fn a_folder_with_a_symbolic_link_is_no_repository() {
    let local = Local::start();
    let other = folder(&[("config.json", b"{}")]);
    std::os::unix::fs::symlink("config.json", other.path().join("link")).unwrap();
    let error = local.hub.push(REPO, other.path()).unwrap_err();
    assert!(error.to_string().contains("link is not a file"), "{error}");
}
