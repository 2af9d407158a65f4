//! The statements about tasks and their events.

use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};

use super::{Events, State, StoreError, Stored, Task, body};

pub(super) fn accept(db: &Connection, task: &Task, first: &Events) -> Result<(), StoreError> {
    let n: i64 = db
        .prepare_cached("SELECT coalesce(max(n) + 1, ?1) FROM task")?
        .query_row([body::FIRST_TASK], |row| row.get(0))?;
    let added = db
        .prepare_cached(
            "INSERT INTO task (n, id, tenant, model, class, session, tokens, submitted_at, deadline, \
             correlation_id, state) VALUES (:n, :id, :tenant, :model, :class, :session, :tokens, \
             :submitted_at, :deadline, :correlation_id, :state) ON CONFLICT DO NOTHING",
        )?
        .execute(named_params! {
            ":n": n,
            ":id": task.id,
            ":tenant": task.tenant,
            ":model": task.model,
            ":class": task.class,
            ":session": task.session,
            ":tokens": task.tokens,
            ":submitted_at": task.submitted_at,
            ":deadline": task.deadline,
            ":correlation_id": task.correlation_id,
            ":state": State::Queued.as_str(),
        })?;
    if added == 0 {
        return Err(StoreError::Duplicate(task.id.clone()));
    }
    body::put(db, &task.id, n, &task.body)?;
    append(db, &task.id, first)?;
    Ok(())
}

/// A task that has not ended.
struct Open {
    n: i64,
    next_event: u64,
    last_batch: Option<i64>,
}

fn open(db: &Connection, id: &str) -> Result<Open, StoreError> {
    let found = db
        .prepare_cached("SELECT n, next_event, last_batch, ended_at FROM task WHERE id = ?1")?
        .query_row([id], |row| {
            let open = Open {
                n: row.get(0)?,
                next_event: row.get(1)?,
                last_batch: row.get(2)?,
            };
            Ok((open, row.get::<_, Option<u64>>(3)?))
        })
        .optional()?;
    match found {
        None => Err(StoreError::Unknown(id.to_owned())),
        Some((_, Some(_))) => Err(StoreError::Ended(id.to_owned())),
        Some((open, None)) => Ok(open),
    }
}

/// The task waits for a worker, again.
pub(super) fn queued(db: &Connection, id: &str) -> Result<(), StoreError> {
    set(db, id, State::Queued, None)
}

pub(super) fn dispatched(db: &Connection, id: &str, worker: &str) -> Result<(), StoreError> {
    set(db, id, State::Dispatched, Some(worker))
}

pub(super) fn running(db: &Connection, id: &str, worker: &str) -> Result<(), StoreError> {
    set(db, id, State::Running, Some(worker))
}

fn set(db: &Connection, id: &str, state: State, worker: Option<&str>) -> Result<(), StoreError> {
    let task = open(db, id)?;
    db.prepare_cached(
        "UPDATE task SET state = ?2, worker = coalesce(?3, worker), attempts = attempts + ?4 WHERE n = ?1",
    )?
    .execute(params![
        task.n,
        state.as_str(),
        worker,
        state == State::Dispatched
    ])?;
    Ok(())
}

pub(super) fn append(db: &Connection, id: &str, events: &Events) -> Result<(), StoreError> {
    let task = open(db, id)?;
    if events.first() != task.next_event {
        return Err(StoreError::Gap {
            id: id.to_owned(),
            expected: task.next_event,
            found: events.first(),
        });
    }
    db.prepare_cached(
        "INSERT INTO event (previous, first, count, frames) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        task.last_batch,
        events.first(),
        events.next() - events.first(),
        &events.bytes()[..]
    ])?;
    db.prepare_cached(
        "UPDATE task SET last_batch = ?2, next_event = ?3, event_bytes = event_bytes + ?4, \
         sent_tokens = sent_tokens + ?5 WHERE n = ?1",
    )?
    .execute(params![
        task.n,
        db.last_insert_rowid(),
        events.next(),
        events.bytes().len(),
        events.tokens()
    ])?;
    Ok(())
}

/// Deletes the body first: where the store is full, that makes room for the last events.
pub(super) fn finish(
    db: &Connection,
    id: &str,
    state: State,
    last: &Events,
    at: u64,
) -> Result<(), StoreError> {
    let task = open(db, id)?;
    body::delete(db, task.n)?;
    append(db, id, last)?;
    db.prepare_cached("UPDATE task SET state = ?2, ended_at = ?3 WHERE n = ?1")?
        .execute(params![task.n, state.as_str(), at])?;
    Ok(())
}

const COLUMNS: &str = "n, id, tenant, model, class, session, tokens, submitted_at, deadline, correlation_id, state, \
                       worker, attempts, sent_tokens, next_event, ended_at, last_batch";

pub(super) fn task(db: &Connection, id: &str) -> Result<Option<Stored>, StoreError> {
    let found = db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM task WHERE id = ?1"))?
        .query_row([id], read)
        .optional()?;
    found.map(|found| complete(db, found)).transpose()
}

/// Those that have not ended, in the order in which they were accepted.
pub(super) fn open_tasks(db: &Connection) -> Result<Vec<Stored>, StoreError> {
    let mut select = db.prepare(&format!(
        "SELECT {COLUMNS} FROM task WHERE ended_at IS NULL ORDER BY n"
    ))?;
    let found = select
        .query_map([], read)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    found.into_iter().map(|found| complete(db, found)).collect()
}

/// A row of `task`, still without what other tables have of it.
struct Found {
    n: i64,
    last_batch: Option<i64>,
    stored: Stored,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Found> {
    let state: String = row.get(10)?;
    let state = State::ALL
        .into_iter()
        .find(|known| known.as_str() == state)
        .ok_or(rusqlite::Error::InvalidQuery)?;
    Ok(Found {
        n: row.get(0)?,
        last_batch: row.get(16)?,
        stored: Stored {
            task: Task {
                id: row.get(1)?,
                tenant: row.get(2)?,
                model: row.get(3)?,
                class: row.get(4)?,
                session: row.get(5)?,
                body: bytes::Bytes::new(),
                tokens: row.get(6)?,
                submitted_at: row.get(7)?,
                deadline: row.get(8)?,
                correlation_id: row.get(9)?,
            },
            state,
            worker: row.get(11)?,
            attempts: row.get(12)?,
            sent_tokens: row.get(13)?,
            next_event: row.get(14)?,
            ended_at: row.get(15)?,
            terminal: None,
        },
    })
}

fn complete(db: &Connection, found: Found) -> Result<Stored, StoreError> {
    let mut stored = found.stored;
    match (stored.ended_at, found.last_batch) {
        (Some(_), Some(last)) => stored.terminal = Some(batch(db, last)?.last()),
        _ => stored.task.body = body::get(db, found.n)?,
    }
    Ok(stored)
}

fn batch(db: &Connection, n: i64) -> Result<Events, StoreError> {
    let events = db
        .prepare_cached("SELECT first, count, frames FROM event WHERE n = ?1")?
        .query_row([n], |row| {
            Ok(Events::stored(row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    Ok(events)
}

/// The batches with the events from the id `from` on, about `most_bytes` of them at once; the first may begin with
/// events before. None for a task that is not there.
pub(super) fn events(
    db: &Connection,
    id: &str,
    from: u64,
    most_bytes: usize,
) -> Result<Vec<Events>, StoreError> {
    let last = db
        .prepare_cached("SELECT last_batch FROM task WHERE id = ?1 AND next_event > ?2")?
        .query_row(params![id, from], |row| row.get::<_, Option<i64>>(0))
        .optional()?;
    let mut wanted = Vec::new();
    let mut next = last.flatten();
    let mut step = db.prepare_cached("SELECT previous, first FROM event WHERE n = ?1")?;
    while let Some(n) = next {
        wanted.push(n);
        let (previous, first): (Option<i64>, u64) =
            step.query_row([n], |row| Ok((row.get(0)?, row.get(1)?)))?;
        next = previous.filter(|_| first > from);
    }
    let mut batches = Vec::new();
    let mut bytes = 0;
    for n in wanted.into_iter().rev() {
        let events = batch(db, n)?;
        bytes += events.bytes().len();
        batches.push(events);
        if bytes >= most_bytes {
            break;
        }
    }
    Ok(batches)
}
