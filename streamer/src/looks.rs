//! Looks at conversations on their way to the audit log, and feeds as looks that last. What is read is answered only after
//! its record is stored.

use shared::audit::{Look, Recorder, What};
use shared::ids::ConversationId;
use shared::problem::Problem;

use crate::view::MessageView;

pub(crate) use shared::audit::Trail;

/// How looks get to the audit log. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Looks(Recorder);

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

/// From the oldest to the newest position that messages show of the log.
pub(crate) fn range(messages: &[MessageView]) -> Option<(u64, u64)> {
    let from = messages.iter().map(|message| message.sequence).min()?;
    let to = messages.iter().map(|message| message.version).max()?;
    Some((from, to))
}

impl Looks {
    /// Recorded there.
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self(recorder)
    }

    /// Stores a look before what was looked at is answered; a participant has none.
    ///
    /// # Errors
    /// 503 when it is not known to be stored in time: what cannot be recorded is not shown.
    pub(crate) async fn record(&self, look: Option<Look>) -> Result<(), Problem> {
        self.0.record(look).await
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
        let ended = of(look.then(What::FeedEnded), conversation.as_ref(), shown);
        looks.0.later(ended.with("reason", reason));
    }
}

/// At a conversation, if it is one that the feed is of.
fn of(look: Look, conversation: Option<&ConversationId>, shown: Option<(u64, u64)>) -> Look {
    match conversation {
        Some(conversation) => look.of(conversation, shown),
        None => look,
    }
}
