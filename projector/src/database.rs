//! Connections to the read tables, and what an error of theirs means.

use std::time::Duration;

use shared::config::DatabaseSettings;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};

/// Which version of the read tables this program writes. Statements name tables without a schema, so that a
/// rebuild can send the same statements to other tables.
pub(crate) const SCHEMA: &str = "read_v1";
/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What every session of the projector is set to.
const SESSION: [(&str, &str); 7] = [
    ("search_path", SCHEMA),
    // The commit need not wait for the disk: rows and checkpoint are in one transaction, so what a crash of
    // Postgres takes back is projected again from the log.
    ("synchronous_commit", "off"),
    // A batch takes milliseconds. These end what is stuck, so that it is tried again or another takes over.
    ("statement_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "30s"),
    // A leader whose machine vanished must not hold its lock for hours.
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address is not one.
    #[error("DATABASE_URL is not understood: {0}")]
    Url(String),
    /// It is not there.
    #[error("cannot reach Postgres at DATABASE_URL: {0}; check that it runs and that the address is right")]
    Connect(String),
    /// It is there, but its tables are not.
    #[error("the database has no read tables yet: run turnlog migrate")]
    NotMigrated,
    /// It refused a statement.
    #[error("Postgres refused a statement of the projector: {}", plain(.0))]
    Statement(#[source] sqlx::Error),
}

impl DatabaseError {
    /// It could not be connected to.
    pub(crate) fn connect(error: &sqlx::Error) -> Self {
        Self::Connect(plain(error))
    }
}

impl DatabaseError {
    /// Whether a lock was waited for in vain.
    pub(crate) fn is_lock(&self) -> bool {
        let Self::Statement(error) = self else { return false };
        matches!(sqlstate(error).as_deref(), Some("55P03" | "40P01"))
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match sqlstate(&error).as_deref() {
            // No such table, no such schema.
            Some("42P01" | "3F000") => Self::NotMigrated,
            _ => Self::Statement(error),
        }
    }
}

/// Where the read tables are.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    options: PgConnectOptions,
}

impl Database {
    /// Reads the address; does not connect.
    pub(crate) fn new(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let options = settings.url.expose().parse::<PgConnectOptions>();
        // The parser's error may repeat a part of the address, and with it the password.
        let options = options
            .map_err(|_| DatabaseError::Url("it must be postgres://user:password@host:port/db".into()))?;
        Ok(Self { options: options.application_name("turnlog projector").options(SESSION) })
    }

    /// One connection of its own.
    pub(crate) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.options.connect()).await.unwrap_or_else(|late| {
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, late)))
        })
    }

    /// A connection for work that takes as long as it takes, whose statements name the tables of these schemas.
    pub(crate) async fn connect_at_length(&self, schemas: &str) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.connect().await?;
        // Who was killed is noticed also within a statement, so that what it held is free again. Nothing here gains what
        // it takes to compile it.
        let settings = format!(
            "SET search_path = {schemas}; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
             SET client_connection_check_interval = '1s'; SET maintenance_work_mem = '128MB'; SET jit = off"
        );
        sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await?;
        Ok(connection)
    }

    /// A pool of one, for the probe of its health. It connects when it is first asked.
    pub(crate) fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(self.options.clone())
    }
}

/// Connects for one command of an operator.
pub(crate) async fn connect(settings: &DatabaseSettings) -> Result<PgConnection, DatabaseError> {
    Database::new(settings)?.connect().await.map_err(|error| DatabaseError::connect(&error))
}

/// What can be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// It passes: the connection, a lock, resources, a restart. Try again.
    Passing,
    /// A value that the tables cannot take. Find the event and park it.
    Data,
    /// Trying again changes nothing, and no event is at fault: rights, missing tables, a bug.
    Lasting,
}

/// Tells the three apart.
pub(crate) fn nature(error: &sqlx::Error) -> Nature {
    if let Some(code) = sqlstate(error) {
        return nature_of(&code);
    }
    let data = matches!(error, sqlx::Error::Encode(_));
    let lasting = matches!(
        error,
        sqlx::Error::Configuration(_)
            | sqlx::Error::InvalidArgument(_)
            | sqlx::Error::RowNotFound
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
    );
    match (data, lasting) {
        (true, _) => Nature::Data,
        (_, true) => Nature::Lasting,
        // The connection's: reset, closed, garbled while the server died.
        _ => Nature::Passing,
    }
}

fn nature_of(sqlstate: &str) -> Nature {
    // Read-only transaction: the server became a standby, another one is about to lead.
    if sqlstate == "25006" {
        return Nature::Passing;
    }
    match sqlstate.get(..2).unwrap_or_default() {
        // Connection, rollback, resources, object in use or not ready, operator's intervention, system,
        // internal.
        "08" | "40" | "53" | "55" | "57" | "58" | "XX" => Nature::Passing,
        // Data exception, integrity constraint, program limit.
        "22" | "23" | "54" => Nature::Data,
        _ => Nature::Lasting,
    }
}

/// What Postgres said, without what sqlx adds to it (lines of Postgres' sources).
pub(crate) fn plain(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |refusal| refusal.message().to_owned())
}

/// Why a value was refused, without the value: the message of Postgres may quote it.
pub(crate) fn impersonal(error: &sqlx::Error) -> String {
    let Some(refusal) = error.as_database_error() else { return "a value cannot be sent to Postgres".into() };
    let code = refusal.code().unwrap_or_default();
    let place =
        refusal.constraint().or(refusal.table()).map(|name| format!(" at {name}")).unwrap_or_default();
    format!("Postgres does not take a value of it: SQLSTATE {code}{place}")
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_what_can_be_done() {
        for passing in [
            "08006", "40001", "40P01", "53300", "55P03", "57014", "57P01", "57P03", "58030", "XX000", "25006",
        ] {
            assert_eq!(nature_of(passing), Nature::Passing, "{passing}");
        }
        for data in ["22021", "22008", "23502", "54000"] {
            assert_eq!(nature_of(data), Nature::Data, "{data}");
        }
        for lasting in ["42P01", "42501", "28P01", "3D000", "0A000", ""] {
            assert_eq!(nature_of(lasting), Nature::Lasting, "{lasting}");
        }
        assert_eq!(nature(&sqlx::Error::PoolTimedOut), Nature::Passing);
    }

    #[test]
    fn a_wrong_address_does_not_show_its_password() {
        let url = shared::config::Secret::new("postgres://me:hunter2@host:notaport/db");
        let error = Database::new(&DatabaseSettings { url }).unwrap_err().to_string();
        assert!(error.contains("DATABASE_URL") && !error.contains("hunter2"), "{error}");
    }
}
