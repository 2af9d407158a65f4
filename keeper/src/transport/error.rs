//! Why a pool cannot be reached.

use std::io::ErrorKind;

use pool_core::name::PoolName;

use super::connection::{Endpoint, Options};
use super::ssh;

/// A pool that cannot be reached, in ssh's own words and with the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pool `{pool}` ({destination}): {kind}: {cause}")]
pub struct ConnectError {
    pub pool: PoolName,
    /// As the fleet says: `ssh://vince@mac`, or `local`.
    pub destination: String,
    pub kind: ConnectErrorKind,
    pub cause: String,
    /// What to do about it.
    pub help: String,
}

/// The kinds of failure between two machines. None of them is retried: a failed login counts
/// against the operator's address on the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectErrorKind {
    #[error("its host key is not known")]
    HostKeyUnknown,
    #[error("its host key has changed")]
    HostKeyChanged,
    #[error("login denied")]
    AuthDenied,
    #[error("connection refused")]
    Refused,
    #[error("no answer in time")]
    Timeout,
    #[error("no such host")]
    NameUnknown,
    #[error("the way to it is closed")]
    ProxyJump,
    #[error("no ssh on this machine")]
    NoSsh,
    #[error("connection lost")]
    Lost,
    #[error("its login shell did not run our command")]
    Shell,
    #[error("cannot connect")]
    Other,
}

impl ConnectErrorKind {
    /// The kind of a failed connection, and the cause in ssh's own words.
    pub(super) fn of(error: &openssh::Error) -> (Self, String) {
        let said = ssh::words(error);
        match error {
            openssh::Error::Connect(io) if io.kind() == ErrorKind::NotFound => (Self::NoSsh, said),
            openssh::Error::Connect(_) => Self::of_log(&said),
            _ => (Self::Other, said),
        }
    }

    /// The first row that fits counts: a log about a host key may also mention a closed connection.
    fn of_log(log: &str) -> (Self, String) {
        const TELLING: [(&str, ConnectErrorKind); 13] = [
            (
                "has changed and you have requested",
                ConnectErrorKind::HostKeyChanged,
            ),
            ("REVOKED HOST KEY", ConnectErrorKind::HostKeyChanged),
            ("host key is known for", ConnectErrorKind::HostKeyUnknown),
            (
                "Host key verification failed",
                ConnectErrorKind::HostKeyUnknown,
            ),
            ("Permission denied (", ConnectErrorKind::AuthDenied),
            (
                "Too many authentication failures",
                ConnectErrorKind::AuthDenied,
            ),
            ("UNKNOWN port 65535", ConnectErrorKind::ProxyJump),
            ("Could not resolve hostname", ConnectErrorKind::NameUnknown),
            ("Connection refused", ConnectErrorKind::Refused),
            ("timed out", ConnectErrorKind::Timeout),
            ("kex_exchange_identification", ConnectErrorKind::Lost),
            ("Connection closed", ConnectErrorKind::Lost),
            ("Connection reset", ConnectErrorKind::Lost),
        ];
        let mut lines = log.lines().map(str::trim);
        let found = TELLING.iter().find_map(|&(text, kind)| {
            let line = lines.clone().find(|line| line.contains(text))?;
            Some((kind, line.to_owned()))
        });
        found.unwrap_or_else(|| {
            let last = lines.rfind(|line| !line.is_empty());
            let cause =
                last.unwrap_or("ssh said nothing (is there a LogLevel in its configuration?)");
            (Self::Other, cause.to_owned())
        })
    }

    /// The way out.
    pub(super) fn help(self, endpoint: &Endpoint, options: &Options) -> String {
        let config = options.ssh_config.as_deref();
        let config = config.map_or(String::new(), |path| format!("-F {} ", path.display()));
        let ssh = format!("ssh {config}{endpoint}");
        match self {
            Self::HostKeyUnknown => format!(
                "connect once with `{ssh}` and check the fingerprint, or put the key into known_hosts, \
                 or set `host_keys: accept-new` for the pool"
            ),
            Self::HostKeyChanged => {
                "if the machine was installed anew, check its fingerprint and take the old key out with \
                 `ssh-keygen -R`; if it was not, somebody may be listening in between"
                    .to_owned()
            }
            Self::AuthDenied => format!(
                "`{ssh}` must log in without a question: add your public key to authorized_keys there, \
                 or your private key to the agent with `ssh-add`"
            ),
            Self::Refused => "is sshd running there, and on this port?".to_owned(),
            Self::Timeout => "is the machine on, and does its firewall let ssh in?".to_owned(),
            Self::NameUnknown => {
                "correct the host in fleet.yaml, or name it in the ssh configuration".to_owned()
            }
            Self::ProxyJump => format!("`{ssh}` shows what the jump host says"),
            Self::NoSsh => "install OpenSSH's client, on Debian `apt install openssh-client`".to_owned(),
            Self::Lost => "run it again; the pool's own sshd log may say more".to_owned(),
            Self::Shell => format!("`{ssh} sh -c true` must work: the account needs a login shell"),
            Self::Other => format!("`{ssh}` may say more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_line_of_a_log_decides() {
        let cases = [
            (
                "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port 65535",
                ConnectErrorKind::ProxyJump,
                "Connection closed by UNKNOWN port 65535",
            ),
            (
                "connect to host box port 22: Operation timed out",
                ConnectErrorKind::Timeout,
                "connect to host box port 22: Operation timed out",
            ),
            (
                "",
                ConnectErrorKind::Other,
                "ssh said nothing (is there a LogLevel in its configuration?)",
            ),
            (
                "connect to host box port 22: No route to host",
                ConnectErrorKind::Other,
                "connect to host box port 22: No route to host",
            ),
        ];
        for (log, kind, cause) in cases {
            assert_eq!(ConnectErrorKind::of_log(log), (kind, cause.to_owned()));
        }
    }

    #[test]
    fn a_machine_without_ssh_is_told_what_to_install() {
        let missing = openssh::Error::Connect(ErrorKind::NotFound.into());
        let (kind, _) = ConnectErrorKind::of(&missing);
        assert_eq!(kind, ConnectErrorKind::NoSsh);
        let help = kind.help(&Endpoint::Local, &Options::default());
        assert!(help.contains("apt install openssh-client"), "{help}");
    }
}
