//! Fleets on cards: a device that is not there is an error before anything comes, and memory is the card's.

use std::fs;

use super::{Desk, Ran};
use crate::nvml::Driver;

/// With 1 MB free.
const CARD: &str = "00000000:41:00.0,NVIDIA A10,24000000000,1000000,8,6,0";

fn rbee(desk: &Desk, driver: &Driver, args: &[&str]) -> Ran {
    let mut command = desk.command(args);
    driver.serves(&mut command, CARD);
    command.output().unwrap().into()
}

#[test]
fn a_device_that_is_not_there_is_refused_before_anything_comes() {
    let (desk, driver) = (Desk::new(), Driver::new());
    desk.fleet(
        "  here: { connect: local, devices: [cpu, cuda:0, cuda:1] }\n",
        "here/cuda:1",
    );
    let why = "there is no device cuda:1: it has cpu, cuda:0";
    // What a pool without a hive has is known once it has one.
    rbee(&desk, &driver, &["plan"]).exits(0);
    rbee(&desk, &driver, &["apply", "--yes"]).exits(3).says(why);
    rbee(&desk, &driver, &["plan"]).exits(1).says(why);
    rbee(&desk, &driver, &["apply", "--yes"]).exits(3).says(why);
    let blobs = fs::read_dir(desk.home().join("models/blobs")).unwrap();
    assert_eq!(blobs.count(), 0, "a model came");

    let status = rbee(&desk, &driver, &["status"]).exits(1);
    let [cpu, card] = ["cpu", "cuda:0"].map(|device| {
        let mut lines = status.out.lines();
        lines
            .find(|line| line.contains(&format!(" {device} ")))
            .unwrap()
    });
    assert!(card.contains("24.0 of 24.0 GB"), "{}", status.out);
    assert!(!cpu.contains("24.0 of 24.0 GB"), "{}", status.out);
}

#[test]
fn a_worker_has_to_fit_its_card_and_not_the_machine() {
    let (desk, driver) = (Desk::new(), Driver::new());
    let fleet = |on| desk.fleet("  here: { connect: local, devices: [cpu, cuda:0] }\n", on);
    fleet("here/cpu");
    rbee(&desk, &driver, &["apply", "--yes"]).exits(0);
    fleet("here/cpu, here/cuda:0");
    rbee(&desk, &driver, &["plan"])
        .exits(1)
        .says("worker chat/here/cuda:0/0: ")
        .says("1.0 MB");
}

#[test]
fn a_plan_says_why_a_driver_has_no_card() {
    let (desk, driver) = (Desk::new(), Driver::new());
    desk.fleet(
        "  here: { connect: local, devices: [cpu, cuda:0] }\n",
        "here/cpu",
    );
    rbee(&desk, &driver, &["apply", "--yes"]).exits(0);
    desk.fleet(
        "  here: { connect: local, devices: [cpu, cuda:0] }\n",
        "here/cpu, here/cuda:0",
    );
    let after_an_update = |args: &[&str]| -> Ran {
        let mut command = desk.command(args);
        driver.serves(&mut command, CARD);
        command.env("NVML_INIT", "18").output().unwrap().into()
    };
    let why = "no NVIDIA card can be used: the driver in the kernel and its library have different versions";
    let blocked = format!("there is no device cuda:0: it has cpu; {why}");
    after_an_update(&["plan"]).exits(1).says(&blocked);
    after_an_update(&["status"])
        .exits(1)
        .says("cuda: here: no NVIDIA card");
}
