//! What the workers of each pool know of their orchestrator, against what they should: one token for the whole fleet.

use std::collections::BTreeMap;

use pool_core::digest::Sha256;
use pool_core::facts;
use pool_core::name::PoolName;
use pool_core::observation::ObservedLink;
use pool_core::registration::BaseUrl;

use super::{Binaries, LinkDrift, PoolDrift};
use crate::desired::{Desired, DesiredLink};
use crate::observed::{Observed, PoolState};
use crate::plan::Token;
use crate::reason::{FieldChange, Reason};

/// Whose token is the fleet's, and which that is; none where it is still to be made.
struct Giver<'a> {
    pool: &'a PoolName,
    token: Option<Sha256>,
}

/// Adds to the drift of each pool what is wrong of its link.
///
/// Where nothing is known of the orchestrator's pool, neither is the fleet's token: no link is touched then.
pub(super) fn diff_links(
    desired: &Desired,
    observed: &Observed,
    pools: &mut BTreeMap<PoolName, PoolDrift>,
) {
    let seen = |pool: &PoolName| match observed.pools.get(pool) {
        Some(PoolState::Known(seen)) => seen.links.get(&desired.fleet),
        _ => None,
    };
    let giver = giver(desired, pools, &seen);
    for (name, pool) in &desired.pools {
        let there = seen(name);
        let Some(PoolDrift::Known(drift)) = pools.get_mut(name) else {
            continue;
        };
        let stays = !drift.protected_workers.is_empty();
        drift.link = match (&pool.link, &giver, there) {
            (DesiredLink::None, _, Some(there)) if !stays => Some(LinkDrift::Remove {
                reason: desired.gone(),
                was: facts::link(there),
            }),
            (DesiredLink::Own, _, Some(there)) => wrong(there, None, None, Token::Own),
            (DesiredLink::Fleet(url), Some(giver), there) => {
                let token = match giver.pool {
                    giver if giver == name => Token::Own,
                    giver => Token::Of(giver.clone()),
                };
                match there {
                    Some(there) => wrong(there, url.as_ref(), Some(giver), token),
                    None => Some(LinkDrift::Write {
                        orchestrator: url.clone(),
                        token,
                        reason: Reason::NotThere,
                        was: None,
                    }),
                }
            }
            _ => None,
        };
    }
}

/// The orchestrator's pool, unless it has no token and another has one already.
fn giver<'a>(
    desired: &'a Desired,
    pools: &BTreeMap<PoolName, PoolDrift>,
    seen: &impl Fn(&PoolName) -> Option<&'a ObservedLink>,
) -> Option<Giver<'a>> {
    let home = desired.home.as_ref()?;
    let Some(PoolDrift::Known(drift)) = pools.get(home) else {
        return None;
    };
    if matches!(drift.binaries, Some(Binaries::NoBuild { .. })) {
        return None;
    }
    let has_one = |pool| {
        let token = Some(seen(pool)?.token);
        Some(Giver { pool, token })
    };
    let new = Giver {
        pool: home,
        token: None,
    };
    let found = has_one(home).or_else(|| desired.pools.keys().find_map(has_one));
    Some(found.unwrap_or(new))
}

/// What to write in the place of a link that is there; none where it is right.
fn wrong(
    there: &ObservedLink,
    url: Option<&BaseUrl>,
    giver: Option<&Giver>,
    token: Token,
) -> Option<LinkDrift> {
    let mut fields = Vec::new();
    if there.orchestrator.as_ref() != url {
        let text = |url: Option<&BaseUrl>| url.map_or_else(|| "none".into(), BaseUrl::to_string);
        fields.push(FieldChange {
            field: "orchestrator".into(),
            from: text(there.orchestrator.as_ref()),
            to: text(url),
        });
    }
    if let Some(giver) = giver.filter(|giver| giver.token != Some(there.token)) {
        fields.push(FieldChange {
            field: "token".into(),
            from: "another".into(),
            to: format!("that of {}", giver.pool),
        });
    }
    (!fields.is_empty()).then(|| LinkDrift::Write {
        orchestrator: url.cloned(),
        token,
        reason: Reason::Changed { fields },
        was: Some(facts::link(there)),
    })
}
