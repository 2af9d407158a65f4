//! A repository of the hub: what says that it is a model, and weights of random bytes.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Map, json};

use crate::bench::random::Weights;

/// The files of a folder.
pub struct Repository {
    folder: PathBuf,
    /// Names and bytes.
    files: Vec<(String, u64)>,
}

impl Repository {
    /// Writes so many files of so many bytes of weights, and what belongs to them.
    pub fn write(folder: &Path, count: usize, bytes: usize, seed: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut weights = Weights::new(seed);
        let mut index = Map::new();
        for number in 1..=count {
            let name = format!("model-{number:05}-of-{count:05}.safetensors");
            let mut file = BufWriter::new(File::create(folder.join(&name))?);
            weights.write(bytes / 2, &mut file)?;
            index.insert(format!("tensor.{number}"), name.into());
        }
        let config =
            json!({ "model_type": "llama", "max_position_embeddings": 512, "vocab_size": 300 });
        for (name, value) in [
            ("config.json", config),
            ("tokenizer.json", json!({})),
            (
                "model.safetensors.index.json",
                json!({ "weight_map": index }),
            ),
        ] {
            std::fs::write(folder.join(name), value.to_string())?;
        }
        Self::read(folder)
    }

    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push((name, entry.metadata()?.len()));
        }
        files.sort();
        Ok(Self {
            folder: folder.to_owned(),
            files,
        })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|(_, size)| size).sum()
    }

    /// Fails unless a folder has all files in their sizes.
    pub fn check(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, size) in &self.files {
            let path = folder.join(name);
            let found = path
                .metadata()
                .with_context(|| format!("{} did not come", path.display()))?
                .len();
            ensure!(
                found == *size,
                "{} has {found} bytes, {} has {size}",
                path.display(),
                self.folder.join(name).display()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_or_missing_is_found() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("org/name");
        let repository = Repository::write(&folder, 2, 1000, 1).unwrap();
        assert_eq!(repository.names().count(), 5);
        repository.check(&folder).unwrap();
        let weights = folder.join("model-00002-of-00002.safetensors");
        assert_eq!(weights.metadata().unwrap().len(), 1000);
        std::fs::write(&weights, [0; 999]).unwrap();
        let error = repository.check(&folder).unwrap_err().to_string();
        assert!(error.contains("has 999 bytes"), "{error}");
        std::fs::remove_file(&weights).unwrap();
        assert!(repository.check(&folder).is_err());
    }
}
