//! Which port a worker gets.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use pool_core::rpc::ErrorCode;
use pool_core::worker::WorkerRecord;
use pool_core::{FIRST_WORKER_PORT, ORCHESTRATOR_PORT};

use crate::error::{Result, fail};

/// The first free port from `from` on: no recorded worker's, not the orchestrator's, bindable.
pub fn first_free(ip: IpAddr, from: u16, recorded: &[WorkerRecord]) -> Result<SocketAddr> {
    let is_recorded = |port: u16| recorded.iter().any(|record| record.listen.port() == port);
    for port in from.max(FIRST_WORKER_PORT)..=u16::MAX {
        let listen = SocketAddr::new(ip, port);
        if port != ORCHESTRATOR_PORT && !is_recorded(port) && is_free(listen)? {
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
            format!("a worker cannot listen on {listen}: {e}"),
            "`advertise` has to be an address of this very machine",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_port_that_is_taken_is_passed_over() {
        let taken = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(!is_free((LOOPBACK, port).into()).unwrap());
        let found = first_free(LOOPBACK, port, &[]);
        assert!(found.is_err() || found.unwrap().port() > port);
        assert_eq!(
            exactly(LOOPBACK, port).unwrap_err().message,
            format!("the port 127.0.0.1:{port} is taken")
        );
    }

    #[test]
    fn the_orchestrators_port_is_never_taken() {
        let found = first_free(LOOPBACK, ORCHESTRATOR_PORT, &[]).unwrap();
        assert_ne!(found.port(), ORCHESTRATOR_PORT);
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let error = first_free(elsewhere, FIRST_WORKER_PORT, &[]).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest);
    }
}
