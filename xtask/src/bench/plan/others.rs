//! The peers: Ansible and pyinfra, from packages of Python with fixed versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::site::{ASK, POOLS, Site, answered};
use crate::bench::python::Python;
use crate::bench::timed::{self, Taken};

const REQUIREMENTS: &str = include_str!("requirements.txt");

/// Both, installed.
pub struct Others {
    bin: PathBuf,
    pub version: String,
}

impl Others {
    /// Installs them below `dir`, unless they are there in these versions.
    ///
    /// # Errors
    /// What is missing on this machine: Python, the network.
    pub fn install(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let python = Python::begin(dir)?;
        let made = dir.join("made");
        if fs::read_to_string(&made).is_ok_and(|made| made == REQUIREMENTS) {
            return Ok(Self::at(&python));
        }
        let requirements = dir.join("requirements.txt");
        fs::write(&requirements, REQUIREMENTS)?;
        let mut pip = Command::new(python.tool("pip"));
        pip.args(["install", "--quiet", "--no-deps", "-r"]);
        python.step("installing Ansible and pyinfra", pip.arg(&requirements))?;
        fs::write(&made, REQUIREMENTS)?;
        Ok(Self::at(&python))
    }

    fn at(python: &Python) -> Self {
        let ours = REQUIREMENTS.lines().filter(|line| {
            let name = line.split("==").next();
            matches!(name, Some("ansible-core" | "pyinfra" | "paramiko"))
        });
        Self {
            bin: python.tool(""),
            version: ours.collect::<Vec<_>>().join(", "),
        }
    }

    /// Asks each pool what rbee asks, by Ansible without Python on the other side.
    pub fn ansible_raw(&self, site: &Site) -> anyhow::Result<Taken> {
        answered(timed::run(
            self.ansible(site)?.args(["-m", "raw", "-a", ASK]),
            "",
        )?)
    }

    /// Ansible's own facts of each pool.
    pub fn ansible_setup(&self, site: &Site) -> anyhow::Result<Taken> {
        timed::run(self.ansible(site)?.args(["-m", "setup"]), "")
    }

    /// Cold: nothing of its earlier connections is there.
    fn ansible(&self, site: &Site) -> anyhow::Result<Command> {
        let config = site.path("config");
        let hosts = site.path("hosts");
        let python = self.bin.join("python");
        let lines = Site::addresses();
        let line = |address| {
            format!(
                "{address} ansible_python_interpreter={}\n",
                python.display()
            )
        };
        fs::write(&hosts, lines.lines().map(line).collect::<String>())?;
        fs::write(site.path("ansible.cfg"), "")?;
        let mut ansible = Command::new(self.bin.join("ansible"));
        ansible
            .args(["all", "-f", &POOLS.to_string(), "-i"])
            .arg(hosts)
            .env("ANSIBLE_CONFIG", site.path("ansible.cfg"))
            .env("ANSIBLE_HOME", site.path("ansible"))
            .env("ANSIBLE_REMOTE_TEMP", site.path("ansible/remote"))
            .env(
                "ANSIBLE_SSH_ARGS",
                format!("-F {} -o ControlMaster=no", config.display()),
            )
            .env("ANSIBLE_NOCOLOR", "1");
        Ok(ansible)
    }

    /// Asks each pool what rbee asks, by pyinfra.
    pub fn pyinfra(&self, site: &Site) -> anyhow::Result<Taken> {
        let inventory = site.path("inventory.py");
        let config = site.path("config");
        let host = |address| {
            let config = config.display();
            format!("    ('{address}', {{'ssh_config_file': '{config}'}}),")
        };
        let hosts: Vec<String> = Site::addresses().lines().map(host).collect();
        let hosts = hosts.join("\n");
        fs::write(&inventory, format!("pools = [\n{hosts}\n]\n"))?;
        let mut pyinfra = Command::new(self.bin.join("pyinfra"));
        pyinfra
            .args(["-y", "--parallel", &POOLS.to_string()])
            .arg(&inventory)
            .args(["exec", "--", ASK])
            .current_dir(site.path(""))
            .env("NO_COLOR", "1");
        let taken = timed::run(&mut pyinfra, "")?;
        Ok(taken)
    }
}
