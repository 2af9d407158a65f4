//! `fleets/<fleet>.json`: the token of a fleet, and where the workers of the pool find its orchestrator. Workers and
//! orchestrators read it again when it changes.

use std::collections::BTreeMap;

use pool_core::name::FleetName;
use pool_core::observation::ObservedLink;
use pool_core::registration::{BaseUrl, FleetLink};
use pool_core::supply::Secret;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::file::{self, read_json, write_json};
use crate::home::{Home, Locked};
use crate::serve::token;

/// The version that this build reads and writes.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Versioned {
    version: u32,
    #[serde(flatten)]
    link: FleetLink,
}

/// The link of a fleet; none where the pool has none.
pub fn load(home: &Home, fleet: &FleetName) -> Result<Option<FleetLink>> {
    let read: Option<Versioned> = read_json(&home.link(fleet), VERSION)?;
    Ok(read.map(|read| read.link))
}

/// Every link, without its secret.
pub fn observe(home: &Home) -> Result<BTreeMap<FleetName, ObservedLink>> {
    let mut links = BTreeMap::new();
    for fleet in file::names::<FleetName>(&home.links())? {
        if let Some(link) = load(home, &fleet)? {
            let observed = ObservedLink {
                token: link.fingerprint(&fleet),
                orchestrator: link.orchestrator,
            };
            links.insert(fleet, observed);
        }
    }
    Ok(links)
}

/// Makes a token where the pool has none for the fleet.
pub fn ensure(home: &Locked, fleet: &FleetName) -> Result<()> {
    match load(home, fleet)? {
        Some(_) => Ok(()),
        None => write(home, fleet, None, None),
    }
}

/// Writes the link of a fleet. Without a token the one that is there stays, or one is made.
pub fn write(
    home: &Locked,
    fleet: &FleetName,
    orchestrator: Option<BaseUrl>,
    token: Option<Secret>,
) -> Result<()> {
    let before = load(home, fleet)?;
    let kept = token.or_else(|| before.as_ref().map(|link| link.token.clone()));
    let link = FleetLink {
        token: kept.map_or_else(self::token, Ok)?,
        orchestrator,
    };
    if before.as_ref() == Some(&link) {
        return Ok(());
    }
    let version = VERSION;
    write_json(&home.link(fleet), &Versioned { version, link })
}

/// Takes the link of a fleet away.
pub fn remove(home: &Locked, fleet: &FleetName) -> Result<()> {
    file::remove(&home.link(fleet))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_kept_and_shown_to_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path()).unwrap();
        let (fleet, other): (FleetName, FleetName) =
            ("home".parse().unwrap(), "lab".parse().unwrap());
        assert_eq!(observe(&home).unwrap(), BTreeMap::new());
        let locked = home.lock().unwrap();
        ensure(&locked, &fleet).unwrap();
        let made = load(&home, &fleet).unwrap().unwrap();
        assert_eq!(made.token.expose().len(), 64);
        let url: BaseUrl = "http://mac:8080".parse().unwrap();
        write(&locked, &fleet, Some(url.clone()), None).unwrap();
        ensure(&locked, &fleet).unwrap();
        let kept = load(&home, &fleet).unwrap().unwrap();
        assert_eq!((&kept.token, kept.orchestrator), (&made.token, Some(url)));
        let mode = home.link(&fleet).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // Nothing that the pool says of it holds the token, and one token has one print in a fleet.
        write(&locked, &other, None, Some(made.token.clone())).unwrap();
        let seen = observe(&home).unwrap();
        let told = serde_json::to_string(&seen).unwrap();
        assert!(!told.contains(made.token.expose()), "{told}");
        assert_eq!(seen[&fleet].token, made.fingerprint(&fleet));
        assert_ne!(seen[&fleet].token, seen[&other].token);
        remove(&locked, &other).unwrap();
        remove(&locked, &other).unwrap();
        assert_eq!(observe(&home).unwrap().len(), 1);
    }

    #[test]
    fn a_link_that_is_not_understood_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path()).unwrap();
        let fleet: FleetName = "home".parse().unwrap();
        let locked = home.lock().unwrap();
        std::fs::write(home.link(&fleet), "{").unwrap();
        assert!(ensure(&locked, &fleet).is_err() && observe(&home).is_err());
        assert_eq!(std::fs::read(home.link(&fleet)).unwrap(), b"{");
    }
}
