//! A git checkout of rbee on the pool, which it can be built from.
//!
//! `git` and `cargo` do the work; this says where, and what is wrong with what they find.

mod build;
mod pull;
mod status;
mod tool;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pool_core::digest::Sha256;
use pool_core::rpc::ErrorCode;
use serde::{Deserialize, Serialize};

use crate::error::{Result, fail};
use crate::file;
use crate::home::Home;

pub use build::build;
pub use pull::{Pulled, pull};
pub use status::{Status, short, status};

use tool::Tool;

const VERSION: u32 = 1;

/// `checkout.json`: what was built last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    version: u32,
    /// The checkout's folder.
    pub dir: String,
    /// The build that it became.
    pub build: Sha256,
    pub revision: Option<String>,
    /// With changes that are in no commit.
    pub dirty: bool,
    /// The cargo features that were asked for.
    pub features: Vec<String>,
    pub at: Timestamp,
}

impl Built {
    /// None where nothing was built yet.
    pub fn load(home: &Home) -> Result<Option<Self>> {
        file::read_json(&home.checkout(), VERSION)
    }
}

/// A checkout that is there.
#[derive(Debug)]
pub struct Checkout {
    git: Tool,
    /// Its top folder.
    dir: String,
}

impl Checkout {
    /// The one in this folder, else the one that was built last, else the one in `~/rbee`.
    pub async fn find(home: &Home, dir: Option<PathBuf>) -> Result<Self> {
        const HELP: &str = "clone rbee on the pool, and name the folder there: --dir FOLDER";
        let dir = match dir {
            Some(dir) => dir,
            None => usual(home)?,
        };
        let shown = dir.display();
        if !dir.is_dir() {
            let message = format!("there is no folder {shown}");
            return Err(fail(ErrorCode::NotFound, message, HELP));
        }
        let git = Tool::git()?;
        let top = git.text(&dir, &["rev-parse", "--show-toplevel"]).await;
        let top = top.map_err(|error| {
            let said = error.message;
            let message = format!("{shown} is no git checkout that can be used: {said}");
            fail(ErrorCode::BadRequest, message, HELP)
        })?;
        if !is_of_rbee(top.as_ref()) {
            let message = format!("{top} is a git checkout, but none of rbee");
            return Err(fail(ErrorCode::BadRequest, message, HELP));
        }
        Ok(Self { git, dir: top })
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref()
    }
}

fn usual(home: &Home) -> Result<PathBuf> {
    if let Some(built) = Built::load(home)? {
        return Ok(built.dir.into());
    }
    let user = std::env::var_os("HOME").filter(|home| !home.is_empty());
    user.map(|user| PathBuf::from(user).join("rbee"))
        .ok_or_else(|| {
            fail(
                ErrorCode::BadRequest,
                "nothing was built here yet, and HOME is not set",
                "name the checkout: --dir FOLDER",
            )
        })
}

/// Whether the folder holds the sources of the hive, where rbee has them.
fn is_of_rbee(top: &Path) -> bool {
    let manifest = std::fs::read_to_string(top.join("hive/Cargo.toml"));
    manifest.is_ok_and(|text| {
        text.lines()
            .any(|line| line.trim() == r#"name = "rbee-hive""#)
    })
}
