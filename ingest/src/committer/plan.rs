//! What goes into the next commit: commands decided in order, each against the log as it will be when its turn comes.

use std::collections::{HashMap, VecDeque};

use chrono::Utc;
use shared::envelope::{Envelope, EventId};
use shared::events::Event;
use shared::limits::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS};

use super::aggregates::{Folded, lock};
use super::cost::Mode;
use super::{Failure, Job, Naming, Receipt};
use crate::command::{Command, Key};
use crate::decide::{Decision, Refusal, decide};
use crate::state::Turn;

/// A command with the events that were decided for it.
pub(super) struct Planned {
    pub(super) job: Job,
    pub(super) events: Vec<Event>,
    pub(super) first: Option<u64>,
    /// The command is to be decided again once these are stored.
    pub(super) more: bool,
}

/// The next commit.
#[derive(Default)]
pub(super) struct Plan {
    planned: Vec<Planned>,
    envelopes: Vec<Envelope>,
    bytes: usize,
    /// A command made several events: they go as one batch.
    group: bool,
}

/// What the plan holds for one aggregate so far.
#[derive(Default)]
struct Touched {
    keys: Vec<Key>,
    recorded: u64,
    /// Everything further for this aggregate waits, so that its order is kept.
    closed: bool,
}

impl Plan {
    /// Takes commands from the front of `pending` and decides them. What needs no event is answered; what depends on an
    /// event that is only planned (a second version of the same message, another participant on a conversation that
    /// nobody owns yet) stays in `pending`, in order, for the next commit.
    pub(super) fn make(pending: &mut VecDeque<Job>, mode: Mode) -> Self {
        let most = match mode {
            Mode::Batch => MAX_BATCH_EVENTS,
            Mode::Singles { most } => most,
        };
        let mut plan = Self::default();
        let mut touched: HashMap<String, Touched> = HashMap::new();
        for job in std::mem::take(pending) {
            let alone = plan.group && mode != Mode::Batch;
            let full = plan.envelopes.len() >= most || plan.bytes >= MAX_BATCH_BYTES || alone;
            let touched = touched.entry(job.subject.as_str().to_owned()).or_default();
            touched.closed |= full;
            match plan.consider(job, touched, mode) {
                Some(job) => pending.push_back(job),
                None => touched.closed |= touched.recorded > 0 && mode != Mode::Batch,
            }
        }
        plan
    }

    /// Answers, plans, or gives the job back to wait.
    fn consider(&mut self, job: Job, touched: &mut Touched, mode: Mode) -> Option<Job> {
        if touched.closed {
            return Some(job);
        }
        let aggregate = std::sync::Arc::clone(&job.aggregate);
        let folded = lock(&aggregate);
        let key = job.key();
        if touched.depends(&job.command, key, &folded) {
            touched.closed = true;
            return Some(job);
        }
        let known = key.and_then(|key| folded.state.conversation.find(key));
        let version = known.map_or(0, |known| known.versions.len() as u64);
        let id = job.event_id(version);
        if let Some(sequence) = folded.found.get(id.as_str()).copied() {
            // An earlier try of this very event had been stored after all.
            let first = known.map_or(sequence, Turn::first);
            job.answer(Ok(Receipt { first, sequence }));
            return None;
        }
        if folded.newer {
            job.answer(Err(Refusal::Newer.into()));
            return None;
        }
        match decide(&job.command, &folded.state, touched.recorded, folded.last_sequence) {
            Err(refusal) => job.answer(Err(Failure::Refused(refusal))),
            Ok(Decision::Already { first, sequence }) => job.answer(Ok(Receipt { first, sequence })),
            Ok(Decision::Append { events, first, more }) => {
                if !self.fits(events.len(), mode) {
                    touched.closed = true;
                    return Some(job);
                }
                let expected = (touched.recorded == 0).then_some(folded.last_sequence);
                match job.seal(&id, &events, more, expected) {
                    Ok(envelopes) => {
                        touched.recorded += events.len() as u64;
                        touched.keys.extend(key);
                        // A report says what messages are; the next one is decided on what it said.
                        touched.closed |= events.len() > 1 || key.is_none() && job.command.is_of_whole();
                        self.add(Planned { job, events, first, more }, envelopes);
                    }
                    Err(failure) => job.answer(Err(failure)),
                }
            }
        }
        None
    }

    /// Whether a command's events can go with what is planned: several at once go as a batch, one by one they go alone.
    fn fits(&self, events: usize, mode: Mode) -> bool {
        match mode {
            Mode::Batch => self.envelopes.len() + events <= MAX_BATCH_EVENTS,
            Mode::Singles { .. } => events == 1 || self.envelopes.is_empty(),
        }
    }

    fn add(&mut self, planned: Planned, envelopes: Vec<Envelope>) {
        self.bytes += envelopes.iter().map(|envelope| envelope.body.len()).sum::<usize>();
        self.group |= envelopes.len() > 1;
        self.planned.push(planned);
        self.envelopes.extend(envelopes);
    }

    /// Whether it holds events that must be stored together.
    pub(super) fn is_group(&self) -> bool {
        self.group
    }

    pub(super) fn is_empty(&self) -> bool {
        self.planned.is_empty()
    }

    /// Events in it.
    pub(super) fn len(&self) -> usize {
        self.planned.iter().map(|planned| planned.events.len()).sum()
    }

    /// What is to be published: the events of [`Self::into_jobs`] in their order.
    pub(super) fn take_envelopes(&mut self) -> Vec<Envelope> {
        std::mem::take(&mut self.envelopes)
    }

    pub(super) fn into_jobs(self) -> impl Iterator<Item = Planned> {
        self.planned.into_iter()
    }
}

impl Touched {
    /// Whether deciding this command needs an event of this plan to be stored first.
    fn depends(&self, command: &Command, key: Option<Key>, folded: &Folded) -> bool {
        if self.recorded == 0 {
            return false;
        }
        match command {
            // Only messages of a conversation whose owner is settled, and of other messages, are independent.
            Command::Record(_) => {
                folded.state.conversation.owner.is_none() || key.is_some_and(|key| self.keys.contains(&key))
            }
            Command::Enrol(_)
            | Command::Update(_)
            | Command::Revoke(_)
            | Command::Report(_)
            | Command::StoreAudio(_)
            | Command::Receive(_)
            | Command::Refuse(_)
            | Command::Call(_)
            | Command::Directory(_)
            | Command::Dream(_)
            | Command::OpenSession(_)
            | Command::Link(_)
            | Command::Erase(_) => true,
        }
    }
}

impl Job {
    fn key(&self) -> Option<Key> {
        match self.naming {
            Naming::Natural(key) => Some(key),
            Naming::Random(_) => None,
        }
    }

    fn event_id(&self, version: u64) -> EventId {
        match &self.naming {
            Naming::Natural(key) => EventId::natural(&self.subject, &key.0, version),
            Naming::Random(id) => id.clone(),
        }
    }

    /// `id` names the last of the events, unless there are `more` to come: it says that the command is done.
    fn seal(
        &self,
        id: &EventId,
        events: &[Event],
        more: bool,
        expected: Option<u64>,
    ) -> Result<Vec<Envelope>, Failure> {
        let last = events.len() - usize::from(!more);
        let seal = |(place, event): (usize, &Event)| {
            let id = if place == last { id.clone() } else { EventId::random() };
            let unavailable = |error: &dyn std::fmt::Display| Failure::Unavailable(error.to_string());
            let wrapped = Envelope::wrap(self.subject.clone(), id, event, &self.origin, Utc::now());
            let mut envelope = wrapped.map_err(|error| unavailable(&error))?;
            if let Some((owner, key)) = &self.key {
                envelope = envelope.seal(owner.token(), key).map_err(|error| unavailable(&error))?;
            }
            if let (0, Some(sequence)) = (place, expected) {
                envelope.expect_last(sequence);
            }
            Ok(envelope)
        };
        events.iter().enumerate().map(seal).collect()
    }
}
