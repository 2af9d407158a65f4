//! Real OpenSSH servers for tests, and a client configuration that knows them.
//!
//! A [`Lab`] is the operator's side: a key, a `known_hosts`, and an ssh configuration in which each
//! server has its alias. Nothing of `~/.ssh` is read or written. Each [`Sshd`] is one pool on
//! 127.0.0.1 with its own host key, its own `RBEE_HOME`, and the ssh sessions that belong to it.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

const SERVER: &str = "/usr/sbin/sshd";

/// The operator's side.
pub struct Lab {
    dir: TempDir,
}

impl Lab {
    pub fn new() -> Self {
        assert!(
            Path::new(SERVER).exists(),
            "{SERVER} is missing: these tests talk to a real sshd; \
             on Debian `apt install openssh-server`, or `cargo xtask test` as root does it"
        );
        let lab = Self {
            dir: tempfile::Builder::new()
                .prefix("rbee-lab")
                .tempdir()
                .unwrap(),
        };
        keygen(&lab.path("id"));
        let known = lab.known_hosts();
        fs::write(&known, "").unwrap();
        lab.configure(&format!(
            "IdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
             KexAlgorithms curve25519-sha256\n\
             UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\n",
            lab.path("id").display(),
            known.display()
        ));
        lab
    }

    /// A file or folder of the lab.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The client's configuration file, for `--ssh-config`.
    pub fn config(&self) -> PathBuf {
        self.path("config")
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.path("known_hosts")
    }

    /// Adds to the client's configuration.
    pub fn configure(&self, text: &str) {
        append(&self.config(), text);
    }

    /// A server under the alias `name`, with its home in a folder of that name.
    pub fn sshd(&self, name: &str) -> Sshd {
        self.server(name).start()
    }

    /// A server that is described further before it starts.
    pub fn server(&self, name: &str) -> Server<'_> {
        Server {
            lab: self,
            name: name.to_owned(),
            home: self.path(name).join("home"),
            address: "127.0.0.1".to_owned(),
            namespace: None,
            lines: String::new(),
            authorized: true,
            known: true,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Programs of a dropped server may still be putting their last file there.
        for _ in 0..100 {
            match fs::remove_dir_all(self.dir.path()) {
                Err(error) if error.kind() != ErrorKind::NotFound => {}
                _ => return,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A server that is yet to be started.
pub struct Server<'a> {
    lab: &'a Lab,
    name: String,
    home: PathBuf,
    address: String,
    namespace: Option<String>,
    lines: String,
    authorized: bool,
    known: bool,
}

impl Server<'_> {
    /// `RBEE_HOME` of the pool, inside the lab.
    pub fn home(mut self, name: &str) -> Self {
        self.home = self.lab.path(name);
        self
    }

    /// In this network namespace, at an address of it.
    pub fn within(mut self, namespace: &str, address: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        address.clone_into(&mut self.address);
        self
    }

    /// A line of the server's configuration, as in `sshd_config(5)`.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push_str(line);
        self.lines.push('\n');
        self
    }

    /// Runs each command of the client by this shell command, which finds it in
    /// `$SSH_ORIGINAL_COMMAND`: another login shell, or what a profile prints.
    pub fn shell(self, command: &str) -> Self {
        self.line(&format!("ForceCommand {command}"))
    }

    /// Does not let the lab's key in.
    pub fn refuse(mut self) -> Self {
        self.authorized = false;
        self
    }

    /// Leaves the host key out of the lab's `known_hosts`.
    pub fn unknown(mut self) -> Self {
        self.known = false;
        self
    }

    pub fn start(self) -> Sshd {
        let dir = self.lab.path(&self.name);
        fs::create_dir_all(&dir).unwrap();
        // As root, sshd wants its folder for privilege separation; Debian makes it at boot.
        if rustix::process::getuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        keygen(&dir.join("host_key"));
        let keys = if self.authorized {
            fs::read_to_string(self.lab.path("id.pub")).unwrap()
        } else {
            String::new()
        };
        fs::write(dir.join("authorized_keys"), keys).unwrap();
        // Another process may take a free port before sshd does.
        let sshd = (0..5).find_map(|_| self.launch(&dir));
        let sshd = sshd.unwrap_or_else(|| panic!("sshd found no port: see {}", dir.display()));
        self.lab.configure(&format!(
            "Host {}\n  HostName {}\n  Port {}\n",
            self.name, self.address, sshd.port
        ));
        if self.known {
            let line = format!("{} {}", sshd.place(), sshd.host_key());
            append(&self.lab.known_hosts(), &line);
        }
        sshd
    }

    fn launch(&self, dir: &Path) -> Option<Sshd> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let at = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "ListenAddress {}:{port}\n\
             HostKey {}\n\
             AuthorizedKeysFile {}\n\
             PidFile {}\n\
             StrictModes no\n\
             UsePAM no\n\
             PasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n\
             MaxStartups 100\n\
             SetEnv \"RBEE_HOME={}\"\n\
             {}",
            self.address,
            at("host_key"),
            at("authorized_keys"),
            at("pid"),
            self.home.display(),
            self.lines
        );
        fs::write(dir.join("sshd_config"), config).unwrap();
        let mut command = match &self.namespace {
            None => Command::new(SERVER),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, SERVER]);
                command
            }
        };
        let mut child = command
            .args(["-D", "-e", "-f"])
            .arg(dir.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (mine, its) = (log.clone(), log.clone());
        let keep = move |line: &str| its.lock().unwrap().extend([line, "\n"]);
        loop {
            match lines.next() {
                Some(Ok(line)) if line.contains("Server listening") => break,
                Some(Ok(line)) => keep(&line),
                _ => {
                    child.wait().unwrap();
                    let log = mine.lock().unwrap();
                    assert!(log.contains("in use"), "sshd did not start:\n{log}");
                    return None;
                }
            }
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| keep(&line)));
        Some(Sshd {
            name: self.name.clone(),
            dir: dir.to_owned(),
            home: self.home.clone(),
            address: self.address.clone(),
            port,
            child,
            log,
        })
    }
}

/// A running server. It ends, with all its sessions, when this is dropped.
pub struct Sshd {
    name: String,
    dir: PathBuf,
    home: PathBuf,
    address: String,
    port: u16,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Sshd {
    /// What a fleet file would say.
    pub fn destination(&self) -> String {
        format!("ssh://{}", self.name)
    }

    /// `RBEE_HOME` of the pool.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Its address and port, as `known_hosts` has them.
    pub fn place(&self) -> String {
        format!("[{}]:{}", self.address, self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The public host key, a line of `known_hosts` without the host.
    pub fn host_key(&self) -> String {
        fs::read_to_string(self.dir.join("host_key.pub")).unwrap()
    }

    /// What the server logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// As if the machine lost its power: the server and every process of its sessions.
    pub fn kill(&self) {
        self.signal("KILL");
    }

    /// Ends the sessions, and lets new ones in.
    pub fn sever(&self) {
        Self::send("KILL", &self.processes()[1..]);
    }

    /// As if the network went away: nothing answers, nothing is closed.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// As if the network forgot the connections that there are: nothing answers on them. New ones can be made.
    pub fn freeze_sessions(&self) {
        Self::send("STOP", &self.processes()[1..]);
    }

    fn signal(&self, signal: &str) {
        Self::send(signal, &self.processes());
    }

    fn send(signal: &str, pids: &[u32]) {
        let pids = pids.iter().map(ToString::to_string);
        // A process may have ended meanwhile.
        let mut kill = Command::new("kill");
        kill.arg("-s").arg(signal).args(pids).stderr(Stdio::null());
        kill.status().unwrap();
    }

    /// The server and the sshd processes below it, parents first.
    fn processes(&self) -> Vec<u32> {
        let ps = Command::new("ps")
            .args(["-A", "-o", "pid=,ppid=,comm="])
            .output();
        let ps = String::from_utf8(ps.expect("ps is there").stdout).unwrap();
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while let Some(&parent) = family.get(next) {
            next += 1;
            for line in ps.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                let [pid, parent_of_it, name, ..] = words[..] else {
                    continue;
                };
                if parent_of_it.parse() == Ok(parent) && name.contains("sshd") {
                    family.push(pid.parse().unwrap());
                }
            }
        }
        family
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
        self.child.wait().unwrap();
    }
}

fn keygen(path: &Path) {
    if path.exists() {
        return;
    }
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(path);
    assert!(keygen.status().expect("ssh-keygen is there").success());
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
