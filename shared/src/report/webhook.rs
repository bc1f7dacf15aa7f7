//! S3's conversation webhook: `ConversationEndData`. The write edge has checked it; here it is read again.

use chrono::{DateTime, Utc};

use super::{Depth, Facts, Object, Reading, Turn, sane, spoken};
use crate::ids::{Speaker, Timestamp};

/// The whole conversation.
pub(super) fn conversation(body: &Object<'_>, depth: Depth) -> Option<Reading> {
    let metadata = body.object("metadata");
    let turns: Vec<_> = body
        .list("transcript")?
        .into_iter()
        .filter_map(Object::read)
        .map(|turn| read_turn(&turn, depth))
        .collect();
    let duration = metadata.as_ref().and_then(|found| found.integer("duration"));
    let facts = Facts {
        outcome: Some("completed".into()),
        agent_id: metadata.as_ref().and_then(|found| found.word("agentId")),
        account_id: body.word("accountId"),
        email_id: body.word("emailId"),
        started_at: turns.iter().filter_map(|turn| turn.at.map(|at| at.instant())).min(),
        duration_seconds: duration,
        summary: summary(body),
        metadata: depth.value(|| body.value("metadata")),
        analysis: depth.value(|| body.value("summary")),
        ..Facts::default()
    };
    Some(Reading { turns, facts })
}

/// The seed leaves the summary's shape open: a text, or an object that holds one.
fn summary(body: &Object<'_>) -> Option<String> {
    let inner = |name| body.object("summary").and_then(|found| found.text(name));
    let text = inner("summary").or_else(|| inner("text")).or_else(|| body.text("summary"));
    text.and_then(|text| spoken(&text))
}

fn read_turn(turn: &Object<'_>, depth: Depth) -> Turn {
    let said_as = turn.word("speaker").unwrap_or_default();
    let at = turn.text("timestamp").and_then(|text| DateTime::parse_from_rfc3339(&text).ok());
    let at = at.filter(|at| sane(&at.with_timezone(&Utc)));
    Turn {
        role: if said_as == "user" { Speaker::User } else { Speaker::Assistant },
        text: turn.text("content").and_then(|text| spoken(&text)),
        original: None,
        interrupted: false,
        message_id: turn.text("messageId").and_then(|id| id.try_into().ok()),
        event_id: None,
        at: at.map(|at| Timestamp::from_parts(at.to_utc(), at.offset().local_minus_utc())),
        seconds: None,
        detail: depth.value(|| turn.rest(&["speaker", "content", "timestamp", "messageId"])),
        said_as,
    }
}
