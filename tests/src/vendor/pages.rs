//! The vendor's list: newest first, with cursors that hold where a page ended.

use std::collections::HashMap;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Call;
use super::fault::{bad_field, said};

/// What a request to the list asks for.
pub(super) struct Wanted {
    size: usize,
    cursor: Option<Cursor>,
    after: Option<i64>,
    before: Option<i64>,
    agent: Option<String>,
}

/// Where a page ended: start and id of its last conversation.
struct Cursor(i64, String);

impl Wanted {
    pub(super) fn read(query: &HashMap<String, String>) -> Result<Self, Box<Response>> {
        let number = |name: &str| -> Result<Option<i64>, Box<Response>> {
            let wrong = |_| Box::new(bad_field(name, "Input should be a valid integer", "int_parsing"));
            query.get(name).map(|text| text.parse().map_err(wrong)).transpose()
        };
        let size = number("page_size")?.unwrap_or(30);
        if !(1..=100).contains(&size) {
            return Err(Box::new(bad_field("page_size", "Input should be from 1 to 100", "out_of_range")));
        }
        let invalid = || Box::new(said(StatusCode::BAD_REQUEST, &json!("Invalid cursor")));
        let cursor = query.get("cursor").map(|text| Cursor::read(text).ok_or_else(invalid)).transpose()?;
        Ok(Self {
            size: usize::try_from(size).unwrap(),
            cursor,
            after: number("call_start_after_unix")?,
            before: number("call_start_before_unix")?,
            agent: query.get("agent_id").cloned(),
        })
    }

    /// The page. Conversations that come meanwhile move nothing.
    pub(super) fn page(&self, calls: &[Call]) -> Value {
        let mut calls: Vec<_> = calls.iter().filter(|call| self.takes(call)).collect();
        calls.sort_by(|a, b| (b.started, &b.id).cmp(&(a.started, &a.id)));
        let has_more = calls.len() > self.size;
        calls.truncate(self.size);
        let next = has_more.then(|| calls.last().map(|call| Cursor::write(call)));
        let conversations: Vec<_> = calls.into_iter().map(Call::summary).collect();
        json!({"conversations": conversations, "next_cursor": next, "has_more": has_more})
    }

    fn takes(&self, call: &Call) -> bool {
        self.cursor.as_ref().is_none_or(|cursor| cursor.is_before(call))
            && self.after.is_none_or(|after| call.started > after)
            && self.before.is_none_or(|before| call.started < before)
            && self.agent.as_ref().is_none_or(|agent| *agent == call.agent)
    }
}

impl Cursor {
    fn read(text: &str) -> Option<Self> {
        let text = String::from_utf8(hex::decode(text).ok()?).ok()?;
        let (started, id) = text.split_once(' ')?;
        Some(Self(started.parse().ok()?, id.to_owned()))
    }

    fn write(call: &Call) -> String {
        hex::encode(format!("{} {}", call.started, call.id))
    }

    fn is_before(&self, call: &Call) -> bool {
        (call.started, call.id.as_str()) < (self.0, self.1.as_str())
    }
}
