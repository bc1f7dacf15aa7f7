//! What a list of calls is asked for.

use serde::Deserialize;
use serde_json::{Value, json};
use shared::auth::Identity;
use shared::problem::Problem;
use shared::subjects::masked;

use crate::limits::{MAX_PAGE_SIZE, PAGE_SIZE};
use crate::list::{Cursors, Filtering, go_on};
use crate::query::Wrong;
use crate::status::Status;
use crate::tables::calls::CallFilter;

/// The parameters as they came.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    status: Option<String>,
    urgency: Option<String>,
    medium: Option<String>,
    worker_id: Option<String>,
    admin_id: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    after: Option<String>,
}

/// One page of one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) filter: CallFilter,
    /// Conversations on a page.
    pub(crate) limit: u8,
    /// It begins with calls that were opened before this position of the log.
    pub(crate) before: u64,
    /// How far the tables must be.
    pub(crate) after: u64,
}

impl Filtering for CallFilter {
    fn parts(&self) -> impl IntoIterator<Item = Option<&str>> {
        let Self { status, urgency, medium, worker, holder } = self;
        let [urgency, medium, worker, holder] = [urgency, medium, worker, holder].map(Option::as_deref);
        [status.map(Status::stored), urgency, medium, worker, holder]
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
        let filter = CallFilter {
            status: self.status.and_then(|word| {
                let status = Status::of_stored_word(&word);
                if status.is_none() {
                    wrong.reject("status", "must be \"ACTIVE\", \"ENDED\" or \"FAILED\"");
                }
                status
            }),
            urgency: wrong.key("urgency", self.urgency),
            medium: wrong.key("medium", self.medium),
            worker: wrong.key("worker_id", self.worker_id),
            holder: wrong.key("admin_id", self.admin_id),
        };
        let limit = wrong.number("limit", self.limit.as_deref(), 1..=MAX_PAGE_SIZE.into());
        let limit = limit.and_then(|limit| u8::try_from(limit).ok());
        let first = (limit.unwrap_or(PAGE_SIZE), u64::MAX);
        let (limit, before) = match self.cursor {
            None => first,
            Some(text) => go_on(&mut wrong, &filter, limit, cursors.open(caller, &text))
                .map_or(first, |cursor| (cursor.limit, cursor.before)),
        };
        wrong.finish(Wanted { filter, limit, before, after })
    }
}

impl Wanted {
    /// What the audit log keeps of it: who called as a hash alone, since nothing is ever taken out of there.
    pub(crate) fn asked(&self) -> Value {
        let mut asked = json!({"limit": self.limit});
        let CallFilter { status, urgency, medium, worker, holder } = &self.filter;
        for (name, value) in [
            ("status", status.map(|status| status.stored().to_owned())),
            ("urgency", urgency.clone()),
            ("medium", medium.clone()),
            ("worker_id", worker.as_deref().map(masked)),
            ("admin_id", holder.clone()),
        ] {
            if let Some(value) = value {
                asked[name] = value.into();
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use shared::config::Secret;

    use super::*;
    use crate::list::Cursor;

    fn cursors() -> Cursors {
        Cursors::new(&Secret::new("secret"), "e")
    }

    fn parsed(parameters: Parameters) -> Result<Wanted, Vec<String>> {
        let names = |problem: Problem| problem.errors.into_iter().map(|error| error.field).collect();
        parameters.parse(&cursors(), &Identity::Service).map_err(names)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn every_bad_parameter_is_named_and_a_status_is_taken_in_any_case() {
        let bad = Parameters {
            status: some("open"),
            urgency: some(""),
            medium: some("a\0b"),
            worker_id: some(""),
            admin_id: some(""),
            limit: some("101"),
            cursor: some("forged"),
            after: some("-1"),
        };
        let named = ["after", "status", "urgency", "medium", "worker_id", "admin_id", "limit", "cursor"]
            .map(str::to_owned);
        assert_eq!(parsed(bad), Err(named.to_vec()));
        let ended = parsed(Parameters { status: some("ended"), ..Parameters::default() }).unwrap();
        assert_eq!(ended.filter.status, Some(Status::Completed));
        assert_eq!((ended.limit, ended.before), (PAGE_SIZE, u64::MAX));
    }

    #[test]
    fn a_cursor_goes_on_with_its_own_filters_alone() {
        let urgent = CallFilter { urgency: some("HIGH"), ..CallFilter::default() };
        let cursor = || Some(cursors().seal(&Identity::Service, &Cursor::new(&urgent, 7, 1, 70)));
        let wanted = parsed(Parameters { urgency: some("HIGH"), cursor: cursor(), ..Parameters::default() });
        assert_eq!(wanted, Ok(Wanted { filter: urgent.clone(), limit: 7, before: 70, after: 0 }));
        let none = parsed(Parameters { cursor: cursor(), ..Parameters::default() });
        assert_eq!(none, Err(vec!["cursor".to_owned()]));
        let medium = Parameters { medium: some("HIGH"), cursor: cursor(), ..Parameters::default() };
        assert_eq!(parsed(medium), Err(vec!["cursor".to_owned()]), "the same word, of another field");
    }
}
