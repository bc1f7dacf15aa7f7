//! The person who reads a feed.

use std::hash::{DefaultHasher, Hash, Hasher};

use shared::auth::{Grant, Identity, Who};
use shared::events::Viewer;

/// The person, where it is one who may be seen to look: programs and researchers only look.
pub(crate) fn viewer(identity: &Identity) -> Option<Viewer> {
    match identity {
        Identity::Person(Grant { who, .. }) => match who {
            Who::Participant(id) => Some(Viewer::Participant(id.clone())),
            Who::Admin { id, .. } => Some(Viewer::Admin(id.clone())),
            Who::Researcher(_) => None,
        },
        Identity::Service => None,
    }
}

/// A person as a number, to tell their feeds from those of others within this process: there may be many feeds, and an
/// id is long.
pub(super) fn number(viewer: &Viewer) -> u64 {
    let mut hasher = DefaultHasher::new();
    viewer.hash(&mut hasher);
    hasher.finish()
}
