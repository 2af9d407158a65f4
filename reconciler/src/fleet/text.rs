//! The texts of fleet.yaml: how each is read, and what helps where it cannot be.

use std::net::{IpAddr, SocketAddr};

use pool_core::ORCHESTRATOR_PORT;
use pool_core::device::Device;
use pool_core::name::{FleetName, InvalidName, ModelId, PoolName, WorkerName};
use pool_core::orchestrator::{Scheduling, StoreKind, WhenFull};
use pool_core::source::Source;
use pool_core::weights::{Dtype, Quantization};
use pool_core::worker::Supervise;

use super::connect::{Connect, InvalidConnect};
use super::duration::Duration;
use super::field::{Fault, Text};
use super::suggest::{did_you_mean, nearest, quote};
use super::value::{
    AnswerPattern, CheckName, DevicePattern, HostKeys, InvalidPattern, WorkerPattern,
};

fn fault<T>(message: impl Into<String>, hint: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        message: message.into(),
        hint: hint.into(),
    })
}

macro_rules! names {
    ($($name:ty: $noun:literal, $example:literal;)*) => {$(
        impl Text for $name {
            const NOUN: &'static str = $noun;
            const EXAMPLE: &'static str = $example;
            fn read(text: &str) -> Result<Self, Fault> {
                text.parse().or_else(|error| wrong_name(text, &error, $example))
            }
        }
    )*};
}

names! {
    FleetName: "a name", "home";
    PoolName: "the name of a pool", "mac";
    ModelId: "the name of a model", "qwen-0.5b";
    WorkerName: "the name of a worker", "chat";
    CheckName: "the name of a check", "smoke";
}

fn wrong_name<T>(text: &str, error: &InvalidName, example: &str) -> Result<T, Fault> {
    let words: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let cleaned = words.join("-");
    let usable = !cleaned.is_empty() && cleaned.len() <= 63;
    let name = if usable { &cleaned } else { example };
    fault(error.to_string(), format!("such as {}", quote(name)))
}

impl Text for String {
    const NOUN: &'static str = "a text";
    const EXAMPLE: &'static str = "Paris";

    fn read(text: &str) -> Result<Self, Fault> {
        if text.trim().is_empty() {
            return fault("an empty text", "");
        }
        Ok(text.to_owned())
    }
}

impl Text for Device {
    const NOUN: &'static str = "a device";
    const EXAMPLE: &'static str = "cpu";

    fn read(text: &str) -> Result<Self, Fault> {
        text.parse().or_else(|_| wrong_device(text))
    }
}

fn wrong_device<T>(text: &str) -> Result<T, Fault> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let index: u32 = digits.parse().unwrap_or(0);
    let near = [format!("cuda:{index}"), format!("metal:{index}")];
    let hint = match nearest(text, ["cpu", &near[0], &near[1]]) {
        // A GPU must never become a CPU by advice.
        _ if text.to_lowercase().contains("gpu") => {
            format!("write `cuda:{index}` (NVIDIA) or `metal:{index}` (Apple)")
        }
        Some(near) => format!("did you mean {}?", quote(near)),
        None => "write `cpu`, `cuda:N` or `metal:N`, such as `cuda:0`".to_owned(),
    };
    fault(format!("{} is not a device", quote(text)), hint)
}

impl Text for Source {
    const NOUN: &'static str = "a source";
    const EXAMPLE: &'static str = "hf:Qwen/Qwen2.5-0.5B-Instruct";

    fn read(text: &str) -> Result<Self, Fault> {
        text.parse().or_else(|_| {
            let hint = source_meant(text).unwrap_or_else(|| {
                "write `hf:ORG/REPO`, then `@REVISION` or `::FILE` if wanted, or a folder that starts with ./, ../ or /".to_owned()
            });
            fault(format!("{} is not the source of a model", quote(text)), hint)
        })
    }
}

fn source_meant(text: &str) -> Option<String> {
    let is_hub = |text: &String| text.parse::<Source>().is_ok();
    let sites = ["https://huggingface.co/", "https://hf.co/", "hf://"];
    let site = sites.iter().find_map(|site| text.strip_prefix(site));
    if let Some(hub) = site.map(|repo| format!("hf:{repo}")).filter(is_hub) {
        return Some(format!("did you mean {}?", quote(&hub)));
    }
    if text.is_empty() || text.contains([':', '~', '\\']) {
        return None;
    }
    let folder = quote(&format!("./{text}"));
    match Some(format!("hf:{text}")).filter(is_hub) {
        Some(hub) => Some(format!(
            "write {} for the hub, {folder} for a folder",
            quote(&hub)
        )),
        None => Some(format!("did you mean the folder {folder}?")),
    }
}

impl Text for Connect {
    const NOUN: &'static str = "a way to reach the pool";
    const EXAMPLE: &'static str = "ssh://user@host";

    fn read(text: &str) -> Result<Self, Fault> {
        text.parse().or_else(|error: InvalidConnect| {
            let ssh = format!("ssh://{text}");
            let is_local = nearest(text, ["local"]).is_some() || text == "localhost";
            let meant = match error {
                InvalidConnect::Unknown(_) if is_local => Some("local"),
                InvalidConnect::Unknown(_) if ssh.parse::<Self>().is_ok() => Some(&*ssh),
                _ => None,
            };
            let hint = meant.map_or_else(
                || "write `local` or `ssh://[USER@]HOST[:PORT]`".to_owned(),
                |meant| format!("did you mean {}?", quote(meant)),
            );
            fault(error.to_string(), hint)
        })
    }
}

impl Text for IpAddr {
    const NOUN: &'static str = "an IP address";
    const EXAMPLE: &'static str = "192.168.1.20";

    fn read(text: &str) -> Result<Self, Fault> {
        let shown = quote(text);
        match text.parse::<Self>() {
            Ok(ip) if ip.is_unspecified() || ip.is_multicast() => fault(
                format!("{shown} is not an address of one machine"),
                "write the address at which the other machines reach this pool",
            ),
            Ok(ip) => Ok(ip),
            Err(_) => fault(
                format!("{shown} is not an IP address"),
                match text.parse::<SocketAddr>() {
                    Ok(address) => {
                        format!("each worker has its own port: write `{}`", address.ip())
                    }
                    Err(_) => {
                        "host names are not looked up: write the address, such as `192.168.1.20`"
                            .to_owned()
                    }
                },
            ),
        }
    }
}

impl Text for SocketAddr {
    const NOUN: &'static str = "an IP address with a port";
    const EXAMPLE: &'static str = "127.0.0.1:8080";

    fn read(text: &str) -> Result<Self, Fault> {
        let shown = quote(text);
        match text.parse::<Self>() {
            Ok(address) if address.port() == 0 => fault(
                format!("{shown} has no port that a client could know"),
                format!(
                    "did you mean `{}`?",
                    SocketAddr::new(address.ip(), ORCHESTRATOR_PORT)
                ),
            ),
            Ok(address) => Ok(address),
            Err(_) => {
                let meant = if let Ok(ip) = text.parse::<IpAddr>() {
                    Some(Self::new(ip, ORCHESTRATOR_PORT))
                } else if let Some(port) = text.strip_prefix("localhost:") {
                    format!("127.0.0.1:{port}").parse().ok()
                } else if text.starts_with([':', '*']) {
                    let port = text.trim_start_matches(['*', ':']);
                    format!("0.0.0.0:{port}").parse().ok()
                } else {
                    None
                };
                fault(
                    format!("{shown} is not an IP address with a port"),
                    match meant {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => "such as `127.0.0.1:8080` for this pool alone, `0.0.0.0:8080` for the network".to_owned(),
                    },
                )
            }
        }
    }
}

macro_rules! words {
    ($($name:ty: $noun:literal, $example:literal;)*) => {$(
        impl Text for $name {
            const NOUN: &'static str = $noun;
            const EXAMPLE: &'static str = $example;
            fn read(text: &str) -> Result<Self, Fault> {
                let words = Self::ALL.iter().map(|word| word.as_str());
                match Self::ALL.iter().find(|word| word.as_str() == text) {
                    Some(word) => Ok(*word),
                    None => fault(
                        format!("{} is not {}", quote(text), $noun),
                        did_you_mean(text, words, "one of"),
                    ),
                }
            }
        }
    )*};
}

words! {
    HostKeys: "a policy for host keys", "strict";
    Dtype: "a kind of number", "bf16";
    Supervise: "a way to supervise workers", "systemd";
    StoreKind: "a store for tasks", "sqlite";
    Scheduling: "a way to schedule", "least-loaded";
    WhenFull: "a policy for a full queue", "reject";
    Quantization: "a kind that weights are quantised to", "q8_0";
}

impl Text for Duration {
    const NOUN: &'static str = "a duration";
    const EXAMPLE: &'static str = "90s";

    fn read(text: &str) -> Result<Self, Fault> {
        text.parse().or_else(|_| {
            let packed: String = text.to_lowercase().split_whitespace().collect();
            let hint = match packed.parse::<Self>() {
                Ok(_) => format!("did you mean {}?", quote(&packed)),
                Err(_) => "write hours, minutes and seconds, such as `0s`, `90s` or `1h30m`".into(),
            };
            fault(format!("{} is not a duration", quote(text)), hint)
        })
    }
}

impl Text for DevicePattern {
    const NOUN: &'static str = "a device of a pool";
    const EXAMPLE: &'static str = "mac/metal:0";

    fn read(text: &str) -> Result<Self, Fault> {
        text.parse().or_else(|error| match error {
            InvalidPattern::Parts(_) if text.parse::<Device>().is_ok() => fault(
                error.to_string(),
                format!("did you mean `\"*/{text}\"`, on every pool that has it?"),
            ),
            InvalidPattern::Parts(_) if text.parse::<PoolName>().is_ok() => fault(
                error.to_string(),
                format!("did you mean `{text}/*`, all devices of the pool?"),
            ),
            InvalidPattern::Parts(_) => fault(
                error.to_string(),
                "such as `mac/metal:0`, `mac/*` or `\"*/cpu\"`",
            ),
            InvalidPattern::Device(device) => wrong_device(&device.0),
            InvalidPattern::Pool(name) | InvalidPattern::Worker(name) => {
                wrong_name(text.split('/').next().unwrap_or(text), &name, "mac")
            }
        })
    }
}

impl Text for WorkerPattern {
    const NOUN: &'static str = "the name of a worker";
    const EXAMPLE: &'static str = "chat";

    fn read(text: &str) -> Result<Self, Fault> {
        text.parse().or_else(|error: InvalidPattern| {
            fault(
                error.to_string(),
                "write a name or a glob, such as `chat` or `\"chat-*\"`",
            )
        })
    }
}

impl Text for AnswerPattern {
    const NOUN: &'static str = "a regular expression";
    const EXAMPLE: &'static str = "(?i)paris";

    fn read(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return fault("an empty regular expression", "");
        }
        text.parse().or_else(|error: regex::Error| {
            let words = error.to_string();
            // The last line says what is wrong; those before draw it.
            let why = words.lines().last().unwrap_or_default();
            let why = why.strip_prefix("error: ").unwrap_or(why);
            fault(
                format!("{} is not a regular expression: {why}", quote(text)),
                "the syntax is that of Rust's `regex`: no look-around, no backreferences",
            )
        })
    }
}
