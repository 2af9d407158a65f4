//! The orchestrator, and how the workers of each pool find it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use pool_core::ORCHESTRATOR_PORT;
use pool_core::digest::Sha256;
use pool_core::name::FleetName;
use pool_core::orchestrator::{ConfigFile, OrchestratorSpec, Settings};
use pool_core::registration::BaseUrl;

use crate::desired::{Desired, DesiredConfig, DesiredLink};
use crate::fleet::{Connect, Fleet, Orchestrator, Pool};

/// Puts it on its pool, and tells the others where it is. Warns of workers that it does not get to know.
pub(super) fn place(desired: &mut Desired, fleet: &Fleet, configs: &BTreeMap<ConfigFile, Sha256>) {
    let Some((declared, home)) = fleet.orchestrator.as_ref().and_then(|declared| {
        let home = fleet.pools.get(&declared.pool.value)?;
        Some((declared, &home.value))
    }) else {
        for pool in desired.pools.values_mut() {
            if !pool.workers.is_empty() {
                pool.link = DesiredLink::Own;
            }
        }
        return;
    };
    let spec = spec(&fleet.name.value, declared, home);
    desired.home = Some(declared.pool.value.clone());
    for (name, pool) in &mut desired.pools {
        if *name == declared.pool.value {
            pool.link = DesiredLink::Fleet(Some(spec.local_url()));
            pool.orchestrator = Some(spec.clone());
            let files = declared.files().filter_map(|(file, path)| {
                let digest = *configs.get(&file)?;
                let path = path.value.clone();
                Some((file, DesiredConfig { path, digest }))
            });
            pool.configs = files.collect();
        } else if !pool.workers.is_empty() {
            let way = way(&spec, declared, home, &fleet.pools[name].value);
            if let Err(why) = &way {
                desired.warnings.push(format!(
                    "the orchestrator gets no work to the workers of {name}: {why}"
                ));
            }
            pool.link = DesiredLink::Fleet(way.ok());
        }
    }
}

fn spec(fleet: &FleetName, declared: &Orchestrator, home: &Pool) -> OrchestratorSpec {
    let Orchestrator {
        listen,
        store,
        scheduling,
        queue,
        when_full,
        ..
    } = declared;
    let default = Settings::default();
    let own_machine = SocketAddr::from((Ipv4Addr::LOCALHOST, ORCHESTRATOR_PORT));
    let supervise = declared.supervise.as_ref().or(home.supervise.as_ref());
    OrchestratorSpec {
        fleet: fleet.clone(),
        listen: listen.as_ref().map_or(own_machine, |listen| listen.value),
        supervise: supervise
            .map(|supervise| supervise.value)
            .unwrap_or_default(),
        settings: Settings {
            store: store.as_ref().map_or(default.store, |store| store.value),
            scheduling: scheduling
                .as_ref()
                .map_or(default.scheduling, |way| way.value),
            queue: queue.as_ref().map_or(default.queue, |queue| queue.value),
            when_full: when_full
                .as_ref()
                .map_or(default.when_full, |policy| policy.value),
        },
        files: declared.files().map(|(file, _)| file).collect(),
    }
}

/// Where the workers of another pool find it, or why they and it do not reach each other.
fn way(
    spec: &OrchestratorSpec,
    declared: &Orchestrator,
    home: &Pool,
    pool: &Pool,
) -> Result<BaseUrl, String> {
    let home_name = &declared.pool.value;
    if pool.advertise.is_none() {
        return Err(format!(
            "they listen on loopback, which {home_name} does not reach; `advertise` of their pool changes that"
        ));
    }
    let listen = spec.listen;
    let advertised = home.advertise.as_ref().map(|address| address.value);
    if !listen.ip().is_unspecified() {
        // What a pool says of itself is taken for true.
        if listen.ip().is_loopback() && advertised != Some(listen.ip()) {
            let port = listen.port();
            return Err(format!(
                "it listens on {listen}, which they do not reach; `listen: 0.0.0.0:{port}` changes that"
            ));
        }
        return Ok(listen.into());
    }
    match (advertised, &home.connect.value) {
        (Some(ip), _) => Ok(SocketAddr::new(ip, listen.port()).into()),
        (None, Connect::Ssh(destination)) => {
            let host = match &destination.host {
                v6 if v6.contains(':') => format!("[{v6}]"),
                host => host.clone(),
            };
            let url = format!("http://{host}:{}", listen.port());
            url.parse().map_err(|error| format!("{error}"))
        }
        (None, Connect::Local) => Err(format!(
            "nothing says at which address they reach {home_name}; its `advertise` does"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::{Known, resolve};

    /// The links of the pools `a` and `b`, and the warnings, with the orchestrator on `a`.
    fn links(orchestrator: &str, a: &str, b: &str) -> ([DesiredLink; 2], Vec<String>) {
        let text = format!(
            "version: 1\nfleet: home\n{orchestrator}\npools:\n  a: {{ devices: [cpu], {a} }}\n  \
             b: {{ devices: [cpu], {b} }}\n  idle: {{ connect: ssh://idle, devices: [cpu] }}\n\
             models: {{ one: {{ source: ./one }} }}\nworkers: {{ chat: {{ model: one, on: [a/cpu, b/cpu] }} }}\n"
        );
        let fleet = crate::fleet::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let desired = resolve(&fleet, &Known::default()).unwrap();
        let link = |name: &str| desired.pools[&name.parse().unwrap()].link.clone();
        assert_eq!(link("idle"), DesiredLink::None);
        ([link("a"), link("b")], desired.warnings)
    }

    fn at(url: &str) -> DesiredLink {
        DesiredLink::Fleet(Some(url.parse().unwrap()))
    }

    #[test]
    fn workers_register_where_they_reach_the_orchestrator() {
        let any = "orchestrator: { pool: a, listen: 0.0.0.0:9000 }";
        let ssh = "connect: ssh://me@box:22";
        let b = "connect: ssh://b, advertise: 10.0.0.2";
        for (orchestrator, a, here, there) in [
            (any, ssh, "http://127.0.0.1:9000", "http://box:9000"),
            (
                any,
                "connect: local, advertise: 10.0.0.1",
                "http://127.0.0.1:9000",
                "http://10.0.0.1:9000",
            ),
            (
                any,
                "connect: 'ssh://[fd00::1]'",
                "http://127.0.0.1:9000",
                "http://[fd00::1]:9000",
            ),
            (
                "orchestrator: { pool: a, listen: 10.0.0.9:80 }",
                "connect: local, advertise: 10.0.0.1",
                "http://10.0.0.9:80",
                "http://10.0.0.9:80",
            ),
            (
                "orchestrator: { pool: a }",
                "connect: local, advertise: 127.0.0.1",
                "http://127.0.0.1:8080",
                "http://127.0.0.1:8080",
            ),
        ] {
            let found = links(orchestrator, a, b);
            assert_eq!(found, ([at(here), at(there)], vec![]), "{orchestrator} {a}");
        }
        let (found, warnings) = links("", ssh, b);
        assert_eq!(found, [DesiredLink::Own, DesiredLink::Own]);
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn workers_that_do_not_reach_it_or_are_not_reached_do_not_register() {
        let b = "connect: ssh://b, advertise: 10.0.0.2";
        for (orchestrator, a, b, why) in [
            (
                "orchestrator: { pool: a, listen: 0.0.0.0:80 }",
                "connect: local",
                b,
                "its `advertise` does",
            ),
            (
                "orchestrator: { pool: a }",
                "connect: ssh://a",
                b,
                "`listen: 0.0.0.0:8080` changes that",
            ),
            (
                "orchestrator: { pool: a, listen: 0.0.0.0:80 }",
                "connect: ssh://a",
                "connect: ssh://b",
                "`advertise` of their pool",
            ),
        ] {
            let ([here, there], warnings) = links(orchestrator, a, b);
            assert!(matches!(here, DesiredLink::Fleet(Some(_))));
            assert_eq!(there, DesiredLink::Fleet(None));
            let [warning] = &warnings[..] else {
                panic!("{warnings:?}")
            };
            assert!(
                warning.contains(why) && warning.contains("workers of b"),
                "{warning}"
            );
        }
    }

    #[test]
    fn what_is_not_said_is_the_default_and_the_pool_says_who_supervises() {
        let spec = |orchestrator: &str, supervise: &str| {
            let text = format!(
                "version: 1\nfleet: home\norchestrator: {{ pool: a{orchestrator} }}\n\
                 pools: {{ a: {{ connect: local, devices: [cpu]{supervise} }} }}\n"
            );
            let fleet =
                crate::fleet::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
            let mut desired = resolve(&fleet, &Known::default()).unwrap();
            desired.pools.pop_first().unwrap().1.orchestrator.unwrap()
        };
        let plain = spec("", "");
        assert_eq!(plain.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(plain.settings, Settings::default());
        let all = ", store: memory, scheduling: round-robin, queue: 7, when_full: shed-batch";
        let said = spec(all, ", supervise: systemd");
        let said = serde_json::to_value(&said).unwrap();
        let wanted = serde_json::json!({
            "fleet": "home", "listen": "127.0.0.1:8080", "supervise": "systemd",
            "store": "memory", "scheduling": "round-robin", "queue": 7, "when_full": "shed-batch",
        });
        assert_eq!(said, wanted);
        assert!(
            spec(", supervise: none", ", supervise: systemd")
                .supervise
                .is_none()
        );
    }
}
