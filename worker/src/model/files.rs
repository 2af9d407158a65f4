//! Opens the files of a model folder, and reads the small ones.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::ModelError;

/// Bytes of the longest text that is read. The largest vocabularies make some 40 MB.
const LONGEST_TEXT: u64 = 256 << 20;

/// Opens a file that has an end: no pipe and no device, which may never give what is asked of them.
pub(crate) fn open(path: &Path) -> Result<File, ModelError> {
    regular(path)?;
    File::open(path).map_err(|source| unreadable(path, source))
}

/// Whether a path leads, through any links, to a file that has an end.
fn regular(path: &Path) -> Result<(), ModelError> {
    let metadata = path.metadata().map_err(|source| unreadable(path, source))?;
    if metadata.is_file() {
        return Ok(());
    }
    let kind = if metadata.is_dir() {
        ErrorKind::IsADirectory
    } else {
        ErrorKind::InvalidInput
    };
    let source = io::Error::new(kind, "it is not a regular file");
    Err(unreadable(path, source))
}

fn unreadable(path: &Path, source: io::Error) -> ModelError {
    let path = path.to_owned();
    ModelError::Unreadable { path, source }
}

/// The text of a file, or none where there is no such file.
pub(crate) fn text(dir: &Path, file: &str) -> Result<Option<String>, ModelError> {
    let path = dir.join(file);
    let open = match open(&path) {
        Err(ModelError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(None);
        }
        open => open?,
    };
    let mut text = String::new();
    let mut limited = open.take(LONGEST_TEXT + 1);
    let read = limited.read_to_string(&mut text);
    read.map_err(|source| unreadable(&path, source))?;
    if text.len() as u64 > LONGEST_TEXT {
        let reason = format!("it is longer than {LONGEST_TEXT} bytes");
        return Err(ModelError::damaged(&path, reason));
    }
    Ok(Some(text))
}

/// The JSON of a file, or none where there is no such file.
pub(crate) fn json<T: DeserializeOwned>(dir: &Path, file: &str) -> Result<Option<T>, ModelError> {
    let parse = |text: String| {
        serde_json::from_str(&text).map_err(|error| ModelError::damaged(&dir.join(file), error))
    };
    text(dir, file)?.map(parse).transpose()
}
