//! `turnlog migrate`: the database's tables brought up to date, or migrations taken back.

use projector::migrate;
use shared::config::DatabaseSettings;

use crate::environment::Environment;
use crate::failure::Failure;
use crate::target::Target;

/// Arguments of `migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArgs {
    /// Takes back the newest N migrations, with what their tables held (the log can fill them again)
    #[arg(long, value_name = "N")]
    revert: Option<usize>,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub(crate) async fn run(args: MigrateArgs) -> Result<(), Failure> {
    let environment = args.target.environment()?;
    match args.revert {
        None => {
            let count = apply(&environment).await?;
            println!("{count} migrations applied");
        }
        Some(count) => {
            let database = environment.read(DatabaseSettings::from_env)?;
            let count =
                migrate::revert(&database, count).await.map_err(|error| Failure::new(error.to_string()))?;
            println!("{count} migrations taken back");
        }
    }
    Ok(())
}

/// Applies every migration that is not applied yet; how many that were.
pub(crate) async fn apply(environment: &Environment) -> Result<usize, Failure> {
    let database = environment.read(DatabaseSettings::from_env)?;
    migrate::run(&database).await.map_err(|error| Failure::new(error.to_string()))
}
