//! Reads the small files of a model folder.

use std::io::ErrorKind;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::ModelError;

/// The text of a file, or none where there is no such file.
pub(crate) fn text(dir: &Path, file: &str) -> Result<Option<String>, ModelError> {
    let path = dir.join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ModelError::Unreadable { path, source }),
    }
}

pub(crate) fn required_text(dir: &Path, file: &'static str) -> Result<String, ModelError> {
    text(dir, file)?.ok_or_else(|| ModelError::Missing {
        dir: dir.to_owned(),
        file,
    })
}

/// The JSON of a file, or none where there is no such file.
pub(crate) fn json<T: DeserializeOwned>(dir: &Path, file: &str) -> Result<Option<T>, ModelError> {
    let parse = |text: String| {
        serde_json::from_str(&text).map_err(|error| ModelError::damaged(&dir.join(file), error))
    };
    text(dir, file)?.map(parse).transpose()
}
