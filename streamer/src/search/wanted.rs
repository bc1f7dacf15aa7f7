//! What a search is asked for.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::auth::Identity;
use shared::ids::{ConversationId, Speaker};
use shared::problem::Problem;
use shared::subjects::{Subject, masked};

use super::cursor::Cursor;
use super::query::Query;
use crate::limits::{MAX_PAGE_SIZE, PAGE_SIZE};
use crate::list::Cursors;
use crate::query::Wrong;

/// The parameters as they came.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    q: Option<String>,
    conversation_id: Option<String>,
    role: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    after: Option<String>,
}

/// One page of one search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// As it was typed.
    typed: String,
    pub(crate) query: Query,
    pub(crate) conversation: Option<Subject>,
    pub(crate) role: Option<Speaker>,
    /// Said at this time or later.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Said before this time.
    pub(crate) to: Option<DateTime<Utc>>,
    /// Hits on a page.
    pub(crate) limit: u8,
    pub(crate) start: Option<Cursor>,
    /// How far the index must be.
    pub(crate) after: u64,
}

impl Wanted {
    /// Of the conversation that alone is searched.
    pub(crate) fn token(&self) -> Option<&str> {
        self.conversation.as_ref().map(Subject::token)
    }

    /// What the audit log says of it.
    pub(crate) fn asked(&self) -> Value {
        json!({"q": masked(&self.typed), "role": self.role.map(Speaker::as_str), "from": self.from, "to": self.to})
    }
}

impl Parameters {
    /// What this caller asks for.
    ///
    /// # Errors
    /// 400, naming every bad parameter.
    pub(crate) fn parse(self, cursors: &Cursors, caller: &Identity) -> Result<Wanted, Problem> {
        let mut wrong = Wrong::default();
        let after = wrong.after(self.after.as_deref());
        let typed = self.q.unwrap_or_default();
        let query = Query::parse(&typed);
        let query = query.map_err(|error| wrong.reject("q", error.to_string())).ok();
        let conversation = wrong.key("conversation_id", self.conversation_id).and_then(|id| {
            let id = ConversationId::try_from(id);
            id.map_err(|error| wrong.reject("conversation_id", error.to_string())).ok()
        });
        let role = self.role.and_then(|role| {
            let role = Speaker::try_from(role.as_str());
            role.map_err(|error| wrong.reject("role", error.to_string())).ok()
        });
        let from = instant(&mut wrong, "from", self.from);
        let to = instant(&mut wrong, "to", self.to);
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            wrong.reject("to", "must be later than from");
        }
        let limit = wrong.number("limit", self.limit.as_deref(), 1..=MAX_PAGE_SIZE.into());
        let limit = limit.and_then(|limit| u8::try_from(limit).ok()).unwrap_or(PAGE_SIZE);
        let start = self.cursor.and_then(|text| {
            let cursor = Cursor::open(cursors, caller, &text);
            if cursor.is_none() {
                wrong.reject("cursor", "is none that was given to you here; begin again without one");
            }
            cursor
        });
        let Some(query) = query else {
            return Err(wrong.finish(()).err().unwrap_or_else(|| Problem::fields(Vec::new())));
        };
        let conversation = conversation.as_ref().map(Subject::conversation);
        let wanted = Wanted { typed, query, conversation, role, from, to, limit, start, after };
        if start.is_some_and(|start| !start.is_of(&wanted)) {
            wrong.reject(
                "cursor",
                "was given for another search; send that one, or begin again without a cursor",
            );
        }
        wrong.finish(wanted)
    }
}

/// An instant. A plus that was not encoded arrives as a space.
fn instant(wrong: &mut Wrong, field: &str, text: Option<String>) -> Option<DateTime<Utc>> {
    let text = text?;
    let read = |text: &str| DateTime::parse_from_rfc3339(text).map(|at| at.to_utc());
    let instant = read(&text).or_else(|_| match text.rsplit_once(' ') {
        Some((time, offset)) => read(&format!("{time}+{offset}")),
        None => read(&text),
    });
    if instant.is_err() {
        wrong.reject(field, "must be an RFC 3339 timestamp with an offset, such as 2025-10-03T11:58:04Z");
    }
    instant.ok()
}

#[cfg(test)]
mod tests {
    use shared::config::Secret;

    use super::super::PURPOSE;
    use super::*;

    fn cursors() -> Cursors {
        Cursors::with(PURPOSE, &Secret::new("secret"), "e")
    }

    fn parsed(parameters: Parameters) -> Result<Wanted, Vec<String>> {
        let names = |problem: Problem| problem.errors.into_iter().map(|error| error.field).collect();
        parameters.parse(&cursors(), &Identity::Service).map_err(names)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn help() -> Parameters {
        Parameters { q: some("help"), ..Parameters::default() }
    }

    #[test]
    fn every_bad_parameter_is_named() {
        let all = Parameters {
            q: some("!"),
            conversation_id: some(""),
            role: some("admin"),
            from: some("yesterday"),
            to: some("2025-10-03"),
            limit: some("101"),
            cursor: some("forged"),
            after: some("-1"),
        };
        let named =
            ["after", "q", "conversation_id", "role", "from", "to", "limit", "cursor"].map(str::to_owned);
        assert_eq!(parsed(all), Err(named.to_vec()));
        assert_eq!(parsed(Parameters::default()), Err(vec!["q".to_owned()]));
        let at = || some("2025-10-03T11:58:04Z");
        assert_eq!(parsed(Parameters { from: at(), to: at(), ..help() }), Err(vec!["to".to_owned()]));
    }

    #[test]
    fn a_time_may_have_any_offset_and_a_plus_that_became_a_space() {
        let from = |text: &str| {
            parsed(Parameters { from: some(text), ..help() }).unwrap().from.unwrap().to_rfc3339()
        };
        for text in ["2025-10-03T11:58:04+05:30", "2025-10-03T11:58:04 05:30", "2025-10-03 06:28:04Z"] {
            assert_eq!(from(text), "2025-10-03T06:28:04+00:00");
        }
    }

    #[test]
    fn a_cursor_goes_on_with_its_own_search_alone() {
        let wanted = parsed(help()).unwrap();
        for last in [None, Some((0.25, 7))] {
            let cursor = Cursor::new(&wanted, 70, last);
            let text = Some(cursor.seal(&cursors(), &Identity::Service));
            let again = parsed(Parameters { cursor: text.clone(), limit: some("3"), ..help() }).unwrap();
            assert_eq!((again.start, again.limit), (Some(cursor), 3));
            let others = [
                Parameters { q: some("other"), ..Parameters::default() },
                Parameters { conversation_id: some("c"), ..help() },
                Parameters { role: some("user"), ..help() },
                Parameters { from: some("2025-10-03T11:58:04Z"), ..help() },
                Parameters { to: some("2025-10-03T11:58:04Z"), ..help() },
            ];
            for other in others {
                assert_eq!(
                    parsed(Parameters { cursor: text.clone(), ..other }),
                    Err(vec!["cursor".to_owned()])
                );
            }
        }
        let list = Cursors::new(&Secret::new("secret"), "e");
        let text = Cursor::new(&wanted, 70, None).seal(&list, &Identity::Service);
        assert_eq!(parsed(Parameters { cursor: Some(text), ..help() }), Err(vec!["cursor".to_owned()]));
    }
}
