//! A model's folder, in Hugging Face layout or with one GGUF file: whether it can be whole, told from names, sizes and the first bytes.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::model::NotAModel;
use crate::path::FilePath;

pub use read::{FolderError, locate, open, read};

/// The weights in one file.
pub const SINGLE: &str = "model.safetensors";

/// Where weights in several files lie.
pub const INDEX: &str = "model.safetensors.index.json";

/// First bytes of a file that [`check_file`] wants to see.
pub const HEAD: usize = 8;

/// Refuses weights that a worker would not find: it opens [`SINGLE`], else what [`INDEX`] names.
pub fn check_names(paths: &[FilePath]) -> Result<(), NotAModel> {
    let has = |name: &str| paths.iter().any(|path| path.as_str() == name);
    if has(SINGLE) || has(INDEX) {
        return Ok(());
    }
    let weights = paths.iter().find(|path| is_weights(path));
    Err(weights.map_or(NotAModel::Missing("*.safetensors"), |path| {
        NotAModel::NoIndex(path.to_string())
    }))
}

/// Refuses weights that end before their header does. `first` holds the first [`HEAD`] bytes, or all that there are.
pub fn check_file(path: &FilePath, first: &[u8], size: u64) -> Result<(), NotAModel> {
    if !is_weights(path) {
        return Ok(());
    }
    let damaged = |reason: String| NotAModel::Damaged {
        file: path.to_string(),
        reason,
    };
    if size == 0 {
        return Err(damaged("it is empty".to_owned()));
    }
    let length = first.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let end = length.and_then(|length| length.checked_add(HEAD as u64));
    if end.is_none_or(|end| end > size) {
        return Err(damaged(format!("it ends early, after {size} bytes")));
    }
    Ok(())
}

/// Of the files of a model, the weights that the text of its [`INDEX`] names and all that are no weights: others are of
/// another form of the model. Refuses an index that names a file which is not among them.
pub fn named_by_index(text: &str, paths: &[FilePath]) -> Result<Vec<FilePath>, NotAModel> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let damaged = |reason: String| NotAModel::Damaged {
        file: INDEX.to_owned(),
        reason,
    };
    let index: Index = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    if shards.is_empty() {
        return Err(damaged("it names no file".to_owned()));
    }
    let there = |shard: &str| {
        let found = paths.iter().find(|path| path.as_str() == shard);
        found.is_some_and(is_weights)
    };
    if let Some(shard) = shards.iter().find(|shard| !there(shard)) {
        return Err(damaged(format!(
            "it names {shard:?}, and there are no such weights"
        )));
    }
    let is_named = |path: &&FilePath| !is_weights(path) || shards.contains(path.as_str());
    Ok(paths.iter().filter(is_named).cloned().collect())
}

fn is_weights(path: &FilePath) -> bool {
    path.as_str().ends_with(".safetensors")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<FilePath> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn weights_that_no_worker_finds_are_refused() {
        let refusal = |names: &[&str]| check_names(&paths(names)).unwrap_err().to_string();
        assert_eq!(refusal(&["config.json"]), "there is no *.safetensors");
        let shard = "model-00001-of-00002.safetensors";
        assert_eq!(
            refusal(&[shard]),
            format!("nothing says what is in {shard}: there is no {INDEX}")
        );
        assert_eq!(check_names(&paths(&[SINGLE])), Ok(()));
        assert_eq!(check_names(&paths(&[INDEX, shard])), Ok(()));
    }

    #[test]
    fn weights_that_end_before_their_header_are_refused() {
        let path: FilePath = SINGLE.parse().unwrap();
        let check = |first: &[u8], size| check_file(&path, first, size);
        let eight = 8_u64.to_le_bytes();
        assert_eq!(check(&eight, 16), Ok(()));
        for (first, size, reason) in [
            (&[][..], 0, "is empty"),
            (&eight[..7], 7, "after 7 bytes"),
            (&eight, 15, "after 15 bytes"),
            (&[0xff; 8], u64::MAX, "ends early"),
        ] {
            let error = check(first, size).unwrap_err().to_string();
            assert!(error.contains(SINGLE) && error.contains(reason), "{error}");
        }
        let other: FilePath = "config.json".parse().unwrap();
        assert_eq!(check_file(&other, &[], 0), Ok(()));
    }

    #[test]
    fn an_index_names_weights_of_the_folder() {
        let there = paths(&["a.safetensors", "config.json", INDEX]);
        let mut more = there.clone();
        more.extend(paths(&["consolidated.safetensors"]));
        let text = r#"{"weight_map": {"x": "a.safetensors"}}"#;
        assert_eq!(named_by_index(text, &more), Ok(there.clone()));
        let check = |text: &str| named_by_index(text, &there);
        for (text, reason) in [
            ("{", "EOF"),
            ("{}", "weight_map"),
            (r#"{"weight_map": {}}"#, "names no file"),
            (r#"{"weight_map": {"x": "b.safetensors"}}"#, "b.safetensors"),
            (r#"{"weight_map": {"x": "config.json"}}"#, "config.json"),
            (r#"{"weight_map": {"x": "../a.safetensors"}}"#, "../a"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains(INDEX) && error.contains(reason), "{error}");
        }
    }
}
