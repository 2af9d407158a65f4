//! The orchestrator as OpenAI's own clients see it, in Python and in JavaScript.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mock_worker::{MockWorker, Outcome, SeenJob};
use pool_core::digest::Sha256;
use serde_json::json;

use crate::packages::{self, kept, run};
use crate::support::{Daemon, eventually, text, worker_with};

const RICH: &str = "key-of-the-rich";
const POOR: &str = "key-of-the-poor";

/// Where the scripts of a language are.
pub fn scripts(language: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join(language)
}

/// The daemon before a slow worker, as the clients find it.
struct Service {
    worker: MockWorker,
    daemon: Daemon,
    _files: tempfile::TempDir,
}

impl Service {
    async fn start() -> Self {
        let worker = worker_with("w1", |settings| settings.rate = 50.0);
        let files = tempfile::tempdir().unwrap();
        let tenants = files.path().join("tenants.yaml");
        let digest = |key: &str| Sha256::of(key).to_string();
        let known = json!({ "tenants": [
            { "name": "rich", "keys": [digest(RICH)] },
            { "name": "poor", "keys": [digest(POOR)], "quotas": { "tokens_per_day": 1 } },
        ] });
        fs::write(&tenants, known.to_string()).unwrap();
        fs::set_permissions(&tenants, fs::Permissions::from_mode(0o600)).unwrap();
        let args = [
            "--worker",
            &worker.url(),
            "--tenants",
            tenants.to_str().unwrap(),
        ];
        let daemon = Daemon::start(&args).with_token(RICH);
        daemon.ready(1).await;
        Self {
            worker,
            daemon,
            _files: files,
        }
    }

    /// Runs the tests of a client, in which two answers are left before their end.
    async fn serve(&self, client: &mut Command) {
        let client = client.env("URL", &self.daemon.url).env("TEXT", text(16));
        run(client.env("RICH", RICH).env("POOR", POOR));
        let left = || {
            let jobs = self.worker.seen().jobs;
            // One that has read a whole answer may leave before the stream's end.
            let is_left = |job: &&SeenJob| job.outcome == Outcome::Disconnected && job.tokens < 16;
            jobs.iter().filter(is_left).count()
        };
        eventually("the worker has ended what was left", async || left() == 2).await;
    }
}

#[tokio::test]
async fn the_official_client_for_python_works() {
    let requirements = scripts("../../worker/tests/python").join("requirements.txt");
    let python = packages::python("python-clients", &requirements);
    let service = Service::start().await;
    let mut client = Command::new(python.join("python"));
    client
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(scripts("python").join("test_openai_client.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    service.serve(&mut client).await;
}

#[tokio::test]
async fn the_official_client_for_javascript_works() {
    let wanted = fs::read_to_string(scripts("node").join("package.json")).unwrap();
    let installed = kept("node-clients", &wanted, |folder| {
        fs::write(folder.join("package.json"), &wanted).unwrap();
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--no-package-lock",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ]);
        run(npm.current_dir(folder));
    });
    // A script finds the packages beside it.
    let folder = tempfile::tempdir_in(&installed).unwrap();
    let script = folder.path().join("openai.test.mjs");
    fs::copy(scripts("node").join("openai.test.mjs"), &script).unwrap();
    let service = Service::start().await;
    service
        .serve(Command::new("node").arg("--test").arg(script))
        .await;
}
