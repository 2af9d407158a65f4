//! Pools that cannot be reached: each with its own kind, ssh's words and a way out.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use keeper::transport::{ConnectError, ConnectErrorKind, Connection, Endpoint, HostKeys, Options};

use super::{connect, connect_to, options};
use crate::sshd::Lab;

async fn refusal(lab: &Lab, destination: &str) -> ConnectError {
    let error = connect_to(lab, destination).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("pool `mac` (ssh://"), "{text}");
    assert!(!text.contains('\n'), "{text}");
    error
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_and_the_help_shows_the_ways_to_accept_it() {
    let lab = Lab::new();
    let sshd = lab.server("box").unknown().start();
    let error = refusal(&lab, &sshd.destination()).await;
    assert_eq!(error.kind, ConnectErrorKind::HostKeyUnknown);
    let port = sshd.port();
    assert_eq!(
        error.to_string(),
        format!(
            "pool `mac` (ssh://box): its host key is not known: No ED25519 host key is known for \
             [127.0.0.1]:{port} and you have requested strict checking."
        )
    );
    let ssh = format!("ssh -F {} ssh://box", lab.config().display());
    assert!(error.help.contains(&ssh), "{}", error.help);
    assert!(
        error.help.contains("host_keys: accept-new"),
        "{}",
        error.help
    );
}

#[tokio::test]
async fn accept_new_takes_an_unknown_key_and_remembers_it() {
    let lab = Lab::new();
    let sshd = lab.server("box").unknown().start();
    let endpoint = Endpoint::Ssh {
        destination: sshd.destination(),
        host_keys: HostKeys::AcceptNew,
    };
    let pool = "mac".parse().unwrap();
    let connected = Connection::connect(&pool, &endpoint, &options(&lab)).await;
    connected.unwrap().close().await;
    connect(&lab, &sshd).await.close().await;
}

#[tokio::test]
async fn a_changed_host_key_is_refused_even_where_new_ones_are_accepted() {
    let lab = Lab::new();
    let sshd = lab.server("box").unknown().start();
    let other = lab.sshd("other");
    let line = format!("[127.0.0.1]:{} {}", sshd.port(), other.host_key());
    std::fs::write(lab.known_hosts(), line).unwrap();
    for host_keys in [HostKeys::Strict, HostKeys::AcceptNew] {
        let endpoint = Endpoint::Ssh {
            destination: sshd.destination(),
            host_keys,
        };
        let pool = "mac".parse().unwrap();
        let error = Connection::connect(&pool, &endpoint, &options(&lab)).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind, ConnectErrorKind::HostKeyChanged);
        assert!(
            error.cause.starts_with("Host key for [127.0.0.1]"),
            "{error}"
        );
        assert!(error.help.contains("ssh-keygen -R"), "{}", error.help);
    }
}

#[tokio::test]
async fn a_key_that_the_pool_does_not_know_is_an_authentication_failure() {
    let lab = Lab::new();
    let sshd = lab.server("box").refuse().start();
    let error = refusal(&lab, &sshd.destination()).await;
    assert_eq!(error.kind, ConnectErrorKind::AuthDenied);
    assert!(
        error.cause.contains("Permission denied (publickey)"),
        "{error}"
    );
    assert!(error.help.contains("ssh-add"), "{}", error.help);
    let logins = sshd
        .log()
        .matches("Connection closed by authenticating user")
        .count();
    assert!(
        logins <= 1,
        "a refused login was tried again:\n{}",
        sshd.log()
    );
}

#[tokio::test]
async fn a_closed_port_is_a_refused_connection() {
    let lab = Lab::new();
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = refusal(&lab, &format!("ssh://127.0.0.1:{port}")).await;
    assert_eq!(error.kind, ConnectErrorKind::Refused);
    assert!(error.cause.contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_peer_that_accepts_and_says_nothing_runs_into_the_connect_timeout() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let endpoint = super::ssh(&format!("ssh://127.0.0.1:{port}"));
    let options = Options {
        connect_timeout: Duration::from_secs(1),
        ..options(&lab)
    };
    let pool = "mac".parse().unwrap();
    let start = Instant::now();
    let error = Connection::connect(&pool, &endpoint, &options).await;
    let error = error.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind, ConnectErrorKind::Timeout);
    assert!(error.cause.contains("timed out"), "{error}");
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_said_to_be_unknown() {
    let lab = Lab::new();
    let error = refusal(&lab, "ssh://no-such-host.invalid").await;
    assert_eq!(error.kind, ConnectErrorKind::NameUnknown);
    assert!(
        error.cause.contains("Could not resolve hostname"),
        "{error}"
    );
}

#[tokio::test]
async fn a_name_that_ssh_would_take_for_an_option_or_a_shell_run_never_reaches_ssh() {
    let lab = Lab::new();
    let witness = lab.path("witness");
    let attack = format!("ssh://-oProxyCommand=touch${{IFS}}{}", witness.display());
    for host in [
        attack.as_str(),
        "ssh://a;b",
        "ssh://",
        "ssh://a$(b)",
        "ssh://user@-x",
        "ssh://a$(b)@c",
        "ssh://-a@c",
    ] {
        let error = refusal(&lab, host).await;
        assert_eq!(error.kind, ConnectErrorKind::NameUnknown, "{host}");
    }
    assert!(!witness.exists());
}

#[tokio::test]
async fn a_jump_host_that_does_not_let_us_in_is_named_as_the_obstacle() {
    let lab = Lab::new();
    let inner = lab.sshd("inner");
    let _outer = lab.server("outer").refuse().start();
    lab.configure("Host inner\n  ProxyJump outer\n");
    let error = refusal(&lab, &inner.destination()).await;
    assert_eq!(error.kind, ConnectErrorKind::ProxyJump);
    assert!(
        error.help.contains("shows what the jump host says"),
        "{}",
        error.help
    );
}

#[tokio::test]
async fn an_account_without_a_shell_is_not_taken_for_a_bare_pool() {
    let lab = Lab::new();
    let sshd = lab
        .server("box")
        .shell("echo This account is not available. >&2; exit 1")
        .start();
    let error = connect(&lab, &sshd).await.open().await.unwrap_err();
    assert_eq!(error.kind, ConnectErrorKind::Shell);
    assert!(
        error.cause.contains("This account is not available."),
        "{error}"
    );
}

#[tokio::test]
async fn a_login_shell_that_hangs_is_given_up() {
    let lab = Lab::new();
    let sshd = lab.server("box").shell("cat >/dev/null").start();
    let options = Options {
        start_timeout: Duration::from_secs(1),
        ..options(&lab)
    };
    let pool = "mac".parse().unwrap();
    let endpoint = super::ssh(&sshd.destination());
    let connection = Connection::connect(&pool, &endpoint, &options).await;
    let error = connection.unwrap().open().await.unwrap_err();
    assert_eq!(error.kind, ConnectErrorKind::Shell);
    assert!(
        error
            .to_string()
            .contains("did not run our command: no word"),
        "{error}"
    );
}
