//! The orchestrator, and what the workers of each pool know of it.

use pool_core::digest::Sha256;
use pool_core::name::FleetName;
use pool_core::observation::{ObservedLink, ObservedOrchestrator, Platform};
use reconciler::observed::{Bare, Observed, PoolState, Unknown};

use super::outages::{model, pool, worker};
use crate::simulation::{
    FLEET, GIB, OTHER, build, linux, observed_orchestrator, orchestrator_spec,
};

fn home() -> FleetName {
    FLEET.parse().unwrap()
}

/// One that serves on 127.0.0.1:8080, of this version of the programs.
fn orchestrator(fleet: &str, version: u8) -> ObservedOrchestrator {
    let mut spec = orchestrator_spec(fleet.parse().unwrap(), 8080);
    spec.files.clear();
    observed_orchestrator(spec, Some(build(version)))
}

/// A pool with one worker that serves, with this orchestrator, and with a link that leads there.
fn seen(
    name: &str,
    advertise: Option<&str>,
    orchestrator: Option<ObservedOrchestrator>,
    link: Option<(&str, &str)>,
) -> PoolState {
    let mut chat = worker("chat", name, "one", 0);
    let record = &mut chat.record;
    record.spec.advertise = advertise.map(|address| address.parse().unwrap());
    record.spec_hash = record.spec.hash();
    let mut state = pool(64 * GIB, vec![model("one", 0)], vec![chat]);
    if let PoolState::Known(seen) = &mut state {
        seen.orchestrators.extend(orchestrator);
        let link = link.map(|(url, token)| ObservedLink {
            orchestrator: Some(url.parse().unwrap()),
            token: Sha256::of(token),
        });
        seen.links.extend(link.map(|link| (home(), link)));
    }
    state
}

/// The same on a machine that nobody has a build for, but the pool itself.
fn on_a_mac(mut state: PoolState, version: u8) -> PoolState {
    if let PoolState::Known(seen) = &mut state {
        seen.platform = Platform {
            os: "Darwin".into(),
            arch: "arm64".into(),
        };
        seen.build = Some(build(version));
    }
    state
}

fn died(mut orchestrator: ObservedOrchestrator) -> ObservedOrchestrator {
    (orchestrator.alive, orchestrator.answers) = (false, false);
    orchestrator
}

pub(super) fn scenes() -> Vec<(&'static str, Observed)> {
    const LOCAL: &str = "http://127.0.0.1:8080";
    const THERE: &str = "http://10.0.0.2:8080";
    let pools = |pools: Vec<(&str, PoolState)>| Observed {
        pools: pools
            .into_iter()
            .map(|(name, state)| (name.parse().unwrap(), state))
            .collect(),
    };
    let bare = PoolState::Bare(Bare {
        platform: linux(),
        installed: None,
        broken: None,
    });
    let unreachable = PoolState::Unknown(Unknown {
        unreachable: true,
        cause: "no route".into(),
        help: None,
    });
    let right = || Some((LOCAL, "one token"));
    let mine = |version| Some(orchestrator(FLEET, version));
    vec![
        // Its pool comes later by name, and gets its programs first.
        (
            "orchestrator-fresh",
            pools(vec![
                ("a", seen("a", Some("10.0.0.1"), None, None)),
                ("b", bare),
            ]),
        ),
        (
            "orchestrator-nothing-to-do",
            pools(vec![("a", seen("a", None, mine(1), right()))]),
        ),
        (
            "orchestrator-other-build",
            pools(vec![("a", seen("a", None, mine(0), right()))]),
        ),
        (
            "built-on-the-pool",
            pools(vec![("a", on_a_mac(seen("a", None, mine(7), right()), 7))]),
        ),
        (
            "built-on-the-pool-again",
            pools(vec![("a", on_a_mac(seen("a", None, mine(7), right()), 8))]),
        ),
        (
            "orchestrator-other-settings",
            pools(vec![("a", seen("a", None, mine(1), right()))]),
        ),
        (
            "orchestrator-died",
            pools(vec![("a", seen("a", None, mine(1).map(died), right()))]),
        ),
        (
            "orchestrator-undeclared",
            pools(vec![("a", seen("a", None, mine(1), right()))]),
        ),
        (
            "orchestrator-of-another-fleet",
            pools(vec![(
                "a",
                seen("a", None, Some(orchestrator(OTHER, 1)), None),
            )]),
        ),
        (
            "orchestrator-moves",
            pools(vec![
                ("a", seen("a", None, mine(1), right())),
                (
                    "b",
                    seen("b", Some("10.0.0.2"), None, Some((THERE, "one token"))),
                ),
            ]),
        ),
        (
            "orchestrator-moves-to-no-answer",
            pools(vec![
                ("a", seen("a", Some("10.0.0.1"), mine(1), right())),
                ("b", unreachable),
            ]),
        ),
        (
            "orchestrator-other-token",
            pools(vec![
                (
                    "a",
                    seen("a", Some("10.0.0.1"), None, Some((THERE, "another"))),
                ),
                ("b", seen("b", Some("10.0.0.2"), mine(1), right())),
            ]),
        ),
        (
            "orchestrator-out-of-reach",
            pools(vec![
                ("a", seen("a", None, None, None)),
                ("b", seen("b", Some("10.0.0.2"), mine(1), right())),
            ]),
        ),
    ]
}
