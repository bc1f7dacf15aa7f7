//! What streamers ask to be recorded for those who watch by WebSocket: only the write edge writes facts.

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use shared::envelope::Origin;
use shared::live::{Answer, Ask, Channel};
use shared::problem::Problem;

use crate::command::{Command, Deed, OnCall};
use crate::committer::Committer;

/// Questions that are answered at the same time.
const PARALLEL: usize = 64;

/// Answers what is asked, for ever. Whether the asker may see the conversation was decided where they watch it.
pub(crate) async fn answer(asked: Subscriber, channel: Channel, committer: Committer) {
    asked
        .for_each_concurrent(PARALLEL, |message| {
            let (channel, committer) = (channel.clone(), committer.clone());
            async move { one(message, &channel, &committer).await }
        })
        .await;
}

async fn one(message: Message, channel: &Channel, committer: &Committer) {
    let Some(to) = message.reply else { return };
    let answer = match serde_json::from_slice::<Ask>(&message.payload) {
        Ok(ask) => record(ask, committer).await,
        Err(_) => Err("It cannot be read.".into()),
    };
    if let Err(error) = channel.answer(to, &Answer(answer)).await {
        tracing::debug!(%error, "an answer was not sent");
    }
}

async fn record(ask: Ask, committer: &Committer) -> Result<u64, String> {
    let Ask { sighting, request_id } = ask;
    let deed = Deed::See(sighting.by, sighting.sequence);
    let command = Command::Call(OnCall { conversation: sighting.conversation_id, deed });
    let origin = Origin { request_id, ..Origin::default() };
    let stored = committer.submit(command, origin).await;
    stored.map(|receipt| receipt.sequence).map_err(|failure| {
        let problem = Problem::from(failure);
        problem.errors.into_iter().next().map_or(problem.detail, |error| error.message)
    })
}
