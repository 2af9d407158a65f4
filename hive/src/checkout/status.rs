//! What a checkout is at.

use pool_core::digest::Sha256;
use serde::Serialize;

use super::{Built, Checkout};
use crate::builds;
use crate::error::Result;
use crate::home::Home;

/// Where a checkout stands, and what of it is installed.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    pub dir: String,
    /// None where HEAD is detached.
    pub branch: Option<String>,
    pub upstream: Option<String>,
    /// None before the first commit.
    pub revision: Option<String>,
    /// First line of its message.
    pub subject: Option<String>,
    /// Files that git knows differ from the revision.
    pub dirty: bool,
    pub changed: u32,
    pub untracked: u32,
    /// Commits that only this side has, as of the last fetch; none where there is no upstream.
    pub ahead: Option<u32>,
    /// Commits that only the upstream has, as of the last fetch.
    pub behind: Option<u32>,
    /// The current build of the pool, wherever it came from.
    pub installed: Option<Sha256>,
    /// What was built last, and as which build.
    pub built: Option<Built>,
}

impl Status {
    /// The revision as people read it.
    pub fn short(&self) -> &str {
        self.revision.as_deref().map_or("no commit", short)
    }
}

/// The first digits of a revision.
pub fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}

/// Asks no remote and changes nothing.
pub async fn status(home: &Home, checkout: &Checkout) -> Result<Status> {
    let git = &checkout.git;
    let arguments = ["status", "--porcelain=v2", "--branch"];
    let text = git.text(checkout.dir(), &arguments).await?;
    let mut status = parse(&text);
    if status.revision.is_some() {
        let log = ["log", "-1", "--format=%s"];
        status.subject = Some(git.text(checkout.dir(), &log).await?);
    }
    status.dir.clone_from(&checkout.dir);
    status.installed = builds::current(home);
    status.built = Built::load(home)?;
    Ok(status)
}

/// Reads git's porcelain format, version 2 (git-status(1)).
fn parse(text: &str) -> Status {
    let mut status = Status::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "branch.oid", revision] if revision != "(initial)" => {
                status.revision = Some(revision.to_owned());
            }
            ["#", "branch.head", branch] if branch != "(detached)" => {
                status.branch = Some(branch.to_owned());
            }
            ["#", "branch.upstream", upstream] => status.upstream = Some(upstream.to_owned()),
            ["#", "branch.ab", ahead, behind] => {
                let commits = |word: &str| word.trim_start_matches(['+', '-']).parse().ok();
                (status.ahead, status.behind) = (commits(ahead), commits(behind));
            }
            ["1" | "2" | "u", ..] => status.changed += 1,
            ["?", ..] => status.untracked += 1,
            _ => {}
        }
    }
    status.dirty = status.changed > 0;
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gits_words_become_a_status() {
        let text = "# branch.oid 90f7b17c1a2b4d5e6f708192a3b4c5d6e7f80910\n\
                    # branch.head main\n# branch.upstream origin/main\n# branch.ab +1 -20\n\
                    1 .M N... 100644 100644 100644 1f 1f a file\nu UU N... 1 1 1 1 h h h both\n? new\n";
        let status = parse(text);
        assert_eq!(status.short(), "90f7b17c1a2b");
        assert_eq!(status.branch.as_deref(), Some("main"));
        assert_eq!(status.upstream.as_deref(), Some("origin/main"));
        assert_eq!((status.ahead, status.behind), (Some(1), Some(20)));
        assert_eq!(
            (status.dirty, status.changed, status.untracked),
            (true, 2, 1)
        );
    }

    #[test]
    fn what_git_does_not_have_is_not_made_up() {
        let status = parse("# branch.oid (initial)\n# branch.head (detached)\n? new\n");
        let expected = Status {
            untracked: 1,
            ..Status::default()
        };
        assert_eq!(status, expected);
        assert_eq!(status.short(), "no commit");
    }
}
