//! One stream: asked for again and again until its range is here.

use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt as _;
use pool_core::rpc::ErrorCode;
use tokio::task::{JoinHandle, block_in_place, spawn_blocking};
use tokio::time::sleep;

use super::content::Wanted;
use super::joined;
use super::supplier::{Failure, Supplier};
use crate::error::{Result, fail};
use crate::hub::{Patience, Trouble};
use crate::models::Parts;

/// Bytes that are written at a time.
const WRITTEN: usize = 256 << 10;

/// Fewer bytes of an answer that was cut are no progress: a page that says why there is no file has as many.
const PROGRESS: u64 = 64 << 10;

/// Bytes after which what was written is made to last. Twice as many may be lost when the power is.
const KEPT: u64 = 8 << 20;

/// Streams a range of a content to its place.
pub async fn stream(wanted: Arc<Wanted>, parts: Arc<Parts>, range: Range<u64>) -> Result<()> {
    // The semaphore is never closed.
    let _permit = wanted.job.streams.acquire().await;
    let is_all = range == (0..wanted.file.size);
    let mut segment = Segment {
        wanted: &wanted,
        at: range.start,
        end: range.end,
        kept: range.start,
        keeping: None,
        parts,
    };
    let mut patience = Patience::default();
    let mut asked = None;
    while segment.at < segment.end {
        let Some((place, supplier)) = wanted.supplier() else {
            break;
        };
        if asked != Some(place) {
            asked = Some(place);
            patience = if supplier.is_hub() {
                Patience::default()
            } else {
                Patience::least()
            };
        }
        let before = segment.at;
        let Err(ended) = segment.read(supplier).await else {
            continue;
        };
        let failure = match ended {
            Ended::Here(error) => return Err(error),
            Ended::There(failure) => failure,
        };
        if segment.at >= before + PROGRESS {
            patience.reset();
        }
        match patience.after(failure.trouble) {
            Some(pause) => {
                wanted.job.pace.pauses(true);
                sleep(pause).await;
                wanted.job.pace.pauses(false);
            }
            None => wanted.give_up(place, segment.parts.here(), failure.error)?,
        }
    }
    // The store makes a whole content last by itself.
    if is_all {
        Ok(())
    } else {
        segment.keep_rest().await
    }
}

struct Segment<'a> {
    wanted: &'a Wanted,
    parts: Arc<Parts>,
    /// The next byte.
    at: u64,
    end: u64,
    /// Up to here it is, or is about to be, on the disk.
    kept: u64,
    keeping: Option<JoinHandle<Result<()>>>,
}

/// Where a stream failed.
enum Ended {
    Here(pool_core::rpc::HiveError),
    There(Failure),
}

impl Segment<'_> {
    /// Reads what one answer gives of the rest.
    async fn read(&mut self, supplier: &Supplier) -> std::result::Result<(), Ended> {
        let length = self.end - self.at;
        let begun = self.at;
        let opened = supplier.open(&self.wanted.file, self.at..self.end).await;
        let mut body = opened.map_err(Ended::There)?;
        let mut skip = body.skip;
        let mut buffer = Vec::with_capacity(WRITTEN);
        let mut came = 0;
        let ended = loop {
            match body.stream.next().await {
                None => break None,
                Some(Err(failure)) => break Some(failure),
                Some(Ok(bytes)) => {
                    came += bytes.len() as u64;
                    let skipped = skip.min(bytes.len() as u64);
                    skip -= skipped;
                    let bytes = &bytes[skipped as usize..];
                    // Never more than was asked for, whatever comes.
                    let room = self.end - self.at - buffer.len() as u64;
                    let taken = room.min(bytes.len() as u64) as usize;
                    buffer.extend_from_slice(&bytes[..taken]);
                    if buffer.len() >= WRITTEN {
                        self.write(&mut buffer, supplier).await?;
                    }
                    if self.at + buffer.len() as u64 == self.end {
                        break None;
                    }
                }
            }
        };
        self.write(&mut buffer, supplier).await?;
        if body.skip > 0 && came == length {
            supplier.gave_range();
        }
        if self.at == self.end {
            return Ok(());
        }
        Err(Ended::There(
            ended.unwrap_or_else(|| self.cut(supplier, self.at - begun)),
        ))
    }

    fn cut(&self, supplier: &Supplier, came: u64) -> Failure {
        let (name, path) = (supplier.name(), &self.wanted.file.path);
        let wanted = self.end - self.at + came;
        Failure {
            error: fail(
                ErrorCode::HubFailed,
                format!("{name} ends {path} early: {came} of {wanted} bytes came"),
                "try again later, or let HF_ENDPOINT name a mirror",
            ),
            trouble: Trouble::Passing(None),
        }
    }

    async fn write(
        &mut self,
        buffer: &mut Vec<u8>,
        supplier: &Supplier,
    ) -> std::result::Result<(), Ended> {
        if buffer.is_empty() {
            return Ok(());
        }
        block_in_place(|| self.parts.write(self.at, buffer)).map_err(Ended::Here)?;
        self.at += buffer.len() as u64;
        self.wanted
            .job
            .pace
            .came(buffer.len() as u64, supplier.is_hub());
        buffer.clear();
        if self.at - self.kept >= KEPT {
            self.keep().await.map_err(Ended::Here)?;
        }
        Ok(())
    }

    /// Begins to make last what was written, once the time before that is done.
    async fn keep(&mut self) -> Result<()> {
        if let Some(keeping) = self.keeping.take() {
            joined(keeping.await)?;
        }
        let (parts, range) = (Arc::clone(&self.parts), self.kept..self.at);
        self.kept = self.at;
        self.keeping = Some(spawn_blocking(move || parts.keep(&range)));
        Ok(())
    }

    async fn keep_rest(mut self) -> Result<()> {
        self.keep().await?;
        match self.keeping.take() {
            Some(keeping) => joined(keeping.await),
            None => Ok(()),
        }
    }
}
