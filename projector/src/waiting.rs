//! What an older version of this program passed over, because it did not know the type, is applied once this one does.

use std::convert::Infallible;
use std::time::Duration;

use shared::events::Event;
use shared::log::Log;
use shared::objects::Objects;

use crate::database::{Database, DatabaseError};
use crate::intake::OF_NEWER;
use crate::parked::{Outcome, ParkedError, try_again};

/// Rows that are looked at together.
const PAGE: i64 = 1_000;
/// How often it is looked again.
const EVERY: Duration = Duration::from_secs(60);
/// Pause before it is tried again after something stood in the way.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Applies what waits.
pub(crate) struct Waiting {
    database: Database,
    log: Log,
    objects: Objects,
}

impl Waiting {
    pub(crate) fn new(database: &Database, log: &Log, objects: &Objects) -> Self {
        Self { database: database.clone(), log: log.clone(), objects: objects.clone() }
    }

    /// Applies all of it beside the live projection, oldest first, and looks again from time to time: a rebuild may have put
    /// tables in place that another version folded. What this version does not know goes on waiting.
    pub(crate) async fn follow(self) -> Infallible {
        let mut hindered = false;
        loop {
            let applied = self.apply().await;
            match &applied {
                Ok(0) => {}
                Ok(events) => tracing::info!(events, "events that waited for this version were applied"),
                // Said once for each interruption; what follows repeats it.
                Err(error) if !hindered => {
                    tracing::warn!(%error, "events that waited for this version cannot be applied yet");
                }
                Err(_) => {}
            }
            hindered = applied.is_err();
            tokio::time::sleep(if hindered { RETRY_PAUSE } else { EVERY }).await;
        }
    }

    /// Answers how many it applied.
    async fn apply(&self) -> Result<u64, ParkedError> {
        let (mut after, mut applied) = (0, 0);
        let mut connection = self.database.connect().await.map_err(|error| DatabaseError::connect(&error))?;
        loop {
            let page = sqlx::query!(
                "SELECT sequence, event_type FROM parked
                 WHERE sequence > $1 AND state = 'parked' AND reason = $2 ORDER BY sequence LIMIT $3",
                after,
                OF_NEWER,
                PAGE
            )
            .fetch_all(&mut connection)
            .await?;
            let Some(last) = page.last().map(|row| row.sequence) else { return Ok(applied) };
            for row in page.iter().filter(|row| Event::is_known(&row.event_type)) {
                match try_again(&mut connection, &self.log, &self.objects, row.sequence.unsigned_abs()).await
                {
                    Ok(Outcome::Applied) => applied += 1,
                    Ok(Outcome::Erased) => {}
                    Ok(Outcome::StillParked(reason)) => {
                        let (sequence, event_type) = (row.sequence, &row.event_type);
                        tracing::error!(sequence, event_type, reason, "event parked");
                    }
                    // An operator was faster, or the log was cut.
                    Err(ParkedError::Unknown(_) | ParkedError::Gone(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            after = last;
        }
    }
}
