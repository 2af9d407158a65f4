//! Brings rbee to a pool, and looks what the pool has.

use std::collections::BTreeSet;
use std::sync::Arc;

use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::name::PoolName;
use pool_core::rpc::{Outcome, Request};
use pool_core::units;
use reconciler::plan::ActionKind;

use super::{Actor, Fault};
use crate::pools::Link;
use crate::progress::Step;
use crate::transport::{HiveClient, HiveState};

impl Actor<'_> {
    /// Brings the build for the pool's platform, and talks to the hive of that from here on.
    pub(super) async fn install(
        &self,
        pool: &PoolName,
        link: &Link,
        to: Sha256,
        step: &Step<'_>,
    ) -> Result<String, Fault> {
        let opened = link.connection.open().await?;
        let bundle = self
            .bundles
            .get(&opened.platform)
            .await
            .map_err(|error| Fault {
                what: error.to_string(),
                help: Some(error.help().to_owned()),
                ..Fault::default()
            })?;
        drop(opened);
        if bundle.digest != to {
            return Err(Fault {
                what: format!(
                    "the build here is {}, no longer {}",
                    bundle.digest.short(),
                    to.short()
                ),
                help: Some("plan again".into()),
                stale: true,
                ..Fault::default()
            });
        }
        let total = bundle.size();
        let sent = |sent| {
            step.say(&format!(
                "{} of {}",
                units::bytes(sent),
                units::bytes(total)
            ));
        };
        link.connection.install(&bundle, sent).await?;
        match link.connection.open().await?.hive {
            HiveState::Running(hive) => {
                let hive = Arc::new(hive);
                self.leases.add(pool, &hive).await?;
                link.set_hive(Some(Arc::clone(&hive)));
                self.check_devices(pool, &hive).await?;
                Ok(units::bytes(total))
            }
            HiveState::Bare => Err(Fault::of("it is gone again: something else removes it")),
            HiveState::Broken(broken) => Err(Fault::of(format!(
                "what was installed does not run: {broken}"
            ))),
        }
    }

    /// What a pool has is not known before a hive runs there, and nothing is to come for a worker that cannot compute.
    async fn check_devices(&self, pool: &PoolName, hive: &HiveClient) -> Result<(), Fault> {
        let actions = self.plan.actions.iter();
        let wanted = actions.filter_map(|action| match &action.kind {
            ActionKind::Spawn { spec, .. } if action.pool == *pool => Some(spec.device),
            _ => None,
        });
        let wanted: BTreeSet<Device> = wanted.filter(|device| *device != Device::Cpu).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let seen = match hive.call(Request::Observe, |_| ()).await? {
            Outcome::Observed(seen) => seen,
            other => return Err(Fault::odd(&other)),
        };
        match wanted.into_iter().find_map(|device| seen.lacks(device)) {
            None => Ok(()),
            Some(why) => Err(Fault {
                help: Some("correct `on:` in fleet.yaml".into()),
                ..Fault::of(format!("rbee is installed there now, but {why}"))
            }),
        }
    }
}
