//! S3's `ConversationEndData`, checked: every bad field is named at once.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::RawValue;
use shared::events::{Payload, Source};
use shared::http::{Fields, JsonObject};
use shared::ids::{ConversationId, Invalid, MessageId, ParticipantId, Timestamp, no_nul};
use shared::problem::{FieldError, Problem};
use shared::report::{self, kinds};

use crate::command::ReportConversation;

/// Turns of one conversation.
const MAX_TURNS: usize = 10_000;
/// Bytes of a short text.
const MAX_WORD: usize = 1_024;
/// Most seconds of a conversation, and most messages: what a 32-bit number holds.
const MAX_NUMBER: u64 = i32::MAX as u64;

/// What a body is checked against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Most bytes of one turn's content.
    pub(crate) max_content_bytes: usize,
    /// The server's clock.
    pub(crate) now: DateTime<Utc>,
}

/// A checked body: which conversation of whose, and when it came.
#[derive(Debug)]
pub(crate) struct Checked {
    conversation: ConversationId,
    account: ParticipantId,
}

impl Checked {
    /// Checks a body.
    ///
    /// # Errors
    /// The problem that names every bad field.
    pub(crate) fn of(body: JsonObject, rules: Rules) -> Result<Self, Problem> {
        let mut fields = Fields::of(body);
        fields.required("emailId", email);
        let account = fields.required("accountId", ParticipantId::try_from);
        let conversation = fields.required("conversationId", conversation);
        let turns = fields.list("transcript");
        let metadata = fields.object("metadata");
        fields.optional_text_or_object("summary");
        fields.note(turns.map(|turns| check_turns(turns, rules)).unwrap_or_default());
        fields.note(metadata.map(check_metadata).unwrap_or_default());
        let checked = conversation.zip(account).map(|(conversation, account)| Self { conversation, account });
        fields.finish(checked)
    }

    /// The report that the body makes.
    ///
    /// # Errors
    /// A fault of ours: what was checked can be read.
    pub(crate) fn report(
        self,
        body: &[u8],
        sha256: String,
        payload: Payload,
        received_at: DateTime<Utc>,
    ) -> Result<ReportConversation, Problem> {
        let raw: Option<&RawValue> = serde_json::from_slice(body).ok();
        let reading = raw.and_then(|raw| report::skim(kinds::CONVERSATION, raw));
        let reading = reading.ok_or_else(|| Problem::internal("a checked conversation could not be read"))?;
        Ok(ReportConversation {
            conversation: self.conversation,
            session: 0,
            participant: Some(self.account),
            source: Source::ConversationWebhook,
            kind: kinds::CONVERSATION.into(),
            reported_at: None,
            received_at,
            sha256,
            turns: reading.turns,
            started_at: reading.facts.started_at,
            payload,
        })
    }
}

fn check_turns(turns: Vec<Value>, rules: Rules) -> Vec<FieldError> {
    if turns.len() > MAX_TURNS {
        let message = format!("must hold at most {MAX_TURNS} turns, this is {}", turns.len());
        return vec![FieldError { field: "transcript".into(), message }];
    }
    let mut seen = HashMap::new();
    let mut errors = Vec::new();
    for (place, turn) in turns.into_iter().enumerate() {
        let field = format!("transcript[{place}]");
        let Value::Object(turn) = turn else {
            errors.push(FieldError { field, message: "must be an object".into() });
            continue;
        };
        let mut fields = Fields::at(turn, format!("{field}."));
        fields.required("speaker", |text| speaker(&text));
        fields.required("content", |text| content(text, rules.max_content_bytes));
        fields.required("timestamp", |text| Timestamp::parse(&text, rules.now));
        if let Some(id) = fields.required("messageId", MessageId::try_from)
            && let Some(first) = seen.insert(id, place)
        {
            fields.reject("messageId", &format!("is the one of transcript[{first}], too"));
        }
        fields.optional_object("metadata");
        errors.extend(fields.into_errors());
    }
    errors
}

fn check_metadata(metadata: JsonObject) -> Vec<FieldError> {
    let mut fields = Fields::at(metadata, "metadata.".into());
    fields.optional("sessionId", word);
    fields.required("agentId", word);
    fields.required_integer("duration", 0..=MAX_NUMBER);
    fields.required_integer("messageCount", 0..=MAX_NUMBER);
    fields.required("platform", word);
    fields.required("userAgent", word);
    fields.into_errors()
}

/// Ids of the reserved form name a participant's own conversation.
fn conversation(text: String) -> Result<ConversationId, Invalid> {
    let id = ConversationId::try_from(text)?;
    if id.is_standing() {
        return Err(Invalid("must not begin with \"standing.\", which turnlog keeps for itself".into()));
    }
    Ok(id)
}

fn speaker(text: &str) -> Result<(), Invalid> {
    let known = text == "user" || text == "agent";
    known.then_some(()).ok_or_else(|| Invalid("must be \"user\" or \"agent\"".into()))
}

fn content(text: String, most: usize) -> Result<(), Invalid> {
    let most = most.min(report::MAX_TEXT);
    if text.len() > most {
        return Err(Invalid(format!("must be at most {most} bytes of UTF-8, this is {}", text.len())));
    }
    no_nul(text).map(drop)
}

fn word(text: String) -> Result<(), Invalid> {
    if text.len() > MAX_WORD {
        return Err(Invalid(format!("must be at most {MAX_WORD} bytes")));
    }
    no_nul(text).map(drop)
}

/// No more is asked of an address than that it could be one: it is a key, nobody writes to it.
fn email(text: String) -> Result<(), Invalid> {
    let halves = text.trim().rsplit_once('@');
    if !halves.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()) {
        return Err(Invalid("must be an e-mail address".into()));
    }
    word(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> Value {
        json!({
            "emailId": "user@example.com", "accountId": "acc123", "conversationId": "conv_abc123",
            "transcript": [{"timestamp": "2024-01-15T10:30:00Z", "speaker": "user",
                            "content": "Hello, I need help", "messageId": "msg_123"}],
            "metadata": {"sessionId": "sess_456", "agentId": "agent_1", "duration": 300, "messageCount": 10,
                         "platform": "web", "userAgent": "Mozilla/5.0..."},
        })
    }

    fn check(body: Value) -> Result<Checked, Vec<String>> {
        let Value::Object(body) = body else { panic!("no object") };
        let checked = Checked::of(body, Rules { max_content_bytes: 100, now: Utc::now() });
        checked.map_err(|problem| problem.errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn the_seeds_example_is_a_report_of_its_account() {
        let text = serde_json::to_string(&body()).unwrap();
        let payload = Payload::Json(shared::events::RawJson::new(text.clone()).unwrap());
        let checked = check(body()).unwrap();
        let report = checked.report(text.as_bytes(), "hash".into(), payload, Utc::now()).unwrap();
        assert_eq!(report.participant.unwrap().as_str(), "acc123");
        assert_eq!(report.turns.len(), 1);
        assert_eq!(report.turns[0].message_id.as_ref().unwrap().as_str(), "msg_123");
    }

    #[test]
    fn what_is_optional_may_be_absent_or_null() {
        let mut body = body();
        body["summary"] = Value::Null;
        body["metadata"]["sessionId"] = Value::Null;
        body["transcript"][0]["content"] = json!("");
        assert!(check(body.clone()).is_ok());
        body["transcript"] = json!([]);
        assert!(check(body).is_ok());
    }

    #[test]
    fn every_bad_field_is_named_at_once() {
        let bad = json!({
            "emailId": "nobody", "conversationId": "standing.openai.x",
            "transcript": [{"timestamp": "today", "speaker": "narrator", "content": "x".repeat(101),
                            "messageId": "m"},
                           7,
                           {"timestamp": "2024-01-15T10:30:00Z", "speaker": "agent", "content": "a\u{0}",
                            "messageId": "m", "metadata": []}],
            "summary": [], "metadata": {"agentId": 5, "duration": -1, "messageCount": "ten", "platform": null},
        });
        assert_eq!(
            check(bad).unwrap_err(),
            [
                "emailId",
                "accountId",
                "conversationId",
                "summary",
                "transcript[0].speaker",
                "transcript[0].content",
                "transcript[0].timestamp",
                "transcript[1]",
                "transcript[2].content",
                "transcript[2].messageId",
                "transcript[2].metadata",
                "metadata.agentId",
                "metadata.duration",
                "metadata.messageCount",
                "metadata.platform",
                "metadata.userAgent"
            ]
        );
    }
}
