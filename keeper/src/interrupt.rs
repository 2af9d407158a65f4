//! Ctrl-C, SIGTERM and SIGHUP: the first asks to stop, the second insists.

use pool_core::machine::ignores_hangup;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;
use crate::failure::Failure;

/// How often the operator asked to stop.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<u32>);

impl Interrupt {
    /// Listens from now on; the signals no longer end the process by themselves.
    pub fn listen() -> Result<Self, Failure> {
        let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
        // Under nohup the end of the terminal is not to end the run.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if !ignores_hangup(&status) {
            kinds.push(SignalKind::hangup());
        }
        let (sender, receiver) = watch::channel(0);
        for kind in kinds {
            let mut signals = signal(kind)
                .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    sender.send_modify(|count| *count += 1);
                }
            });
        }
        Ok(Self(receiver))
    }

    /// Does what may be left off at any moment; an interruption ends it.
    pub async fn before<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.times(1) => {
                Err(Failure::new("interrupted: nothing was done").exit(Exit::INTERRUPTED))
            }
            done = work => done,
        }
    }

    pub fn asked(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Returns once it was asked so many times.
    pub async fn times(&self, count: u32) {
        let mut receiver = self.0.clone();
        // The sender lives as long as the runtime.
        let _ = receiver.wait_for(|asked| *asked >= count).await;
    }
}
