//! Files that are whole or not there: written atomically, and never overwritten when not understood.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::str::FromStr;

use pool_core::rpc::{ErrorCode, HiveError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Result, fail, io_error};

/// Starts the names of files that are being written.
pub const TEMPORARY: &str = ".tmp-";

/// Writes a value as JSON: the old file or the whole new one is there, also after a power cut.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| io_error("write", path, &io::Error::other(e)))?;
    text.push(b'\n');
    write(path, &text)
}

/// Writes a file: the old one or the whole new one is there, also after a power cut.
pub fn write(path: &Path, text: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(folder)?;
        file.write_all(text)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(folder)
    };
    write().map_err(|e| io_error("write", path, &e))
}

/// Removes what broken-off writes left in a folder. To be called by the only one who writes there.
pub fn remove_broken_off(folder: &Path) -> Result<()> {
    let remove = || {
        for entry in folder.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|e| io_error("clean up", folder, &e))
}

/// The names in a folder that are text, in no order. A folder that is not there has none.
pub fn entries(folder: &Path) -> Result<Vec<String>> {
    let list = || {
        let names = folder.read_dir()?.map(|entry| Ok(entry?.file_name()));
        names.collect::<io::Result<Vec<_>>>()
    };
    match list() {
        Ok(names) => Ok(names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(io_error("read", folder, &e)),
    }
}

/// What the JSON files of a folder are named for, in no order; of other files nothing.
pub fn names<T: FromStr>(folder: &Path) -> Result<Vec<T>> {
    let entries = entries(folder)?;
    let names = entries.iter().filter_map(|name| name.strip_suffix(".json"));
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// Makes names that were created, changed or removed in a folder last.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder for its user alone, where there is none.
pub fn make_private(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| io_error("make", path, &e))
}

/// Removes a file that may be gone already, so that a power cut does not bring it back.
pub fn remove(path: &Path) -> Result<()> {
    let removed = std::fs::remove_file(path);
    let last = |()| sync_folder(path.parent().unwrap_or(path));
    match removed.and_then(last) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, &e)),
        _ => Ok(()),
    }
}

/// Reads a JSON file that carries a `version`; none when there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path, version: u32) -> Result<Option<T>> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }

    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("read", path, &e)),
    };
    let found = serde_json::from_slice::<Versioned>(&text).map_err(|e| corrupt(path, &e))?;
    if found.version != version {
        return Err(fail(
            ErrorCode::Corrupt,
            format!(
                "{} has version {}, this rbee-hive reads version {version}",
                path.display(),
                found.version
            ),
            "it was left as it is; use the rbee-hive that wrote it, or a later one",
        ));
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| corrupt(path, &e))
}

/// A file, or an entry of one, that says of itself what its name does not.
pub fn misnamed(path: &Path, says: &str) -> HiveError {
    fail(
        ErrorCode::Corrupt,
        format!(
            "{} holds what belongs to {says} under another name",
            path.display()
        ),
        "it was left as it is; was it copied or edited by hand? move it away",
    )
}

fn corrupt(path: &Path, error: &serde_json::Error) -> HiveError {
    // serde_json ends its text with the place, which stands with the file's name here.
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    fail(
        ErrorCode::Corrupt,
        format!(
            "{}:{}:{} does not parse: {reason}",
            path.display(),
            error.line(),
            error.column()
        ),
        "it was left as it is; repair it, or move it away if what it records is not needed",
    )
}

#[cfg(test)]
mod tests {
    use pool_core::model::Catalog;

    use super::*;

    #[test]
    fn what_does_not_parse_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        assert_eq!(read_json::<Catalog>(&path, 1).unwrap(), None);
        for (text, said) in [
            (
                "{\"version\": 1,\n  \"models\": {",
                "catalog.json:2:13 does not parse: EOF",
            ),
            (
                "{\"version\": 7}",
                "has version 7, this rbee-hive reads version 1",
            ),
            ("{\"models\": {}}", "missing field `version`"),
            ("{\"version\": 1}", "missing field `models`"),
            ("", "catalog.json:1:0 does not parse"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read_json::<Catalog>(&path, 1).unwrap_err();
            assert_eq!(error.code, ErrorCode::Corrupt);
            assert!(error.message.contains(said), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn what_was_written_reads_back_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        for _ in 0..2 {
            write_json(&path, &Catalog::default()).unwrap();
            assert_eq!(read_json(&path, 1).unwrap(), Some(Catalog::default()));
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".tmp-x1", "catalog.json", ".keep"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_broken_off(folder.path()).unwrap();
        let left = folder.path().read_dir().unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".keep", "catalog.json"]);
    }
}
