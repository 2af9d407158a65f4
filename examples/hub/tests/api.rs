//! What a repository is, and what is in it.

use serde_json::{Value, json};

use crate::support::{Local, REPO, WEIGHTS, bytes, get, refusal, sha256, text};

/// `printf {} | git hash-object --stdin`
const CONFIG_OID: &str = "9e26dfeeb6e641a33dae4961196235bdb965b21b";

fn paths(entries: &Value) -> Vec<(&str, &str)> {
    let entries = entries.as_array().unwrap().iter();
    entries
        .map(|e| (e["type"].as_str().unwrap(), e["path"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn info_names_the_commit_and_the_files() {
    let local = Local::start();
    let commit = local.hub.commit(REPO).unwrap();
    let by_branch = local.json("/api/models/acme/tiny").await;
    assert_eq!(by_branch["id"], REPO);
    assert_eq!(by_branch["author"], "acme");
    assert_eq!(by_branch["sha"], commit);
    assert_eq!(by_branch["private"], false);
    assert_eq!(by_branch["gated"], false);
    assert_eq!(
        by_branch["siblings"][0],
        json!({ "rfilename": "config.json" })
    );
    assert_eq!(by_branch["siblings"].as_array().unwrap().len(), 5);
    for revision in [commit.as_str(), "main", "refs%2Fheads%2Fmain"] {
        let path = format!("/api/models/acme/tiny/revision/{revision}");
        assert_eq!(local.json(&path).await, by_branch, "{revision}");
    }
}

#[tokio::test]
async fn info_has_sizes_and_digests_when_asked() {
    let local = Local::start();
    let info = local.json("/api/models/acme/tiny?blobs=true").await;
    let config = json!({ "rfilename": "config.json", "size": 2, "blobId": CONFIG_OID });
    assert_eq!(info["siblings"][0], config);
    let weights = &info["siblings"][2];
    assert_eq!(weights["rfilename"], "model.safetensors");
    assert_eq!(weights["lfs"]["sha256"], sha256(&bytes(WEIGHTS)));
    assert_eq!(weights["lfs"]["size"], WEIGHTS);
    assert_eq!(weights["lfs"]["pointerSize"], 132);
}

#[tokio::test]
async fn a_tree_has_the_files_and_folders_of_one_folder() {
    let local = Local::start();
    let root = local.json("/api/models/acme/tiny/tree/main").await;
    let expected = [
        ("directory", "notes"),
        ("file", "config.json"),
        ("file", "empty.txt"),
        ("file", "model.safetensors"),
    ];
    assert_eq!(paths(&root), expected);
    let config = json!({ "type": "file", "path": "config.json", "size": 2, "oid": CONFIG_OID });
    assert_eq!(root[1], config);
    let lfs = json!({ "oid": sha256(&bytes(WEIGHTS)), "size": WEIGHTS, "pointerSize": 132 });
    assert_eq!(root[3]["lfs"], lfs);
    let notes = local.json("/api/models/acme/tiny/tree/main/notes").await;
    let expected = [("directory", "notes/deep"), ("file", "notes/read me.md")];
    assert_eq!(paths(&notes), expected);
}

#[tokio::test]
async fn a_recursive_tree_has_all() {
    let local = Local::start();
    let tree = local
        .json("/api/models/acme/tiny/tree/main?recursive=True&expand=False")
        .await;
    let expected = [
        ("directory", "notes"),
        ("directory", "notes/deep"),
        ("file", "config.json"),
        ("file", "empty.txt"),
        ("file", "model.safetensors"),
        ("file", "notes/deep/er.md"),
        ("file", "notes/read me.md"),
    ];
    assert_eq!(paths(&tree), expected);
    assert_eq!(tree[2].get("lastCommit"), None);
}

#[tokio::test]
async fn an_expanded_tree_tells_the_last_commit() {
    let local = Local::start();
    let tree = local
        .json("/api/models/acme/tiny/tree/main?expand=true")
        .await;
    let commit = local.hub.commit(REPO).unwrap();
    for entry in tree.as_array().unwrap() {
        assert_eq!(entry["lastCommit"]["id"], commit);
    }
    assert_eq!(tree[1]["securityFileStatus"]["status"], "safe");
}

#[tokio::test]
async fn a_long_tree_comes_in_pages() {
    let local = Local::with(|builder| builder.page_size(3));
    let mut url = local.url("/api/models/acme/tiny/tree/main?recursive=true");
    let mut found = Vec::new();
    let mut pages = 0;
    loop {
        let response = get(&url, &[]).await;
        let link = text(response.headers(), "link").to_owned();
        let page: Value = response.json().await.unwrap();
        let page = page.as_array().unwrap();
        assert!(page.len() <= 3);
        found.extend(page.iter().cloned());
        pages += 1;
        let Some(next) = link.strip_suffix(">; rel=\"next\"") else {
            break;
        };
        url = next.trim_start_matches('<').to_owned();
    }
    assert_eq!(pages, 3);
    let whole = Local::start();
    let tree = whole
        .json("/api/models/acme/tiny/tree/main?recursive=1")
        .await;
    assert_eq!(Value::from(found), tree);
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_the_words_of_the_real_hub() {
    let local = Local::start();
    let commit = local.hub.commit(REPO).unwrap();
    let missing = "0".repeat(40);
    let cases = [
        (
            "/api/models/acme/none",
            401,
            "RepoNotFound",
            "Invalid username or password.",
        ),
        (
            "/acme/none/resolve/main/a",
            401,
            "RepoNotFound",
            "Invalid username or password.",
        ),
        (
            "/api/models/acme/tiny/revision/v9",
            404,
            "RevisionNotFound",
            "Invalid rev id: v9",
        ),
        (
            "/api/models/acme/tiny/tree/v9",
            404,
            "RevisionNotFound",
            "Invalid rev id: v9",
        ),
        (
            "/acme/tiny/resolve/v9/config.json",
            404,
            "RevisionNotFound",
            "Invalid rev id: v9",
        ),
        (
            "/api/models/acme/tiny/tree/main/nothing",
            404,
            "EntryNotFound",
            "nothing does not exist on \"main\"",
        ),
        (
            "/acme/tiny/resolve/main/nothing",
            404,
            "EntryNotFound",
            "Entry not found",
        ),
        (
            "/acme/tiny/resolve/main/notes",
            404,
            "EntryNotFound",
            "Entry not found",
        ),
    ];
    for (path, status, code, message) in cases {
        let found = refusal(local.get(path).await).await;
        assert_eq!(
            found,
            (status, code.to_owned(), message.to_owned()),
            "{path}"
        );
    }
    let path = format!("/api/models/acme/tiny/revision/{missing}");
    assert_eq!(refusal(local.get(&path).await).await.1, "RevisionNotFound");
    let response = local.get("/acme/tiny/resolve/main/nothing").await;
    assert_eq!(text(response.headers(), "x-repo-commit"), commit);
}
