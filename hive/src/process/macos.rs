//! macOS: everything from `ps` and `sysctl`, which print what the kernel knows. Compiled, never run.

use std::ffi::OsString;
use std::io;
use std::process::Command;

/// Microseconds from the epoch to the start of a process; `ps` tells whole seconds.
pub fn started_at(pid: u32) -> Option<u64> {
    let text = run("/bin/ps", &["-o", "state=,lstart=", "-p", &pid.to_string()]).ok()?;
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    if state.starts_with('Z') {
        return None;
    }
    let words: Vec<&str> = started.split_ascii_whitespace().collect();
    let started = jiff::civil::DateTime::strptime("%a %b %d %H:%M:%S %Y", words.join(" ")).ok()?;
    let started = started.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(started.timestamp().as_microsecond()).ok()
}

pub fn boot_id() -> io::Result<String> {
    let id = run("/usr/sbin/sysctl", &["-n", "kern.bootsessionuuid"])?;
    Ok(id.trim().to_owned())
}

/// The pid of the process whose command line ends with these arguments.
pub fn find(arguments: &[OsString]) -> Option<u32> {
    let wanted: Vec<String> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let wanted = format!(" {}", wanted.join(" "));
    let all = run("/bin/ps", &["-axwwo", "pid=,command="]).ok()?;
    all.lines().find_map(|line| {
        let (pid, command) = line.trim_start().split_once(' ')?;
        command.ends_with(&wanted).then(|| pid.parse().ok())?
    })
}

fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    // The start time is local time in the words of the locale.
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
