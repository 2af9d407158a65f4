//! The scripts that run on pools.

const START: &str = concat!(include_str!("home.sh"), include_str!("start.sh"));
const MACHINE: &str = concat!(include_str!("home.sh"), include_str!("machine.sh"));
const INSTALL: &str = concat!(include_str!("home.sh"), include_str!("install.sh"));

/// Starts the line in which [`start`] says which build is installed, and in which home.
pub const POOL: &str = "rbee-pool ";
/// Starts the line in which [`machine`] says what the machine is.
pub const ON: &str = "rbee-machine ";
/// Starts the line in which [`install`] says how it went.
pub const INSTALLED: &str = "rbee-install ";

/// Names the installed build in one line and becomes its hive, where there is one.
pub fn start() -> String {
    one_line(START)
}

/// Describes the machine and its hive's file in one line.
pub fn machine() -> String {
    one_line(MACHINE)
}

/// Installs the bundle that comes on stdin.
pub fn install() -> String {
    one_line(INSTALL)
}

/// csh cannot read a quoted word of several lines, so a script is sent as one.
fn one_line(script: &str) -> String {
    let lines = script.lines().map(str::trim);
    let code: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    code.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_crosses_every_login_shell_as_one_quoted_word() {
        for script in [start(), machine(), install()] {
            assert!(!script.contains(['\'', '!', '\\', '\n']), "{script}");
        }
    }
}
