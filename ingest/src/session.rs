//! Opening sessions: a conversation of ours goes on in a call of ElevenLabs'. The vendor is asked for a signed URL that
//! names its conversation beforehand, and both are tied together in the log before anybody learns the URL.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use shared::envelope::Origin;
use shared::events::{Enrolment, Link, Session};
use shared::ids::{ConversationId, DreamId, InterpreterId, ParticipantId, Timestamp};
use shared::problem::{Kind, Problem};
use shared::subjects::Subject;
use uuid::Uuid;

use crate::App;
use crate::command::{Command, OnDream, Told};
use crate::committer::Failure;
use crate::context::{DynamicVariables, history};
use crate::decide::Refusal;
use crate::interpreters::Interpreter;
use crate::state::{Conversation, Dreamt};
use crate::vendor::{SignedUrl, Vendor, VendorError};

/// How long a call can begin with a signed URL, as the vendor documents it.
const URL_LIFE: Duration = Duration::from_secs(15 * 60);
/// When a vendor that failed is worth another try, where it does not say.
const VENDOR_PAUSE: Duration = Duration::from_secs(5);

/// When what an operator has to mend is worth another try.
const OPERATOR_PAUSE: Duration = Duration::from_secs(60);

/// A session that was opened, for whoever may begin its call.
pub(crate) struct Opened {
    pub(crate) conversation: ConversationId,
    pub(crate) signed_url: String,
    pub(crate) expires_at: Timestamp,
    /// Where it stands in the log.
    pub(crate) sequence: u64,
}

/// The same at the beginning of a talk.
pub(crate) struct Begun {
    pub(crate) opened: Opened,
    pub(crate) variables: DynamicVariables,
    pub(crate) is_resumed: bool,
    pub(crate) message_count: u64,
}

/// How a conversation stands before a session of it is opened.
struct Before {
    history: String,
    is_resumed: bool,
    messages: u64,
}

/// What a session is about.
struct Topic {
    participant: ParticipantId,
    dream: DreamId,
    interpreter: InterpreterId,
    agent_id: String,
}

/// Whether a call can begin in a session, or goes on.
pub(crate) enum Validity {
    Valid(DateTime<Utc>),
    Invalid(Why, Option<DateTime<Utc>>),
}

/// Why there is none.
pub(crate) enum Why {
    Ended,
    Expired,
    NoSession,
}

impl From<VendorError> for Problem {
    fn from(error: VendorError) -> Self {
        let detail = match &error {
            VendorError::RateLimited { .. } | VendorError::Unavailable { .. } => {
                let problem =
                    Self::unavailable("ElevenLabs does not answer just now; try again in a moment.", &error);
                let retry_after = error.retry_after().unwrap_or(VENDOR_PAUSE).max(Duration::from_secs(1));
                return Self { retry_after: Some(retry_after), ..problem };
            }
            VendorError::Unauthorized(_) => {
                "ElevenLabs refuses this server's key; an operator must check ELEVENLABS_API_KEY."
            }
            VendorError::NotFound(_) | VendorError::Invalid(_) => {
                "ElevenLabs does not take this interpreter's agent; an operator must check ELEVENLABS_AGENTS."
            }
            VendorError::Malformed(_) | VendorError::TooLarge(_) => {
                "ElevenLabs gave an answer that cannot be used; try again, and report it if it lasts."
            }
        };
        Self { cause: Some(error.to_string()), ..Self::new(Kind::BadGateway, detail) }
    }
}

impl App {
    /// Finds the talk of this dreamer and this interpreter about this dream, or begins it, and opens a session of it.
    ///
    /// # Errors
    /// 404 and 403 for a dream that is not there or not theirs; 502 and 503 where the vendor fails.
    pub(crate) async fn begin(
        &self,
        participant: ParticipantId,
        dream: DreamId,
        interpreter: Interpreter,
        origin: Origin,
    ) -> Result<Begun, Problem> {
        let vendor = self.configured_vendor()?;
        let (profile, dreamt) = tokio::join!(self.profile(&participant), self.dream_of(&participant, &dream));
        let (profile, dreamt) = (profile?, dreamt?);
        let topic = Topic {
            participant,
            dream,
            interpreter: interpreter.id.clone(),
            agent_id: interpreter.agent_id.clone(),
        };
        // The vendor takes its time: what is ours is looked up meanwhile.
        let ours = async {
            let conversation = match dreamt.discussion(&interpreter.id) {
                Some(conversation) => conversation.clone(),
                None => self.discuss(&topic, &origin).await?,
            };
            let before = self.before(&conversation).await?;
            Ok::<_, Problem>((conversation, before))
        };
        let (signed, ours) = tokio::join!(vendor.signed_url(&topic.agent_id), ours);
        let (conversation, before) = ours?;
        let variables = DynamicVariables::of(profile.as_ref(), &dreamt, &interpreter, before.history);
        let opened = self.open_session(conversation, topic, signed?, origin).await?;
        Ok(Begun { opened, variables, is_resumed: before.is_resumed, message_count: before.messages })
    }

    /// Opens a further session of a talk that goes on: its URL was used, or is too old.
    ///
    /// # Errors
    /// 404, 403; 409 where the talk is over, or never was one; 502 and 503 where the vendor fails.
    pub(crate) async fn go_on(
        &self,
        participant: ParticipantId,
        conversation: &ConversationId,
        origin: Origin,
    ) -> Result<Opened, Problem> {
        let vendor = self.configured_vendor()?;
        self.owns(&participant, conversation).await?;
        let newest = |known: &Conversation, _| {
            known.sessions.last().map(|session| (session.opened.clone(), session.over))
        };
        let conflict = |detail: &str| Problem::new(Kind::Conflict, detail);
        let (session, over) = self.committer.look_at(conversation, newest).await?.ok_or_else(|| {
            conflict("This conversation was not begun by init; there is no session to refresh.")
        })?;
        if over {
            return Err(conflict("The conversation has ended; call init to resume it."));
        }
        let Session { conversation_id, dream_id: dream, interpreter_id: interpreter, agent_id, .. } = session;
        let signed = vendor.signed_url(&agent_id).await?;
        self.open_session(
            conversation_id,
            Topic { participant, dream, interpreter, agent_id },
            signed,
            origin,
        )
        .await
    }

    /// Whether a call can begin in this conversation, or goes on.
    ///
    /// # Errors
    /// 404, 403, 503.
    pub(crate) async fn validity(
        &self,
        participant: &ParticipantId,
        conversation: &ConversationId,
    ) -> Result<Validity, Problem> {
        self.owns(participant, conversation).await?;
        let now = Utc::now();
        let judge = |known: &Conversation, _| {
            let open = known.sessions.iter().rev().find(|session| session.is_open(now));
            let newest = known.sessions.last();
            match (open, newest) {
                (Some(open), _) => Validity::Valid(open.opened.expires_at),
                (None, Some(newest)) => {
                    let why = if newest.over { Why::Ended } else { Why::Expired };
                    Validity::Invalid(why, Some(newest.opened.expires_at))
                }
                (None, None) => Validity::Invalid(Why::NoSession, None),
            }
        };
        Ok(self.committer.look_at(conversation, judge).await?)
    }

    fn configured_vendor(&self) -> Result<&Vendor, Problem> {
        let missing = "Sessions cannot be opened here: no ELEVENLABS_API_KEY is set.";
        self.vendor.as_ref().ok_or_else(|| {
            let problem = Problem::unavailable(missing, "ELEVENLABS_API_KEY is not set");
            Problem { retry_after: Some(OPERATOR_PAUSE), ..problem }
        })
    }

    async fn profile(&self, participant: &ParticipantId) -> Result<Option<Enrolment>, Failure> {
        self.committer.look(&Subject::participant(participant), |state| state.participant.clone()).await
    }

    /// A participant's own dream.
    async fn dream_of(&self, participant: &ParticipantId, dream: &DreamId) -> Result<Dreamt, Problem> {
        let looked =
            self.committer.look(&Subject::dream(dream), |state| state.dream.as_deref().cloned()).await?;
        let dreamt = looked.ok_or(Refusal::Unknown("dream"))?;
        if dreamt.dream.participant_id != *participant {
            return Err(Refusal::NotDreamer.into());
        }
        Ok(dreamt)
    }

    /// Gives the talk an id, unless somebody was faster. It is random: nobody can write there before.
    async fn discuss(&self, topic: &Topic, origin: &Origin) -> Result<ConversationId, Problem> {
        let impossible = |_| Problem::internal("a random id is none");
        let proposed = ConversationId::try_from(Uuid::new_v4().to_string()).map_err(impossible)?;
        let on = OnDream {
            dream: topic.dream.clone(),
            by: Some(topic.participant.clone()),
            told: Told::Discussion(topic.interpreter.clone(), proposed),
        };
        self.committer.submit(Command::Dream(on), origin.clone()).await?;
        let dreamt = self.dream_of(&topic.participant, &topic.dream).await?;
        dreamt
            .discussion(&topic.interpreter)
            .cloned()
            .ok_or_else(|| Problem::internal("a talk that was stored is not there"))
    }

    async fn before(&self, conversation: &ConversationId) -> Result<Before, Failure> {
        let read = |known: &Conversation, _| Before {
            history: history(known),
            is_resumed: known.has_begun(),
            messages: known.messages,
        };
        self.committer.look_at(conversation, read).await
    }

    /// Both facts are one commit, or two; the URL is told when both are stored.
    async fn open_session(
        &self,
        conversation: ConversationId,
        topic: Topic,
        signed: SignedUrl,
        origin: Origin,
    ) -> Result<Opened, Problem> {
        let unusable = |why: &str| Problem::from(VendorError::Malformed(why.to_owned()));
        let vendor_id = ConversationId::try_from(signed.conversation_id)
            .ok()
            .filter(|id| !id.is_standing())
            .ok_or_else(|| unusable("an id that no conversation can have"))?;
        // As fine as tables hold it.
        let opened_at = Utc::now().trunc_subsecs(6);
        let expires_at = opened_at + URL_LIFE;
        let link = Link {
            conversation_id: vendor_id.clone(),
            continues: conversation.clone(),
            participant_id: topic.participant.clone(),
        };
        let session = Session {
            conversation_id: conversation.clone(),
            participant_id: topic.participant,
            number: 0,
            vendor_conversation_id: vendor_id,
            dream_id: topic.dream,
            interpreter_id: topic.interpreter,
            agent_id: topic.agent_id,
            opened_at,
            expires_at,
        };
        let (linked, opened) = tokio::join!(
            self.committer.submit(Command::Link(link), origin.clone()),
            self.committer.submit(Command::OpenSession(session.into()), origin.clone()),
        );
        let linked = linked.map_err(|failure| match failure {
            Failure::Refused(Refusal::Linked) => unusable("an id that it had given before"),
            Failure::Refused(_) | Failure::Unavailable(_) => failure.into(),
        })?;
        let sequence = opened?.sequence.max(linked.sequence);
        let expires_at = Timestamp::from_parts(expires_at, 0);
        Ok(Opened { conversation, signed_url: signed.url.expose().to_owned(), expires_at, sequence })
    }
}
