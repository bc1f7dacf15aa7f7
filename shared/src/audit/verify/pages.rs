//! The stream read a page ahead, digested where it is read.

use std::collections::VecDeque;

use async_nats::Client;
use tokio::task::JoinHandle;

use super::Found;
use crate::audit::STREAM;
use crate::audit::seal::{Seal, digest_of, mark};
use crate::log::read::{Start, Wanted, page};
use crate::log::{Log, LogError};
use crate::subjects;

/// Records asked for at once: few enough that two pages of them are small in memory.
const BATCH: usize = 4_000;

/// What one page brought.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    pub(super) found: VecDeque<Found>,
    /// Of each of them, where seals were asked for; none where it cannot be read.
    pub(super) seals: Vec<Option<Seal>>,
}

/// A page, where the next one begins, and whether there is one.
type Ahead = (Stretch, u64, bool);

/// Reads one stream of subjects, up to a sequence.
pub(super) struct Pages {
    client: Client,
    subject: &'static str,
    end: u64,
    ahead: Option<JoinHandle<Result<Ahead, LogError>>>,
}

impl Pages {
    /// From the first record.
    pub(super) fn begin(log: &Log, subject: &'static str, end: u64) -> Self {
        let mut pages = Self { client: log.client().clone(), subject, end, ahead: None };
        if end > 0 {
            pages.fetch(1);
        }
        pages
    }

    /// The next page; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Stretch>, LogError> {
        let Some(ahead) = self.ahead.take() else { return Ok(None) };
        let (stretch, next, more) = ahead.await.map_err(LogError::unavailable)??;
        if more && next <= self.end {
            self.fetch(next);
        }
        Ok((!stretch.found.is_empty()).then_some(stretch))
    }

    fn fetch(&mut self, from: u64) {
        let (client, subject, end) = (self.client.clone(), self.subject, self.end);
        self.ahead = Some(tokio::spawn(async move {
            let (mut stretch, mut next, mut more) = (Stretch::default(), from, false);
            let wanted = Wanted { subject, start: Start::At(from), batch: BATCH };
            page(&client, STREAM, wanted, |entry, pending| {
                (next, more) = (entry.sequence + 1, pending > 0);
                if entry.sequence > end {
                    return;
                }
                let is_seal = entry.subject == subjects::SEALS;
                let seal = is_seal.then(|| Seal::read(&entry.body)).flatten();
                let (sequence, stored_at, digest) = (entry.sequence, entry.stored_at, digest_of(&entry));
                let covers_to = seal.as_ref().map(|seal| seal.to);
                stretch.found.push_back(Found {
                    sequence,
                    stored_at,
                    digest,
                    mark: mark(&digest),
                    is_seal,
                    covers_to,
                });
                if subject == subjects::SEALS {
                    stretch.seals.push(seal);
                }
            })
            .await?;
            Ok((stretch, next, more))
        }));
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}
