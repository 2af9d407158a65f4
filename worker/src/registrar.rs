//! Telling the orchestrator of the fleet what this worker is: at once when its phase or its link changes, then as a heartbeat.
//!
//! Nothing waits for it but the end of the worker, and that not for long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_front::link::LinkFile;
use pool_core::device::Device;
use pool_core::registration::{BaseUrl, FleetLink, HEARTBEAT, Registered, Registration};
use pool_core::serving::Phase;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};

use crate::http::Service;
use crate::model::free_memory;

/// How long one registration may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Before a registration that failed is tried again, the first time; then twice as long, up to a heartbeat.
const RETRY: Duration = Duration::from_secs(1);

/// Heartbeats come no more often than this, whatever the orchestrator wants.
const LEAST: Duration = Duration::from_millis(100);

/// Why a registration did not count.
#[derive(Debug, thiserror::Error)]
enum Unregistered {
    #[error("{}", causes(.0))]
    Unreachable(#[from] reqwest::Error),
    #[error("it answered {0}")]
    Refused(StatusCode),
}

/// An error with its causes: reqwest's own text leaves them out.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What it takes to register.
pub(crate) struct Registrar {
    service: Arc<Service>,
    client: Client,
    listen: SocketAddr,
}

impl Registrar {
    pub fn new(service: Arc<Service>, listen: SocketAddr) -> Result<Self, reqwest::Error> {
        // The token goes where the link file says and nowhere else.
        let client = Client::builder().no_proxy().redirect(Policy::none());
        Ok(Self {
            service,
            client: client.timeout(PATIENCE).build()?,
            listen,
        })
    }

    /// Follows the link file and registers where it says, until the worker drains and that is told.
    pub async fn run(self, link: Arc<LinkFile>) {
        tokio::select! {
            () = self.register(&link) => {}
            () = Arc::clone(&link).follow() => {}
        }
    }

    async fn register(&self, link: &LinkFile) {
        let mut phases = self.service.engine.phases();
        if self.listen.ip().is_unspecified() {
            tracing::warn!(
                listen = %self.listen,
                "this worker does not register: its orchestrator could not know where it is reached; let --listen name an address"
            );
            let _ = phases.wait_for(|&phase| phase == Phase::Draining).await;
            return;
        }
        let mut links = link.subscribe();
        let mut retry = RETRY;
        let mut last = None;
        loop {
            let status = *phases.borrow_and_update();
            let link = links.borrow_and_update().clone();
            let fleet = link.as_ref().map(|link| &link.fleet);
            let orchestrator = fleet.and_then(|fleet| fleet.orchestrator.as_ref());
            let mut next = HEARTBEAT;
            let mut outcome = None;
            if let (Some(fleet), Some(orchestrator)) = (fleet, orchestrator) {
                let registered = self.tell(fleet, orchestrator, status).await;
                if let Ok(heartbeat) = registered {
                    retry = RETRY;
                    next = heartbeat;
                } else {
                    next = retry;
                    retry = (2 * retry).min(HEARTBEAT);
                }
                let registered = registered.map(drop).map_err(|error| error.to_string());
                outcome = Some((orchestrator.clone(), registered));
            }
            if outcome != last {
                outcome.iter().for_each(log);
                last = outcome;
            }
            if status == Phase::Draining {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                _ = phases.changed() => {}
                _ = links.changed() => {}
            }
        }
    }

    /// Registers once; returns when the next time is wanted.
    async fn tell(
        &self,
        link: &FleetLink,
        orchestrator: &BaseUrl,
        status: Phase,
    ) -> Result<Duration, Unregistered> {
        let request = self
            .client
            .post(format!("{orchestrator}/v2/workers/register"))
            .bearer_auth(link.token.expose())
            .json(&self.registration(status));
        let answer = request.send().await?;
        if !answer.status().is_success() {
            return Err(Unregistered::Refused(answer.status()));
        }
        let Registered { heartbeat_ms } = answer.json().await?;
        Ok(Duration::from_millis(heartbeat_ms).clamp(LEAST, HEARTBEAT))
    }

    fn registration(&self, status: Phase) -> Registration {
        let Service { launch, engine, .. } = self.service.as_ref();
        Registration {
            worker_id: launch.worker_id.clone(),
            address: launch.address.clone(),
            fleet: launch.fleet.clone(),
            url: self.listen.into(),
            model: launch.model.clone(),
            model_digest: launch.model_digest,
            device: launch.device,
            status,
            slots: self.service.slots(),
            memory: engine.memory(),
            memory_free: match launch.device {
                Device::Cpu => free_memory(),
                Device::Cuda(_) | Device::Metal(_) => None,
            },
            context_length: engine.text().map(|(_, context)| context as u64),
            us_per_token: engine.us_per_token(),
            version: pool_core::VERSION.to_owned(),
        }
    }
}

fn log((orchestrator, registered): &(BaseUrl, Result<(), String>)) {
    match registered {
        Ok(()) => tracing::info!(%orchestrator, "registered"),
        Err(error) => tracing::warn!(%orchestrator, error, "cannot register; trying again"),
    }
}
