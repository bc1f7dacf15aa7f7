//! Records on their way to the audit log: one writer takes all that came meanwhile at once, so that many a second share
//! the wait for the disk.

use tokio::sync::{mpsc, oneshot};

use super::{Audit, Look, MOST_AT_ONCE};
use crate::limits::{QUEUED_RECORDS, RECORD_PATIENCE};
use crate::log::LogError;
use crate::problem::Problem;

/// How records get to the writer. Clones share it.
#[derive(Debug, Clone)]
pub struct Recorder(mpsc::Sender<Job>);

/// What the writer takes from.
#[derive(Debug)]
pub struct Queue(mpsc::Receiver<Job>);

#[derive(Debug)]
enum Job {
    /// To be stored; the answer says whether it was.
    Store(Box<Look>, Option<oneshot::Sender<Result<(), String>>>),
    /// Says that everything before it is done.
    Mark(oneshot::Sender<()>),
}

impl Recorder {
    /// The way to a writer, and what [`Queue::write`] takes from.
    pub fn new() -> (Self, Queue) {
        let (sender, receiver) = mpsc::channel(QUEUED_RECORDS);
        (Self(sender), Queue(receiver))
    }

    /// Stores a record before what it is about is answered; there may be none to store.
    ///
    /// # Errors
    /// 503 when it is not known to be stored in time: what cannot be recorded is not shown, and not done.
    pub async fn record(&self, look: Option<Look>) -> Result<(), Problem> {
        let Some(look) = look else { return Ok(()) };
        let shows = look.what.is_look();
        let (answer, stored) = oneshot::channel();
        let recorded = tokio::time::timeout(RECORD_PATIENCE, async {
            self.0.send(Job::Store(Box::new(look), Some(answer))).await.map_err(|error| error.to_string())?;
            stored.await.map_err(|error| error.to_string())?
        });
        recorded.await.map_err(|error| error.to_string()).flatten().map_err(|cause| {
            let detail = if shows {
                "This look cannot be recorded for now, so nothing is shown; try again in a moment."
            } else {
                "This cannot be recorded for now, so nothing is given out; try again in a moment."
            };
            Problem::unavailable(detail, cause)
        })
    }

    /// Stores a record that nobody waits for, as well as can be.
    pub fn later(&self, look: Look) {
        if self.0.try_send(Job::Store(Box::new(look), None)).is_err() {
            lost("too many wait for it");
        }
    }

    /// Waits until everything that was sent before is done with, at a stop.
    pub async fn settle(&self) {
        let (mark, reached) = oneshot::channel();
        let settled = async {
            let _gone = self.0.send(Job::Mark(mark)).await;
            let _gone = reached.await;
        };
        if tokio::time::timeout(RECORD_PATIENCE, settled).await.is_err() {
            tracing::warn!("the last records are not in the audit log: it took none in time");
        }
    }
}

/// What nobody waits for, such as a feed's end, is recorded as well as can be: without it the record of its beginning has
/// no end.
fn lost(cause: &str) {
    metrics::counter!("turnlog_audit_lost_total").increment(1);
    tracing::warn!(cause, "a record that nobody waited for is not in the audit log");
}

impl Queue {
    /// Stores what comes, for ever.
    ///
    /// # Errors
    /// None; it is one of the loops that may not end.
    pub async fn write(mut self, audit: Audit) -> Result<(), LogError> {
        loop {
            let mut jobs = Vec::new();
            if self.0.recv_many(&mut jobs, MOST_AT_ONCE).await == 0 {
                // Everybody who could record something is gone.
                return std::future::pending().await;
            }
            let (mut looks, mut answers, mut marks) = (Vec::new(), Vec::new(), Vec::new());
            for job in jobs {
                match job {
                    Job::Store(look, answer) => {
                        looks.push(*look);
                        answers.push(answer);
                    }
                    Job::Mark(mark) => marks.push(mark),
                }
            }
            let started = tokio::time::Instant::now();
            let stored = audit.append(&looks).await;
            metrics::histogram!("turnlog_audit_seconds").record(started.elapsed().as_secs_f64());
            for (answer, stored) in answers.into_iter().zip(stored) {
                tell(answer, stored.map_err(|error| error.to_string()));
            }
            for mark in marks {
                let _gone = mark.send(());
            }
        }
    }
}

fn tell(answer: Option<oneshot::Sender<Result<(), String>>>, stored: Result<(), String>) {
    match (answer, stored) {
        (Some(answer), stored) => {
            let _gone = answer.send(stored);
        }
        (None, Err(cause)) => lost(&cause),
        (None, Ok(())) => {}
    }
}
