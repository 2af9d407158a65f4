use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::reload::{Change, Reloaded};

/// What is wrong, as `line:column message`.
fn wrong(text: &str) -> Vec<String> {
    let problems = text.parse::<Tenants>().unwrap_err();
    problems
        .iter()
        .map(|problem| {
            assert!(!problem.hint.is_empty(), "{problem:?}");
            format!(
                "{}:{} {}",
                problem.place.line, problem.place.column, problem.message
            )
        })
        .collect()
}

fn file_of(text: &str, mode: u32) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    file
}

fn one(name: &str, key: &str) -> String {
    format!(
        "tenants:\n  - name: {name}\n    keys: [{}]\n",
        Sha256::of(key)
    )
}

#[test]
fn a_key_leads_to_its_tenant() {
    let [a, b, c] = ["a", "b", "c"].map(Sha256::of);
    let yaml = format!(
        "# who\ntenants:\n- name: lab\n  keys: [{a}, \"{b}\"]\n  weight: 3\n  quotas: {{concurrent: 2, tokens_per_day: 10}}\n- name: shop.1\n  keys:\n    - {c}\n- {{name: out, keys: []}}\n"
    );
    let json = format!(
        r#"{{"tenants": [{{"name": "lab", "keys": ["{a}", "{b}"], "weight": 3, "quotas": {{"concurrent": 2, "tokens_per_day": 10}}}},
        {{"name": "shop.1", "keys": ["{c}"]}}, {{"name": "out", "keys": []}}]}}"#
    );
    for text in [yaml, json] {
        let tenants: Tenants = text.parse().unwrap();
        let name = |key| tenants.find(key).map(|tenant| &*tenant.name);
        assert_eq!(
            ["a", "b", "c"].map(name),
            [Some("lab"), Some("lab"), Some("shop.1")]
        );
        assert_eq!(["", "d", "A", &a.to_string()].map(name), [None; 4]);
        let lab = Tenant {
            name: "lab".into(),
            quotas: Quotas {
                concurrent: Some(2),
                tokens_per_minute: None,
                tokens_per_day: Some(10),
            },
            weight: 3,
        };
        assert_eq!(*tenants.all()[0], lab);
        assert_eq!((tenants.all().len(), tenants.all()[1].weight), (3, 1));
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let key = Sha256::of("a");
    let text = format!(
        "tenants:
  - name: lab
    keys: [{key}, rbee-secret, {key}]
    wieght: 2
    quotas:
      concurrent: 0
      tokens_per_minute: many
      tokens_per_day: [1]
  - name: lab
    keys: none
    weight: 1001
  - keys: []
    name: a b
  - just text
  - weight: 1
    weight: 2
"
    );
    let expected = [
        "3:78 this is no sha256",
        "3:91 this key stands in line 3 already",
        "4:5 a tenant has no `wieght`",
        "6:19 `concurrent` cannot be this",
        "7:26 `tokens_per_minute` cannot be this",
        "8:23 `tokens_per_day` is a single value",
        "9:11 there is a tenant `lab` already",
        "10:11 `keys` is a list",
        "11:13 `weight` cannot be this",
        "13:11 this is no name of a tenant",
        "14:5 a tenant is a mapping",
        "15:5 a tenant has no `name`",
        "15:5 a tenant has no `keys`",
        "16:5 `weight` stands here a second time",
    ];
    assert_eq!(wrong(&text), expected);
    let file = file_of(&text, 0o600);
    let error = Tenants::read(file.path()).unwrap_err().to_string();
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(error.lines().count(), expected.len());
}

#[test]
fn a_text_that_is_no_file_of_tenants_is_told_in_a_line() {
    for (text, told) in [
        ("", "1:1 the file is empty"),
        ("# nothing\n", "1:1 the file is empty"),
        ("tenants: {}\n", "1:10 `tenants` is a list"),
        ("- 1\n", "1:1 the file is a mapping"),
        ("{}", "1:1 `tenants` is missing"),
        (
            "tenants: []\n---\ntenants: []\n",
            "2:1 a second document starts here",
        ),
    ] {
        assert_eq!(wrong(text), [told], "{text:?}");
    }
    for text in [
        "tenants: [",
        "tenants:\n\t- a",
        "tenants: \"a\nb: c",
        &"[".repeat(1000),
    ] {
        let told = wrong(text);
        assert!(told.len() == 1 && told[0].contains("no YAML"), "{told:?}");
    }
    let anchors = wrong("a: &a [1]\ntenants: *a\n");
    assert!(
        anchors.contains(&"2:10 this cannot stand here".to_owned()),
        "{anchors:?}"
    );
    assert!("tenants: []".parse::<Tenants>().unwrap().all().is_empty());
}

#[test]
fn a_file_that_others_may_write_to_is_refused() {
    for (mode, is_taken) in [(0o600, true), (0o644, true), (0o620, false), (0o602, false)] {
        let file = file_of(&one("lab", "a"), mode);
        assert_eq!(Tenants::read(file.path()).is_ok(), is_taken, "{mode:o}");
    }
    assert!(Tenants::read(Path::new("/no/such/file")).is_err());
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_is_not_taken() {
    let file = file_of(&one("lab", "a"), 0o600);
    let tenants = Reloaded::open(file.path(), Tenants::read).unwrap();
    assert!(tenants.get().find("a").is_some());
    std::fs::write(file.path(), one("other", "bb")).unwrap();
    assert_eq!(
        [tenants.poll(), tenants.poll()],
        [Change::None, Change::Taken]
    );
    assert_eq!(tenants.get().find("bb").unwrap().name, "other");
    assert!(tenants.get().find("a").is_none());
    std::fs::write(file.path(), "tenants: {").unwrap();
    assert_eq!(
        [tenants.poll(), tenants.poll()],
        [Change::None, Change::Refused]
    );
    assert!(tenants.get().find("bb").is_some());
}
