//! Whatever dies at whatever moment of an apply: the next one gets there, and nothing is left over.

mod place;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use place::{Place, Victim, asks, files, kill, link, processes};

use super::orchestrator::{at, free};
use super::{Desk, recorded_pid, tiny};

/// Xorshift: the same seed gives the same moments.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// `RBEE_SEED`, else always the same.
fn seed(usual: u64) -> u64 {
    let seed = std::env::var("RBEE_SEED").ok();
    seed.map_or(usual, |seed| seed.parse().unwrap())
}

/// Something dies at so many moments, spread over the time that an undisturbed apply takes.
fn crash(remote: bool, victims: &[Victim], moments: u64, seed: u64) {
    let mut random = Random(seed);
    let mut place = Place::new(remote);
    place.edit();
    place.desk.rbee(&["apply", "--yes"]).exits(0);
    place.edit();
    let begun = Instant::now();
    assert!(place.apply().wait().unwrap().success());
    let usual = begun.elapsed().as_millis() as u64;
    place.check("before any crash");
    for moment in 0..moments {
        place.edit();
        let victim = victims[random.next(victims.len() as u64) as usize];
        // What comes anew takes longer.
        let time = if place.edits.is_multiple_of(8) {
            3 * usual
        } else {
            usual
        };
        let after = Duration::from_millis(random.next(time));
        let what = format!("moment {moment}: {victim:?} after {after:?}, seed {seed}");
        let mut rbee = place.apply();
        std::thread::sleep(after);
        place.strike(victim, &mut rbee);
        rbee.wait().unwrap();
        let healed = place.desk.rbee(&["apply", "--yes", "--prune-models"]);
        assert_eq!(healed.code, 0, "{what}\n{}\n{}", healed.out, healed.err);
        place.check(&what);
    }
    place.desk.rbee(&["destroy", "--yes"]).exits(0);
    assert_eq!(place.processes("orchestratord"), [] as [u32; 0]);
    let home = place.home();
    let folders = ["workers", "orchestrators", "fleets"].map(|name| home.join(name));
    for folder in folders.iter().chain([&home]) {
        let mut left = files(folder);
        left.retain(|file| file.display().to_string().contains("/.tmp-"));
        assert_eq!(left, [] as [PathBuf; 0], "half-written files");
    }
}

#[test]
fn whatever_dies_of_an_apply_over_ssh_the_next_one_gets_there() {
    let seed = seed(0x5eed_caff);
    eprintln!("RBEE_SEED={seed}");
    let victims = [
        Victim::Rbee,
        Victim::Hive,
        Victim::Session,
        Victim::Orchestrator,
        Victim::Pool,
    ];
    crash(true, &victims, 30, seed);
}

#[test]
fn whatever_dies_of_an_apply_on_this_machine_the_next_one_gets_there() {
    let seed = seed(0x5eed_cafe);
    eprintln!("RBEE_SEED={seed}");
    let victims = [
        Victim::Rbee,
        Victim::Hive,
        Victim::Orchestrator,
        Victim::Pool,
    ];
    crash(false, &victims, 20, seed);
}

#[test]
fn whatever_dies_while_two_pools_get_their_token_they_have_one() {
    let seed = seed(0x5eed_ca11);
    eprintln!("RBEE_SEED={seed}");
    let mut random = Random(seed);
    let desk = Desk::new();
    let servers = ["one", "two"].map(|name| desk.lab.sshd(name));
    let homes = servers.each_ref().map(|server| server.home().to_owned());
    let listen = free();
    let pool = |name: &str| {
        format!("  {name}: {{ connect: ssh://{name}, devices: [cpu], advertise: 127.0.0.1 }}\n")
    };
    let begin = || {
        desk.rbee(&["destroy", "--yes", "--keep-models"]).exits(0);
        for home in &homes {
            assert_eq!(processes(home, "orchestratord"), [] as [u32; 0]);
            assert!(!home.join("fleets/test.json").exists());
        }
    };
    desk.write(&format!(
        "version: 1\nfleet: test\n{}pools:\n{}{}models:\n  tiny: {{ source: {} }}\n\
         workers:\n  chat: {{ model: tiny, on: ['*/cpu'] }}\n",
        at("two", listen, ""),
        pool("one"),
        pool("two"),
        tiny().display()
    ));
    desk.rbee(&["apply", "--yes"]).exits(0);
    begin();
    let begun = Instant::now();
    desk.rbee(&["apply", "--yes"]).exits(0);
    let usual = begun.elapsed().as_millis() as u64;
    for moment in 0..12 {
        begin();
        let after = Duration::from_millis(random.next(usual));
        let place = random.next(2) as usize;
        let victim = random.next(3);
        let what = format!("moment {moment}: {victim} of {place} after {after:?}, seed {seed}");
        let mut rbee = desk.command(&["apply", "--yes"]);
        rbee.stdout(Stdio::null()).stderr(Stdio::null());
        let mut rbee = rbee.spawn().unwrap();
        std::thread::sleep(after);
        match victim {
            0 => rbee.kill().unwrap(),
            1 => kill(&processes(&homes[place], "rbee-hive")),
            _ => servers[place].sever(),
        }
        rbee.wait().unwrap();
        let healed = desk.rbee(&["apply", "--yes"]);
        assert_eq!(healed.code, 0, "{what}\n{}\n{}", healed.out, healed.err);
        desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
        let links = homes.each_ref().map(|home| link(home));
        assert_eq!(links[0], links[1], "{what}");
        assert_eq!(links[0]["orchestrator"], format!("http://{listen}"));
        let running = homes
            .each_ref()
            .map(|home| processes(home, "orchestratord"));
        assert_eq!(running.each_ref().map(Vec::len), [0, 1], "{what}");
        let record = homes[1].join("orchestrators/test.json");
        assert_eq!(recorded_pid(&record), Some(running[1][0]), "{what}");
        let answer = asks(listen, links[0]["token"].as_str().unwrap());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
    }
}
