//! Looks at conversations on their way to the audit log: one writer takes all that came meanwhile at once, so that many
//! looks a second share the wait for the disk. What is read is answered only after its record is stored.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::Utc;
use serde_json::Map;
use shared::audit::{Audit, Look, Looker, MOST_AT_ONCE, What};
use shared::auth::{Identity, KeyName};
use shared::envelope::Origin;
use shared::http::Caller;
use shared::ids::ConversationId;
use shared::log::LogError;
use shared::problem::Problem;
use tokio::sync::{mpsc, oneshot};

use crate::limits::{LOOK_PATIENCE, QUEUED_LOOKS};
use crate::view::MessageView;

/// How looks get to the writer. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Looks(mpsc::Sender<Job>);

/// What waits for the writer.
#[derive(Debug)]
pub(crate) enum Job {
    /// To be stored; the answer says whether it was.
    Store(Box<Look>, Option<oneshot::Sender<Result<(), String>>>),
    /// Says that everything before it is done.
    Mark(oneshot::Sender<()>),
}

/// Where a request came from, and with which key. Goes after the caller among a handler's parameters.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    address: IpAddr,
    request_id: String,
    key: Option<KeyName>,
}

/// A feed that is being looked at. Its end is recorded when this is dropped, if its beginning was.
#[derive(Debug)]
pub(crate) struct Watched(Option<Box<Ending>>);

#[derive(Debug)]
struct Ending {
    looks: Looks,
    look: Look,
    /// None of a list.
    conversation: Option<ConversationId>,
    opened_at: u64,
    shown_to: u64,
    reason: &'static str,
}

impl<S: Sync> FromRequestParts<S> for Trail {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Caller(address) = Caller::from_request_parts(parts, state).await?;
        let origin: Option<&Origin> = parts.extensions.get();
        let request_id = origin.map(|origin| origin.request_id.clone()).unwrap_or_default();
        Ok(Self { address, request_id, key: parts.extensions.get().cloned() })
    }
}

impl Trail {
    /// The request's id.
    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The API key of a service.
    pub(crate) fn key(&self) -> Option<&KeyName> {
        self.key.as_ref()
    }

    /// A look of this caller, if it is one that is recorded.
    pub(crate) fn look(&self, identity: &Identity, what: What) -> Option<Look> {
        Some(Look {
            at: Utc::now(),
            who: Looker::of(identity, self.key.as_ref())?,
            what,
            conversation_id: None,
            from_sequence: None,
            to_sequence: None,
            address: self.address,
            request_id: self.request_id.clone(),
            more: Map::new(),
        })
    }
}

/// From the oldest to the newest position that messages show of the log.
pub(crate) fn range(messages: &[MessageView]) -> Option<(u64, u64)> {
    let from = messages.iter().map(|message| message.sequence).min()?;
    let to = messages.iter().map(|message| message.version).max()?;
    Some((from, to))
}

impl Looks {
    /// The way to a writer, and what the writer takes from.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(QUEUED_LOOKS);
        (Self(sender), receiver)
    }

    /// Stores a look before what was looked at is answered; a participant has none.
    ///
    /// # Errors
    /// 503 when it is not known to be stored in time: what cannot be recorded is not shown.
    pub(crate) async fn record(&self, look: Option<Look>) -> Result<(), Problem> {
        let Some(look) = look else { return Ok(()) };
        let (answer, stored) = oneshot::channel();
        let recorded = tokio::time::timeout(LOOK_PATIENCE, async {
            self.0.send(Job::Store(Box::new(look), Some(answer))).await.map_err(|error| error.to_string())?;
            stored.await.map_err(|error| error.to_string())?
        });
        recorded.await.map_err(|error| error.to_string()).flatten().map_err(|cause| {
            let detail = "This look cannot be recorded for now, so nothing is shown; try again in a moment.";
            Problem::unavailable(detail, cause)
        })
    }

    /// Stores that a feed begins, which shows this range at first and has then shown everything up to `up_to`.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub(crate) async fn opened(
        &self,
        look: Option<Look>,
        conversation: Option<&ConversationId>,
        shown: Option<(u64, u64)>,
        up_to: u64,
    ) -> Result<Watched, Problem> {
        let Some(look) = look else { return Ok(Watched(None)) };
        self.record(Some(of(look.clone(), conversation, shown))).await?;
        let (looks, conversation) = (self.clone(), conversation.cloned());
        let reason = "left";
        Ok(Watched(Some(Box::new(Ending {
            looks,
            look,
            conversation,
            opened_at: up_to,
            shown_to: up_to,
            reason,
        }))))
    }

    /// Waits until everything that was sent before is done with, at a stop.
    pub(crate) async fn settle(&self) {
        let (mark, reached) = oneshot::channel();
        let settled = async {
            let _gone = self.0.send(Job::Mark(mark)).await;
            let _gone = reached.await;
        };
        if tokio::time::timeout(LOOK_PATIENCE, settled).await.is_err() {
            tracing::warn!("the ends of some feeds are not in the audit log: it took no records in time");
        }
    }
}

impl Watched {
    /// Frames up to this position were shown.
    pub(crate) fn shown(&mut self, up_to: u64) {
        if let Some(ending) = &mut self.0 {
            ending.shown_to = ending.shown_to.max(up_to);
        }
    }

    /// Why the feed ends now; a feed that nobody ended was left by its client.
    pub(crate) fn ends(&mut self, reason: &'static str) {
        if let Some(ending) = &mut self.0 {
            ending.reason = reason;
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(ending) = self.0.take() else { return };
        let Ending { looks, look, conversation, opened_at, shown_to, reason } = *ending;
        let shown = (shown_to > opened_at).then_some((opened_at + 1, shown_to));
        let ended = Look { at: Utc::now(), what: What::FeedEnded, ..look };
        let ended = of(ended, conversation.as_ref(), shown);
        let job = Job::Store(Box::new(ended.with("reason", reason)), None);
        if looks.0.try_send(job).is_err() {
            lost("too many wait for it");
        }
    }
}

/// At a conversation, if it is one that the feed is of.
fn of(look: Look, conversation: Option<&ConversationId>, shown: Option<(u64, u64)>) -> Look {
    match conversation {
        Some(conversation) => look.of(conversation, shown),
        None => look,
    }
}

/// A feed's end is recorded as well as can be: without it the record of its beginning has no end.
fn lost(cause: &str) {
    metrics::counter!("turnlog_audit_lost_total").increment(1);
    tracing::warn!(cause, "the end of a feed is not in the audit log");
}

/// Stores what comes, for ever.
///
/// # Errors
/// None; it is one of the loops that may not end.
pub(crate) async fn write(audit: Audit, mut queue: mpsc::Receiver<Job>) -> Result<(), LogError> {
    loop {
        let mut jobs = Vec::new();
        if queue.recv_many(&mut jobs, MOST_AT_ONCE).await == 0 {
            // Everybody who could look is gone.
            return std::future::pending().await;
        }
        let (mut looks, mut answers, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        for job in jobs {
            match job {
                Job::Store(look, answer) => {
                    looks.push(*look);
                    answers.push(answer);
                }
                Job::Mark(mark) => marks.push(mark),
            }
        }
        let started = tokio::time::Instant::now();
        let stored = audit.append(&looks).await;
        metrics::histogram!("turnlog_audit_seconds").record(started.elapsed().as_secs_f64());
        for (answer, stored) in answers.into_iter().zip(stored) {
            let stored = stored.map_err(|error| error.to_string());
            match (answer, stored) {
                (Some(answer), stored) => {
                    let _gone = answer.send(stored);
                }
                (None, Err(cause)) => lost(&cause),
                (None, Ok(())) => {}
            }
        }
        for mark in marks {
            let _gone = mark.send(());
        }
    }
}
