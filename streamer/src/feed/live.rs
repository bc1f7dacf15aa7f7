//! What is shown live: who types and who watches, taken from the broker and put into the rooms.

use std::sync::Arc;

use futures::StreamExt;
use shared::live::{Channel, Typing, Watching};
use shared::log::LogError;
use shared::subjects::{self, Shown};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::hub::{Audience, Hub};
use super::presence::Presence;
use super::wakes::Wakes;
use super::{reader, sse};
use crate::limits::PRESENCE_REPEAT;

/// Shows what comes, and tells the others who watches here, for ever.
///
/// # Errors
/// [`LogError::Unavailable`], when the connection is closed.
pub(crate) async fn show(
    channel: Channel,
    hub: Arc<Hub>,
    presence: Presence,
    mut told: mpsc::Receiver<Watching>,
) -> Result<(), LogError> {
    let closed = || LogError::Unavailable("what is shown live comes in no more".into());
    let mut shown = channel.shown().await.map_err(|error| LogError::Unavailable(error.to_string()))?;
    let mut again = tokio::time::interval(PRESENCE_REPEAT);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let to_say = tokio::select! {
            message = shown.next() => {
                take(&message.ok_or_else(closed)?, &hub, &presence).spread().await;
                continue;
            }
            watching = told.recv() => vec![watching.ok_or_else(closed)?],
            _ = again.tick() => presence.repeat(),
        };
        for watching in to_say {
            if let Err(error) = channel.watching(&watching).await {
                tracing::debug!(%error, "who watches is not told");
            }
        }
    }
}

fn take(message: &async_nats::Message, hub: &Hub, presence: &Presence) -> Wakes {
    let mut wakes = Wakes::default();
    let Some((shown, token)) = subjects::shown(&message.subject) else { return wakes };
    match shown {
        Shown::Typing => {
            let Ok(typing) = serde_json::from_slice::<Typing>(&message.payload) else { return wakes };
            let others = Audience::Others(reader::number(&typing.by));
            hub.show(token, &sse::typing(&typing), others, &mut wakes);
        }
        Shown::Watching => {
            let Ok(said) = serde_json::from_slice::<Watching>(&message.payload) else { return wakes };
            let conversation = said.conversation_id.clone();
            if let Some(admins) = presence.learn(token, said, Instant::now()) {
                hub.show(token, &sse::presence(&conversation, &admins), Audience::Admins, &mut wakes);
            }
        }
    }
    wakes
}
