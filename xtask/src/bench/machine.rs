//! Where and with what the numbers were measured.

use std::process::Command;

use serde_json::{Value, json};

/// What numbers depend on.
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// The instruction set of our kernels.
    pub tier: String,
    /// Bytes per second that all cores together read; the median of all rounds.
    pub bandwidth: Option<f64>,
    /// Ours, with the commit if git tells it.
    pub version: String,
    /// The peer's, or why its column is empty.
    pub peer: String,
    /// In UTC.
    pub date: String,
}

impl Machine {
    pub fn look(cores: usize, peer: String) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let commit = first_line("git", &["describe", "--always", "--dirty", "--exclude=*"]);
        Self {
            cpu: cpu(),
            cores,
            tier: String::new(),
            bandwidth: None,
            version: commit.map_or(version.to_owned(), |commit| format!("{version} ({commit})")),
            peer,
            date: first_line("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default(),
        }
    }

    /// A few lines for people.
    pub fn lines(&self) -> String {
        let bandwidth = self.bandwidth.map_or_else(
            || "unknown".to_owned(),
            |bytes| format!("{:.1} GB/s", bytes / 1e9),
        );
        format!(
            "machine: {}, {} threads, {} kernels, memory {bandwidth}\nours: rbee {}\npeer: {}\ndate: {}\n",
            self.cpu, self.cores, self.tier, self.version, self.peer, self.date
        )
    }

    pub fn to_json(&self) -> Value {
        json!({
            "cpu": self.cpu,
            "threads": self.cores,
            "tier": self.tier,
            "memory_bytes_per_s": self.bandwidth,
            "version": self.version,
            "peer": self.peer,
            "date": self.date,
        })
    }
}

/// The name of the processor, as the system has it.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()));
    name.or_else(|| first_line("sysctl", &["-n", "machdep.cpu.brand_string"]))
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(crate::root())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}
