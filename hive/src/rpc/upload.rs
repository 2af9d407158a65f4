//! Content that comes over the connection.

use std::io;
use std::time::{Duration, Instant as Clock};

use pool_core::digest::Sha256;
use pool_core::rpc::{ErrorCode, Event, Outcome};
use tokio::io::AsyncBufRead;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::Replies;
use super::input::Input;
use crate::Hive;
use crate::error::{Result, fail};
use crate::models::{Claim, Incoming, Place};
use crate::rates;

/// Less than this tells nothing of a rate.
const LEAST: u64 = 1_000_000;

/// Takes in one content and answers. Whatever goes wrong with it, exactly the announced bytes are
/// taken from the input, so that the next call is found behind them.
///
/// The error is the connection's: it ended within the content. What came is kept.
pub async fn receive(
    hive: &Hive,
    sha256: Sha256,
    size: u64,
    input: &mut Input<impl AsyncBufRead + Unpin>,
    replies: &Replies,
) -> io::Result<()> {
    let mut incoming = match begin(hive, sha256, size).await {
        Ok(incoming) => incoming,
        Err(error) => {
            replies.finish(Err(error)).await;
            return Ok(());
        }
    };
    let begun = Clock::now();
    let offset = incoming.as_ref().map_or(size, Incoming::offset);
    replies.send(Event::Send { offset }).await;
    let mut left = size - offset;
    let mut is_refused = false;
    while left > 0 {
        let bytes = input.fill().await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        if !is_refused
            && let Some(incoming) = &mut incoming
            && let Err(error) = block_in_place(|| incoming.write(&bytes[..length]))
        {
            is_refused = true;
            replies.finish(Err(error)).await;
        }
        input.consume(length);
        left -= length as u64;
    }
    if !is_refused {
        let stored = block_in_place(|| incoming.map_or(Ok(()), Incoming::finish));
        if stored.is_ok() && size - offset >= LEAST {
            let rate = (size - offset) as f64 / begun.elapsed().as_secs_f64();
            // A rate that cannot be noted is no reason to fail.
            let _ = block_in_place(|| {
                rates::note(&hive.home, |rates| rates.operator = Some(rate as u64))
            });
        }
        replies.finish(stored.map(|()| Outcome::Stored)).await;
    }
    Ok(())
}

/// Waits a while for another connection that brings the same content.
///
/// None when the content is there.
async fn begin(hive: &Hive, sha256: Sha256, size: u64) -> Result<Option<Incoming>> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match block_in_place(|| Claim::take(&hive.home, sha256, size))? {
            Place::Here => return Ok(None),
            Place::Ours(claim) => return block_in_place(|| Incoming::take_up(claim)).map(Some),
            Place::Taken => {}
        }
        if Instant::now() > deadline {
            return Err(fail(
                ErrorCode::InUse,
                format!(
                    "another connection is bringing the content {}",
                    sha256.short()
                ),
                "let it finish, then try again",
            ));
        }
        sleep(Duration::from_millis(50)).await;
    }
}
