//! Bodies that break, stop, crawl or lie.

use std::io;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures::{Stream, TryStreamExt as _, stream};

use crate::faults::Fault;
use crate::line::Flushes;

/// What happens when so many bytes were given out.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// The connection ends.
    Cut,
    /// Nothing, for ever.
    Stall,
    /// The body is over.
    End,
}

/// What faults do to a body.
#[derive(Debug)]
pub(crate) struct Spoil {
    /// The length that the answer claims.
    pub length: u64,
    stop: Option<(u64, Stop)>,
    rate: Option<u64>,
    flip: Option<u64>,
}

impl Spoil {
    pub fn new(faults: &[Fault], length: u64) -> Self {
        let mut spoil = Self {
            length,
            stop: None,
            rate: None,
            flip: None,
        };
        for &fault in faults {
            match fault {
                Fault::Cut(bytes) => spoil.stop_at(bytes, Stop::Cut),
                Fault::Stall(bytes) => spoil.stop_at(bytes, Stop::Stall),
                Fault::Slow(rate) => spoil.rate = Some(rate.max(1)),
                Fault::Flip => spoil.flip = Some(length / 2),
                Fault::Length(more) => {
                    spoil.length = length.saturating_add_signed(more);
                    let stop = if more > 0 { Stop::Cut } else { Stop::End };
                    spoil.stop_at(length.min(spoil.length), stop);
                }
                Fault::Whole | Fault::Status { .. } | Fault::Loop => {}
            }
        }
        spoil
    }

    /// The first of several stops is the one that counts.
    fn stop_at(&mut self, bytes: u64, stop: Stop) {
        if self.stop.is_none_or(|(first, _)| bytes < first) {
            self.stop = Some((bytes, stop));
        }
    }

    pub fn apply(self, body: Body, flushes: Flushes) -> impl Stream<Item = io::Result<Bytes>> {
        let way = Way {
            spoil: self,
            body: body.into_data_stream(),
            rest: Bytes::new(),
            sent: 0,
            flushes,
        };
        stream::try_unfold(way, Way::next)
    }
}

/// A body on its way out.
struct Way {
    spoil: Spoil,
    body: BodyDataStream,
    /// What the body gave and was not yet sent.
    rest: Bytes,
    sent: u64,
    flushes: Flushes,
}

impl Way {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if let Some((bytes, stop)) = self.spoil.stop
            && bytes == self.sent
        {
            match stop {
                Stop::End => return Ok(None),
                Stop::Stall => std::future::pending().await,
                Stop::Cut => {
                    // What was given out reaches the client before its connection ends.
                    self.flushes.next().await;
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            }
        }
        if self.rest.is_empty() {
            match self.body.try_next().await.map_err(io::Error::other)? {
                Some(piece) => self.rest = piece,
                None => return Ok(None),
            }
        }
        let mut room = self.rest.len() as u64;
        if let Some((bytes, _)) = self.spoil.stop {
            room = room.min(bytes - self.sent);
        }
        if let Some(rate) = self.spoil.rate {
            room = room.min(rate.div_ceil(20));
            tokio::time::sleep(Duration::from_secs_f64(room as f64 / rate as f64)).await;
        }
        let mut piece = self.rest.split_to(room as usize);
        let range = self.sent..self.sent + room;
        if let Some(flip) = self.spoil.flip
            && range.contains(&flip)
        {
            let mut bytes = piece.to_vec();
            bytes[(flip - range.start) as usize] ^= 0xff;
            piece = bytes.into();
        }
        self.sent = range.end;
        Ok(Some((piece, self)))
    }
}
