//! A command of llama-server, and what of it fleet.yaml can say.
//!
//! The flags: `tools/server/README.md` in <https://github.com/ggml-org/llama.cpp>.

use std::path::Path;
use std::str::FromStr;

use pool_core::SLOTS;
use pool_core::device::Device;
use pool_core::source::Source;

use super::super::{Place, Weights};
use super::macros::PORT;

const PROGRAM: &str = "llama-server";

/// What workers do without being told.
const USUAL: [&str; 6] = [
    "--jinja",
    "--metrics",
    "-cb",
    "--cont-batching",
    "--cache-prompt",
    "--warmup",
];

/// Flags whose place is another.
const ELSEWHERE: [(&str, &[&str]); 7] = [
    (
        "clients send it with each request",
        &[
            "--temp",
            "--temperature",
            "--top-k",
            "--top-p",
            "--min-p",
            "-s",
            "--seed",
            "-n",
            "--predict",
            "--n-predict",
            "--repeat-penalty",
        ],
    ),
    (
        "workers use the chat template of the GGUF file",
        &[
            "--chat-template",
            "--chat-template-file",
            "--chat-template-kwargs",
        ],
    ),
    (
        "workers load no adapters: the model is served without it",
        &[
            "--lora",
            "--lora-scaled",
            "--control-vector",
            "--control-vector-scaled",
        ],
    ),
    (
        "workers read texts, no images",
        &["-mm", "--mmproj", "-mmu", "--mmproj-url"],
    ),
    (
        "a model has one name, that of fleet.yaml",
        &["-a", "--alias"],
    ),
    (
        "where workers listen and who may ask is of the pool: `advertise`, and the orchestrator's tenants",
        &["--host", "--port", "--api-key", "--api-key-file"],
    ),
    (
        "keys and values are f32 or f16, as the weights are",
        &["-ctk", "--cache-type-k", "-ctv", "--cache-type-v"],
    ),
];

#[derive(Debug)]
pub struct Server {
    pub weights: Weights,
    pub slots: Option<u32>,
    pub context: Option<u32>,
    pub place: Option<(Place, String)>,
    /// Flags that are not carried over, and why.
    pub left: Vec<(String, &'static str)>,
}

/// What names the weights.
#[derive(Default)]
struct Named<'w> {
    file: Option<&'w str>,
    repo: Option<&'w str>,
    repo_file: Option<&'w str>,
    url: Option<&'w str>,
}

impl Server {
    /// Reads a command; files are found from `folder`.
    pub fn read(words: &[String], folder: &Path) -> Result<Self, String> {
        let (program, mut rest) = words.split_first().ok_or("its command is empty")?;
        let name = program.rsplit(['/', '\\']).next().unwrap_or_default();
        if !name.starts_with(PROGRAM) {
            return Err(format!(
                "its command runs `{name}`, and only {PROGRAM}'s is understood"
            ));
        }
        let mut named = Named::default();
        let (mut context, mut slots, mut is_shared) = (None, None, false);
        let (mut layers, mut device) = (None, None);
        let mut left = Vec::new();
        while let Some((flag, behind)) = rest.split_first() {
            let count = behind.iter().take_while(|word| !is_flag(word)).count();
            let (values, behind) = behind.split_at(count);
            rest = behind;
            let value = values.first().map(String::as_str);
            match flag.as_str() {
                "-m" | "--model" => named.file = value,
                "-hf" | "-hfr" | "--hf-repo" => named.repo = value,
                "-hff" | "--hf-file" => named.repo_file = value,
                "-mu" | "--model-url" => named.url = value,
                "-c" | "--ctx-size" => context = number(flag, value)?,
                "-np" | "--parallel" => slots = number(flag, value)?,
                "-kvu" | "--kv-unified" => is_shared = true,
                "-ngl" | "--gpu-layers" | "--n-gpu-layers" => {
                    let count = value.unwrap_or("auto");
                    let place = match count {
                        "0" => Some(Place::Cpu),
                        "auto" | "-1" => None,
                        _ => Some(Place::AnyGpu),
                    };
                    layers = place.map(|place| (place, format!("{flag} {count}")));
                }
                "-dev" | "--device" => {
                    let names = value.unwrap_or_default();
                    device = Some((called(names)?, format!("{flag} {names}")));
                    if names.contains(',') {
                        left.push((
                            format!("{flag} {names}"),
                            "a worker has one device: the first",
                        ));
                    }
                }
                "--port" if value == Some(PORT) => {}
                flag if USUAL.contains(&flag) => {}
                flag => left.push((shown(flag, values), why(flag))),
            }
        }
        if let Some(slots) = slots.filter(|slots| !SLOTS.contains(slots)) {
            let (least, most) = (SLOTS.start(), SLOTS.end());
            return Err(format!(
                "it has {slots} slots, and a worker has {least} to {most}"
            ));
        }
        Ok(Self {
            weights: named.weights(folder)?,
            // A worker has as much for each slot; llama-server shares it out.
            context: match context {
                Some(tokens) if !is_shared => Some((tokens / slots.unwrap_or(1)).max(1)),
                context => context,
            },
            slots,
            place: match layers {
                Some((Place::Cpu, _)) => layers,
                layers => device.or(layers),
            },
            left,
        })
    }
}

impl Named<'_> {
    fn weights(&self, folder: &Path) -> Result<Weights, String> {
        if let Some(file) = self.file {
            return Ok(Weights::File(folder.join(file)));
        }
        let source = match (self.repo, self.repo_file, self.url) {
            (Some(repo), Some(file), _) => {
                let repo = repo.split(':').next().unwrap_or_default();
                format!("hf:{repo}::{file}")
            }
            (Some(named), None, _) => {
                let (repo, kind) = named.split_once(':').unwrap_or((named, "the usual kind"));
                return Err(format!(
                    "its model is {kind} of {repo}, and only the hub knows in which file: \
                     write `source: hf:{repo}::FILE.gguf` with the file's name"
                ));
            }
            (None, _, Some(url)) => of_hub(url)
                .ok_or_else(|| format!("its model is at {url}, which is no file of the hub"))?,
            _ => return Err("its command names no model: it has neither -m nor -hf".into()),
        };
        let read: Result<Source, _> = source.parse();
        read.map(Weights::Hub).map_err(|error| error.to_string())
    }
}

/// `https://huggingface.co/ORG/REPO/resolve/REVISION/FILE` as a source.
fn of_hub(url: &str) -> Option<String> {
    let path = url.strip_prefix("https://huggingface.co/")?;
    let (repo, file) = path.split_once("/resolve/")?;
    let (revision, file) = file.split_once('/')?;
    let file = file.split('?').next().unwrap_or_default();
    Some(format!("hf:{repo}@{revision}::{file}"))
}

/// A word that begins as a flag does and is no number below zero.
fn is_flag(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next() == Some('-')
        && chars
            .next()
            .is_some_and(|c| !c.is_ascii_digit() && c != '.')
}

/// What a flag says; none where it leaves it to llama-server, as by 0 and -1.
fn number(flag: &str, value: Option<&str>) -> Result<Option<u32>, String> {
    let text = value.unwrap_or_default();
    match i64::from_str(text) {
        Ok(number) if number <= 0 => Ok(None),
        Ok(number) => match u32::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!("its {flag} is {number}, which is too much")),
        },
        Err(_) => Err(format!("its {flag} is `{text}`, which is no number")),
    }
}

/// As llama-server calls its devices: `none`, `CUDA0`, `Metal`, `MTL0`.
fn called(names: &str) -> Result<Place, String> {
    let first = names.split(',').next().unwrap_or_default();
    let lower = first.to_ascii_lowercase();
    let index = |name: &str| {
        let index = lower.strip_prefix(name)?;
        if index.is_empty() {
            Some(0)
        } else {
            index.parse().ok()
        }
    };
    if lower == "none" {
        return Ok(Place::Cpu);
    }
    let cuda = index("cuda").map(Device::Cuda);
    let metal = || index("metal").or_else(|| index("mtl")).map(Device::Metal);
    cuda.or_else(metal)
        .map(Place::Device)
        .ok_or_else(|| format!("it computes on {first}, and a worker on cpu, cuda:N or metal:N"))
}

/// A flag with its values; what may be secret is not shown.
fn shown(flag: &str, values: &[String]) -> String {
    let is_secret = (flag.contains("key") || flag.contains("token")) && !flag.ends_with("-file");
    if values.is_empty() || is_secret || flag == "-hft" {
        return flag.to_owned();
    }
    format!("{flag} {}", values.join(" "))
}

fn why(flag: &str) -> &'static str {
    let known = ELSEWHERE.iter().find(|(_, flags)| flags.contains(&flag));
    known.map_or("workers have nothing like it", |(why, _)| why)
}

/// The words of a command as llama-swap reads them: lines that begin with `#` are no part of it, quotes and backslashes
/// as in a shell.
pub fn words(command: &str) -> Result<Vec<String>, String> {
    let lines = command.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with('#'));
    let lines: Vec<&str> = lines
        .map(|line| line.strip_suffix('\\').unwrap_or(line))
        .collect();
    let text = lines.join("\n");
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars
                        .next()
                        .ok_or("its command has a quote that does not end")?
                    {
                        end if end == c => break,
                        '\\' if c == '"' => word.extend(escaped(chars.next())),
                        inside => word.push(inside),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// What stands for a backslash and this in double quotes.
fn escaped(c: Option<char>) -> impl Iterator<Item = char> {
    let kept = c
        .filter(|c| !matches!(c, '"' | '\\' | '$' | '`'))
        .map(|_| '\\');
    kept.into_iter().chain(c)
}
