//! Webhooks that an older version stored and did not understand, read again: those that this one understands become what
//! they would have become when they came.

use axum::body::Body;
use shared::envelope::{Entry, Origin};
use shared::events::{Event, Payload, Source, Unread};
use shared::objects::{ObjectError, ObjectName};
use shared::subjects::UNREAD;

use super::desk::Desk;
use super::round::Trouble;
use crate::command::{Command, ReportConversation};
use crate::committer::Failure;
use crate::state::Conversation;
use crate::webhooks::elevenlabs::NotTaken;

/// Why one is not read, or none.
enum Left {
    /// It stays as it is.
    AsItIs(String),
    /// There is no use in going on.
    Trouble(Trouble),
}

impl From<Failure> for Left {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => Self::AsItIs(refusal.to_string()),
            Failure::Unavailable(why) => Self::Trouble(Trouble::Log(why)),
        }
    }
}

impl From<ObjectError> for Left {
    fn from(error: ObjectError) -> Self {
        Self::Trouble(Trouble::Log(error.to_string()))
    }
}

impl Desk {
    /// Reads all of them, one at a time; answers how many became something that the log did not have.
    ///
    /// # Errors
    /// [`Trouble::Log`]. Those before it are done; doing them again changes nothing.
    pub(crate) async fn reread(&self) -> Result<u64, Trouble> {
        let (mut after, mut understood) = (0, 0);
        loop {
            let page = self.log.page_of(UNREAD, after).await;
            let page = page.map_err(|error| Trouble::Log(error.to_string()))?;
            let Some(last) = page.last() else { break };
            after = last.sequence;
            for entry in &page {
                match self.read_again(entry).await {
                    Ok(new) => understood += u64::from(new),
                    Err(Left::AsItIs(why)) => {
                        tracing::debug!(sequence = entry.sequence, why, "a webhook is still not understood");
                    }
                    Err(Left::Trouble(trouble)) => return Err(trouble),
                }
            }
        }
        if understood > 0 {
            tracing::info!(
                understood,
                "webhooks of an older version are understood now; turnlog parked retry clears them"
            );
        }
        Ok(understood)
    }

    async fn read_again(&self, entry: &Entry) -> Result<bool, Left> {
        let unread = match entry.decode() {
            Ok(Event::WebhookReceived(unread)) => unread,
            Ok(_) => return Err(Left::AsItIs("another event".into())),
            Err(error) => return Err(Left::AsItIs(error.to_string())),
        };
        let command = self.understand(unread).await?;
        if self.is_known(&command).await? {
            return Ok(false);
        }
        let request_id = entry.request_id().unwrap_or_default().to_owned();
        self.committer.submit(command, Origin { request_id, traceparent: None }).await?;
        Ok(true)
    }

    /// What a stored body means to this version. When it came and what it is named by stay what they were.
    async fn understand(&self, unread: Unread) -> Result<Command, Left> {
        let Unread { source, sha256, received_at, payload, .. } = unread;
        match source {
            Source::ElevenlabsWebhook => {}
            Source::ElevenlabsApi | Source::ConversationWebhook => {
                return Err(Left::AsItIs("it came another way".into()));
            }
        }
        let (bytes, body) = self.body(payload).await?;
        let spooled = self.spool.take(Some(bytes), body, |_| ()).await;
        let spooled = spooled.map_err(|error| Left::AsItIs(error.to_string()))?;
        let read = self.reader.read(&spooled, received_at).await.map_err(|why| match why {
            NotTaken::NotStored(error) => error.into(),
            NotTaken::NotJson | NotTaken::Unreadable(_) => Left::AsItIs(why.to_string()),
        })?;
        match read {
            Command::Report(report) => {
                Ok(Command::Report(Box::new(ReportConversation { sha256, source, ..*report })))
            }
            Command::StoreAudio(recording) => Ok(Command::StoreAudio(recording)),
            Command::Receive(still) => Err(Left::AsItIs(still.reason)),
            Command::Record(_)
            | Command::Enrol(_)
            | Command::Update(_)
            | Command::Revoke(_)
            | Command::Refuse(_)
            | Command::Call(_)
            | Command::Directory(_)
            | Command::Dream(_)
            | Command::OpenSession(_)
            | Command::Link(_)
            | Command::Erase(_) => Err(Left::AsItIs("it is no webhook".into())),
        }
    }

    async fn body(&self, payload: Payload) -> Result<(u64, Body), Left> {
        let stored = match payload {
            Payload::Json(json) => {
                let text = json.text().to_owned();
                return Ok((text.len() as u64, text.into()));
            }
            Payload::Object(stored) => stored,
        };
        let gone = || Left::AsItIs("its body is no longer in the object store".into());
        let name = ObjectName::parse(&stored.object).ok_or_else(gone)?;
        let object = self.objects.get(name).await?.ok_or_else(gone)?;
        Ok((object.stored.bytes, Body::from_stream(object.stream(0))))
    }

    /// Whether the log says so already.
    async fn is_known(&self, command: &Command) -> Result<bool, Failure> {
        match command {
            Command::Report(told) => {
                let known = |known: &Conversation, session| {
                    let reported = known.reports.get(&(session, told.kind.clone()));
                    reported
                        .is_some_and(|known| known.versions.iter().any(|(sha256, _)| *sha256 == told.sha256))
                };
                self.committer.look_at(&told.conversation, known).await
            }
            Command::StoreAudio(told) => {
                let known = |known: &Conversation, session| known.has_heard(session, &told.audio.sha256);
                self.committer.look_at(&told.conversation_id, known).await
            }
            Command::Record(_)
            | Command::Enrol(_)
            | Command::Update(_)
            | Command::Revoke(_)
            | Command::Receive(_)
            | Command::Refuse(_)
            | Command::Call(_)
            | Command::Directory(_)
            | Command::Dream(_)
            | Command::OpenSession(_)
            | Command::Link(_)
            | Command::Erase(_) => Ok(false),
        }
    }
}
