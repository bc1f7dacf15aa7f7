//! Who leads, what is retried, and what ends the program.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use shared::health::Progress;
use shared::log::{Log, LogError};
use shared::objects::Objects;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::database::{Database, DatabaseError, Nature, nature, plain};
use crate::index::{Indexer, Reached};
use crate::intake::Intake;
use crate::lead::Leader;
use crate::verify::Sampler;
use crate::waiting::Waiting;

/// The advisory lock of whoever leads: "turnlog" in ASCII, and the version of the tables.
pub(crate) const LEADER_LOCK: i64 = 0x7475_726e_6c6f_6701;
/// How often one that stands by looks whether it may lead.
const STANDBY_EVERY: Duration = Duration::from_millis(500);
/// First pause after a failure that passes; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A term that lasted this long was a good one: the next interruption is a new one.
const STEADY: Duration = Duration::from_secs(10);

/// Why the projector ended.
#[derive(Debug, thiserror::Error)]
pub enum ProjectorError {
    /// The log could not be reached, or is another one than the tables were folded from.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Why a term of leading ended.
pub(crate) enum Ending {
    /// It was asked to stop.
    Stopped,
    /// Something failed that passes.
    Passing(String),
    /// Trying again changes nothing.
    Lasting(ProjectorError),
}

impl From<sqlx::Error> for Ending {
    fn from(error: sqlx::Error) -> Self {
        match nature(&error) {
            Nature::Passing => Self::Passing(plain(&error)),
            Nature::Data | Nature::Lasting => Self::Lasting(DatabaseError::from(error).into()),
        }
    }
}

impl From<LogError> for Ending {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(why) => Self::Passing(why),
            LogError::Connect(_) | LogError::TooOld(_) | LogError::Stream(_) | LogError::Replaced => {
                Self::Lasting(error.into())
            }
        }
    }
}

/// Connects; a refusal that no waiting would mend (password, no such database) is told as such.
async fn connect(database: &Database) -> Result<PgConnection, Ending> {
    database.connect().await.map_err(|error| match nature(&error) {
        Nature::Passing => error.into(),
        Nature::Data | Nature::Lasting => Ending::Lasting(DatabaseError::connect(&error).into()),
    })
}

/// Says at the start what no waiting would mend.
pub(crate) async fn check(database: &Database) -> Result<(), ProjectorError> {
    let looked = async { position(&mut connect(database).await?).await };
    match looked.await {
        Ok(_) | Err(Ending::Stopped) => Ok(()),
        Err(Ending::Lasting(error)) => Err(error),
        Err(Ending::Passing(why)) => {
            tracing::warn!(why, "the projector waits for Postgres");
            Ok(())
        }
    }
}

/// Keeps the read tables up with the log.
#[derive(Debug)]
pub(crate) struct Projector {
    log: Log,
    objects: Objects,
    database: Database,
    progress: Progress,
    /// How often a conversation is compared with the log, if it is.
    sample: Option<Duration>,
}

impl Projector {
    pub(crate) fn new(
        log: Log,
        objects: Objects,
        database: Database,
        progress: Progress,
        sample: Option<Duration>,
    ) -> Self {
        Self { log, objects, database, progress, sample }
    }

    /// Leads when it may and stands by when not, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), ProjectorError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            let why = match self.term(&stop).await {
                Ending::Stopped => break,
                Ending::Lasting(error) => return Err(error),
                Ending::Passing(why) => why,
            };
            if started.elapsed() > STEADY {
                pause = FIRST_PAUSE;
            }
            // Said once for each interruption; what follows repeats it.
            if pause == FIRST_PAUSE {
                tracing::warn!(why, "the projection was interrupted; it goes on as soon as it can");
            } else {
                tracing::debug!(why, "the projection is still interrupted");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.objects.close().await;
        self.log.close().await;
        Ok(())
    }

    /// From the connection to the first error, or the stop.
    async fn term(&self, stop: &CancellationToken) -> Ending {
        let mut connection = tokio::select! {
            () = stop.cancelled() => return Ending::Stopped,
            connected = connect(&self.database) => match connected {
                Ok(connection) => connection,
                Err(ending) => return ending,
            }
        };
        let Err(ending) = self.serve(&mut connection, stop).await;
        if matches!(ending, Ending::Stopped) && connection.close().await.is_err() {
            tracing::debug!("the connection to Postgres was already closed");
        }
        ending
    }

    async fn serve(
        &self,
        connection: &mut PgConnection,
        stop: &CancellationToken,
    ) -> Result<Infallible, Ending> {
        self.become_leader(connection, stop).await?;
        let position = self.adopt(connection).await?;
        self.progress.reached(position);
        tracing::info!(position, "the projector leads");
        let intake = Intake::start(&self.log, &self.objects, position);
        let (reached, tables) = watch::channel(Reached { position, behind: false });
        let indexer = Indexer::new(connect(&self.database).await?, self.log.epoch()).await?;
        let leader = Leader::new(connection, self.log.epoch(), position, &self.progress, reached);
        let waiting = Waiting::new(&self.database, &self.log, &self.objects);
        let sampler = Sampler::new(&self.database, &self.log, &self.objects, self.sample);
        tokio::select! {
            ended = leader.lead(intake, stop) => ended,
            ended = indexer.follow(tables) => ended,
            // On the heap: they are large, and idle nearly always.
            never = Box::pin(sampler.follow()) => Ok(never),
            never = Box::pin(waiting.follow()) => Ok(never),
        }
    }

    /// Takes the lock, or stands by until it is free.
    async fn become_leader(
        &self,
        connection: &mut PgConnection,
        stop: &CancellationToken,
    ) -> Result<(), Ending> {
        let mut told = false;
        loop {
            let locked = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "locked!""#, LEADER_LOCK)
                .fetch_one(&mut *connection)
                .await?;
            if locked {
                return Ok(());
            }
            if !told {
                tracing::info!("another projector leads; this one stands by");
                told = true;
            }
            // The tables move all the same: this process is not stuck.
            self.progress.reached(position(connection).await?.last);
            tokio::select! {
                () = stop.cancelled() => return Err(Ending::Stopped),
                () = tokio::time::sleep(STANDBY_EVERY) => {}
            }
        }
    }

    /// Where to go on from; the first time, these tables are tied to this log.
    async fn adopt(&self, connection: &mut PgConnection) -> Result<u64, Ending> {
        let position = position(connection).await?;
        let extent = self.log.extent().await?;
        if position.epoch.is_empty() && position.last == 0 {
            sqlx::query!(
                "UPDATE checkpoint SET epoch = $1 WHERE name = 'read' AND epoch = ''",
                self.log.epoch()
            )
            .execute(connection)
            .await?;
        } else if position.epoch != self.log.epoch() || position.last > extent.last {
            return Err(LogError::Replaced.into());
        }
        Ok(position.last)
    }
}

/// The checkpoint.
struct Position {
    epoch: String,
    last: u64,
}

async fn position(connection: &mut PgConnection) -> Result<Position, Ending> {
    let row = sqlx::query!("SELECT epoch, last_sequence FROM checkpoint WHERE name = 'read'")
        .fetch_optional(connection)
        .await?
        .ok_or(Ending::Lasting(DatabaseError::NotMigrated.into()))?;
    Ok(Position { epoch: row.epoch, last: row.last_sequence.unsigned_abs() })
}
