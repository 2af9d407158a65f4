//! Where a model comes from: `hf:ORG/REPO[@REVISION][::FILE]`, a folder, or a GGUF file.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::path::FilePath;

/// The source of a model, as written in fleet.yaml.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// A repository of the Hugging Face hub, at a branch, tag or commit (the default branch when
    /// absent), and of it one file when one is named.
    Hub {
        repo: String,
        revision: Option<String>,
        file: Option<FilePath>,
    },
    /// A folder of the operator's machine, or a GGUF file of it, relative to fleet.yaml.
    Folder(String),
}

/// Why a text is not a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    #[error("a source cannot be empty")]
    Empty,
    #[error(
        "`{0}` is not a repository of the hub: write hf:ORG/REPO, then @REVISION or ::FILE if wanted"
    )]
    Repo(String),
    #[error("`{0}` is neither hf:ORG/REPO nor a folder: a folder starts with ./, ../ or /")]
    Unknown(String),
}

impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        if text.is_empty() {
            return Err(InvalidSource::Empty);
        }
        if let Some(rest) = text.strip_prefix("hf:") {
            return parse_hub(rest).ok_or_else(|| InvalidSource::Repo(text.to_owned()));
        }
        let is_folder = ["./", "../", "/"]
            .iter()
            .any(|start| text.starts_with(start));
        if is_folder || text == "." || text == ".." {
            Ok(Self::Folder(text.to_owned()))
        } else {
            Err(InvalidSource::Unknown(text.to_owned()))
        }
    }
}

fn parse_hub(rest: &str) -> Option<Source> {
    let (rest, file) = match rest.split_once("::") {
        Some((rest, file)) => (rest, Some(file.parse().ok()?)),
        None => (rest, None),
    };
    let (repo, revision) = match rest.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (rest, None),
    };
    let word = |text: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !text.is_empty() && text.chars().all(allowed) && !matches!(text, "." | "..")
    };
    let (org, name) = repo.split_once('/')?;
    let revision_is_safe = revision.is_none_or(|revision| revision.split('/').all(word));
    (word(org) && word(name) && revision_is_safe).then(|| Source::Hub {
        repo: repo.to_owned(),
        revision: revision.map(str::to_owned),
        file,
    })
}

impl TryFrom<String> for Source {
    type Error = InvalidSource;
    fn try_from(text: String) -> Result<Self, InvalidSource> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> String {
        source.to_string()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => f.write_str(folder),
            Self::Hub {
                repo,
                revision,
                file,
            } => {
                write!(f, "hf:{repo}")?;
                if let Some(revision) = revision {
                    write!(f, "@{revision}")?;
                }
                if let Some(file) = file {
                    write!(f, "::{file}")?;
                }
                Ok(())
            }
        }
    }
}

impl schemars::JsonSchema for Source {
    fn schema_name() -> Cow<'static, str> {
        "Source".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^(hf:[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(@[A-Za-z0-9._/-]+)?(::.+)?|\.|\.\.|(\.{0,2}/).*)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_back_as_it_prints() {
        for text in [
            "hf:Qwen/Qwen2.5-0.5B-Instruct",
            "hf:mistralai/Mistral-7B-Instruct-v0.2@main",
            "hf:TheBloke/X-GGUF@refs/pr/1::x.Q4_K_M.gguf",
            "./examples/models/tiny-llama",
            "/srv/models/a",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "hf:",
            "hf:Qwen",
            "hf:a/b/c",
            "hf:a/b::../c",
            "hf:../b",
            "hf:a/b@",
            "tiny-llama",
            "https://x/y",
        ] {
            assert!(bad.parse::<Source>().is_err(), "{bad:?}");
        }
    }
}
