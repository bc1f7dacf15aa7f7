//! Tickets that were used: a stream in which each id can be claimed once, by whichever instance is first. It keeps them
//! a little longer than they could be used.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, stream};

use crate::limits::CLAIM_TTL;
use crate::log::{Log, LogError};
use crate::subjects;

/// The stream's name.
const STREAM: &str = "TICKETS";

/// The stream, over the connection of the log. Clones share it.
#[derive(Debug, Clone)]
pub struct Claims(jetstream::Context);

/// Why an id was not claimed.
#[derive(Debug, thiserror::Error)]
pub enum Unclaimed {
    /// Somebody was first.
    #[error("it was claimed before")]
    Taken,
    /// The server does not answer or refuses for now. It may be claimed all the same.
    #[error("the claim is not known to be stored: {0}")]
    Unavailable(String),
}

impl Claims {
    /// Makes the stream if it is not there. It is on disk: a restart of the server must not make used tickets good.
    ///
    /// # Errors
    /// [`LogError::Stream`] when it cannot be made.
    pub async fn open(log: &Log, replicas: usize) -> Result<Self, LogError> {
        let wanted = stream::Config {
            name: STREAM.into(),
            description: Some("turnlog: tickets that were used".into()),
            subjects: vec![subjects::USED_TICKETS.into()],
            storage: stream::StorageType::File,
            num_replicas: replicas,
            max_age: CLAIM_TTL,
            duplicate_window: CLAIM_TTL,
            ..stream::Config::default()
        };
        let made = log.context().create_or_update_stream(wanted).await;
        made.map_err(|error| LogError::Stream(format!("of used tickets: {error}")))?;
        Ok(Self(log.context().clone()))
    }

    /// Claims an id for good.
    ///
    /// # Errors
    /// [`Unclaimed`].
    pub async fn claim(&self, id: &str) -> Result<(), Unclaimed> {
        let unavailable = |error: &dyn std::fmt::Display| Unclaimed::Unavailable(error.to_string());
        let claim = PublishMessage::build().expected_last_subject_sequence(0);
        let sent = self.0.send_publish(subjects::used_ticket(id), claim).await;
        match sent.map_err(|error| unavailable(&error))?.await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(Unclaimed::Taken),
            Err(error) => Err(unavailable(&error)),
        }
    }
}
