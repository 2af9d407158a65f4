//! `mock-load`: asks for streamed chat completions at a pace or as fast as they come, and tells as JSON how that went.
//!
//! | module | does |
//! |---|---|
//! | `client` | one connection, one stream |
//! | `count` | the tokens of a stream, each at its place |
//! | `open` | so many requests a second, whatever becomes of them |
//! | `closed` | so many streams at the same time |
//! | `leave` | clients that leave, and when the workers notice |
//! | `tasks` | tasks in a long queue, and cancelled ones |
//! | `tally` | what all of it came to |

mod client;
mod closed;
mod count;
mod leave;
mod open;
mod tally;
mod tasks;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

use client::Client;

/// Ask for streamed chat completions of a mock worker, or of what stands before it, and print what came as JSON.
#[derive(Debug, Parser)]
#[command(name = "mock-load")]
struct Args {
    /// Who is asked; of several, each connection has the next
    #[arg(long, required = true)]
    address: Vec<SocketAddr>,
    /// The model that is asked for
    #[arg(long, default_value = "mock")]
    model: String,
    /// Tokens of each answer
    #[arg(long, default_value_t = 16)]
    tokens: u64,
    /// Sent as the bearer token
    #[arg(long, env = "MOCK_LOAD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[command(subcommand)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum How {
    /// So many requests a second, each at its time, whether or not the earlier ones were answered
    Open {
        /// Requests a second
        #[arg(long)]
        rate: f64,
        #[arg(long)]
        seconds: f64,
        /// Connections that are open from the start; where they do not suffice, more are opened
        #[arg(long, default_value_t = 64)]
        connections: usize,
    },
    /// So many streams at the same time; tokens are counted after the first second
    Closed {
        #[arg(long)]
        streams: usize,
        /// After each stream comes another until so long; one of each when absent
        #[arg(long)]
        seconds: Option<f64>,
    },
    /// So many clients, one after the other, that leave with their first token
    Leave {
        #[arg(long)]
        times: usize,
        /// The mock workers
        #[arg(long, required = true)]
        worker: Vec<SocketAddr>,
    },
    /// Tasks of orchestratord's own API: each of so many is submitted to a queue of a length, and one that runs is cancelled
    Tasks {
        #[arg(long)]
        times: usize,
        /// Tasks that wait all the time
        #[arg(long)]
        queued: usize,
        /// The mock workers, of one slot each
        #[arg(long, required = true)]
        worker: Vec<SocketAddr>,
    },
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let client = Client::new(args.address, args.model, args.tokens, args.token);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let told = runtime.block_on(async {
        match args.how {
            How::Open {
                rate,
                seconds,
                connections,
            } => open::run(client, rate, seconds, connections).await,
            How::Closed { streams, seconds } => {
                closed::run(client, streams, seconds.map(Duration::from_secs_f64)).await
            }
            How::Leave { times, worker } => leave::run(client, times, &worker).await,
            How::Tasks {
                times,
                queued,
                worker,
            } => tasks::run(client, times, queued, &worker).await,
        }
    })?;
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}
