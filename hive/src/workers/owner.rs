//! Whose a worker is, and whether it is protected.

use pool_core::address::WorkerAddress;
use pool_core::name::{FleetName, WorkerId};
use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::worker::{WorkerRecord, WorkerState};

use super::record;
use crate::error::{Result, fail};
use crate::home::Locked;

/// Sets whether a worker of this fleet is protected.
pub fn protect(home: &Locked, id: &WorkerId, owner: &FleetName, protect: bool) -> Result<()> {
    let mut record = record::get(home, id)?;
    if record.spec.fleet.as_ref() != Some(owner) {
        return Err(not_owned(&record));
    }
    record.protect = protect;
    record::save(home, &record)
}

/// Gives a worker that belongs to nobody to a fleet, where it stands at an address from then on.
pub fn adopt(
    home: &Locked,
    id: &WorkerId,
    owner: &FleetName,
    address: &WorkerAddress,
) -> Result<()> {
    let mut record = record::get(home, id)?;
    if record.spec.fleet.is_some() {
        return Err(not_owned(&record));
    }
    if !matches!(record.state, WorkerState::Starting | WorkerState::Ready) {
        return Err(fail(
            ErrorCode::BadRequest,
            format!("the worker {id} is {} and serves nobody", record.state),
            format!("forget it: rbee-hive worker stop {id}"),
        ));
    }
    if address.device != record.spec.device {
        return Err(fail(
            ErrorCode::BadRequest,
            format!(
                "the worker {id} runs on {}: it cannot stand at {address}",
                record.spec.device
            ),
            "give it an address on its own device",
        ));
    }
    let spec = (Some(owner.clone()), Some(address.clone()));
    let records = record::all(home)?;
    let mut others = records.iter();
    if let Some(other) =
        others.find(|other| (&other.spec.fleet, &other.spec.address) == (&spec.0, &spec.1))
    {
        return Err(fail(
            ErrorCode::InUse,
            format!("the address {address} is taken by the worker {}", other.id),
            "give it another address",
        ));
    }
    (record.spec.fleet, record.spec.address) = spec;
    record.spec_hash = record.spec.hash();
    record::save(home, &record)
}

/// Refuses to stop a worker for a fleet that does not own it, or one that is protected and `is_needed`.
pub(super) fn check_stop(record: &WorkerRecord, owner: &FleetName, is_needed: bool) -> Result<()> {
    if record.spec.fleet.as_ref() != Some(owner) {
        return Err(not_owned(record));
    }
    if !record.protect || !is_needed {
        return Ok(());
    }
    Err(fail(
        ErrorCode::Protected,
        format!("the worker {} is protected", record.id),
        "name it in fleet.yaml with `protect: false`, apply, and only then take it out",
    ))
}

/// Whether another worker of the fleet, at the same address, is ready.
pub(super) fn is_replaced(home: &Locked, record: &WorkerRecord) -> Result<bool> {
    let spec = &record.spec;
    let is_other = |other: &&WorkerRecord| {
        other.id != record.id
            && other.state == WorkerState::Ready
            && spec.address.is_some()
            && (&other.spec.fleet, &other.spec.address) == (&spec.fleet, &spec.address)
    };
    let records = record::users(home)?;
    Ok(records.iter().any(|other| is_other(&other)))
}

fn not_owned(record: &WorkerRecord) -> HiveError {
    let owner = match &record.spec.fleet {
        Some(fleet) => format!("the fleet {fleet}"),
        None => "a person, who spawned it by hand".into(),
    };
    fail(
        ErrorCode::NotOwned,
        format!("the worker {} belongs to {owner}", record.id),
        format!(
            "whoever may, stops it on the pool: rbee-hive worker stop {}",
            record.id
        ),
    )
}
