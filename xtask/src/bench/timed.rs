//! A program from its start to its end.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::process;

/// How often the memory of a program is looked at.
pub const LOOK: Duration = Duration::from_millis(10);

/// What a program took.
pub struct Taken {
    pub seconds: f64,
    /// The most memory that it had, in MiB.
    pub peak: Option<f64>,
    /// What it wrote to stdout.
    pub said: String,
}

/// Runs a program, which must succeed, with this text on its stdin.
pub fn run(command: &mut Command, input: &str) -> anyhow::Result<Taken> {
    let name = command.get_program().to_string_lossy().into_owned();
    let [mut said, mut complained] = [tempfile::tempfile()?, tempfile::tempfile()?];
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(said.try_clone()?)
        .stderr(complained.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let pid = child.id();
    let (ended, end) = channel::<()>();
    let watch = thread::spawn(move || {
        let mut peak = None;
        while end.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            peak = process::peak(pid).max(peak);
        }
        peak
    });
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it reads has its reasons, which come next.
        let _ = stdin.write_all(input.as_bytes());
    }
    let status = child.wait()?;
    let seconds = start.elapsed().as_secs_f64();
    drop(ended);
    let peak = watch.join().ok().flatten();
    if !status.success() {
        let (said, complained) = (text(&mut said)?, text(&mut complained)?);
        let why = [&complained, &said]
            .into_iter()
            .find(|text| !text.trim().is_empty());
        let why = why.map_or("it said nothing", |why| why.trim());
        bail!("{name} failed ({status}): {why}");
    }
    Ok(Taken {
        seconds,
        peak: peak.map(mebibytes),
        said: text(&mut said)?,
    })
}

fn text(file: &mut File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_read_and_what_fails_says_why() {
        let mut sleep = Command::new("sh");
        let taken = run(
            sleep.args(["-c", "read seconds; sleep $seconds; echo done"]),
            "0.05\n",
        )
        .unwrap();
        assert!(taken.seconds >= 0.05, "{}", taken.seconds);
        assert_eq!(taken.said, "done\n");
        assert_eq!(taken.peak.is_some(), cfg!(target_os = "linux"));
        let mut sad = Command::new("sh");
        let error = run(sad.args(["-c", "echo no luck >&2; exit 3"]), "");
        let text = error.err().map(|error| error.to_string()).unwrap();
        assert!(text.contains("no luck") && text.contains('3'), "{text}");
    }
}
