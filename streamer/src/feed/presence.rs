//! Who watches: every streamer says which admins watch a conversation through it, and shows them who watches in all.
//! Nothing of it is kept; what a streamer said that died is forgotten after a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::ids::{AdminId, ConversationId};
use shared::live::Watching;
use shared::subjects::Subject;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use crate::limits::{PRESENCE_FORGOTTEN, PRESENCE_QUEUE};

/// Who watches what, as far as this process knows. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    rooms: Arc<Mutex<HashMap<Box<str>, Room>>>,
    /// What this streamer is called by the others.
    me: Arc<str>,
    says: mpsc::Sender<Watching>,
}

/// A conversation that somebody watches through this streamer.
#[derive(Debug)]
struct Room {
    conversation: ConversationId,
    /// Their feeds here, counted.
    mine: HashMap<AdminId, usize>,
    /// What the other streamers said, and when.
    others: HashMap<String, (Vec<AdminId>, Instant)>,
    /// Who was shown last.
    shown: Vec<AdminId>,
}

/// An admin's feed. They leave when it is dropped, if it was their last one here.
#[derive(Debug)]
pub(crate) struct Present {
    presence: Presence,
    token: Box<str>,
    admin: AdminId,
}

impl Presence {
    /// Nobody yet; and what is to be told the other streamers.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Watching>) {
        let (says, told) = mpsc::channel(PRESENCE_QUEUE);
        (Self { rooms: Arc::default(), me: Uuid::new_v4().to_string().into(), says }, told)
    }

    /// An admin opens a feed.
    pub(crate) fn enter(&self, conversation: &ConversationId, admin: AdminId) -> Present {
        let token: Box<str> = Subject::conversation(conversation).token().into();
        let mut rooms = self.lock();
        let room = rooms.entry(token.clone()).or_insert_with(|| Room {
            conversation: conversation.clone(),
            mine: HashMap::new(),
            others: HashMap::new(),
            shown: Vec::new(),
        });
        *room.mine.entry(admin.clone()).or_default() += 1;
        self.say(room, true);
        Present { presence: self.clone(), token, admin }
    }

    /// What a streamer says, be it another or this one; who watches the conversation now, if those who watch it here are
    /// to be shown.
    pub(crate) fn learn(&self, token: &str, said: Watching, now: Instant) -> Option<Vec<AdminId>> {
        let mut rooms = self.lock();
        let room = rooms.get_mut(token)?;
        let mine = *said.streamer == *self.me;
        if !mine {
            if said.joined {
                // Whoever came there does not know of those who are here.
                self.say(room, false);
            }
            room.others.insert(said.streamer, (said.admins, now));
        }
        room.others.retain(|_, (admins, at)| !admins.is_empty() && now - *at < PRESENCE_FORGOTTEN);
        let all = room.all();
        let to_show = (mine && said.joined) || all != room.shown;
        room.shown.clone_from(&all);
        to_show.then_some(all)
    }

    /// What to say again of every room: streamers that came since do not know, and others forget. That we hear it, too,
    /// has us forget.
    pub(crate) fn repeat(&self) -> Vec<Watching> {
        self.lock().values().map(|room| self.word(room, false)).collect()
    }

    fn say(&self, room: &Room, joined: bool) {
        // What does not fit is said again before long.
        let _full = self.says.try_send(self.word(room, joined));
    }

    fn word(&self, room: &Room, joined: bool) -> Watching {
        Watching {
            conversation_id: room.conversation.clone(),
            streamer: self.me.to_string(),
            admins: room.mine.keys().cloned().collect(),
            joined,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Everybody, each once, in the order of their ids.
    fn all(&self) -> Vec<AdminId> {
        let others = self.others.values().flat_map(|(admins, _)| admins);
        let mut all: Vec<_> = others.chain(self.mine.keys()).cloned().collect();
        all.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        all.dedup();
        all
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut rooms = self.presence.lock();
        let Some(room) = rooms.get_mut(&self.token) else { return };
        if let Some(feeds) = room.mine.get_mut(&self.admin) {
            *feeds -= 1;
            if *feeds == 0 {
                room.mine.remove(&self.admin);
                self.presence.say(room, false);
            }
        }
        if room.mine.is_empty() {
            rooms.remove(&self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<T: TryFrom<String, Error: std::fmt::Debug>>(text: &str) -> T {
        text.to_owned().try_into().unwrap()
    }

    fn said(streamer: &str, admins: &[&str], joined: bool) -> Watching {
        let admins = admins.iter().map(|admin| id(admin)).collect();
        Watching { conversation_id: id("c"), streamer: streamer.into(), admins, joined }
    }

    fn some(admins: &[&str]) -> Option<Vec<AdminId>> {
        Some(admins.iter().map(|admin| id(admin)).collect())
    }

    /// A room that `a` watches here, and its token.
    fn room() -> (Presence, mpsc::Receiver<Watching>, Present, String) {
        let (presence, mut told) = Presence::new();
        let present = presence.enter(&id("c"), id("a"));
        let token = Subject::conversation(&id("c")).token().to_owned();
        let own = told.try_recv().unwrap();
        assert_eq!(presence.learn(&token, own, Instant::now()), some(&["a"]));
        (presence, told, present, token)
    }

    #[test]
    fn what_all_streamers_say_makes_who_watches_and_changes_alone_are_shown() {
        let (presence, mut told, present, token) = room();
        let learn =
            |streamer, admins: &[&str]| presence.learn(&token, said(streamer, admins, false), Instant::now());
        assert_eq!(learn("x", &["b"]), some(&["a", "b"]));
        assert_eq!(learn("x", &["b"]), None);
        assert_eq!(learn("y", &["a", "b", "c"]), some(&["a", "b", "c"]));
        assert_eq!(learn("x", &[]), None, "y still has them");
        assert_eq!(learn("y", &[]), some(&["a"]));
        let second = presence.enter(&id("c"), id("a"));
        let own = told.try_recv().unwrap();
        assert_eq!(presence.learn(&token, own, Instant::now()), some(&["a"]), "a new feed knows nothing");
        drop(second);
        assert!(told.try_recv().is_err(), "they are still here");
        drop(present);
        assert!(told.try_recv().unwrap().admins.is_empty());
        assert!(presence.lock().is_empty());
        assert_eq!(presence.learn(&token, said("x", &["b"], true), Instant::now()), None, "nobody is here");
    }

    #[test]
    fn a_streamer_that_is_not_heard_of_is_forgotten() {
        let (presence, _told, _present, token) = room();
        let now = Instant::now();
        assert_eq!(presence.learn(&token, said("x", &["b"], false), now), some(&["a", "b"]));
        let repeat = |at| presence.learn(&token, presence.repeat().remove(0), at);
        assert_eq!(repeat(now + PRESENCE_FORGOTTEN / 2), None);
        assert_eq!(repeat(now + PRESENCE_FORGOTTEN), some(&["a"]));
    }

    #[test]
    fn whoever_comes_elsewhere_is_told_who_is_here() {
        let (presence, mut told, _present, token) = room();
        presence.learn(&token, said("x", &["b"], true), Instant::now());
        assert_eq!(told.try_recv().unwrap(), said(&presence.me, &["a"], false));
    }
}
