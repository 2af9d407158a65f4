//! `fleet.lock`: what each model of the hub was when it was looked up.
//!
//! JSON, one file of a model on each line, models and files in order: a change shows as the lines that changed.

use std::collections::BTreeMap;
use std::fmt;

use pool_core::model::{Manifest, ModelFacts, ModelFile};
use pool_core::name::ModelId;
use pool_core::path::FilePath;
use pool_core::rpc::Resolved;
use pool_core::source::Source;
use serde::{Deserialize, Serialize};

use crate::desired::Content;

mod text;

/// The models of a lock file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    pub models: BTreeMap<ModelId, Locked>,
}

/// One model, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// What fleet.yaml said; another text there asks for another look.
    pub source: Source,
    /// The commit of the repository, 40 hexadecimal digits.
    pub commit: String,
    #[serde(flatten)]
    pub facts: ModelFacts,
    /// Sorted by path.
    pub files: Vec<ModelFile>,
}

/// Why a text is not a lock file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    #[error("{message}")]
    Text {
        line: usize,
        column: usize,
        message: String,
    },
    #[error("it has version {0}, and this rbee reads version {version}", version = Lock::VERSION)]
    Version(u64),
}

/// A file that is not what it was at the same commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    pub path: FilePath,
    pub was: ModelFile,
    /// None where it is gone.
    pub now: Option<ModelFile>,
}

impl Lock {
    /// Of the file's form.
    pub const VERSION: u64 = 1;

    /// Reads the text of a lock file. Fails when it is none, is of another version, or says of a model what cannot be.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        text::parse(text)
    }

    /// What is known of a model whose source is still the one that was looked up.
    pub fn get(&self, model: &ModelId, source: &Source) -> Option<&Locked> {
        let locked = self.models.get(model)?;
        (locked.source == *source).then_some(locked)
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(self, f)
    }
}

impl Locked {
    /// What a hub said of a source. Fails when no lock file can hold it.
    pub fn new(source: Source, found: Resolved) -> Result<Self, &'static str> {
        let Manifest { files, facts } = found.manifest;
        let Manifest { files, facts } = Manifest::new(files, facts);
        let locked = Self {
            source,
            commit: found.commit,
            facts,
            files,
        };
        match locked.mistake() {
            Some(mistake) => Err(mistake),
            None => Ok(locked),
        }
    }

    pub fn manifest(&self) -> Manifest {
        Manifest::new(self.files.clone(), self.facts.clone())
    }

    pub fn content(&self) -> Content {
        Content::new(Some(self.commit.clone()), self.manifest())
    }

    /// The source at the locked commit.
    pub fn pinned(&self) -> Source {
        match &self.source {
            Source::Hub { repo, file, .. } => Source::Hub {
                repo: repo.clone(),
                revision: Some(self.commit.clone()),
                file: file.clone(),
            },
            Source::Folder(_) => self.source.clone(),
        }
    }

    /// The locked files that are not the same in what was found at the same commit.
    pub fn rewritten(&self, found: &Manifest) -> Vec<Rewritten> {
        let at = |path: &FilePath| found.files.iter().find(|file| file.path == *path).cloned();
        let looked_up = self.files.iter().map(|was| Rewritten {
            path: was.path.clone(),
            was: was.clone(),
            now: at(&was.path),
        });
        looked_up
            .filter(|file| file.now.as_ref() != Some(&file.was))
            .collect()
    }

    /// What no model of the hub can be.
    fn mistake(&self) -> Option<&'static str> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !matches!(self.source, Source::Hub { .. }) {
            return Some("its source is not one of the hub");
        }
        if self.commit.len() != 40 || !self.commit.bytes().all(is_hex) {
            return Some("its commit is not 40 hexadecimal digits");
        }
        if self.files.is_empty() {
            return Some("it has no files");
        }
        if !self.files.is_sorted_by(|a, b| a.path < b.path) {
            return Some("its files are not in order, each once");
        }
        (!self.manifest().is_possible()).then_some("it is larger than any disk")
    }
}

#[cfg(test)]
mod tests;
