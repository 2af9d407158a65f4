//! What happens because time passes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Orchestrator;
use super::turns::Ended;
use crate::core::Effect;

/// The longest sleep; whatever is forgotten is noticed after it.
const LONGEST_MS: u64 = 1000;

/// How often files are looked at that may change.
const LOOK: Duration = Duration::from_secs(1);

/// How often ended tasks that are too many or too old leave the store.
const TIDY: Duration = Duration::from_secs(30);

/// Ticks when something is due, for as long as the daemon lives.
pub async fn run(orchestrator: Arc<Orchestrator>) {
    let mut tidied = tokio::time::Instant::now();
    let mut looked = tidied;
    loop {
        let now = orchestrator.now();
        let due = {
            let mut state = orchestrator.state();
            for effect in state.core.tick(now) {
                match effect {
                    Effect::Expired { task, failure, .. } => {
                        orchestrator.end(&mut state, now, &task, Ended::Failed(failure));
                    }
                    Effect::WorkerGone { worker } => {
                        tracing::warn!(%worker, "worker is gone");
                        state.lose(&worker);
                    }
                }
            }
            orchestrator.dispatch(&mut state, now);
            state.core.next_wakeup(now).unwrap_or(u64::MAX)
        };
        let until = due.clamp(now.mono_ms + 1, now.mono_ms + LONGEST_MS);
        orchestrator.sleeps_until.store(until, Ordering::Relaxed);
        let sleep = tokio::time::sleep(Duration::from_millis(until - now.mono_ms));
        tokio::select! {
            () = sleep => {}
            () = orchestrator.wake.notified() => {}
        }
        if looked.elapsed() > LOOK {
            looked = tokio::time::Instant::now();
            orchestrator.poll_files();
            orchestrator.keep_promised();
        }
        if tidied.elapsed() > TIDY {
            tidied = tokio::time::Instant::now();
            if let Err(error) = orchestrator.store.forget(orchestrator.now().unix_ms).await {
                tracing::warn!(%error, "ended tasks cannot be forgotten");
            }
        }
    }
}
