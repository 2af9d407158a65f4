//! The file of a store: opened for one process, checked, brought to its format.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Kind, Limits, StoreError};

/// Tells our files from those of others: "rbee" in ASCII.
const APPLICATION: i64 = 0x7262_6565;
/// The format that this version writes.
const FORMAT: i64 = 1;
pub(super) const PAGE: u64 = 4096;

/// Opens the store; no other process has it open from then on.
pub(super) fn open(kind: &Kind, limits: &Limits) -> Result<Connection, StoreError> {
    let db = match kind {
        Kind::Memory => {
            let db = Connection::open_in_memory()?;
            set_up(&db, limits)?;
            db
        }
        Kind::Sqlite(path) => open_file(path, limits)?,
    };
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

fn open_file(path: &Path, limits: &Limits) -> Result<Connection, StoreError> {
    make_private(path).map_err(|error| StoreError::Unopened {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db =
        Connection::open_with_flags(path, flags).map_err(|error| refused(path, error.into()))?;
    set_up(&db, limits).map_err(|fault| match fault {
        Fault::Newer(found) => StoreError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        },
        fault => refused(path, fault),
    })?;
    Ok(db)
}

/// The file and its log exist for their owner alone. The log, which SQLite makes, gets the mode of the file.
fn make_private(path: &Path) -> io::Result<()> {
    let private = Permissions::from_mode(0o600);
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?
        .set_permissions(private.clone())?;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    match std::fs::set_permissions(PathBuf::from(log), private) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What is wrong with an open file.
enum Fault {
    Newer(i64),
    Foreign,
    Damaged(String),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Of a store in memory, which holds nothing that could be wrong.
impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sqlite(error) => error.into(),
            Fault::Newer(_) | Fault::Foreign => Self::Failed("it is not empty".into()),
            Fault::Damaged(reason) => Self::Failed(reason),
        }
    }
}

fn refused(path: &Path, fault: Fault) -> StoreError {
    let path = path.to_owned();
    let reason = match fault {
        Fault::Foreign => "it is a database of another program".into(),
        Fault::Damaged(reason) => reason,
        Fault::Newer(found) => format!("format {found}"),
        Fault::Sqlite(error) => {
            let reason = error.to_string();
            match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    return StoreError::InUse(path);
                }
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => reason,
                _ => return StoreError::Unopened { path, reason },
            }
        }
    };
    StoreError::Corrupt { path, reason }
}

fn set_up(db: &Connection, limits: &Limits) -> Result<(), Fault> {
    db.busy_timeout(Duration::ZERO)?;
    // Locked from the first read on: no other process gets in, and no file of shared memory is needed.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    db.pragma_update(None, "secure_delete", true)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    let is_fresh = check(db)?;
    if is_fresh {
        db.pragma_update(None, "page_size", PAGE)?;
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "max_page_count", limits.bytes.div_ceil(PAGE))?;
    if is_fresh {
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; COMMIT;"
        ))?;
    } else {
        db.execute_batch("BEGIN IMMEDIATE; COMMIT;")?;
    }
    Ok(())
}

/// Whether the file is empty; else it is whole and ours.
fn check(db: &Connection) -> Result<bool, Fault> {
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION, FORMAT) => {}
        (APPLICATION, found) => return Err(Fault::Newer(found)),
        (0, 0) if is_empty(db)? => return Ok(true),
        _ => return Err(Fault::Foreign),
    }
    let found = db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?;
    match found.as_str() {
        "ok" => Ok(false),
        _ => Err(Fault::Damaged(found)),
    }
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    db.query_row("SELECT count(*) = 0 FROM sqlite_master", [], |row| {
        row.get(0)
    })
}

/// - `task.n`: the order of acceptance.
/// - `task_ended`: all that forgetting needs, so that it reads no task.
/// - `block`: bodies in pieces of one size, see [`super::body`].
/// - `event`: in the order of arrival, whatever the task, so that a commit writes few pages. The batches of one
///   task are a chain from `task.last_batch` over `previous`.
/// - `promised`: one row at most.
const TABLES: &str = "
CREATE TABLE task (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    model TEXT NOT NULL,
    class TEXT NOT NULL,
    session TEXT,
    tokens INTEGER NOT NULL,
    submitted_at INTEGER NOT NULL,
    deadline INTEGER,
    correlation_id TEXT NOT NULL,
    state TEXT NOT NULL,
    worker TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    sent_tokens INTEGER NOT NULL DEFAULT 0,
    next_event INTEGER NOT NULL DEFAULT 0,
    last_batch INTEGER,
    event_bytes INTEGER NOT NULL DEFAULT 0,
    ended_at INTEGER
) STRICT;
CREATE INDEX task_ended ON task (ended_at, n, event_bytes, last_batch) WHERE ended_at IS NOT NULL;
CREATE TABLE block (n INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
CREATE TABLE event (
    n INTEGER PRIMARY KEY,
    previous INTEGER,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    frames BLOB NOT NULL
) STRICT;
CREATE TABLE usage (
    tenant TEXT PRIMARY KEY,
    unix_ms INTEGER NOT NULL,
    day INTEGER NOT NULL,
    minute INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE promised (n INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;
";
