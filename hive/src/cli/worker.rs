//! `rbee-hive worker`.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Subcommand;
use pool_core::device::Device;
use pool_core::name::{ModelId, WorkerId};
use pool_core::rpc::{ErrorCode, Progress};
use pool_core::weights::{Dtype, Quantization};
use pool_core::worker::{Supervise, WorkerRecord, WorkerSpec};
use tokio::task::JoinSet;

use super::{Output, table};
use crate::error::{Result, fail};
use crate::workers::{self, SpawnOptions, StopOptions};
use crate::{Hive, models, observe};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a worker and wait until it answered a real request
    Spawn {
        /// Where it computes: cpu, cuda:N or metal:N
        device: Device,
        /// The model it serves, from the catalog
        #[arg(long)]
        model: ModelId,
        /// Requests served at the same time
        #[arg(long, default_value_t = pool_core::DEFAULT_SLOTS, value_parser = slots())]
        slots: u32,
        /// Most tokens of prompt and answer together; the model's own limit by default
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        context: Option<u32>,
        /// How weights that are not quantised are kept: auto (as in the file), f32, bf16 or f16
        #[arg(long, value_name = "KIND", default_value_t)]
        dtype: Dtype,
        #[arg(
            long,
            value_name = "KIND",
            help = "Quantise the matrices while loading: q8_0 or q4; kept as in the file by default"
        )]
        quantize: Option<Quantization>,
        /// Who starts it again after a crash or a boot: none, systemd or launchd
        #[arg(long, value_name = "SUPERVISOR", default_value_t)]
        supervise: Supervise,
        /// The port on 127.0.0.1; the first free one from 8001 by default
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// Seconds until it must have answered
        #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
        timeout: u32,
    },
    /// All workers and how they are
    List,
    /// Stop a worker: asked first, killed when the deadline passes
    Stop {
        /// Its id, the start of its id, or its address
        worker: String,
        /// Seconds for what is running
        #[arg(long, default_value_t = 10, value_name = "SECONDS")]
        deadline: u32,
    },
    /// Stop every worker of the pool, whoever owns it
    StopAll {
        /// Seconds for what is running
        #[arg(long, default_value_t = 10, value_name = "SECONDS")]
        deadline: u32,
    },
    /// What a worker printed
    Logs {
        /// Its id, the start of its id, or its address
        worker: String,
        /// Go on until the worker is gone
        #[arg(short, long)]
        follow: bool,
    },
}

fn slots() -> clap::builder::RangedI64ValueParser<u32> {
    let (least, most) = pool_core::SLOTS.into_inner();
    clap::value_parser!(u32).range(i64::from(least)..=i64::from(most))
}

pub async fn run(hive: &Hive, command: Command, output: &Output) -> Result<()> {
    match command {
        Command::Spawn {
            device,
            model,
            slots,
            context,
            dtype,
            quantize,
            supervise,
            port,
            timeout,
        } => {
            let spec = WorkerSpec {
                address: None,
                fleet: None,
                model_digest: digest_of(hive, &model)?,
                model,
                device,
                slots,
                context,
                dtype,
                quantize,
                advertise: None,
                supervise,
                ephemeral: false,
            };
            let patience = Duration::from_secs(timeout.into());
            let options = SpawnOptions {
                port,
                patience,
                ..SpawnOptions::default()
            };
            let record = workers::spawn(hive, spec, options, &|progress| show(&progress)).await?;
            output.print(&record, || {
                format!("{} is ready on http://{}\n", record.id, record.listen)
            })
        }
        Command::List => {
            let all = observe::workers(hive).await?;
            output.print(&all, || table::workers(&all))
        }
        Command::Stop { worker, deadline } => {
            let id = workers::find(&hive.home, &worker)?.id;
            let stopped = stop(hive, &id, deadline).await?;
            output.print(&stopped, || format!("stopped {id}\n"))
        }
        Command::StopAll { deadline } => stop_all(hive, deadline, output).await,
        Command::Logs { worker, follow } => logs(hive, &worker, follow).await,
    }
}

fn digest_of(hive: &Hive, model: &ModelId) -> Result<pool_core::digest::Sha256> {
    let catalog = models::load(&hive.home)?;
    let entry = catalog.models.get(model);
    entry.map(|entry| entry.digest).ok_or_else(|| {
        fail(
            ErrorCode::NotFound,
            format!("the catalog has no model {model}"),
            format!("enter it: rbee-hive models register {model} --source FOLDER"),
        )
    })
}

/// Progress is for people who wait, not for files.
fn show(progress: &Progress) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let percent = progress
            .percent
            .map_or(String::new(), |percent| format!(" {percent} %"));
        let _ = writeln!(stderr, "{}{percent}", progress.message);
    }
}

async fn stop(hive: &Hive, id: &WorkerId, deadline: u32) -> Result<WorkerRecord> {
    let options = StopOptions {
        patience: Duration::from_secs(deadline.into()),
        ..StopOptions::default()
    };
    workers::stop(hive, id, options).await
}

/// All at once; the first failure is reported after every worker had its turn.
async fn stop_all(hive: &Hive, deadline: u32, output: &Output) -> Result<()> {
    let mut stops = JoinSet::new();
    for record in workers::all(&hive.home)? {
        let hive = hive.clone();
        stops.spawn(async move { stop(&hive, &record.id, deadline).await });
    }
    let mut stopped = Vec::new();
    let mut failed = None;
    for result in stops.join_all().await {
        match result {
            Ok(record) => stopped.push(record),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    stopped.sort_by(|a, b| a.id.cmp(&b.id));
    output.print(&stopped, || {
        if stopped.is_empty() {
            return String::new();
        }
        let lines = stopped
            .iter()
            .map(|record| format!("stopped {}", record.id));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    })?;
    failed.map_or(Ok(()), Err)
}

async fn logs(hive: &Hive, worker: &str, follow: bool) -> Result<()> {
    let (path, record) = match workers::find(&hive.home, worker) {
        Ok(record) => (record.log.clone().into(), Some(record)),
        // The log outlives the record.
        Err(error) => {
            let id: Option<WorkerId> = worker.parse().ok();
            let path = id.map(|id| hive.home.log(&id)).filter(|path| path.exists());
            (path.ok_or(error)?, None)
        }
    };
    let home = hive.home.clone();
    let record = record.filter(|_| follow);
    let is_gone = move || {
        let process = record
            .as_ref()
            .map(|record| workers::process_of(&home, record));
        process.flatten().is_none()
    };
    super::logs::print(&path, is_gone).await
}
