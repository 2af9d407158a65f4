//! fleet.yaml as it is written, every value checked and typed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use pool_core::device::Device;
use pool_core::name::{FleetName, ModelId, PoolName, WorkerName};
use pool_core::orchestrator::{ConfigFile, QUEUE, Scheduling, StoreKind, WhenFull};
use pool_core::source::Source;
use pool_core::weights::{Dtype, Quantization};
use pool_core::worker::Supervise;
use schemars::JsonSchema;

use super::connect::Connect;
use super::duration::Duration;
use super::span::Spanned;
use super::value::{AnswerPattern, CheckName, DevicePattern, HostKeys, WorkerPattern};

/// A fleet of machines that serve language models: pools, models, and the workers wanted on each device.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(title = "fleet.yaml", deny_unknown_fields)]
pub struct Fleet {
    /// Version of this file's format: 1.
    #[schemars(extend("const" = 1))]
    pub version: Spanned<u32>,
    /// Name of the fleet. A pool keeps it with every worker, so that one fleet never stops those of another.
    #[schemars(rename = "fleet")]
    pub name: Spanned<FleetName>,
    /// The daemon that admits, queues and routes requests to the workers.
    pub orchestrator: Option<Orchestrator>,
    /// How long nobody may serve a model while a plan is carried out; any time when absent.
    pub max_outage: Option<Spanned<Duration>>,
    /// What holds where a worker does not say otherwise.
    #[schemars(with = "Option<Defaults>")]
    pub defaults: Defaults,
    /// The machines, by name.
    #[schemars(with = "Option<BTreeMap<PoolName, Spanned<Pool>>>")]
    pub pools: BTreeMap<PoolName, Spanned<Pool>>,
    /// The models, by name.
    #[schemars(with = "Option<BTreeMap<ModelId, Spanned<Model>>>")]
    pub models: BTreeMap<ModelId, Spanned<Model>>,
    /// The workers, by name.
    #[schemars(with = "Option<BTreeMap<WorkerName, Spanned<Worker>>>")]
    pub workers: BTreeMap<WorkerName, Spanned<Worker>>,
    /// What `rbee test` asks the workers, by name.
    #[schemars(with = "Option<BTreeMap<CheckName, Spanned<Check>>>")]
    pub checks: BTreeMap<CheckName, Spanned<Check>>,
}

/// The daemon that admits, queues and routes requests to the workers of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Orchestrator {
    /// The pool that it runs on.
    pub pool: Spanned<PoolName>,
    /// The IP address and port that it listens on; `127.0.0.1:8080` when absent.
    #[schemars(with = "Option<String>", extend("examples" = ["0.0.0.0:8080", "127.0.0.1:8080"]))]
    pub listen: Option<Spanned<SocketAddr>>,
    /// Where tasks are kept; `sqlite` when absent.
    #[schemars(with = "Option<StoreKind>")]
    pub store: Option<Spanned<StoreKind>>,
    /// Which of the workers that could take a task does; `least-loaded` when absent.
    #[schemars(with = "Option<Scheduling>")]
    pub scheduling: Option<Spanned<Scheduling>>,
    /// Tasks that may wait, for each model; 100 when absent.
    #[schemars(range(min = *QUEUE.start(), max = *QUEUE.end()))]
    pub queue: Option<Spanned<u32>>,
    /// What happens to a task that finds its queue full; `reject` when absent.
    #[schemars(with = "Option<WhenFull>")]
    pub when_full: Option<Spanned<WhenFull>>,
    /// Who starts it again after a crash or a boot; as its pool says when absent.
    pub supervise: Option<Spanned<Supervise>>,
    /// The file that says who may use it and how much, relative to this one; nobody but who has the fleet's own token when absent. It
    /// may change while the orchestrator runs.
    #[schemars(length(min = 1))]
    pub tenants: Option<Spanned<String>>,
    /// The file with the scripts that decide in its place, relative to this one; none when absent. It may change while the orchestrator runs.
    #[schemars(length(min = 1))]
    pub policy: Option<Spanned<String>>,
}

impl Orchestrator {
    /// The files that it is given, and where they are.
    pub fn files(&self) -> impl Iterator<Item = (ConfigFile, &Spanned<String>)> {
        let files = [
            (ConfigFile::Tenants, self.tenants.as_ref()),
            (ConfigFile::Policy, self.policy.as_ref()),
        ];
        files
            .into_iter()
            .filter_map(|(file, path)| Some((file, path?)))
    }
}

/// What holds where the file does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Defaults {
    /// For every worker.
    #[schemars(with = "Option<WorkerDefaults>")]
    pub worker: WorkerDefaults,
}

/// What holds for every worker that does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct WorkerDefaults {
    /// Requests that a worker serves at the same time; 1 when absent.
    #[schemars(range(min = *pool_core::SLOTS.start(), max = *pool_core::SLOTS.end()))]
    pub slots: Option<Spanned<u32>>,
    /// Most tokens of prompt and answer together, lowered to the model's own limit; that of the model when absent.
    #[schemars(range(min = 1))]
    pub context: Option<Spanned<u32>>,
}

/// One machine of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Pool {
    /// How it is reached: `local` is the machine that runs rbee, the host of `ssh://[user@]host[:port]` may be an alias of `~/.ssh/config`.
    #[schemars(extend("examples" = ["local", "ssh://me@box.home.arpa"]))]
    pub connect: Spanned<Connect>,
    /// The devices that workers may use.
    #[schemars(length(min = 1), extend("uniqueItems" = true, "examples" = [["cpu"], ["cuda:0", "cuda:1"], ["metal:0"]]))]
    pub devices: Vec<Spanned<Device>>,
    /// The IP address at which other machines reach its workers, and at which it gives them models; workers listen on loopback when absent.
    #[schemars(extend("examples" = ["192.168.1.20", "fd00::1"]))]
    pub advertise: Option<Spanned<IpAddr>>,
    /// Whether a host key that `known_hosts` does not have is refused or taken; `strict` when absent.
    #[schemars(with = "Option<HostKeys>")]
    pub host_keys: HostKeys,
    /// Who starts its workers again after a crash or a boot; `none` when absent.
    pub supervise: Option<Spanned<Supervise>>,
}

/// One model of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Model {
    /// `hf:ORG/REPO[@REVISION][::FILE]` of the hub, where `::FILE` names one GGUF file; or a folder relative to this file with `config.json`,
    /// `tokenizer.json` and `*.safetensors`, or with one `*.gguf`. Pickles are refused: they can run code.
    #[schemars(extend("examples" = ["hf:Qwen/Qwen2.5-0.5B-Instruct", "./tiny-llama"]))]
    pub source: Spanned<Source>,
    /// How weights that are not quantised are kept, of which `auto` is as their files have them; `auto` when absent.
    pub dtype: Option<Spanned<Dtype>>,
    /// What the matrices are quantised to while they are loaded; as their files have them when absent. The embedding and
    /// the output stay as they are on a GPU, and at 8 bits with `q4` on a CPU.
    pub quantize: Option<Spanned<Quantization>>,
    /// How long nobody may serve it while a plan is carried out; that of the file when absent.
    pub max_outage: Option<Spanned<Duration>>,
    /// What a worker of it must answer before it counts as ready; any text when absent. It is asked when a worker starts, not of one that runs.
    pub canary: Option<Canary>,
    /// Whether the pools keep it when its line is deleted; `false` when absent.
    pub protect: Option<Spanned<bool>>,
}

/// The question that a worker must answer before it counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Canary {
    /// The question.
    #[schemars(length(min = 1))]
    pub prompt: Spanned<String>,
    /// The text that the answer must hold; any text will do when absent.
    #[schemars(length(min = 1))]
    pub expect: Option<Spanned<String>>,
    /// Most tokens of the answer; 16 when absent.
    #[schemars(range(min = 1, max = 256))]
    pub max_tokens: Option<Spanned<u32>>,
}

/// One kind of worker: each of its models on each device that `on` matches.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Worker {
    #[schemars(flatten)]
    pub models: WorkerModels,
    /// The devices it stands on, written POOL/DEVICE, each part a name, or a glob with `*` and `?`.
    #[schemars(length(min = 1), extend("uniqueItems" = true, "examples" = [["here/cpu"], ["*/cuda:*", "box/cpu"]]))]
    pub on: Vec<Spanned<DevicePattern>>,
    /// Workers of each model on each matched device; 1 when absent.
    #[schemars(range(max = 256))]
    pub replicas: Option<Spanned<u32>>,
    /// Requests served at the same time; that of `defaults` when absent.
    #[schemars(range(min = *pool_core::SLOTS.start(), max = *pool_core::SLOTS.end()))]
    pub slots: Option<Spanned<u32>>,
    /// Most tokens of prompt and answer together, no more than the model's own limit; that of `defaults` when absent.
    #[schemars(range(min = 1))]
    pub context: Option<Spanned<u32>>,
    /// Whether the pools keep it when its line is deleted; `false` when absent.
    pub protect: Option<Spanned<bool>>,
    /// Whether it exists only while `rbee test` asks it: `apply` does not spawn it; `false` when absent.
    pub ephemeral: Option<Spanned<bool>>,
}

impl Worker {
    pub fn is_ephemeral(&self) -> bool {
        self.ephemeral.as_ref().is_some_and(|flag| flag.value)
    }
}

/// What a worker serves: one model, or a matrix of several.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
pub enum WorkerModels {
    /// The model that it serves.
    #[schemars(rename = "model")]
    One(Spanned<ModelId>),
    /// Several models: a worker for each of them on each device.
    #[schemars(rename = "models")]
    Matrix(#[schemars(length(min = 1), extend("uniqueItems" = true))] Vec<Spanned<ModelId>>),
}

impl WorkerModels {
    /// The models, one or several.
    pub fn all(&self) -> &[Spanned<ModelId>] {
        match self {
            Self::One(model) => std::slice::from_ref(model),
            Self::Matrix(models) => models,
        }
    }
}

/// A question with a known answer.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Check {
    /// The workers that are asked: a name or glob, or a list of them; all when absent.
    #[schemars(with = "Option<OneOrList<WorkerPattern>>")]
    pub workers: Vec<Spanned<WorkerPattern>>,
    /// The question.
    #[schemars(length(min = 1))]
    pub prompt: Spanned<String>,
    /// The text that the answer must hold; any text will do when absent.
    #[schemars(length(min = 1))]
    pub expect: Option<Spanned<String>>,
    /// The regular expression that the answer must match, such as `(?i)\bparis\b`; any text will do when absent.
    pub pattern: Option<Spanned<AnswerPattern>>,
    /// Most tokens of the answer; 64 when absent.
    #[schemars(range(min = 1))]
    pub max_tokens: Option<Spanned<u32>>,
}

/// One value, or a list of them.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its schema is used")]
enum OneOrList<T> {
    One(T),
    List(#[schemars(length(min = 1), extend("uniqueItems" = true))] Vec<T>),
}
