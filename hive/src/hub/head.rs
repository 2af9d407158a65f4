//! What a GGUF file of the hub says of itself, from its first bytes.

use std::io::{self, Read};
use std::path::Path;

use bytes::{Buf as _, Bytes};
use futures::TryStreamExt as _;
use pool_core::gguf;
use pool_core::model::ModelFacts;
use pool_core::path::FilePath;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::Repo;
use super::resolve::ask;
use crate::error::Result;

/// Reads the head of a file of `size` bytes, and no more of it than that takes.
pub(super) async fn facts(
    repo: &Repo,
    path: &FilePath,
    size: u64,
) -> Result<std::result::Result<ModelFacts, gguf::Error>> {
    ask(repo, || async {
        let end = size.clamp(1, gguf::LONGEST_HEAD);
        let (_, mut stream) = repo.stream(path, 0..end).await?;
        let (sender, pieces) = mpsc::channel(4);
        let arriving = Arriving {
            pieces,
            rest: Bytes::new(),
        };
        let name = path.clone();
        let reading =
            spawn_blocking(move || ModelFacts::from_gguf(Path::new(name.as_str()), size, arriving));
        while let Some(bytes) = stream.try_next().await? {
            // The head is over.
            if sender.send(bytes).await.is_err() {
                break;
            }
        }
        drop(sender);
        reading
            .await
            .map_err(|e| hf_hub::HFError::Other(e.to_string()))
    })
    .await
}

/// Bytes that come from elsewhere.
struct Arriving {
    pieces: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let length = self.rest.len().min(to.len());
        self.rest.copy_to_slice(&mut to[..length]);
        Ok(length)
    }
}
