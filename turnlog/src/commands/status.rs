//! `turnlog status`: how far everything is.

use std::time::Duration;

use chrono::Utc;
use projector::Status;
use serde_json::{Value, json};
use shared::config::{DatabaseSettings, HttpSettings};
use shared::log::{Extent, Log};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};

use super::open_log;
use crate::environment::Environment;
use crate::failure::{Failure, OrFail};
use crate::instance::reachable;
use crate::target::Target;

/// How long the read edge may take to say how many feeds it has.
const PATIENCE: Duration = Duration::from_secs(2);

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What was found.
struct Report {
    nats_version: String,
    postgres_version: String,
    epoch: String,
    extent: Extent,
    projector: Status,
    lag_seconds: f64,
    /// `None` where the read edge does not answer.
    feeds: Option<u64>,
    url: String,
}

/// Runs the command.
pub(crate) async fn run(args: StatusArgs) -> Result<(), Failure> {
    let environment = args.target.environment()?;
    let url = match args.target.instance()? {
        Some(instance) => instance.base_url,
        None => reachable(environment.read(HttpSettings::from_env)?.listen),
    };
    let report = look(&environment, url).await?;
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(())
}

async fn look(environment: &Environment, url: String) -> Result<Report, Failure> {
    let database = environment.read(DatabaseSettings::from_env)?;
    let log = open_log(environment).await?;
    let projector = projector::status(&database).await.map_err(|error| Failure::new(error.to_string()))?;
    let extent = log.extent().await.or_fail("look at the log")?;
    Ok(Report {
        nats_version: log.server_version(),
        postgres_version: postgres_version(&database).await?,
        epoch: log.epoch().to_owned(),
        lag_seconds: lag_seconds(&log, &projector, extent).await?,
        extent,
        projector,
        feeds: feeds(&url).await,
        url,
    })
}

/// For how long the oldest event that is not in the tables has been in the log.
async fn lag_seconds(log: &Log, projector: &Status, extent: Extent) -> Result<f64, Failure> {
    if projector.last_sequence >= extent.last {
        return Ok(0.0);
    }
    let next = log.get(projector.last_sequence + 1).await.or_fail("read the log")?;
    let since = next.map(|entry| Utc::now() - entry.stored_at).unwrap_or_default();
    Ok(since.as_seconds_f64().max(0.0))
}

async fn postgres_version(database: &DatabaseSettings) -> Result<String, Failure> {
    let what = "ask Postgres for its version";
    let options: PgConnectOptions =
        database.url.expose().parse().map_err(|_| Failure::new("DATABASE_URL is no postgres:// address"))?;
    let mut connection = options.connect().await.or_fail(what)?;
    let version = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await.or_fail(what)?;
    PgConnection::close(connection).await.or_fail(what)?;
    Ok(version)
}

/// How many feeds the read edge at this address has open, as its metrics say.
async fn feeds(url: &str) -> Option<u64> {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().ok()?;
    let text =
        client.get(format!("{url}/metrics")).send().await.ok()?.error_for_status().ok()?.text().await.ok()?;
    // A process that has had no feed yet does not name the gauge.
    let line = text.lines().find_map(|line| line.strip_prefix("turnlog_feeds_open "));
    line.map_or(Some(0), |number| number.trim().parse().ok())
}

impl Report {
    fn lag(&self) -> u64 {
        self.extent.last.saturating_sub(self.projector.last_sequence)
    }

    fn json(&self) -> Value {
        json!({
            "turnlog": env!("CARGO_PKG_VERSION"),
            "nats_server": self.nats_version,
            "postgres": self.postgres_version,
            "url": self.url,
            "stream": {
                "epoch": self.epoch,
                "events": self.extent.messages,
                "first_sequence": self.extent.first,
                "last_sequence": self.extent.last,
                "bytes": self.extent.bytes,
            },
            "projector": {
                "last_sequence": self.projector.last_sequence,
                "updated_at": self.projector.updated_at.to_rfc3339(),
                "lag_events": self.lag(),
                "lag_seconds": self.lag_seconds,
            },
            "parked": self.projector.parked,
            "dropped": self.projector.dropped,
            "feeds": self.feeds,
        })
    }

    fn text(&self) -> String {
        let feeds =
            self.feeds.map_or("the read edge does not answer".to_owned(), |open| format!("{open} open"));
        format!(
            "log        {} events, last sequence {}, {} bytes, epoch {}\n\
             projector  at {}, {} events and {:.1} s behind\n\
             parked     {} (dropped: {})\n\
             feeds      {feeds}\n\
             versions   turnlog {}, nats-server {}, Postgres {}\n\
             address    {}\n",
            self.extent.messages,
            self.extent.last,
            self.extent.bytes,
            self.epoch,
            self.projector.last_sequence,
            self.lag(),
            self.lag_seconds,
            self.projector.parked,
            self.projector.dropped,
            env!("CARGO_PKG_VERSION"),
            self.nats_version,
            self.postgres_version,
            self.url,
        )
    }
}
