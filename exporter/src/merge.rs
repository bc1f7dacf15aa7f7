//! The second pass: what waits in temporary files to the files of messages and conversations.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::arguments::{Arguments, Part};
use crate::deid::{Deid, Done};
use crate::error::{ExportError, Result};
use crate::fold::Folded;
use crate::gather::Gathering;
use crate::limits::{ROWS_A_LOOK, SPILL_BUFFER};
use crate::progress::Progress;
use crate::safe::{self, message_key};
use crate::sorter::{Sorted, Sorter, read_part};
use crate::tables::{Conversation, Message};
use crate::write::{Writer, Written};

/// Writes what was gathered; answers every file, and what was done to them.
pub(crate) fn merge(
    gathered: Gathering,
    folder: &Path,
    progress: &Progress,
) -> Result<(Vec<(Part, Written)>, Done)> {
    let Gathering { arguments, mut deid, messages, corrections, ages, folding, events, .. } = gathered;
    let (owners, conversations) = settle(folding.finish()?, &arguments, &deid, folder, progress)?;
    let mut files = Vec::new();
    let begin = |part: Part| {
        let path = folder.join(arguments.file_of(part));
        arguments
            .include
            .contains(&part)
            .then(|| Writer::begin(arguments.table(part), arguments.format, &path))
            .transpose()
    };
    if arguments.is_safe() {
        let mut by_place = Sorter::new(folder);
        if arguments.include.contains(&Part::Messages) {
            let firsts = Gathering::rewind(messages)?;
            let later = (Versions::of(corrections)?, Versions::of(owners)?);
            write_messages(firsts, later, &arguments, &mut deid, progress, |deid, message| {
                let value = postcard::to_stdvec(message).map_err(ExportError::encode)?;
                Ok(by_place.push(&message_key(deid, message)?, &value)?)
            })?;
        }
        let sorters = (conversations, ages, by_place);
        let (mut files, anonymity) = safe::write(sorters, (&arguments, &mut deid), folder, progress)?;
        let (done, list) = deid.finish()?;
        files.extend(list.map(|written| (Part::Redactions, written)));
        return Ok((files, Done { anonymity: Some(anonymity), ..done }));
    }
    if let Some(mut writer) = begin(Part::Messages)? {
        let firsts = Gathering::rewind(messages)?;
        let later = (Versions::of(corrections)?, Versions::of(owners)?);
        write_messages(firsts, later, &arguments, &mut deid, progress, |deid, message| {
            deid.write(Part::Messages, message, None, &mut writer)
        })?;
        files.push((Part::Messages, writer.finish()?));
    }
    if let Some(mut writer) = begin(Part::Conversations)? {
        let mut rows = conversations.sorted()?;
        while let Some((_, row)) = rows.next()? {
            let row: Conversation<'_> = postcard::from_bytes(row).map_err(ExportError::encode)?;
            deid.write(Part::Conversations, &row, None, &mut writer)?;
            progress.wrote(writer.rows(), ROWS_A_LOOK)?;
        }
        files.push((Part::Conversations, writer.finish()?));
    }
    if let Some(writer) = events {
        files.push((Part::Events, writer.finish()?));
    }
    let (done, list) = deid.finish()?;
    files.extend(list.map(|written| (Part::Redactions, written)));
    Ok((files, done))
}

/// Conversations as they stand, by their first event; and for messages that came before their participant was known,
/// by sequence, since when they are whose.
fn settle(
    mut folded: Folded,
    arguments: &Arguments,
    deid: &Deid,
    folder: &Path,
    progress: &Progress,
) -> Result<(Sorter, Sorter)> {
    let (mut owners, mut rows) = (Sorter::new(folder), Sorter::new(folder));
    let (mut settled, selection) = (0, &arguments.selection);
    while let Some((state, unowned)) = folded.next()? {
        settled += 1;
        progress.look(settled, ROWS_A_LOOK)?;
        if let Some(claim) = state.claim() {
            let claim = postcard::to_stdvec(&claim).map_err(ExportError::encode)?;
            // What came after the claim without a participant stays without one, as in the read tables.
            for sequence in
                unowned.iter().filter(|sequence| Some(**sequence) < state.claim().map(|(at, _)| at))
            {
                owners.push(&sequence.to_be_bytes(), &claim)?;
            }
        }
        let row = state.row_of(|row| {
            let wanted = selection.takes_sequence(row.last_sequence)
                && selection.takes_time(row.started_at, row.last_message_at)
                && deid.takes_participant(selection, row.participant_id)
                && selection.takes_provider(Some(row.provider));
            wanted.then(|| postcard::to_stdvec(row).map(|bytes| (row.first_sequence, bytes)))
        });
        if let Some(row) = row.flatten() {
            let (first, bytes) = row.map_err(ExportError::encode)?;
            rows.push(&first.to_be_bytes(), &bytes)?;
        }
    }
    Ok((owners, rows))
}

/// Hands first versions to `each` in the order of the log, joined with what came later: newer versions, and owners.
fn write_messages(
    firsts: File,
    (mut versions, mut owners): (Versions, Versions),
    arguments: &Arguments,
    deid: &mut Deid,
    progress: &Progress,
    mut each: impl FnMut(&mut Deid, &Message<'_>) -> Result<()>,
) -> Result<()> {
    let selection = &arguments.selection;
    let (mut firsts, mut first) = (BufReader::with_capacity(SPILL_BUFFER, firsts), Vec::new());
    let (mut later, mut claim, mut seen) = (Vec::new(), Vec::new(), 0);
    while read_part(&mut firsts, &mut first)? {
        seen += 1;
        progress.wrote(seen, ROWS_A_LOOK)?;
        let mut message: Message<'_> = postcard::from_bytes(&first).map_err(ExportError::encode)?;
        let sequence = message.sequence;
        versions.take(sequence, &mut later)?;
        for version in &later {
            let newer: Message<'_> = postcard::from_bytes(version).map_err(ExportError::encode)?;
            // One on another conversation's subject corrects nothing.
            if newer.conversation_id == message.conversation_id {
                message.correct(&newer);
            }
        }
        owners.take(sequence, &mut claim)?;
        if let (None, Some(claim)) = (message.participant_id, claim.first()) {
            let (since, participant) = postcard::from_bytes(claim).map_err(ExportError::encode)?;
            message.participant_id = Some(participant);
            message.version_sequence = message.version_sequence.max(since);
        }
        if selection.takes_sequence(message.version_sequence)
            && selection.takes_time(message.said_at, message.said_at)
            && deid.takes_participant(selection, message.participant_id)
            && selection.takes_provider(Some(message.provider))
        {
            each(deid, &message)?;
        }
    }
    Ok(())
}

/// What came later of messages, by the sequence of the first version.
struct Versions {
    next: Option<(u64, Vec<u8>)>,
    of: Sorted,
}

impl Versions {
    fn of(sorter: Sorter) -> Result<Self> {
        Ok(Self { next: None, of: sorter.sorted()? })
    }

    /// Everything of the message with this sequence, oldest first. To be asked in order.
    fn take(&mut self, sequence: u64, found: &mut Vec<Vec<u8>>) -> Result<()> {
        found.clear();
        loop {
            if self.next.is_none() {
                let record = self.of.next()?;
                self.next = record.map(|(key, value)| (first_of(key), value.to_owned()));
            }
            match &self.next {
                Some((of, _)) if *of <= sequence => {
                    if let Some((of, value)) = self.next.take()
                        && of == sequence
                    {
                        found.push(value);
                    }
                }
                Some(_) | None => return Ok(()),
            }
        }
    }
}

fn first_of(key: &[u8]) -> u64 {
    key.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
