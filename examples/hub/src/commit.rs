//! A commit: the files of a folder as they were pushed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::content::Content;
use crate::digest;
use crate::error::HubError;

/// The files of a repository by their paths; equal files make an equal commit.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub id: String,
    pub files: BTreeMap<String, RepoFile>,
}

#[derive(Debug, Clone)]
pub(crate) struct RepoFile {
    /// Git's name of what git stores: the content, or the pointer to it.
    pub oid: String,
    pub lfs: Option<Lfs>,
    pub content: Content,
}

#[derive(Debug, Clone)]
pub(crate) struct Lfs {
    pub sha256: String,
    pub pointer_size: u64,
}

impl Commit {
    pub fn read(folder: &Path, lfs_over: u64) -> Result<Self, HubError> {
        let mut files = BTreeMap::new();
        for (name, path) in walk(folder)? {
            let content = Content::of(&path);
            let file = content.and_then(|content| RepoFile::new(&name, content, lfs_over));
            let file = file.map_err(|source| HubError::Read { path, source })?;
            files.insert(name, file);
        }
        Ok(Self::of(files))
    }

    pub fn of(files: BTreeMap<String, RepoFile>) -> Self {
        let id = name_of(files.iter());
        Self { id, files }
    }

    /// The folders that the files are in, each with a name made of its contents.
    pub fn folders(&self) -> BTreeMap<&str, String> {
        let parents = self.files.keys().flat_map(|path| {
            let ends = path.match_indices('/').map(|(end, _)| end);
            ends.map(move |end| &path[..end])
        });
        let mut folders: BTreeMap<&str, String> = parents.map(|f| (f, String::new())).collect();
        for (folder, oid) in &mut folders {
            *oid = name_of(self.files.iter().filter(|(path, _)| within(path, folder)));
        }
        folders
    }
}

/// Whether a path is in a folder, at any depth.
pub(crate) fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn name_of<'a>(files: impl Iterator<Item = (&'a String, &'a RepoFile)>) -> String {
    let mut lines = String::new();
    for (path, file) in files {
        lines += &format!("{path}\0{}\n", file.oid);
    }
    digest::name_of(&lines)
}

impl RepoFile {
    /// Content over the threshold is stored by LFS, and safetensors always.
    pub fn new(name: &str, content: Content, lfs_over: u64) -> io::Result<Self> {
        let size = content.size();
        let is_weights = Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "safetensors");
        if size <= lfs_over && !is_weights {
            let oid = digest::git_blob(size, content.reader()?)?;
            let lfs = None;
            return Ok(Self { oid, lfs, content });
        }
        let sha256 = digest::sha256(content.reader()?)?;
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        );
        let pointer_size = pointer.len() as u64;
        Ok(Self {
            oid: digest::git_blob(pointer_size, pointer.as_bytes())?,
            lfs: Some(Lfs {
                sha256,
                pointer_size,
            }),
            content,
        })
    }

    /// The digest that clients check: of the content, as LFS or as git names it.
    pub fn etag(&self) -> &str {
        self.lfs.as_ref().map_or(&self.oid, |lfs| &lfs.sha256)
    }
}

/// The files below a folder by their names in the repository; git's own folder is none of it.
fn walk(root: &Path) -> Result<Vec<(String, PathBuf)>, HubError> {
    let mut files = Vec::new();
    let mut folders = vec![(String::new(), root.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        let failed = |source| HubError::Read {
            path: folder.clone(),
            source,
        };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let kind = entry.file_type().map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(HubError::Unfit(path));
            };
            if kind.is_dir() && name != ".git" {
                folders.push((format!("{prefix}{name}/"), path));
            } else if kind.is_file() {
                files.push((format!("{prefix}{name}"), path));
            } else if !kind.is_dir() {
                return Err(HubError::Unfit(path));
            }
        }
    }
    Ok(files)
}
