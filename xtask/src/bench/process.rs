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
}
