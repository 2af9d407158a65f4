//! Models from a hub, and from other pools.

mod download;
mod faults;
mod peers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use local_hub::Hub;
use pool_core::model::{CatalogEntry, ModelFile};

use crate::util::{Pool, Worker, tiny_llama};

/// Bytes that differ everywhere, and from seed to seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // Xorshift64*.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A repository in a folder: what says that it is a model, and weights in so many files of so many bytes.
pub fn repository(folder: &Path, files: usize, bytes: usize) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(tiny_llama().join(name), folder.join(name)).unwrap();
    }
    let mut index = serde_json::Map::new();
    for number in 1..=files {
        let name = format!("model-{number:05}-of-{files:05}.safetensors");
        fs::write(folder.join(&name), noise(number as u64, bytes)).unwrap();
        index.insert(format!("tensor.{number}"), name.into());
    }
    let index = serde_json::json!({ "weight_map": index });
    fs::write(
        folder.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    folder.to_owned()
}

/// A hub with one repository of so many files of so many bytes, and a pool that knows it as the model `m`.
pub struct Scene {
    pub hub: Hub,
    pub pool: Pool,
    pub folder: PathBuf,
}

impl Scene {
    pub fn new(files: usize, bytes: usize) -> Self {
        let scene = Self::unregistered(files, bytes);
        scene.ok(&["models", "register", "m", "--source", "hf:org/m"]);
        scene.hub.forget_requests();
        scene
    }

    pub fn unregistered(files: usize, bytes: usize) -> Self {
        let mut pool = Pool::with(Worker::Missing);
        let folder = repository(&pool.scratch().join("repository"), files, bytes);
        let hub = Hub::builder().repo("org/m", &folder).start().unwrap();
        pool.hub = Some(hub.url().to_owned());
        Self { hub, pool, folder }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.pool.command(arguments)
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        self.pool.ok(arguments)
    }

    pub fn fails(&self, arguments: &[&str]) -> String {
        self.pool.fails(arguments)
    }

    /// Downloads the model and returns what was said on the way.
    pub fn download(&self) -> String {
        let output = self.pool.run(&["models", "download", "m"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn entry(&self) -> CatalogEntry {
        let models = self.pool.observe().models;
        models[0].entry.clone()
    }

    /// The largest file of the model.
    pub fn weights(&self) -> ModelFile {
        let files = self.entry().files.into_iter().map(|file| file.file);
        files.max_by_key(|file| file.size).unwrap()
    }

    /// All files of the model are those of the repository, and nothing is left over.
    pub fn is_right(&self) {
        let models = self.pool.observe().models;
        assert!(models[0].is_whole(), "{models:?}");
        let entry = &models[0].entry;
        for file in &entry.files {
            let path = file.file.path.as_str();
            let here = fs::read(Path::new(&entry.path).join(path)).unwrap();
            assert!(here == fs::read(self.folder.join(path)).unwrap(), "{path}");
        }
        assert_eq!(self.incoming(), Vec::<String>::new());
    }

    /// What is still on its way.
    pub fn incoming(&self) -> Vec<String> {
        let entries = self.pool.home.join("models/incoming").read_dir().unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}
