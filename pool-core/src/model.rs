//! What a model is made of, and the catalog of the models that one pool knows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device::Backend;
use crate::digest::{Hasher, Sha256};
use crate::fit::Shape;
use crate::name::{FleetName, ModelId};
use crate::path::FilePath;

mod needed;

pub use needed::{gguf_file, needed_file, needed_files};

/// One file of a model: its content is known before it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelFile {
    pub path: FilePath,
    /// Bytes.
    pub size: u64,
    pub sha256: Sha256,
}

/// No model is larger, in bytes: sums of what many of them take are numbers still.
const MOST_BYTES: u64 = 1 << 50;

/// The files of a model, sorted by path, and what its `config.json` or GGUF file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    pub files: Vec<ModelFile>,
    #[serde(flatten)]
    pub facts: ModelFacts,
}

impl Manifest {
    pub fn new(mut files: Vec<ModelFile>, facts: ModelFacts) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files, facts }
    }

    /// Identity of the model: SHA-256 over the lines `<sha256>  <path>\n` in the order of paths.
    pub fn digest(&self) -> Sha256 {
        let mut hasher = Hasher::default();
        for file in &self.files {
            hasher.update(format!("{}  {}\n", file.sha256, file.path));
        }
        hasher.finish()
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        let sizes = self.files.iter().map(|file| file.size);
        sizes.fold(0, u64::saturating_add)
    }

    /// Whether there could be a disk that holds it.
    pub fn is_possible(&self) -> bool {
        self.size() <= MOST_BYTES
    }
}

/// What the model's own files say about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelFacts {
    pub format: Format,
    /// `model_type` of config.json, such as `llama`, or what a GGUF file says in its place.
    pub architecture: String,
    /// Most tokens of prompt and answer together.
    pub context_length: u32,
    pub vocab_size: u32,
    /// The kind of the stored weights where they are quantised, such as `q8_0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Where a worker can serve such a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
}

/// How the weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Safetensors,
    Gguf,
}

/// Why files do not make a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAModel {
    #[error("there is no {0}")]
    Missing(&'static str),
    #[error("its only weights are pickles ({0}), which can run code when they are read")]
    Pickle(String),
    #[error("nothing says what is in {0}: there is no model.safetensors.index.json")]
    NoIndex(String),
    #[error("{file} is damaged: {reason}")]
    Damaged { file: String, reason: String },
    #[error("config.json is not what a model has: {0}")]
    Config(String),
    /// What is wrong with it and where, as [`gguf::Error`](crate::gguf::Error) says it.
    #[error("{0}")]
    Gguf(String),
    #[error(
        "{0} is a part of a model in several files, and a worker reads models in one: `llama-gguf-split --merge` makes one"
    )]
    Part(FilePath),
    #[error(
        "there are several GGUF files ({}); name one: hf:ORG/REPO::FILE, or the path of the file",
        join(.0)
    )]
    Several(Vec<FilePath>),
    /// `near` holds GGUF files, those with the most similar names first.
    #[error("there is no {file}{}", others(near))]
    NoFile { file: FilePath, near: Vec<FilePath> },
    #[error("{file} alone is no model that a worker finds: {reason}")]
    NotAlone {
        file: FilePath,
        reason: &'static str,
    },
}

fn join(paths: &[FilePath]) -> String {
    let names: Vec<&str> = paths.iter().map(FilePath::as_str).collect();
    names.join(", ")
}

fn others(near: &[FilePath]) -> String {
    match near {
        [] => ", nor any other GGUF file".to_owned(),
        near => format!("; there is {}", join(near)),
    }
}

impl ModelFacts {
    /// Reads them from the text of `config.json` (Hugging Face layout).
    pub fn from_config(text: &str) -> Result<Self, NotAModel> {
        #[derive(Deserialize)]
        struct Config {
            model_type: String,
            max_position_embeddings: u32,
            vocab_size: u32,
        }
        let config: Config =
            serde_json::from_str(text).map_err(|error| NotAModel::Config(error.to_string()))?;
        Ok(Self {
            format: Format::Safetensors,
            architecture: config.model_type,
            context_length: config.max_position_embeddings,
            vocab_size: config.vocab_size,
            quantization: None,
            shape: Shape::from_config(text),
        })
    }
}

/// `catalog.json` of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Catalog {
    pub version: u32,
    pub models: BTreeMap<ModelId, CatalogEntry>,
}

impl Catalog {
    /// The version that this build reads and writes.
    pub const VERSION: u32 = 1;
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            version: Self::VERSION,
            models: BTreeMap::new(),
        }
    }
}

/// One model that a pool knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogEntry {
    pub id: ModelId,
    /// What people call it: the repository or the folder.
    pub name: String,
    /// The fleet that registered it; none when a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetName>,
    /// It is not removed for a fleet that no longer names it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    pub source: Origin,
    /// The folder on the pool with the model's files in Hugging Face layout.
    pub path: String,
    pub digest: Sha256,
    pub size_bytes: u64,
    pub files: Vec<CatalogFile>,
    /// All files are there and their digests were checked.
    pub downloaded: bool,
    /// The backends that can run it.
    pub backends: Vec<Backend>,
    #[serde(flatten)]
    pub facts: ModelFacts,
}

/// Where a catalogued model came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// `ORG/REPO` of the hub, or the folder as it was given.
    pub repo: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The files that were asked for by name; empty for all that a worker needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilePath>,
}

/// One file of a catalogued model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogFile {
    #[serde(flatten)]
    pub file: ModelFile,
    /// When its content was last hashed on this pool and found right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// Which file on the disk that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Stamp>,
}

/// Tells a file on a disk from what is later written to it or put in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stamp {
    pub inode: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// When it was last written, renamed or had its rights changed, in nanoseconds since 1970.
    pub changed_ns: i64,
}

impl CatalogEntry {
    /// A model that is to be registered: nothing of it is there yet. The pool says where its files will lie.
    pub fn new(id: ModelId, fleet: Option<FleetName>, source: Origin, manifest: Manifest) -> Self {
        Self {
            id,
            name: source.repo.clone(),
            fleet,
            protect: false,
            source,
            path: String::new(),
            digest: manifest.digest(),
            size_bytes: manifest.size(),
            downloaded: false,
            backends: Backend::ALL.to_vec(),
            files: manifest
                .files
                .into_iter()
                .map(|file| CatalogFile {
                    file,
                    verified_at: None,
                    verified: None,
                })
                .collect(),
            facts: manifest.facts,
        }
    }

    pub fn manifest(&self) -> Manifest {
        let files = self.files.iter().map(|file| file.file.clone()).collect();
        Manifest::new(files, self.facts.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_from_before_models_had_shapes_reads() {
        let text = r#"{"version":1,"models":{"tiny":{"id":"tiny","name":"./tiny","fleet":null,"source":{"repo":"./tiny"},
            "path":"/home/rbee/models/tiny","digest":"DIGEST","size_bytes":1,"files":[],"downloaded":true,"backends":["cpu"],
            "format":"safetensors","architecture":"llama","context_length":512,"vocab_size":300}}}"#;
        let text = text.replace("DIGEST", &Sha256::of("files").to_string());
        let catalog: Catalog = serde_json::from_str(&text).unwrap();
        let entry = &catalog.models[&"tiny".parse().unwrap()];
        assert_eq!((entry.facts.shape, entry.protect), (None, false));
    }

    #[test]
    fn the_digest_depends_on_content_and_path_and_not_on_order() {
        let facts = ModelFacts::from_config(
            r#"{"model_type":"llama","max_position_embeddings":512,"vocab_size":300}"#,
        )
        .unwrap();
        let file = |path: &str, text: &str| ModelFile {
            path: path.parse().unwrap(),
            size: text.len() as u64,
            sha256: Sha256::of(text),
        };
        let digest = |files: Vec<ModelFile>| Manifest::new(files, facts.clone()).digest();
        let one = digest(vec![file("a", "1"), file("b", "2")]);
        assert_eq!(one, digest(vec![file("b", "2"), file("a", "1")]));
        assert_ne!(one, digest(vec![file("a", "2"), file("b", "1")]));
    }
}
