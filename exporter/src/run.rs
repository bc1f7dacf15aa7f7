//! An export from beginning to end: read and decode side by side, then merge, then describe, then show.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::Utc;
use shared::envelope::Entry;
use shared::events::unknown::Tally;
use shared::ids::ConversationId;
use shared::log::Log;
use shared::objects::Objects;
use shared::subjects::Subject;
use tokio::sync::mpsc;

use crate::arguments::{Arguments, AsOf, Deidentify, Part, Wanted};
use crate::deid::{Deid, Done, ExportKey, Of, Pseudonyms, page, summary};
use crate::describe::{codebook, croissant};
use crate::error::{ExportError, Result};
use crate::gather::Gathering;
use crate::limits::READ_AHEAD;
use crate::manifest::{Description, Erased, Listed, pretty};
use crate::mapping::Mapping;
use crate::merge::merge;
use crate::progress::Progress;
use crate::staging::{CODEBOOK, CROISSANT, DEIDENTIFICATION, MANIFEST, Staging};
use crate::write::{Written, write_whole};

/// What an export gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Rows of each table.
    pub rows: Vec<(Part, u64)>,
    /// The range of sequences, first and last, both within.
    pub range: (u64, u64),
    /// The last sequence that bears on it.
    pub as_of: u64,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Events that this version could not read.
    pub unreadable: u64,
    /// Those of them that a newer version wrote, by type.
    pub unknown: Tally,
}

/// Makes a data set in a folder.
///
/// # Errors
/// [`ExportError`]; then nothing is left in the folder.
pub async fn export(
    log: &Log,
    objects: &Objects,
    wanted: Wanted,
    out: &Path,
    progress: &Progress,
) -> Result<Exported> {
    if wanted.keep_mapping.is_some() && wanted.deidentify.safe_harbor.is_none() {
        return Err(ExportError::arguments(
            "--keep-mapping goes with --profile safe-harbor: others have EXPORT_KEY",
        ));
    }
    let key = key_of(wanted.deidentify, wanted.key.as_ref())?;
    let mapping = wanted.keep_mapping.clone();
    let mut arguments = settle(log, wanted).await?;
    let names = disguise(&mut arguments, key.as_ref());
    let kept = match (mapping, key) {
        (Some(path), Some(key)) => {
            let (epoch, arguments) = (log.epoch().to_owned(), arguments.clone());
            Some(Mapping { key: key.text(), epoch, arguments }.keep(&path, out)?)
        }
        (Some(_) | None, _) => None,
    };
    let exported = Box::pin(make(log, objects, arguments, names, out, progress)).await?;
    if let Some(kept) = kept {
        kept.stays();
    }
    Ok(exported)
}

/// What makes pseudonyms, where some are wanted: under Safe Harbor nothing that anybody has.
pub(crate) fn key_of(deidentify: Deidentify, own: Option<&ExportKey>) -> Result<Option<ExportKey>> {
    if deidentify.safe_harbor.is_some() {
        return ExportKey::random().map(Some);
    }
    if !deidentify.pseudonymize {
        return Ok(None);
    }
    let key = own.ok_or_else(|| {
        ExportError::arguments(
            "pseudonyms need EXPORT_KEY: at least 32 random bytes in base64, as openssl rand -base64 32 gives",
        )
    })?;
    Ok(Some(key.clone()))
}

/// Names whoever is selected as the data set will.
pub(crate) fn disguise(arguments: &mut Arguments, key: Option<&ExportKey>) -> Option<Pseudonyms> {
    let names = Pseudonyms::under(key?);
    let named = |of, ids: BTreeSet<String>| ids.iter().map(|id| names.of(of, id)).collect();
    let selection = &mut arguments.selection;
    selection.participants = named(Of::Participant, std::mem::take(&mut selection.participants));
    selection.conversations = named(Of::Conversation, std::mem::take(&mut selection.conversations));
    Some(names)
}

/// Makes every choice, and refuses what has no answer, or not the same one tomorrow.
pub(crate) async fn settle(log: &Log, wanted: Wanted) -> Result<Arguments> {
    let Wanted { format, include, as_of, selection, licence, mut deidentify, .. } = wanted;
    let end = log.extent().await?.last;
    let refuse = |name: &'static str, why: String| Err(ExportError::Argument { name, why });
    let as_of = match as_of {
        Some(AsOf::Sequence(sequence)) => sequence,
        Some(AsOf::Time(time)) if time > Utc::now() => {
            return refuse("as_of", "lies in the future: more may still be stored until then".into());
        }
        Some(AsOf::Time(time)) => log.sequence_at(time).await?,
        Some(AsOf::End) => end,
        // What a range holds does not depend on what came after it.
        None => selection.to_sequence.map_or(end, |to| to.saturating_sub(1)),
    };
    if as_of > end {
        let why =
            format!("is too late: the log ends at sequence {end} and cannot be exported as of {as_of} yet");
        return refuse("as_of", why);
    }
    let (from, to) = (selection.from_sequence.unwrap_or(1), selection.to_sequence);
    if from == 0 || to.is_some_and(|to| to <= from) {
        return refuse("from_sequence", "must be at least 1 and less than the end of the range".into());
    }
    if to.is_some_and(|to| to - 1 > as_of) || from > as_of {
        let range = to.map_or(format!("from {from} on"), |to| format!("from {from} to before {to}"));
        return refuse(
            "from_sequence",
            format!("is too late: there is nothing {range} as of sequence {as_of} yet"),
        );
    }
    if selection.from.is_some_and(|from| selection.to.is_some_and(|to| to <= from)) {
        return refuse("from", "must be before the end of the range".into());
    }
    if deidentify.safe_harbor.is_some() {
        (deidentify.pseudonymize, deidentify.redact) = (true, true);
        if include.contains(&Part::Events) {
            return refuse(
                "include",
                "names events, which tell too much under Safe Harbor; name messages,conversations".into(),
            );
        }
    }
    if include.is_empty() || include.iter().any(|part| [Part::Redactions, Part::Participants].contains(part))
    {
        return refuse("include", "names no table: messages, conversations, events".into());
    }
    Ok(Arguments { format, include, as_of, licence, deidentify, selection })
}

/// Makes a data set of these arguments.
pub(crate) async fn make(
    log: &Log,
    objects: &Objects,
    arguments: Arguments,
    names: Option<Pseudonyms>,
    out: &Path,
    progress: &Progress,
) -> Result<Exported> {
    let staging = Staging::begin(out)?;
    let folder = staging.folder().to_owned();
    let gathering = Gathering::begin(arguments.clone(), names, objects.clone(), &folder)?;
    let mut gathered = gather(log, gathering, progress).await?;
    let unknown = std::mem::take(&mut gathered.unknown);
    let erased = erased(log, &arguments, &gathered.deid).await?;
    let (read, epoch, watch) = (gathered.read, log.epoch().to_owned(), progress.clone());
    let finish = move || {
        let (files, done) = merge(gathered, &folder, &watch)?;
        let files = describe(&arguments, &epoch, (read, &erased), files, &done, &folder)?;
        let paths: Vec<_> = files.iter().map(|file| file.path.clone()).collect();
        watch.look(0, 1)?;
        staging.complete(&paths)?;
        let rows = files.iter().filter_map(|file| file.part.map(|part| (part, file.written.rows)));
        Ok(Exported {
            rows: rows.collect(),
            range: arguments.range(),
            as_of: arguments.as_of,
            bytes: files.iter().map(|file| file.written.bytes).sum(),
            unreadable: read.unreadable,
            unknown,
        })
    };
    tokio::task::spawn_blocking(finish).await.map_err(ExportError::encode)?
}

/// Everybody who was erased up to its end, of those who are wanted, as the tables name participants. Under Safe Harbor
/// nobody: its surrogates lead to no earlier data set, and when somebody was erased is a date of theirs.
async fn erased(log: &Log, arguments: &Arguments, deid: &Deid) -> Result<Vec<Erased>> {
    if arguments.is_safe() {
        return Ok(Vec::new());
    }
    let erasures = log.erasures(arguments.as_of).await?.into_iter();
    let wanted = erasures.filter(|(_, erasure)| {
        deid.takes_participant(&arguments.selection, Some(erasure.participant_id.as_str()))
    });
    let listed = wanted.map(|(sequence, erasure)| {
        let pseudonym = deid.disguise.pseudonym(Of::Participant, erasure.participant_id.as_str());
        Erased {
            participant_id: pseudonym.unwrap_or_else(|| erasure.participant_id.into()),
            sequence,
            erased_at: erasure.erased_at,
        }
    });
    Ok(listed.collect())
}

/// Reads the log, while a thread takes what was read.
async fn gather(log: &Log, mut gathering: Gathering, progress: &Progress) -> Result<Gathering> {
    let (after, last, filter) = stretch(&gathering.arguments)?;
    progress.begin(last.saturating_sub(after));
    let (sender, mut batches) = mpsc::channel::<Vec<Entry>>(READ_AHEAD);
    let watch = progress.clone();
    let taking = tokio::task::spawn_blocking(move || {
        while let Some(batch) = batches.blocking_recv() {
            for entry in batch.iter().filter(|entry| entry.sequence <= last) {
                gathering.take(entry)?;
                watch.read(entry.sequence - after);
            }
        }
        Ok(gathering)
    });
    let mut ahead = log.ahead("exporter", after, filter.as_ref().map(Subject::as_str)).await?;
    let mut stopped = false;
    while ahead.position() < last && ahead.pending() > 0 {
        let batch = tokio::select! {
            () = progress.stop().cancelled() => {
                stopped = true;
                break;
            }
            batch = ahead.next_batch() => batch?,
        };
        // Whoever takes no more says why.
        if sender.send(batch).await.is_err() {
            break;
        }
    }
    drop(sender);
    let gathered = taking.await.map_err(ExportError::encode)?;
    if stopped { Err(ExportError::Stopped) } else { gathered }
}

/// What has to be read: after which sequence, to which one, and of which subject alone.
fn stretch(arguments: &Arguments) -> Result<(u64, u64, Option<Subject>)> {
    let (first, last) = arguments.range();
    let selection = &arguments.selection;
    let events_alone = arguments.include.iter().all(|part| *part == Part::Events);
    // How anything else stands follows from all that came before it.
    let (after, last) = if events_alone { (first.saturating_sub(1), last) } else { (0, arguments.as_of) };
    let mut ids = selection.conversations.iter();
    let filter = match (ids.next(), ids.next()) {
        // From a pseudonym no way leads to the subject.
        (Some(id), None) if !arguments.deidentify.pseudonymize => {
            let id = ConversationId::try_from(id.clone());
            let id = id.map_err(|error| ExportError::arguments(format!("a conversation's id {error}")))?;
            Some(Subject::conversation(&id))
        }
        (Some(_) | None, _) => None,
    };
    Ok((after, last, filter))
}

/// Writes the pages and the manifest beside the tables; answers every file but the manifest.
fn describe(
    arguments: &Arguments,
    epoch: &str,
    (read, erased): (crate::gather::Read, &[Erased]),
    tables: Vec<(Part, Written)>,
    done: &Done,
    folder: &Path,
) -> Result<Vec<Listed>> {
    let listed = |(part, written)| Listed { part: Some(part), path: arguments.file_of(part), written };
    let mut files: Vec<_> = tables.into_iter().map(listed).collect();
    let description = Description { arguments, epoch, read, erased, files: &files, done };
    let mut pages = vec![(CODEBOOK, codebook(&description)), (CROISSANT, croissant(&description)?)];
    if done.applied != Deidentify::default() {
        let texts = [page(done, arguments), pretty(&summary(done, arguments))?];
        pages.extend(DEIDENTIFICATION.into_iter().zip(texts));
    }
    for (path, text) in pages {
        let written = write_whole(&folder.join(path), text.as_bytes())?;
        files.push(Listed { part: None, path: path.to_owned(), written });
    }
    let description = Description { arguments, epoch, read, erased, files: &files, done };
    write_whole(&folder.join(MANIFEST), description.manifest()?.as_bytes())?;
    Ok(files)
}
