//! A file that is read again when it changes.

use std::fmt::Display;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a file says. A file that changes and cannot be used changes nothing: what it said before stays.
pub struct Reloaded<T, E> {
    path: PathBuf,
    read: fn(&Path) -> Result<T, E>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// The file that was read last.
    read: Option<Stamp>,
    /// The file at the last look.
    seen: Option<Stamp>,
}

/// Tells a file from what it was before: inode, bytes, and when it was changed last.
type Stamp = (u64, u64, i64, i64);

/// What a look at the file brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    Taken,
    /// The file cannot be used; it was logged why.
    Refused,
}

impl<T, E: Display> Reloaded<T, E> {
    /// Reads the file.
    pub fn open(path: &Path, read: fn(&Path) -> Result<T, E>) -> Result<Self, E> {
        // Of the file before it is read: what changes meanwhile is seen.
        let stamp = stamp(path);
        let state = State {
            value: Arc::new(read(path)?),
            read: stamp,
            seen: stamp,
        };
        Ok(Self {
            path: path.to_owned(),
            read,
            state: Mutex::new(state),
        })
    }

    /// What the file says.
    pub fn get(&self) -> Arc<T> {
        self.state().value.clone()
    }

    /// Looks at the file, about once a second. A change is read at the second look that finds it the same, so that a
    /// file is not read while it is written.
    pub fn poll(&self) -> Change {
        let now = stamp(&self.path);
        {
            let mut state = self.state();
            let is_settled = std::mem::replace(&mut state.seen, now) == now;
            if !is_settled || state.read == now {
                return Change::None;
            }
            state.read = now;
        }
        let path = self.path.display();
        match (self.read)(&self.path) {
            Ok(value) => {
                self.state().value = Arc::new(value);
                tracing::info!(%path, "read again");
                Change::Taken
            }
            Err(error) => {
                tracing::error!(%path, %error, "the file has changed and cannot be used; what it said before holds");
                Change::Refused
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let of = |file: Metadata| (file.ino(), file.size(), file.ctime(), file.ctime_nsec());
    path.metadata().ok().map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(path: &Path) -> Result<u32, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        text.parse().map_err(|_| format!("{text} is no number"))
    }

    #[test]
    fn a_change_is_taken_once_it_rests_and_a_broken_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        write("1");
        let watched = Reloaded::open(file.path(), number).unwrap();
        assert_eq!((*watched.get(), watched.poll()), (1, Change::None));
        write("22");
        assert_eq!((watched.poll(), *watched.get()), (Change::None, 1));
        assert_eq!((watched.poll(), *watched.get()), (Change::Taken, 22));
        assert_eq!(watched.poll(), Change::None);
        write("two");
        assert_eq!(watched.poll(), Change::None);
        assert_eq!((watched.poll(), *watched.get()), (Change::Refused, 22));
        assert_eq!(watched.poll(), Change::None, "told once");
        let other = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(other.path(), "33").unwrap();
        std::fs::rename(other.path(), file.path()).unwrap();
        assert_eq!(watched.poll(), Change::None);
        assert_eq!((watched.poll(), *watched.get()), (Change::Taken, 33));
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(watched.poll(), Change::None);
        assert_eq!((watched.poll(), *watched.get()), (Change::Refused, 33));
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        assert!(Reloaded::open(Path::new("/no/such/file"), number).is_err());
    }
}
