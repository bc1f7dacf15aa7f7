//! The tables, brought to this version of the program or taken back. Safe when several processes do it at
//! once: the first takes a lock, the others wait and find the work done.

use shared::config::DatabaseSettings;
use sqlx::migrate::{Migrate, MigrateError as Cause, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::database::plain;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");
/// Where sqlx notes what was applied.
const APPLIED: &str = "_sqlx_migrations";

/// Why the migrations could not be run.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The address is not one.
    #[error("DATABASE_URL is not understood: it must be postgres://user:password@host:port/db")]
    Url,
    /// It is not there.
    #[error(
        "cannot reach Postgres at DATABASE_URL: {}; check that it runs and that the address is right",
        plain(.0)
    )]
    Connect(#[source] sqlx::Error),
    /// A newer version of turnlog was here.
    #[error(
        "the database was migrated by a newer turnlog (it has migration {0}): run that version, \
         or revert with it"
    )]
    Newer(i64),
    /// A migration is not what it was when it was applied.
    #[error("migration {0} was changed after it was applied: migrations are never changed, add another one")]
    Changed(i64),
    /// One of them failed; it left nothing behind.
    #[error("migration {version} failed and was taken back: {}", plain(source))]
    Failed {
        /// Which one.
        version: i64,
        /// Why.
        source: sqlx::Error,
    },
    /// Anything else.
    #[error("the migrations could not be run: {0}")]
    Other(#[source] Cause),
}

impl From<Cause> for MigrateError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "sqlx may add causes in any version")]
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::VersionMissing(version) => Self::Newer(version),
            Cause::VersionMismatch(version) => Self::Changed(version),
            Cause::ExecuteMigration(source, version) => Self::Failed { version, source },
            other => Self::Other(other),
        }
    }
}

/// Applies what is missing; answers how many that were.
///
/// # Errors
/// [`MigrateError`]; migrations before the failed one stay applied.
pub async fn run(database: &DatabaseSettings) -> Result<usize, MigrateError> {
    let mut connection = connect(database).await?;
    let before = applied(&mut connection).await?.len();
    MIGRATIONS.run(&mut connection).await?;
    let after = applied(&mut connection).await?.len();
    close(connection).await;
    Ok(after.saturating_sub(before))
}

/// Takes back the newest `count` migrations, and with them what their tables held; answers how many that
/// were.
///
/// # Errors
/// [`MigrateError`]; migrations before the failed one stay taken back.
pub async fn revert(database: &DatabaseSettings, count: usize) -> Result<usize, MigrateError> {
    let mut connection = connect(database).await?;
    let before = applied(&mut connection).await?;
    let kept = before.len().saturating_sub(count);
    let target = kept.checked_sub(1).map_or(0, |newest_kept| before[newest_kept]);
    MIGRATIONS.undo(&mut connection, target).await?;
    let after = applied(&mut connection).await?.len();
    close(connection).await;
    Ok(before.len().saturating_sub(after))
}

async fn connect(database: &DatabaseSettings) -> Result<PgConnection, MigrateError> {
    let options = database.url.expose().parse::<PgConnectOptions>().map_err(|_| MigrateError::Url)?;
    // The list of applied migrations stands in `public`, whatever the address or the role says about schemas.
    let options = options.application_name("turnlog migrate").options([("search_path", "public")]);
    options.connect().await.map_err(MigrateError::Connect)
}

async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, MigrateError> {
    connection.lock().await?;
    connection.ensure_migrations_table(APPLIED).await?;
    let versions =
        connection.list_applied_migrations(APPLIED).await?.into_iter().map(|m| m.version).collect();
    connection.unlock().await?;
    Ok(versions)
}

async fn close(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the connection of the migrations was already closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_migration_can_be_taken_back() {
        let ups: Vec<_> =
            MIGRATIONS.iter().filter(|m| m.migration_type.is_up_migration()).map(|m| m.version).collect();
        let downs: Vec<_> =
            MIGRATIONS.iter().filter(|m| m.migration_type.is_down_migration()).map(|m| m.version).collect();
        assert!(!ups.is_empty());
        assert_eq!(ups, downs);
    }
}
