//! The jobs as this instance knows them: all of them, told of each change that any instance makes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use shared::exports::{ExportStore, JobRecord, NotKept};
use shared::log::LogError;
use shared::subjects;
use tokio::sync::watch;

use super::record::{Job, State};

/// How long the store is left alone after it did not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// A job and its revision.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) job: Arc<Job>,
    pub(crate) revision: u64,
}

/// The jobs. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: ExportStore,
    /// By their subjects.
    jobs: Mutex<BTreeMap<String, Held>>,
    changed: watch::Sender<u64>,
}

impl Board {
    pub(crate) fn new(store: ExportStore) -> Self {
        Self(Arc::new(Inner { store, jobs: Mutex::default(), changed: watch::Sender::new(0) }))
    }

    /// Changes whenever a job does.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Reads all jobs.
    pub(crate) async fn load(&self) -> Result<(), LogError> {
        let records = self.0.store.all().await?;
        for record in records {
            self.note_record(None, &record);
        }
        Ok(())
    }

    /// Hears of changes, for ever.
    pub(crate) async fn follow(self) -> Result<(), LogError> {
        let store = &self.0.store;
        let mut reconnects = store.reconnects();
        let mut hints = store.changes().await?;
        let mut complete = false;
        loop {
            if !complete {
                // After the subscription, so that nothing falls between the two.
                match self.load().await {
                    Ok(()) => complete = true,
                    Err(error) => {
                        tracing::debug!(%error, "export jobs cannot be read for now");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            }
            tokio::select! {
                hint = hints.next() => {
                    let hint = hint.ok_or_else(|| LogError::Unavailable("jobs are told of no more".into()))?;
                    match store.job_at(&hint.subject).await {
                        Ok(record) => self.note_record(Some(&hint.subject), &record),
                        Err(error) => {
                            tracing::debug!(%error, "an export job cannot be read for now");
                            complete = false;
                        }
                    }
                }
                again = reconnects.changed() => {
                    again.map_err(|error| LogError::Unavailable(error.to_string()))?;
                    complete = false;
                }
            }
        }
    }

    fn note_record(&self, subject: Option<&str>, record: &JobRecord) {
        if record.body.is_empty() {
            let known = subject.and_then(|subject| self.lock().remove(subject));
            if known.is_some() {
                self.0.changed.send_modify(|n| *n += 1);
            }
            return;
        }
        match serde_json::from_slice::<Job>(&record.body) {
            Ok(job) => self.note(Held { job: Arc::new(job), revision: record.revision }),
            // A newer version's: that one's instances look after it.
            Err(error) => tracing::warn!(revision = record.revision, %error, "an export job cannot be read"),
        }
    }

    fn note(&self, held: Held) {
        let subject = subjects::export_job(&held.job.id);
        let mut jobs = self.lock();
        if jobs.get(&subject).is_some_and(|known| known.revision >= held.revision) {
            return;
        }
        jobs.insert(subject, held);
        drop(jobs);
        self.0.changed.send_modify(|n| *n += 1);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All jobs, in the order in which they were asked for.
    pub(crate) fn all(&self) -> Vec<Held> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_by(|one, other| (one.job.asked_at, &one.job.id).cmp(&(other.job.asked_at, &other.job.id)));
        all
    }

    /// A job as it is known here.
    pub(crate) fn known(&self, id: &str) -> Option<Held> {
        self.lock().get(&subjects::export_job(id)).cloned()
    }

    /// A job; one that is not known here yet is looked up. One that its owner removed is none.
    pub(crate) async fn find(&self, id: &str) -> Result<Option<Held>, LogError> {
        let found = match self.known(id) {
            Some(held) => Some(held),
            None => self.refresh(id).await?,
        };
        Ok(found.filter(|held| held.job.state != State::Removed))
    }

    /// A job as it stands now.
    pub(crate) async fn refresh(&self, id: &str) -> Result<Option<Held>, LogError> {
        let record = self.0.store.job(id).await?;
        self.note_record(Some(&subjects::export_job(id)), &record);
        Ok(self.known(id))
    }

    /// Stores a job's next version.
    pub(crate) async fn keep(&self, job: Job, revision: u64) -> Result<Held, NotKept> {
        let body = serde_json::to_vec(&job).map_err(|error| NotKept::Unavailable(error.to_string()))?;
        let revision = self.0.store.keep(&job.id, revision, body.into()).await?;
        let held = Held { job: Arc::new(job), revision };
        self.note(held.clone());
        Ok(held)
    }

    /// Changes a job by `change`, which is asked again where somebody else was faster; answers how it stands then. It is
    /// left as it is where `change` has no answer, which is `None` here.
    pub(crate) async fn change(
        &self,
        id: &str,
        change: impl Fn(&Job) -> Option<Job>,
    ) -> Result<Option<Held>, LogError> {
        let mut held = self.known(id);
        loop {
            let Some(next) = held.as_ref().and_then(|held| Some((change(&held.job)?, held.revision))) else {
                return Ok(None);
            };
            match self.keep(next.0, next.1).await {
                Ok(held) => return Ok(Some(held)),
                Err(NotKept::Changed) => held = self.refresh(id).await?,
                Err(NotKept::Unavailable(why)) => return Err(LogError::Unavailable(why)),
            }
        }
    }

    /// Forgets a job, if nobody changes it meanwhile.
    pub(crate) async fn forget(&self, held: &Held) -> Result<(), LogError> {
        match self.0.store.forget(&held.job.id, held.revision).await {
            Ok(_) => {
                self.lock().remove(&subjects::export_job(&held.job.id));
                self.0.changed.send_modify(|n| *n += 1);
                Ok(())
            }
            Err(NotKept::Changed) => self.refresh(&held.job.id).await.map(drop),
            Err(NotKept::Unavailable(why)) => Err(LogError::Unavailable(why)),
        }
    }
}
