//! `turnlog status`: how far everything is.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use projector::{Refused, SourceStatus, Status};
use serde_json::{Map, Value, json};
use shared::audit::Audit;
use shared::audit::seal::Sealed;
use shared::config::{DatabaseSettings, HttpSettings};
use shared::events::Source;
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

/// Deliveries that fail in a row, from which on the operator is warned: after ten, ElevenLabs may switch a webhook off.
const WARN_AT: u64 = 5;

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
    /// The newest seal of the audit log.
    sealed: Option<Sealed>,
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
        sealed: Audit::new(&log).sealed().await.or_fail("look at the audit log")?,
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
    let client = shared::http::client::local().timeout(PATIENCE).build().ok()?;
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
            "waiting": self.waiting_json(),
            "feeds": self.feeds,
            "audit": self.sealed.map(|sealed| json!({
                "sealed_to": sealed.to, "sealed_at": time(Some(sealed.at)), "head": sealed.head.to_string(),
            })),
            "webhooks": self.projector.sources.iter().map(source_json).collect::<Vec<_>>(),
            "refused_last_24h": self.projector.refused.iter().map(refused_json).collect::<Vec<_>>(),
        })
    }

    fn waiting_json(&self) -> Value {
        let waiting = &self.projector.waiting;
        let types: Map<_, _> =
            waiting.types().map(|(name, events)| (name.to_owned(), json!(events))).collect();
        json!({"events": waiting.total(), "types": types})
    }

    /// Nothing, unless a newer version wrote to the log.
    fn waiting_text(&self) -> String {
        let waiting = &self.projector.waiting;
        match waiting.total() {
            0 => String::new(),
            events => format!("waiting    {events} for a newer version of turnlog: {waiting}\n"),
        }
    }

    fn text(&self) -> String {
        let feeds =
            self.feeds.map_or("the read edge does not answer".to_owned(), |open| format!("{open} open"));
        format!(
            "log        {} events, last sequence {}, {} bytes, epoch {}\n\
             projector  at {}, {} events and {:.1} s behind\n\
             parked     {} (dropped: {})\n\
             {}\
             feeds      {feeds}\n\
             audit      {}\n\
             {}\
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
            self.waiting_text(),
            self.sealed
                .map_or("nothing is sealed yet".to_owned(), |sealed| format!("sealed, head {}", sealed.head)),
            webhooks_text(&self.projector.sources, &self.projector.refused),
            env!("CARGO_PKG_VERSION"),
            self.nats_version,
            self.postgres_version,
            self.url,
        )
    }
}

fn time(at: Option<DateTime<Utc>>) -> Option<String> {
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn source_json(source: &SourceStatus) -> Value {
    json!({
        "source": source.source,
        "received": source.received,
        "refused": source.refused,
        "failures_in_a_row": source.failures_in_a_row,
        "last_received": time(source.last_received),
        "last_refused": time(source.last_refused),
    })
}

fn refused_json(refused: &Refused) -> Value {
    json!({"source": refused.source, "reason": refused.reason, "count": refused.count})
}

/// A line for each source, with what was turned away lately and a warning below it; one line where there is none.
fn webhooks_text(sources: &[SourceStatus], refused: &[Refused]) -> String {
    if sources.is_empty() {
        return "webhooks   none yet\n".into();
    }
    let mut text = String::new();
    for source in sources {
        let name = &source.source;
        let last = time(source.last_received).map_or("none yet".to_owned(), |at| format!("last at {at}"));
        text += &format!(
            "webhooks   {name}: {} received, {last}; {} refused, {} failures in a row\n",
            source.received, source.refused, source.failures_in_a_row
        );
        let lately: Vec<_> = refused
            .iter()
            .filter(|refused| refused.source == *name)
            .map(|refused| format!("{} {}", refused.reason, refused.count))
            .collect();
        if !lately.is_empty() {
            text += &format!("           refused in the last 24 h: {}\n", lately.join(", "));
        }
        if source.failures_in_a_row >= WARN_AT {
            text += &format!("           WARNING: {}\n", warning(name));
        }
    }
    text
}

fn warning(source: &str) -> &'static str {
    if source == Source::ElevenlabsWebhook.as_str() {
        "ElevenLabs switches a webhook off after ten failures in a row; see Webhooks in docs/OPERATIONS.md"
    } else {
        "nothing that comes in here is taken; see Webhooks in docs/OPERATIONS.md"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: Source, failures_in_a_row: u64) -> SourceStatus {
        SourceStatus {
            source: name.as_str().into(),
            received: 7,
            refused: 9,
            failures_in_a_row,
            last_received: DateTime::from_timestamp(1_736_337_600, 0),
            last_refused: None,
        }
    }

    #[test]
    fn the_fifth_failure_in_a_row_is_warned_of() {
        let vendor = Source::ElevenlabsWebhook;
        let refused = [Refused { source: vendor.as_str().into(), reason: "bad_signature".into(), count: 4 }];
        let calm = webhooks_text(&[source(vendor, 4)], &refused);
        assert!(
            calm.contains("elevenlabs_webhook: 7 received, last at 2025-01-08T12:00:00Z; 9 refused"),
            "{calm}"
        );
        assert!(calm.contains("last 24 h: bad_signature 4\n") && !calm.contains("WARNING"), "{calm}");
        let alarmed = webhooks_text(&[source(vendor, 5)], &refused);
        assert!(
            alarmed.contains("5 failures in a row\n") && alarmed.contains("WARNING: ElevenLabs"),
            "{alarmed}"
        );
        let other = webhooks_text(&[source(Source::ConversationWebhook, 5)], &refused);
        assert!(other.contains("WARNING: nothing") && !other.contains("bad_signature"), "{other}");
        assert_eq!(webhooks_text(&[], &[]), "webhooks   none yet\n");
    }
}
