//! De-identification: every cell on its way to a file passes here, by the class of its column.
//!
//! With pseudonyms only what somebody has judged goes out: a column has a class or does not compile, a field of JSON has a
//! rule or is left out. Free text is another matter: what gives itself away by its form is masked, and that is all.

mod class;
mod detect;
mod key;
mod page;
mod pseudonym;
pub(crate) mod rules;
mod shadow;
mod walk;

use std::collections::BTreeMap;
use std::path::Path;

use shared::ids::ConversationId;
use shared::subjects::{Aggregate, Subject, is_of};

use self::detect::{Detector, Mark};
use crate::arguments::{Arguments, Deidentify, Part, Selection};
use crate::cell::{Cell, Row, Table};
use crate::error::{ExportError, Result};
use crate::safe::Anonymity;
use crate::tables::Redaction;
use crate::write::{Writer, Written};

pub(crate) use self::class::{Class, Rule};
pub use self::key::ExportKey;
pub(crate) use self::page::{page, summary};
pub(crate) use self::pseudonym::{Of, Pseudonyms};

/// What becomes of a cell or a field.
pub(crate) struct Disguise {
    pub(crate) names: Option<Pseudonyms>,
    detector: Option<Detector>,
    found: Vec<Found>,
    /// Where in the JSON of a cell this is.
    path: String,
    /// Fields of JSON that nobody judged, or judged to tell too much.
    left_out: u64,
}

/// A mark that was set.
struct Found {
    column: &'static str,
    path: String,
    mark: Mark,
    offset: usize,
}

impl Disguise {
    fn leaves_out(&self) -> bool {
        self.names.is_some()
    }

    /// The pseudonym, where there are some.
    pub(crate) fn pseudonym(&self, of: Of, id: &str) -> Option<String> {
        self.names.as_ref().map(|names| names.of(of, id))
    }

    /// The text with marks, where it needs any.
    fn masked(&mut self, text: &str) -> Option<String> {
        let (mut out, found, path) = (String::new(), &mut self.found, &self.path);
        let each = |mark, offset| found.push(Found { column: "", path: path.clone(), mark, offset });
        self.detector.as_ref()?.mask(text, &mut out, each).then_some(out)
    }

    /// Goes into a field of JSON; answers where it was.
    fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        before
    }

    fn leave(&mut self, before: usize) {
        self.path.truncate(before);
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) applied: Deidentify,
    /// Of the key, where there was one.
    pub(crate) fingerprint: Option<String>,
    /// How often what was masked, by table, column and name.
    pub(crate) masked: BTreeMap<(Part, &'static str, &'static str), u64>,
    /// Fields of JSON that were left out.
    pub(crate) left_out: u64,
    /// Of Safe Harbor.
    pub(crate) anonymity: Option<Anonymity>,
}

/// Writes rows as they are to be seen.
pub(crate) struct Deid {
    pub(crate) disguise: Disguise,
    done: Done,
    row: Prepared,
    /// The conversations that are wanted: by their subjects, or by their pseudonyms; empty where all are.
    subjects: std::collections::BTreeSet<String>,
    /// The file that lists every mark.
    list: Option<Writer>,
}

impl Deid {
    /// With the file of its marks in `folder`.
    pub(crate) fn begin(arguments: &Arguments, names: Option<Pseudonyms>, folder: &Path) -> Result<Self> {
        let applied = arguments.deidentify;
        let list = || {
            let path = folder.join(arguments.file_of(Part::Redactions));
            Writer::begin(arguments.table(Part::Redactions), arguments.format, &path)
        };
        let fingerprint = names.as_ref().map(Pseudonyms::fingerprint);
        let subject = |id: &String| {
            if names.is_some() {
                return Ok(id.clone());
            }
            let id = ConversationId::try_from(id.clone());
            let id = id.map_err(|error| ExportError::arguments(format!("a conversation's id {error}")))?;
            Ok(Subject::conversation(&id).into())
        };
        Ok(Self {
            subjects: arguments.selection.conversations.iter().map(subject).collect::<Result<_>>()?,
            disguise: Disguise {
                names,
                detector: applied.redact.then(|| Detector::new(arguments.is_safe())),
                found: Vec::new(),
                path: String::new(),
                left_out: 0,
            },
            done: Done { applied, fingerprint, ..Done::default() },
            row: Prepared::default(),
            list: applied.redact.then(list).transpose()?,
        })
    }

    /// Whether a conversation's events are wanted, by their subject.
    pub(crate) fn takes_subject(&self, subject: &str) -> bool {
        if self.subjects.is_empty() {
            return true;
        }
        match &self.disguise.names {
            None => self.subjects.contains(subject),
            Some(names) => {
                is_of(subject, Aggregate::Conversation) && self.subjects.contains(&names.of_subject(subject))
            }
        }
    }

    /// Whether what is this participant's is wanted: a selection names them as the data set does.
    pub(crate) fn takes_participant(&self, selection: &Selection, id: Option<&str>) -> bool {
        if selection.participants.is_empty() {
            return true;
        }
        let pseudonym = id.and_then(|id| self.disguise.pseudonym(Of::Participant, id));
        selection.takes_participant(pseudonym.as_deref().or(id))
    }

    /// The surrogate of an id, where there have to be some.
    pub(crate) fn surrogate(&self, of: Of, id: &str) -> Result<String> {
        self.disguise.pseudonym(of, id).ok_or_else(|| ExportError::encode("there is no key"))
    }

    /// Writes a row. `event` is the rule of what an event says, where this is one.
    pub(crate) fn write<R: Row>(
        &mut self,
        part: Part,
        row: &R,
        event: Option<Rule>,
        writer: &mut Writer,
    ) -> Result<()> {
        if self.done.applied == Deidentify::default() {
            return writer.write(row);
        }
        let table = part.table(self.done.applied.safe_harbor.is_some());
        let Self { disguise, row: prepared, .. } = self;
        prepared.clear();
        let mut columns = table.columns.iter();
        row.cells(|cell| {
            if let Some(column) = columns.next() {
                let before = disguise.found.len();
                prepared.take(disguise, column.class, cell, event);
                for found in &mut disguise.found[before..] {
                    found.column = column.name;
                }
            }
        });
        writer.write(prepared)?;
        self.list_marks(part, table)
    }

    fn list_marks(&mut self, part: Part, table: &Table) -> Result<()> {
        if self.disguise.found.is_empty() {
            return Ok(());
        }
        // The key is the first column, as a test holds.
        let key = self.row.first();
        for Found { column, path, mark, offset } in self.disguise.found.drain(..) {
            *self.done.masked.entry((part, column, mark.name())).or_default() += 1;
            if let Some(list) = &mut self.list {
                list.write(&Redaction {
                    number: list.rows() + 1,
                    table: table.name,
                    row: &key,
                    column,
                    path: Some(path.as_str()).filter(|path| !path.is_empty()),
                    kind: mark.name(),
                    offset: offset as u64,
                })?;
            }
        }
        Ok(())
    }

    /// Nothing more follows: what was done, and the file of marks.
    pub(crate) fn finish(self) -> Result<(Done, Option<Written>)> {
        let done = Done { left_out: self.disguise.left_out, ..self.done };
        Ok((done, self.list.map(Writer::finish).transpose()?))
    }
}

/// A row as it is to be seen.
#[derive(Debug, Default)]
struct Prepared {
    slots: Vec<Slot>,
    text: String,
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Null,
    Integer(i64),
    Boolean(bool),
    Instant(i64),
    /// Until where in the text.
    Text(usize),
}

impl Prepared {
    fn clear(&mut self) {
        self.slots.clear();
        self.text.clear();
    }

    fn take(&mut self, disguise: &mut Disguise, class: Class, cell: Cell<'_>, event: Option<Rule>) {
        let text = match cell {
            Cell::Null => return self.slots.push(Slot::Null),
            Cell::Integer(value) => return self.slots.push(Slot::Integer(value)),
            Cell::Boolean(value) => return self.slots.push(Slot::Boolean(value)),
            Cell::Instant(value) => return self.slots.push(Slot::Instant(value)),
            Cell::Text(text) => text,
        };
        let changed = match class {
            Class::Plain => None,
            Class::Id(of) => disguise.pseudonym(of, text),
            Class::Subject => disguise.names.as_ref().map(|names| names.subject(text)),
            Class::Text => disguise.masked(text),
            Class::Json(_) | Class::Event => {
                let rule = if let Class::Json(rule) = class { Some(*rule) } else { event };
                // What nobody can read may say anything.
                let Some(json) = walk::rewrite(disguise, rule, text) else {
                    return self.slots.push(Slot::Null);
                };
                Some(json)
            }
        };
        self.text.push_str(changed.as_deref().unwrap_or(text));
        self.slots.push(Slot::Text(self.text.len()));
    }

    /// The first cell as a text.
    fn first(&self) -> String {
        match self.slots.first() {
            Some(Slot::Integer(number)) => number.to_string(),
            Some(Slot::Text(end)) => self.text[..*end].to_owned(),
            Some(Slot::Null | Slot::Boolean(_) | Slot::Instant(_)) | None => String::new(),
        }
    }
}

impl Row for Prepared {
    fn cells(&self, mut each: impl FnMut(Cell<'_>)) {
        let mut start = 0;
        for slot in &self.slots {
            each(match *slot {
                Slot::Null => Cell::Null,
                Slot::Integer(value) => Cell::Integer(value),
                Slot::Boolean(value) => Cell::Boolean(value),
                Slot::Instant(value) => Cell::Instant(value),
                Slot::Text(end) => Cell::Text(&self.text[std::mem::replace(&mut start, end)..end]),
            });
        }
    }
}
