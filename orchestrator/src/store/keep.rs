//! The statements that keep the store small, and those about usage.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Limits, StoreError, Usage};

/// Tasks that one transaction forgets, so that others need not wait long for it.
const AT_ONCE: u64 = 500;

/// Deletes ended tasks beyond the limits, the oldest first; true when there are more of them.
pub(super) fn forget(db: &Connection, limits: &Limits, now: u64) -> Result<bool, StoreError> {
    let too_old = now.saturating_sub(limits.ended_for.as_millis() as u64);
    let beyond = db
        .prepare_cached(
            "SELECT n, last_batch FROM (SELECT n, last_batch, ended_at, row_number() OVER newest AS place, \
             sum(event_bytes) OVER newest AS total FROM task WHERE ended_at IS NOT NULL \
             WINDOW newest AS (ORDER BY ended_at DESC, n DESC)) \
             WHERE ended_at < ?1 OR place > ?2 OR total > ?3 ORDER BY place DESC LIMIT ?4",
        )?
        .query_map(
            params![too_old, limits.ended_tasks, limits.bytes / 2, AT_ONCE],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?
        .collect::<rusqlite::Result<Vec<(i64, Option<i64>)>>>()?;
    let mut task = db.prepare_cached("DELETE FROM task WHERE n = ?1")?;
    let mut batch = db.prepare_cached("DELETE FROM event WHERE n = ?1 RETURNING previous")?;
    for &(n, last_batch) in &beyond {
        task.execute([n])?;
        let mut next = last_batch;
        while let Some(n) = next {
            next = batch.query_row([n], |row| row.get(0))?;
        }
    }
    Ok(beyond.len() as u64 == AT_ONCE)
}

/// Gives pages that are free back to the disk, and empties the log, so that nothing deleted is left in either.
pub(super) fn wipe(db: &Connection) -> Result<(), StoreError> {
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, u64>(0));
    // Some stay for what comes next.
    let spare = number("page_count")? / 4;
    let free = number("freelist_count")?;
    if free > spare {
        db.execute_batch(&format!("PRAGMA incremental_vacuum({})", free - spare))?;
    }
    let is_busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy {
        return Err(StoreError::Failed("its log is in use".into()));
    }
    Ok(())
}

pub(super) fn put_usage(db: &Connection, usage: &Usage) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO usage (tenant, unix_ms, day, minute) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET \
         unix_ms = excluded.unix_ms, day = excluded.day, minute = excluded.minute",
    )?
    .execute(params![
        usage.tenant,
        usage.unix_ms,
        usage.day,
        usage.minute
    ])?;
    Ok(())
}

pub(super) fn usage(db: &Connection) -> Result<Vec<Usage>, StoreError> {
    let usage = db
        .prepare_cached("SELECT tenant, unix_ms, day, minute FROM usage ORDER BY tenant")?
        .query_map([], |row| {
            Ok(Usage {
                tenant: row.get(0)?,
                unix_ms: row.get(1)?,
                day: row.get(2)?,
                minute: row.get(3)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(usage)
}

pub(super) fn put_promised(db: &Connection, promised: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO promised (n, bytes) VALUES (0, ?1) ON CONFLICT DO UPDATE SET bytes = excluded.bytes",
    )?
    .execute([promised])?;
    Ok(())
}

pub(super) fn promised(db: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    let found = db
        .prepare_cached("SELECT bytes FROM promised")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(found)
}
