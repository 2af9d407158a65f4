//! How each program is started, with what its own documentation says for a load like this.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use super::Bench;

/// Where Debian's package has it: outside of most paths.
pub const NGINX: &str = "/usr/sbin/nginx";

/// As it is by default, but for the length of its queue.
pub fn orchestratord(
    bench: &Bench,
    dir: &Path,
    address: SocketAddr,
    workers: &[SocketAddr],
) -> Command {
    let mut command = Command::new(&bench.programs.orchestratord);
    command.args([
        "--listen",
        &address.to_string(),
        "--queue",
        "4000",
        "--home",
    ]);
    command.arg(dir);
    for worker in workers {
        command.args(["--worker", &format!("http://{worker}")]);
    }
    command
}

/// Streams pass without a buffer, and connections to workers are kept. As many processes as processors, as Debian has it.
pub fn nginx(dir: &Path, address: SocketAddr, workers: &[SocketAddr]) -> anyhow::Result<Command> {
    let servers = lines(workers.iter().map(|worker| format!("    server {worker};")));
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = lines(kinds.map(|kind| format!("  {kind}_temp_path {kind};")));
    let config = format!(
        "daemon off;\nworker_processes auto;\npid nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n  access_log off;\n{temporary}  \
         keepalive_requests 1000000000;\n  \
         upstream workers {{\n{servers}    keepalive 256;\n    keepalive_requests 1000000000;\n  }}\n  \
         server {{\n    listen {address} backlog=4096;\n    \
         location / {{\n      proxy_pass http://workers;\n      proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\";\n      proxy_buffering off;\n      proxy_read_timeout 1h;\n    }}\n  }}\n}}\n"
    );
    let path = dir.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(NGINX);
    command
        .arg("-p")
        .arg(dir)
        .arg("-c")
        .arg(path)
        .args(["-e", "stderr"]);
    Ok(command)
}

/// One process a processor, no retries, nothing written but errors.
pub fn litellm(
    bench: &Bench,
    dir: &Path,
    address: SocketAddr,
    workers: &[SocketAddr],
) -> anyhow::Result<Command> {
    let mut config = "model_list:\n".to_owned();
    for worker in workers {
        let parameters =
            format!("{{ model: openai/mock, api_base: \"http://{worker}/v1\", api_key: none }}");
        config.push_str(&format!(
            "  - model_name: mock\n    litellm_params: {parameters}\n"
        ));
    }
    config
        .push_str("litellm_settings: { num_retries: 0, request_timeout: 600, telemetry: false }\n");
    config.push_str("router_settings: { routing_strategy: simple-shuffle }\n");
    let path = dir.join("config.yaml");
    fs::write(&path, config)?;
    let mut command = Command::new(bench.python.join("litellm"));
    let processes = std::thread::available_parallelism()?.to_string();
    command.arg("--config").arg(path);
    command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args(["--num_workers", &processes, "--telemetry", "False"]);
    command
        .env("LITELLM_MODE", "PRODUCTION")
        .env(
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY",
            "true",
        )
        .env("LITELLM_LOG", "ERROR")
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("NO_PROXY", "127.0.0.1");
    Ok(command)
}

/// One after the other, as the others do; nothing written but errors.
pub fn sglang_router(
    bench: &Bench,
    address: SocketAddr,
    workers: &[SocketAddr],
) -> anyhow::Result<Command> {
    let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = Command::new(bench.python.join("sglang-router"));
    command.args([
        "launch",
        "--host",
        "127.0.0.1",
        "--port",
        &address.port().to_string(),
    ]);
    command.arg("--worker-urls");
    command.args(workers.iter().map(|worker| format!("http://{worker}")));
    command.args(["--policy", "round_robin", "--log-level", "error"]);
    command.args(["--max-concurrent-requests", "8192"]);
    command.args([
        "--prometheus-host",
        "127.0.0.1",
        "--prometheus-port",
        &metrics.to_string(),
    ]);
    command.env("NO_PROXY", "127.0.0.1");
    Ok(command)
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines
        .into_iter()
        .flat_map(|line| [line, "\n".to_owned()])
        .collect()
}
