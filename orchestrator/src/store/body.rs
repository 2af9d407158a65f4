//! The bodies of tasks, which hold prompts, stored so that a deleted one leaves no trace.
//!
//! With `secure_delete` SQLite overwrites what is deleted, but a row that it moves to another page stays readable
//! where it was: the page is not cleared. Rows of one size that each fill a page cannot leave such a trace: on every
//! page of the table the one row lies at the same place.

use bytes::Bytes;
use rusqlite::Connection;

use super::StoreError;

/// Bytes of a row. Two do not fit on a page, and one needs no overflow page.
const BLOCK: usize = 4000;
/// Bits of a row's number that count the blocks of one task.
const BITS: u32 = 16;
/// The number of the first task. From here on the numbers of blocks have one length on the disk, up to four billion
/// tasks.
pub(super) const FIRST_TASK: i64 = 1 << 32;

/// Stores the body of the task `n`.
pub(super) fn put(db: &Connection, id: &str, n: i64, body: &[u8]) -> Result<(), StoreError> {
    if body.len().div_ceil(BLOCK) > 1 << BITS {
        return Err(StoreError::TooLong(id.to_owned()));
    }
    let mut insert = db.prepare_cached("INSERT INTO block (n, bytes) VALUES (?1, ?2)")?;
    for (number, piece) in (n << BITS..).zip(body.chunks(BLOCK)) {
        let mut block = [0; BLOCK];
        block[..piece.len()].copy_from_slice(piece);
        insert.execute((number, block))?;
    }
    Ok(())
}

/// The body of the task `n`; empty when it was deleted. A body is JSON, which has no zero bytes: those at the end
/// are padding.
pub(super) fn get(db: &Connection, n: i64) -> Result<Bytes, StoreError> {
    let mut select =
        db.prepare_cached("SELECT bytes FROM block WHERE n >= ?1 AND n < ?2 ORDER BY n")?;
    let mut rows = select.query(numbers(n))?;
    let mut body = Vec::new();
    while let Some(row) = rows.next()? {
        body.extend_from_slice(row.get_ref(0)?.as_blob().unwrap_or_default());
    }
    let length = body
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    body.truncate(length);
    Ok(body.into())
}

/// Deletes the body of the task `n`.
pub(super) fn delete(db: &Connection, n: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM block WHERE n >= ?1 AND n < ?2")?
        .execute(numbers(n))?;
    Ok(())
}

fn numbers(n: i64) -> (i64, i64) {
    (n << BITS, (n + 1) << BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::{Kind, Limits, keep, schema};

    /// With rows of the bodies' own lengths this finds parts of deleted ones.
    #[test]
    fn rows_that_move_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.db");
        let db = schema::open(&Kind::Sqlite(path.clone()), &Limits::default()).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let mut live = Vec::new();
        let name = |n: i64| format!("<body {n:06}>");
        let transaction = db.unchecked_transaction().unwrap();
        for number in 0..20_000 {
            let body = name(number).repeat(random.usize(1..20));
            put(&db, "a", FIRST_TASK + number, body.as_bytes()).unwrap();
            live.push(number);
            if live.len() > 100 {
                let ended = live.swap_remove(random.usize(..live.len()));
                delete(&db, FIRST_TASK + ended).unwrap();
            }
        }
        transaction.commit().unwrap();
        keep::wipe(&db).unwrap();
        drop(db);
        let file = std::fs::read(path).unwrap();
        let found: BTreeSet<&[u8]> = file
            .windows(13)
            .filter(|text| text.starts_with(b"<body ") && text.ends_with(b">"))
            .collect();
        let live: Vec<String> = live.into_iter().map(name).collect();
        let expected: BTreeSet<&[u8]> = live.iter().map(String::as_bytes).collect();
        assert!(found == expected, "{} for {}", found.len(), expected.len());
    }
}
