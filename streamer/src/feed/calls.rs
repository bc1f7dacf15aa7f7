//! The feed of calls: it begins with those that are open and in its reader's sight, then says which came, changed, ended
//! or went.
//!
//! Who sees a call depends on facts of several subjects of the log, so what changed is read again from the tables, once
//! for everybody ([`marks`]). Each feed remembers what its client has, and says what is different now.

mod marks;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::{Bytes, BytesMut};
use shared::audit::What;
use shared::auth::{Grant, Identity, Who};
use shared::limits::READ_WAIT;
use shared::problem::Problem;
use tokio::time::Instant;

use super::frame::Frame;
use super::hub::Seat;
use super::join::Feeds;
use super::sse::{self, Wire};
use super::{Feed, Topic};
use crate::access::{CallScope, Denied, Directory, may_watch_calls};
use crate::limits::{INITIAL_CALLS, MAX_PAGE_SIZE};
use crate::list::Cursor;
use crate::looks::Trail;
use crate::status::Status;
use crate::tables::calls::{CallFilter, CallNow};

pub(crate) use marks::{Marks, follow};

/// What the names of lists' rooms begin with. The others are hashes, which have no dot.
const ROOMS: &str = "calls.";

/// Whether a room is one of a list.
pub(super) fn is_of_list(room: &str) -> bool {
    room.starts_with(ROOMS)
}

fn room_of_services() -> String {
    format!("{ROOMS}services")
}

fn room_of_company(company: &str) -> String {
    format!("{ROOMS}company.{company}")
}

fn room_of_admin(admin: &str) -> String {
    format!("{ROOMS}admin.{admin}")
}

/// Who wants to watch calls, and from where.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Who.
    pub(crate) identity: Identity,
    /// The tables must have come this far.
    pub(crate) after: u64,
    /// From where.
    pub(crate) trail: Trail,
}

/// A call that changed, as it stands now.
#[derive(Debug)]
pub(crate) struct Changed {
    now: CallNow,
    /// Where in the log it changed last, as far as this tells of it.
    at: u64,
    /// What the tables had of the log when it was read.
    position: u64,
    /// Later ones have greater numbers, within this process.
    number: u64,
    /// To those who see it.
    shown: Bytes,
    /// To those who do not any more.
    removed: Bytes,
}

impl Changed {
    fn new(now: CallNow, position: u64, at: u64, number: u64, wire: &Wire) -> Self {
        let id = now.view.call.conversation_id.as_str();
        let shown = if is_open(&now) { wire.listed(position, &now.view) } else { wire.ended(position, id) };
        let removed = wire.removed(position, id);
        Self { now, at, position, number, shown, removed }
    }

    /// Bytes that it takes while it waits.
    pub(super) fn size(&self) -> usize {
        self.shown.len() + self.removed.len()
    }

    /// The rooms of those who see it.
    fn rooms(&self) -> impl Iterator<Item = String> {
        let company = self.now.facts.company.as_deref().map(room_of_company);
        let holder = self.now.facts.holder.as_deref().map(room_of_admin);
        [Some(room_of_services()), company, holder].into_iter().flatten()
    }
}

/// What a reader of calls sees, and what their client has of it.
pub(crate) struct Watching {
    identity: Identity,
    scope: CallScope,
    directory: Directory,
    /// The conversations that the client has, as hashes of their tokens, and how far in the log what it has of each
    /// reaches: what was read may be newer than the change that it was read for.
    has: HashMap<u64, u64>,
    /// What it began with has everything up to here in the log.
    up_to: u64,
    /// The last change that was taken in: one may come through two rooms.
    taken: u64,
    /// An admin sits in their company's room, and in their own for what they hold of other companies.
    _beside: Option<Seat>,
}

/// What a reader is told of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// How it stands.
    Conversation,
    /// That it ended.
    Ended,
    /// That it is out of sight.
    Removed,
}

fn is_open(call: &CallNow) -> bool {
    call.view.call.status == Status::Active.stored()
}

/// What a reader is told of a call that stands so now, whose client has it or not.
fn told(has: bool, now: &CallNow, scope: &CallScope) -> Option<Told> {
    match (scope.sees(&now.facts), is_open(now)) {
        (true, true) => Some(Told::Conversation),
        // Also where the client should not have it: it may have got it from a page of the list.
        (true, false) => Some(Told::Ended),
        // Not even its id to those who never saw it.
        (false, _) => has.then_some(Told::Removed),
    }
}

impl Watching {
    /// Takes in what a frame says of who may read; why the feed ends, if it does.
    pub(super) fn learn(&mut self, frame: &Frame) -> Result<(), Denied> {
        let Some(change) = frame.access(self.up_to) else { return Ok(()) };
        self.directory.learn(&self.identity, change);
        may_watch_calls(&self.identity, &self.directory)
    }

    /// What the client is sent of a change.
    pub(super) fn take(&mut self, changed: &Changed) -> Option<Bytes> {
        if changed.at <= self.up_to || changed.number <= self.taken {
            return None;
        }
        self.taken = changed.number;
        let key = key(&changed.now.token);
        let known = self.has.get(&key).copied();
        if known.is_some_and(|position| changed.at <= position) {
            return None;
        }
        match told(known.is_some(), &changed.now, &self.scope)? {
            Told::Conversation => {
                self.has.insert(key, changed.position);
                Some(changed.shown.clone())
            }
            Told::Ended => {
                self.has.remove(&key);
                Some(changed.shown.clone())
            }
            Told::Removed => {
                self.has.remove(&key);
                Some(changed.removed.clone())
            }
        }
    }
}

/// A token is long, and a feed may have many.
fn key(token: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    token.hash(&mut hasher);
    hasher.finish()
}

impl Feeds {
    /// Opens a feed of calls, as [`Self::join`] opens one of a conversation: whatever changes after the tables were read
    /// finds the seat taken.
    ///
    /// # Errors
    /// 403, 429 when the caller has as many as it may, and 503 when the tables cannot be asked or are too far behind.
    pub(crate) async fn join_calls(&self, wish: Wish) -> Result<Feed, Problem> {
        let started = Instant::now();
        let Wish { identity, after, trail } = wish;
        may_watch_calls(&identity, &Directory::Unknown)?;
        let (room, own) = match &identity {
            Identity::Person(Grant { who: Who::Admin { id, company }, .. }) => {
                (room_of_company(company.as_str()), Some(room_of_admin(id.as_str())))
            }
            Identity::Person(_) | Identity::Service => (room_of_services(), None),
        };
        let (seat, open) = self.sit(&room, &identity, &trail)?;
        let beside = own.map(|room| seat.beside(&room));
        let at_least = self.hub.position().max(after);
        let mut listing = self.tables.calls_at(&identity, at_least, started + READ_WAIT).await?;
        let filter = CallFilter { status: Some(Status::Active), ..CallFilter::default() };
        let (rows, next) = listing.first(&filter, u64::MAX, INITIAL_CALLS).await?;
        let (scope, directory) = (listing.scope.clone(), listing.directory.clone());
        let up_to = listing.position();
        drop(listing);
        let cursor =
            next.map(|before| self.cursors.seal(&identity, &Cursor::new(&filter, MAX_PAGE_SIZE, 1, before)));
        let has = rows.iter().map(|row| (key(&row.token), up_to)).collect();
        let views: Vec<_> = rows.into_iter().map(|row| row.view).collect();
        let mut bytes = BytesMut::from(&sse::preamble()[..]);
        bytes.extend_from_slice(&self.wire.initial_calls(up_to, &views, cursor.as_deref()));
        let look = trail.look(&identity, What::FeedOpened);
        let look = look.map(|look| look.with("list", "calls").with("count", views.len()));
        let watched = self.looks.opened(look, None, None, up_to).await?;
        metrics::histogram!("turnlog_feed_join_seconds").record(started.elapsed().as_secs_f64());
        let watching = Watching { identity, scope, directory, has, up_to, taken: 0, _beside: beside };
        Ok(Feed {
            topic: Topic::Calls(Box::new(watching)),
            seat,
            wire: self.wire.clone(),
            opening: Some(bytes.freeze()),
            _present: None,
            over: false,
            peer_timeout: self.peer_timeout(),
            open,
            watched,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use chrono::{DateTime, Utc};
    use shared::ids::Timestamp;

    use super::*;
    use crate::access::CallFacts;
    use crate::view::{CallView, ListedView};

    pub(crate) fn call(token: &str, holder: Option<&str>, company: Option<&str>, status: &str) -> CallNow {
        let call = CallView {
            conversation_id: format!("conv_{token}"),
            call_id: "call".into(),
            worker_id: "w".into(),
            mobile_no: "+91".into(),
            urgency: "HIGH".into(),
            status: status.into(),
            medium: "Voice".into(),
            timestamp: Timestamp::from_parts(DateTime::UNIX_EPOCH, 0),
            admin_id: holder.map(str::to_owned),
        };
        let facts = CallFacts {
            worker: "w".into(),
            holder: holder.map(str::to_owned),
            company: company.map(str::to_owned),
        };
        CallNow {
            token: token.into(),
            first_sequence: 1,
            view: ListedView { call, total_messages: 0 },
            facts,
        }
    }

    fn admin() -> Identity {
        let who = Who::Admin {
            id: "a".to_owned().try_into().unwrap(),
            company: "c".to_owned().try_into().unwrap(),
        };
        Identity::Person(Grant { who, token_id: "t".into(), expires_at: Utc::now() })
    }

    fn watching() -> Watching {
        Watching {
            scope: crate::access::call_scope(&admin()).unwrap(),
            identity: admin(),
            directory: Directory::Unknown,
            has: HashMap::new(),
            up_to: 10,
            taken: 0,
            _beside: None,
        }
    }

    /// The event of what is sent.
    fn sent(watching: &mut Watching, now: CallNow, at: u64, number: u64) -> Option<String> {
        let bytes = watching.take(&Changed::new(now, at, at, number, &Wire::new("e")))?;
        let text = std::str::from_utf8(&bytes).unwrap();
        Some(text.lines().next().unwrap()["event: ".len()..].to_owned())
    }

    #[test]
    fn a_reader_is_told_what_changed_for_them() {
        let open = |holder, company| call("t", holder, company, "ACTIVE");
        let steps = [
            (open(Some("b"), Some("c")), None),
            (open(None, Some("x")), None),
            (open(None, Some("c")), Some("conversation")),
            (open(Some("a"), Some("c")), Some("conversation")),
            (open(Some("a"), Some("x")), Some("conversation")),
            (open(None, Some("x")), Some("removed")),
            (open(None, Some("x")), None),
            (open(None, Some("c")), Some("conversation")),
            (open(Some("b"), Some("c")), Some("removed")),
            (call("t", Some("b"), Some("c"), "ENDED"), None),
            (call("t", Some("a"), None, "ENDED"), Some("ended")),
        ];
        let mut watching = watching();
        for ((now, wanted), number) in steps.into_iter().zip(1..) {
            let event = sent(&mut watching, now.clone(), 10 + number, number);
            assert_eq!(event.as_deref(), wanted, "{number}: {now:?}");
        }
        assert!(watching.has.is_empty());
    }

    #[test]
    fn what_it_began_with_and_what_came_through_another_room_is_not_told_again() {
        let mut watching = watching();
        let now = || call("t", None, Some("c"), "ACTIVE");
        assert_eq!(sent(&mut watching, now(), 10, 1), None);
        assert!(sent(&mut watching, now(), 11, 2).is_some());
        assert_eq!(sent(&mut watching, now(), 11, 2), None);
        assert_eq!(sent(&mut watching, now(), 11, 3), None);
        assert!(sent(&mut watching, now(), 12, 4).is_some());
    }

    #[test]
    fn what_was_read_with_a_later_change_in_it_is_told_once() {
        let mut watching = watching();
        let mut take = |position, at, number| {
            let now = call("t", None, Some("c"), "ACTIVE");
            watching.take(&Changed::new(now, position, at, number, &Wire::new("e"))).is_some()
        };
        assert!(take(13, 12, 1));
        assert!(!take(13, 13, 2));
        assert!(take(14, 14, 3));
    }

    #[test]
    fn a_change_goes_to_the_rooms_of_all_who_see_it() {
        let rooms = |holder, company| {
            let changed = Changed::new(call("t", holder, company, "ACTIVE"), 1, 1, 1, &Wire::new("e"));
            changed.rooms().collect::<Vec<_>>()
        };
        assert_eq!(rooms(Some("a"), Some("c")), ["calls.services", "calls.company.c", "calls.admin.a"]);
        assert_eq!(rooms(None, None), ["calls.services"]);
    }
}
