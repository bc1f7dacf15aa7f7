//! The log into tables that nobody reads yet: in bulk up to where it ended when that began, then as the projector does.

use shared::log::{Extent, Log};
use shared::objects::Objects;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::gathered::{Gathered, told};
use super::throttle::Throttle;
use super::{RebuildError, Stage, Step, copy};
use crate::apply::{self, counts};
use crate::database::{Database, Nature, impersonal, nature};
use crate::fold::{cut_at_erasures, fold};
use crate::generation::{self, BUILDING, Part};
use crate::intake::{Intake, Item};
use crate::rows::{Changes, ParkedRow, number};

/// Fills one generation, event by event in the order of the log.
pub(crate) struct Fill {
    /// Its statements name the tables of that generation.
    connection: PgConnection,
    epoch: String,
    intake: Intake,
    /// Read, but beyond what was asked for so far.
    ahead: Vec<Item>,
    position: u64,
    gathered: Gathered,
    /// What the messages that were copied come to.
    counts: counts::Whole,
    /// Conversations were claimed after something was said in them.
    has_claims: bool,
}

impl Fill {
    /// Goes on after this position.
    pub(crate) fn new(connection: PgConnection, log: &Log, objects: &Objects, position: u64) -> Self {
        let intake = Intake::start(log, objects, position);
        let (epoch, ahead) = (log.epoch().to_owned(), Vec::new());
        let (gathered, counts) = (Gathered::default(), counts::Whole::default());
        Self { connection, epoch, intake, ahead, position, gathered, counts, has_claims: false }
    }

    /// The last event that is in the tables.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Everything that the log held then, into tables that are empty.
    pub(crate) async fn bulk(
        &mut self,
        extent: Extent,
        throttle: &mut Throttle,
        show: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), RebuildError> {
        while self.position < extent.last {
            throttle.breathe().await?;
            let items = self.next(extent.last).await?;
            self.store(&items).await?;
            self.position = items.last().map_or(self.position, |item| item.sequence);
            show(Step { stage: Stage::Events, done: self.position, of: extent.last });
        }
        self.write_gathered().await?;
        let mut transaction = self.connection.begin().await?;
        if self.has_claims {
            // They found none of their messages so far: what they are looked up by is made later.
            sqlx::raw_sql(
                "UPDATE messages AS m SET participant_id = c.participant_id FROM conversations AS c
                 WHERE c.token = m.conversation AND c.claim_sequence IS NOT NULL AND m.participant_id IS NULL
                       AND m.sequence < c.claim_sequence",
            )
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query("UPDATE checkpoint SET last_sequence = $1, epoch = $2 WHERE name = 'read'")
            .bind(number(self.position))
            .bind(&self.epoch)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Stores all items in bulk, halving what the tables refuse until one is left, which goes the usual way: what is said
    /// of it is what the projector would say.
    async fn store(&mut self, items: &[Item]) -> Result<(), RebuildError> {
        let mut parts = vec![items];
        while let Some(part) = parts.pop() {
            match (self.commit_bulk(fold(part)).await, part) {
                (Ok(()), _) => {}
                (Err(error), _) if nature(&error) != Nature::Data => return Err(error.into()),
                (Err(_), one @ [_]) => {
                    self.write_gathered().await?;
                    self.project(one).await?;
                    self.counts.give_up();
                }
                (Err(_), many) => {
                    let (first, second) = many.split_at(many.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(())
    }

    async fn write_gathered(&mut self) -> Result<(), RebuildError> {
        apply::conversations(&mut self.connection, &self.gathered.all()).await?;
        self.gathered.clear();
        Ok(())
    }

    /// What tables need that are read and written: all indexes, what the planner knows, and, meanwhile, what they add up to.
    pub(crate) async fn finish(
        &mut self,
        database: &Database,
        show: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), RebuildError> {
        let mut beside = database.connect_at_length(BUILDING).await?;
        let counts = std::mem::take(&mut self.counts);
        let counting = async {
            let mut transaction = beside.begin().await?;
            counts.write(&mut transaction).await?;
            transaction.commit().await
        };
        let indexing = async {
            let statements = generation::completion(&mut self.connection, Part::Tables).await?;
            let of = statements.len() as u64;
            for (done, statement) in (0..).zip(statements) {
                show(Step { stage: Stage::Indexes, done, of });
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.connection).await?;
            }
            Ok(())
        };
        tokio::try_join!(counting, indexing)?;
        Ok(())
    }

    /// Applies everything up to this sequence, as the projector does.
    pub(crate) async fn up_to(&mut self, sequence: u64) -> Result<(), RebuildError> {
        while self.position < sequence {
            let items = self.next(sequence).await?;
            self.project(&items).await?;
            self.position = items.last().map_or(self.position, |item| item.sequence);
        }
        Ok(())
    }

    /// The next events in order, up to this sequence, at least one.
    async fn next(&mut self, to: u64) -> Result<Vec<Item>, RebuildError> {
        let mut items = std::mem::take(&mut self.ahead);
        if items.is_empty() {
            items = self.intake.next().await?;
        }
        let beyond = items.partition_point(|item| item.sequence <= to);
        self.ahead = items.split_off(beyond);
        if items.is_empty() {
            return Err(RebuildError::Gap { from: self.position + 1, to });
        }
        Ok(items)
    }

    /// Messages by COPY; conversations gathered, but for those of which something is told; the rest as usual.
    async fn commit_bulk(&mut self, mut changes: Changes<'_>) -> Result<(), sqlx::Error> {
        // They were carried out before the log said so, so what is read here lacks what they took.
        let erasures = std::mem::take(&mut changes.erasures);
        let told = told(&changes);
        let messages = std::mem::take(&mut changes.messages);
        let claims = std::mem::take(&mut changes.claims);
        self.has_claims |= !claims.is_empty();
        let conversations = std::mem::take(&mut changes.conversations);
        let (written, later): (Vec<_>, Vec<_>) =
            conversations.into_iter().partition(|row| told.contains(row.token));
        let mut transaction = self.connection.begin().await?;
        if !messages.is_empty() {
            copy::messages(&mut transaction, &messages).await?;
        }
        if !told.is_empty() {
            apply::conversations(&mut transaction, &self.gathered.of(&told)).await?;
        }
        changes.conversations = written;
        apply::uncounted(&mut transaction, &changes).await?;
        apply::claims_but_messages(&mut transaction, &claims).await?;
        apply::deleted_webhooks(&mut transaction, &erasures).await?;
        if self.gathered.is_full() {
            apply::conversations(&mut transaction, &self.gathered.all()).await?;
        }
        transaction.commit().await?;
        self.counts.said(&messages);
        changes.corrections.iter().for_each(|row| self.counts.changed(row.conversation));
        if self.gathered.is_full() {
            self.gathered.clear();
        }
        self.gathered.forget(&told);
        self.gathered.add(&later);
        Ok(())
    }

    /// Applies all items; what the tables cannot take is parked.
    async fn project(&mut self, items: &[Item]) -> Result<(), RebuildError> {
        let mut parts = cut_at_erasures(items);
        while let Some(part) = parts.pop() {
            match (self.commit(&fold(part)).await, part) {
                (Ok(()), _) => {}
                (Err(error), _) if nature(&error) != Nature::Data => return Err(error.into()),
                (Err(error), [one]) => {
                    let parked = vec![ParkedRow::of(one, &impersonal(&error))];
                    let last = one.sequence;
                    self.commit(&Changes { last, parked, ..Changes::default() }).await?;
                }
                (Err(_), many) => {
                    let (first, second) = many.split_at(many.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(())
    }

    async fn commit(&mut self, changes: &Changes<'_>) -> Result<(), sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        sqlx::query(
            "UPDATE checkpoint SET last_sequence = $1, epoch = $2, updated_at = now() WHERE name = 'read'",
        )
        .bind(number(changes.last))
        .bind(&self.epoch)
        .execute(&mut *transaction)
        .await?;
        apply::rows(&mut transaction, changes).await?;
        transaction.commit().await
    }
}
