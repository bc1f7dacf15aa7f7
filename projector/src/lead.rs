//! The loop of the one that leads: take what has gathered, fold, apply; a batch with a bad event is halved
//! until the event is found.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use shared::events::unknown;
use shared::health::Progress;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::apply;
use crate::database::{Nature, impersonal, nature};
use crate::fold::{cut_at_erasures, fold};
use crate::index::Reached;
use crate::intake::{Intake, Item, OF_NEWER};
use crate::rows::{Changes, ParkedRow, number};
use crate::run::Ending;

/// How long one transaction may take before the connection is given up: longer than Postgres' own time-out
/// for a statement, for the case that its machine is gone.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an idle leader looks at its connection and counts what is parked.
const IDLE_CHECK: Duration = Duration::from_secs(5);

/// Why a batch was not applied.
enum Refusal {
    /// A value of it; says why without it.
    Data(String),
    /// Something else.
    Ending(Ending),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        match nature(&error) {
            Nature::Data => Self::Data(impersonal(&error)),
            Nature::Passing | Nature::Lasting => Self::Ending(error.into()),
        }
    }
}

/// Holds the lock, and with it the right to write.
pub(crate) struct Leader<'a> {
    connection: &'a mut PgConnection,
    epoch: &'a str,
    position: u64,
    progress: &'a Progress,
    /// Tells how far the tables are.
    reached: watch::Sender<Reached>,
    /// Whether something was parked since it was last counted.
    parked_some: bool,
}

impl<'a> Leader<'a> {
    pub(crate) fn new(
        connection: &'a mut PgConnection,
        epoch: &'a str,
        position: u64,
        progress: &'a Progress,
        reached: watch::Sender<Reached>,
    ) -> Self {
        Self { connection, epoch, position, progress, reached, parked_some: false }
    }

    /// Applies what comes in, until something ends it.
    pub(crate) async fn lead(
        mut self,
        mut intake: Intake,
        stop: &CancellationToken,
    ) -> Result<Infallible, Ending> {
        self.count_parked().await?;
        loop {
            let items = tokio::select! {
                () = stop.cancelled() => return Err(Ending::Stopped),
                items = intake.next() => items?,
                () = tokio::time::sleep(IDLE_CHECK) => {
                    self.count_parked().await?;
                    continue;
                }
            };
            if !rising(self.position, &items) {
                return Err(Ending::Passing("the log was read out of order".into()));
            }
            self.project(&items).await?;
            let behind = intake.is_far_ahead();
            self.reached.send_replace(Reached { position: self.position, behind });
            // Let go elsewhere: freeing what thousands of events hold takes milliseconds that Postgres would
            // idle.
            tokio::spawn(async move { drop(items) });
            if std::mem::take(&mut self.parked_some) {
                self.count_parked().await?;
            }
        }
    }

    /// Applies all items; what the tables cannot take is parked.
    async fn project(&mut self, items: &[Item]) -> Result<(), Ending> {
        let mut parts = cut_at_erasures(items);
        while let Some(part) = parts.pop() {
            match (self.commit(&fold(part), part.len()).await, part) {
                (Ok(()), _) => {}
                (Err(Refusal::Ending(ending)), _) => return Err(ending),
                (Err(Refusal::Data(reason)), [one]) => self.park(one, &reason).await?,
                (Err(Refusal::Data(_)), many) => {
                    let (first, second) = many.split_at(many.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(())
    }

    async fn park(&mut self, item: &Item, reason: &str) -> Result<(), Ending> {
        let last = item.sequence;
        let changes = Changes { last, parked: vec![ParkedRow::of(item, reason)], ..Changes::default() };
        match self.commit(&changes, 1).await {
            Ok(()) => Ok(()),
            Err(Refusal::Ending(ending)) => Err(ending),
            // Cleaned texts and a number: nothing in them can be refused for its value.
            Err(Refusal::Data(why)) => {
                Err(Ending::Passing(format!("event {last} could not be parked: {why}")))
            }
        }
    }

    /// Rows and checkpoint, together or not at all.
    async fn commit(&mut self, changes: &Changes<'_>, events: usize) -> Result<(), Refusal> {
        let started = Instant::now();
        let passing = |why: &str| Err(Refusal::Ending(Ending::Passing(why.into())));
        match tokio::time::timeout(PATIENCE, self.transaction(changes)).await {
            Err(_) => return passing("Postgres does not answer"),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(false)) => return passing("the checkpoint was moved by somebody else"),
            Ok(Ok(true)) => {}
        }
        self.position = changes.last;
        self.progress.reached(self.position);
        metrics::counter!("turnlog_projected_events_total").increment(events as u64);
        metrics::histogram!("turnlog_projection_batch_events").record(events as f64);
        metrics::histogram!("turnlog_projection_seconds").record(started.elapsed().as_secs_f64());
        for row in &changes.parked {
            if row.reason == OF_NEWER {
                unknown::passed_over("projector", &row.event_type);
                continue;
            }
            tracing::error!(
                sequence = row.sequence,
                event_type = row.event_type,
                reason = row.reason,
                "event parked"
            );
        }
        self.parked_some |= !changes.parked.is_empty();
        Ok(())
    }

    async fn transaction(&mut self, changes: &Changes<'_>) -> Result<bool, sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        let (from, to) = (number(self.position), number(changes.last));
        if !apply::checkpoint(&mut transaction, self.epoch, from, to).await? {
            return Ok(false);
        }
        apply::rows(&mut transaction, changes).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn count_parked(&mut self) -> Result<(), Ending> {
        let count = sqlx::query!(
            r#"SELECT count(*) FILTER (WHERE reason <> $1) AS "faults!", count(*) FILTER (WHERE reason = $1) AS "newer!"
               FROM parked WHERE state = 'parked'"#,
            OF_NEWER
        )
        .fetch_one(&mut *self.connection)
        .await?;
        metrics::gauge!("turnlog_parked_events").set(count.faults as f64);
        metrics::gauge!("turnlog_waiting_events").set(count.newer as f64);
        Ok(())
    }
}

/// Whether the sequences rise, from above the position.
fn rising(position: u64, items: &[Item]) -> bool {
    let mut last = position;
    items.iter().all(|item| std::mem::replace(&mut last, item.sequence) < item.sequence)
}

#[cfg(test)]
mod tests {
    use shared::subjects::{Aggregate, Subject};

    use super::*;

    fn items(sequences: &[u64]) -> Vec<Item> {
        let entry = |sequence| {
            let (at, subject) = (chrono::DateTime::UNIX_EPOCH, Subject::of(Aggregate::Token, "x"));
            let headers = async_nats::HeaderMap::new();
            shared::envelope::Entry::new(sequence, at, subject.into(), &headers, Vec::new().into())
        };
        sequences.iter().map(|sequence| entry(*sequence).into()).collect()
    }

    #[test]
    fn sequences_must_rise_from_above_the_checkpoint() {
        assert!(rising(4, &items(&[5, 6, 9])));
        assert!(!rising(5, &items(&[5, 6])));
        assert!(!rising(0, &items(&[1, 3, 3])));
        assert!(!rising(0, &items(&[1, 3, 2])));
    }
}
