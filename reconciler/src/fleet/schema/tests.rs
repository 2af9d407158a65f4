//! The schema, the reader and the committed schema file say the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::schema;
use crate::fleet::node::{self, Kind, Node, kind};
use crate::fleet::{parse, yaml};

const EXAMPLE: &str = r#"
# yaml-language-server: $schema=./docs/fleet.schema.json
version: 1
fleet: home
orchestrator: { pool: blep, listen: 0.0.0.0:8080 }     # optional
defaults: { worker: { slots: 4, context: 4096 } }
pools:
  blep:        { connect: local, devices: [cpu] }
  mac:         { connect: ssh://vince@mac.home.arpa, devices: [metal:0] }
  workstation: { connect: ssh://workstation, devices: [cuda:0, cuda:1], advertise: 192.168.1.20 }
models:
  qwen-0.5b:   { source: hf:Qwen/Qwen2.5-0.5B-Instruct }
  mistral:     { source: "hf:mistralai/Mistral-7B-Instruct-v0.2@main", quantize: q4 }
  tiny:        { source: ./examples/models/tiny-llama }
workers:
  chat:        { model: qwen-0.5b, on: [mac/metal:0, workstation/cuda:0], replicas: 1 }
  everywhere:  { models: [qwen-0.5b, tiny], on: ["*/cpu"] }          # a matrix: each model on each match
checks:                                                              # the test matrix, see `rbee test`
  smoke:       { workers: "*", prompt: "What is the capital of France?", expect: Paris, max_tokens: 16 }
"#;

/// What the example does not show.
const UNUSUAL: &str = r#"
version: 1
fleet: lab_2
orchestrator: { pool: box }
max_outage: 0
defaults:
pools:
  box: &box
    connect: ssh://root@[fd00::1]:2222
    devices:
      - cuda:0
    advertise: fd00::1
    host_keys: accept-new
    supervise: systemd
  other: { <<: *box, connect: ssh://other:22, host_keys: strict }
models:
  file:
    source: "hf:org/repo@refs/pr/1::model.gguf"
    dtype: bf16
    quantize:
    max_outage: 1h30m
    canary: { prompt: "1+1?", expect: "2", max_tokens: 256 }
    protect: true
workers:
  idle: { model: file, on: ["b?x/cuda:*", other/*], replicas: 0, slots: 1024, context: 1, protect: false }
checks:
  all: { prompt: "1+1?", expect: "2" }
  two:
    workers: [idle]
    prompt: |
      What is the capital of France?
    expect: >-
      Paris
"#;

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn yaml_to_json(text: &str) -> Option<Value> {
    let (root, problems) = yaml::read(text).ok()?;
    root.filter(|_| problems.is_empty())
        .map(|root| to_json(&root))
}

fn to_json(node: &Node) -> Value {
    match &node.value {
        node::Value::Scalar { text, plain } => match kind(text, *plain) {
            Kind::Null => Value::Null,
            Kind::Bool => Value::Bool(text.eq_ignore_ascii_case("true")),
            Kind::Number => text.parse::<f64>().map_or(Value::Null, |number| {
                if number.fract() == 0.0 {
                    json!(number as i64)
                } else {
                    json!(number)
                }
            }),
            Kind::Text => Value::from(&**text),
        },
        node::Value::List(items) => items.iter().map(to_json).collect(),
        node::Value::Mapping(entries) => entries
            .iter()
            .map(|entry| (entry.key.to_string(), to_json(&entry.node)))
            .collect(),
        node::Value::Broken => Value::Null,
    }
}

#[test]
fn the_committed_schema_is_fresh() {
    let path = file("../docs/fleet.schema.json");
    let fresh = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == fresh,
        "docs/fleet.schema.json is stale: UPDATE_SCHEMA=1 cargo test -p reconciler schema"
    );
}

#[test]
fn the_schema_accepts_good_fleets() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let scenarios = std::fs::read_dir(file("tests/scenarios")).unwrap();
    let scenarios = scenarios.map(|folder| folder.unwrap().path().join("fleet.yaml"));
    let mut fleets: Vec<String> = scenarios
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect();
    assert!(!fleets.is_empty());
    fleets.extend([EXAMPLE.to_owned(), UNUSUAL.to_owned()]);
    for text in fleets {
        if let Err(problems) = parse(&text) {
            panic!("{}", problems[0].render("fleet.yaml", &text));
        }
        let json = yaml_to_json(&text).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&json)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}\n{text}");
    }
}

#[test]
fn the_reader_refuses_what_the_schema_refuses() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut refused = 0;
    for path in std::fs::read_dir(file("tests/bad_fleets")).unwrap() {
        let path = path.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if let Some(json) = yaml_to_json(&text).filter(|json| !validator.is_valid(json)) {
            assert!(parse(&text).is_err(), "{} {json}", path.display());
            refused += 1;
        }
    }
    assert!(
        refused > 40,
        "only {refused} of the bad fleets are refused by the schema"
    );
}

/// A fleet with a key in each kind of mapping that none of them knows.
fn with_stray_keys() -> Value {
    json!({
        "stray": 0,
        "orchestrator": { "stray": 0 },
        "defaults": { "stray": 0, "worker": { "stray": 0 } },
        "pools": { "p": { "stray": 0 } },
        "models": { "m": { "stray": 0, "canary": { "stray": 0 } } },
        "workers": { "w": { "stray": 0 } },
        "checks": { "c": { "stray": 0 } },
    })
}

#[test]
fn the_reader_knows_exactly_the_keys_of_the_schema() {
    let text = serde_json::to_string(&with_stray_keys()).unwrap();
    let known: BTreeSet<BTreeSet<String>> = parse(&text)
        .unwrap_err()
        .iter()
        .filter(|problem| problem.message.contains("`stray`"))
        .map(|problem| {
            let hint = problem.hint.as_deref().unwrap();
            let keys = hint.strip_prefix("known keys: ").unwrap();
            keys.split(", ").map(str::to_owned).collect()
        })
        .collect();
    let schema = schema();
    let definitions = schema["definitions"].as_object().unwrap();
    let properties: BTreeSet<BTreeSet<String>> = definitions
        .values()
        .chain([&schema])
        .map(|object| {
            assert_eq!(object["additionalProperties"], false, "{object}");
            object["properties"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect()
        })
        .collect();
    assert_eq!(known, properties);
}

#[test]
fn every_key_of_the_schema_is_described() {
    let schema = schema();
    let definitions = schema["definitions"].as_object().unwrap();
    for (name, object) in definitions
        .iter()
        .map(|(k, v)| (&**k, v))
        .chain([("", &schema)])
    {
        let described = |at: &Value, key: &str| {
            at["properties"][key]["description"].is_string() || at["description"].is_string()
        };
        for key in object["properties"].as_object().unwrap().keys() {
            let in_variant = object["oneOf"].as_array().into_iter().flatten();
            let by_variant = in_variant.filter(|variant| variant["properties"].get(key).is_some());
            let direct = object["properties"][key]["description"].is_string();
            assert!(
                direct || by_variant.clone().any(|variant| described(variant, key)),
                "{name}.{key}"
            );
        }
    }
}

/// Values that some key or other takes, and some that none does.
fn value() -> impl Strategy<Value = Value> {
    let taken = [
        json!("local"),
        json!("ssh://a@b:22"),
        json!("cpu"),
        json!("cuda:0"),
        json!("*/*"),
        json!(["*/cpu"]),
        json!("q4_k"),
        json!("strict"),
        json!("hf:a/b"),
        json!("./x"),
        json!("10.0.0.1"),
        json!("10.0.0.1:1"),
        json!(["cpu"]),
        json!(["cpu", "cpu"]),
        json!(["chat", "*"]),
        json!({}),
        json!([]),
    ];
    prop_oneof![
        4 => prop::sample::select(taken.to_vec()),
        2 => Just(Value::Null),
        2 => (-2..3000_i64).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        2 => "[a-z*?/:.@0-9 _-]{0,12}".prop_map(Value::from),
    ]
}

/// Replaces, removes or adds one value, found by following `path`.
fn mutate(json: &mut Value, path: &[usize], with: Value) {
    let children: Vec<&mut Value> = match json {
        Value::Object(map) => map.values_mut().collect(),
        Value::Array(items) => items.iter_mut().collect(),
        _ => Vec::new(),
    };
    match path {
        [step, rest @ ..] if !children.is_empty() => {
            let n = step % children.len();
            let removes = rest.is_empty() && with.is_null();
            match json {
                Value::Object(map) if removes => {
                    let key = map.keys().nth(n).cloned().unwrap();
                    map.remove(&key);
                }
                Value::Object(map) => mutate(map.values_mut().nth(n).unwrap(), rest, with),
                Value::Array(items) => mutate(&mut items[n], rest, with),
                _ => {}
            }
        }
        _ => *json = with,
    }
}

proptest! {
    #[test]
    fn the_reader_refuses_whatever_the_schema_refuses(
        edits in prop::collection::vec((prop::collection::vec(any::<usize>(), 3..5), value()), 1..3)
    ) {
        let mut json = yaml_to_json(EXAMPLE).unwrap();
        for (path, with) in edits {
            mutate(&mut json, &path, with);
        }
        let text = serde_json::to_string(&json).unwrap();
        if parse(&text).is_ok() {
            let schema = schema();
            let errors: Vec<String> = jsonschema::validator_for(&schema)
                .unwrap()
                .iter_errors(&json)
                .map(|e| e.to_string())
                .collect();
            prop_assert!(errors.is_empty(), "{errors:?}");
        }
    }
}
