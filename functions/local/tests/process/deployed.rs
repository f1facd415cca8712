//! What every deployment does, done by the process.

use std::sync::Arc;
use std::time::Duration;

use deployment::Deployment;
use embedded::{Embedded, Options};
use platform::{OsRandom, SystemClock};
use tempfile::TempDir;

use super::common::{Client, Server, customer};

struct Process {
    folder: TempDir,
    /// `None` while it is stopped.
    server: Option<Server>,
    client: Client,
}

impl Process {
    async fn start(folder: TempDir) -> Self {
        let server = Server::start(folder.path()).await;
        let client = customer(&server.url, folder.path());
        Self { folder, server: Some(server), client }
    }
}

impl Deployment for Process {
    fn client(&self) -> &Client {
        &self.client
    }

    async fn waits_pass(&mut self) {
        self.server.take().unwrap().stop().await;
        let options = Options::new(Arc::new(SystemClock), Arc::new(OsRandom), Duration::from_secs(60));
        deployment::waits_are_over(&Embedded::open(self.folder.path(), options).unwrap()).await;
        let server = Server::start(self.folder.path()).await;
        self.client = self.client.at(&server.url);
        self.server = Some(server);
    }

    async fn logged(&self, parts: &[&str]) -> Vec<String> {
        let log = self.server.as_ref().map(Server::stderr).unwrap_or_default();
        let holds = |line: &&str| parts.iter().all(|part| line.contains(part));
        log.lines().filter(holds).map(str::to_owned).collect()
    }
}

async fn process() -> Process {
    Process::start(tempfile::tempdir().unwrap()).await
}

deployment::deployment_scenarios!(process);
