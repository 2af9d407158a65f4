//! `rbee infer`

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{SocketAddr, ToSocketAddrs};

use pool_core::name::{FleetName, ModelId, PoolName};
use pool_core::observation::ObservedWorker;
use pool_core::rpc::{Outcome, Request};
use pool_core::serving::{Answer, ExecuteRequest, Input, Message, Sampling};
use pool_core::supply::Secret;
use reconciler::glob;
use reconciler::observed::PoolState;
use serde_json::json;

use crate::cli::{Global, Infer};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::pools::{self, Link, Pools};
use crate::stream::Asked;
use crate::terminal::{Paint, Terminal, paint};
use crate::transport::Forward;

pub async fn run(global: &Global, args: Infer, terminal: Terminal) -> Result<Exit, Failure> {
    let request = request(&args)?;
    let named = args.worker.as_deref().and_then(host_and_port);
    let (worker, pools) = if let Some(address) = named {
        (Asked::new(&Forward::Tcp(address?), None)?, None)
    } else {
        let (worker, pools) = find(global, &args).await?;
        (worker, Some(pools))
    };
    let mut begun = false;
    let on_text = |text: &str| {
        begun = true;
        if !global.json {
            terminal.data(text);
        }
    };
    let answer = tokio::select! {
        answer = worker.ask(&request, on_text) => answer,
        // The worker cancels when its client is gone.
        _ = tokio::signal::ctrl_c() => return Ok(Exit::INTERRUPTED),
    };
    if !global.json && begun {
        terminal.data("\n");
    }
    let answer = answer?;
    if global.json {
        let Answer {
            job_id,
            seed,
            text,
            end,
            ..
        } = &answer;
        terminal.data(&super::json(
            &json!({ "version": 1, "job_id": job_id, "seed": seed, "text": text, "end": end }),
        )?);
    } else {
        terminal.note(&format!(
            "{}\n",
            paint(terminal.colour_err, Paint::Dim, &summary(&answer))
        ));
    }
    if let Some(pools) = pools {
        pools.close().await;
    }
    Ok(Exit::DONE)
}

fn request(args: &Infer) -> Result<ExecuteRequest, Failure> {
    let mut prompt = args.prompt.clone();
    if prompt == "-" {
        prompt.clear();
        std::io::stdin()
            .read_to_string(&mut prompt)
            .map_err(|error| Failure::new(format!("cannot read the prompt from stdin: {error}")))?;
    }
    let message = |role: &str, content: &str| Message {
        role: role.into(),
        content: content.into(),
    };
    let system = args.system.iter().map(|text| message("system", text));
    Ok(ExecuteRequest {
        job_id: format!("infer-{}", std::process::id()),
        input: if args.raw {
            Input::Prompt(prompt)
        } else {
            Input::Messages(system.chain([message("user", &prompt)]).collect())
        },
        max_tokens: args.max_tokens,
        sampling: Sampling {
            temperature: args.temperature,
            top_p: args.top_p,
            top_k: args.top_k,
            seed: args.seed,
            ..Sampling::default()
        },
        stop: args.stop.clone(),
        cache_salt: None,
    })
}

/// `HOST:PORT`, where the text is that and not a worker's address.
fn host_and_port(text: &str) -> Option<Result<SocketAddr, Failure>> {
    let (host, port) = text.rsplit_once(':')?;
    if text.contains(['/', '*']) || host.is_empty() || port.parse::<u16>().is_err() {
        return None;
    }
    let resolved = text.to_socket_addrs().map(|mut addresses| addresses.next());
    Some(match resolved {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(Failure::new(format!("{host} has no address"))),
        Err(error) => Err(Failure::new(format!("cannot find {host}: {error}"))),
    })
}

/// Finds a worker of the fleet that serves now, and a way to it.
async fn find(global: &Global, args: &Infer) -> Result<(Asked, Pools), Failure> {
    let file = FleetFile::load(global.file.as_deref())?;
    let could_be = |pool: &PoolName| match args.worker.as_deref().and_then(pool_part) {
        Some(pattern) => glob::matches(pattern, pool.as_str()),
        None => true,
    };
    let pools = pools::observe_some(&file.fleet, &global.transport(), could_be).await?;
    let mut serving = Vec::new();
    for (name, state) in &pools.observed.pools {
        if let PoolState::Known(seen) = state {
            let mine = |worker: &&ObservedWorker| {
                worker.record.spec.fleet.as_ref() == Some(&file.fleet.name.value)
            };
            let workers = seen
                .workers
                .iter()
                .filter(|worker| worker.is_serving())
                .filter(mine);
            serving.extend(workers.map(|worker| (name, worker)));
        }
    }
    let chosen = serving.iter().find(|(_, worker)| is_asked(args, worker));
    let Some((pool, worker)) = chosen else {
        return Err(nobody(&file, args, &serving, &pools));
    };
    let asked = reach(&pools, &file.fleet.name.value, pool, worker.record.listen).await?;
    Ok((asked, pools))
}

/// The way to a worker of this fleet that listens there.
pub(super) async fn reach(
    pools: &Pools,
    fleet: &FleetName,
    pool: &PoolName,
    listen: SocketAddr,
) -> Result<Asked, Failure> {
    let Some(link) = pools.links.get(pool) else {
        return Asked::new(&Forward::Tcp(listen), None);
    };
    let token = token(link, fleet, listen).await?;
    Asked::new(&link.connection.forward(listen).await?, token)
}

/// What a worker that others reach asks for.
async fn token(
    link: &Link,
    fleet: &FleetName,
    listen: SocketAddr,
) -> Result<Option<Secret>, Failure> {
    let Some(hive) = link.hive().filter(|_| !listen.ip().is_loopback()) else {
        return Ok(None);
    };
    let fleet = fleet.clone();
    match hive.call(Request::Token { fleet }, |_| ()).await? {
        Outcome::Token(token) => Ok(Some(token)),
        other => Err(Failure::new(format!(
            "its hive answered something else: {other:?}"
        ))),
    }
}

/// Why nobody can be asked, and who could be.
fn nobody(
    file: &FleetFile,
    args: &Infer,
    serving: &[(&PoolName, &ObservedWorker)],
    pools: &Pools,
) -> Failure {
    let mut states = pools.observed.pools.values();
    let is_unknown = states.any(|state| matches!(state, PoolState::Unknown(_)));
    let exit = if is_unknown {
        Exit::UNREACHABLE
    } else {
        Exit::ERROR
    };
    let is_declared = |model: &str| file.fleet.models.keys().any(|id| id.as_str() == model);
    let (what, others): (String, BTreeSet<String>) = match (&args.worker, &args.model) {
        (None, Some(model)) if !is_declared(model) => {
            let names: Vec<&str> = file.fleet.models.keys().map(ModelId::as_str).collect();
            let names = match &names[..] {
                [] => "it has none".to_owned(),
                names => format!("its models are: {}", names.join(", ")),
            };
            return Failure::new(format!("the fleet has no model `{model}`"))
                .at(file.path.display().to_string())
                .help(names);
        }
        (None, model) => {
            let model = model.as_deref().unwrap_or_default();
            let served = serving.iter().map(|(_, worker)| &worker.record.spec.model);
            (
                format!("no worker serves model `{model}` now"),
                served.map(ToString::to_string).collect(),
            )
        }
        (Some(worker), _) => (
            format!("no worker `{worker}` serves now"),
            serving.iter().map(|(_, worker)| name_of(worker)).collect(),
        ),
    };
    let others: Vec<String> = others.into_iter().collect();
    let help = match (&others[..], is_unknown, &args.worker) {
        ([], true, _) => "`rbee status` says why pools do not answer".into(),
        ([], false, _) => "`rbee apply` spawns the workers of the fleet".into(),
        (others, _, Some(_)) => format!("these do: {}", others.join(", ")),
        (others, _, None) => format!("these models are served: {}", others.join(", ")),
    };
    Failure::new(what).help(help).exit(exit)
}

/// The pool of a pattern for whole addresses: `name/pool/device/ordinal`.
fn pool_part(pattern: &str) -> Option<&str> {
    let mut parts = pattern.split('/');
    let pool = parts.nth(1)?;
    (parts.count() == 2).then_some(pool)
}

fn is_asked(args: &Infer, worker: &ObservedWorker) -> bool {
    let spec = &worker.record.spec;
    match (&args.worker, &args.model) {
        (Some(pattern), _) => spec.address.as_ref().is_some_and(|address| {
            glob::matches(pattern, &address.to_string()) || glob::matches(pattern, &address.label())
        }),
        (None, Some(model)) => spec.model.as_str() == model,
        (None, None) => false,
    }
}

fn name_of(worker: &ObservedWorker) -> String {
    let spec = &worker.record.spec;
    spec.address
        .as_ref()
        .map_or_else(|| worker.record.id.to_string(), ToString::to_string)
}

/// `1 token in 4 ms (prompt of 17 tokens in 3 ms), 250.0 tok/s, EOS, seed 7`
fn summary(answer: &Answer) -> String {
    let end = &answer.end;
    let tokens = pool_core::units::count(end.tokens_out as usize, "token");
    let rate = end
        .tokens_per_second()
        .map(|rate| format!(", {rate:.1} tok/s"))
        .unwrap_or_default();
    let total = end.prefill_time_ms + end.decode_time_ms;
    let prompt = pool_core::units::count(end.tokens_in as usize, "token");
    format!(
        "{tokens} in {total:.1} ms (prompt of {prompt}: {:.1} ms){rate}, {}, seed {}",
        end.prefill_time_ms,
        end.stop_reason.as_str(),
        answer.seed
    )
}
