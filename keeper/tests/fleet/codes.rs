//! Each exit code, by commands that give it.

use std::net::TcpListener;

use super::Desk;

const HERE: &str = "  here: { connect: local, devices: [cpu] }\n";

/// An address where nobody listens.
fn down() -> String {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    format!("  down: {{ connect: ssh://127.0.0.1:{port}, devices: [cpu] }}\n")
}

#[track_caller]
fn table(desk: &Desk, rows: &[(&[&str], i32)]) {
    for (args, code) in rows {
        let ran = desk.rbee(args);
        assert_eq!(
            ran.code,
            *code,
            "rbee {}:\n{}{}",
            args.join(" "),
            ran.out,
            ran.err
        );
    }
}

#[test]
fn before_and_after_an_apply_and_when_a_worker_died() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    table(
        &desk,
        &[
            (&["validate"], 0),
            (&["plan"], 0),
            (&["plan", "--detailed-exitcode"], 2),
            (&["drift"], 0),
            (&["drift", "--detailed-exitcode"], 2),
            (&["status"], 1),
            (&["apply"], 1),
            (&["apply", "--yes"], 0),
            (&["plan", "--detailed-exitcode"], 0),
            (&["drift", "--detailed-exitcode"], 0),
            (&["status"], 0),
        ],
    );
    let [pid] = desk.workers()[..] else {
        panic!("{:?}", desk.workers());
    };
    super::end(pid);
    table(
        &desk,
        &[
            (&["status"], 1),
            (&["drift"], 0),
            (&["drift", "--detailed-exitcode"], 2),
            (&["plan", "--detailed-exitcode"], 2),
            (&["apply", "--yes"], 0),
            (&["status"], 0),
            (&["destroy", "--yes"], 0),
            (&["status"], 1),
        ],
    );
}

#[test]
fn a_pool_that_is_down_and_one_that_is_faulty() {
    let desk = Desk::new();
    desk.fleet(&format!("{HERE}{}", down()), "here/cpu");
    table(
        &desk,
        &[
            (&["plan", "--detailed-exitcode"], 4),
            (&["drift", "--detailed-exitcode"], 4),
            (&["status"], 1),
            (&["apply", "--yes"], 4),
            (&["status"], 4),
        ],
    );
    std::fs::write(desk.home().join("catalog.json"), "{").unwrap();
    table(
        &desk,
        &[
            (&["plan", "--detailed-exitcode"], 1),
            (&["drift", "--detailed-exitcode"], 1),
            (&["status"], 1),
            (&["apply", "--yes"], 3),
        ],
    );
}

#[test]
fn wrong_command_lines() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    table(
        &desk,
        &[
            (&["show"], 64),
            (&["show", "x", "--markdown", "--json"], 64),
            (&["plan", "--markdown", "--json-stream"], 64),
            (&["status", "--json", "--json-stream"], 64),
            (&["watch", "--interval", "0s"], 64),
            (&["watch", "--yes"], 64),
            (&["watch", "--json"], 64),
            (&["schema", "--json-stream"], 64),
            (&["schema", "nothing"], 64),
            (&["drift", "x"], 64),
        ],
    );
}
