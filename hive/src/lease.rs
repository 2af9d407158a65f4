//! `apply.lock`: the whole pool for one apply, as long as the process that asked for it.
//!
//! The lock of the file is the lease, and ends with its process, however that ends. What stands in the file only says whose
//! it is: written and read under the pool's lock, so that it is never that of an earlier holder.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

use pool_core::rpc::{ErrorCode, HiveError, Holder};

use crate::error::{Result, fail, io_error};
use crate::home::{Home, open_lock, try_lock};

/// Nobody else applies to the pool until it is dropped.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

impl Lease {
    /// Takes the lease, or says who has it.
    pub fn take(home: &Home, holder: &Holder) -> Result<Self> {
        let home = home.lock()?;
        let path = home.lease();
        let mut file = open_lock(&path)?;
        if !try_lock(&file, &path)? {
            let mut text = Vec::new();
            let read = file.read_to_end(&mut text);
            read.map_err(|e| io_error("read", &path, &e))?;
            return Err(held(serde_json::from_slice(&text).ok()));
        }
        match name(&mut file, holder) {
            // An apply may be what makes room again.
            Err(e) if io_error("write", &path, &e).code != ErrorCode::DiskFull => {
                Err(io_error("write", &path, &e))
            }
            _ => Ok(Self { _file: file }),
        }
    }
}

fn name(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(holder)?)
}

fn held(holder: Option<Holder>) -> HiveError {
    let Some(holder) = holder else {
        return fail(
            ErrorCode::Locked,
            "somebody else applies to the pool; who, its apply.lock does not say",
            "wait until that is over; `lsof` on the pool names the process that holds apply.lock",
        );
    };
    let Holder {
        who,
        fleet,
        command,
        pid,
        since,
    } = holder;
    let since = since.strftime("%Y-%m-%d %H:%M:%S UTC");
    fail(
        ErrorCode::Locked,
        format!(
            "{who} holds the pool with `{command}` of the fleet {fleet}, process {pid}, since {since}"
        ),
        "wait until that is over: `--lock-timeout SECONDS` does; it ends with its process",
    )
}
