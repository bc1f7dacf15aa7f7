//! What time does to jobs: data sets expire and are deleted, jobs that have long ended are forgotten, and those of
//! instances that died wait again.

use std::collections::BTreeMap;

use chrono::Utc;
use shared::log::LogError;
use tokio::time::timeout;

use super::Desk;
use super::board::Held;
use super::record::{Job, State};
use super::scratch;
use crate::limits::{SHOWN_AFTER, SHOWN_JOBS, SWEEP_EVERY};

/// Looks through the jobs, for ever.
pub(crate) async fn keep(desk: Desk) {
    let mut changes = desk.board.changes();
    loop {
        let now = Utc::now();
        changes.mark_unchanged();
        if let Err(error) = recall(&desk).await {
            tracing::debug!(%error, "data sets that hold somebody who was erased cannot be looked for for now");
        }
        let all = desk.board.all();
        let mut gone = BTreeMap::new();
        let mut ended = BTreeMap::new();
        // The newest first: of each researcher's that have ended only so many are shown.
        for held in all.iter().rev() {
            let count: &mut usize = ended.entry(held.job.owner.as_str()).or_default();
            *count += usize::from(!held.job.state.is_open() && held.job.state != State::Done);
            if let Err(error) = look(&desk, held, *count > SHOWN_JOBS, &mut gone).await {
                tracing::debug!(job.id = %held.job.id, %error, "an export job cannot be looked after for now");
            }
        }
        let next = all.iter().filter_map(|held| held.job.expires_at).filter(|at| *at > now).min();
        let until = next.and_then(|at| (at - now).to_std().ok()).unwrap_or(SWEEP_EVERY).min(SWEEP_EVERY);
        // What was removed is deleted at once.
        let removed = async {
            let has = |held: &Held| held.job.state == State::Removed;
            while !desk.board.all().iter().any(has) {
                if changes.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        // A removal that fails is tried again, but not at once.
        let _elapsed = timeout(until, async {
            if all.iter().any(|held| held.job.state == State::Removed) {
                std::future::pending::<()>().await;
            }
            removed.await;
        })
        .await;
    }
}

/// Lets data sets expire that may hold somebody who was erased after what they show.
async fn recall(desk: &Desk) -> Result<(), LogError> {
    let stored = |held: &Held| held.job.state == State::Done;
    let all: Vec<_> = desk.board.all().into_iter().filter(stored).collect();
    let Some(oldest) = all.iter().map(|held| held.job.arguments.as_of).min() else { return Ok(()) };
    let erasures = desk.log.erasures_after(oldest).await?;
    for held in &all {
        let arguments = &held.job.arguments;
        if !erasures.iter().any(|(sequence, erasure)| arguments.may_hold(*sequence, erasure)) {
            continue;
        }
        let recalled = |job: &Job| {
            let reason = "Somebody whom it may hold was erased, so it was deleted; ask for another one.";
            (job.state == State::Done).then(|| job.ended(State::Expired, Some(reason.into()), Utc::now()))
        };
        desk.board.change(&held.job.id, recalled).await?;
    }
    Ok(())
}

/// Does what is due to one job; `crowded` out, it is not shown any more once it has ended. `gone` remembers which
/// instances were asked for.
async fn look(
    desk: &Desk,
    held: &Held,
    crowded: bool,
    gone: &mut BTreeMap<String, bool>,
) -> Result<(), LogError> {
    let (job, now) = (&held.job, Utc::now());
    let long_ended =
        || crowded || job.expires_at.or(job.finished_at).is_some_and(|at| at + SHOWN_AFTER < now);
    match job.state {
        State::Queued => Ok(()),
        State::Running => {
            let Some(runner) = job.runner.as_ref().filter(|runner| **runner != desk.instance) else {
                return Ok(());
            };
            if !gone.contains_key(runner) {
                gone.insert(runner.clone(), desk.store.is_gone(runner).await);
            }
            if gone[runner] {
                let its = |now: &Job| now.is_run_by(runner).then(|| now.queued());
                if desk.board.change(&job.id, its).await?.is_some() {
                    tracing::info!(job.id = %job.id, "an export job's instance is gone; it waits for another one");
                }
            }
            Ok(())
        }
        State::Done => {
            if job.expires_at.is_some_and(|at| at <= now) {
                // Nobody begins with a download any more before it is deleted.
                let expired = |job: &Job| {
                    let reason = Some("It could be downloaded until then, and was deleted.".into());
                    (job.state == State::Done).then(|| job.ended(State::Expired, reason, now))
                };
                desk.board.change(&job.id, expired).await?;
            }
            Ok(())
        }
        State::Failed | State::Cancelled | State::Expired => {
            if job.parts > 0 {
                desk.store.discard(&job.id, job.parts).await?;
                let without = |job: &Job| {
                    let ended = !job.state.is_open() && job.state != State::Done;
                    ended.then(|| Job { parts: 0, made: None, ..job.clone() })
                };
                desk.board.change(&job.id, without).await?;
            } else if long_ended() {
                desk.board.forget(held).await?;
            }
            Ok(())
        }
        State::Removed => {
            desk.store.discard(&job.id, job.parts).await?;
            desk.board.forget(held).await
        }
    }
}

/// Clears away what processes that died left of their temporary files.
pub(crate) fn sweep(desk: &Desk) {
    let parent = desk.settings.dir.clone();
    drop(tokio::task::spawn_blocking(move || scratch::sweep(&parent)));
}
