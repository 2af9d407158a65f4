//! Pools with addresses of their own, in network namespaces: a link that is cut, also under an answer, and one that is
//! slow and loses packets.
//!
//! Making namespaces takes root; as anybody else these tests say so and pass. The slow link is `link.py`: it needs
//! /dev/net/tun and no kernel module, and loses the same packets in every run.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::door::{Door, LONG, endless};
use super::{Desk, Ran};
use crate::sshd::{Server, Sshd};

/// Runs `ip` with these words.
#[track_caller]
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output();
    let output = output
        .expect("ip is there: on Debian `apt install iproute2`, or `cargo xtask test` does it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {said}");
}

/// Whether namespaces can be made here; where they cannot, why.
#[allow(clippy::print_stdout, reason = "a test that is left out says so")]
pub fn is_possible() -> bool {
    if !rustix::process::getuid().is_root() {
        println!("not run: network namespaces take root");
        return false;
    }
    let probe = format!("rbee-probe-{}-{}", std::process::id(), number());
    let made = Command::new("ip").args(["netns", "add", &probe]).output();
    let made =
        made.expect("ip is there: on Debian `apt install iproute2`, or `cargo xtask test` does it");
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr);
        println!("not run: no network namespaces here: {}", why.trim());
        return false;
    }
    ip(&format!("netns del {probe}"));
    true
}

fn number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A network of this machine and a few sites. All of it goes when this is dropped.
pub struct Network {
    bridge: String,
    /// The first three numbers of its addresses.
    prefix: String,
    sites: Vec<String>,
    slow: Option<Child>,
}

impl Network {
    pub fn new() -> Self {
        let number = number();
        let unique = std::process::id() * 4 + number;
        let network = Self {
            bridge: format!("rb{}-{number}", std::process::id()),
            prefix: format!("10.{}.{}", 200 + unique / 250 % 50, unique % 250),
            sites: Vec::new(),
            slow: None,
        };
        ip(&format!("link add {} type bridge", network.bridge));
        ip(&format!(
            "addr add {}.1/24 dev {}",
            network.prefix, network.bridge
        ));
        ip(&format!("link set {} up", network.bridge));
        network
    }

    /// A namespace that is joined to the network.
    pub fn site(&mut self) -> usize {
        let place = self.sites.len();
        let site = format!("{}-{place}", self.bridge);
        ip(&format!("netns add {site}"));
        self.sites.push(site.clone());
        let port = self.port(place);
        ip(&format!("-n {site} link set lo up"));
        ip(&format!(
            "link add {port} type veth peer name eth0 netns {site}"
        ));
        ip(&format!("link set {port} master {} up", self.bridge));
        ip(&format!(
            "-n {site} addr add {}/24 dev eth0",
            self.address(place)
        ));
        ip(&format!("-n {site} link set eth0 up"));
        place
    }

    /// Our end of a site's link.
    pub fn port(&self, place: usize) -> String {
        format!("{}p{place}", self.bridge)
    }

    pub fn address(&self, place: usize) -> String {
        format!("{}.{}", self.prefix, place + 2)
    }

    /// The address of this machine.
    pub fn here(&self) -> String {
        format!("{}.1", self.prefix)
    }

    /// A server at a site, yet to be started.
    pub fn server<'a>(&self, desk: &'a Desk, name: &str, place: usize) -> Server<'a> {
        let server = desk.lab.server(name);
        server.within(&self.sites[place], &self.address(place))
    }

    fn sshd(&self, desk: &Desk, name: &str, place: usize) -> Sshd {
        self.server(desk, name, place).start()
    }

    fn set(&self, place: usize, state: &str) {
        ip(&format!("link set {} {state}", self.port(place)));
    }

    /// Puts a link in the place of a site's: packets take so many seconds each way, and one of `loss` is lost.
    fn slow_down(&mut self, place: usize, delay: f64, loss: u32) {
        let (site, near) = (&self.sites[place], format!("{}t", self.bridge));
        let mut link = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fleet/link.py"))
            .args([site, &near, "tun0", &delay.to_string(), &loss.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let mut said = String::new();
        BufReader::new(link.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        self.slow = Some(link);
        assert_eq!(said, "linked\n");
        ip(&format!("link del {}", self.port(place)));
        let address = self.address(place);
        ip(&format!(
            "addr add {}.1 peer {address} dev {near}",
            self.prefix
        ));
        ip(&format!("link set {near} up"));
        ip(&format!(
            "-n {site} addr add {address} peer {}.1 dev tun0",
            self.prefix
        ));
        ip(&format!("-n {site} link set tun0 up"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let quiet = |words: &str| {
            let mut ip = Command::new("ip");
            ip.args(words.split(' '))
                .stderr(Stdio::null())
                .status()
                .unwrap();
        };
        if let Some(mut slow) = self.slow.take() {
            slow.kill().unwrap();
            slow.wait().unwrap();
        }
        for place in 0..self.sites.len() {
            quiet(&format!("link del {}", self.port(place)));
            quiet(&format!("netns del {}", self.sites[place]));
        }
        quiet(&format!("link del {}", self.bridge));
    }
}

const POOLS: &str = "  near: { connect: ssh://near, devices: [cpu] }\n  far: { connect: ssh://far, devices: [cpu] }\n";

/// Applies and cuts a site off as soon as an action on it is begun. Returns how long it took until rbee
/// ended.
fn apply_cut_at(desk: &Desk, network: &Network, far: usize, action: &str) -> (Ran, Duration) {
    let mut apply = desk.command(&["apply", "--yes"]).spawn().unwrap();
    let mut lines = BufReader::new(apply.stderr.take().unwrap()).lines();
    let begins = |line: &String| line.trim_start().starts_with("far ") && line.contains(action);
    let begun = lines.by_ref().map_while(Result::ok).find(begins);
    assert!(begun.is_some(), "`{action}` was never begun");
    network.set(far, "down");
    let cut = Instant::now();
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let mut ran = Ran::from(apply.wait_with_output().unwrap());
    ran.err = rest.join("\n");
    (ran, cut.elapsed())
}

#[test]
fn a_link_that_is_cut_in_the_middle_of_an_apply_is_noticed_and_healed_by_the_next_run() {
    if !is_possible() {
        return;
    }
    let mut network = Network::new();
    let (near, far) = (network.site(), network.site());
    let desk = Desk::new();
    let _near = network.sshd(&desk, "near", near);
    let _far = network.sshd(&desk, "far", far);
    desk.fleet(POOLS, "'*/cpu'");
    for action in ["install", "spawn"] {
        let (cut, took) = apply_cut_at(&desk, &network, far, action);
        println!("{action}: the end came {took:?} after the cut");
        let cut = cut.exits(4).says("far");
        assert!(took < Duration::from_secs(15), "{took:?}: {}", cut.err);
        // The other pool was not held up by it.
        desk.rbee(&["status", "--connect-timeout", "2"])
            .exits(4)
            .says("chat/near/cpu/0");
        network.set(far, "up");
    }
    desk.rbee(&["apply", "--yes"]).exits(0);
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    let status = desk.rbee(&["status", "--json"]).exits(0).json();
    for pool in ["near", "far"] {
        let workers = status["pools"][pool]["workers"].as_array().map(Vec::len);
        assert_eq!(workers, Some(1), "{pool}: {status}");
    }
}

#[test]
fn a_slow_link_that_loses_packets_leaves_the_results_the_same() {
    if !is_possible() {
        return;
    }
    let mut network = Network::new();
    let far = network.site();
    let desk = Desk::new();
    let _far = network.sshd(&desk, "far", far);
    desk.fleet("  far: { connect: ssh://far, devices: [cpu] }\n", "far/cpu");
    // What lasts too long on such a link in a test: the programs, unoptimised. They stay.
    let results = || {
        let planned = desk.rbee(&["plan", "--json"]).exits(0).json();
        let mut actions = planned["plan"]["actions"].clone();
        for action in actions.as_array_mut().unwrap() {
            // What the machine has free is another matter.
            action.as_object_mut().unwrap().remove("fit");
        }
        let last = |ran: Ran| ran.out.lines().last().unwrap().to_owned();
        let applied = last(desk.rbee(&["apply", "--yes"]).exits(0));
        let rests = last(desk.rbee(&["plan", "--detailed-exitcode"]).exits(0));
        let question = [
            "infer",
            "--worker",
            "chat",
            "--prompt",
            "What is the capital of France?",
        ];
        let answer = desk.rbee(&question).exits(0).out;
        let gone = last(desk.rbee(&["destroy", "--yes"]).exits(0));
        (actions, applied, rests, answer, gone)
    };
    desk.rbee(&["apply", "--yes"]).exits(0);
    desk.rbee(&["destroy", "--yes"]).exits(0);
    // A new connection costs about nine round trips.
    let login = || {
        let start = Instant::now();
        desk.rbee(&["status", "--no-persist"])
            .exits(1)
            .says("chat/far/cpu/0");
        start.elapsed()
    };
    let (quick, before) = (results(), login());
    network.slow_down(far, 0.05, 100);
    let (start, after) = (Instant::now(), login());
    let longer = after.saturating_sub(before);
    assert!(
        longer > Duration::from_millis(500),
        "not slow: {after:?}, {before:?}"
    );
    let slow = results();
    println!("over 100 ms and 1 %: {:?}", start.elapsed());
    assert_eq!(slow, quick);
}

#[tokio::test]
async fn a_worker_behind_a_link_that_is_cut_is_left_out_and_serves_again_when_the_link_is_back() {
    if !is_possible() {
        return;
    }
    let mut network = Network::new();
    let site = network.site();
    let desk = Desk::new();
    let _far = network.sshd(&desk, "far", site);
    let (near, there) = (format!("{}.1", network.prefix), network.address(site));
    let free = TcpListener::bind((near.as_str(), 0)).unwrap();
    let listen: SocketAddr = free.local_addr().unwrap();
    drop(free);
    endless(&desk);
    desk.write(&format!(
        "version: 1\nfleet: test\norchestrator: {{ pool: here, listen: \"{listen}\" }}\npools:\n  \
         here: {{ connect: local, devices: [cpu], advertise: {near} }}\n  \
         far: {{ connect: ssh://far, devices: [cpu], advertise: {there} }}\n\
         models:\n  tiny: {{ source: ./model }}\nworkers:\n  chat: {{ model: tiny, on: ['*/cpu'] }}\n"
    ));
    desk.rbee(&["apply", "--yes"]).exits(0);
    let door = Door::of(&desk.home(), listen);
    door.ready(2).await;
    let (here, far) = ("chat/here/cpu/0", "chat/far/cpu/0");
    // Each has one slot, so that one of two long answers is the far one's.
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let id = door.submit(json!({"max_tokens": LONG})).await;
        tasks.push((door.worker_of(&id).await, id));
    }
    tasks.sort();
    let [(on_far, id), (on_here, other)] = &tasks[..] else {
        panic!("{tasks:?}");
    };
    assert_eq!((on_far.as_str(), on_here.as_str()), (far, here));
    let mut events = door.events(id, None).await;
    events.until_token().await;
    let cancel = format!("/v2/tasks/{other}/cancel");
    assert_eq!(door.post(&cancel, json!({})).await.status(), 202);

    network.set(site, "down");
    let cut = Instant::now();
    door.finds(far, "unreachable").await;
    let noticed = cut.elapsed();
    assert!(noticed < Duration::from_secs(10), "{noticed:?}");
    assert_eq!(door.serves().await, here);
    let (said, last) = events.told().await;
    let ended = cut.elapsed();
    println!("unreachable after {noticed:?}, the answer ended after {ended:?}");
    assert!(!said.is_empty() && ended < Duration::from_secs(40));
    assert_eq!(last["type"], "error");
    assert_eq!(last["message"], "nothing came from the worker for 30000 ms");
    assert_eq!(door.serves().await, here);

    network.set(site, "up");
    let back = Instant::now();
    door.finds(far, "ready").await;
    let drain = json!({"worker": here, "drained": true});
    assert_eq!(door.post("/v2/workers/drain", drain).await.status(), 204);
    assert_eq!(door.serves().await, far);
    println!(
        "it serves again {:?} after the link is back",
        back.elapsed()
    );
}
