//! The first pass: entries of the log to what waits in temporary files, and to the file of events.
//!
//! A message's newest version may stand anywhere after its first, so nothing is written before all was read. First
//! versions wait in the order of the log, which is the order of the file; corrections are sorted into it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use shared::envelope::{DecodeError, Entry};
use shared::events::unknown::Tally;
use shared::events::{Enrolment, Event, Payload, RawJson, Report};
use shared::limits::MAX_REPORT_BYTES;
use shared::objects::{ObjectName, Objects};
use shared::report::Reading;
use shared::subjects::{self, Aggregate};
use tokio::runtime::Handle;

use crate::arguments::{Arguments, Part};
use crate::deid::{Deid, Pseudonyms, rules};
use crate::error::{ExportError, Result};
use crate::fold::{Fact, Folding};
use crate::limits::SPILL_BUFFER;
use crate::named::named;
use crate::safe::age_key;
use crate::sorter::{Sorter, write_part};
use crate::tables::{EVENTS, EventRow, Message};
use crate::write::Writer;

/// Takes entries, in the order of the log.
pub(crate) struct Gathering {
    pub(crate) arguments: Arguments,
    pub(crate) deid: Deid,
    objects: Objects,
    /// Where the object store is asked from.
    runtime: Handle,
    buffer: Vec<u8>,
    /// First versions.
    pub(crate) messages: BufWriter<File>,
    /// Newer versions by sequence of the first and their own.
    pub(crate) corrections: Sorter,
    /// Ages by person, for Safe Harbor.
    pub(crate) ages: Sorter,
    pub(crate) folding: Folding,
    pub(crate) events: Option<Writer>,
    pub(crate) read: Read,
    /// What a newer version wrote, by type.
    pub(crate) unknown: Tally,
}

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// Entries.
    pub(crate) events: u64,
    /// Entries that this version could not read.
    pub(crate) unreadable: u64,
    /// Those of them that a newer version wrote.
    pub(crate) unknown: u64,
    /// When the last one was stored, in microseconds.
    pub(crate) last_at: i64,
}

impl Gathering {
    /// With its files in `folder`. To be called within a runtime.
    pub(crate) fn begin(
        arguments: Arguments,
        names: Option<Pseudonyms>,
        objects: Objects,
        folder: &Path,
    ) -> Result<Self> {
        let file = arguments.file_of(Part::Events);
        let events = arguments.include.contains(&Part::Events);
        let events =
            events.then(|| Writer::begin(&EVENTS, arguments.format, &folder.join(file))).transpose()?;
        Ok(Self {
            deid: Deid::begin(&arguments, names, folder)?,
            objects,
            runtime: Handle::current(),
            buffer: Vec::new(),
            messages: BufWriter::with_capacity(SPILL_BUFFER, tempfile::tempfile_in(folder)?),
            corrections: Sorter::new(folder),
            ages: Sorter::new(folder),
            folding: Folding::new(folder),
            events,
            read: Read::default(),
            unknown: Tally::default(),
            arguments,
        })
    }

    /// Takes the next entry.
    pub(crate) fn take(&mut self, entry: &Entry) -> Result<()> {
        let stored_at = entry.stored_at.timestamp_micros();
        self.read.events += 1;
        self.read.last_at = stored_at;
        if entry.is_erased() {
            return Ok(());
        }
        let event = entry.decode();
        self.read.unreadable += u64::from(event.is_err());
        if event.as_ref().is_err_and(DecodeError::is_of_newer) {
            self.read.unknown += 1;
            self.unknown.add(entry.event_type(), 1);
        }
        if self.arguments.is_safe() {
            self.age(entry.sequence, event.as_ref().ok())?;
        }
        if !self.deid.takes_subject(&entry.subject) {
            return Ok(());
        }
        self.event(entry, event.as_ref(), stored_at)?;
        let includes = |part| self.arguments.include.contains(&part);
        let messages = includes(Part::Messages);
        // Under Safe Harbor messages stand with their conversations.
        let conversations = includes(Part::Conversations) || self.arguments.is_safe();
        let (Ok(event), true) = (event, messages || conversations) else { return Ok(()) };
        if messages {
            self.message(entry.sequence, &event, stored_at)?;
        }
        if !conversations && !tells_whose(&event) {
            return Ok(());
        }
        let reading = self.reading(&event)?;
        let (sequence, token) = (entry.sequence, entry.token());
        self.folding.take(&Fact { sequence, stored_at, token, event: &event, reading: reading.as_ref() })
    }

    /// How old somebody says they are.
    fn age(&mut self, sequence: u64, event: Option<&Event>) -> Result<()> {
        let Some(Event::ParticipantEnrolled(data) | Event::ParticipantUpdated(data)) = event else {
            return Ok(());
        };
        let Some(age) = data.age else { return Ok(()) };
        let key = age_key(&self.deid, data.participant_id.as_str(), sequence)?;
        self.ages.push(&key, &postcard::to_stdvec(&age).map_err(ExportError::encode)?)?;
        Ok(())
    }

    fn event(
        &mut self,
        entry: &Entry,
        event: std::result::Result<&Event, &DecodeError>,
        recorded_at: i64,
    ) -> Result<()> {
        // Where secrets are in what a newer version says of a participant, this one cannot know.
        let hidden = event.is_err() && subjects::is_of(&entry.subject, Aggregate::Participant);
        let event = event.ok();
        let selection = &self.arguments.selection;
        let Some(writer) = &mut self.events else { return Ok(()) };
        let names = event.map(named).unwrap_or_default();
        if !selection.takes_sequence(entry.sequence)
            || !selection.takes_time(recorded_at, recorded_at)
            || !self.deid.takes_participant(selection, names.participant)
            || !selection.takes_provider(names.provider)
        {
            return Ok(());
        }
        let told = |text| Some(text).filter(|text: &&str| !text.is_empty());
        let without_secrets = event.map(without_secrets).transpose()?.flatten();
        let row = EventRow {
            sequence: entry.sequence,
            recorded_at,
            id: told(entry.event_id()),
            kind: told(entry.event_type()),
            subject: &entry.subject,
            conversation_id: names.conversation,
            participant_id: names.participant,
            data: without_secrets.as_deref().or_else(|| entry.json(event.is_some())).filter(|_| !hidden),
        };
        self.deid.write(Part::Events, &row, event.map(rules::rule_of), writer)
    }

    /// Keeps a version of a message that may be wanted. Whose it is may not be known yet.
    fn message(&mut self, sequence: u64, event: &Event, stored_at: i64) -> Result<()> {
        let (message, first, sent) = if let Event::MessageRecorded(message) = event {
            (message, sequence, None)
        } else if let Event::MessageCorrected(correction) = event {
            (&correction.message, correction.first_sequence, correction.sent.as_deref())
        } else {
            return Ok(());
        };
        let owner = message.participant_id.as_ref().map(|id| id.as_str());
        if owner.is_some() && !self.deid.takes_participant(&self.arguments.selection, owner) {
            return Ok(());
        }
        let attachments = &message.attachments;
        let attachments = (!attachments.is_empty()).then(|| serde_json::to_string(attachments)).transpose();
        let attachments = attachments.map_err(ExportError::encode)?;
        let row = Message::of(message, (first, sequence), stored_at, sent, attachments.as_deref());
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.buffer = postcard::to_extend(&row, buffer).map_err(ExportError::encode)?;
        if first == sequence {
            write_part(&mut self.messages, &self.buffer)?;
        } else {
            let key = [first.to_be_bytes(), sequence.to_be_bytes()].concat();
            self.corrections.push(&key, &self.buffer)?;
        }
        Ok(())
    }

    /// What a report says, wherever its payload is. `None` for what this version cannot read, as for the read tables.
    fn reading(&self, event: &Event) -> Result<Option<Reading>> {
        let Event::ConversationReported(Report { kind, payload, superseded: false, .. }) = event else {
            return Ok(None);
        };
        let fetched;
        let json = match payload {
            Payload::Json(json) => json,
            Payload::Object(stored) => {
                let name = ObjectName::parse(&stored.object).filter(|_| stored.bytes <= MAX_REPORT_BYTES);
                let Some(name) = name else { return Ok(None) };
                let text = self.runtime.block_on(self.objects.text(name, stored.bytes))?;
                let Some(json) = text.and_then(|text| RawJson::new(text).ok()) else { return Ok(None) };
                fetched = json;
                &fetched
            }
        };
        Ok(shared::report::read(kind, json.raw()))
    }

    /// All was read: the file of first versions, from its beginning.
    pub(crate) fn rewind(messages: BufWriter<File>) -> Result<File> {
        let mut messages = messages;
        messages.flush()?;
        let mut file = messages.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        std::io::Seek::rewind(&mut file)?;
        Ok(file)
    }
}

/// Whether an event bears on whose messages are: all that is folded where no conversations are wanted.
fn tells_whose(event: &Event) -> bool {
    if let Event::MessageRecorded(message) = event {
        return message.participant_id.is_none();
    }
    matches!(event, Event::ConversationClaimed(_))
}

/// The data of an event that holds a secret, without it: the hash of an access code can be tried against.
fn without_secrets(event: &Event) -> Result<Option<String>> {
    let bare = |data: &Enrolment| Enrolment { access_code_hash: None, ..data.clone() };
    // Both have the same data.
    let (Event::ParticipantEnrolled(data) | Event::ParticipantUpdated(data)) = event else { return Ok(None) };
    let event = Event::ParticipantUpdated(bare(data));
    let json = event.to_json().map_err(ExportError::encode)?;
    String::from_utf8(json).map(Some).map_err(ExportError::encode)
}
