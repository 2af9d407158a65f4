//! Takes over what the upstream of a checkout has.

use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::units::count;
use serde::Serialize;

use super::{Checkout, Status, status};
use crate::error::{Result, fail};
use crate::home::Home;

/// How far a checkout went.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Pulled {
    pub dir: String,
    pub branch: String,
    pub upstream: String,
    pub from: String,
    /// The same where there was nothing to take over.
    pub to: String,
    /// Commits that were taken over.
    pub commits: u32,
    /// Commits that only this side has.
    pub ahead: u32,
}

/// Fetches, and moves the branch where that is a fast-forward.
///
/// # Errors
/// Where the checkout stands does not let it, it has changes of its own, or the remote does not give. The checkout stays as it is.
pub async fn pull(home: &Home, checkout: &Checkout) -> Result<Pulled> {
    let before = status(home, checkout).await?;
    let (branch, upstream, from) = position(&before)?;
    if before.dirty {
        let changed = count(before.changed as usize, "changed file");
        let message = format!("{} has {changed} in no commit", before.dir);
        let help = format!(
            "commit, stash or undo them on the pool: `git -C {} status`",
            before.dir
        );
        return Err(fail(ErrorCode::BadRequest, message, help));
    }
    fetch(checkout).await?;
    let fetched = status(home, checkout).await?;
    let (Some(ahead), Some(behind)) = (fetched.ahead, fetched.behind) else {
        let message = format!("the remote has no {upstream} any more, which {branch} follows");
        let help = "let the branch follow another: `git branch --set-upstream-to REMOTE/BRANCH`";
        return Err(fail(ErrorCode::NotFound, message, help));
    };
    if ahead > 0 && behind > 0 {
        let message = format!(
            "{branch} and {upstream} have diverged: {} here only, {} there only",
            count(ahead as usize, "commit"),
            count(behind as usize, "commit")
        );
        let help = format!(
            "no fast-forward is possible: rebase or reset {branch} on the pool, in {}",
            fetched.dir
        );
        return Err(fail(ErrorCode::BadRequest, message, help));
    }
    if behind > 0 {
        let merge = ["merge", "--quiet", "--ff-only", "@{upstream}"];
        checkout.git.finish(checkout.dir(), &merge).await?;
    }
    let to = status(home, checkout).await?.revision;
    Ok(Pulled {
        dir: fetched.dir,
        branch,
        upstream,
        to: to.unwrap_or_else(|| from.clone()),
        from,
        commits: behind,
        ahead,
    })
}

/// Branch, upstream and revision of a checkout that can be moved.
fn position(status: &Status) -> Result<(String, String, String)> {
    let refuse = |message: String, help: String| fail(ErrorCode::BadRequest, message, help);
    let dir = &status.dir;
    let Some(branch) = status.branch.clone() else {
        return Err(refuse(
            format!(
                "{dir} is on no branch: HEAD is detached at {}",
                status.short()
            ),
            format!("`git -C {dir} switch BRANCH` on the pool"),
        ));
    };
    let Some(upstream) = status.upstream.clone() else {
        return Err(refuse(
            format!("the branch {branch} of {dir} follows no branch of a remote"),
            format!("`git -C {dir} branch --set-upstream-to origin/{branch}` on the pool"),
        ));
    };
    let Some(revision) = status.revision.clone() else {
        return Err(refuse(
            format!("the branch {branch} of {dir} has no commit yet"),
            format!("`git -C {dir} reset --hard {upstream}` on the pool"),
        ));
    };
    Ok((branch, upstream, revision))
}

/// What git says goes to stderr. A branch that the remote has no more is forgotten here too.
async fn fetch(checkout: &Checkout) -> Result<()> {
    let git = &checkout.git;
    let mut command = git.command(checkout.dir(), &["fetch", "--prune"]);
    command.env("GIT_SSH_COMMAND", ssh(checkout).await);
    let status = git.start(command)?.ended().await?;
    if status.success() {
        return Ok(());
    }
    Err(HiveError {
        code: ErrorCode::Io,
        message: format!("git fetch in {} failed: {status}", checkout.dir),
        help: Some(
            "git says why above. Nobody is asked for a password: give the pool a key or a credential helper that needs none"
                .into(),
        ),
    })
}

/// The ssh that git would use, told to ask nobody.
async fn ssh(checkout: &Checkout) -> String {
    let given = std::env::var("GIT_SSH_COMMAND").ok();
    let configured = ["config", "core.sshCommand"];
    let configured = checkout.git.text(checkout.dir(), &configured).await.ok();
    let ssh = given.or(configured).unwrap_or_else(|| "ssh".into());
    format!("{ssh} -o BatchMode=yes")
}
