//! The command lines of `llm-worker-rbee` and `orchestratord`: the hive writes them, the programs read them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::address::WorkerAddress;
use crate::device::Device;
use crate::digest::Sha256;
use crate::name::{FleetName, ModelId, WorkerId};
use crate::orchestrator::Settings;
use crate::registration::BaseUrl;
use crate::weights::{Dtype, Quantization};

/// The variable that holds a token of a worker, so that none stands on a command line.
pub const TOKEN_VARIABLE: &str = "RBEE_WORKER_TOKEN";

/// Everything that a worker process is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLaunch {
    pub worker_id: WorkerId,
    /// The name that clients use for the model.
    pub model: ModelId,
    /// The folder with the model's files.
    pub model_dir: PathBuf,
    pub model_digest: Option<Sha256>,
    pub device: Device,
    pub listen: SocketAddr,
    pub slots: u32,
    pub context: Option<u32>,
    pub dtype: Dtype,
    pub quantize: Option<Quantization>,
    /// The file with the tokens that clients have to show.
    pub token_file: Option<PathBuf>,
    /// Where it stands in its fleet.
    pub address: Option<WorkerAddress>,
    pub fleet: Option<FleetName>,
    /// The file with the [`FleetLink`](crate::registration::FleetLink), which may come and go at any time.
    pub link_file: Option<PathBuf>,
    /// Takes the fleet's token from the link, and registers nowhere.
    pub aside: bool,
    /// The collector that spans are sent to, by OTLP over HTTP.
    pub traces: Option<BaseUrl>,
}

impl WorkerLaunch {
    /// The arguments, without the program's name.
    pub fn to_argv(&self) -> Vec<OsString> {
        let mut argv: Vec<OsString> = Vec::new();
        let mut push = |flag: &str, value: OsString| argv.extend([flag.into(), value]);
        push("--worker-id", self.worker_id.as_str().into());
        push("--model", self.model.as_str().into());
        push("--model-dir", self.model_dir.clone().into());
        if let Some(digest) = &self.model_digest {
            push("--model-digest", digest.to_string().into());
        }
        push("--device", self.device.to_string().into());
        push("--listen", self.listen.to_string().into());
        push("--slots", self.slots.to_string().into());
        if let Some(context) = self.context {
            push("--context", context.to_string().into());
        }
        // Left out where they say nothing, so that an older worker reads the rest.
        if !self.dtype.is_auto() {
            push("--dtype", self.dtype.as_str().into());
        }
        if let Some(quantize) = self.quantize {
            push("--quantize", quantize.as_str().into());
        }
        if let Some(file) = &self.token_file {
            push("--token-file", file.clone().into());
        }
        if let Some(address) = &self.address {
            push("--address", address.to_string().into());
        }
        if let Some(fleet) = &self.fleet {
            push("--fleet", fleet.as_str().into());
        }
        if let Some(file) = &self.link_file {
            push("--link-file", file.clone().into());
        }
        if let Some(url) = &self.traces {
            push("--traces", url.as_str().into());
        }
        if self.aside {
            argv.push("--aside".into());
        }
        argv
    }
}

/// Everything that an orchestrator process is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrchestratorLaunch {
    pub fleet: FleetName,
    pub listen: SocketAddr,
    /// The folder for what it stores.
    pub home: PathBuf,
    /// The file with the token that workers show, see [`FleetLink`](crate::registration::FleetLink).
    pub link_file: PathBuf,
    pub settings: Settings,
    /// Who may use it; see the option `tenants` of fleet.yaml's orchestrator.
    pub tenants: Option<PathBuf>,
    /// Scripts that decide in its place.
    pub policy: Option<PathBuf>,
}

impl OrchestratorLaunch {
    /// The arguments, without the program's name.
    pub fn to_argv(&self) -> Vec<OsString> {
        let Settings {
            store,
            scheduling,
            queue,
            when_full,
        } = self.settings;
        let arguments: [(&str, OsString); 8] = [
            ("--fleet", self.fleet.as_str().into()),
            ("--listen", self.listen.to_string().into()),
            ("--home", self.home.clone().into()),
            ("--link-file", self.link_file.clone().into()),
            ("--store", store.as_str().into()),
            ("--scheduling", scheduling.as_str().into()),
            ("--queue", queue.to_string().into()),
            ("--when-full", when_full.as_str().into()),
        ];
        let files = [("--tenants", &self.tenants), ("--policy", &self.policy)];
        let files = files
            .into_iter()
            .filter_map(|(flag, path)| Some((flag, path.clone()?.into())));
        let words = arguments.into_iter().chain(files);
        words
            .flat_map(|(flag, value)| [flag.into(), value])
            .collect()
    }
}
