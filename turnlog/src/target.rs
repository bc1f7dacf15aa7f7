//! Which system an operator's command is about: a running `turnlog up`, or the one that the settings name.

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::up::secrets::Secrets;

const DEFAULT_DATA_DIR: &str = ".turnlog";

/// The argument that says so.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// Data directory of a running turnlog up [default: .turnlog if one runs there, else the settings]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

impl Target {
    /// The running instance; `None` when the settings are meant.
    pub(crate) fn instance(&self) -> Result<Option<Instance>, Failure> {
        let Some(dir) = &self.data_dir else { return Instance::find(Path::new(DEFAULT_DATA_DIR)) };
        let found = Instance::find(dir)?;
        if found.is_none() {
            return Err(Failure::new(format!(
                "no turnlog up runs on {}: start it, or leave --data-dir out to use the settings",
                dir.display()
            )));
        }
        Ok(found)
    }

    /// The settings of the system that is meant.
    pub(crate) fn environment(&self) -> Result<Environment, Failure> {
        let mut environment = Environment::default();
        environment.advise("no turnlog up runs on .turnlog: name its folder with --data-dir, or set these; ");
        if let Some(instance) = self.instance()? {
            environment.replace("NATS_URL", Some(instance.nats_url));
            environment.replace("DATABASE_URL", Some(instance.database_url));
            environment.replace("JWT_SECRET", Some(instance.jwt_secret));
            environment.replace("API_SECRET_KEY", Some(instance.api_key));
            environment.replace("WEBHOOK_SECRET", Some(instance.webhook_secret));
            environment.replace("ELEVENLABS_WEBHOOK_SECRET", Some(instance.elevenlabs_webhook_secret));
            let dir = self.data_dir.as_deref().unwrap_or(Path::new(DEFAULT_DATA_DIR));
            if let Some(keys) = Secrets::of(dir)?.sealing_keys {
                environment.assume("SEALING_KEYS", &keys);
            }
        }
        Ok(environment)
    }
}
