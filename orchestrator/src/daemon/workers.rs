//! Registrations and probes.

use std::sync::Arc;

use pool_core::registration::{BaseUrl, Registration};
use pool_core::serving::{Health, Phase, Ready};
use serde::Deserialize;

use super::Orchestrator;
use crate::core::{Condition, WorkerInfo, WorkerKey};

impl Orchestrator {
    /// A worker registers, or beats.
    pub fn registered(self: &Arc<Self>, registration: Registration) {
        let condition = match registration.status {
            Phase::Loading => Condition::Loading,
            Phase::Ready => Condition::Ready,
            Phase::Draining => Condition::Draining,
        };
        let info = info(registration);
        let id = info.id.clone();
        let is_new = self.ask(|core, now| core.heartbeat(now, info));
        if is_new {
            tracing::info!(worker = %id, ?condition, "worker registered");
        }
        if condition == Condition::Ready && !is_new {
            return;
        }
        if condition == Condition::Ready {
            self.probe(id);
        } else {
            self.ask(|core, now| core.probed(now, &id, condition));
        }
    }

    /// Asks a worker whether it is ready.
    fn probe(self: &Arc<Self>, id: WorkerKey) {
        let orchestrator = Arc::clone(self);
        tokio::spawn(async move {
            let Some(url) = orchestrator.ask(|core, _| Some(core.worker(&id)?.info.url.clone()))
            else {
                return;
            };
            let limit = orchestrator.limits.probe;
            let found = match orchestrator
                .upstream
                .get::<Ready>(&url, "/ready", limit)
                .await
            {
                Ok(Ready { stalled: true, .. }) | Err(_) => Condition::Unreachable,
                Ok(ready) => match ready.status {
                    Phase::Ready => Condition::Ready,
                    Phase::Loading => Condition::Loading,
                    Phase::Draining => Condition::Draining,
                },
            };
            orchestrator.ask(|core, now| core.probed(now, &id, found));
            orchestrator.pump();
        });
    }
}

/// Probes every worker again and again, for as long as the daemon lives.
pub async fn probe_all(orchestrator: Arc<Orchestrator>) {
    let mut ticks = tokio::time::interval(orchestrator.limits.probe_every);
    loop {
        ticks.tick().await;
        let workers = |core: &mut crate::core::Core, _| -> Vec<WorkerKey> {
            core.workers()
                .map(|worker| worker.info.id.clone())
                .collect()
        };
        for id in orchestrator.ask(workers) {
            orchestrator.probe(id);
        }
    }
}

/// Takes part for a worker that does not register by itself, for as long as the daemon lives.
pub async fn stand_in(orchestrator: Arc<Orchestrator>, url: BaseUrl) {
    let mut ticks = tokio::time::interval(orchestrator.limits.probe_every);
    loop {
        ticks.tick().await;
        match look(&orchestrator, &url).await {
            Ok(registration) => orchestrator.registered(registration),
            Err(error) => tracing::debug!(%url, %error, "worker does not answer"),
        }
    }
}

/// What of `GET /v1/models` says how long a context is.
#[derive(Deserialize)]
struct Models {
    data: Vec<Card>,
}

#[derive(Deserialize)]
struct Card {
    max_model_len: Option<u64>,
}

async fn look(
    orchestrator: &Orchestrator,
    url: &BaseUrl,
) -> Result<Registration, crate::core::AttemptError> {
    let limit = orchestrator.limits.probe;
    let get = &orchestrator.upstream;
    let health: Health = get.get(url.as_str(), "/health", limit).await?;
    let models: Models = get.get(url.as_str(), "/v1/models", limit).await?;
    Ok(Registration {
        worker_id: health.worker_id,
        address: None,
        fleet: None,
        url: url.clone(),
        model: health.model,
        model_digest: health.model_digest,
        device: health.device,
        status: health.status,
        slots: health.slots,
        memory: health.memory,
        memory_free: None,
        context_length: models.data.first().and_then(|card| card.max_model_len),
        us_per_token: health.us_per_token,
        version: String::new(),
    })
}

fn info(registration: Registration) -> WorkerInfo {
    let authority = registration.url.authority();
    let (key, pool) = match &registration.address {
        Some(address) => (address.to_string(), address.pool.to_string()),
        None => (
            format!("{}@{authority}", registration.worker_id),
            authority.to_owned(),
        ),
    };
    WorkerInfo {
        id: key.into(),
        model: registration.model,
        digest: registration.model_digest,
        pool,
        device: registration.device,
        url: registration.url.as_str().to_owned(),
        slots: registration.slots.total,
        busy: registration.slots.busy,
        memory_free: registration.memory_free.unwrap_or_default(),
        context_length: registration.context_length.unwrap_or_default(),
        us_per_token: registration.us_per_token,
    }
}
