//! The vendor's list of conversations: what is asked, and what comes back.
//!
//! The vendor adds and changes fields, so nothing is needed but the ids: a field that cannot be read is absent.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use super::limits::MAX_PAGE_SIZE;

/// Which conversations are asked for; newest first.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Only calls that began after this; whole seconds.
    pub after: Option<DateTime<Utc>>,
    /// Only calls that began before this; whole seconds.
    pub before: Option<DateTime<Utc>>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// Conversations on a page: 1 to [`MAX_PAGE_SIZE`].
    pub page_size: u16,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self { after: None, before: None, cursor: None, page_size: MAX_PAGE_SIZE }
    }
}

impl ListQuery {
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let seconds = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp().to_string());
        let parameters = [
            ("page_size", Some(self.page_size.clamp(1, MAX_PAGE_SIZE).to_string())),
            ("call_start_after_unix", seconds(self.after)),
            ("call_start_before_unix", seconds(self.before)),
            ("cursor", self.cursor.clone()),
        ];
        parameters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A page of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub conversations: Vec<Summary>,
    /// Entries without an id: nothing can be asked about them.
    pub skipped: usize,
    /// What to ask for the next page with; `None` on the last one.
    pub next_cursor: Option<String>,
}

/// What the list says of one conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its id.
    pub conversation_id: String,
    /// The agent that talked.
    pub agent_id: Option<String>,
    /// How far it is.
    pub status: Status,
    /// When the call began.
    pub start_time: Option<DateTime<Utc>>,
    /// How long the call was, in seconds.
    pub duration_secs: Option<u64>,
    /// Turns with a text.
    pub message_count: Option<u64>,
}

/// How far a conversation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Asked for, not begun.
    Initiated,
    /// People talk.
    InProgress,
    /// Over; the vendor works on it.
    Processing,
    /// Complete.
    Done,
    /// Ended by a fault; complete as far as it went.
    Failed,
    /// Absent, or one that is not known here.
    Other(String),
}

impl Status {
    /// Whether nothing more will come.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Done | Self::Failed => true,
            Self::Initiated | Self::InProgress | Self::Processing | Self::Other(_) => false,
        }
    }

    /// From the vendor's word.
    pub(crate) fn read(text: &str) -> Self {
        match text {
            "initiated" => Self::Initiated,
            "in-progress" => Self::InProgress,
            "processing" => Self::Processing,
            "done" => Self::Done,
            "failed" => Self::Failed,
            other => Self::Other(other.to_owned()),
        }
    }
}

#[derive(Deserialize)]
struct Body {
    conversations: Vec<Value>,
    #[serde(default)]
    next_cursor: Value,
    #[serde(default)]
    has_more: Value,
}

impl Page {
    /// Reads the vendor's answer; `None` when it is no page.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body: Body = serde_json::from_slice(body).ok()?;
        let entries = body.conversations.len();
        let conversations: Vec<_> = body.conversations.iter().filter_map(Summary::read).collect();
        let skipped = entries - conversations.len();
        let more = body.has_more != Value::Bool(false);
        let next_cursor = body.next_cursor.as_str().filter(|cursor| more && !cursor.is_empty());
        Some(Self { next_cursor: next_cursor.map(str::to_owned), conversations, skipped })
    }
}

impl Summary {
    fn read(entry: &Value) -> Option<Self> {
        let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
        let start = whole(&entry["start_time_unix_secs"]);
        Some(Self {
            conversation_id: text("conversation_id")?.to_owned(),
            agent_id: text("agent_id").map(str::to_owned),
            status: Status::read(text("status").unwrap_or_default()),
            start_time: start.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
            duration_secs: whole(&entry["call_duration_secs"]).and_then(|n| n.try_into().ok()),
            message_count: whole(&entry["message_count"]).and_then(|n| n.try_into().ok()),
        })
    }
}

/// A whole number, also where it came as a fraction or as text.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    value.as_i64().or_else(|| number.filter(|number| number.is_finite()).map(|number| number as i64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Option<Page> {
        Page::read(body.to_string().as_bytes())
    }

    #[test]
    fn a_page_of_the_vendor_is_read() {
        let page = read(&json!({
            "conversations": [{
                "agent_id": "agent_1", "conversation_id": "conv_1", "start_time_unix_secs": 1_760_000_000,
                "call_duration_secs": 61, "message_count": 7, "status": "in-progress", "call_successful": "success",
                "of_next_year": {"a": [1]},
            }],
            "next_cursor": "c1", "has_more": true,
        }))
        .unwrap();
        let summary = Summary {
            conversation_id: "conv_1".into(),
            agent_id: Some("agent_1".into()),
            status: Status::InProgress,
            start_time: DateTime::from_timestamp(1_760_000_000, 0),
            duration_secs: Some(61),
            message_count: Some(7),
        };
        let expected = Page { conversations: vec![summary], skipped: 0, next_cursor: Some("c1".into()) };
        assert_eq!(page, expected);
    }

    #[test]
    fn only_the_id_of_an_entry_is_needed() {
        let page = read(&json!({"conversations": [
            {"conversation_id": "conv_1"},
            {"conversation_id": "conv_2", "status": 7, "start_time_unix_secs": "1760000000", "message_count": -1},
            {"conversation_id": "conv_3", "status": "napping", "start_time_unix_secs": 1_760_000_000.9,
             "call_duration_secs": 1e300},
            {"conversation_id": null}, {"conversation_id": ""}, {"agent_id": "agent_1"}, "text", null,
        ]}))
        .unwrap();
        let ids: Vec<_> = page.conversations.iter().map(|one| one.conversation_id.as_str()).collect();
        assert_eq!((ids, page.skipped), (vec!["conv_1", "conv_2", "conv_3"], 5));
        let [first, second, third] = page.conversations.as_slice() else { panic!() };
        assert_eq!((&first.status, first.start_time), (&Status::Other(String::new()), None));
        assert_eq!(second.start_time, DateTime::from_timestamp(1_760_000_000, 0));
        assert_eq!(second.message_count, None);
        assert_eq!(third.status, Status::Other("napping".into()));
        assert_eq!(third.start_time, DateTime::from_timestamp(1_760_000_000, 0));
        assert!(!third.status.is_final() && Status::Done.is_final() && Status::Failed.is_final());
    }

    #[test]
    fn the_last_page_has_no_cursor() {
        let last = [
            json!({"conversations": [], "next_cursor": null, "has_more": false}),
            json!({"conversations": [], "next_cursor": "", "has_more": true}),
            json!({"conversations": [], "next_cursor": "c", "has_more": false}),
            json!({"conversations": []}),
        ];
        for body in last {
            assert_eq!(read(&body).unwrap().next_cursor, None, "{body}");
        }
        let unsaid = json!({"conversations": [], "next_cursor": "c"});
        assert_eq!(read(&unsaid).unwrap().next_cursor.as_deref(), Some("c"));
    }

    #[test]
    fn what_is_no_page_is_not_read() {
        assert_eq!(Page::read(b"<html>"), None);
        assert_eq!(Page::read(b"{\"conversations\": [{\"conversation_id\""), None);
        assert_eq!(Page::read(b"{\"conversations\": [\"\xff\"]}"), None);
        for body in [json!([]), json!({}), json!({"conversations": null}), json!({"conversations": {}})] {
            assert_eq!(read(&body), None, "{body}");
        }
    }

    #[test]
    fn the_query_holds_what_was_asked() {
        let query = ListQuery {
            after: DateTime::from_timestamp(100, 999_000_000),
            cursor: Some("a b&c".into()),
            page_size: 1000,
            ..ListQuery::default()
        };
        let expected = [("page_size", "100"), ("call_start_after_unix", "100"), ("cursor", "a b&c")]
            .map(|(n, v)| (n, v.to_owned()));
        assert_eq!(query.parameters(), expected);
    }
}
