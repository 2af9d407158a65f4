//! What a test holds.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::faults::Faults;
use crate::seen::Seen;
use crate::serve::{listen, serve};
use crate::settings::Settings;
use crate::shared::{Shared, lock};

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum MockError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the system refused a thread or a socket")]
    System(#[from] io::Error),
}

/// A worker that serves on a thread of its own. Dropped, it is gone at once, as one that was killed.
pub struct MockWorker {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl MockWorker {
    pub fn start(mut settings: Settings) -> Result<Self, MockError> {
        let faults = std::mem::take(&mut settings.faults);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let address = settings.listen;
        let listener = {
            let _inside = runtime.enter();
            listen(address).map_err(|source| MockError::Listen { address, source })?
        };
        let shared = Arc::new(Shared::new(settings, listener.local_addr()?));
        let (stop, stopped) = oneshot::channel();
        let server = serve(listener, Arc::clone(&shared), stopped);
        let thread = std::thread::Builder::new()
            .name("mock-worker".to_owned())
            .spawn(move || runtime.block_on(server))?;
        let worker = Self {
            shared,
            stop: Some(stop),
            thread: Mutex::new(Some(thread)),
        };
        worker.set_faults(faults);
        Ok(worker)
    }

    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Such as `http://127.0.0.1:4321`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Takes the place of the faults that there are.
    pub fn set_faults(&self, mut faults: Faults) {
        let refuse = faults.refuse_ms.take();
        *self.shared.faults() = faults;
        if let Some(milliseconds) = refuse {
            self.shared.refuse_for(Duration::from_millis(milliseconds));
        }
    }

    pub fn seen(&self) -> Seen {
        self.shared.seen()
    }

    /// What was seen until now is not told any more.
    pub fn forget(&self) {
        self.shared.forget();
    }

    /// Takes nothing more, and ends when what runs has ended: as `POST /shutdown`.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Returns when the worker has ended.
    pub fn wait(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // It ends by itself, or panicked and said so.
            let _ = thread.join();
        }
    }
}

impl Drop for MockWorker {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.wait();
    }
}
