//! Ctrl-C and SIGTERM: the first asks to stop, the second insists.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often the operator asked to stop.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<u32>);

impl Interrupt {
    /// Listens from now on; the signals no longer end the process by themselves.
    pub fn listen() -> std::io::Result<Self> {
        let mut int = signal(SignalKind::interrupt())?;
        let mut term = signal(SignalKind::terminate())?;
        let (sender, receiver) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self(receiver))
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
