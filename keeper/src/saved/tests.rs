use std::os::unix::fs::PermissionsExt;

use super::*;

const PLAN: &str = r#"{ "version": 1, "fleet": "home", "actions": [
    { "id": 0, "pool": "box", "action": "unregister", "model": "tiny", "bytes": 1,
      "reason": { "code": "not_declared" }, "needs": [], "facts": [ {
        "about": { "model": "tiny" },
        "was": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c" } ] } ],
    "blocked": [], "unknown": [], "warnings": [] }"#;

fn saved() -> Saved {
    let endpoint = Endpoint::Ssh {
        destination: "ssh://me@box".into(),
        host_keys: HostKeys::AcceptNew,
    };
    let declared = Declared {
        endpoint,
        advertise: None,
    };
    let pools = [("box".parse().unwrap(), declared)].into();
    let plan = serde_json::from_str(PLAN).unwrap();
    Saved::new(plan, Purpose::Apply, Path::new("/srv/fleet"), &pools)
}

fn refusal(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    let Failure::Other { what, at, help, .. } = load(path).unwrap_err() else {
        panic!("a saved plan is no fleet file");
    };
    assert_eq!(at, Some(path.display().to_string()));
    assert!(help.is_some(), "{what}");
    what
}

#[test]
fn what_is_written_is_what_is_read_and_nobody_else_may() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.json");
    let saved = saved();
    saved.write(&path).unwrap();
    assert_eq!(load(&path).unwrap(), saved);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    saved.write(&path).unwrap();
    let names = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(names, 1, "something is left behind");
    let declared = &saved.declared().unwrap()[&"box".parse().unwrap()];
    assert_eq!(declared.endpoint.to_string(), "ssh://me@box");
}

#[test]
fn no_other_file_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.yaml");
    std::fs::write(&path, "version: 1\n").unwrap();
    saved().write(&path).unwrap_err();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "version: 1\n");
}

#[test]
fn what_is_no_plan_of_this_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plan.json");
    let text = serde_json::to_string(&saved()).unwrap();
    for (from, to, what) in [
        ("rbee-plan", "plan", "this is no saved plan"),
        (
            "\"version\":1,\"rbee\"",
            "\"version\":9,\"rbee\"",
            "the saved plan has version 9, this rbee reads 1",
        ),
        ("unregister", "explode", "the saved plan is damaged: "),
        (
            "ssh://me@box",
            "ssh://-oProxyCommand=x",
            "the saved plan is damaged: `",
        ),
        (
            "\"id\":0",
            "\"id\":7",
            "the saved plan is damaged: action #7 is at position 0",
        ),
        (
            "\"needs\":[]",
            "\"needs\":[0]",
            "the saved plan is damaged: action #0 waits for #0",
        ),
        (
            "\"pool\":\"box\"",
            "\"pool\":\"other\"",
            "the saved plan is damaged: action #0 is for no pool of it",
        ),
        (
            "{\"model\":\"tiny\"}",
            "{\"model\":\"other\"}",
            "the saved plan is damaged: action #0 (remove tiny) relies on the model other",
        ),
        (
            "\"facts\"",
            "\"more\"",
            "the saved plan is damaged: action #0 (remove tiny) does not rely on the model tiny",
        ),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        let said = refusal(&path, &text.replace(from, to));
        assert!(said.starts_with(what), "{said}");
    }
    let said = refusal(&path, &text[..text.len() / 2]);
    assert!(said.starts_with("the saved plan is damaged: EOF"), "{said}");
}
