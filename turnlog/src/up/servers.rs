//! The private servers of an instance: started in order, stopped in order.

use tokio::sync::oneshot;

use super::data_dir::DataDir;
use super::nats::Nats;
use super::postgres::Postgres;
use super::secrets::Secrets;
use super::supervisor::Supervised;
use crate::failure::Failure;

/// Those that run.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    nats: Option<Supervised>,
    postgres: Option<Supervised>,
}

impl Servers {
    /// Starts the log's server; its address with the user's rights.
    pub(crate) async fn start_nats(&mut self, dir: &DataDir, secrets: &Secrets) -> Result<String, Failure> {
        let nats = Nats::prepare(dir, &secrets.nats_password).await?;
        let make = nats.clone();
        let (server, port) = Supervised::launch(move |port| make.on_port(port));
        let port = started(self.nats.insert(server), port).await?;
        Ok(nats.url(port))
    }

    /// Starts the read tables' server; the database's address with the owner's rights.
    pub(crate) async fn start_postgres(
        &mut self,
        dir: &DataDir,
        secrets: &Secrets,
    ) -> Result<String, Failure> {
        let postgres = Postgres::prepare(dir, secrets).await?;
        let make = postgres.clone();
        let (server, port) = Supervised::launch(move |port| make.on_port(port));
        let port = started(self.postgres.insert(server), port).await?;
        postgres.make_database(port).await?;
        Ok(postgres.url(port))
    }

    /// Waits until one of them cannot be kept running; for ever where there is none.
    pub(crate) async fn fault(&mut self) -> Failure {
        tokio::select! {
            failure = fault_of(&mut self.nats) => failure,
            failure = fault_of(&mut self.postgres) => failure,
        }
    }

    /// Stops them: the tables first, whose sessions the log does not miss, then the log.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let mut result = Ok(());
        for server in [self.postgres, self.nats].into_iter().flatten() {
            result = result.and(server.stop().await);
        }
        result
    }
}

async fn started(server: &mut Supervised, port: oneshot::Receiver<u16>) -> Result<u16, Failure> {
    match port.await {
        Ok(port) => Ok(port),
        Err(_) => Err(server.fault().await),
    }
}

async fn fault_of(server: &mut Option<Supervised>) -> Failure {
    match server {
        Some(server) => server.fault().await,
        None => std::future::pending().await,
    }
}
