//! Where and with what the numbers were measured.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

/// A machine on which others take no more than this is quiet.
const QUIET: f64 = 0.1;

/// What numbers depend on.
pub struct Machine {
    /// The card, where one computed, in its driver's words.
    pub card: Option<String>,
    pub cpu: String,
    pub cores: usize,
    /// The instruction set of our kernels; empty where none ran.
    pub tier: String,
    /// Bytes per second of the memory, where that was measured; the median of all rounds.
    pub bandwidth: Option<f64>,
    /// Operations per second while matrices are multiplied, likewise.
    pub matmul: Option<f64>,
    /// The largest share of the processors that other programs took between measurements; none where the system
    /// does not tell.
    pub busy: Option<f64>,
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
        let root = crate::root().display().to_string();
        let git = [
            "-C",
            &root,
            "describe",
            "--always",
            "--dirty",
            "--exclude=*",
        ];
        let commit = first_line("git", &git);
        Self {
            card: None,
            cpu: cpu(),
            cores,
            tier: String::new(),
            bandwidth: None,
            matmul: None,
            busy: None,
            version: commit.map_or(version.to_owned(), |commit| format!("{version} ({commit})")),
            peer,
            date: first_line("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default(),
        }
    }

    /// Looks what other programs take, while nothing of ours runs.
    pub fn look_for_others(&mut self) {
        let before = Ticks::now();
        std::thread::sleep(Duration::from_secs(1));
        let share = before
            .zip(Ticks::now())
            .and_then(|(before, after)| before.busy_until(after));
        self.busy = match (self.busy, share) {
            (Some(known), Some(share)) => Some(known.max(share)),
            (known, share) => share.or(known),
        };
    }

    /// The card, where one computed; the processor and what we use of it.
    pub fn name(&self) -> String {
        let card = self.card.iter().map(|card| format!("{card}; "));
        let card: String = card.collect();
        let name = format!("{card}{}, {} threads", self.cpu, self.cores);
        if self.tier.is_empty() {
            return name;
        }
        format!("{name}, {} kernels", self.tier)
    }

    /// A few lines for people.
    pub fn lines(&self) -> String {
        let bandwidth = self
            .bandwidth
            .map(|bytes| format!(", memory {:.1} GB/s", bytes / 1e9));
        let matmul = self
            .matmul
            .map(|rate| format!(", matrices {:.1} TFLOP/s", rate / 1e12));
        let busy = self.busy.filter(|busy| *busy > QUIET).map(|busy| {
            format!(
                "busy: other programs took up to {:.0} % of the processors, so all of this is too slow\n",
                busy * 100.0
            )
        });
        format!(
            "machine: {}{}{}\nours: rbee {}\npeer: {}\ndate: {}\n{}",
            self.name(),
            bandwidth.unwrap_or_default(),
            matmul.unwrap_or_default(),
            self.version,
            self.peer,
            self.date,
            busy.unwrap_or_default()
        )
    }

    pub fn to_json(&self) -> Value {
        json!({
            "card": self.card,
            "cpu": self.cpu,
            "threads": self.cores,
            "tier": self.tier,
            "memory_bytes_per_s": self.bandwidth,
            "matmul_flops_per_s": self.matmul,
            "busy": self.busy,
            "version": self.version,
            "peer": self.peer,
            "date": self.date,
        })
    }
}

/// What the processors did since the machine started, as Linux counts it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let words = line.split_whitespace().map(str::parse);
        let ticks: Vec<u64> = words.collect::<Result<_, _>>().ok()?;
        // Guests are counted among the users already.
        let all = ticks.iter().take(8).sum();
        let (idle, waiting) = (*ticks.get(3)?, *ticks.get(4)?);
        Some(Self {
            idle: idle + waiting,
            all,
        })
    }

    fn busy_until(self, later: Self) -> Option<f64> {
        let all = later.all.checked_sub(self.all).filter(|all| *all > 0)?;
        let idle = later.idle.saturating_sub(self.idle);
        Some(1.0 - idle as f64 / all as f64)
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

/// The first line that a program prints, if it is there and succeeds.
pub fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_share_is_what_is_not_idle() {
        let before = Ticks::parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        let after = Ticks::parse("cpu  150 0 60 930 60 0 0 0 7 0\ncpu0 1 2 3\n").unwrap();
        let share = before.busy_until(after).unwrap();
        assert!((share - 0.3).abs() < 1e-9, "{share}");
        assert_eq!(before.busy_until(before), None);
        assert_eq!(Ticks::parse("intr 1"), None);
        assert_eq!(Ticks::parse("cpu  1 2"), None);
    }

    #[test]
    fn a_card_comes_first() {
        let mut machine = Machine::look(2, String::new());
        machine.card = Some("NVIDIA H200, 143771 MiB, 580.65.06".to_owned());
        machine.matmul = Some(7.004e14);
        let lines = machine.lines();
        assert!(lines.starts_with("machine: NVIDIA H200, 143771 MiB, 580.65.06; "));
        assert!(lines.contains(", matrices 700.4 TFLOP/s\n"), "{lines}");
    }

    #[test]
    fn a_busy_machine_is_named() {
        let mut machine = Machine::look(2, String::new());
        assert!(!machine.lines().contains("busy"));
        machine.busy = Some(0.04);
        assert!(!machine.lines().contains("busy"));
        machine.busy = Some(0.847);
        assert!(machine.lines().contains("up to 85 % of the processors"));
    }
}
