//! The files that an orchestrator is given, beside what it stores.

use std::collections::BTreeMap;
use std::io;

use pool_core::build::ORCHESTRATOR;
use pool_core::check::check;
use pool_core::digest::Sha256;
use pool_core::name::FleetName;
use pool_core::orchestrator::{ConfigFile, OrchestratorSpec};
use pool_core::rpc::ErrorCode;
use pool_core::supply::Secret;

use crate::error::{Result, fail, io_error};
use crate::home::{Home, Locked};
use crate::{Hive, file, services};

/// Stores one that an orchestrator can use, for its user alone; whoever reads meanwhile sees the old one or the whole new one.
pub fn configure(
    hive: &Hive,
    home: &Locked,
    fleet: &FleetName,
    file: ConfigFile,
    content: &Secret,
) -> Result<()> {
    let program = services::program(hive, ORCHESTRATOR)?;
    let checked = check(&program, file, content.expose());
    if let Err(wrong) = checked.map_err(|e| io_error("run", &program, &e))? {
        return Err(fail(
            ErrorCode::BadRequest,
            format!("no orchestrator can use it: {wrong}"),
            "what was there before is left as it is",
        ));
    }
    let folder = home.store(fleet);
    file::make_private(&folder)?;
    file::remove_broken_off(&folder)?;
    file::write(&home.config(fleet, file), content.expose().as_bytes())
}

/// The digests of those that there are.
pub fn observe(home: &Home) -> Result<BTreeMap<FleetName, BTreeMap<ConfigFile, Sha256>>> {
    let mut all = BTreeMap::new();
    for name in file::entries(&home.orchestrators())? {
        // The records beside them have a dot in their names, which no fleet has.
        let Ok(fleet) = name.parse::<FleetName>() else {
            continue;
        };
        let mut found = BTreeMap::new();
        for file in ConfigFile::ALL {
            found.extend(digest(home, &fleet, *file)?.map(|digest| (*file, digest)));
        }
        if !found.is_empty() {
            all.insert(fleet, found);
        }
    }
    Ok(all)
}

/// Of what one holds; none where it is not there.
pub fn digest(home: &Home, fleet: &FleetName, file: ConfigFile) -> Result<Option<Sha256>> {
    let path = home.config(fleet, file);
    match std::fs::read(&path) {
        Ok(content) => Ok(Some(Sha256::of(content))),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(io_error("read", &path, &e)),
    }
}

/// Takes away those that the orchestrator does not have any more.
pub fn prune(home: &Locked, spec: &OrchestratorSpec) -> Result<()> {
    let mut files = ConfigFile::ALL.iter();
    files.try_for_each(|file| {
        if spec.files.contains(file) {
            return Ok(());
        }
        match digest(home, &spec.fleet, *file)? {
            Some(_) => file::remove(&home.config(&spec.fleet, *file)),
            None => Ok(()),
        }
    })
}
