//! The second pass under Safe Harbor: persons first, then what few share is suppressed, then conversation by conversation.
//!
//! Everything is sorted by surrogates, which are random: the order of rows tells nothing of time. Each step holds one
//! person or one conversation in memory, and how many persons share what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, Datelike};
use serde::{Deserialize, Serialize};

use crate::arguments::{Arguments, Part};
use crate::deid::{Deid, Of};
use crate::error::{ExportError, Result};
use crate::limits::ROWS_A_LOOK;
use crate::progress::Progress;
use crate::sorter::{Sorted, Sorter};
use crate::tables::{Conversation, Message, Participant, ParticipantRow, SafeConversation, SafeMessage};
use crate::write::{Writer, Written};

/// Ages from here on are one group.
const OLD: u16 = 90;
/// Years of age that make a group.
const AGES: u16 = 10;
const HOUR: i64 = 3_600_000_000;

/// How many persons share what tells them apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Anonymity {
    /// As many as have to.
    pub(crate) k: u32,
    pub(crate) persons: u64,
    /// Different combinations, and how many persons share the rarest.
    pub(crate) classes: usize,
    pub(crate) smallest: u64,
    /// Persons whose values were suppressed, since too few share them.
    pub(crate) suppressed: u64,
    /// How many share the rarest combination that is left.
    pub(crate) smallest_left: u64,
}

/// What tells a person apart: all that the data set says of them beside what was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Combination {
    age_group: Option<String>,
    providers: BTreeSet<String>,
    language: Option<String>,
    years: BTreeSet<i64>,
}

/// A person with what tells them apart.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Person {
    participant_id: Option<String>,
    conversations: u64,
    combination: Combination,
}

/// What a conversation says of a person.
#[derive(Debug, Serialize, Deserialize)]
struct Trait<'a> {
    participant_id: Option<&'a str>,
    provider: &'a str,
    language: Option<String>,
    year: i64,
}

/// Writes the tables from conversations in any order, and messages by conversation, place and sequence.
pub(crate) fn write(
    (conversations, ages, messages): (Sorter, Sorter, Sorter),
    (arguments, deid): (&Arguments, &mut Deid),
    folder: &Path,
    progress: &Progress,
) -> Result<(Vec<(Part, Written)>, Anonymity)> {
    let k = arguments.deidentify.safe_harbor.map_or(1, |safe| safe.k.get());
    let (mut traits, mut by_person) = (Sorter::new(folder), Sorter::new(folder));
    let mut rows = conversations.sorted()?;
    while let Some((_, value)) = rows.next()? {
        let row: Conversation<'_> = decode(value)?;
        let key = person_key(deid, &row)?;
        let told = Trait {
            participant_id: row.participant_id,
            provider: row.provider,
            language: row.texts.language.and_then(language),
            year: year(row.started_at),
        };
        traits.push(&key, &encode(&told)?)?;
        by_person.push(&key, value)?;
    }
    let (people, counts) = persons(traits.sorted()?, ages.sorted()?, folder)?;
    let share = |combination: &Combination| counts.get(combination).copied().unwrap_or(0);
    let few = |combination: &Combination| share(combination) < u64::from(k);
    let anonymity = Anonymity {
        k,
        persons: counts.values().sum(),
        classes: counts.len(),
        smallest: counts.values().copied().min().unwrap_or(0),
        suppressed: counts.values().filter(|count| **count < u64::from(k)).sum(),
        smallest_left: counts.values().copied().filter(|count| *count >= u64::from(k)).min().unwrap_or(0),
    };

    let begin = |part: Part| {
        let path = folder.join(arguments.file_of(part));
        Writer::begin(arguments.table(part), arguments.format, &path)
    };
    let mut files = Vec::new();
    let mut writer = begin(Part::Participants)?;
    let by_conversation = shown(people, by_person.sorted()?, &few, (deid, &mut writer), folder)?;
    files.push((Part::Participants, writer.finish()?));
    let mut out = Out {
        conversations: arguments
            .include
            .contains(&Part::Conversations)
            .then(|| begin(Part::Conversations))
            .transpose()?,
        messages: arguments.include.contains(&Part::Messages).then(|| begin(Part::Messages)).transpose()?,
    };
    out.write(by_conversation.sorted()?, messages.sorted()?, deid, progress)?;
    for (part, writer) in [(Part::Messages, out.messages), (Part::Conversations, out.conversations)] {
        if let Some(writer) = writer {
            files.push((part, writer.finish()?));
        }
    }
    Ok((files, anonymity))
}

/// Where a conversation's messages stand among those of all: by its surrogate, then in their order.
pub(crate) fn message_key(deid: &Deid, message: &Message<'_>) -> Result<Vec<u8>> {
    let mut key = deid.surrogate(Of::Conversation, message.conversation_id)?.into_bytes();
    key.extend_from_slice(&message.place.to_be_bytes());
    key.extend_from_slice(&message.sequence.to_be_bytes());
    Ok(key)
}

/// A person's surrogate, or that of a conversation whose participant nobody knows, and the conversation's.
fn person_key(deid: &Deid, row: &Conversation<'_>) -> Result<Vec<u8>> {
    let conversation = deid.surrogate(Of::Conversation, row.conversation_id)?;
    let person = row.participant_id.map(|id| deid.surrogate(Of::Participant, id)).transpose()?;
    Ok(format!("{}/{conversation}", person.as_ref().unwrap_or(&conversation)).into_bytes())
}

/// The part of a key that names the person.
fn person_of(key: &[u8]) -> &[u8] {
    key.split(|byte| *byte == b'/').next().unwrap_or_default()
}

type Counts = BTreeMap<Combination, u64>;

/// Every person, in the order of their surrogates, and how many share each combination.
fn persons(mut traits: Sorted, mut ages: Sorted, folder: &Path) -> Result<(Sorter, Counts)> {
    let (mut people, mut counts) = (Sorter::new(folder), Counts::new());
    let (mut held, mut age): (Option<(Vec<u8>, Person)>, _) = (None, Ages { next: None });
    let mut end = |key: Vec<u8>, mut person: Person| -> Result<()> {
        person.combination.age_group = age.of(&mut ages, &key)?.map(age_group);
        *counts.entry(person.combination.clone()).or_default() += 1;
        Ok(people.push(&key, &encode(&person)?)?)
    };
    while let Some((key, value)) = traits.next()? {
        let told: Trait<'_> = decode(value)?;
        if held.as_ref().is_some_and(|(person, _)| person != person_of(key))
            && let Some((key, person)) = held.take()
        {
            end(key, person)?;
        }
        let (_, person) = held.get_or_insert_with(|| (person_of(key).to_owned(), Person::default()));
        person.participant_id = told.participant_id.map(str::to_owned);
        person.conversations += 1;
        let combination = &mut person.combination;
        combination.providers.insert(told.provider.to_owned());
        combination.years.insert(told.year);
        combination.language = combination.language.take().or(told.language);
    }
    if let Some((key, person)) = held {
        end(key, person)?;
    }
    Ok((people, counts))
}

/// Ages by person and sequence: the newest counts.
struct Ages {
    next: Option<(Vec<u8>, u16)>,
}

impl Ages {
    /// To be asked in order.
    fn of(&mut self, ages: &mut Sorted, person: &[u8]) -> Result<Option<u16>> {
        let mut found = None;
        loop {
            if self.next.is_none() {
                let Some((key, value)) = ages.next()? else { return Ok(found) };
                self.next = Some((person_of(key).to_owned(), decode(value)?));
            }
            match &self.next {
                Some((key, age)) if key.as_slice() <= person => {
                    if key == person {
                        found = Some(*age);
                    }
                    self.next = None;
                }
                Some(_) | None => return Ok(found),
            }
        }
    }
}

/// Key of an age that was told at this sequence.
pub(crate) fn age_key(deid: &Deid, participant: &str, sequence: u64) -> Result<Vec<u8>> {
    let person = deid.surrogate(Of::Participant, participant)?;
    Ok(format!("{person}/{sequence:020}").into_bytes())
}

/// Writes persons; answers conversations by their surrogates, each with whether it is suppressed.
fn shown(
    people: Sorter,
    mut rows: Sorted,
    few: &dyn Fn(&Combination) -> bool,
    (deid, writer): (&mut Deid, &mut Writer),
    folder: &Path,
) -> Result<Sorter> {
    let (mut people, mut by_conversation) = (people.sorted()?, Sorter::new(folder));
    let mut person: Option<(Vec<u8>, bool, Option<String>)> = None;
    while let Some((key, value)) = rows.next()? {
        if person.as_ref().is_none_or(|(held, ..)| held != person_of(key)) {
            // There is one for each conversation, in the same order.
            let Some((of, bytes)) = people.next()? else { break };
            let next: Person = decode(bytes)?;
            let suppressed = few(&next.combination);
            person = Some((of.to_owned(), suppressed, next.combination.language.clone()));
            if let Some(row) = participant(next, suppressed) {
                deid.write(Part::Participants, &ParticipantRow(&row), None, writer)?;
            }
        }
        let suppressed = person.as_ref().is_none_or(|(_, suppressed, _)| *suppressed);
        let language = person.as_ref().and_then(|(_, _, language)| language.as_deref());
        let conversation = key.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        by_conversation.push(conversation, &encode(&(suppressed, language, value))?)?;
    }
    Ok(by_conversation)
}

fn participant(person: Person, suppressed: bool) -> Option<Participant> {
    let Person { participant_id, conversations, combination } = person;
    let row = Participant { participant_id: participant_id?, conversations, ..Participant::default() };
    if suppressed {
        return Some(row);
    }
    let Combination { age_group, providers, language, years } = combination;
    let list = |items: Vec<String>| Some(items.join(","));
    Some(Participant {
        age_group,
        providers: list(providers.into_iter().collect()),
        language,
        years: list(years.iter().map(i64::to_string).collect()),
        ..row
    })
}

/// A key and its value.
type Record = (Vec<u8>, Vec<u8>);

/// The files of conversations and messages.
struct Out {
    conversations: Option<Writer>,
    messages: Option<Writer>,
}

impl Out {
    fn write(
        &mut self,
        mut rows: Sorted,
        mut messages: Sorted,
        deid: &mut Deid,
        progress: &Progress,
    ) -> Result<()> {
        let (mut next, mut seen): (Option<Record>, u64) = (None, 0);
        while let Some((name, value)) = rows.next()? {
            let (suppressed, language, row): (bool, Option<&str>, &[u8]) = decode(value)?;
            let row: Conversation<'_> = decode(row)?;
            if let Some(writer) = &mut self.conversations {
                let safe = conversation(&row, suppressed, language);
                deid.write(Part::Conversations, &safe, None, writer)?;
            }
            let mut number = 0;
            while let Some(writer) = &mut self.messages {
                if next.is_none() {
                    next = messages.next()?.map(|(key, value)| (key.to_owned(), value.to_owned()));
                }
                let Some((key, value)) = &next else { break };
                let of = key.get(..key.len().saturating_sub(2 * size_of::<u64>())).unwrap_or_default();
                if of > name {
                    break;
                }
                // Those of conversations that are not wanted are passed over.
                if of == name {
                    number += 1;
                    message(&decode(value)?, number, row.started_at, deid, writer)?;
                }
                next = None;
                seen += 1;
                progress.wrote(seen, ROWS_A_LOOK)?;
            }
        }
        Ok(())
    }
}

fn conversation<'a>(
    row: &Conversation<'a>,
    suppressed: bool,
    language: Option<&'a str>,
) -> SafeConversation<'a> {
    SafeConversation {
        conversation_id: row.conversation_id,
        participant_id: row.participant_id,
        provider: Some(row.provider).filter(|_| !suppressed),
        // The person's: one that few others speak would tell them apart in one conversation.
        language: language.filter(|_| !suppressed),
        year: Some(year(row.started_at)).filter(|_| !suppressed),
        status: row.status,
        message_count: row.message_count,
        session_count: row.session_count,
        hours: hours(row.started_at, row.last_message_at),
        title: row.texts.title,
        summary: row.texts.summary,
    }
}

fn message(
    message: &Message<'_>,
    number: u64,
    began: i64,
    deid: &mut Deid,
    writer: &mut Writer,
) -> Result<()> {
    let row = SafeMessage {
        sequence: &message.sequence.to_string(),
        conversation_id: message.conversation_id,
        number,
        session: message.session,
        hours: hours(began, message.said_at),
        role: message.role,
        content: message.content,
        original: message.original,
        corrections: message.corrections,
        reported: message.reported,
        late: message.late,
    };
    deid.write(Part::Messages, &row, None, writer)
}

fn hours(from: i64, to: i64) -> i64 {
    to.saturating_sub(from).max(0) / HOUR
}

/// In UTC.
fn year(micros: i64) -> i64 {
    DateTime::from_timestamp_micros(micros).map_or(1970, |at| at.year().into())
}

fn age_group(age: u16) -> String {
    if age >= OLD {
        return format!("{OLD}+");
    }
    let from = age / AGES * AGES;
    format!("{from}-{}", from + AGES - 1)
}

/// `en` of `en-GB`; nothing of what is no code.
fn language(text: &str) -> Option<String> {
    let code = text.split(['-', '_']).next().unwrap_or_default();
    let good = (2..=3).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    good.then(|| code.to_ascii_lowercase())
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(ExportError::encode)
}

fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(ExportError::encode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_languages_and_hours_are_coarse() {
        let groups = [(0, "0-9"), (9, "0-9"), (36, "30-39"), (89, "80-89"), (90, "90+"), (130, "90+")];
        for (age, group) in groups {
            assert_eq!(age_group(age), group);
        }
        for (text, code) in
            [("en", Some("en")), ("pt-BR", Some("pt")), ("English", None), ("+49", None), ("", None)]
        {
            assert_eq!(language(text).as_deref(), code);
        }
        assert_eq!((hours(0, HOUR - 1), hours(0, HOUR), hours(HOUR, 0)), (0, 1, 0));
        assert_eq!(year(1_767_225_599_999_999), 2025);
    }
}
