//! One conversation of the vendor's list: looked up in the log, fetched if it is missing, recorded.

use axum::body::Body;
use chrono::Utc;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use shared::envelope::Origin;
use shared::events::{Recording, Source, StoredObject};
use shared::ids::ConversationId;
use shared::limits::MAX_REPORT_BYTES;
use shared::objects::{ObjectError, ObjectName};
use shared::report::{self, Reading, kinds};

use super::round::{Round, Trouble};
use super::{Outcome, Reconciler};
use crate::command::{Command, ReportConversation};
use crate::committer::Failure;
use crate::decide::Refusal;
use crate::erase::{discard, objects_named};
use crate::vendor::{Status, Summary, VendorError};
use crate::webhooks::audio::{MEDIA_TYPE, in_background};
use crate::webhooks::elevenlabs::NotTaken;
use crate::webhooks::spool::Spooled;

/// Bytes of a media type that is kept.
const MAX_MEDIA_TYPE: usize = 128;

/// Why a conversation is not in the log now.
pub(super) enum Miss {
    /// The vendor is not done with it.
    NotFinal,
    /// The vendor no longer has it.
    Gone,
    /// It cannot be had, or not be read; others may.
    Failed(String),
    /// The vendor failed at it; perhaps only at it.
    Silent(VendorError),
    /// There is no use in going on.
    Trouble(Trouble),
}

impl From<VendorError> for Miss {
    fn from(error: VendorError) -> Self {
        match &error {
            VendorError::NotFound(_) => Self::Gone,
            VendorError::Unauthorized(_) | VendorError::RateLimited { .. } => Self::Trouble(error.into()),
            // It said when to come back.
            VendorError::Unavailable { retry_after: Some(_), .. } => Self::Trouble(error.into()),
            VendorError::Unavailable { retry_after: None, .. } => Self::Silent(error),
            VendorError::Invalid(_) | VendorError::Malformed(_) | VendorError::TooLarge(_) => {
                Self::Failed(error.to_string())
            }
        }
    }
}

impl From<Failure> for Miss {
    fn from(failure: Failure) -> Self {
        match failure {
            // Whoever it was with was erased: for us it is gone, wherever else it is kept.
            Failure::Refused(Refusal::Erased) => Self::Gone,
            Failure::Refused(refusal) => Self::Failed(refusal.to_string()),
            Failure::Unavailable(_) => Self::Trouble(Trouble::Log(failure.to_string())),
        }
    }
}

impl From<ObjectError> for Miss {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Unavailable(_) => Self::Trouble(Trouble::Log(error.to_string())),
            ObjectError::Content(_) | ObjectError::WrongDigest | ObjectError::TooLarge => {
                Self::Failed(error.to_string())
            }
        }
    }
}

impl From<NotTaken> for Miss {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::NotStored(error) => error.into(),
            NotTaken::NotJson | NotTaken::Unreadable(_) => Self::Failed(why.to_string()),
        }
    }
}

impl Round<'_> {
    /// Makes sure that the log has what is wanted of a conversation.
    pub(super) async fn visit(&mut self, summary: &Summary) -> Result<(), Miss> {
        if !summary.status.is_final() {
            return Err(Miss::NotFinal);
        }
        let name = &summary.conversation_id;
        let id = ConversationId::try_from(name.clone()).map_err(|wrong| Miss::Failed(wrong.to_string()))?;
        if id.is_standing() {
            return Err(Miss::Failed("its id is of the form that turnlog keeps for itself".into()));
        }
        let Reconciler { vendor, settings, desk } = self.reconciler;
        let looked = desk.committer.look_at(&id, |known, session| {
            let told = known.reports.contains_key(&(session, kinds::TRANSCRIPTION.into()));
            (told, known.audio.iter().any(|(of, ..)| *of == session))
        });
        let (told, heard) = looked.await?;
        let listen = self.wanted.audio && !heard;
        if told && !listen {
            self.count(name, Outcome::Present, None);
            return Ok(());
        }
        if self.wanted.dry_run {
            // Whether a conversation that is there has a recording is not known without asking.
            self.count(name, if told { Outcome::Present } else { Outcome::Missing }, None);
            return Ok(());
        }
        let body = settings.retry.run(|| vendor.conversation(name)).await?;
        let answer = Answer::read(&body, summary)?;
        let (agent_id, has_audio) = (answer.reading.facts.agent_id.clone(), answer.has_audio);
        if told {
            self.count(name, Outcome::Present, None);
        } else {
            self.reconciler.record(&id, &body, answer.reading, &self.origin).await?;
            self.count(name, Outcome::Fetched, None);
        }
        if listen && has_audio {
            self.reconciler.listen(id, agent_id, &self.origin).await?;
            self.count(name, Outcome::Audio, None);
        }
        Ok(())
    }
}

impl Reconciler {
    async fn record(
        &self,
        id: &ConversationId,
        body: &[u8],
        reading: Reading,
        origin: &Origin,
    ) -> Result<(), Miss> {
        let desk = &self.desk;
        let sha256: [u8; 32] = Sha256::digest(body).into();
        let report = ReportConversation {
            conversation: id.clone(),
            session: 0,
            participant: None,
            source: Source::ElevenlabsApi,
            kind: kinds::TRANSCRIPTION.into(),
            reported_at: None,
            received_at: Utc::now(),
            sha256: hex::encode(sha256),
            turns: reading.turns,
            started_at: reading.facts.started_at,
            payload: desk.reader.payload(body.to_vec(), sha256).await?,
        };
        self.submit(Command::Report(Box::new(report)), origin).await?;
        desk.sources.received(Source::ElevenlabsApi, kinds::TRANSCRIPTION);
        Ok(())
    }

    /// Fetches the recording: spooled, hashed and stored before the log names it.
    async fn listen(
        &self,
        id: ConversationId,
        agent_id: Option<String>,
        origin: &Origin,
    ) -> Result<(), Miss> {
        let Self { vendor, settings, desk } = self;
        let asked = settings.retry.run(|| vendor.audio(id.as_str())).await;
        let audio = asked.map_err(|error| match error {
            // A key may be good for conversations and not for their recordings.
            VendorError::Unauthorized(_) => Miss::Failed(error.to_string()),
            VendorError::NotFound(_)
            | VendorError::Invalid(_)
            | VendorError::RateLimited { .. }
            | VendorError::Unavailable { .. }
            | VendorError::Malformed(_)
            | VendorError::TooLarge(_) => error.into(),
        })?;
        let media_type = media_type(audio.content_type.as_deref());
        let spooling = desk.spool.take(audio.length, Body::from_stream(audio.bytes), |_| ());
        let spooled = spooling.await.map_err(|error| Miss::Failed(error.to_string()))?;
        if spooled.bytes == 0 {
            return Err(Miss::Failed("its recording is empty".into()));
        }
        let audio = self.store(&spooled, &media_type).await?;
        let recording = Recording {
            conversation_id: id,
            participant_id: None,
            session: 0,
            source: Source::ElevenlabsApi,
            agent_id,
            reported_at: None,
            audio,
            media_type,
        };
        self.submit(Command::StoreAudio(recording), origin).await?;
        desk.sources.received(Source::ElevenlabsApi, kinds::AUDIO);
        Ok(())
    }

    /// What is stored already of somebody who was erased goes again.
    async fn submit(&self, command: Command, origin: &Origin) -> Result<(), Failure> {
        let objects = objects_named(&command);
        let outcome = self.desk.committer.submit(command, origin.clone()).await;
        if matches!(outcome, Err(Failure::Refused(Refusal::Erased))) {
            discard(&self.desk.objects, &objects).await;
        }
        outcome.map(drop)
    }

    async fn store(&self, spooled: &Spooled, media_type: &str) -> Result<StoredObject, ObjectError> {
        let name = ObjectName::of(spooled.sha256);
        let content = in_background(spooled.read_from(0));
        let stored = self.desk.objects.put(name, spooled.bytes, media_type, content).await?;
        let object = name.to_string();
        Ok(StoredObject { sha256: object.clone(), object, bytes: stored.bytes })
    }
}

/// What the vendor says of a conversation that is complete.
struct Answer {
    reading: Reading,
    has_audio: bool,
}

impl Answer {
    fn read(body: &[u8], summary: &Summary) -> Result<Self, Miss> {
        if body.len() as u64 > MAX_REPORT_BYTES {
            return Err(Miss::Failed(format!("it has more than {MAX_REPORT_BYTES} bytes")));
        }
        let unknown = || Miss::Failed("its form is not known".into());
        let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unknown())?;
        let reading = report::read(kinds::TRANSCRIPTION, raw).ok_or_else(unknown)?;
        // The list may be ahead of the conversation itself.
        let final_there = reading.facts.outcome.as_deref().is_none_or(|word| Status::read(word).is_final());
        let lacks_turns = summary.status == Status::Done
            && reading.turns.is_empty()
            && summary.message_count.is_some_and(|count| count > 0);
        if !final_there || lacks_turns {
            return Err(Miss::NotFinal);
        }
        let has_audio = report::Object::read(raw).is_some_and(|body| body.flag("has_audio"));
        Ok(Self { reading, has_audio })
    }
}

/// The type without its parameters; the usual one where there is none that can be kept.
fn media_type(said: Option<&str>) -> String {
    let essence = said.and_then(|said| said.split(';').next()).map(str::trim);
    essence.filter(|essence| (1..=MAX_MEDIA_TYPE).contains(&essence.len())).unwrap_or(MEDIA_TYPE).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &Value, messages: u64) -> Result<Answer, Miss> {
        let summary = Summary {
            conversation_id: "c".into(),
            agent_id: None,
            status: Status::Done,
            start_time: None,
            duration_secs: None,
            message_count: Some(messages),
        };
        Answer::read(body.to_string().as_bytes(), &summary)
    }

    #[test]
    fn an_answer_that_is_not_complete_is_left_for_later() {
        let turn = json!({"role": "user", "message": "hello"});
        let body = |status: &str, turns: Value| json!({"conversation_id": "c", "status": status, "transcript": turns});
        assert!(read(&body("done", json!([turn])), 1).is_ok());
        assert!(read(&body("done", json!([])), 0).is_ok());
        for early in [body("done", json!([])), body("processing", json!([turn]))] {
            assert!(matches!(read(&early, 1), Err(Miss::NotFinal)), "{early}");
        }
        assert!(matches!(read(&body("done", json!("text")), 1), Err(Miss::Failed(_))));
    }

    #[test]
    fn a_media_type_is_kept_without_its_parameters() {
        for (said, kept) in [
            (Some("audio/wav; rate=8000"), "audio/wav"),
            (Some(" audio/mpeg"), "audio/mpeg"),
            (Some(";"), "audio/mpeg"),
            (None, "audio/mpeg"),
        ] {
            assert_eq!(media_type(said), kept);
        }
    }
}
