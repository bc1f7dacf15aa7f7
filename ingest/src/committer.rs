//! The one writer of the process: takes what is queued, decides it in order, commits it as a group, answers.
//!
//! While a commit is in flight, what arrives queues; it goes as the next group. A lone command goes at once.
//! Every event carries the sequence that its aggregate is expected to end at, so that nothing is decided on a state
//! that another instance, or an earlier try of ours, has moved on. When that fails, or an ack stays away, the aggregate
//! is read again and the command decided again: the event's own id tells whether it was stored. That is why a retry can
//! never double, with or without the server's dedupe window.

mod aggregates;
mod cost;
mod plan;
mod publish;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use shared::envelope::{EventId, Origin};
use shared::http::AnyError;
use shared::ids::ConversationId;
use shared::limits::{MAX_BATCH_EVENTS, MAX_QUEUED_COMMANDS, WRITE_DEADLINE};
use shared::log::{Log, LogError};
use shared::sealing::{DataKey, Sealing};
use shared::subjects::Subject;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::command::{Command, Key};
use crate::decide::Refusal;
use crate::state::{Conversation, State};
use aggregates::{Aggregate, Aggregates, lock};
use cost::{Costs, Mode};
use plan::Plan;
use publish::{NotStored, Publisher, Stored};

/// Pause before the log is tried again after it did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Aggregates read again at the same time after a commit failed.
const PARALLEL_READS: usize = 32;
/// Longer than this a caller never waits beyond its deadline: one ack time-out and one look into the log.
const GRACE: Duration = Duration::from_secs(4);

/// Where a command ended up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Sequence of the message's first version: its id. For other commands the same as `sequence`.
    pub first: u64,
    /// Sequence of the event that says what the caller said.
    pub sequence: u64,
}

/// Why a command did not end in the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// It cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The log took nothing within the deadline. The command may be sent again.
    #[error("the log did not take the event in time: {0}")]
    Unavailable(String),
}

/// A command on its way.
struct Job {
    command: Command,
    subject: Subject,
    aggregate: Arc<Aggregate>,
    naming: Naming,
    /// Whose key seals it, and the key.
    key: Option<(Subject, Arc<DataKey>)>,
    origin: Origin,
    deadline: Instant,
    answer: oneshot::Sender<Result<Receipt, Failure>>,
}

/// How the event of a command gets its id.
enum Naming {
    /// From what makes the command the same command when it comes again.
    Natural(Key),
    /// Given once, so that a retry can be told from another event.
    Random(EventId),
}

/// Hands commands to the committer. Clones share it.
#[derive(Debug, Clone)]
pub struct Committer {
    queue: mpsc::Sender<Job>,
    aggregates: Aggregates,
}

/// Starts the committer of this process: its handle, and the loop to be run.
///
/// # Errors
/// When the log's connection is already closed.
pub async fn start(log: &Log) -> Result<(Committer, impl Future<Output = ()> + Send + use<>), AnyError> {
    let (queue, commands) = mpsc::channel(MAX_QUEUED_COMMANDS);
    let aggregates = Aggregates::new(log.clone());
    let publisher = Publisher::new(log.client().clone()).await?;
    let (costs, pending) = (Costs::default(), VecDeque::new());
    let work =
        Work { commands, pending, aggregates: aggregates.clone(), publisher, costs, singles_next: false };
    Ok((Committer { queue, aggregates }, work.run()))
}

impl Committer {
    /// Has one command decided and stored.
    ///
    /// # Errors
    /// [`Failure`], within the deadline and a little grace.
    pub async fn submit(&self, command: Command, origin: Origin) -> Result<Receipt, Failure> {
        let mut answers = self.submit_all(vec![command], &origin).await;
        answers.pop().unwrap_or_else(|| Err(unavailable("the committer gave no answer")))
    }

    /// Has several commands decided and stored, in their order; an answer for each.
    pub async fn submit_all(&self, commands: Vec<Command>, origin: &Origin) -> Vec<Result<Receipt, Failure>> {
        let deadline = Instant::now() + WRITE_DEADLINE;
        let count = commands.len();
        let queued = tokio::time::timeout_at(deadline, self.enqueue(commands, origin, deadline)).await;
        let answers = match queued {
            Ok(Ok(answers)) => answers,
            Ok(Err(failure)) => return vec![Err(failure); count],
            Err(_) => return vec![Err(unavailable("too many writes are waiting")); count],
        };
        let mut results = Vec::with_capacity(count);
        for answer in answers {
            let answered = tokio::time::timeout_at(deadline + GRACE, answer).await;
            results.push(answered.map_or_else(
                |_| Err(unavailable("the committer is busy")),
                |answer| answer.unwrap_or_else(|_| Err(unavailable("the committer stopped"))),
            ));
        }
        results
    }

    /// The state of an aggregate as the log has it now, not as it was cached.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when the log does not answer within the deadline, [`Refusal::Newer`] where this version
    /// cannot know it.
    pub async fn look<T>(&self, subject: &Subject, read: impl FnOnce(&State) -> T) -> Result<T, Failure> {
        let looked = tokio::time::timeout(WRITE_DEADLINE, async {
            let aggregate = self.aggregates.get(subject).await?;
            aggregate.refresh(self.aggregates.log(), subject).await?;
            Ok::<_, LogError>(aggregate)
        });
        let aggregate = looked.await.map_err(unavailable)?.map_err(unavailable)?;
        let folded = lock(&aggregate);
        if folded.newer { Err(Refusal::Newer.into()) } else { Ok(read(&folded.state)) }
    }

    /// The same of a conversation. One of the vendor's that is a session of ours is looked at as that session: the second
    /// argument of `read` is its number, 0 for a conversation that is none.
    ///
    /// # Errors
    /// [`Failure::Unavailable`].
    pub async fn look_at<T>(
        &self,
        id: &ConversationId,
        read: impl FnOnce(&Conversation, u32) -> T,
    ) -> Result<T, Failure> {
        let home = self.home_of(id.clone()).await?;
        let read = |state: &State| {
            let conversation = &state.conversation;
            read(conversation, conversation.session(id).unwrap_or_default())
        };
        self.look(&Subject::conversation(&home), read).await
    }

    /// The conversation that one of the vendor's is a session of; any other one is its own.
    ///
    /// # Errors
    /// [`Failure::Unavailable`].
    pub async fn home_of(&self, id: ConversationId) -> Result<ConversationId, Failure> {
        let subject = Subject::conversation(&id);
        let continues = self.look(&subject, |state| state.conversation.continues.clone()).await?;
        Ok(continues.unwrap_or(id))
    }

    /// Where a command belongs that names a conversation of the vendor's: in the conversation that it is a session of.
    async fn redirected(&self, command: &mut Command) -> (Subject, Arc<Aggregate>) {
        let subject = command.subject();
        let aggregate = self.aggregates.get_patiently(&subject).await;
        let continues = lock(&aggregate).state.conversation.continues.clone();
        let (Some(continues), Some(named)) = (continues, command.conversation().cloned()) else {
            return (subject, aggregate);
        };
        let subject = Subject::conversation(&continues);
        let aggregate = self.aggregates.get_patiently(&subject).await;
        let number = |aggregate: &Aggregate| lock(aggregate).state.conversation.session(&named);
        let mut session = number(&aggregate);
        if session.is_none() && aggregate.refresh(self.aggregates.log(), &subject).await.is_ok() {
            // Another instance opened it.
            session = number(&aggregate);
        }
        command.redirect(&continues, session.unwrap_or_default());
        (subject, aggregate)
    }

    /// The key that seals what comes of a command.
    async fn key(
        &self,
        command: &Command,
        aggregate: &Aggregate,
    ) -> Result<Option<(Subject, Arc<DataKey>)>, Failure> {
        let Some(owner) = command.owner(&lock(aggregate).state) else { return Ok(None) };
        match self.aggregates.log().keyring().to_seal(owner.token()).await.map_err(unavailable)? {
            Sealing::Off => Ok(None),
            Sealing::With(key) => Ok(Some((owner, key))),
            Sealing::Destroyed => Err(Refusal::Erased.into()),
        }
    }

    async fn enqueue(
        &self,
        commands: Vec<Command>,
        origin: &Origin,
        deadline: Instant,
    ) -> Result<Vec<oneshot::Receiver<Result<Receipt, Failure>>>, Failure> {
        let mut jobs = Vec::with_capacity(commands.len());
        let mut answers = Vec::with_capacity(commands.len());
        for mut command in commands {
            let (subject, aggregate) = self.redirected(&mut command).await;
            let key = self.key(&command, &aggregate).await?;
            let (answer, answered) = oneshot::channel();
            let naming =
                command.natural_key().map_or_else(|| Naming::Random(EventId::random()), Naming::Natural);
            let origin = origin.clone();
            jobs.push(Job { command, subject, aggregate, naming, key, origin, deadline, answer });
            answers.push(answered);
        }
        let places = self.queue.reserve_many(jobs.len()).await.map_err(unavailable)?;
        places.zip(jobs).for_each(|(place, job)| place.send(job));
        Ok(answers)
    }
}

fn unavailable(why: impl std::fmt::Display) -> Failure {
    Failure::Unavailable(why.to_string())
}

/// What the loop owns.
struct Work {
    commands: mpsc::Receiver<Job>,
    pending: VecDeque<Job>,
    aggregates: Aggregates,
    publisher: Publisher,
    costs: Costs,
    /// After a failed commit the next goes one by one: each event then fails or passes for itself.
    singles_next: bool,
}

impl Work {
    async fn run(mut self) {
        loop {
            if self.pending.is_empty() {
                match self.commands.recv().await {
                    Some(job) => self.pending.push_back(job),
                    None => return,
                }
            }
            while self.pending.len() < MAX_BATCH_EVENTS
                && let Ok(job) = self.commands.try_recv()
            {
                self.pending.push_back(job);
            }
            self.round().await;
        }
    }

    async fn round(&mut self) {
        self.give_up_late();
        if self.refresh_stale().await.is_err() {
            tokio::time::sleep(RETRY_PAUSE).await;
            return;
        }
        let mode = self.costs.choose(&self.pending, std::mem::take(&mut self.singles_next));
        let mut plan = Plan::make(&mut self.pending, mode);
        if plan.is_empty() {
            return;
        }
        metrics::histogram!("turnlog_commit_batch_events").record(plan.len() as f64);
        let started = Instant::now();
        let outcomes = match mode {
            Mode::Singles { .. } if !plan.is_group() => self.publisher.singles(plan.take_envelopes()).await,
            Mode::Batch | Mode::Singles { .. } => self.publisher.batch(plan.take_envelopes()).await,
        };
        metrics::histogram!("turnlog_publish_seconds").record(started.elapsed().as_secs_f64());
        if outcomes.iter().all(Result::is_ok) && !plan.is_group() {
            self.costs.learn(mode, plan.len(), started.elapsed());
        }
        self.settle(plan, outcomes).await;
    }

    /// Answers what waited past its deadline: nothing of it is stored that the caller could be told of.
    fn give_up_late(&mut self) {
        let now = Instant::now();
        let late = self.pending.iter().any(|job| job.deadline <= now);
        if !late {
            return;
        }
        for job in std::mem::take(&mut self.pending) {
            if job.deadline > now {
                self.pending.push_back(job);
            } else {
                job.answer(Err(unavailable("no ack within the deadline")));
            }
        }
    }

    /// Reads again every aggregate of a waiting command that a failed commit left in doubt.
    async fn refresh_stale(&mut self) -> Result<(), LogError> {
        let aggregates = &self.aggregates;
        let stale: Vec<_> = self
            .pending
            .iter()
            .filter(|job| job.aggregate.is_stale())
            .map(|job| (Arc::clone(&job.aggregate), job.subject.clone()))
            .collect();
        let mut reads = futures::stream::iter(stale)
            .map(|(aggregate, subject)| async move {
                // Two jobs may name the same aggregate; the second finds it fresh.
                if aggregate.is_stale() {
                    aggregate.refresh(aggregates.log(), &subject).await
                } else {
                    Ok(())
                }
            })
            .buffer_unordered(PARALLEL_READS);
        while let Some(read) = reads.next().await {
            read.inspect_err(|error| tracing::warn!(%error, "the log cannot be read; writes wait"))?;
        }
        Ok(())
    }

    async fn settle(&mut self, plan: Plan, outcomes: Vec<Stored>) {
        let mut again = VecDeque::new();
        let mut fault = None;
        let mut outcomes = outcomes.into_iter();
        for planned in plan.into_jobs() {
            // The events of one command share their fate: the last one's tells.
            let of_command = outcomes.by_ref().take(planned.events.len());
            match of_command.last().unwrap_or(Err(NotStored::Silent)) {
                Ok(sequence) => again.extend(self.aggregates.stored(planned, sequence)),
                Err(why) => {
                    planned.job.aggregate.doubt();
                    again.push_back(planned.job);
                    fault = Some(why);
                }
            }
        }
        if let Some(why) = &fault {
            metrics::counter!("turnlog_commit_retries_total", "why" => why.label()).increment(1);
            tracing::debug!(commands = again.len(), %why, "a commit is decided again");
            self.singles_next = true;
        }
        again.append(&mut self.pending);
        self.pending = again;
        let Some(why) = fault else { return };
        if why.wants_pause() {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

impl Job {
    /// The caller may be gone; what was stored stays stored.
    fn answer(self, result: Result<Receipt, Failure>) {
        let _caller_is_gone = self.answer.send(result);
    }
}
