//! Rounds of copies from pool to pool.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{Bench, LIMIT, MODEL, curl, memory_row};
use crate::bench::process;
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::bench::timed::{Taken, mebibytes};
use crate::say;

/// What a pool gives.
struct Given<'a> {
    /// The catalog's entry of the model.
    entry: &'a Value,
    /// The digests of its files.
    contents: Vec<&'a str>,
    /// Where, and to whom.
    serving: Value,
    bytes: u64,
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let source = bench.pool("source")?;
    source.register(MODEL, "org/bench")?;
    source.download(MODEL)?;
    let (mut speed, mut giver, mut taker) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        say(&format!(
            "{}: copy, round {round} of {}",
            bench.heading, bench.rounds
        ));
        let mut hive = source.connect()?;
        let observed = hive.call("observe", Value::Null)?;
        let entry = &observed["models"][0];
        let contents = contents(entry)?;
        let towards = json!({ "contents": contents, "interface": { "towards": "127.0.0.1" } });
        let given = Given {
            serving: hive.call("serve", towards)?,
            bytes: bench.repository.size(),
            entry,
            contents,
        };
        let (ours, curl) = if round % 2 == 0 {
            let ours = fetch(bench, &given)?;
            (ours, take(bench, &given)?)
        } else {
            let curl = take(bench, &given)?;
            (fetch(bench, &given)?, curl)
        };
        let memory = |ours| Round {
            ours,
            peer: None,
            limit: Some(LIMIT),
        };
        speed.push(Round {
            ours: bench.speed(ours.seconds),
            peer: None,
            limit: Some(bench.speed(curl.seconds)),
        });
        giver.extend(process::peak(hive.pid()).map(mebibytes).map(memory));
        taker.extend(ours.peak.map(memory));
    }
    Ok(vec![
        Row {
            heading: bench.heading.clone(),
            what: "copy from a pool, to curl".to_owned(),
            unit: Unit::MegabytesPerSecond,
            against: Against::Limit,
            floor: Some(Floor::AtLeast(0.8)),
            drawn: true,
            rounds: speed,
        },
        memory_row(bench, "peak memory of the hive that gives", giver),
        memory_row(bench, "peak memory of the hive that takes", taker),
    ])
}

fn contents(entry: &Value) -> anyhow::Result<Vec<&str>> {
    let files = entry["files"].as_array().context("no files in the entry")?;
    let digests = files.iter().map(|file| file["sha256"].as_str());
    digests
        .collect::<Option<_>>()
        .context("a file without sha256")
}

/// A pool with nothing in it takes the model.
fn fetch(bench: &Bench, given: &Given) -> anyhow::Result<Taken> {
    let pool = bench.pool("target")?;
    let mut peer = given.serving.clone();
    peer["pool"] = "near".into();
    bench.warm()?;
    let start = Instant::now();
    let mut hive = pool.connect()?;
    hive.call("register", json!({ "entry": given.entry }))?;
    let fetched = hive.call("fetch", json!({ "model": MODEL, "peers": [peer] }))?;
    let published = hive.call("publish", json!({ "model": MODEL }))?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        fetched["from_pools"] == given.bytes && published["downloaded"] == true,
        "not all of the model came: {fetched}"
    );
    let peak = process::peak(hive.pid()).map(mebibytes);
    drop(hive);
    std::fs::remove_dir_all(&pool.home)?;
    Ok(Taken {
        seconds,
        peak,
        said: String::new(),
    })
}

/// curl takes the same contents.
fn take(bench: &Bench, given: &Given) -> anyhow::Result<Taken> {
    let folder = bench.place("target")?;
    let text = |name: &str| given.serving[name].as_str().context("nothing is served");
    let (address, token) = (text("address")?, text("token")?);
    let digests = given.contents.iter();
    let files = digests.map(|&sha256| (format!("http://{address}/{sha256}"), sha256));
    bench.warm()?;
    let taken = curl::take(files, Some(token), &folder)?;
    let came = size(&folder)?;
    ensure!(
        came == given.bytes,
        "curl took {came} bytes of {}",
        given.bytes
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(taken)
}

/// Bytes of all files in a folder.
fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut size = 0;
    for entry in folder.read_dir()? {
        size += entry?.metadata()?.len();
    }
    Ok(size)
}
