//! A model on this machine, a folder or one GGUF file: what of it a worker needs.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use super::{HEAD, INDEX, check_file, named_by_index};
use crate::digest::Hasher;
use crate::gguf;
use crate::model::{
    Manifest, ModelFacts, ModelFile, NotAModel, gguf_file, needed_file, needed_files,
};
use crate::path::FilePath;

/// Bytes of the longest text that is read: the index of a model with many thousand tensors has one.
const LONGEST_TEXT: u64 = 64 << 20;

/// Why a folder gives no model.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a model: {reason}", dir.display())]
    NotAModel { dir: PathBuf, reason: NotAModel },
}

/// The files that a worker needs, each with its digest, and what config.json or the GGUF file says.
///
/// `at` is the model's folder, or the GGUF file that is the model.
pub fn read(at: &Path) -> Result<Manifest, FolderError> {
    let not_a_model = |reason| FolderError::NotAModel {
        dir: at.to_owned(),
        reason,
    };
    let needed = if is_gguf(at) {
        let name = at.file_name().and_then(|name| name.to_str()?.parse().ok());
        let name: FilePath = name.ok_or_else(|| io_error(at)(ErrorKind::InvalidFilename.into()))?;
        needed_file(std::slice::from_ref(&name), &name)
    } else {
        needed_files(&list(at)?)
    };
    let mut needed = needed.map_err(not_a_model)?;
    let text = |name: &str| {
        let path = at.join(name);
        text(&path).map_err(io_error(&path))
    };
    let facts = match gguf_file(&needed) {
        Some(file) => gguf_facts(&locate(at, file), file).map_err(|error| match error {
            gguf::Error::Unreadable { source, .. } => io_error(&locate(at, file))(source),
            error => not_a_model(NotAModel::Gguf(error.to_string())),
        })?,
        None => ModelFacts::from_config(&text("config.json")?).map_err(not_a_model)?,
    };
    if needed.iter().any(|path| path.as_str() == INDEX) {
        needed = named_by_index(&text(INDEX)?, &needed).map_err(not_a_model)?;
    }
    let mut files = Vec::new();
    for path in needed {
        let at = locate(at, &path);
        let (file, first) = hash(&at, path).map_err(io_error(&at))?;
        check_file(&file.path, &first, file.size).map_err(not_a_model)?;
        files.push(file);
    }
    Ok(Manifest::new(files, facts))
}

/// Where a file of the model that was read from `at` lies.
pub fn locate(at: &Path, file: &FilePath) -> PathBuf {
    if is_gguf(at) {
        at.to_owned()
    } else {
        at.join(file.as_str())
    }
}

fn is_gguf(at: &Path) -> bool {
    at.extension().is_some_and(|it| it == "gguf") && !at.is_dir()
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { path, source }
}

fn list(dir: &Path) -> Result<Vec<FilePath>, FolderError> {
    let mut paths = Vec::new();
    for entry in dir.read_dir().map_err(io_error(dir))? {
        let name = entry.map_err(io_error(dir))?.file_name();
        // What has no safe name is nothing that a worker needs.
        paths.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    Ok(paths)
}

fn gguf_facts(at: &Path, file: &FilePath) -> Result<ModelFacts, gguf::Error> {
    let path = Path::new(file.as_str());
    let unreadable = |source| gguf::Error::unreadable(path, source);
    let source = open(at).map_err(unreadable)?;
    let size = source.metadata().map_err(unreadable)?.len();
    ModelFacts::from_gguf(path, size, source)
}

/// Opens a file that has an end: a pipe or a device may never give what is asked of it.
pub fn open(path: &Path) -> io::Result<File> {
    if path.metadata()?.is_file() {
        return File::open(path);
    }
    Err(io::Error::new(
        ErrorKind::InvalidInput,
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
        return Err(io::Error::new(ErrorKind::FileTooLarge, reason));
    }
    Ok(text)
}

/// The digest of a file, and its first bytes.
fn hash(at: &Path, path: FilePath) -> io::Result<(ModelFile, Vec<u8>)> {
    let mut file = open(at)?;
    let mut hasher = Hasher::default();
    let mut first = Vec::with_capacity(HEAD);
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            let sha256 = hasher.finish();
            return Ok((ModelFile { path, size, sha256 }, first));
        }
        let missing = HEAD - first.len();
        first.extend_from_slice(&buffer[..count.min(missing)]);
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::SINGLE;
    use crate::model::Format;

    fn tiny() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/models/tiny-llama");
        for entry in std::fs::read_dir(tiny).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        dir
    }

    fn refusal(change: impl FnOnce(&Path)) -> String {
        let dir = tiny();
        read(dir.path()).unwrap();
        change(dir.path());
        read(dir.path()).unwrap_err().to_string()
    }

    #[test]
    fn what_may_never_end_is_refused_and_not_waited_for() {
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            let pipe = refusal(|dir| {
                let path = dir.join(name);
                std::fs::remove_file(&path).unwrap();
                let made = std::process::Command::new("mkfifo").arg(path).status();
                assert!(made.unwrap().success());
            });
            let device = refusal(|dir| {
                std::fs::remove_file(dir.join(name)).unwrap();
                std::os::unix::fs::symlink("/dev/zero", dir.join(name)).unwrap();
            });
            for error in [pipe, device] {
                assert!(error.contains(name), "{error}");
                assert!(error.ends_with("it is not a regular file"), "{error}");
            }
        }
    }

    #[test]
    fn weights_that_cannot_be_whole_are_refused() {
        let empty = refusal(|dir| std::fs::write(dir.join(SINGLE), "").unwrap());
        assert!(empty.ends_with("model.safetensors is damaged: it is empty"));
        let cut = refusal(|dir| {
            let file = File::options().write(true).open(dir.join(SINGLE));
            file.unwrap().set_len(1000).unwrap();
        });
        assert!(cut.contains("ends early"), "{cut}");
        let shard = "model-00001-of-00001.safetensors";
        let rename = |dir: &Path| std::fs::rename(dir.join(SINGLE), dir.join(shard)).unwrap();
        let alone = refusal(rename);
        assert!(alone.contains(shard) && alone.contains(INDEX), "{alone}");
        let incomplete = refusal(|dir| {
            rename(dir);
            let index = r#"{"weight_map": {"a": "model-00002-of-00002.safetensors"}}"#;
            std::fs::write(dir.join(INDEX), index).unwrap();
        });
        assert!(incomplete.contains("00002-of-00002"), "{incomplete}");
    }

    const GGUF: &str = "tiny-llama-q8_0.gguf";

    fn tiny_gguf() -> PathBuf {
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/models");
        Path::new(models).join("tiny-llama-gguf").join(GGUF)
    }

    #[test]
    fn one_gguf_file_is_a_model_as_a_folder_and_by_its_path() {
        let file = tiny_gguf();
        let manifest = read(&file).unwrap();
        assert_eq!(read(file.parent().unwrap()).unwrap(), manifest);
        assert_eq!(manifest.facts.format, Format::Gguf);
        assert_eq!(manifest.facts.architecture, "llama");
        let [only] = &manifest.files[..] else {
            panic!("{:?}", manifest.files)
        };
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(only.path.as_str(), GGUF);
        assert_eq!(only.size, bytes.len() as u64);
        assert_eq!(only.sha256, crate::digest::Sha256::of(bytes));
        for at in [&file, file.parent().unwrap()] {
            assert_eq!(locate(at, &only.path), file);
        }
    }

    #[test]
    fn the_words_beside_a_gguf_file_belong_to_the_model() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(tiny_gguf(), dir.path().join(GGUF)).unwrap();
        std::fs::write(dir.path().join("chat_template.jinja"), "{{ messages }}").unwrap();
        // Its configuration is the file's own.
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        let manifest = read(dir.path()).unwrap();
        let names: Vec<&str> = manifest.files.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(names, ["chat_template.jinja", GGUF]);
        assert_eq!(read(&dir.path().join(GGUF)).unwrap().files.len(), 1);
    }

    #[test]
    fn a_gguf_file_that_cannot_be_whole_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(GGUF);
        for size in [0, 3, 24, 700, 20_000] {
            std::fs::copy(tiny_gguf(), &path).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(size).unwrap();
            for at in [dir.path(), &path] {
                let error = read(at).unwrap_err();
                assert!(matches!(error, FolderError::NotAModel { .. }), "{error}");
                let (error, end) = (error.to_string(), format!("the file ends after {size}"));
                assert!(error.contains(GGUF) && error.ends_with(&end), "{error}");
            }
        }
        std::fs::remove_file(&path).unwrap();
        let absent = read(&path).unwrap_err();
        assert!(matches!(absent, FolderError::Io { .. }), "{absent}");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        for at in [dir.path(), &path] {
            let endless = read(at).unwrap_err().to_string();
            assert!(endless.ends_with("it is not a regular file"), "{endless}");
        }
        let part = dir.path().join("m-00001-of-00002.gguf");
        std::fs::rename(&path, &part).unwrap();
        let error = read(&part).unwrap_err().to_string();
        assert!(error.contains("llama-gguf-split --merge"), "{error}");
    }
}
