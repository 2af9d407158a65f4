//! `local-hub`: serves folders as a model hub on this machine.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use local_hub::{Hub, Request};

/// Serve folders as a model hub on this machine.
///
/// Prints its address on stdout and each request on stderr, and serves until it is ended.
#[derive(Debug, Parser)]
#[command(name = "local-hub")]
struct Args {
    /// The folder whose folders ORG/NAME are the repositories, as they are when it starts.
    root: PathBuf,
    /// Where to listen; blobs have a free port of the same address.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The files of this repository are for those with this token.
    #[arg(long, value_name = "ORG/NAME=TOKEN", value_parser = repo_and_token)]
    gated: Vec<(String, String)>,
}

fn repo_and_token(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((repo, token)) if !token.is_empty() => Ok((repo.to_owned(), token.to_owned())),
        _ => Err("it looks like org/name=token".to_owned()),
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut builder = Hub::builder()
        .root(&args.root)
        .listen(args.listen)
        .on_request(tell);
    for (repo, token) in args.gated {
        builder = builder.gated(repo, token);
    }
    let hub = builder.start().context("the hub does not start")?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", hub.url())?;
    stdout.flush()?;
    loop {
        std::thread::park();
    }
}

fn tell(request: &Request) {
    // Without a reader of the log the hub serves on.
    let _ = writeln!(std::io::stderr(), "{request}");
}
