//! Running jobs: the oldest that waits, as many at once as settings say, each stored in parts once it is made.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use chrono::Utc;
use futures::{TryStreamExt, stream};
use shared::exports::{NotKept, PART_BYTES};
use shared::log::LogError;
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Desk;
use super::archive::pack;
use super::board::Held;
use super::record::{Job, Made, Progressed, State};
use super::trail::{Step as Told, look_of};
use crate::error::ExportError;
use crate::limits::{FAILURE_PAUSE, MOST_FAILURES, PARTS_AT_ONCE, TELL_EVERY};
use crate::progress::{Progress, Step};
use crate::run::{disguise, key_of, make};

/// Why a job that ran has no data set now.
enum Unmade {
    /// It is not ours to run any more: taken back, or taken over.
    Lost,
    /// This process stops; another one, or the next one, runs it.
    Stopping,
    /// The log, or the store, could not be reached.
    Away(String),
    /// It cannot be made. A sentence for its owner, and the cause for the log.
    Failed(String, String),
}

impl From<LogError> for Unmade {
    fn from(error: LogError) -> Self {
        Self::Away(error.to_string())
    }
}

impl From<ExportError> for Unmade {
    fn from(error: ExportError) -> Self {
        let cause = error.to_string();
        let files = |error: &io::Error| {
            // The path is nobody's business but the operator's.
            let why = format!("The server cannot write the data set's files: {error}; tell its operator.");
            Self::Failed(why, cause.clone())
        };
        match &error {
            ExportError::Log(_) | ExportError::Objects(_) => Self::Away(cause),
            ExportError::File { cause: error, .. } | ExportError::Spill(error) => files(error),
            ExportError::Arguments(_) | ExportError::Argument { .. } | ExportError::Differs(_) => {
                Self::Failed(format!("This data set cannot be made: {cause}."), cause)
            }
            ExportError::Encode(_) => {
                Self::Failed("The data set could not be written; tell the server's operator.".into(), cause)
            }
            ExportError::Stopped => Self::Lost,
        }
    }
}

/// Takes jobs, until the process stops; then waits for those that run to be laid down.
pub(crate) async fn run(desk: Desk) {
    let places = Arc::new(Semaphore::new(usize::try_from(desk.settings.at_once.get()).unwrap_or(1)));
    let running = TaskTracker::new();
    let mut changes = desk.board.changes();
    let taking = async {
        loop {
            // Everything before this look counts as seen.
            changes.mark_unchanged();
            let waiting = desk.board.all().into_iter().find(|held| held.job.state == State::Queued);
            let Some(waiting) = waiting else {
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Some(held) = take(&desk, waiting).await else { continue };
            let desk = desk.clone();
            running.spawn(async move {
                guard(desk, held).await;
                drop(place);
            });
        }
    };
    tokio::select! {
        () = taking => {}
        () = desk.stopping.cancelled() => {}
    }
    running.close();
    running.wait().await;
}

/// Begins with a job, unless another instance was faster.
async fn take(desk: &Desk, held: Held) -> Option<Held> {
    // It may have been taken back while it waited for a place.
    let now = desk.board.known(&held.job.id).filter(|held| held.job.state == State::Queued)?;
    match desk.board.keep(now.job.started(&desk.instance, Utc::now()), now.revision).await {
        Ok(held) => Some(held),
        Err(error) => {
            if let NotKept::Unavailable(cause) = &error {
                tracing::warn!(job.id = %now.job.id, cause, "an export job cannot be begun for now");
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
            let _known = desk.board.refresh(&now.job.id).await;
            None
        }
    }
}

/// Runs a job; one that breaks has failed.
async fn guard(desk: Desk, held: Held) {
    let job = Arc::clone(&held.job);
    let (own, ran) = (desk.clone(), Arc::clone(&job));
    let ran = tokio::spawn(async move { Box::pin(work(&own, ran)).await });
    if let Err(broken) = ran.await {
        tracing::error!(job.id = %job.id, error = %broken, "an export job broke");
        let reason = "Something went wrong here; tell the server's operator the id of the export.";
        let failed = |now: &Job| {
            now.is_run_by(&desk.instance).then(|| now.ended(State::Failed, Some(reason.into()), Utc::now()))
        };
        settle(&desk, &job.id, failed).await;
    }
}

/// Runs a job to whatever end.
async fn work(desk: &Desk, job: Arc<Job>) {
    tracing::info!(job.id = %job.id, job.as_of = job.arguments.as_of, "an export job begins");
    let folder = desk.scratch.path().join(&job.id);
    let stop = CancellationToken::new();
    let (progress, started) = (Progress::stopping(stop.clone()), Instant::now());
    let made = Box::pin(produce(desk, &job, &folder, &progress, &stop)).await;
    let last = Progressed { seconds_left: None, ..progressed(progress.step(), started.elapsed()) };
    let cleared = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&folder) {
        Err(error)
            if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::NotADirectory =>
        {
            tracing::warn!(%error, "files of an export job cannot be removed");
        }
        _ => {}
    });
    let _done = cleared.await;
    let own = |now: &Job| now.is_run_by(&desk.instance).then(|| now.clone());
    let now = Utc::now();
    let (next, what): (Box<dyn Fn(Job) -> Job + Send + Sync>, _) = match made {
        Ok(made) => {
            let expires_at = now + desk.settings.expires;
            let done = move |job: Job| {
                // Of one conversation alone, the last entry read may lie before the last of the log.
                let (made, progress) = (Some(made.clone()), Progressed { read: last.total, ..last });
                let done = Job { made, progress, expires_at: Some(expires_at), ..job };
                done.ended(State::Done, None, now)
            };
            (Box::new(done), "done")
        }
        Err(Unmade::Failed(reason, cause)) => {
            tracing::warn!(job.id = %job.id, cause, "an export job failed");
            (Box::new(move |job: Job| job.ended(State::Failed, Some(reason.clone()), now)), "failed")
        }
        Err(Unmade::Away(cause)) => {
            tracing::warn!(job.id = %job.id, cause, "an export job waits for the log");
            tokio::time::sleep(FAILURE_PAUSE).await;
            let again = |job: Job| match job.failures + 1 {
                failures if failures < MOST_FAILURES => Job { failures, ..job.queued() },
                _ => {
                    let reason = "The log could not be read, again and again; ask for it once more later.";
                    job.ended(State::Failed, Some(reason.into()), Utc::now())
                }
            };
            (Box::new(again), "away")
        }
        Err(Unmade::Stopping) => (Box::new(|job: Job| job.queued()), "stopped"),
        Err(Unmade::Lost) => (Box::new(|job: Job| job), "lost"),
    };
    if what == "lost" {
        tracing::info!(job.id = %job.id, "an export job was taken back");
        return;
    }
    metrics::counter!("turnlog_export_jobs_total", "end" => what).increment(1);
    settle(desk, &job.id, |now| own(now).map(&next)).await;
    let told = match what {
        "done" => Some(Told::Made),
        "failed" => Some(Told::Failed),
        _ => None,
    };
    if let Some(told) = told {
        desk.record_later(look_of(&job, told)).await;
    }
    tracing::info!(job.id = %job.id, what, "an export job ends");
}

/// Stores how a job ended, as long as it takes: nobody else will.
async fn settle(desk: &Desk, id: &str, change: impl Fn(&Job) -> Option<Job>) {
    while let Err(error) = desk.board.change(id, &change).await {
        tracing::warn!(job.id = id, %error, "how an export job ended cannot be stored for now");
        tokio::select! {
            () = tokio::time::sleep(FAILURE_PAUSE) => {}
            // Whoever comes next finds that its runner is gone, and makes the same again.
            () = desk.stopping.cancelled() => return,
        }
    }
}

/// Makes the data set in a folder, packs it and stores it.
async fn produce(
    desk: &Desk,
    job: &Job,
    folder: &Path,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Made, Unmade> {
    let making = async {
        let (scratch, own) = (Arc::clone(&desk.scratch), folder.to_owned());
        let readied = tokio::task::spawn_blocking(move || {
            scratch
                .claim()
                .and_then(|()| DirBuilder::new().mode(0o700).create(&own))
                .map_err(ExportError::file(&own))
        });
        readied.await.map_err(ExportError::encode)??;
        let set = folder.join("set");
        let mut arguments = job.arguments.clone();
        let key = key_of(arguments.deidentify, desk.settings.key.as_ref())?;
        let names = disguise(&mut arguments, key.as_ref());
        Box::pin(make(&desk.log, &desk.objects, arguments.clone(), names, &set, progress)).await?;
        let archive = folder.join("archive.zip");
        let packed = archive.clone();
        let packing = tokio::task::spawn_blocking(move || pack(&arguments, &set, &packed));
        let made = packing.await.map_err(ExportError::encode)??;
        upload(desk, job, &made, &archive).await?;
        Ok::<_, Unmade>(made)
    };
    tokio::pin!(making);
    let mut changes = desk.board.changes();
    let mut ticks = tokio::time::interval(TELL_EVERY);
    let (started, mut lost) = (Instant::now(), false);
    loop {
        tokio::select! {
            made = &mut making => {
                let ours = desk.board.known(&job.id).is_some_and(|held| held.job.is_run_by(&desk.instance));
                return match made {
                    _ if lost || !ours => Err(Unmade::Lost),
                    Err(Unmade::Lost) if desk.stopping.is_cancelled() => Err(Unmade::Stopping),
                    made => made,
                };
            }
            () = desk.stopping.cancelled(), if !stop.is_cancelled() => stop.cancel(),
            _ = changes.changed(), if !lost => {
                let ours = desk.board.known(&job.id).is_some_and(|held| held.job.is_run_by(&desk.instance));
                if !ours {
                    lost = true;
                    stop.cancel();
                }
            }
            _ = ticks.tick(), if !lost => tell(desk, job, progress.step(), started.elapsed()).await,
        }
    }
}

fn progressed(Step { total, read, wrote }: Step, elapsed: Duration) -> Progressed {
    let per_second = (read as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let left = total.saturating_sub(read);
    let seconds_left = (per_second > 0 && total > 0).then(|| left.div_ceil(per_second));
    Progressed { total, read, wrote, per_second, seconds_left }
}

/// Stores how far a job is, where that changed. It is told again soon, so a failure says nothing.
async fn tell(desk: &Desk, job: &Job, step: Step, elapsed: Duration) {
    let Some(held) = desk.board.known(&job.id) else { return };
    let (before, progress) = (held.job.progress, progressed(step, elapsed));
    let same = (before.total, before.read, before.wrote) == (progress.total, progress.read, progress.wrote);
    if same || !held.job.is_run_by(&desk.instance) {
        return;
    }
    let next = Job { progress, ..(*held.job).clone() };
    match desk.board.keep(next, held.revision).await {
        Ok(_) => {}
        Err(NotKept::Changed) => _ = desk.board.refresh(&job.id).await,
        Err(NotKept::Unavailable(cause)) => {
            tracing::debug!(job.id = %job.id, cause, "how far an export job is was not stored");
            let _known = desk.board.refresh(&job.id).await;
        }
    }
}

/// Stores an archive, if there is room for it.
async fn upload(desk: &Desk, job: &Job, made: &Made, archive: &Path) -> Result<(), Unmade> {
    let others = desk.board.all();
    let kept: u64 = others.iter().filter(|held| held.job.id != job.id).map(|held| held.job.stored()).sum();
    if kept + made.bytes > desk.settings.max_bytes {
        let why = format!(
            "There is no room for it: it has {} bytes, and data sets that can be downloaded take {kept} of the {} that \
             are set aside (EXPORTS_MAX_BYTES); remove some, or wait until they expire.",
            made.bytes, desk.settings.max_bytes
        );
        return Err(Unmade::Failed(why, "EXPORTS_MAX_BYTES is reached".into()));
    }
    let parts = made.bytes.div_ceil(PART_BYTES);
    // Said before, so that what is left of one that breaks off is found.
    let own = |now: &Job| now.is_run_by(&desk.instance).then(|| Job { parts, ..now.clone() });
    if desk.board.change(&job.id, own).await?.is_none() {
        return Err(Unmade::Lost);
    }
    let failed = |error: io::Error| Unmade::from(ExportError::file(archive)(error));
    let file = File::open(archive).await.map_err(failed)?;
    let read = stream::try_unfold((file, 0), |(mut file, number)| async move {
        let mut part = BytesMut::with_capacity(usize::try_from(PART_BYTES).unwrap_or_default());
        let mut rest = (&mut file).take(PART_BYTES);
        while rest.read_buf(&mut part).await? > 0 {}
        Ok(Some((number, part.freeze()))
            .filter(|(_, part)| !part.is_empty())
            .map(|part| (part, (file, number + 1))))
    });
    let store = |(number, part)| async move {
        let ours = desk.board.known(&job.id).is_some_and(|held| held.job.is_run_by(&desk.instance));
        if !ours {
            return Err(Unmade::Lost);
        }
        if desk.stopping.is_cancelled() {
            return Err(Unmade::Stopping);
        }
        desk.store.put_part(&job.id, number, part).await.map_err(Unmade::from)
    };
    read.map_err(failed).try_for_each_concurrent(PARTS_AT_ONCE, store).await
}
