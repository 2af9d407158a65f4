//! Models from a folder of this machine.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pool_core::device::Backend;
use pool_core::digest::Hasher;
use pool_core::folder as parts;
use pool_core::model::{
    CatalogEntry, CatalogFile, Manifest, ModelFacts, ModelFile, NotAModel, Origin, needed_files,
};
use pool_core::name::ModelId;
use pool_core::path::FilePath;
use pool_core::rpc::{ErrorCode, HiveError};

use super::catalog;
use super::content::{self, Incoming};
use crate::error::{Result, fail, io_error};
use crate::home::Home;

/// Bytes of the longest text that is read: the index of a model with many thousand tensors has one.
const LONGEST_TEXT: u64 = 64 << 20;

/// Registers the model in a folder and copies what a worker needs of it into the pool's store.
pub fn import(
    home: &Home,
    id: &ModelId,
    folder: &Path,
    name: Option<String>,
) -> Result<CatalogEntry> {
    let folder = folder
        .canonicalize()
        .map_err(|e| io_error("read", folder, &e))?;
    let manifest = scan(&folder)?;
    let entry = CatalogEntry {
        name: name.unwrap_or_else(|| match folder.file_name() {
            Some(name) => name.to_string_lossy().into_owned(),
            None => id.to_string(),
        }),
        fleet: None,
        source: Origin {
            repo: folder.display().to_string(),
            revision: None,
            files: Vec::new(),
        },
        path: String::new(),
        digest: manifest.digest(),
        size_bytes: manifest.size(),
        files: manifest
            .files
            .into_iter()
            .map(|file| CatalogFile {
                file,
                verified_at: None,
            })
            .collect(),
        downloaded: false,
        backends: Backend::ALL.to_vec(),
        facts: manifest.facts,
        id: id.clone(),
    };
    let missing = catalog::register(&home.lock()?, entry)?;
    for file in missing {
        copy(home, &folder, &file)?;
    }
    catalog::publish(home, id)
}

fn scan(folder: &Path) -> Result<Manifest> {
    let not_a_model = |reason: NotAModel| {
        fail(
            ErrorCode::BadRequest,
            format!("{} is not a model: {reason}", folder.display()),
            "a model is a folder in Hugging Face layout: config.json, tokenizer.json, *.safetensors",
        )
    };
    let failed = |path: &Path, e: &io::Error| io_error("read", path, e);
    let mut paths: Vec<FilePath> = Vec::new();
    for entry in folder.read_dir().map_err(|e| failed(folder, &e))? {
        let name = entry.map_err(|e| failed(folder, &e))?.file_name();
        paths.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    let text = |name: &str| {
        let path = folder.join(name);
        text(&path).map_err(|e| failed(&path, &e))
    };
    let needed = needed_files(&paths).map_err(not_a_model)?;
    let has = |name: &str| needed.iter().any(|path| path.as_str() == name);
    if has(parts::INDEX) && !has(parts::SINGLE) {
        parts::check_index(&text(parts::INDEX)?, &needed).map_err(not_a_model)?;
    }
    let mut files = Vec::new();
    for path in needed {
        let full = folder.join(path.as_str());
        let mut hasher = Hasher::default();
        let mut size = 0;
        let mut first = Vec::with_capacity(parts::HEAD);
        let mut file = open(&full).map_err(|e| failed(&full, &e))?;
        content::pour(&mut file, |bytes| {
            let missing = parts::HEAD - first.len();
            first.extend_from_slice(&bytes[..bytes.len().min(missing)]);
            hasher.update(bytes);
            size += bytes.len() as u64;
        })
        .map_err(|e| failed(&full, &e))?;
        parts::check_file(&path, &first, size).map_err(not_a_model)?;
        let sha256 = hasher.finish();
        files.push(ModelFile { path, size, sha256 });
    }
    let facts = ModelFacts::from_config(&text("config.json")?).map_err(not_a_model)?;
    Ok(Manifest::new(files, facts))
}

/// Opens a file that has an end: a pipe or a device may never give what is asked of it.
fn open(path: &Path) -> io::Result<File> {
    if path.metadata()?.is_file() {
        return File::open(path);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is not a regular file",
    ))
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?
        .take(LONGEST_TEXT + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_TEXT {
        let reason = format!("it is longer than {LONGEST_TEXT} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(text)
}

fn copy(home: &Home, folder: &Path, file: &ModelFile) -> Result<()> {
    let busy = || {
        fail(
            ErrorCode::InUse,
            format!("the content of {} is just being uploaded", file.path),
            "wait for it, then register again",
        )
    };
    let mut incoming = Incoming::begin(home, file.sha256, file.size)?.ok_or_else(busy)?;
    let path = folder.join(file.path.as_str());
    let failed = |e: io::Error| io_error("read", &path, &e);
    let mut source = open(&path).map_err(failed)?;
    io::Seek::seek(&mut source, io::SeekFrom::Start(incoming.offset())).map_err(failed)?;
    // Never more than was announced, should the file have grown meanwhile.
    let mut rest = source.take(file.size - incoming.offset());
    let mut written: std::result::Result<(), HiveError> = Ok(());
    content::pour(&mut rest, |bytes| {
        if written.is_ok() {
            written = incoming.write(bytes);
        }
    })
    .map_err(failed)?;
    written?;
    incoming.finish()
}
