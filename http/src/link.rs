//! The link file of a fleet: the token that its workers and its orchestrator show each other, and where workers register.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pool_core::digest::Sha256;
use pool_core::registration::FleetLink;
use tokio::sync::watch;

use crate::private::{self, PrivateError};
use crate::tokens::{TokenError, Tokens};

/// Between two looks at the file.
const EVERY: Duration = Duration::from_secs(1);

/// Why a link file is not taken. Nothing of what stands in it is part of this.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(transparent)]
    File(#[from] PrivateError),
    #[error("{path} is no link file: line {line}, column {column}")]
    Damaged {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl LinkError {
    /// What a person can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::File(error) => error.help(),
            Self::Damaged { .. } | Self::Token(_) => "`rbee apply` writes it anew".to_owned(),
        }
    }
}

/// What a link file says.
#[derive(Debug)]
pub struct Link {
    pub fleet: FleetLink,
    tokens: Tokens,
}

/// Reads a link file; none where there is no such file.
pub fn read(path: &Path) -> Result<Option<Link>, LinkError> {
    let text = match private::read(path) {
        Err(error) if error.is_absent() => return Ok(None),
        text => text?,
    };
    // The reader's own message may quote the token.
    let damaged = |error: serde_json::Error| LinkError::Damaged {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
    };
    let fleet: FleetLink = serde_json::from_str(&text).map_err(damaged)?;
    let tokens = Tokens::of(fleet.token.expose(), &path.display().to_string())?;
    Ok(Some(Link { fleet, tokens }))
}

/// A link file that may come, change and go at any time.
pub struct LinkFile {
    path: PathBuf,
    current: watch::Sender<Option<Arc<Link>>>,
    /// Why it was not taken the last time, so that it is told once.
    fault: Mutex<Option<String>>,
}

impl LinkFile {
    /// Reads the file a first time.
    pub fn open(path: PathBuf) -> Self {
        let file = Self {
            path,
            current: watch::Sender::new(None),
            fault: Mutex::default(),
        };
        file.look();
        file
    }

    /// Reads the file again every second, for as long as this is polled.
    pub async fn follow(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let file = Arc::clone(&self);
            // It only fails when the look panicked; the next one may not.
            let _ = tokio::task::spawn_blocking(move || file.look()).await;
        }
    }

    /// What the file said when it was last good: nothing where there was none.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Link>>> {
        self.current.subscribe()
    }

    /// The digest of the fleet's token, if this is it.
    pub fn accept(&self, token: &str) -> Option<Sha256> {
        self.current.borrow().as_ref()?.tokens.accept(token)
    }

    fn look(&self) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match read(&self.path) {
            Ok(link) => {
                *fault = None;
                self.current.send_if_modified(|current| {
                    let fleet =
                        |link: &Option<Arc<Link>>| link.as_ref().map(|link| link.fleet.clone());
                    let link = link.map(Arc::new);
                    let differs = fleet(current) != fleet(&link);
                    *current = link;
                    differs
                });
            }
            Err(error) => {
                let text = error.to_string();
                if fault.as_ref() != Some(&text) {
                    let help = error.help();
                    tracing::warn!(%error, help, "the link file is not taken; the last good one stays");
                    *fault = Some(text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const LINK: &str = r#"{"token": "a-token-of-the-fleet", "orchestrator": "http://mac:8080"}"#;

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn a_link_is_taken_when_it_comes_and_goes_and_stays_when_it_breaks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home.json");
        let file = LinkFile::open(path.clone());
        assert_eq!(file.accept("a-token-of-the-fleet"), None);
        let mut links = file.subscribe();
        let mut changed = || {
            file.look();
            let changed = links.has_changed().unwrap();
            links.mark_unchanged();
            changed
        };
        assert!(!changed());
        write(&path, LINK);
        assert!(changed());
        assert!(!changed());
        let broken = ["{", "\"a-token-of-the-fleet\"", r#"{"token": "short"}"#];
        for broken in broken {
            write(&path, broken);
            assert!(!changed(), "{broken}");
            assert!(file.accept("a-token-of-the-fleet").is_some());
        }
        write(&path, &LINK.replace("fleet", "other"));
        assert!(changed());
        assert_eq!(file.accept("a-token-of-the-fleet"), None);
        assert!(file.accept("a-token-of-the-other").is_some());
        std::fs::remove_file(&path).unwrap();
        assert!(changed());
        assert_eq!(file.accept("a-token-of-the-other"), None);
    }

    #[test]
    fn no_fault_repeats_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("home.json");
        let faults = [
            "\"a-token-of-the-fleet\"",
            r#"{"token": "a-token-of-the-fleet", "orchestrator": "a-token-of-the-fleet"}"#,
            r#"{"token": "a-token of-the-fleet"}"#,
        ];
        for text in faults {
            write(&path, text);
            let error = read(&path).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("a-token"), "{error}");
        }
        write(&path, LINK);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read(&path).unwrap_err().help().starts_with("chmod 600"));
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap().is_none());
    }
}
