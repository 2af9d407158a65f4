//! A pool of its own: a home, and the hive's binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::hub::Hub;
use super::rpc::Connection;
use crate::bench::timed::{self, Taken};

pub struct Pool<'a> {
    pub hive: &'a Path,
    pub home: PathBuf,
    pub hub: &'a Hub,
}

impl Pool<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.hive);
        command.args(arguments).env("RBEE_HOME", &self.home);
        command.env("HF_ENDPOINT", &self.hub.url);
        command.env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        command.env("NO_PROXY", "127.0.0.1");
        command.env_remove("HF_TOKEN");
        command
    }

    /// Lets the pool know a repository of the hub as a model.
    pub fn register(&self, model: &str, repo: &str) -> anyhow::Result<()> {
        let source = format!("hf:{repo}");
        let arguments = ["models", "register", model, "--source", &source];
        timed::run(&mut self.command(&arguments), "")?;
        Ok(())
    }

    /// Brings a registered model from the hub.
    pub fn download(&self, model: &str) -> anyhow::Result<Taken> {
        timed::run(&mut self.command(&["models", "download", model]), "")
    }

    pub fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(&mut self.command(&["rpc"]))
    }
}
