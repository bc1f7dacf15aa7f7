//! Where data keys lie: a stream of their own, apart from what they seal, one subject for each owner. What stands there is
//! the wrapped key, or, for good, that it was destroyed.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{DeleteMessageErrorKind, LastRawMessageErrorKind};
use async_nats::jetstream::{self, stream};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::{KeyBytes, MasterKeys, NotUnwrapped, SealError, Wrapped};
use crate::events::DeletedWebhooks;
use crate::log::LogError;
use crate::subjects;

/// The stream's name.
const STREAM: &str = "KEYS";
/// Bytes of a record: the server takes messages of 1 MiB unless it is told otherwise, headers included.
const MOST_BYTES: usize = 1_000_000;
/// The server's code for a message that is not there.
const NO_MESSAGE: u64 = 10_057;

/// The stream, over the connection of the log. Clones share it.
#[derive(Debug, Clone)]
pub struct KeyStore {
    context: jetstream::Context,
    stream: stream::Stream,
}

/// What is kept of an owner's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Kept {
    /// The key.
    Key(Wrapped),
    /// It was destroyed: nothing that it sealed can be read, ever.
    Destroyed {
        /// When.
        destroyed_at: DateTime<Utc>,
        /// What else goes with it, until that is recorded in the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<Box<Plan>>,
    },
    /// There never was a key, and none is made any more: its owner is being erased.
    Closing {
        /// Since when.
        closing_at: DateTime<Utc>,
    },
}

/// What an erasure takes: found while it can be read, and kept with the tombstone, so that it can be finished whatever
/// dies in between. Names, hashes and numbers; nothing of what was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Who wants it.
    pub by: String,
    /// Tokens of the conversations that it touches.
    pub conversations: Vec<String>,
    /// Tokens of dreams.
    pub dreams: Vec<String>,
    /// Whose keys are destroyed, beside the owner's.
    pub keys: Vec<String>,
    /// Names of objects that are deleted.
    pub objects: Vec<String>,
    /// Where the first and the last event stand that say something of the owner.
    pub range: (u64, u64),
    /// Events that are deleted since no destroyed key has sealed them: ranges, first and last.
    pub events: Vec<(u64, u64)>,
    /// What of these had come in by webhooks.
    pub webhooks: Vec<DeletedWebhooks>,
}

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The server does not answer or refuses for now.
    #[error("the keys cannot be read or stored just now: {0}")]
    Unavailable(String),
    /// What is stored is no key of this version's.
    #[error("a stored key cannot be read: a newer version may have written it")]
    Unreadable,
    /// The master key is missing or another.
    #[error("a key cannot be unwrapped: {0}")]
    NotUnwrapped(#[from] NotUnwrapped),
    /// Something was sealed with a key that is not there.
    #[error("something was sealed with a key that is not stored: was the stream KEYS lost?")]
    Missing,
    /// Sealed content, and no master key.
    #[error("the log holds sealed content, and SEALING_KEYS is not set")]
    NoMasters,
    /// More than one record holds.
    #[error("what is to be erased is too much to be noted in one record of {MOST_BYTES} bytes")]
    TooMuch,
    /// No random bytes.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl KeyError {
    fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// A key as it was found, and where it stands.
#[derive(Debug)]
struct Found {
    kept: Kept,
    sequence: u64,
}

impl KeyStore {
    /// Makes the stream if it is not there.
    ///
    /// # Errors
    /// [`LogError::Stream`] when it cannot be made.
    pub async fn open(context: &jetstream::Context, replicas: usize) -> Result<Self, LogError> {
        let wanted = stream::Config {
            name: STREAM.into(),
            description: Some("turnlog: data keys, wrapped; back it up apart from EVENTS".into()),
            subjects: vec![subjects::KEYS.into()],
            storage: stream::StorageType::File,
            num_replicas: replicas,
            ..stream::Config::default()
        };
        let context = context.clone();
        let made = context.create_or_update_stream(wanted).await;
        made.map_err(|error| LogError::Stream(format!("of keys: {error}")))?;
        let stream = context.get_stream(STREAM).await;
        let stream = stream.map_err(|error| LogError::Stream(format!("of keys: {error}")))?;
        Ok(Self { context, stream })
    }

    /// What is kept of an owner's key; `None` where there never was one.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`], [`KeyError::Unreadable`].
    pub async fn get(&self, owner: &str) -> Result<Option<Kept>, KeyError> {
        Ok(self.find(owner).await?.map(|found| found.kept))
    }

    /// The key of an owner, made if there is none; `None` where it was destroyed.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn get_or_make(&self, owner: &str, masters: &MasterKeys) -> Result<Option<KeyBytes>, KeyError> {
        loop {
            match self.get(owner).await? {
                Some(Kept::Destroyed { .. } | Kept::Closing { .. }) => return Ok(None),
                Some(Kept::Key(wrapped)) if wrapped.closed => return Ok(None),
                Some(Kept::Key(wrapped)) => return Ok(Some(masters.unwrap(owner, &wrapped)?)),
                None => {}
            }
            let key = KeyBytes::random()?;
            let kept = Kept::Key(masters.wrap(owner, &key)?);
            // Another instance may be faster: then its key is the one.
            if self.put(owner, &kept, 0).await? {
                return Ok(Some(key));
            }
        }
    }

    /// Wraps an owner's key by the current master key, if another one wraps it; answers whether it did.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn rewrap(&self, owner: &str, masters: &MasterKeys) -> Result<bool, KeyError> {
        let Some(Found { kept: Kept::Key(wrapped), sequence }) = self.find(owner).await? else {
            return Ok(false);
        };
        if wrapped.master == masters.current() {
            return Ok(false);
        }
        let again = masters.wrap(owner, &masters.unwrap(owner, &wrapped)?)?;
        let kept = Kept::Key(Wrapped { closed: wrapped.closed, ..again });
        let stored = self.put(owner, &kept, sequence).await?;
        if stored {
            self.overwrite(sequence).await?;
        }
        Ok(stored)
    }

    /// Whether another master key than the current one wraps an owner's key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn is_behind(&self, owner: &str, masters: &MasterKeys) -> Result<bool, KeyError> {
        let kept = self.get(owner).await?;
        Ok(matches!(kept, Some(Kept::Key(wrapped)) if wrapped.master != masters.current()))
    }

    /// Destroys an owner's key, and keeps that it was; its bytes on disk are overwritten. Done again, it finishes what was
    /// cut off.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] while the key may still be there.
    pub async fn destroy(&self, owner: &str, at: DateTime<Utc>) -> Result<(), KeyError> {
        self.destroy_with(owner, at, None).await
    }

    /// The same, and keeps with it what else has to go. The first plan stays.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`] while the key may still be there, [`KeyError::TooMuch`].
    pub async fn destroy_with(
        &self,
        owner: &str,
        at: DateTime<Utc>,
        plan: Option<Box<Plan>>,
    ) -> Result<(), KeyError> {
        let kept = Kept::Destroyed { destroyed_at: at, plan };
        loop {
            let found = self.find(owner).await?;
            let last = found.as_ref().map_or(0, |found| found.sequence);
            let gone = matches!(found, Some(Found { kept: Kept::Destroyed { .. }, .. }));
            if gone || self.put(owner, &kept, last).await? {
                break;
            }
        }
        self.overwrite_all(owner).await
    }

    /// Has nothing more be sealed for an owner; what was sealed still opens. Done again, it changes nothing.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn close(&self, owner: &str, at: DateTime<Utc>) -> Result<(), KeyError> {
        loop {
            let (kept, last) = match self.find(owner).await? {
                None => (Kept::Closing { closing_at: at }, 0),
                Some(Found { kept: Kept::Key(wrapped), sequence }) if !wrapped.closed => {
                    (Kept::Key(Wrapped { closed: true, ..wrapped }), sequence)
                }
                Some(_) => return Ok(()),
            };
            if self.put(owner, &kept, last).await? {
                return if last == 0 { Ok(()) } else { self.overwrite(last).await };
            }
        }
    }

    /// Every owner of whom something is kept.
    ///
    /// # Errors
    /// [`KeyError::Unavailable`].
    pub async fn owners(&self) -> Result<Vec<String>, KeyError> {
        let named = self.stream.info_with_subjects(subjects::KEYS).await.map_err(KeyError::unavailable)?;
        let named: Vec<_> = named.try_collect().await.map_err(KeyError::unavailable)?;
        Ok(named.into_iter().map(|(subject, _)| subjects::token_of(&subject).to_owned()).collect())
    }

    /// Overwrites everything of an owner but the newest.
    async fn overwrite_all(&self, owner: &str) -> Result<(), KeyError> {
        let subject = subjects::key_of(owner);
        let newest = self.find(owner).await?.map_or(0, |found| found.sequence);
        loop {
            let oldest = self.stream.get_first_raw_message_by_subject(&subject, 1).await;
            let oldest = oldest.map_err(KeyError::unavailable)?.sequence;
            if oldest >= newest {
                return Ok(());
            }
            self.overwrite(oldest).await?;
        }
    }

    async fn overwrite(&self, sequence: u64) -> Result<(), KeyError> {
        match self.stream.delete_message(sequence).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                DeleteMessageErrorKind::JetStream(why) if why.error_code().0 == NO_MESSAGE => Ok(()),
                DeleteMessageErrorKind::JetStream(_)
                | DeleteMessageErrorKind::Request
                | DeleteMessageErrorKind::TimedOut => Err(KeyError::unavailable(error)),
            },
        }
    }

    /// Asks the leader: a replica might not have yet what was just stored.
    async fn find(&self, owner: &str) -> Result<Option<Found>, KeyError> {
        let message = match self.stream.get_last_raw_message_by_subject(&subjects::key_of(owner)).await {
            Ok(message) => message,
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => return Ok(None),
                LastRawMessageErrorKind::InvalidSubject
                | LastRawMessageErrorKind::JetStream(_)
                | LastRawMessageErrorKind::Other => return Err(KeyError::unavailable(error)),
            },
        };
        let kept = serde_json::from_slice(&message.payload).map_err(|_| KeyError::Unreadable)?;
        Ok(Some(Found { kept, sequence: message.sequence }))
    }

    /// Stores it if `last` is still the newest; `false` where somebody was faster.
    async fn put(&self, owner: &str, kept: &Kept, last: u64) -> Result<bool, KeyError> {
        let body = serde_json::to_vec(kept).map_err(KeyError::unavailable)?;
        if body.len() > MOST_BYTES {
            return Err(KeyError::TooMuch);
        }
        let message = PublishMessage::build().payload(body.into()).expected_last_subject_sequence(last);
        let sent = self.context.send_publish(subjects::key_of(owner), message).await;
        match sent.map_err(KeyError::unavailable)?.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
            Err(error) => Err(KeyError::unavailable(error)),
        }
    }
}
