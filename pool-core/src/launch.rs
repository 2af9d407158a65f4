//! The command line of `llm-worker-rbee`: the hive writes it, the worker reads it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::device::Device;
use crate::digest::Sha256;
use crate::name::{ModelId, WorkerId};
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
        argv
    }
}
