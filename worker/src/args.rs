//! The command line. [`WorkerLaunch`] is its contract: what the hive writes with `to_argv`, this reads.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::launch::WorkerLaunch;
use pool_core::name::{FleetName, ModelId, WorkerId};
use pool_core::registration::BaseUrl;
use pool_core::weights::{Dtype, Quantization};

/// Serve one model on one device over HTTP, and stream its answers.
#[derive(Debug, Parser)]
#[command(name = "llm-worker-rbee", version = pool_core::VERSION)]
struct Args {
    /// Name of this worker, unique on its pool
    #[arg(long, default_value = "worker")]
    worker_id: WorkerId,

    /// Name that clients use for the model [default: the name of its folder]
    #[arg(long)]
    model: Option<ModelId>,

    /// Folder with the model's files, in Hugging Face layout
    #[arg(long, value_name = "FOLDER", allow_hyphen_values = true)]
    model_dir: PathBuf,

    /// Digest of the model's files, reported by /health
    #[arg(long, value_name = "SHA256")]
    model_digest: Option<Sha256>,

    /// Where to compute: cpu, cuda:N or metal:N
    #[arg(long, default_value = "cpu")]
    device: Device,

    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from(([127, 0, 0, 1], pool_core::FIRST_WORKER_PORT)))]
    listen: SocketAddr,

    /// Requests served at the same time
    #[arg(long, value_name = "N", default_value_t = pool_core::DEFAULT_SLOTS, value_parser = slots())]
    slots: u32,

    /// Most tokens of prompt and answer together [default: what the model was made for]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,

    /// How weights that are not quantised are kept: auto (as in the file), f32, bf16 or f16
    #[arg(long, value_name = "KIND", default_value_t)]
    dtype: Dtype,

    #[arg(
        long,
        value_name = "KIND",
        help = "Quantise the matrices while loading: q8_0 or q4 [default: keep them as in the file]"
    )]
    quantize: Option<Quantization>,

    /// File with the tokens that clients have to show, one a line, readable by its owner only; the variable
    /// `RBEE_WORKER_TOKEN` gives one more
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    token_file: Option<PathBuf>,

    /// Where it stands in its fleet: name/pool/device/ordinal
    #[arg(long, value_name = "ADDRESS")]
    address: Option<WorkerAddress>,

    /// Its fleet
    #[arg(long, value_name = "NAME")]
    fleet: Option<FleetName>,

    /// File with the fleet's token and where its orchestrator is, readable by its owner only; it may come, change and go
    /// while the worker runs
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    link_file: Option<PathBuf>,

    /// Register with no orchestrator, whatever the link file says
    #[arg(long)]
    aside: bool,

    /// Collector that spans are sent to, by OTLP over HTTP: http://HOST:PORT [default: the variable
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, else none]
    #[arg(long, value_name = "URL")]
    traces: Option<BaseUrl>,
}

fn slots() -> clap::builder::RangedI64ValueParser<u32> {
    let (least, most) = pool_core::SLOTS.into_inner();
    clap::value_parser!(u32).range(i64::from(least)..=i64::from(most))
}

/// What command lines are parsed with.
pub fn command() -> clap::Command {
    Args::command()
}

/// Reads a command line, the program's name first.
pub fn parse<I>(argv: I) -> Result<WorkerLaunch, clap::Error>
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    let args = Args::try_parse_from(argv)?;
    let model = args
        .model
        .or_else(|| args.model_dir.file_name()?.to_str()?.parse().ok());
    let nameless = || {
        Args::command().error(
            ErrorKind::MissingRequiredArgument,
            "the folder gives the model no name: give --model",
        )
    };
    Ok(WorkerLaunch {
        worker_id: args.worker_id,
        model: model.ok_or_else(nameless)?,
        model_dir: args.model_dir,
        model_digest: args.model_digest,
        device: args.device,
        listen: args.listen,
        slots: args.slots,
        context: args.context,
        dtype: args.dtype,
        quantize: args.quantize,
        token_file: args.token_file,
        address: args.address,
        fleet: args.fleet,
        link_file: args.link_file,
        aside: args.aside,
        traces: args.traces,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<WorkerLaunch, clap::Error> {
        parse(["llm-worker-rbee"].iter().chain(args))
    }

    #[test]
    fn what_the_hive_writes_is_what_the_worker_reads() {
        let full = WorkerLaunch {
            worker_id: "chat-1".parse().unwrap(),
            model: "qwen-0.5b".parse().unwrap(),
            model_dir: "/a folder/with \"signs\"/--slots".into(),
            model_digest: Some(Sha256::of("x")),
            device: Device::Cuda(1),
            listen: "[::1]:8009".parse().unwrap(),
            slots: 3,
            context: Some(4096),
            dtype: Dtype::Bf16,
            quantize: Some(Quantization::Q4),
            token_file: Some("secrets/tokens".into()),
            address: Some("chat.qwen-0.5b/mac/cuda:1/2".parse().unwrap()),
            fleet: Some("home".parse().unwrap()),
            link_file: Some("-fleets/home.json".into()),
            traces: Some("http://127.0.0.1:4318".parse().unwrap()),
            aside: true,
        };
        let small = WorkerLaunch {
            model_digest: None,
            context: None,
            dtype: Dtype::Auto,
            quantize: None,
            token_file: None,
            address: None,
            fleet: None,
            link_file: None,
            traces: None,
            aside: false,
            device: Device::Cpu,
            model_dir: "-leading-dash".into(),
            ..full.clone()
        };
        for launch in [full, small] {
            let argv = std::iter::once("llm-worker-rbee".into()).chain(launch.to_argv());
            assert_eq!(parse(argv).unwrap(), launch);
        }
    }

    #[test]
    fn a_folder_is_enough() {
        let launch = read(&["--model-dir", "models/tiny-llama"]).unwrap();
        assert_eq!(launch.model.as_str(), "tiny-llama");
        assert_eq!(launch.listen.to_string(), "127.0.0.1:8001");
        assert_eq!(
            (launch.device, launch.slots, launch.context),
            (Device::Cpu, 1, None)
        );
        assert_eq!((launch.dtype, launch.quantize), (Dtype::Auto, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for args in [
            &[][..],
            &["--model-dir", "/"],
            &["--model-dir", "m", "--slots", "0"],
            &["--model-dir", "m", "--slots", "1025"],
            &["--model-dir", "m", "--dtype", "f64"],
            &["--model-dir", "m", "--quantize", "q4_k"],
            &["--model-dir", "m", "--context", "0"],
            &["--model-dir", "m", "--device", "gpu"],
            &["--model-dir", "m", "--listen", "localhost"],
            &["--model-dir", "m", "--address", "chat/mac"],
            &["--model-dir", "m", "--traces", "127.0.0.1:4318"],
            &["--model-dir", "m", "--frobnicate"],
        ] {
            assert!(read(args).is_err(), "{args:?}");
        }
    }
}
