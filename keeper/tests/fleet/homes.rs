//! Two ways to one home.

use super::Desk;

const POOLS: &str = "  one: { connect: ssh://one, devices: [cpu] }
  same: { connect: ssh://same, devices: [cpu] }
  two: { connect: ssh://two, devices: [cpu] }
";

#[test]
fn of_two_pools_that_are_one_home_the_second_is_left() {
    let desk = Desk::new();
    let _one = desk.lab.sshd("one");
    let _same = desk.lab.server("same").home("one/home").start();
    let _two = desk.lab.sshd("two");
    desk.fleet(POOLS, "'*/cpu'");
    let said = "it is the same home as pool one";
    let help = "take same or one out of fleet.yaml";
    // Without a hive there is no folder yet.
    let bare = desk.rbee(&["plan"]).exits(1).says(said).says(help);
    bare.says("Plan: 2 to install, 2 to copy (5.2 MB), 2 to spawn.");
    desk.rbee(&["apply", "--yes"])
        .exits(3)
        .says(said)
        .says("Apply not complete: 2 installed, 2 copied (5.2 MB), 2 spawned.");
    let home = desk.lab.path("one/home");
    let said = format!("{said}: RBEE_HOME {}", home.display());
    for (command, code) in [("plan", 1), ("drift", 1), ("status", 1)] {
        desk.rbee(&[command]).exits(code).says(&said).says(help);
    }
    desk.rbee(&["apply", "--yes"]).exits(3).says(&said);
    desk.fleet(&POOLS.replace("ssh://same", "local"), "'*/cpu'");
    let mut local = desk.command(&["plan"]);
    local.env("RBEE_HOME", &home);
    super::Ran::from(local.output().unwrap())
        .exits(1)
        .says(&said);
    // One that is another home is no twin.
    desk.rbee(&["plan"]).exits(0).says("1 to install");
    let without = POOLS.lines().filter(|line| !line.contains("same"));
    let without: Vec<&str> = without.collect();
    desk.fleet(&(without.join("\n") + "\n"), "'*/cpu'");
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}
