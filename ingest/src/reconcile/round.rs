//! One comparison: the vendor's list page by page, newest first, each conversation looked up in the log.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use shared::envelope::Origin;
use uuid::Uuid;

use super::memory::Memory;
use super::visit::Miss;
use super::{Outcome, Reconciler, Step, Tally, Wanted, Window};
use crate::vendor::{ListQuery, Summary, VendorError};

/// Pages of one round: a hundred thousand conversations.
const MAX_PAGES: usize = 1_000;
/// Conversations in a row that the vendor fails to give before it is taken to be down.
const MAX_FAILURES_IN_A_ROW: u32 = 3;

/// Why a round broke off. What it did before stands.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The vendor.
    #[error(transparent)]
    Vendor(#[from] VendorError),
    /// The log, or the object store.
    #[error("{0}")]
    Log(String),
    /// There are more conversations than one round reads.
    #[error(
        "ElevenLabs lists more than {MAX_PAGES} pages: calls that began before {before} were not compared; do it with \
         turnlog reconcile --since TIME --until {before}",
        before = .0.to_rfc3339_opts(SecondsFormat::Secs, true)
    )]
    TooMany(DateTime<Utc>),
}

/// A round under way.
pub(super) struct Round<'a> {
    pub(super) reconciler: &'a Reconciler,
    pub(super) wanted: Wanted,
    pub(super) origin: Origin,
    memory: &'a mut Memory,
    each: &'a mut (dyn FnMut(Step<'_>) + Send),
    tally: Tally,
    in_a_row: u32,
}

impl<'a> Round<'a> {
    /// `each` is told what becomes of each conversation.
    pub(super) fn new(
        reconciler: &'a Reconciler,
        wanted: Wanted,
        memory: &'a mut Memory,
        each: &'a mut (dyn FnMut(Step<'_>) + Send),
    ) -> Self {
        let request_id = format!("reconcile-{}", Uuid::new_v4().simple());
        let origin = Origin { request_id, traceparent: None };
        Self { reconciler, wanted, origin, memory, each, tally: Tally::default(), in_a_row: 0 }
    }

    /// Compares. Dropping it breaks it off cleanly.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn run(mut self, window: Window) -> Result<Tally, Trouble> {
        let Reconciler { vendor, settings, .. } = self.reconciler;
        // The vendor's bounds are whole seconds, and not included.
        let after = window.after - Duration::from_secs(1);
        let mut query = ListQuery { after: Some(after), before: Some(window.before), ..ListQuery::default() };
        let (mut cursors, mut oldest) = (HashSet::new(), window.before);
        for _ in 0..MAX_PAGES {
            let page = settings.retry.run(|| vendor.list(&query)).await?;
            if page.skipped > 0 {
                tracing::warn!(entries = page.skipped, "ElevenLabs lists conversations without an id");
            }
            for summary in &page.conversations {
                let started = summary.start_time.unwrap_or(window.after);
                oldest = oldest.min(started);
                self.take(summary, started).await?;
            }
            let Some(cursor) = page.next_cursor else { return Ok(self.tally) };
            if !cursors.insert(cursor.clone()) {
                return Err(VendorError::Malformed("a list that begins again".into()).into());
            }
            query.cursor = Some(cursor);
        }
        // Others may have begun in the same second.
        Err(Trouble::TooMany(oldest + Duration::from_secs(1)))
    }

    async fn take(&mut self, summary: &Summary, started: DateTime<Utc>) -> Result<(), Trouble> {
        let id = &summary.conversation_id;
        self.tally.seen += 1;
        if !self.reconciler.settings.agents.want(summary.agent_id.as_deref()) {
            self.tell(id, Outcome::Unwanted, None);
            return Ok(());
        }
        if self.memory.is_complete(id) {
            self.tell(id, Outcome::Present, None);
            return Ok(());
        }
        let visited = self.visit(summary).await;
        if !matches!(visited, Err(Miss::Silent(_))) {
            self.in_a_row = 0;
        }
        match visited {
            Ok(()) => self.memory.settle(id),
            Err(Miss::Gone) => {
                self.count(id, Outcome::Gone, None);
                self.memory.settle(id);
            }
            Err(Miss::NotFinal) => {
                self.count(id, Outcome::NotFinal, None);
                self.memory.wait_for(id, started);
            }
            Err(Miss::Failed(why)) => self.failed(id, started, &why),
            Err(Miss::Silent(error)) => {
                self.failed(id, started, &error.to_string());
                self.in_a_row += 1;
                if self.in_a_row >= MAX_FAILURES_IN_A_ROW {
                    return Err(error.into());
                }
            }
            Err(Miss::Trouble(trouble)) => {
                self.memory.wait_for(id, started);
                return Err(trouble);
            }
        }
        Ok(())
    }

    fn failed(&mut self, id: &str, started: DateTime<Utc>, why: &str) {
        tracing::warn!(conversation_id = id, why, "a conversation could not be fetched from ElevenLabs");
        self.count(id, Outcome::Failed, Some(why));
        self.memory.wait_for(id, started);
    }

    /// Notes what became of a conversation that was looked at.
    pub(super) fn count(&mut self, id: &str, outcome: Outcome, why: Option<&str>) {
        metrics::counter!("turnlog_reconciled_total", "outcome" => outcome.word()).increment(1);
        self.tell(id, outcome, why);
    }

    fn tell(&mut self, id: &str, outcome: Outcome, why: Option<&str>) {
        self.tally.count(outcome);
        (self.each)(Step { conversation: id, outcome, why, tally: self.tally });
    }
}
