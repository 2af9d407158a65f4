//! Linux: everything from `/proc`.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

/// Clock ticks from boot to the start of a process (field 22 of `/proc/<pid>/stat`).
pub fn started_at(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, with any character in it.
    let rest = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

pub fn boot_id() -> io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

/// The pid of the process whose command line ends with these arguments.
pub fn find(arguments: &[OsString]) -> Option<u32> {
    let mut wanted = Vec::new();
    for argument in arguments {
        wanted.push(0);
        wanted.extend(argument.as_bytes());
    }
    wanted.push(0);
    std::fs::read_dir("/proc").ok()?.find_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        command.ends_with(&wanted).then_some(pid)
    })
}
