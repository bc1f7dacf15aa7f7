//! What it takes to record something that no request brought.

use shared::log::Log;
use shared::objects::Objects;

use crate::committer::Committer;
use crate::webhooks::WebhookSettings;
use crate::webhooks::elevenlabs::Reader;
use crate::webhooks::sources::Sources;
use crate::webhooks::spool::Spool;

/// The parts.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(super) log: Log,
    pub(super) committer: Committer,
    pub(super) objects: Objects,
    pub(super) reader: Reader,
    /// Its own: what webhooks wait for must not wait for this.
    pub(super) spool: Spool,
    pub(super) sources: Sources,
}

impl Desk {
    pub(crate) fn new(log: Log, committer: Committer, objects: Objects, settings: &WebhookSettings) -> Self {
        Self {
            reader: Reader::new(objects.clone()),
            spool: Spool::new(settings),
            sources: Sources::new(committer.clone()),
            log,
            committer,
            objects,
        }
    }
}
