//! A hundred pools behind a real sshd, and the operator's side.
//!
//! Ten sshd, each at ten of the addresses 127.0.0.1 to 127.0.0.100 (OpenSSH takes 16 at most), set `RBEE_HOME` by the address
//! that they were reached at: a connection is a process of its own, as on a hundred machines, and so is all that a pool does.
//! Logins have an empty home folder: what this machine's shells read at their start is no part of the measurement.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::{Programs, tiny};
use crate::bench::timed::{self, Taken};

const SERVER: &str = "/usr/sbin/sshd";
const SERVERS: usize = 10;
/// Addresses of each.
const EACH: usize = 10;
/// In the fleet.
pub const POOLS: usize = SERVERS * EACH;

/// What each pool is asked, by all but rbee.
pub const ASK: &str = "\"$RBEE_HOME/bin/current/rbee-hive\" status --json";

/// Servers, homes, and a folder with the operator's files. All of it ends when this is dropped.
pub struct Site<'a> {
    dir: tempfile::TempDir,
    programs: &'a Programs,
    port: u16,
    servers: Vec<Child>,
}

impl<'a> Site<'a> {
    /// Starts sshd and makes the pools: each has the programs and a model, the first a worker too.
    pub fn start(programs: &'a Programs) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("rbee-plan").tempdir()?;
        for key in ["id", "host_key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]);
            timed::run(keygen.arg(dir.path().join(key)), "")?;
        }
        fs::copy(
            dir.path().join("id.pub"),
            dir.path().join("authorized_keys"),
        )?;
        // Another program may take a free port before sshd does; then this fails, and says so.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut site = Self {
            dir,
            programs,
            port,
            servers: Vec::new(),
        };
        for server in 0..SERVERS {
            site.servers.push(serve(site.dir.path(), port, server)?);
        }
        site.wait_for_servers()?;
        site.write_client()?;
        site.furnish()?;
        Ok(site)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// All addresses, each in a line.
    pub fn addresses() -> String {
        let addresses: Vec<String> = (1..=POOLS).map(address).collect();
        addresses.join("\n") + "\n"
    }

    fn wait_for_servers(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        for number in 1..=POOLS {
            while TcpStream::connect((address(number), self.port)).is_err() {
                if start.elapsed() > Duration::from_secs(10) {
                    let log = self.path(&format!("{}.log", (number - 1) / EACH));
                    let log = fs::read_to_string(log).unwrap_or_default();
                    bail!("sshd does not start: {log}");
                }
                sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// The operator's ssh configuration: one key exchange for all that use it.
    fn write_client(&self) -> anyhow::Result<()> {
        let key = fs::read_to_string(self.path("host_key.pub"))?;
        let known = format!("[127.0.0.*]:{} {key}", self.port);
        fs::write(self.path("known_hosts"), known)?;
        let config = format!(
            "Host 127.0.0.*\n  Port {}\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             IdentityAgent none\n  KexAlgorithms curve25519-sha256\n  UserKnownHostsFile {}\n  \
             GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n  BatchMode yes\n",
            self.port,
            self.path("id").display(),
            self.path("known_hosts").display()
        );
        fs::write(self.path("config"), config)?;
        fs::create_dir(self.path("run"))?;
        fs::create_dir(self.path("login"))?;
        Ok(())
    }

    /// Fills the first pool by `rbee apply`, and gives the others the same programs and a model of their own.
    fn furnish(&self) -> anyhow::Result<()> {
        self.write_fleet(1)?;
        let mut apply = self.rbee(&["apply", "--yes"]);
        timed::run(&mut apply, "").context("the first pool")?;
        let first = self.home(1).join("bin");
        let build = fs::read_link(first.join("current"))?;
        for number in 2..=POOLS {
            let bin = self.home(number).join("bin");
            fs::create_dir_all(bin.join(&build))?;
            for file in fs::read_dir(first.join(&build))? {
                let file = file?;
                fs::hard_link(file.path(), bin.join(&build).join(file.file_name()))?;
            }
            std::os::unix::fs::symlink(&build, bin.join("current"))?;
            let mut register = Command::new(&self.programs.hive);
            register
                .args(["models", "register", "tiny", "--source"])
                .arg(tiny());
            timed::run(register.env("RBEE_HOME", self.home(number)), "")?;
        }
        self.write_fleet(POOLS)
    }

    fn write_fleet(&self, pools: usize) -> anyhow::Result<()> {
        let mut text = "version: 1\nfleet: bench\npools:\n".to_owned();
        for number in 1..=pools {
            let pool = format!("{{ connect: ssh://{}, devices: [cpu] }}", address(number));
            text.push_str(&format!("  p{number}: {pool}\n"));
        }
        text.push_str(&format!(
            "models:\n  tiny: {{ source: {} }}\nworkers:\n  chat: {{ model: tiny, on: [p1/cpu] }}\n",
            tiny().display()
        ));
        Ok(fs::write(self.path("fleet.yaml"), text)?)
    }

    fn home(&self, number: usize) -> PathBuf {
        home(self.dir.path(), number)
    }

    /// A command of rbee on the fleet.
    pub fn rbee(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.rbee);
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("RBEE_SSH_CONFIG", self.path("config"))
            .env("RBEE_HOME", self.path("operator"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env_remove("RBEE_SSH_PERSIST")
            .env_remove("RBEE_DIST");
        command
    }

    /// A plan that finds nothing to do.
    pub fn plan(&self) -> anyhow::Result<Taken> {
        timed::run(&mut self.rbee(&["plan", "--detailed-exitcode"]), "")
    }

    /// The same file, and no pool is asked.
    pub fn validate(&self) -> anyhow::Result<Taken> {
        timed::run(&mut self.rbee(&["validate"]), "")
    }

    /// What `ssh` of all pools at once takes.
    pub fn ssh(&self) -> anyhow::Result<Taken> {
        let mut xargs = Command::new("xargs");
        xargs.args(["-P", "100", "-I", "{}", "ssh", "-n", "-F"]);
        xargs.arg(self.path("config")).args(["{}", ASK]);
        answered(timed::run(&mut xargs, &Self::addresses())?)
    }

    /// The same over the masters that rbee left.
    pub fn ssh_over_masters(&self) -> anyhow::Result<Taken> {
        let masters = self.masters()?;
        ensure!(masters.len() == POOLS, "{} masters", masters.len());
        let list: Vec<_> = masters
            .iter()
            .map(|master| master.to_string_lossy())
            .collect();
        let list = list.join("\n") + "\n";
        let mut xargs = Command::new("xargs");
        xargs.args(["-P", "100", "-I", "{}", "ssh", "-n", "-F"]);
        xargs.arg(self.path("config"));
        // Over a master the name is not used.
        xargs.args(["-S", "{}", "127.0.0.1", ASK]);
        answered(timed::run(&mut xargs, &list)?)
    }

    fn masters(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut masters = Vec::new();
        for entry in fs::read_dir(self.path("run/rbee"))? {
            let entry = entry?;
            let master = entry.path().join("master");
            if !entry.file_type()?.is_symlink() && master.exists() {
                masters.push(master);
            }
        }
        Ok(masters)
    }

    /// Ends the masters below a folder, so that what comes is cold.
    pub fn cool_down(&self) -> anyhow::Result<()> {
        if self.path("run/rbee").is_dir() {
            for master in self.masters()? {
                let mut end = Command::new("ssh");
                end.args(["-F", "/dev/null", "-O", "exit", "-S"])
                    .arg(&master);
                timed::run(end.arg("any"), "")?;
            }
            fs::remove_dir_all(self.path("run/rbee"))?;
        }
        Ok(())
    }
}

impl Drop for Site<'_> {
    fn drop(&mut self) {
        // The first pool's worker; where it cannot be stopped, nothing else can be done here.
        let _ = self.write_fleet(1);
        let _ = timed::run(&mut self.rbee(&["destroy", "--yes", "--no-persist"]), "");
        let _ = self.cool_down();
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Every pool told what it is.
pub fn answered(taken: Taken) -> anyhow::Result<Taken> {
    let answers = taken.said.matches("\"hive_version\"").count();
    ensure!(answers == POOLS, "{answers} pools answered: {}", taken.said);
    Ok(taken)
}

fn address(number: usize) -> String {
    format!("127.0.0.{number}")
}

fn home(dir: &Path, number: usize) -> PathBuf {
    dir.join("pools").join(address(number))
}

fn serve(dir: &Path, port: u16, server: usize) -> anyhow::Result<Child> {
    ensure!(
        Path::new(SERVER).exists(),
        "{SERVER} is missing: install openssh-server"
    );
    // As root, sshd wants its folder for privilege separation; Debian makes it at boot.
    fs::create_dir_all("/run/sshd").ok();
    let at = |name: &str| dir.join(name).display().to_string();
    let (mut listen, mut homes) = (String::new(), String::new());
    for number in server * EACH + 1..=(server + 1) * EACH {
        let (address, home) = (address(number), home(dir, number));
        listen.push_str(&format!("ListenAddress {address}:{port}\n"));
        homes.push_str(&format!(
            "Match LocalAddress {address}\n  SetEnv \"RBEE_HOME={}\" \"HOME={}\"\n",
            home.display(),
            at("login")
        ));
    }
    let config = format!(
        "{listen}HostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nMaxStartups 1000\n{homes}",
        at("host_key"),
        at("authorized_keys"),
    );
    let file = dir.join(format!("{server}.config"));
    fs::write(&file, config)?;
    Command::new(SERVER)
        .args(["-D", "-e", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(dir.join(format!("{server}.log")))?)
        .spawn()
        .context("cannot run sshd")
}
