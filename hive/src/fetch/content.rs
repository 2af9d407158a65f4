//! One content: its streams, its digest, its place in the store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pool_core::digest::{Hasher, Sha256};
use pool_core::model::ModelFile;
use pool_core::rpc::{ErrorCode, HiveError, Progress};
use pool_core::units;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, block_in_place, spawn_blocking};
use tokio::time::sleep;

use super::pace::Pace;
use super::supplier::Supplier;
use super::{joined, segment};
use crate::error::{Result, fail};
use crate::home::Home;
use crate::models::{Claim, Parts, Place};

/// Streams at the same time, over all files.
const STREAMS: usize = 8;

/// Files that are brought at the same time.
const OPEN: usize = 16;

/// Bytes that are asked for at once.
const SEGMENT: u64 = 64 << 20;

/// Bytes that are hashed before the next look at how far the content reaches.
const HASHED: u64 = 64 << 20;

/// How often somebody else's progress is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What all contents of a fetch share.
#[derive(Debug)]
pub struct Job {
    home: Home,
    suppliers: Vec<Supplier>,
    pub streams: Semaphore,
    pub pace: Pace,
    /// Files that are open at the same time: each takes two descriptors, and each stream one.
    open: Semaphore,
    /// Contents that were found right and published.
    came: Mutex<Vec<Sha256>>,
    /// Bytes that may still be asked of the hub.
    allowed: Mutex<u64>,
    notes: Mutex<Vec<String>>,
}

/// A content and those who may give it, in the order in which they are asked.
#[derive(Debug)]
pub struct Wanted {
    pub job: Arc<Job>,
    pub file: ModelFile,
    candidates: Vec<usize>,
    /// The place among the candidates of the one that is asked now.
    asked: AtomicUsize,
}

impl Job {
    pub fn new(
        home: Home,
        suppliers: Vec<Supplier>,
        pace: Pace,
        most_from_hub: Option<u64>,
    ) -> Self {
        Self {
            home,
            suppliers,
            streams: Semaphore::new(STREAMS),
            pace,
            open: Semaphore::new(OPEN),
            came: Mutex::default(),
            allowed: Mutex::new(most_from_hub.unwrap_or(u64::MAX)),
            notes: Mutex::default(),
        }
    }

    pub fn progress(&self) -> Progress {
        self.pace.progress()
    }

    /// What went wrong and was got around, each once.
    pub fn notes(&self) -> Vec<String> {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Contents that were found right and published.
    pub fn came(&self) -> Vec<Sha256> {
        self.came
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets aside what is still to come of a file from the hub, if it may.
    fn allow(&self, file: &ModelFile, here: u64) -> Result<()> {
        let bytes = file.size.saturating_sub(here);
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        match allowed.checked_sub(bytes) {
            Some(rest) => {
                *allowed = rest;
                Ok(())
            }
            None => Err(fail(
                ErrorCode::TooMuch,
                format!(
                    "{} of {} would come from the hub, which the plan did not say, and --max-download allows {} more",
                    units::bytes(bytes),
                    file.path,
                    units::bytes(*allowed)
                ),
                "apply again: the plan then says what is to be downloaded",
            )),
        }
    }

    fn note(&self, text: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&text) {
            notes.push(text);
        }
    }
}

impl Wanted {
    /// Who is asked now, and the place that this has among the candidates.
    pub fn supplier(&self) -> Option<(usize, &Supplier)> {
        let place = self.asked.load(Ordering::Relaxed);
        let index = self.candidates.get(place)?;
        Some((place, self.job.suppliers.get(*index)?))
    }

    /// The one at this place gives no more: the next is asked for what is not `here`. The last one's error ends the fetch.
    pub fn give_up(&self, place: usize, here: u64, error: HiveError) -> Result<()> {
        let next = self.candidates.get(place + 1);
        let next = next.and_then(|index| self.job.suppliers.get(*index));
        let Some(next) = next else {
            return Err(error);
        };
        let moved =
            self.asked
                .compare_exchange(place, place + 1, Ordering::Relaxed, Ordering::Relaxed);
        if moved.is_ok() {
            if next.is_hub() {
                self.job.allow(&self.file, here)?;
            }
            let (file, next) = (&self.file.path, next.name());
            self.job.note(format!(
                "{}; {file} comes from {next} instead",
                error.message
            ));
        }
        Ok(())
    }
}

/// Brings a content into the store. Returns the file when nobody gives it.
pub async fn bring(job: Arc<Job>, file: ModelFile) -> Result<Option<ModelFile>> {
    // The semaphore is never closed.
    let _permit = job.open.acquire().await;
    let take = || Claim::take_named(&job.home, file.sha256, file.size);
    let mut place = block_in_place(take)?;
    let mut candidates: Vec<usize> = (0..job.suppliers.len())
        .filter(|&index| job.suppliers[index].gives(&file))
        .collect();
    let mut was_wrong = false;
    let mut waits = false;
    loop {
        if waits != matches!(place, Place::Taken) {
            waits = !waits;
            job.pace.waits(waits);
        }
        let claim = match place {
            Place::Here => {
                job.pace.found(file.size);
                job.pace.file_is_whole();
                return Ok(None);
            }
            Place::Taken => {
                sleep(LOOK).await;
                place = block_in_place(take)?;
                continue;
            }
            Place::Ours(_) if candidates.is_empty() => return Ok(Some(file)),
            Place::Ours(claim) => claim,
        };
        let parts = Arc::new(block_in_place(|| Parts::open(claim))?);
        let wanted = Arc::new(Wanted {
            job: Arc::clone(&job),
            file: file.clone(),
            candidates: candidates.clone(),
            asked: AtomicUsize::new(0),
        });
        if wanted.supplier().is_some_and(|(_, first)| first.is_hub()) {
            job.allow(&file, parts.here())?;
        }
        let found = match streams(&wanted, &parts).await {
            Ok(found) => found,
            // The operator may have what no pool gives.
            Err(error)
                if is_about_source(&error) && !job.suppliers.iter().any(Supplier::is_hub) =>
            {
                job.note(error.message);
                return Ok(Some(file));
            }
            Err(error) => return Err(error),
        };
        let error = match block_in_place(|| parts.publish(found)) {
            Ok(()) => {
                job.pace.file_is_whole();
                job.came
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(file.sha256);
                return Ok(None);
            }
            Err(error) => error,
        };
        let blamed = wanted
            .supplier()
            .map(|(place, supplier)| (place, supplier.name(), supplier.is_hub()));
        let Some((place_of_it, name, is_hub)) =
            blamed.filter(|_| error.code == ErrorCode::WrongContent)
        else {
            return Err(error);
        };
        if is_hub && was_wrong {
            return Err(HiveError {
                message: format!("{name} gave {} twice, and {}", file.path, error.message),
                help: Some("if `rbee lock` says that fleet.lock is right, the hub or its mirror has a fault".into()),
                ..error
            });
        }
        job.note(format!(
            "{name} gave {} with wrong bytes: it is brought again",
            file.path
        ));
        job.pace.lost(file.size);
        // The hub has a second try; a pool that has damaged content does not.
        if is_hub {
            was_wrong = true;
        } else {
            candidates.remove(place_of_it);
        }
        drop(parts);
        place = block_in_place(take)?;
    }
}

fn is_about_source(error: &HiveError) -> bool {
    matches!(
        error.code,
        ErrorCode::Io | ErrorCode::HubFailed | ErrorCode::HubRefused | ErrorCode::NotFound
    )
}

/// Streams all that is missing, and computes the digest behind it.
async fn streams(wanted: &Arc<Wanted>, parts: &Arc<Parts>) -> Result<Sha256> {
    let mut streams = JoinSet::new();
    for gap in parts.gaps(SEGMENT) {
        streams.spawn(segment::stream(Arc::clone(wanted), Arc::clone(parts), gap));
    }
    let mut digest = JoinSet::new();
    digest.spawn(hash(Arc::clone(parts), wanted.file.size));
    while let Some(ended) = streams.join_next().await {
        joined(ended)?;
    }
    match digest.join_next().await {
        Some(digest) => joined(digest),
        None => Ok(Hasher::default().finish()),
    }
}

/// Follows the content from its beginning to its end.
async fn hash(parts: Arc<Parts>, size: u64) -> Result<Sha256> {
    let mut prefix = parts.prefix();
    let mut hasher = Hasher::default();
    let mut hashed = 0;
    while hashed < size {
        let Ok(reached) = prefix
            .wait_for(|reached| *reached > hashed)
            .await
            .map(|r| *r)
        else {
            break;
        };
        let range = hashed..reached.min(hashed + HASHED);
        hashed = range.end;
        let parts = Arc::clone(&parts);
        let task = spawn_blocking(move || {
            parts.hash(&mut hasher, range)?;
            Ok(hasher)
        });
        hasher = joined(task.await)?;
    }
    Ok(hasher.finish())
}
