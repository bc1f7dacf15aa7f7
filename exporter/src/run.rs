//! An export from beginning to end: read and decode side by side, then merge, then describe, then show.

use std::path::Path;

use chrono::Utc;
use shared::envelope::Entry;
use shared::ids::ConversationId;
use shared::log::Log;
use shared::objects::Objects;
use shared::subjects::Subject;
use tokio::sync::mpsc;

use crate::arguments::{Arguments, AsOf, Part, Wanted};
use crate::describe::{codebook, croissant};
use crate::error::{ExportError, Result};
use crate::gather::Gathering;
use crate::limits::{READ_AHEAD, READ_ENTRIES};
use crate::manifest::{Description, Listed};
use crate::merge::merge;
use crate::progress::Progress;
use crate::staging::{CODEBOOK, CROISSANT, MANIFEST, Staging};
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
    let arguments = settle(log, wanted).await?;
    make(log, objects, arguments, out, progress).await
}

/// Makes every choice, and refuses what has no answer, or not the same one tomorrow.
pub(crate) async fn settle(log: &Log, wanted: Wanted) -> Result<Arguments> {
    let Wanted { format, include, as_of, selection, licence } = wanted;
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
    if include.is_empty() {
        return refuse("include", "names no table: messages, conversations, events".into());
    }
    Ok(Arguments { format, include, as_of, licence, selection })
}

/// Makes a data set of these arguments.
pub(crate) async fn make(
    log: &Log,
    objects: &Objects,
    arguments: Arguments,
    out: &Path,
    progress: &Progress,
) -> Result<Exported> {
    let staging = Staging::begin(out)?;
    let folder = staging.folder().to_owned();
    let gathering = Gathering::begin(arguments.clone(), objects.clone(), &folder)?;
    let gathered = gather(log, gathering, progress).await?;
    let (read, epoch, watch) = (gathered.read, log.epoch().to_owned(), progress.clone());
    let finish = move || {
        let files = merge(gathered, &folder, &watch)?;
        let files = describe(&arguments, &epoch, read, files, &folder)?;
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
        })
    };
    tokio::task::spawn_blocking(finish).await.map_err(ExportError::encode)?
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
    let mut tail = log.tail("exporter", after, filter.as_ref().map(Subject::as_str));
    tail.attach().await?;
    let mut stopped = false;
    while tail.position() < last && tail.pending() > 0 {
        let batch = tokio::select! {
            () = progress.stop().cancelled() => {
                stopped = true;
                break;
            }
            batch = tail.next_batch(READ_ENTRIES) => batch?,
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
        (Some(id), None) => {
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
    read: crate::gather::Read,
    tables: Vec<(Part, Written)>,
    folder: &Path,
) -> Result<Vec<Listed>> {
    let listed = |(part, written)| Listed { part: Some(part), path: arguments.file_of(part), written };
    let mut files: Vec<_> = tables.into_iter().map(listed).collect();
    let description = Description { arguments, epoch, read, files: &files };
    let pages = [(CODEBOOK, codebook(&description)), (CROISSANT, croissant(&description)?)];
    for (path, text) in pages {
        let written = write_whole(&folder.join(path), text.as_bytes())?;
        files.push(Listed { part: None, path: path.to_owned(), written });
    }
    let description = Description { arguments, epoch, read, files: &files };
    write_whole(&folder.join(MANIFEST), description.manifest()?.as_bytes())?;
    Ok(files)
}
