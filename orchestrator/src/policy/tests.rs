use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::reload::{Change, Reloaded};

/// Long enough that only the count of steps ends a script, however busy the machine is.
const PATIENT: Budget = Budget {
    operations: 100_000,
    time: Duration::from_mins(1),
};

fn policy(script: &str) -> Policy {
    Policy::compile(script, PATIENT).unwrap_or_else(|mistake| panic!("{}", mistake.1))
}

fn view(facts: &Value) -> View {
    View::of(facts).unwrap()
}

fn schedule(script: &str) -> Result<Option<String>, ScriptFault> {
    let facts =
        json!({"workers": [{"id": "w1", "slots": 2}, {"id": "w2", "slots": 4}], "unix_ms": 5});
    policy(script).schedule(&view(&facts), &view(&json!({"class": "batch"})))
}

fn fault(body: &str) -> ScriptFault {
    schedule(&format!("fn schedule(snapshot, task) {{ {body} }}")).unwrap_err()
}

#[test]
fn a_script_reads_the_facts_and_answers() {
    let script = r#"
        fn widest(workers) { workers.sort(|a, b| b.slots - a.slots); workers[0] }
        fn schedule(snapshot, task) {
            let known = "class" in task && !("other" in task) && task.other == () && task["class"] == "batch";
            let names = snapshot.workers.filter(|w| w.slots > 2).map(|w| w.id);
            if known && names == ["w2"] && snapshot.keys().len() == 2 { widest(snapshot.workers).id }
        }"#;
    assert_eq!(schedule(script), Ok(Some("w2".into())));
    assert_eq!(schedule("fn schedule(snapshot, task) {}"), Ok(None));
    assert_eq!(schedule("fn admit(snapshot, task) { throw 1 }"), Ok(None));
}

#[test]
fn each_hook_takes_its_answers() {
    let nothing = view(&json!({}));
    let admit = |answer: &str| {
        policy(&format!("fn admit(snapshot, task) {{ {answer} }}")).admit(&nothing, &nothing)
    };
    assert_eq!(admit(""), Ok(None));
    assert_eq!(admit("true"), Ok(Some(Admission::Admitted)));
    assert_eq!(admit("\"no\""), Ok(Some(Admission::Refused("no".into()))));
    assert!(matches!(admit("false"), Ok(Some(Admission::Refused(_)))));
    assert_eq!(admit("7").unwrap_err().kind, FaultKind::WrongAnswer);
    let error = view(&json!({"kind": "cut"}));
    let retry = |answer: &str| {
        let script = format!("fn retry(snapshot, task, error) {{ {answer} }}");
        policy(&script).retry(&nothing, &nothing, &error)
    };
    assert_eq!(retry("error.kind == \"cut\""), Ok(Some(true)));
    assert_eq!(retry("false"), Ok(Some(false)));
    assert_eq!(retry(""), Ok(None));
    assert_eq!(retry("\"yes\"").unwrap_err().kind, FaultKind::WrongAnswer);
    assert_eq!(fault("snapshot.workers").kind, FaultKind::WrongAnswer);
    assert_eq!(fault("42").kind, FaultKind::WrongAnswer);
}

#[test]
fn what_takes_too_much_is_ended() {
    for body in [
        "loop {}",
        "let n = 0; while true { n += 1; }",
        "loop { try { loop {} } catch {} }",
        "let f = |f| f.call(f); f.call(f)",
        "let s = \"x\"; loop { s += s; }",
        "let s = \"x\"; s.pad(1_000_000, \"y\"); s",
        "let a = [0]; loop { a += a; }",
        "let a = []; a.pad(1_000_000_000, 0); 1",
        "let a = [1]; loop { a = [a, a]; }",
        "let m = #{}; for i in 0..1_000_000 { m[i.to_string()] = i; }",
        "let a = blob(1_000_000_000); 1",
        "for i in 0..1_000_000_000 { snapshot.workers.len(); }",
    ] {
        let fault = fault(body);
        assert_eq!(fault.kind, FaultKind::OverBudget, "{body}: {fault}");
    }
    let deep = schedule("fn down(n) { down(n + 1) } fn schedule(snapshot, task) { down(0) }");
    assert_eq!(deep.unwrap_err().kind, FaultKind::OverBudget);
}

#[test]
fn the_clock_ends_a_script_that_counts_few_steps() {
    let budget = Budget {
        operations: u64::MAX,
        time: Duration::from_millis(2),
    };
    let nothing = view(&json!({}));
    for body in ["loop {}", "loop { try { spin() } catch {} }"] {
        let script = format!("fn spin() {{ loop {{}} }} fn schedule(snapshot, task) {{ {body} }}");
        let policy = Policy::compile(&script, budget).ok().unwrap();
        let fault = policy.schedule(&nothing, &nothing).unwrap_err();
        assert_eq!(fault.kind, FaultKind::OverBudget, "{fault}");
    }
}

#[test]
fn a_script_that_fails_says_why_and_where() {
    for (body, told) in [
        ("throw \"not today\"", "not today"),
        ("1 / 0", "Division by zero"),
        ("task.class + 1 > missing()", "missing"),
        ("[1, 2][7]", "out of bounds"),
        ("task.class.nothing.here", "nothing"),
    ] {
        let fault = fault(body);
        assert_eq!(
            (fault.hook, fault.kind),
            (Hook::Schedule, FaultKind::Failed),
            "{fault}"
        );
        assert!(fault.message.contains(told), "{body}: {fault}");
        assert!(fault.message.contains("line 1"), "{body}: {fault}");
    }
    let long = fault("let s = \"x\"; s.pad(10_000, \"x\"); throw s");
    assert!(long.message.chars().count() <= 300);
}

#[test]
fn a_script_can_neither_change_the_facts_nor_leave_its_box() {
    for body in [
        "snapshot.unix_ms = 1",
        "task[\"class\"] = 1",
        "snapshot.workers[0].id = \"x\"",
    ] {
        assert_eq!(fault(body).kind, FaultKind::Failed, "{body}");
    }
    let kept = schedule(
        "fn schedule(snapshot, task) {
            let workers = snapshot.workers;
            workers.clear();
            snapshot.workers.clear();
            snapshot.workers[0].id
        }",
    );
    assert_eq!(kept, Ok(Some("w1".into())));
    for body in ["sleep(1)", "sleep(0.5)"] {
        assert!(fault(body).message.contains("cannot sleep"), "{body}");
    }
    for script in ["import \"x\" as y;", "eval(\"1\")", "let x = unknown;"] {
        let script = format!("fn schedule(snapshot, task) {{ {script} }}");
        let answer = Policy::compile(&script, PATIENT);
        assert!(answer.is_err(), "{script}");
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn a_wrong_file_is_told_with_its_place() {
    for (text, told) in [
        ("\nfn admit(snapshot, task) {\n  let = 1;\n}", ":3:7: "),
        (
            "fn admit(snapshot) {}",
            "`admit` has to be `fn admit(snapshot, task)`",
        ),
        ("fn admitt(snapshot, task) {}", "none of"),
        ("", "none of"),
    ] {
        let file = file(text);
        let error = Policy::read(file.path()).err().unwrap().to_string();
        assert!(error.contains(told), "{error}");
        assert!(
            error.contains(&file.path().display().to_string()),
            "{error}"
        );
    }
    let missing = Policy::read(Path::new("/no/such/file")).err().unwrap();
    assert!(missing.to_string().contains("/no/such/file"));
}

#[test]
fn a_changed_script_is_read_again() {
    let file = file("fn admit(snapshot, task) { \"first\" }");
    let policy = Reloaded::open(file.path(), Policy::read).unwrap();
    let nothing = view(&json!({}));
    let says = || policy.get().admit(&nothing, &nothing).unwrap();
    std::fs::write(file.path(), "fn admit(snapshot, task) {").unwrap();
    assert_eq!(
        [policy.poll(), policy.poll()],
        [Change::None, Change::Refused]
    );
    assert_eq!(says(), Some(Admission::Refused("first".into())));
    std::fs::write(file.path(), "fn admit(snapshot, task) { \"then\" }").unwrap();
    assert_eq!(
        [policy.poll(), policy.poll()],
        [Change::None, Change::Taken]
    );
    assert_eq!(says(), Some(Admission::Refused("then".into())));
}

/// One of the policies that are shipped.
fn example(name: &str) -> Policy {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/policies");
    Policy::read_with(&folder.join(name), PATIENT).unwrap_or_else(|error| panic!("{error}"))
}

fn worker(id: &str, changed: &Value) -> Value {
    let mut worker = json!({
        "id": id, "pool": "other", "device": "cuda:0", "slots": 4, "running": 1, "foreign": 0, "tokens": 100,
        "memory_free": 8_000_000_000_u64, "context_length": 32_768, "condition": "ready", "drained": false,
    });
    for (field, value) in changed.as_object().unwrap() {
        worker[field] = value.clone();
    }
    worker
}

fn chosen(policy: &Policy, unix_ms: u64, workers: &[Value], task: &Value) -> Option<String> {
    let snapshot = view(&json!({"unix_ms": unix_ms, "workers": workers}));
    policy.schedule(&snapshot, &view(task)).unwrap()
}

#[test]
fn tenants_stay_on_their_pools() {
    let policy = example("tenants-to-pools.rhai");
    let research = json!({"tenant": "research"});
    let mut workers = vec![
        worker("far", &json!({"tokens": 0})),
        worker("busy", &json!({"pool": "lab-a", "tokens": 900})),
        worker("idle", &json!({"pool": "lab-b", "tokens": 10})),
    ];
    let choose = |workers: &[Value], task: &Value| chosen(&policy, 0, workers, task);
    assert_eq!(choose(&workers, &research).as_deref(), Some("idle"));
    workers[2]["running"] = json!(4);
    assert_eq!(choose(&workers, &research).as_deref(), Some("busy"));
    workers[1]["drained"] = json!(true);
    assert_eq!(choose(&workers, &research), None);
    assert_eq!(choose(&workers, &json!({"tenant": "guest"})), None);
}

#[test]
fn batch_leaves_the_gpus_by_day() {
    let policy = example("batch-off-gpus-by-day.rhai");
    let (night, day) = (3_600_000 * 7, 3_600_000 * (24 * 365 + 8));
    let workers = [
        worker("gpu", &json!({})),
        worker("cpu", &json!({"device": "cpu"})),
    ];
    let batch = json!({"class": "batch", "tokens_in": 10, "max_tokens": 100});
    let interactive = json!({"class": "interactive", "tokens_in": 10, "max_tokens": 100_000});
    assert_eq!(
        chosen(&policy, day, &workers, &batch).as_deref(),
        Some("cpu")
    );
    assert_eq!(chosen(&policy, night, &workers, &batch), None);
    assert_eq!(chosen(&policy, day, &workers, &interactive), None);
    assert_eq!(chosen(&policy, day, &workers[..1], &batch), None);
    let admits = |unix_ms: u64, task: &Value| {
        let snapshot = view(&json!({"unix_ms": unix_ms, "workers": []}));
        policy.admit(&snapshot, &view(task)).unwrap() == Some(Admission::Admitted)
    };
    let long = json!({"class": "batch", "tokens_in": 10, "max_tokens": 100_000});
    let cases = [
        (day, &long),
        (night, &long),
        (day, &batch),
        (day, &interactive),
    ];
    assert_eq!(
        cases.map(|(at, task)| admits(at, task)),
        [false, true, true, true]
    );
}

#[test]
fn people_get_another_attempt() {
    let policy = example("retry-for-people.rhai");
    let retries = |class: &str, attempts: u32, kind: &str| {
        let task = json!({"class": class, "attempts": attempts});
        let error = json!({"kind": kind});
        policy
            .retry(&view(&json!({})), &view(&task), &view(&error))
            .unwrap()
    };
    assert_eq!(retries("interactive", 1, "cut"), Some(true));
    assert_eq!(retries("interactive", 3, "cut"), Some(false));
    assert_eq!(retries("batch", 1, "cut"), Some(false));
    assert_eq!(retries("batch", 2, "connect"), Some(true));
}

#[test]
fn long_tasks_go_where_the_memory_is() {
    let policy = example("long-prompts-to-memory.rhai");
    let workers = [
        worker("small", &json!({})),
        worker("large", &json!({"memory_free": 40_000_000_000_u64})),
        worker(
            "short",
            &json!({"memory_free": 80_000_000_000_u64, "context_length": 4096}),
        ),
    ];
    let task = |tokens_in: u64| json!({"tokens_in": tokens_in, "max_tokens": 100});
    assert_eq!(
        chosen(&policy, 0, &workers, &task(9000)).as_deref(),
        Some("large")
    );
    assert_eq!(chosen(&policy, 0, &workers[2..], &task(9000)), None);
    assert_eq!(chosen(&policy, 0, &workers, &task(100)), None);
}

#[test]
fn sessions_and_prompts_stay_where_they_are_warm() {
    let policy = example("warm-sessions.rhai");
    let mut workers = vec![
        worker(
            "half",
            &json!({"session_here": false, "prefix_share": 0.5, "tokens": 300}),
        ),
        worker(
            "most",
            &json!({"session_here": false, "prefix_share": 0.75, "tokens": 900}),
        ),
        worker(
            "session",
            &json!({"session_here": true, "prefix_share": 0.0, "tokens": 900}),
        ),
        worker(
            "cold",
            &json!({"session_here": false, "prefix_share": 0.0, "tokens": 0}),
        ),
    ];
    let choose = |workers: &[Value]| chosen(&policy, 0, workers, &json!({}));
    assert_eq!(choose(&workers).as_deref(), Some("session"));
    workers[2]["running"] = json!(4);
    assert_eq!(choose(&workers).as_deref(), Some("most"));
    workers[1]["prefix_share"] = json!(0.5);
    assert_eq!(choose(&workers).as_deref(), Some("half"));
    workers[0]["condition"] = json!("gone");
    workers[1]["drained"] = json!(true);
    assert_eq!(choose(&workers), None);
}

#[test]
fn a_view_on_another_hides_what_it_has_too() {
    let below = view(&json!({"a": 1, "b": 2}));
    let list = View::list("c", vec![below.with(&view(&json!({"b": 3})))]);
    let both = below.with(&view(&json!({"b": 4}))).with(&list);
    let script = r#"
        fn schedule(snapshot, task) {
            let inner = snapshot.c[0];
            let has = "a" in snapshot && "c" in snapshot && !("d" in snapshot) && snapshot.d == ();
            if has && inner.keys() == ["a", "b"] {
                `${snapshot.keys()} ${snapshot.a} ${snapshot.b} ${inner.a} ${inner.b}`
            }
        }"#;
    let said = policy(script).schedule(&both, &view(&json!({}))).unwrap();
    assert_eq!(said.as_deref(), Some(r#"["a", "b", "c"] 1 4 1 3"#));
    assert_eq!(fault("snapshot.workers[0].id = 1").kind, FaultKind::Failed);
}

#[test]
fn every_policy_that_is_shipped_is_tested_here() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/policies");
    let tests = include_str!("tests.rs");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(tests.contains(&format!("example(\"{name}\")")), "{name}");
    }
}
