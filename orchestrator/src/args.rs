//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use pool_core::name::FleetName;
use pool_core::orchestrator::{QUEUE, Scheduling, Settings, StoreKind, WhenFull};
use pool_core::registration::BaseUrl;

use crate::check;
use crate::core::Config;
use crate::daemon::Limits;
use crate::sim;

/// Admit, queue and route requests to the workers of a fleet.
#[derive(Debug, Parser)]
#[command(name = "orchestratord", version = pool_core::VERSION)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from(([127, 0, 0, 1], pool_core::ORCHESTRATOR_PORT)))]
    pub listen: SocketAddr,

    /// The fleet whose workers register
    #[arg(long)]
    pub fleet: Option<FleetName>,

    /// Folder for the store [default: none is needed for --store memory]
    #[arg(
        long,
        value_name = "FOLDER",
        required_if_eq("store", "sqlite"),
        allow_hyphen_values = true
    )]
    pub home: Option<PathBuf>,

    /// File with the fleet's token, which workers and orchestrator show each other
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub link_file: Option<PathBuf>,

    /// File with the tokens that clients have to show, one a line, readable by its owner only
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub token_file: Option<PathBuf>,

    /// YAML file with the tenants, the digests of their API keys and their quotas; read again when it changes
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub tenants: Option<PathBuf>,

    /// Script with rules of your own for admission, scheduling and retries; read again when it changes
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub policy: Option<PathBuf>,

    /// A worker that does not register by itself, http://HOST:PORT; may be given several times
    #[arg(long = "worker", value_name = "URL")]
    pub workers: Vec<BaseUrl>,

    /// Where tasks are kept: sqlite or memory
    #[arg(long, value_name = "KIND", default_value_t = StoreKind::Memory)]
    pub store: StoreKind,

    /// Which worker takes a task: round-robin, least-loaded or most-free-memory
    #[arg(long, value_name = "WAY", default_value_t = Settings::default().scheduling)]
    pub scheduling: Scheduling,

    /// Tasks that may wait, for each model
    #[arg(long, value_name = "N", default_value_t = Settings::default().queue, value_parser = queue())]
    pub queue: u32,

    /// What a task that finds its queue full comes to: reject, drop-oldest or shed-batch
    #[arg(long, value_name = "POLICY", default_value_t = Settings::default().when_full)]
    pub when_full: WhenFull,

    /// Collector that spans are sent to, by OTLP over HTTP: http://HOST:PORT [default: the variable
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, else none]
    #[arg(long, value_name = "URL")]
    pub traces: Option<BaseUrl>,

    /// How long a worker may send nothing while it has a request
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub stall_timeout: Duration,

    /// Between two looks at each worker's /ready, and how long one may take
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub probe_interval: Duration,

    /// How long a task goes on once all that followed its events have left
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub grace: Duration,

    /// How long running tasks may go on once the end was asked for
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub drain_timeout: Duration,
}

fn queue() -> clap::builder::RangedI64ValueParser<u32> {
    let (least, most) = QUEUE.into_inner();
    clap::value_parser!(u32).range(i64::from(least)..=i64::from(most))
}

/// A number of seconds above 0.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let above = duration.filter(|duration| !duration.is_zero());
    above.ok_or_else(|| "it must be a number of seconds above 0".to_owned())
}

/// What there is beside serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an API key for a tenant, and the digest that stands for it in the file of tenants
    Keygen,
    /// Read a file of tenants or a policy as one that serves would, and say what is wrong with it
    Check(check::Args),
    /// Run the queue, the scheduler and the relay on a virtual clock, with faults that a seed decides
    Sim(sim::Args),
}

impl Args {
    /// How long things may take.
    pub fn limits(&self) -> Limits {
        Limits {
            stall: self.stall_timeout,
            probe_every: self.probe_interval,
            probe: self.probe_interval,
            grace: self.grace,
            drain: self.drain_timeout,
            ..Limits::default()
        }
    }

    /// What the core goes by.
    pub fn config(&self) -> Config {
        Config {
            queue_bound: self.queue as usize,
            strategy: self.scheduling,
            when_full: self.when_full,
            ..Config::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use pool_core::launch::OrchestratorLaunch;

    use super::*;

    #[test]
    fn what_the_hive_writes_is_what_the_orchestrator_reads() {
        for &store in StoreKind::ALL {
            for &scheduling in Scheduling::ALL {
                for &when_full in WhenFull::ALL {
                    let launch = OrchestratorLaunch {
                        fleet: "home".parse().unwrap(),
                        listen: "[::1]:9000".parse().unwrap(),
                        home: "/a folder/--queue".into(),
                        link_file: "-leading-dash".into(),
                        settings: Settings {
                            store,
                            scheduling,
                            queue: 7,
                            when_full,
                        },
                        tenants: (store == StoreKind::Memory).then(|| "/a/tenants".into()),
                        policy: (when_full == WhenFull::Reject).then(|| "--policy".into()),
                    };
                    let argv = std::iter::once("orchestratord".into()).chain(launch.to_argv());
                    let args = Args::try_parse_from(argv).unwrap();
                    let read = OrchestratorLaunch {
                        fleet: args.fleet.unwrap(),
                        listen: args.listen,
                        home: args.home.unwrap(),
                        link_file: args.link_file.unwrap(),
                        settings: Settings {
                            store: args.store,
                            scheduling: args.scheduling,
                            queue: args.queue,
                            when_full: args.when_full,
                        },
                        tenants: args.tenants,
                        policy: args.policy,
                    };
                    assert_eq!(read, launch);
                }
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let read = |args: &[&str]| Args::try_parse_from(["orchestratord"].iter().chain(args));
        assert!(read(&[]).is_ok());
        for args in [
            &["--queue", "0"][..],
            &["--queue", "100001"],
            &["--store", "disk"],
            &["--store", "sqlite"],
            &["--scheduling", "fastest"],
            &["--when-full", "wait"],
            &["--listen", "localhost"],
            &["--worker", "127.0.0.1:8001"],
            &["--traces", "127.0.0.1:4318"],
            &["--grace", "-1"],
        ] {
            assert!(read(args).is_err(), "{args:?}");
        }
    }
}
