//! A participant erased: what they said cannot be read any more, in the log, in its backups and mirrors.
//!
//! The order is what makes it safe to be broken off anywhere and done again. Nothing more is taken of the participant;
//! what is theirs is found while it can be read, and noted with the tombstone of their key, in the same write that
//! removes the key; then everything noted goes; and when it is gone, the log says so. Whoever meets that entry of the
//! log has only to forget.

mod survey;

use std::future::Future;

use chrono::Utc;
use shared::envelope::Origin;
use shared::events::{Erasure, Payload};
use shared::ids::ParticipantId;
use shared::log::{Log, LogError};
use shared::objects::{ObjectError, ObjectName, Objects};
use shared::sealing::{Kept, KeyError, Plan};
use shared::subjects::Subject;
use uuid::Uuid;

use crate::command::{Command, ReportConversation};
use crate::committer::{self, Failure};
use survey::Survey;

pub use survey::Found;

/// Why somebody could not be erased. What was done before stands, and is finished by the next run.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// There is nothing of them.
    #[error("the log knows nothing of this participant: check the id")]
    Unknown,
    /// The log does not answer, or is another one.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Keys cannot be read or destroyed.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Objects cannot be deleted.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// It could not be recorded.
    #[error("it could not be recorded in the log: {0}")]
    NotRecorded(#[from] Failure),
    /// The committer cannot work.
    #[error("it could not be recorded in the log: {0}")]
    Committer(String),
}

/// How far it is: events read, of how many.
pub type Show<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// An erasure that stands in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Erased {
    /// Where.
    pub sequence: u64,
    /// What it says.
    pub erasure: Erasure,
    /// It stood there before.
    pub before: bool,
}

/// What an erasure would take; changes nothing.
///
/// # Errors
/// [`EraseError`].
pub async fn look(log: &Log, id: &ParticipantId, show: Show<'_>) -> Result<Found, EraseError> {
    let mut survey = Survey::new(log, id);
    survey.read_on(show).await?;
    let found = survey.found().await?;
    if found.is_nothing() { Err(EraseError::Unknown) } else { Ok(found) }
}

/// The erasure of a participant, if it stands in the log.
///
/// # Errors
/// [`LogError`].
pub async fn recorded(log: &Log, id: &ParticipantId) -> Result<Option<Erased>, LogError> {
    let mut found = None;
    log.read(&Subject::erasure(id), 0, |entry| {
        if let Ok(shared::events::Event::ParticipantErased(erasure)) = entry.decode() {
            found.get_or_insert(Erased { sequence: entry.sequence, erasure, before: true });
        }
    })
    .await?;
    Ok(found)
}

/// Whether an erasure was begun that the log does not know of yet.
///
/// # Errors
/// [`EraseError`].
pub async fn is_begun(log: &Log, id: &ParticipantId) -> Result<bool, EraseError> {
    let kept = log.keyring().store().get(Subject::participant(id).token()).await?;
    Ok(matches!(kept, Some(Kept::Destroyed { .. } | Kept::Closing { .. })))
}

/// Erases a participant, or finishes what was broken off. Safe beside running services.
///
/// # Errors
/// [`EraseError`].
pub async fn run(
    log: &Log,
    objects: &Objects,
    id: &ParticipantId,
    by: &str,
    show: Show<'_>,
) -> Result<Erased, EraseError> {
    if let Some(erased) = recorded(log, id).await? {
        return Ok(erased);
    }
    let owner = Subject::participant(id);
    let store = log.keyring().store();
    let plan = if let Some(Kept::Destroyed { plan, .. }) = store.get(owner.token()).await? {
        plan.unwrap_or_default()
    } else {
        let plan = Box::new(plan(log, id, by, show).await?);
        store.destroy_with(owner.token(), Utc::now(), Some(plan.clone())).await?;
        plan
    };
    // Also when it was broken off within the destruction.
    store.destroy(owner.token(), Utc::now()).await?;
    carry_out(log, objects, &plan).await?;
    Box::pin(record(log, id, owner.token(), *plan)).await
}

/// Closes the participant's key and finds what is theirs.
async fn plan(log: &Log, id: &ParticipantId, by: &str, show: Show<'_>) -> Result<Plan, EraseError> {
    let mut survey = Survey::new(log, id);
    survey.read_on(show).await?;
    if survey.found().await?.is_nothing() {
        return Err(EraseError::Unknown);
    }
    log.keyring().store().close(Subject::participant(id).token(), Utc::now()).await?;
    // What came meanwhile.
    survey.read_on(show).await?;
    let plan = survey.found().await?.plan;
    Ok(Plan { by: by.to_owned(), ..plan })
}

/// Everything that was noted goes. Done again, it changes nothing.
async fn carry_out(log: &Log, objects: &Objects, plan: &Plan) -> Result<(), EraseError> {
    let store = log.keyring().store();
    for owner in &plan.keys {
        store.destroy(owner, Utc::now()).await?;
    }
    for name in plan.objects.iter().filter_map(|name| ObjectName::parse(name)) {
        objects.delete(name).await?;
    }
    for (first, last) in &plan.events {
        for sequence in *first..=*last {
            log.delete(sequence).await?;
        }
    }
    Ok(())
}

async fn record(log: &Log, id: &ParticipantId, owner: &str, plan: Plan) -> Result<Erased, EraseError> {
    let Plan { by, conversations, dreams, keys, objects, range, events, webhooks } = plan;
    let erasure = Erasure {
        participant_id: id.clone(),
        by,
        erased_at: Utc::now(),
        conversations,
        dreams,
        keys: std::iter::once(owner.to_owned()).chain(keys).collect(),
        first_sequence: range.0,
        last_sequence: range.1,
        deleted_events: events.iter().map(|(first, last)| last - first + 1).sum(),
        deleted_webhooks: webhooks,
        deleted_objects: objects.len() as u64,
    };
    let started = committer::start(log).await.map_err(|error| EraseError::Committer(error.to_string()))?;
    let (committer, committing) = started;
    let origin = Origin { request_id: Uuid::new_v4().to_string(), traceparent: None };
    let submitted = committer.submit(Command::Erase(Box::new(erasure.clone())), origin);
    let receipt = Box::pin(beside(committing, submitted)).await??;
    Ok(Erased { sequence: receipt.sequence, erasure, before: false })
}

async fn beside<T>(
    committing: impl Future<Output = ()>,
    work: impl Future<Output = T>,
) -> Result<T, EraseError> {
    tokio::select! {
        () = committing => Err(EraseError::Committer("the committer stopped".into())),
        done = work => Ok(done),
    }
}

/// What a command has put into the object store.
pub(crate) fn objects_named(command: &Command) -> Vec<String> {
    match command {
        Command::StoreAudio(recording) => vec![recording.audio.object.clone()],
        Command::Report(report) => {
            let ReportConversation { payload, .. } = &**report;
            if let Payload::Object(stored) = payload { vec![stored.object.clone()] } else { Vec::new() }
        }
        Command::Record(_)
        | Command::Enrol(_)
        | Command::Update(_)
        | Command::Revoke(_)
        | Command::Receive(_)
        | Command::Refuse(_)
        | Command::Call(_)
        | Command::Directory(_)
        | Command::Dream(_)
        | Command::OpenSession(_)
        | Command::Link(_)
        | Command::Erase(_) => Vec::new(),
    }
}

/// Deletes objects of somebody who was erased, as far as the store answers.
pub(crate) async fn discard(objects: &Objects, names: &[String]) {
    for name in names.iter().filter_map(|name| ObjectName::parse(name)) {
        if let Err(error) = objects.delete(name).await {
            tracing::error!(object = %name, %error, "an object of somebody who was erased could not be deleted");
        }
    }
}
