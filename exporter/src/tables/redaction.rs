//! Redactions: every mark that was set, and nothing of what stood there.

use crate::cell::{Cell, table};
use crate::deid::Class;

/// A mark.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Redaction<'a> {
    pub(crate) number: u64,
    pub(crate) table: &'a str,
    pub(crate) row: &'a str,
    pub(crate) column: &'a str,
    pub(crate) path: Option<&'a str>,
    pub(crate) kind: &'a str,
    pub(crate) offset: u64,
}

table! {
    /// See [`Redaction`].
    REDACTIONS of Redaction, "redactions" by "number":
        "One row for each mark that stands in place of what was masked. What was masked is nowhere.";
    number: Integer required as Class::Plain, |r| Cell::number(r.number),
        "Counts them, from 1.";
    table: Text required as Class::Plain, |r| Cell::Text(r.table),
        "The table that it is in.";
    row: Text required as Class::Plain, |r| Cell::Text(r.row),
        "The row, by its key: a message's or an event's sequence, a conversation's id as the data set has it.";
    column: Text required as Class::Plain, |r| Cell::Text(r.column),
        "The column.";
    path: Text optional as Class::Plain, |r| Cell::text_if(r.path),
        "The field in a column of JSON; * stands for a name that nobody knows.";
    kind: Text required as Class::Plain, |r| Cell::Text(r.kind),
        "What was masked: EMAIL, URL, PHONE, CARD, IBAN, DATE_OF_BIRTH, IP.";
    offset: Integer required as Class::Plain, |r| Cell::number(r.offset),
        "Where the mark begins in the text as it stands in the data set, in characters from 0.";
}
