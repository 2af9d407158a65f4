//! launchd: an agent of the user's domain, started when the domain is: at login, or at boot where the user has one then.
//!
//! The property list is written by the rules of launchd.plist(5).

use std::fmt::Write as _;
use std::path::Path;

use pool_core::rpc::{ErrorCode, HiveError};

use super::{Described, Unit, run, under_home};
use crate::error::{Result, fail};

/// The agent of a service.
pub fn unit(service: &Described) -> Result<Unit> {
    let name = format!("rbee.{}", service.name);
    let folder = under_home("Library/LaunchAgents")?;
    Ok(Unit {
        path: folder.join(format!("{name}.plist")),
        text: text(&name, service),
        name,
    })
}

/// Whether this is a machine with launchd.
pub fn check() -> Result<()> {
    if cfg!(target_os = "macos") {
        return Ok(());
    }
    Err(fail(
        ErrorCode::NotFound,
        "this pool has no launchd, which only macOS has",
        "write `supervise: systemd` or `supervise: none` in fleet.yaml",
    ))
}

pub fn start(unit: &Unit) -> Result<()> {
    // One that is loaded already would stay as it was.
    let _ = release(&unit.name);
    launchctl(&["bootstrap", &domain(), &unit.path.to_string_lossy()])
}

pub fn release(name: &str) -> Result<()> {
    launchctl(&["bootout", &format!("{}/{name}", domain())])
}

fn domain() -> String {
    format!("user/{}", rustix::process::getuid().as_raw())
}

fn launchctl(arguments: &[&str]) -> Result<()> {
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    run("/bin/launchctl", &arguments).map_err(|said| HiveError {
        code: ErrorCode::Io,
        message: format!("launchd refuses: {said}"),
        help: None,
    })
}

fn text(name: &str, service: &Described) -> String {
    let mut arguments = String::new();
    for word in &service.command {
        let _ = writeln!(arguments, "    <string>{}</string>", escaped(word));
    }
    let path = |path: &Path| escaped(&path.display().to_string());
    let (folder, log) = (path(service.folder), path(service.log));
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{name}</string>
  <key>ProgramArguments</key>
  <array>
{arguments}  </array>
  <key>WorkingDirectory</key>
  <string>{folder}</string>
  <key>StandardOutPath</key>
  <string>{log}</string>
  <key>StandardErrorPath</key>
  <string>{log}</string>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ExitTimeOut</key>
  <integer>30</integer>
</dict>
</plist>
"#,
        name = escaped(name),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_reads_back_as_it_was_meant() {
        let command = ["/a b/<worker> & co", "--worker-id", "tiny-1"];
        let worker = Described {
            name: "tiny-1",
            title: "worker tiny-1",
            command: command.map(str::to_owned).to_vec(),
            folder: Path::new("/a b"),
            log: Path::new("/a b/logs/tiny-1.log"),
        };
        let list = text("rbee.tiny-1", &worker);
        let list: plist::Value = plist::from_bytes(list.as_bytes()).unwrap();
        let list = list.as_dictionary().unwrap();
        let string = |key: &str| list[key].as_string().unwrap();
        assert_eq!(string("Label"), "rbee.tiny-1");
        assert_eq!(string("WorkingDirectory"), "/a b");
        let words = list["ProgramArguments"].as_array().unwrap();
        let words: Vec<_> = words.iter().filter_map(plist::Value::as_string).collect();
        assert_eq!(words, command);
        let keep = list["KeepAlive"].as_dictionary().unwrap();
        assert_eq!(keep["SuccessfulExit"].as_boolean(), Some(false));
    }
}
