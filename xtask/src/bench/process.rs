//! What Linux tells of a running process; other systems tell nothing.

/// The most memory that it ever had, in bytes.
pub fn peak(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = value(&status, "VmHWM:")?.strip_suffix(" kB")?;
    Some(kilobytes.parse::<u64>().ok()? * 1024)
}

/// Bytes that it read from anywhere, the memory of the system included.
pub fn bytes_read(pid: u32) -> Option<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    value(&io, "rchar:")?.parse().ok()
}

/// Seconds of processors that it took until now.
pub fn cpu_seconds(pid: u32) -> Option<f64> {
    /// Linux counts them in hundredths, whatever its own clock.
    const TICKS: f64 = 100.0;
    let user: f64 = field(pid, 14)?.parse().ok()?;
    let system: f64 = field(pid, 15)?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// The processes of a group.
pub fn group(group: u32) -> Vec<u32> {
    let Ok(all) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let wanted = group.to_string();
    pids.filter(|pid| field(*pid, 5).is_some_and(|group| group == wanted))
        .collect()
}

/// A field of `/proc/PID/stat`, by its number in proc(5), from 3 on.
fn field(pid: u32, number: usize) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, the second field, may have blanks in it.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3).map(str::to_owned)
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_reads_is_counted() {
        let me = std::process::id();
        let before = bytes_read(me).unwrap();
        let read = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(bytes_read(me).unwrap() >= before + read.len() as u64);
        assert!(peak(me).unwrap() >= read.len() as u64);
        assert_eq!(peak(u32::MAX), None);
    }

    #[test]
    fn a_group_is_all_of_its_processes() {
        use std::os::unix::process::CommandExt as _;
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & echo; wait"])
            .stdout(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let both = group(child.id());
        assert!(both.contains(&child.id()) && both.len() == 2, "{both:?}");
        assert!(cpu_seconds(child.id()).is_some_and(|seconds| seconds < 60.0));
        let minus = format!("-{}", child.id());
        let kill = std::process::Command::new("kill")
            .args(["-KILL", "--", &minus])
            .status();
        assert!(kill.unwrap().success());
        child.wait().unwrap();
        assert_eq!(cpu_seconds(u32::MAX), None);
    }
}
