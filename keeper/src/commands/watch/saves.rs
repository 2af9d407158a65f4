//! Tells when the fleet file or its lock is saved.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::failure::Failure;

/// An editor that saves does several things in a row: they are over when nothing happened for so long.
const QUIET: Duration = Duration::from_millis(200);

/// Follows the folder, not the file: editors put another file in its place.
pub struct Saves {
    events: UnboundedReceiver<()>,
    /// Ends when it is dropped.
    _watcher: RecommendedWatcher,
}

impl Saves {
    pub fn of(file: &Path) -> Result<Self, Failure> {
        let names = [file.to_owned(), file.with_extension("lock")]
            .map(|path| path.file_name().map(OsString::from));
        let (sender, events) = unbounded_channel();
        let told = move |event: notify::Result<Event>| {
            let is_ours = |event: &Event| {
                let paths = event.paths.iter();
                let mut found = paths.map(|path| path.file_name().map(OsString::from));
                !event.kind.is_access() && found.any(|name| names.contains(&name))
            };
            // A watcher that lost count says so by an error.
            if event.as_ref().map_or(true, is_ours) {
                let _ = sender.send(());
            }
        };
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let failure = |error: notify::Error| {
            Failure::new(format!("cannot follow the folder: {error}"))
                .at(folder.display().to_string())
        };
        let mut watcher = notify::recommended_watcher(told).map_err(failure)?;
        watcher
            .watch(folder, RecursiveMode::NonRecursive)
            .map_err(failure)?;
        Ok(Self {
            events,
            _watcher: watcher,
        })
    }

    /// Returns once something was saved.
    pub async fn next(&mut self) {
        if self.events.recv().await.is_none() {
            // Nothing is told any more; rounds go on by the clock.
            std::future::pending::<()>().await;
        }
        while let Ok(Some(())) = timeout(QUIET, self.events.recv()).await {}
    }
}
