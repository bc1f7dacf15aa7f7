//! The keys that a process has in use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use moka::future::Cache;

use super::{DataKey, Kept, KeyError, KeyStore, MasterKeys};
use crate::envelope::Entry;
use crate::log::{Log, LogError};
use crate::subjects;

/// Keys in memory: some hundred bytes each.
const MOST_KEYS: u64 = 100_000;
/// How long a key is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Keys that are asked for at once.
const PARALLEL: usize = 32;

/// Keys, as they were found: none where it was destroyed.
type Slot = Option<Found>;

#[derive(Debug, Clone)]
struct Found {
    key: Arc<DataKey>,
    /// It opens, and seals nothing any more.
    closed: bool,
}

/// Clones share it.
#[derive(Debug, Clone)]
pub struct Keyring(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: KeyStore,
    /// Absent where nothing is sealed; then nothing sealed can be read either.
    masters: Option<Arc<MasterKeys>>,
    cache: Cache<String, Slot>,
    /// Where nothing is sealed: who was erased all the same.
    erased: Cache<String, bool>,
}

/// How content is to be sealed.
#[derive(Debug, Clone)]
pub enum Sealing {
    /// Not at all: there is no master key.
    Off,
    /// With this key.
    With(Arc<DataKey>),
    /// Its owner was erased: nothing further is to be said of them.
    Destroyed,
}

impl Keyring {
    /// Over a store; `masters` as `SEALING_KEYS` has them.
    pub fn new(store: KeyStore, masters: Option<Arc<MasterKeys>>) -> Self {
        let cache = Cache::builder().max_capacity(MOST_KEYS).time_to_idle(IDLE).build();
        let erased = Cache::builder().max_capacity(MOST_KEYS).time_to_idle(IDLE).build();
        Self(Arc::new(Inner { store, masters, cache, erased }))
    }

    /// Where the keys lie.
    pub fn store(&self) -> &KeyStore {
        &self.0.store
    }

    /// How an owner's content is to be sealed; their key is made if there is none yet.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn to_seal(&self, owner: &str) -> Result<Sealing, Arc<KeyError>> {
        let Some(masters) = &self.0.masters else {
            let find = async {
                let kept = self.0.store.get(owner).await?;
                Ok::<_, KeyError>(matches!(kept, Some(Kept::Destroyed { .. } | Kept::Closing { .. })))
            };
            // On the heap: it is rare, and every write would carry it.
            let erased = Box::pin(self.0.erased.try_get_with_by_ref(owner, find)).await?;
            return Ok(if erased { Sealing::Destroyed } else { Sealing::Off });
        };
        let make = async {
            let key = self.0.store.get_or_make(owner, masters).await?;
            Ok::<_, KeyError>(key.map(|key| Found { key: Arc::new(key.key()), closed: false }))
        };
        let slot = self.0.cache.try_get_with_by_ref(owner, make).await?;
        let open = slot.filter(|found| !found.closed);
        Ok(open.map_or(Sealing::Destroyed, |found| Sealing::With(found.key)))
    }

    /// Opens entries that are sealed. One whose key was destroyed stays closed.
    ///
    /// # Errors
    /// [`KeyError`], of the first key that cannot be had; then nothing is opened.
    pub(crate) async fn open(&self, entries: &mut [Entry]) -> Result<(), Arc<KeyError>> {
        // A key is looked for once for all that it sealed, as that takes as long as opening some of it.
        let (mut owners, mut numbers) = (Vec::new(), HashMap::new());
        let number = |entry| {
            let owner = Entry::key_id(entry)?;
            Some(*numbers.entry(owner).or_insert_with(|| {
                owners.push(owner);
                owners.len() - 1
            }))
        };
        let sealed: Vec<Option<usize>> = entries.iter().map(number).collect();
        let (mut slots, mut missing) = (Vec::with_capacity(owners.len()), Vec::new());
        for (number, owner) in owners.into_iter().enumerate() {
            let slot = self.0.cache.get(owner).await;
            if slot.is_none() {
                missing.push((number, owner.to_owned()));
            }
            slots.push(slot.flatten());
        }
        let asked = missing.into_iter().map(|(number, owner)| {
            let keyring = self.clone();
            async move { keyring.to_open(&owner).await.map(|slot| (number, slot)) }
        });
        let mut found = stream::iter(asked).buffer_unordered(PARALLEL);
        while let Some((number, slot)) = found.try_next().await? {
            slots[number] = slot;
        }
        let mut scratch = Vec::new();
        for (entry, number) in entries.iter_mut().zip(sealed) {
            if let Some(number) = number {
                entry.open(slots[number].as_ref().map(|found| &*found.key), &mut scratch);
            }
        }
        Ok(())
    }

    async fn to_open(&self, owner: &str) -> Result<Slot, Arc<KeyError>> {
        let find = async {
            match self.0.store.get(owner).await?.ok_or(KeyError::Missing)? {
                Kept::Destroyed { .. } | Kept::Closing { .. } => Ok(None),
                Kept::Key(wrapped) => {
                    let masters = self.0.masters.as_ref().ok_or(KeyError::NoMasters)?;
                    let key = Arc::new(masters.unwrap(owner, &wrapped)?.key());
                    Ok(Some(Found { key, closed: wrapped.closed }))
                }
            }
        };
        self.0.cache.try_get_with_by_ref(owner, find).await
    }

    /// Asks the store again the next time.
    pub async fn forget(&self, owner: &str) {
        self.0.cache.invalidate(owner).await;
        self.0.erased.invalidate(owner).await;
    }

    /// Forgets keys that are destroyed or wrapped anew anywhere, for ever: an instance must not go on with one that it had.
    ///
    /// # Errors
    /// When the connection is closed for good.
    pub async fn follow(&self, log: &Log) -> Result<(), LogError> {
        let changes = log.client().subscribe(subjects::KEYS).await.map_err(LogError::unavailable)?;
        let mut changes = changes.fuse();
        let mut reconnects = log.reconnects();
        loop {
            tokio::select! {
                change = changes.next() => {
                    let change = change.ok_or_else(|| LogError::unavailable("keys are told of no more"))?;
                    self.forget(subjects::token_of(&change.subject)).await;
                }
                again = reconnects.changed() => {
                    again.map_err(LogError::unavailable)?;
                    // Something may have happened meanwhile.
                    self.0.cache.invalidate_all();
                    self.0.erased.invalidate_all();
                }
            }
        }
    }
}
