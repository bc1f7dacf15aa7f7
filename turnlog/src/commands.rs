//! One file for each command, thin.

pub(crate) mod audit;
pub(crate) mod demo;
pub(crate) mod erase;
pub(crate) mod export;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod migrate;
pub(crate) mod parked;
pub(crate) mod rebuild;
pub(crate) mod reconcile;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod verify;

use std::time::Duration;

use shared::config::NatsSettings;
use shared::log::Log;
use shared::objects::Objects;

use crate::environment::Environment;
use crate::failure::Failure;

/// How long an operator waits for the log's server; a service, which starts beside it, is more patient.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the log for one command of an operator.
pub(crate) async fn open_log(environment: &Environment) -> Result<Log, Failure> {
    let nats = environment.read(NatsSettings::from_env)?;
    match tokio::time::timeout(PATIENCE, Log::open(&nats, "operator")).await {
        Ok(opened) => opened.map_err(|error| Failure::new(error.to_string())),
        Err(_) => Err(Failure::new(format!(
            "NATS at NATS_URL did not answer within {PATIENCE:?}: check that it runs and that the credentials are right"
        ))),
    }
}

/// The object store that the settings name.
pub(crate) async fn open_objects(environment: &Environment) -> Result<Objects, Failure> {
    let nats = environment.read(NatsSettings::from_env)?;
    Objects::open(&nats, "operator objects").await.map_err(|error| Failure::new(error.to_string()))
}
