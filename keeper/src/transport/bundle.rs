//! The binaries that a pool needs.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pool_core::build::{self, HIVE, PROGRAMS};
use pool_core::digest::{Hasher, Sha256};
use pool_core::observation::Platform;
use tokio::sync::Mutex;

use super::machine::{HEAD, Machine};

/// The binaries of one build for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The Rust target triple.
    pub target: &'static str,
    /// Names the build, see [`build::sums`].
    pub digest: Sha256,
    pub files: Vec<BundleFile>,
}

/// One binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFile {
    pub name: &'static str,
    pub path: PathBuf,
    pub size: u64,
    pub sha256: Sha256,
}

/// Why there are no binaries for a pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("rbee is not built for {0}")]
    Platform(Platform),
    #[error("no {name} for {target}{}", in_vain(.looked))]
    Missing {
        name: &'static str,
        target: &'static str,
        looked: Vec<PathBuf>,
    },
    #[error("{} is {found}, the pool is {platform}", path.display())]
    WrongMachine {
        path: PathBuf,
        /// `built for Linux aarch64`, or `no program`.
        found: String,
        platform: Platform,
    },
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: String },
}

fn in_vain(folders: &[PathBuf]) -> String {
    let folders: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
    if folders.is_empty() {
        return String::new();
    }
    format!(": looked in {}", folders.join(" and "))
}

impl BundleError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Platform(_) => {
                "build it on a machine like that with `cargo xtask dist`, and give its folder to `--dist`"
            }
            Self::Missing { .. } => {
                "`cargo xtask dist` builds one; `--dist DIR` names the folder with DIR/<target>/rbee-hive; or let \
                 the pool build its own: `cargo build --release` there, then `target/release/rbee-hive git build`"
            }
            Self::WrongMachine { .. } => "build it again with `cargo xtask dist`",
            Self::Io { .. } => "is the file there, and may you read it?",
        }
    }
}

impl Bundle {
    /// Of files that are sorted by name.
    pub fn of(target: &'static str, files: Vec<BundleFile>) -> Self {
        Self {
            target,
            digest: Sha256::of(sums(&files)),
            files,
        }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Where its hive lies.
    pub fn hive(&self) -> Option<&Path> {
        let mut files = self.files.iter();
        let hive = files.find(|file| file.name == HIVE)?;
        Some(&hive.path)
    }

    pub(super) fn sums(&self) -> String {
        sums(&self.files)
    }

    fn read(
        target: &'static str,
        platform: &Platform,
        folders: &[PathBuf],
    ) -> Result<Self, BundleError> {
        // All of one build: never the hive of one folder with the worker of another.
        let whole = |folder: &&PathBuf| PROGRAMS.iter().all(|name| folder.join(name).is_file());
        let Some(folder) = folders.iter().find(whole) else {
            let lacks = |name: &&&str| folders.iter().all(|folder| !folder.join(name).is_file());
            return Err(BundleError::Missing {
                name: PROGRAMS.iter().find(lacks).unwrap_or(&PROGRAMS[0]),
                target,
                looked: folders.to_vec(),
            });
        };
        let files = PROGRAMS
            .into_iter()
            .map(|name| BundleFile::read(name, folder.join(name), platform))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self::of(target, files))
    }
}

fn sums(files: &[BundleFile]) -> String {
    build::sums(files.iter().map(|file| (file.name, file.sha256)))
}

impl BundleFile {
    fn read(name: &'static str, path: PathBuf, platform: &Platform) -> Result<Self, BundleError> {
        let content = || -> io::Result<_> {
            let mut file = File::open(&path)?;
            let mut hasher = Hasher::default();
            let mut head = Vec::new();
            let mut size = 0;
            let mut buffer = vec![0; 256 << 10];
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    return Ok((hasher.finish(), head, size));
                }
                let bytes = &buffer[..count];
                head.extend_from_slice(&bytes[..count.min(HEAD.saturating_sub(head.len()))]);
                hasher.update(bytes);
                size += count as u64;
            }
        };
        let (sha256, head, size) = content().map_err(|error| BundleError::Io {
            path: path.clone(),
            cause: error.to_string(),
        })?;
        let machine = Machine::of(&head);
        if !machine.is_some_and(|machine| machine.suits(platform)) {
            return Err(BundleError::WrongMachine {
                path,
                found: machine.map_or("no program".to_owned(), |m| format!("built for {m}")),
                platform: platform.clone(),
            });
        }
        Ok(Self {
            name,
            path,
            size,
            sha256,
        })
    }
}

/// The builds at hand, each looked for and hashed once, when a pool of its platform asks.
#[derive(Debug, Default)]
pub struct Bundles {
    dist: Option<PathBuf>,
    /// Where the running program lies.
    beside: Option<PathBuf>,
    known: Mutex<HashMap<&'static str, Result<Arc<Bundle>, BundleError>>>,
}

impl Bundles {
    /// Builds below `dist`, as `<dist>/<target triple>/rbee-hive` and so on; for machines like this
    /// one also those beside the running program.
    pub fn find(dist: Option<&Path>) -> Self {
        let exe = std::env::current_exe().ok();
        Self {
            dist: dist.map(Path::to_owned),
            beside: exe.and_then(|exe| Some(exe.canonicalize().ok()?.parent()?.to_owned())),
            known: Mutex::default(),
        }
    }

    /// The build for the platform that this program runs on.
    pub async fn here(&self) -> Result<Arc<Bundle>, BundleError> {
        self.get(&own_platform()).await
    }

    /// The build for a platform.
    pub async fn get(&self, platform: &Platform) -> Result<Arc<Bundle>, BundleError> {
        let Some(target) = platform.target() else {
            return Err(BundleError::Platform(platform.clone()));
        };
        let mut known = self.known.lock().await;
        if let Some(bundle) = known.get(target) {
            return bundle.clone();
        }
        let beside = self
            .beside
            .clone()
            .filter(|_| Some(target) == own_platform().target());
        let dist = self.dist.as_ref().map(|dist| dist.join(target));
        let folders: Vec<PathBuf> = dist.into_iter().chain(beside).collect();
        let for_platform = platform.clone();
        let read = move || Bundle::read(target, &for_platform, &folders);
        let bundle = tokio::task::spawn_blocking(read).await;
        let bundle = bundle.unwrap_or_else(|error| {
            Err(BundleError::Io {
                path: target.into(),
                cause: error.to_string(),
            })
        });
        known.insert(target, bundle.clone().map(Arc::new));
        known[target].clone()
    }
}

/// The platform that this program runs on.
fn own_platform() -> Platform {
    let os = match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "Darwin",
        other => other,
    };
    let arch = std::env::consts::ARCH.to_owned();
    Platform {
        os: os.to_owned(),
        // Apple's uname says arm64.
        arch: if os == "Darwin" {
            arch.replace("aarch64", "arm64")
        } else {
            arch
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn linux(arch: &str) -> Platform {
        Platform {
            os: "Linux".to_owned(),
            arch: arch.to_owned(),
        }
    }

    /// Programs for 64-bit ARM Linux, with `tail` to tell them apart.
    fn build(folder: &Path, names: &[&str], tail: &str) {
        fs::create_dir_all(folder).unwrap();
        for name in names {
            let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0".to_vec();
            program.extend(tail.as_bytes());
            fs::write(folder.join(name), program).unwrap();
        }
    }

    #[tokio::test]
    async fn the_digest_of_a_build_is_that_of_its_sorted_list_of_digests() {
        let dir = tempfile::tempdir().unwrap();
        build(&dir.path().join("aarch64-unknown-linux-gnu"), &PROGRAMS, "");
        let bundles = Bundles::find(Some(dir.path()));
        let bundle = bundles.get(&linux("aarch64")).await.unwrap();
        let digest = Sha256::of(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0");
        let lines = PROGRAMS.map(|name| format!("{digest}  {name}\n")).concat();
        assert_eq!(bundle.digest, Sha256::of(lines));
        assert_eq!(bundle.size(), 60);
        // Known from now on, whatever becomes of the files.
        drop(dir);
        assert_eq!(bundles.get(&linux("arm64")).await, Ok(bundle));
    }

    #[test]
    fn a_build_is_never_mixed_of_two_folders_and_the_first_whole_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let folders = ["half", "first", "second"].map(|name| dir.path().join(name));
        build(&folders[0], &["rbee-hive"], "half");
        build(&folders[1], &PROGRAMS, "first");
        build(&folders[2], &PROGRAMS, "second");
        let read = |folders| Bundle::read("t", &linux("aarch64"), folders);
        let bundle = read(&folders).unwrap();
        assert!(
            bundle
                .files
                .iter()
                .all(|file| file.path.starts_with(&folders[1]))
        );
        let error = read(&folders[..1]).unwrap_err().to_string();
        let looked = folders[0].display();
        assert_eq!(
            error,
            format!("no llm-worker-rbee for t: looked in {looked}")
        );
    }

    #[test]
    fn a_build_for_another_machine_is_refused_before_it_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), &PROGRAMS, "");
        let mac = Platform {
            os: "Darwin".to_owned(),
            arch: "arm64".to_owned(),
        };
        let error = Bundle::read("t", &mac, &[dir.path().to_owned()]).unwrap_err();
        let path = dir.path().join("llm-worker-rbee");
        let text = format!(
            "{} is built for Linux aarch64, the pool is Darwin arm64",
            path.display()
        );
        assert_eq!(error.to_string(), text);
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let error = Bundle::read("t", &mac, &[dir.path().to_owned()]).unwrap_err();
        assert!(error.to_string().contains("is no program"), "{error}");
    }

    #[tokio::test]
    async fn a_platform_without_builds_is_said_to_be_one() {
        let bundles = Bundles::find(None);
        let error = bundles.get(&linux("riscv64")).await.unwrap_err();
        assert_eq!(error.to_string(), "rbee is not built for Linux riscv64");
    }
}
