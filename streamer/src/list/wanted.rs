//! What a list is asked for.

use serde::Deserialize;
use serde_json::{Value, json};
use shared::auth::Identity;
use shared::problem::Problem;
use shared::subjects::masked;

use super::cursor::{Cursor, Cursors, Filtering};
use super::{Filter, Status};
use crate::limits::{MAX_PAGE_SIZE, PAGE_SIZE};
use crate::query::Wrong;

/// The parameters as they came.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    email_id: Option<String>,
    account_id: Option<String>,
    status: Option<String>,
    page: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
    after: Option<String>,
}

/// One page of one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) filter: Filter,
    /// Conversations on a page.
    pub(crate) limit: u8,
    pub(crate) start: Start,
    /// How far the tables must be.
    pub(crate) after: u64,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Where its number says, from 1.
    Page(u64),
    /// Before the conversation that began here in the log; the page that a cursor says it is.
    Before { sequence: u64, page: u64 },
}

impl Parameters {
    /// What this caller asks for.
    ///
    /// # Errors
    /// 400, naming every bad parameter.
    pub(crate) fn parse(self, cursors: &Cursors, caller: &Identity) -> Result<Wanted, Problem> {
        let mut wrong = Wrong::default();
        let after = wrong.after(self.after.as_deref());
        let filter = Filter {
            email: wrong.key("email_id", self.email_id),
            account: wrong.key("account_id", self.account_id),
            status: self.status.and_then(|word| {
                let status = Status::of_word(&word);
                if status.is_none() {
                    wrong.reject("status", "must be \"active\", \"completed\" or \"failed\"");
                }
                status
            }),
        };
        let limit = wrong.number("limit", self.limit.as_deref(), 1..=MAX_PAGE_SIZE.into());
        let limit = limit.and_then(|limit| u8::try_from(limit).ok());
        let page = wrong.number("page", self.page.as_deref(), 1..=i64::MAX.unsigned_abs());
        if self.page.is_some() && self.cursor.is_some() {
            wrong.reject("page", "cannot go with a cursor, which knows its page");
        }
        let numbered = (limit.unwrap_or(PAGE_SIZE), Start::Page(page.unwrap_or(1)));
        let (limit, start) = match self.cursor {
            None => numbered,
            Some(text) => go_on(&mut wrong, &filter, limit, cursors.open(caller, &text))
                .map_or(numbered, |cursor| (cursor.limit, Start::of(&cursor))),
        };
        wrong.finish(Wanted { filter, limit, start, after })
    }
}

impl Wanted {
    /// What the audit log keeps of it: whom was searched for as a hash alone, since nothing is ever taken out of there.
    pub(crate) fn asked(&self) -> Value {
        let (Start::Page(page) | Start::Before { page, .. }) = self.start;
        let mut asked = json!({"page": page, "limit": self.limit});
        let Filter { email, account, status } = &self.filter;
        for (name, value) in [
            ("email_id", email.as_deref().map(masked)),
            ("account_id", account.as_deref().map(masked)),
            ("status", status.map(|status| status.word().to_owned())),
        ] {
            if let Some(value) = value {
                asked[name] = value.into();
            }
        }
        asked
    }
}

impl Start {
    fn of(cursor: &Cursor) -> Self {
        Self::Before { sequence: cursor.before, page: cursor.page }
    }
}

/// Goes on where a cursor says, in the same list with pages of the same size.
pub(crate) fn go_on(
    wrong: &mut Wrong,
    filter: &impl Filtering,
    limit: Option<u8>,
    cursor: Option<Cursor>,
) -> Option<Cursor> {
    let Some(cursor) = cursor else {
        wrong.reject("cursor", "is none that was given to you here; begin again without one");
        return None;
    };
    if !cursor.is_of(filter) {
        wrong.reject("cursor", "was given for other filters; send those, or begin again without a cursor");
    }
    if limit.is_some_and(|limit| limit != cursor.limit) {
        wrong.reject(
            "limit",
            format!("must stay {}, as where the cursor was given, or be left out", cursor.limit),
        );
    }
    Some(cursor)
}

#[cfg(test)]
mod tests {
    use shared::config::Secret;

    use super::*;

    fn cursors() -> Cursors {
        Cursors::new(&Secret::new("secret"), "e")
    }

    fn cursor(filter: &Filter) -> Option<String> {
        Some(cursors().seal(&Identity::Service, &Cursor::new(filter, 25, 3, 70)))
    }

    fn parsed(parameters: Parameters) -> Result<Wanted, Vec<String>> {
        let names = |problem: Problem| problem.errors.into_iter().map(|error| error.field).collect();
        parameters.parse(&cursors(), &Identity::Service).map_err(names)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn without_parameters_it_is_the_first_page() {
        let wanted = Wanted { filter: Filter::default(), limit: PAGE_SIZE, start: Start::Page(1), after: 0 };
        assert_eq!(parsed(Parameters::default()), Ok(wanted));
    }

    #[test]
    fn every_bad_parameter_is_named() {
        for bad in ["0", "-1", "1.5", "many", "", " 1", "99999999999999999999"] {
            let page = Parameters { page: some(bad), ..Parameters::default() };
            assert_eq!(parsed(page), Err(vec!["page".to_owned()]), "{bad}");
            let limit = Parameters { limit: some(bad), ..Parameters::default() };
            assert_eq!(parsed(limit), Err(vec!["limit".to_owned()]), "{bad}");
        }
        let all = Parameters {
            email_id: some(""),
            account_id: some("a\0b"),
            status: some("ended"),
            page: some("0"),
            limit: some("101"),
            cursor: None,
            after: some("x"),
        };
        let named = ["after", "email_id", "account_id", "status", "limit", "page"].map(str::to_owned);
        assert_eq!(parsed(all), Err(named.to_vec()));
    }

    #[test]
    fn a_status_is_taken_in_any_case() {
        for (word, status) in
            [("active", Status::Active), ("Completed", Status::Completed), ("FAILED", Status::Failed)]
        {
            let wanted = parsed(Parameters { status: some(word), ..Parameters::default() }).unwrap();
            assert_eq!(wanted.filter.status, Some(status));
        }
    }

    #[test]
    fn a_cursor_goes_on_in_its_own_list_alone() {
        let start = Start::Before { sequence: 70, page: 3 };
        let account = Filter { account: some("acc123"), ..Filter::default() };
        for limit in [None, some("25")] {
            let parameters = Parameters {
                account_id: some("acc123"),
                cursor: cursor(&account),
                limit,
                ..Parameters::default()
            };
            let wanted = Wanted { filter: account.clone(), limit: 25, start, after: 0 };
            assert_eq!(parsed(parameters), Ok(wanted));
        }
        let named = |parameters| parsed(parameters).unwrap_err();
        let with = |cursor| Parameters { cursor, ..Parameters::default() };
        assert_eq!(named(with(cursor(&account))), ["cursor"]);
        assert_eq!(named(with(some("forged"))), ["cursor"]);
        let good = || with(cursor(&Filter::default()));
        assert_eq!(named(Parameters { page: some("3"), ..good() }), ["page"]);
        assert_eq!(named(Parameters { limit: some("20"), ..good() }), ["limit"]);
    }
}
