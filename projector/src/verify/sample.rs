//! One conversation after another compared with the log, all the time: what `turnlog verify` would find one day is told
//! within hours.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use shared::ids::ConversationId;
use shared::log::{Log, LogError};
use shared::objects::{ObjectError, Objects};
use shared::subjects::Subject;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::compare::{self, Shape};
use super::{Difference, What};
use crate::apply;
use crate::database::{Database, plain};
use crate::fold::fold;
use crate::generation::SEARCH;
use crate::intake::Item;
use crate::rows::number;

/// Messages that a conversation has at most to be looked at: all of it is in memory for that moment.
const MAX_MESSAGES: i64 = 1_000;
/// What is folded of one conversation alone, and the column that names it.
const SAMPLED: [(&str, &str); 8] = [
    ("calls", "conversation"),
    ("conversations", "token"),
    ("messages", "conversation"),
    ("receipts", "conversation"),
    ("recordings", "conversation"),
    ("reports", "conversation"),
    ("sessions", "conversation"),
    ("turns", "conversation"),
];
/// Follows from who works a call, which is no part of the conversation.
const OF_WORKER: &str = "company_id";

/// Tables of the session's own, which hide those that are read from every statement that names no schema. $1: those that
/// nothing is folded into.
const SCRATCH: &str = "
    SELECT format('CREATE TEMP TABLE %1$I (LIKE read_v1.%1$I INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING INDEXES)
                   ON COMMIT DELETE ROWS', relname)
    FROM pg_class WHERE relnamespace = 'read_v1'::regnamespace AND relkind = 'r' AND relname <> ALL ($1)";

/// Why one could not be looked at.
#[derive(Debug, thiserror::Error)]
enum Hindrance {
    #[error("Postgres: {}", plain(.0))]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

/// A conversation to look at.
#[derive(Debug, sqlx::FromRow)]
struct Chosen {
    token: String,
    conversation_id: String,
    /// How far the tables are.
    last_sequence: i64,
}

/// Looks at one conversation after another.
pub(crate) struct Sampler {
    database: Database,
    log: Log,
    objects: Objects,
    every: Option<Duration>,
}

impl Sampler {
    /// One is looked at as often as that, or never.
    pub(crate) fn new(database: &Database, log: &Log, objects: &Objects, every: Option<Duration>) -> Self {
        Self { database: database.clone(), log: log.clone(), objects: objects.clone(), every }
    }

    /// Goes on for ever: what hinders it now may not the next time, and stops nobody else.
    pub(crate) async fn follow(self) -> Infallible {
        let Some(every) = self.every else { return std::future::pending().await };
        metrics::counter!("turnlog_verify_differences").absolute(0);
        let (mut session, mut hindered) = (None, false);
        loop {
            tokio::time::sleep(every).await;
            let looked = self.look(&mut session).await;
            // Said once for each interruption; what follows repeats it.
            if let (Err(error), false) = (&looked, hindered) {
                tracing::warn!(%error, "no conversation can be compared with the log at the moment");
            }
            hindered = looked.is_err();
            if hindered {
                session = None;
            }
        }
    }

    async fn look(&self, held: &mut Option<Session>) -> Result<(), Hindrance> {
        let session = match held.take() {
            Some(session) => session,
            None => Session::open(&self.database).await?,
        };
        let session = held.insert(session);
        let mut transaction = session.connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let Some(chosen) = choose(&mut transaction).await? else { return Ok(()) };
        // Where something was erased, the tables may not have heard of it yet.
        let Some(items) = self.told(&mut transaction, &chosen).await? else { return Ok(()) };
        apply::uncounted(&mut transaction, &fold(&items)).await?;
        for (shape, owner) in &session.shapes {
            let tables =
                format!("(SELECT * FROM read_v1.{} WHERE {owner} = '{}')", shape.name(), chosen.token);
            let statement = shape.statement(&tables, &format!("pg_temp.{}", shape.name()));
            compare::pairs(&mut transaction, &statement, shape.name(), &mut |found| tell(&found)).await?;
        }
        transaction.commit().await?;
        metrics::counter!("turnlog_verify_samples_total").increment(1);
        Ok(())
    }

    /// What the log says of it up to where the tables are, but for what was set aside.
    async fn told(
        &self,
        connection: &mut PgConnection,
        chosen: &Chosen,
    ) -> Result<Option<Vec<Item>>, Hindrance> {
        let Ok(id) = ConversationId::try_from(chosen.conversation_id.clone()) else {
            return Ok(Some(Vec::new()));
        };
        let subject = Subject::conversation(&id);
        let parked: Vec<i64> = sqlx::query_scalar("SELECT sequence FROM read_v1.parked WHERE subject = $1")
            .bind(subject.as_str())
            .fetch_all(connection)
            .await?;
        let parked = HashSet::<i64>::from_iter(parked);
        let (mut items, mut erased) = (Vec::new(), false);
        self.log
            .read(&subject, 0, |entry| {
                let sequence = number(entry.sequence);
                erased |= entry.is_erased();
                if sequence <= chosen.last_sequence && !parked.contains(&sequence) {
                    items.push(Item::from(entry));
                }
            })
            .await?;
        if erased {
            return Ok(None);
        }
        for item in &mut items {
            item.fetch(&self.objects).await?;
        }
        Ok(Some(items))
    }
}

/// A connection with tables of its own to fold into.
struct Session {
    connection: PgConnection,
    shapes: Vec<(Shape, &'static str)>,
}

impl Session {
    async fn open(database: &Database) -> Result<Self, Hindrance> {
        let mut connection = database.connect().await?;
        let tables: Vec<String> =
            sqlx::query_scalar(SCRATCH).bind(SEARCH.as_slice()).fetch_all(&mut connection).await?;
        sqlx::raw_sql(AssertSqlSafe(tables.join("; "))).execute(&mut connection).await?;
        let owner =
            |shape: &Shape| SAMPLED.iter().find(|(name, _)| *name == shape.name()).map(|found| found.1);
        let shapes = compare::shapes(&mut connection).await?;
        let sampled = shapes.into_iter().filter_map(|shape| owner(&shape).map(|owner| (shape, owner)));
        let shapes = sampled.map(|(shape, owner)| (shape.without(OF_WORKER), owner)).collect();
        Ok(Self { connection, shapes })
    }
}

/// One that began somewhere at random, if there is any.
async fn choose(connection: &mut PgConnection) -> Result<Option<Chosen>, sqlx::Error> {
    sqlx::query_as(
        "SELECT c.token, c.conversation_id, k.last_sequence
         FROM read_v1.checkpoint AS k, LATERAL (
             SELECT token, conversation_id FROM read_v1.conversations
             WHERE first_sequence > 0
                   AND first_sequence <= (SELECT ceil(random() * last_sequence)::bigint FROM read_v1.checkpoint
                                          WHERE name = 'read')
                   AND message_count <= $1
             ORDER BY first_sequence DESC LIMIT 1) AS c
         WHERE k.name = 'read'",
    )
    .bind(MAX_MESSAGES)
    .fetch_optional(connection)
    .await
}

fn tell(found: &Difference) {
    let Difference { table, key, what } = found;
    let columns = match what {
        What::Missing => "missing in the tables".to_owned(),
        What::Surplus => "not in the log".to_owned(),
        What::Changed(columns) => {
            columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
        }
    };
    metrics::counter!("turnlog_verify_differences").increment(1);
    tracing::error!(table, key, columns, "a row is not what the log makes it; turnlog verify finds them all");
}
