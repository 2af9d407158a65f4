//! `docs/tutorial.md`, run as it stands; its three machines are this one and two network namespaces.

use std::fs;

use super::page::{Play, free_port, run, steps, text};
use crate::fleet::Desk;
use crate::fleet::network::{Network, is_possible};

const LEFT: &[(&str, &str)] = &[
    ("cargo build --release", "the programs are built"),
    ("export PATH=", "they are found"),
    (
        "import os",
        "it takes a package of PyPI; orchestrator/tests/python has the same client",
    ),
];

const LEFT_OF_THREE: &[(&str, &str)] = &[
    ("ssh-copy-id box", "the key is there"),
    ("ssh box hostname", "it asks a person for the fingerprint"),
];

#[test]
fn the_tutorial_prints_what_it_shows() {
    let page = text("docs/tutorial.md");
    let (one, three) = page.split_once("\n## Three machines").unwrap();
    let desk = Desk::new();
    let mut play = Play {
        replaced: vec![("8080", free_port()), (":8001", ":...".into())],
        acted: Vec::new(),
        left: LEFT,
        shows_all: true,
    };
    let mut all = steps(one, &play);
    assert!(all.len() > 15, "the page shows {} commands", all.len());
    if !is_possible() {
        run(&desk, &all);
        desk.rbee(&["destroy", "--yes", "-f", "fleet/fleet.yaml"])
            .exits(0);
        return;
    }
    let mut network = Network::new();
    let (box_, rack) = (network.site(), network.site());
    let servers = [("box", box_), ("rack", rack)]
        .map(|(name, site)| network.server(&desk, name, site).unknown().start());
    let met = servers
        .each_ref()
        .map(|server| format!("{} {}", server.place(), server.host_key()));
    fs::write(desk.path("met"), met.concat()).unwrap();
    let met = format!("cat ~/met >> {}", desk.lab.known_hosts().display());
    let edit = |how: &str| format!("sed -i '{how}' fleet.yaml");
    play.left = LEFT_OF_THREE;
    let ssh = format!("`ssh -F {} ssh://box`", desk.lab.config().display());
    play.replaced.extend([
        ("`ssh ssh://box`", ssh),
        (
            "known for 192.168.1.21",
            format!("known for {}", servers[0].place()),
        ),
        ("port 22:", format!("port {}:", servers[0].port())),
        ("192.168.1.20", network.here()),
        ("192.168.1.21", network.address(box_)),
        ("192.168.1.22", network.address(rack)),
        (":8002", ":...".into()),
    ]);
    play.acted = vec![
        (
            "`rbee apply` does the part of desk, and exits with 4 too. Then you log in to both once",
            format!("rbee apply --yes; test $? = 4 && {met}"),
        ),
        ("`slots: 8` in place of 4", edit("s/slots: 4/slots: 8/")),
        (
            "Somebody kills the worker on `rack`",
            "pid=$(rbee status | sed -n 's|^chat/rack/.* \\([0-9]*\\) *$|\\1|p'); kill -9 $pid
             while grep -q . /proc/$pid/cmdline 2>/dev/null; do sleep 0.05; done"
                .into(),
        ),
        (
            "`box` loses its network, and you want four slots again",
            format!(
                "ip link set {} down; {}",
                network.port(box_),
                edit("s/slots: 8/slots: 4/")
            ),
        ),
        (
            "When `box` is back",
            format!("ip link set {} up", network.port(box_)),
        ),
        (
            "(here `on: [desk/cpu, box/cpu]`)",
            edit("s|on: .*\"\\*/cpu\"\\]|on: [desk/cpu, box/cpu]|"),
        ),
        (
            "Or all of it, here of the three with `rack` back in its place",
            format!(
                "{}; rbee apply --yes",
                edit("s|on: .desk/cpu, box/cpu\\]|on: [\"*/cpu\"]|")
            ),
        ),
    ];
    all.extend(steps(three, &play));
    run(&desk, &all);
}
