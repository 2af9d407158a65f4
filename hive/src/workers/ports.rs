//! Which port a worker gets.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use pool_core::rpc::ErrorCode;
use pool_core::{FIRST_WORKER_PORT, ORCHESTRATOR_PORT};

use super::record;
use crate::error::{Result, fail};
use crate::home::Locked;
use crate::orchestrators;

/// The first free port from `from` on: of no live worker, of no orchestrator, bindable.
pub fn first_free(home: &Locked, ip: IpAddr, from: u16) -> Result<SocketAddr> {
    let workers = record::users(home)?;
    let workers = workers.iter().map(|record| record.listen.port());
    let orchestrators = orchestrators::all(home)?;
    let orchestrators = orchestrators.iter().map(|record| record.spec.listen.port());
    let taken: BTreeSet<u16> = workers
        .chain(orchestrators)
        .chain([ORCHESTRATOR_PORT])
        .collect();
    for port in from.max(FIRST_WORKER_PORT)..=u16::MAX {
        let listen = SocketAddr::new(ip, port);
        if !taken.contains(&port) && is_free(listen)? {
            return Ok(listen);
        }
    }
    Err(fail(
        ErrorCode::Io,
        format!("no port from {from} on is free on {ip}"),
        "stop what holds them: `ss -ltn` lists the ports that are taken",
    ))
}

/// Exactly this port, or an error.
pub fn exactly(ip: IpAddr, port: u16) -> Result<SocketAddr> {
    let listen = SocketAddr::new(ip, port);
    if is_free(listen)? {
        return Ok(listen);
    }
    Err(fail(
        ErrorCode::BadRequest,
        format!("the port {listen} is taken"),
        "name another port, or none: then the first free one is taken",
    ))
}

/// Whether a server could listen there now.
pub fn is_free(listen: SocketAddr) -> Result<bool> {
    match TcpListener::bind(listen) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(e) => Err(fail(
            ErrorCode::BadRequest,
            format!("nothing can listen on {listen}: {e}"),
            "`advertise`, or `listen` of an orchestrator, has to be an address of this very machine",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn found(ip: IpAddr, from: u16) -> Result<SocketAddr> {
        let folder = tempfile::tempdir().unwrap();
        let home = crate::home::Home::new(folder.path()).unwrap();
        first_free(&home.lock().unwrap(), ip, from)
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let taken = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(!is_free((LOOPBACK, port).into()).unwrap());
        let found = found(LOOPBACK, port);
        assert!(found.is_err() || found.unwrap().port() > port);
        assert_eq!(
            exactly(LOOPBACK, port).unwrap_err().message,
            format!("the port 127.0.0.1:{port} is taken")
        );
    }

    #[test]
    fn the_orchestrators_port_is_never_taken() {
        let found = found(LOOPBACK, ORCHESTRATOR_PORT).unwrap();
        assert_ne!(found.port(), ORCHESTRATOR_PORT);
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let error = found(elsewhere, FIRST_WORKER_PORT).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest);
    }
}
