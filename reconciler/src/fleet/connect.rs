//! How a pool is reached: `local`, or `ssh://[USER@]HOST[:PORT]`.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// How a pool is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Connect {
    /// It is the machine that runs rbee.
    Local,
    Ssh(SshDestination),
}

/// `ssh://[USER@]HOST[:PORT]`. What is absent is left to the SSH configuration, where the host may
/// be an alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshDestination {
    pub user: Option<String>,
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    pub port: Option<u16>,
}

/// Why a text says no way to a pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConnect {
    #[error("`{0}` is no way to reach a pool")]
    Unknown(String),
    #[error("`{0}` is not an SSH user")]
    User(String),
    #[error("`{0}` is not a host")]
    Host(String),
    #[error("`{0}` is not a port")]
    Port(String),
    #[error("an SSH destination has no path: `{0}` is too much")]
    Path(String),
}

impl Connect {
    /// What two pools on one machine have in common.
    pub(super) fn machine(&self) -> Self {
        match self {
            Self::Local => Self::Local,
            Self::Ssh(destination) => Self::Ssh(SshDestination {
                host: destination.host.to_lowercase(),
                ..destination.clone()
            }),
        }
    }
}

impl FromStr for Connect {
    type Err = InvalidConnect;

    fn from_str(text: &str) -> Result<Self, InvalidConnect> {
        if text == "local" {
            return Ok(Self::Local);
        }
        let rest = text
            .strip_prefix("ssh://")
            .ok_or_else(|| InvalidConnect::Unknown(text.to_owned()))?;
        if let Some(path) = rest.find('/') {
            return Err(InvalidConnect::Path(rest[path..].to_owned()));
        }
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return Err(InvalidConnect::Host(rest.to_owned())),
            },
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        // A word that starts with `-` would be an option to ssh.
        let word = |text: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !text.is_empty() && !text.starts_with('-') && text.chars().all(allowed)
        };
        if let Some(user) = user.filter(|user| !word(user)) {
            return Err(InvalidConnect::User(user.to_owned()));
        }
        let is_host = if rest.starts_with('[') {
            host.parse::<Ipv6Addr>().is_ok()
        } else {
            word(host)
        };
        if !is_host {
            return Err(InvalidConnect::Host(host.to_owned()));
        }
        let port = port
            .map(|port| match port.parse() {
                Ok(number) if number > 0 && !port.starts_with(['0', '+']) => Ok(number),
                _ => Err(InvalidConnect::Port(port.to_owned())),
            })
            .transpose()?;
        Ok(Self::Ssh(SshDestination {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        }))
    }
}

impl fmt::Display for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Ssh(destination) => write!(f, "ssh://{destination}"),
        }
    }
}

impl fmt::Display for SshDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl JsonSchema for Connect {
    fn schema_name() -> Cow<'static, str> {
        "Connect".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(local|ssh://([A-Za-z0-9._-]+@)?([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_to_a_pool_reads_back_as_it_prints() {
        for text in [
            "local",
            "ssh://workstation",
            "ssh://vince@mac.home.arpa",
            "ssh://root@10.0.0.7:2222",
            "ssh://[fd00::1]",
            "ssh://a@[fd00::1]:22",
        ] {
            assert_eq!(text.parse::<Connect>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "Local",
            "mac",
            "ssh://",
            "ssh://@mac",
            "ssh://mac:",
            "ssh://mac:0",
            "ssh://mac:022",
            "ssh://mac:65536",
            "ssh://mac/",
            "ssh://-oProxyCommand=x",
            "ssh://-l@mac",
            "ssh://fd00::1",
            "ssh://[mac]",
            "ssh://[fd00::1",
            "ssh://[fd00::1]22",
            "ssh://a b",
            "ssh://a@b@c",
            "http://mac",
        ] {
            assert!(bad.parse::<Connect>().is_err(), "{bad:?}");
        }
    }
}
