//! Processes that cannot be mistaken for another one: a pid with its start time and its boot.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;

use pool_core::worker::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
pub use rustix::process::Signal;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod system;

/// Names the present start of the system; none where it has no name.
pub fn boot_id() -> Option<String> {
    system::boot_id().ok()
}

/// The process with this pid; none when there is none, or it has ended and only waits to be reaped.
pub fn identify(pid: u32) -> Option<ProcessIdentity> {
    Some(ProcessIdentity {
        pid,
        pid_started_at: system::started_at(pid)?,
        boot_id: boot_id()?,
    })
}

/// Whether exactly this process lives.
pub fn is_alive(process: &ProcessIdentity) -> bool {
    identify(process.pid).as_ref() == Some(process)
}

/// Looks for the process whose command line ends with these arguments.
pub fn find(arguments: &[OsString]) -> Option<ProcessIdentity> {
    system::find(arguments).and_then(identify)
}

/// Sends a signal to exactly this process; false when it is gone.
pub fn signal(process: &ProcessIdentity, signal: Signal) -> io::Result<bool> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return Ok(false);
    };
    match send(pid, process, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(false),
        sent => Ok(sent?),
    }
}

#[cfg(target_os = "linux")]
fn send(pid: Pid, process: &ProcessIdentity, signal: Signal) -> rustix::io::Result<bool> {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

    // The descriptor stays with one process: what is checked after it was opened is what is hit.
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(_) if !is_alive(process) => Ok(false),
        Ok(pidfd) => pidfd_send_signal(pidfd, signal).map(|()| true),
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => kill(pid, process, signal),
        Err(error) => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
use kill as send;

fn kill(pid: Pid, process: &ProcessIdentity, signal: Signal) -> rustix::io::Result<bool> {
    if !is_alive(process) {
        return Ok(false);
    }
    rustix::process::kill_process(pid, signal).map(|()| true)
}

/// Whether nobody will read what is written there, without writing anything.
pub fn is_unread(output: &impl AsFd) -> bool {
    let mut asked = [PollFd::new(output, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let gone = PollFlags::ERR | PollFlags::HUP;
    poll(&mut asked, Some(&now)).is_ok() && asked[0].revents().intersects(gone)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// Ends with the test, whatever happens.
    struct Sleeper(Child);

    impl Sleeper {
        fn start(seconds: &str) -> (Self, ProcessIdentity) {
            let child = Command::new("sleep").arg(seconds).spawn().unwrap();
            let process = identify(child.id()).unwrap();
            (Self(child), process)
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_that_only_waits_to_be_reaped_is_not_alive() {
        let (mut sleeper, process) = Sleeper::start("1000");
        assert!(is_alive(&process));
        assert!(signal(&process, Signal::KILL).unwrap());
        while is_alive(&process) {
            std::thread::yield_now();
        }
        assert!(!signal(&process, Signal::TERM).unwrap());
        sleeper.0.wait().unwrap();
        assert_eq!(identify(process.pid), None);
    }

    #[test]
    fn another_start_time_or_another_boot_is_another_process() {
        let (mut sleeper, process) = Sleeper::start("1000");
        let mut later = process.clone();
        later.pid_started_at += 1;
        let mut rebooted = process.clone();
        rebooted.boot_id = "another".into();
        for other in [later, rebooted] {
            assert!(!is_alive(&other));
            assert!(!signal(&other, Signal::KILL).unwrap());
        }
        assert!(sleeper.0.try_wait().unwrap().is_none());
    }

    #[test]
    fn a_process_is_found_by_the_end_of_its_command_line() {
        let (_sleeper, process) = Sleeper::start("1000.25");
        // The kernel lets go of the parent before the new command line can be read.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while find(&["1000.25".into()]).is_none() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(find(&["1000.25".into()]), Some(process));
        assert_eq!(find(&["1000".into(), "1000.25".into()]), None);
    }
}
