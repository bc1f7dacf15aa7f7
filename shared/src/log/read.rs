//! One aggregate read alone, and single entries: JetStream's direct get, in batches (ADR-31).

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, StatusCode};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde_json::json;

use super::{Log, LogError, STREAM};
use crate::envelope::Entry;
use crate::subjects::Subject;

/// Entries asked for at once.
pub(crate) const PAGE: usize = 1_000;
/// Bytes asked for at once, so that a page of large messages stays small in memory.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// How long the next entry of a page may take.
const PATIENCE: Duration = Duration::from_secs(2);

impl Log {
    /// Hands every entry of one subject after the sequence `after` to `each`, oldest first, a page at a time.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the server does not answer in time; entries handed over before that are good.
    pub async fn read(
        &self,
        subject: &Subject,
        after: u64,
        mut each: impl FnMut(Entry),
    ) -> Result<(), LogError> {
        let mut next = after + 1;
        loop {
            let (entries, more) = self.page(subject.as_str(), next, PAGE).await?;
            for entry in entries {
                next = entry.sequence + 1;
                each(entry);
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// The next entries after the sequence `after` on subjects that match `filter`, a page of them; none at the end.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the server does not answer in time.
    pub async fn page_of(&self, filter: &str, after: u64) -> Result<Vec<Entry>, LogError> {
        Ok(self.page(filter, after + 1, PAGE).await?.0)
    }

    /// The entry at this sequence, if it is still there.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the server does not answer in time.
    pub async fn get(&self, sequence: u64) -> Result<Option<Entry>, LogError> {
        let (entries, _) = self.page(crate::subjects::ALL, sequence, 1).await?;
        Ok(entries.into_iter().find(|entry| entry.sequence == sequence))
    }

    /// A page, opened where it is sealed; and whether there is more behind it.
    async fn page(&self, subject: &str, from: u64, batch: usize) -> Result<(Vec<Entry>, bool), LogError> {
        let (mut entries, mut more) = (Vec::new(), false);
        let wanted = Wanted { subject, start: Start::At(from), batch };
        page(&self.client, STREAM, wanted, |entry, pending| {
            more = pending > 0;
            entries.push(entry);
        })
        .await?;
        self.unseal(&mut entries).await?;
        Ok((entries, more))
    }

    /// The sequence of the last entry that was stored at this time or before; 0 where there is none.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the server does not answer in time, [`LogError::Replaced`] as for
    /// [`Self::extent`].
    pub async fn sequence_at(&self, time: DateTime<Utc>) -> Result<u64, LogError> {
        let start = Start::Since(time + chrono::Duration::nanoseconds(1));
        let (mut next, wanted) = (None, Wanted { subject: crate::subjects::ALL, start, batch: 1 });
        page(&self.client, STREAM, wanted, |entry, _| next = Some(entry.sequence)).await?;
        match next {
            Some(next) => Ok(next - 1),
            None => Ok(self.extent().await?.last),
        }
    }
}

/// Where a page begins.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    /// At this sequence.
    At(u64),
    /// With what was stored then or later.
    Since(DateTime<Utc>),
}

/// A page of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) subject: &'a str,
    pub(crate) start: Start,
    /// Entries at most.
    pub(crate) batch: usize,
}

/// Hands the entries of one page to `each`, each with how many more there are behind it.
pub(crate) async fn page(
    client: &Client,
    stream: &str,
    Wanted { subject, start, batch }: Wanted<'_>,
    mut each: impl FnMut(Entry, u64),
) -> Result<(), LogError> {
    let inbox = client.new_inbox();
    let mut replies = client.subscribe(inbox.clone()).await.map_err(LogError::unavailable)?;
    let mut ask = json!({"batch": batch, "max_bytes": PAGE_BYTES, "next_by_subj": subject});
    match start {
        Start::At(sequence) => ask["seq"] = json!(sequence),
        Start::Since(time) => ask["start_time"] = json!(time),
    }
    client
        .publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), inbox, ask.to_string().into())
        .await
        .map_err(LogError::unavailable)?;
    loop {
        let reply = tokio::time::timeout(PATIENCE, replies.next())
            .await
            .map_err(LogError::unavailable)?
            .ok_or_else(|| LogError::unavailable("the connection was closed"))?;
        match reply.status {
            None | Some(StatusCode::OK) => {
                let (entry, pending) = parse(reply)
                    .ok_or_else(|| LogError::unavailable("an entry came without its sequence"))?;
                each(entry, pending);
            }
            // 204: end of this page. 404: nothing there from here on.
            Some(status) if status.as_u16() == 204 || status.as_u16() == 404 => return Ok(()),
            Some(status) => {
                let why = reply.description.unwrap_or_else(|| status.to_string());
                return Err(LogError::Unavailable(why));
            }
        }
    }
}

fn parse(message: Message) -> Option<(Entry, u64)> {
    let headers = message.headers?;
    let text = |headers: &HeaderMap, name| headers.get(name).map(|value| value.as_str().to_owned());
    let sequence = text(&headers, "Nats-Sequence")?.parse().ok()?;
    let subject = text(&headers, "Nats-Subject")?;
    let stored_at = DateTime::parse_from_rfc3339(&text(&headers, "Nats-Time-Stamp")?).ok()?.to_utc();
    let pending = text(&headers, "Nats-Num-Pending").and_then(|n| n.parse().ok()).unwrap_or(0);
    Some((Entry::new(sequence, stored_at, subject, &headers, message.payload), pending))
}
