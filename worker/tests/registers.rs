//! A worker of a fleet finds the fleet's orchestrator by itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use http_front::tokens::Tokens;
use pool_core::launch::WorkerLaunch;
use pool_core::registration::{BaseUrl, FleetLink, HEARTBEAT, Registered, Registration};
use pool_core::serving::Phase;
use pool_core::supply::Secret;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use worker::model::Model;
use worker::server::{Settings, bind};

use crate::networks::options;
use crate::support::{Binary, Client, Server, ask, launch, tiny, within};

const TOKEN: &str = "a-token-of-the-fleet";
const OTHER: &str = "another-token-of-the-fleet";

/// A beat that no test waits for, and one that a test can wait for often.
const SELDOM: u64 = HEARTBEAT.as_millis() as u64;
const OFTEN: u64 = 100;

/// What a worker said, and with which token.
struct Heard {
    token: String,
    said: Registration,
}

/// Hears registrations, and wants the next one after so many milliseconds.
struct Orchestrator {
    url: BaseUrl,
    heard: mpsc::UnboundedReceiver<Heard>,
    serving: JoinHandle<()>,
}

type Ears = (mpsc::UnboundedSender<Heard>, u64);

impl Orchestrator {
    async fn start(heartbeat_ms: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, heartbeat_ms)
    }

    fn start_on(listener: TcpListener, heartbeat_ms: u64) -> Self {
        let url = listener.local_addr().unwrap().into();
        let (sender, heard) = mpsc::unbounded_channel();
        let hear = async |State((sender, heartbeat_ms)): State<Ears>,
                          headers: HeaderMap,
                          Json(said): Json<Registration>| {
            let token = headers["authorization"].to_str().unwrap();
            let token = token.strip_prefix("Bearer ").unwrap().to_owned();
            // A test that is over hears nothing.
            let _ = sender.send(Heard { token, said });
            Json(Registered { heartbeat_ms })
        };
        let routes = Router::new()
            .route("/v2/workers/register", post(hear))
            .with_state((sender, heartbeat_ms));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            url,
            heard,
            serving,
        }
    }

    async fn next(&mut self) -> Heard {
        within(self.heard.recv()).await.unwrap()
    }

    async fn until(&mut self, status: Phase) -> Heard {
        loop {
            let heard = self.next().await;
            if heard.said.status == status {
                return heard;
            }
        }
    }
}

impl Drop for Orchestrator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The folder in which a hive keeps the link file.
struct Fleet(TempDir);

impl Fleet {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("home.json")
    }

    /// As a hive writes it: at once, and for its owner only.
    fn write(&self, text: &str) {
        let file = tempfile::NamedTempFile::new_in(self.0.path()).unwrap();
        std::fs::write(file.path(), text).unwrap();
        file.persist(self.file()).unwrap();
    }

    fn link(&self, token: &str, orchestrator: Option<&BaseUrl>) {
        let link = FleetLink {
            token: Secret::new(token),
            orchestrator: orchestrator.cloned(),
        };
        self.write(&serde_json::to_string(&link).unwrap());
    }

    /// A worker of this fleet.
    fn launch(&self) -> WorkerLaunch {
        WorkerLaunch {
            address: Some("chat/blep/cpu/0".parse().unwrap()),
            fleet: Some("home".parse().unwrap()),
            link_file: Some(self.file()),
            ..launch(&tiny())
        }
    }
}

fn asking_for_a_token() -> Settings {
    Settings {
        tokens: Tokens::read(None, Some("a-token-of-clients")).unwrap(),
        ..Settings::default()
    }
}

/// Asks until the token is accepted, or is not.
async fn until_token(client: &Client, token: &str, status: u16) {
    let client = client.with_token(token);
    within(async {
        while client.get("/v1/models").await.status() != status {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Each change is told long before the next heartbeat is due.
#[tokio::test]
async fn a_worker_says_at_once_that_it_loads_is_ready_and_drains() {
    let mut orchestrator = Orchestrator::start(SELDOM).await;
    let fleet = Fleet::new();
    fleet.link(TOKEN, Some(&orchestrator.url));
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let mut server = Server::start_with(fleet.launch(), Settings::default(), move |progress| {
        told.recv().unwrap();
        Model::load(&options(&tiny()), progress)
    })
    .await;
    let begun = Instant::now();
    let Heard { token, said } = orchestrator.next().await;
    assert_eq!((token.as_str(), said.status), (TOKEN, Phase::Loading));
    assert_eq!((said.context_length, said.memory.total), (None, 0));

    go_on.send(()).unwrap();
    let said = orchestrator.next().await.said;
    let health = server.client.health().await;
    assert_eq!(
        (said.status, said.context_length),
        (Phase::Ready, Some(512))
    );
    assert_eq!((said.memory, said.slots), (health.memory, health.slots));
    assert_eq!(said.memory_free.is_some(), cfg!(target_os = "linux"));
    assert_eq!(said.url.authority(), server.client.address());
    let launch = fleet.launch();
    assert_eq!((said.address, said.fleet), (launch.address, launch.fleet));
    assert_eq!(
        (said.worker_id, said.model),
        (launch.worker_id, launch.model)
    );

    server.shut_down();
    assert_eq!(orchestrator.next().await.said.status, Phase::Draining);
    server.ended().await.unwrap();
    assert!(begun.elapsed() < HEARTBEAT, "{:?}", begun.elapsed());
    assert!(orchestrator.heard.try_recv().is_err());
}

#[tokio::test]
async fn heartbeats_come_as_often_as_they_are_wanted() {
    let mut orchestrator = Orchestrator::start(OFTEN).await;
    let fleet = Fleet::new();
    fleet.link(TOKEN, Some(&orchestrator.url));
    let server = Server::start(fleet.launch(), Settings::default()).await;
    orchestrator.until(Phase::Ready).await;
    let begun = Instant::now();
    for _ in 0..5 {
        orchestrator.next().await;
    }
    let took = begun.elapsed();
    assert!(
        (Duration::from_millis(4 * OFTEN)..HEARTBEAT).contains(&took),
        "{took:?}"
    );
    drop(server);
}

#[tokio::test]
async fn a_link_counts_when_it_comes_when_it_changes_and_until_it_goes() {
    let [mut first, mut second] = [
        Orchestrator::start(SELDOM).await,
        Orchestrator::start(OFTEN).await,
    ];
    let fleet = Fleet::new();
    let Server { client, .. } = Server::start(fleet.launch(), asking_for_a_token()).await;
    until_token(&client, TOKEN, 401).await;

    fleet.link(TOKEN, Some(&first.url));
    assert_eq!(first.next().await.token, TOKEN);
    until_token(&client, TOKEN, 200).await;
    until_token(&client, "a-token-of-clients", 200).await;

    fleet.link(OTHER, Some(&second.url));
    assert_eq!(second.next().await.token, OTHER);
    until_token(&client, OTHER, 200).await;
    until_token(&client, TOKEN, 401).await;

    // As many beats as two looks at the file take.
    fleet.write("{");
    for _ in 0..20 {
        assert_eq!(second.next().await.token, OTHER);
    }
    until_token(&client, OTHER, 200).await;

    std::fs::remove_file(fleet.file()).unwrap();
    until_token(&client, OTHER, 401).await;
    until_token(&client, "a-token-of-clients", 200).await;
    assert!(first.heard.try_recv().is_err());
}

/// Programs of this machine need none before, and none after.
#[tokio::test]
async fn a_link_asks_nobody_on_this_machine_for_a_token() {
    let fleet = Fleet::new();
    fleet.link(TOKEN, None);
    let Server { client, .. } = Server::start(fleet.launch(), Settings::default()).await;
    until_token(&client, TOKEN, 200).await;
    assert_eq!(client.get("/v1/models").await.status(), 200);
}

fn serve_linked(listen: &str, link: &Path) -> Binary {
    let tiny = tiny();
    let [tiny, link] = [tiny.as_path(), link].map(|path| path.to_str().unwrap());
    Binary::spawn(&["--model-dir", tiny, "--listen", listen, "--link-file", link])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_that_is_away_is_found_when_it_comes() {
    // Bound, so that nobody else takes the port, but not yet listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let fleet = Fleet::new();
    fleet.link(TOKEN, Some(&address.into()));
    let mut worker = serve_linked("127.0.0.1:0", &fleet.file());
    let line = worker.line_with("cannot register");
    assert!(line.contains(&address.to_string()), "{line}");
    let mut orchestrator = Orchestrator::start_on(socket.listen(8).unwrap(), SELDOM);
    orchestrator.until(Phase::Ready).await;
    worker.line_with("registered");
    worker.signal("TERM");
    orchestrator.until(Phase::Draining).await;
    let (code, log) = worker.ended();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("register"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_that_refuses_is_told_of_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fleet = Fleet::new();
    fleet.link(TOKEN, Some(&listener.local_addr().unwrap().into()));
    let (asked, mut tries) = mpsc::unbounded_channel();
    let refuse = Router::new().fallback(async move || {
        let _ = asked.send(());
        StatusCode::UNAUTHORIZED
    });
    let serving = tokio::spawn(async move { axum::serve(listener, refuse).await.unwrap() });
    let mut worker = serve_linked("127.0.0.1:0", &fleet.file());
    let line = worker.line_with("cannot register");
    assert!(line.contains("401 Unauthorized"), "{line}");
    for _ in 0..3 {
        within(tries.recv()).await.unwrap();
    }
    worker.signal("TERM");
    let (_, log) = worker.ended();
    assert!(!log.contains("register") && !log.contains(TOKEN), "{log}");
    serving.abort();
}

/// It takes the connection and says nothing.
#[tokio::test]
async fn nothing_waits_for_an_orchestrator_that_hangs() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fleet = Fleet::new();
    fleet.link(TOKEN, Some(&silent.local_addr().unwrap().into()));
    let mut server = Server::start(fleet.launch(), Settings::default()).await;
    let held = within(silent.accept()).await.unwrap();
    let question = ask("j", "What is the capital of France?");
    assert_eq!(server.client.answer(&question).await.text, "Paris");
    let begun = Instant::now();
    server.shut_down();
    server.ended().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    drop(held);
}

#[tokio::test]
async fn a_link_is_enough_for_an_address_that_others_reach() {
    let fleet = Fleet::new();
    fleet.link(TOKEN, None);
    let mut worker = serve_linked("0.0.0.0:0", &fleet.file());
    let line = worker.line_with("address=");
    let (_, port) = line.rsplit_once("0.0.0.0:").unwrap();
    let port = port.split_whitespace().next().unwrap();
    let client = Client::new(&format!("127.0.0.1:{port}"));
    worker.line_with("does not register");
    worker.line_with("ready");
    assert_eq!(client.get("/ready").await.status(), 200);
    assert_eq!(client.get("/v1/models").await.status(), 401);
    until_token(&client, TOKEN, 200).await;
    // Once nobody can show a token, nobody is served.
    std::fs::remove_file(fleet.file()).unwrap();
    until_token(&client, TOKEN, 401).await;
    assert_eq!(client.get("/v1/models").await.status(), 401);
    worker.signal("TERM");
    assert_eq!(worker.ended().0, Some(0));
}

#[tokio::test]
async fn an_address_that_others_reach_is_not_served_while_the_link_is_missing_or_open() {
    use std::os::unix::fs::PermissionsExt as _;
    let fleet = Fleet::new();
    let mut launch = fleet.launch();
    launch.listen = "0.0.0.0:0".parse().unwrap();
    let none = Tokens::default();
    let refused = bind(&launch, &none).unwrap_err();
    assert!(refused.to_string().contains("loopback"), "{refused}");
    fleet.link(TOKEN, None);
    std::fs::set_permissions(fleet.file(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = bind(&launch, &none).unwrap_err();
    assert!(refused.help().starts_with("chmod 600"), "{refused}");
}
