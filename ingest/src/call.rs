//! Calls as services tell of them: parsed, with the seed's ids where none are given; and which admin may do what.

use chrono::{DateTime, Utc};
use shared::events::{Attachment, AttachmentKind, Call};
use shared::http::{Fields, JsonObject};
use shared::ids::{
    AdminId, CallId, CompanyId, ConversationId, Invalid, MessageId, ParticipantId, Provider, Speaker,
    Timestamp, WorkerId, no_nul,
};
use shared::problem::{Kind, Problem};
use shared::subjects::Subject;

use crate::App;
use crate::command::{RecordMessage, content, short_text};
use crate::state::Conversation;

/// Most bytes of a number, an urgency or a medium.
const MAX_WORD_BYTES: usize = 64;
/// Most bytes of an attachment's address.
const MAX_URL_BYTES: usize = 2_048;
/// Most bytes of a list of sources.
const MAX_SOURCES_BYTES: usize = 8_192;
/// Most attachments of one turn.
pub(crate) const MAX_ATTACHMENTS: usize = 16;

fn word(text: String) -> Result<String, Invalid> {
    if text.trim().is_empty() || text.len() > MAX_WORD_BYTES {
        return Err(Invalid(format!("must be 1 to {MAX_WORD_BYTES} bytes, not blank")));
    }
    no_nul(text)
}

/// A telephone number, as it is written where it comes from.
///
/// # Errors
/// When there is no digit in it.
pub(crate) fn mobile_no(text: String) -> Result<String, Invalid> {
    if !text.contains(|c: char| c.is_ascii_digit()) {
        return Err(Invalid("must hold digits".into()));
    }
    word(text)
}

/// Reads `{call_id?, conversation_id?, worker_id, mobile_no, urgency, medium, timestamp}`.
///
/// # Errors
/// The problem that names every bad field.
pub(crate) fn parse(object: JsonObject, now: DateTime<Utc>) -> Result<Call, Problem> {
    let mut fields = Fields::of(object);
    let call_id = fields.optional("call_id", CallId::try_from);
    let conversation_id = fields.optional("conversation_id", ConversationId::try_from);
    if conversation_id.as_ref().is_some_and(ConversationId::is_standing) {
        fields.reject("conversation_id", "must not begin with \"standing.\": those belong to participants");
    }
    let worker_id = fields.required("worker_id", WorkerId::try_from);
    let mobile_no = fields.required("mobile_no", mobile_no);
    let urgency = fields.required("urgency", word);
    let medium = fields.required("medium", word);
    let opened_at = fields.required("timestamp", |text| Timestamp::parse(&text, now));
    let all = worker_id.zip(mobile_no).zip(urgency.zip(medium)).zip(opened_at);
    let (((worker_id, mobile_no), (urgency, medium)), opened_at) = fields.finish(all)?;
    let name = name_of(call_id.as_ref(), conversation_id.as_ref(), &mobile_no, opened_at);
    let impossible = |_| Problem::internal("an id made of a number and a time is none");
    let call_id = match call_id {
        Some(id) => id,
        None => CallId::try_from(format!("call_{name}")).map_err(impossible)?,
    };
    let conversation_id = match conversation_id {
        Some(id) => id,
        None => ConversationId::try_from(format!("conv_{name}")).map_err(impossible)?,
    };
    Ok(Call { conversation_id, call_id, worker_id, mobile_no, urgency, medium, opened_at, admin_id: None })
}

/// What the ids of a call and its conversation share: `919325590143_20251003_115804`.
fn name_of(
    call: Option<&CallId>,
    conversation: Option<&ConversationId>,
    mobile_no: &str,
    at: Timestamp,
) -> String {
    let of_call = call.and_then(|id| id.as_str().strip_prefix("call_"));
    // An id of a conversation may be too long for one of a call.
    let of_conversation = conversation
        .and_then(|id| id.as_str().strip_prefix("conv_"))
        .filter(|name| name.len() <= MAX_WORD_BYTES && !name.trim().is_empty());
    if let Some(name) = of_call.filter(|name| !name.trim().is_empty()).or(of_conversation) {
        return name.to_owned();
    }
    let digits: String = mobile_no.chars().filter(char::is_ascii_digit).collect();
    format!("{digits}_{}", at.compact())
}

/// Reads a turn of a call: `{message_id?, role, content, timestamp, sources?, attachments?}`.
///
/// # Errors
/// The problem that names every bad field.
pub(crate) fn parse_turn(
    object: JsonObject,
    conversation: ConversationId,
    idempotency_key: Option<MessageId>,
    max_content_bytes: usize,
    now: DateTime<Utc>,
) -> Result<RecordMessage, Problem> {
    let mut fields = Fields::of(object);
    let message_id = fields.optional("message_id", MessageId::try_from);
    let role = fields.required("role", |text| Speaker::try_from(text.as_str()));
    let attachments = attachments(&mut fields);
    // A picture may come without a word.
    let said = if attachments.is_empty() {
        fields.required("content", |text| content(text, max_content_bytes))
    } else {
        let within = |text: String| if text.is_empty() { Ok(text) } else { content(text, max_content_bytes) };
        Some(fields.optional("content", within).unwrap_or_default())
    };
    let timestamp = fields.required("timestamp", |text| Timestamp::parse(&text, now));
    let sources = fields.optional("sources", |text: String| {
        if text.len() > MAX_SOURCES_BYTES {
            return Err(Invalid(format!("must be at most {MAX_SOURCES_BYTES} bytes")));
        }
        no_nul(text)
    });
    let ((role, content), timestamp) = fields.finish(role.zip(said).zip(timestamp))?;
    Ok(RecordMessage {
        participant: None,
        conversation,
        idempotency_key: idempotency_key.filter(|_| message_id.is_none()),
        message_id,
        role,
        content,
        timestamp,
        provider: Provider::Call,
        event_id: None,
        sources: sources.filter(|sources| !sources.is_empty()),
        attachments,
        session: 0,
    })
}

fn attachments(fields: &mut Fields) -> Vec<Attachment> {
    let items = fields.optional_list("attachments").unwrap_or_default();
    if items.len() > MAX_ATTACHMENTS {
        fields.reject("attachments", &format!("must be at most {MAX_ATTACHMENTS}"));
        return Vec::new();
    }
    let mut read = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let serde_json::Value::Object(object) = item else {
            fields.reject(&format!("attachments[{place}]"), "must be an object");
            continue;
        };
        let mut inner = Fields::at(object, format!("attachments[{place}]."));
        let attachment = attachment(&mut inner);
        let errors = inner.into_errors();
        if let (Some(attachment), true) = (attachment, errors.is_empty()) {
            read.push(attachment);
        }
        fields.note(errors);
    }
    read
}

fn attachment(fields: &mut Fields) -> Option<Attachment> {
    let kind = fields.required("kind", |text| match text.as_str() {
        "image" => Ok(AttachmentKind::Image),
        "audio" => Ok(AttachmentKind::Audio),
        "location" => Ok(AttachmentKind::Location),
        "file" => Ok(AttachmentKind::File),
        _ => Err(Invalid("must be \"image\", \"audio\", \"location\" or \"file\"".into())),
    });
    let url = fields.optional("url", url);
    let media_id = fields.optional("media_id", media_id);
    let media_type = fields.optional("media_type", word);
    let latitude = fields.number("latitude", -90.0..=90.0);
    let longitude = fields.number("longitude", -180.0..=180.0);
    let name = fields.optional("name", short_text);
    match kind? {
        AttachmentKind::Location if latitude.is_none() || longitude.is_none() => {
            fields.reject("latitude", "a location needs latitude and longitude");
        }
        AttachmentKind::Image | AttachmentKind::Audio | AttachmentKind::File
            if url.is_some() == media_id.is_some() =>
        {
            fields.reject("url", "one of url and media_id is needed, and not both");
        }
        AttachmentKind::Location | AttachmentKind::Image | AttachmentKind::Audio | AttachmentKind::File => {}
    }
    Some(Attachment { kind: kind?, url, media_id, bytes: None, media_type, latitude, longitude, name })
}

/// Only what a browser may be sent to: neither scripts nor files of its own machine.
fn url(text: String) -> Result<String, Invalid> {
    let lower = text.to_ascii_lowercase();
    let web = lower.starts_with("https://") || lower.starts_with("http://");
    if !web || text.len() > MAX_URL_BYTES || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Invalid(format!("must be an http or https address of at most {MAX_URL_BYTES} bytes")));
    }
    Ok(text)
}

fn media_id(text: String) -> Result<String, Invalid> {
    let hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hash { Ok(text) } else { Err(Invalid("must be the media_id of an upload".into())) }
}

/// How an admin stands to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is theirs: nobody holds it, or they do.
    Reads,
    /// A colleague holds it.
    Colleagues,
}

/// What an admin is told who may not see a conversation.
pub(crate) fn denied() -> Problem {
    let detail = "Access denied. You don't have permission to view this conversation.";
    Problem::new(Kind::Forbidden, detail)
}

impl App {
    /// How an admin stands to a conversation, as the log has it now; `company` is what their token says.
    ///
    /// # Errors
    /// 404 where there is no conversation, 403 where it is none of theirs, 503.
    pub(crate) async fn standing(
        &self,
        admin: &AdminId,
        company: &CompanyId,
        conversation: &ConversationId,
    ) -> Result<Standing, Problem> {
        let call = |known: &Conversation, _| known.has_begun().then(|| known.call.clone());
        let known = self.committer.look_at(conversation, call).await?;
        let Some(call) = known else {
            return Err(Problem::new(Kind::NotFound, "There is no such conversation."));
        };
        if !self.committer.look(&Subject::admin(admin), |state| state.admin.allows(company)).await? {
            return Err(denied());
        }
        let call = call.ok_or_else(denied)?;
        if call.admin_id.as_ref() == Some(admin) {
            return Ok(Standing::Reads);
        }
        let worker = Subject::worker(&call.worker_id);
        let of_company = |worker: &shared::events::Worker| worker.company_id == *company;
        if !self.committer.look(&worker, |state| state.worker.as_ref().is_some_and(of_company)).await? {
            return Err(denied());
        }
        Ok(if call.admin_id.is_none() { Standing::Reads } else { Standing::Colleagues })
    }

    /// The same for a participant.
    ///
    /// # Errors
    /// 404, 403, 503.
    pub(crate) async fn owns(
        &self,
        participant: &ParticipantId,
        conversation: &ConversationId,
    ) -> Result<(), Problem> {
        let owner = |known: &Conversation, _| known.has_begun().then(|| known.owner.clone());
        let owner = self.committer.look_at(conversation, owner).await?;
        match owner {
            None => Err(Problem::new(Kind::NotFound, "There is no such conversation.")),
            Some(Some(owner)) if owner == *participant => Ok(()),
            Some(_) => Err(crate::decide::Refusal::NotOwner.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> JsonObject {
        let Value::Object(object) = value else { panic!("no object") };
        object
    }

    fn seed() -> Value {
        json!({"worker_id": "worker_919325590143", "mobile_no": "+919325590143", "urgency": "CRITICAL",
               "medium": "Voice", "timestamp": "2025-10-03T11:58:04+05:30"})
    }

    #[test]
    fn a_call_without_ids_gets_the_seeds() {
        let call = parse(object(seed()), Utc::now()).unwrap();
        assert_eq!(call.call_id.as_str(), "call_919325590143_20251003_115804");
        assert_eq!(call.conversation_id.as_str(), "conv_919325590143_20251003_115804");
        let mut named = seed();
        named["call_id"] = json!("call_7");
        assert_eq!(parse(object(named), Utc::now()).unwrap().conversation_id.as_str(), "conv_7");
        let mut named = seed();
        named["conversation_id"] = json!("x");
        let call = parse(object(named), Utc::now()).unwrap();
        assert_eq!(call.call_id.as_str(), "call_919325590143_20251003_115804");
    }

    #[test]
    fn every_bad_field_of_a_call_is_named() {
        let bad = json!({"conversation_id": "standing.openai.x", "mobile_no": "none", "urgency": " ",
                         "timestamp": "now"});
        let problem = parse(object(bad), Utc::now()).unwrap_err();
        let names: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(names, ["conversation_id", "worker_id", "mobile_no", "urgency", "medium", "timestamp"]);
    }

    fn turn(attachments: &Value) -> Result<RecordMessage, Problem> {
        let body =
            json!({"role": "user", "timestamp": "2025-10-03T11:58:04+05:30", "attachments": attachments});
        let conversation = ConversationId::try_from("c".to_owned()).unwrap();
        parse_turn(object(body), conversation, None, 100, Utc::now())
    }

    #[test]
    fn an_attachment_is_a_reference_that_a_browser_may_follow() {
        let place = json!([{"kind": "location", "latitude": 19.07, "longitude": 72.88}]);
        assert_eq!(turn(&place).unwrap().attachments[0].latitude, Some(19.07));
        assert!(turn(&json!([{"kind": "image", "url": "https://a.example/x.jpg"}])).is_ok());
        for bad in [
            json!([{"kind": "image"}]),
            json!([{"kind": "image", "url": "javascript:alert(1)"}]),
            json!([{"kind": "image", "url": "file:///etc/passwd"}]),
            json!([{"kind": "location", "latitude": 91.0, "longitude": 0.0}]),
            json!([{"kind": "location", "latitude": 9.0}]),
            json!([{"kind": "file", "media_id": "../x"}]),
            json!(["x"]),
            json!([]),
        ] {
            assert!(turn(&bad).is_err(), "{bad} was taken");
        }
    }
}
