//! Frames of changes: encoded once and shared by every feed that needs all of it.
//!
//! A frame may hold a burst. A feed that has seen a part of it already, from the tables, gets the rest
//! encoded anew.

use std::sync::Arc;

use bytes::Bytes;

use super::sse::Wire;
use crate::access::AccessChange;
use crate::limits::{FRAME_BYTES, FRAME_MESSAGES};
use crate::view::{CallView, MessageView, SeenView, StandingView};

/// One event of a conversation, as feeds show it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// A message that was not there before.
    Recorded(MessageView),
    /// A message that was there, with its newest content.
    Corrected(MessageView),
    /// The call changed: what is known of it, or who holds it.
    Call(u64, Box<CallView>),
    /// A session was opened, so it goes on.
    Opened(u64, StandingView),
    /// Somebody has seen it.
    Seen(u64, SeenView),
    /// It ended; nothing comes after it.
    Ended(u64),
    /// The directory changed: nothing is shown of it, but somebody may lose sight.
    Directory(u64, AccessChange),
}

impl Change {
    /// Log position of the event.
    pub(crate) fn position(&self) -> u64 {
        match self {
            Self::Recorded(message) => message.sequence,
            Self::Corrected(message) => message.version,
            Self::Call(position, _)
            | Self::Opened(position, _)
            | Self::Seen(position, _)
            | Self::Ended(position)
            | Self::Directory(position, _) => *position,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    New(Vec<MessageView>),
    Corrected(MessageView),
    Call(Box<CallView>),
    Opened(StandingView),
    Seen(SeenView),
    Ended,
    /// Nothing on the wire.
    Silent,
}

/// What one frame will say, not yet encoded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    content: Content,
    access: Option<Box<AccessChange>>,
    last: u64,
}

/// What a feed has of its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Everything up to this log position.
    pub(crate) up_to: u64,
    /// Messages in the conversation by then.
    pub(crate) total: u64,
}

/// A frame, encoded for those who have seen nothing of it.
#[derive(Debug)]
pub(crate) struct Frame {
    conversation_id: Arc<str>,
    draft: Draft,
    total: u64,
    encoded: Bytes,
}

/// Puts changes, in the order of the log, into as few frames as that order and the limits allow.
pub(crate) fn drafts(changes: Vec<Change>) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut bytes = 0;
    for change in changes {
        let last = change.position();
        let mut alone = |content, access: Option<AccessChange>| {
            drafts.push(Draft { content, access: access.map(Box::new), last });
        };
        match change {
            Change::Corrected(message) => alone(Content::Corrected(message), None),
            Change::Call(_, call) => {
                let holder = AccessChange::Holder(call.admin_id.clone());
                alone(Content::Call(call), Some(holder));
            }
            Change::Opened(_, standing) => alone(Content::Opened(standing), None),
            Change::Seen(_, seen) => alone(Content::Seen(seen), None),
            Change::Ended(_) => alone(Content::Ended, None),
            Change::Directory(_, access) => alone(Content::Silent, Some(access)),
            Change::Recorded(message) => {
                let size = message.content.len();
                match drafts.last_mut() {
                    Some(Draft { content: Content::New(messages), last: end, .. })
                        if messages.len() < FRAME_MESSAGES && bytes + size <= FRAME_BYTES =>
                    {
                        messages.push(message);
                        *end = last;
                        bytes += size;
                    }
                    _ => {
                        drafts.push(Draft { content: Content::New(vec![message]), access: None, last });
                        bytes = size;
                    }
                }
            }
        }
    }
    drafts
}

impl Draft {
    /// Lets the frame's id say that everything up to `position` is in it.
    pub(crate) fn reaches(&mut self, position: u64) {
        self.last = self.last.max(position);
    }

    /// Encodes it. `before` is how many messages the conversation had before it.
    pub(crate) fn encode(self, wire: &Wire, conversation_id: &Arc<str>, before: u64) -> Frame {
        let total = self.total(before);
        let encoded = self.bytes(wire, conversation_id, total);
        Frame { conversation_id: Arc::clone(conversation_id), draft: self, total, encoded }
    }

    /// How many messages the conversation has with it: a correction does not say so itself.
    fn total(&self, before: u64) -> u64 {
        match &self.content {
            Content::New(messages) => messages.last().map_or(before, |message| message.ordinal),
            Content::Corrected(message) => message.ordinal.max(before),
            Content::Call(_) | Content::Opened(_) | Content::Seen(_) | Content::Ended | Content::Silent => {
                before
            }
        }
    }

    fn bytes(&self, wire: &Wire, conversation_id: &str, total: u64) -> Bytes {
        match &self.content {
            Content::New(messages) => wire.new_messages(self.last, conversation_id, messages, total),
            Content::Corrected(message) => wire.corrected(self.last, conversation_id, message, total),
            Content::Call(call) => wire.conversation(self.last, call),
            Content::Opened(standing) => wire.conversation(self.last, standing),
            Content::Seen(seen) => wire.seen(self.last, conversation_id, seen),
            Content::Ended => wire.ended(self.last, conversation_id),
            Content::Silent => Bytes::new(),
        }
    }

    /// The part that lies after `position`.
    fn after(&self, position: u64) -> Self {
        let content = match &self.content {
            Content::New(messages) => {
                Content::New(messages.iter().filter(|message| message.sequence > position).cloned().collect())
            }
            whole @ (Content::Corrected(_)
            | Content::Call(_)
            | Content::Opened(_)
            | Content::Seen(_)
            | Content::Ended
            | Content::Silent) => whole.clone(),
        };
        Self { content, access: self.access.clone(), last: self.last }
    }

    fn first(&self) -> u64 {
        match &self.content {
            Content::New(messages) => messages.first().map_or(self.last, |message| message.sequence),
            Content::Corrected(message) => message.version,
            Content::Call(_) | Content::Opened(_) | Content::Seen(_) | Content::Ended | Content::Silent => {
                self.last
            }
        }
    }

    /// Whether nobody's count of messages shows in it.
    fn is_of_messages(&self) -> bool {
        matches!(self.content, Content::New(_) | Content::Corrected(_))
    }
}

impl Frame {
    /// What it says of who may read, to a feed that has seen everything up to a position.
    pub(crate) fn access(&self, seen_to: u64) -> Option<&AccessChange> {
        self.draft.access.as_deref().filter(|_| self.draft.last > seen_to)
    }

    /// Whether its feed ends with it.
    pub(crate) fn is_end(&self) -> bool {
        self.draft.content == Content::Ended
    }

    /// How many messages the conversation has with it, as far as its room knew when it was encoded.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Everything up to here is in it.
    pub(crate) fn last(&self) -> u64 {
        self.draft.last
    }

    /// Its bytes on the wire.
    pub(crate) fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// What a feed that has `seen` so much gets of it, if anything; `seen` moves on.
    pub(crate) fn beyond(&self, seen: &mut Seen, wire: &Wire) -> Option<Bytes> {
        let total = self.draft.total(seen.total);
        if self.draft.last <= seen.up_to {
            seen.total = seen.total.max(total);
            return None;
        }
        if self.draft.content == Content::Silent {
            return None;
        }
        let counts = total == self.total || !self.draft.is_of_messages();
        let whole = self.draft.first() > seen.up_to && counts;
        let bytes = if whole {
            self.encoded.clone()
        } else {
            self.draft.after(seen.up_to).bytes(wire, &self.conversation_id, total)
        };
        *seen = Seen { up_to: self.draft.last, total };
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::message;

    fn recorded(sequence: u64, ordinal: u64) -> Change {
        Change::Recorded(message(sequence, sequence, ordinal))
    }

    fn corrected(first: u64, version: u64, ordinal: u64) -> Change {
        Change::Corrected(message(first, version, ordinal))
    }

    fn frames(changes: Vec<Change>, before: u64) -> Vec<Frame> {
        let encode = |draft: Draft| draft.encode(&Wire::new("e"), &"conv_1".into(), before);
        drafts(changes).into_iter().map(encode).collect()
    }

    /// Event, id, sequences and total of a frame's bytes.
    fn said(bytes: &Bytes) -> (String, String, Vec<u64>, u64) {
        let text = std::str::from_utf8(bytes).unwrap();
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
                .unwrap()
        };
        let data: serde_json::Value = serde_json::from_str(&field("data")).unwrap();
        let sequences = match data["messages"].as_array() {
            Some(messages) => messages.iter().map(|m| m["sequence"].as_u64().unwrap()).collect(),
            None => vec![data["message"]["sequence"].as_u64().unwrap()],
        };
        (field("event"), field("id"), sequences, data["total_messages"].as_u64().unwrap())
    }

    #[test]
    fn a_burst_shares_a_frame_and_a_correction_has_its_own() {
        let frames = frames(vec![recorded(5, 1), recorded(8, 2), corrected(5, 9, 1), recorded(11, 3)], 0);
        let said: Vec<_> = frames.iter().map(|frame| said(frame.encoded())).collect();
        let new = |id: &str, sequences: &[u64], total| {
            ("new_messages".into(), id.into(), sequences.to_vec(), total)
        };
        assert_eq!(said[0], new("e-8", &[5, 8], 2));
        assert_eq!(said[1].0, "message_corrected");
        assert_eq!((said[1].1.as_str(), said[1].2.as_slice()), ("e-9", [5].as_slice()));
        assert_eq!(said[2], new("e-11", &[11], 3));
    }

    #[test]
    fn a_burst_past_the_limits_is_several_frames() {
        let many: Vec<_> = (1..=u64::try_from(FRAME_MESSAGES).unwrap() + 1).map(|n| recorded(n, n)).collect();
        assert_eq!(drafts(many).len(), 2);
        let mut large = message(1, 1, 1);
        large.content = "x".repeat(FRAME_BYTES);
        let changes = vec![Change::Recorded(large.clone()), recorded(2, 2), Change::Recorded(large)];
        assert_eq!(drafts(changes).len(), 3);
    }

    #[test]
    fn a_feed_that_saw_none_shares_the_bytes_and_one_that_saw_all_gets_nothing() {
        let frame = frames(vec![recorded(5, 1), recorded(8, 2)], 0).remove(0);
        let mut seen = Seen { up_to: 4, total: 0 };
        let bytes = frame.beyond(&mut seen, &Wire::new("e")).unwrap();
        assert_eq!(bytes.as_ptr(), frame.encoded().as_ptr());
        assert_eq!(seen, Seen { up_to: 8, total: 2 });
        assert_eq!(frame.beyond(&mut seen, &Wire::new("e")), None);
    }

    #[test]
    fn a_frame_that_straddles_what_a_feed_saw_is_split() {
        let frame = frames(vec![recorded(5, 1), recorded(8, 2), recorded(9, 3)], 0).remove(0);
        for (up_to, left) in [(5, vec![8, 9]), (6, vec![8, 9]), (8, vec![9])] {
            let mut seen = Seen { up_to, total: 1 };
            let bytes = frame.beyond(&mut seen, &Wire::new("e")).unwrap();
            assert_eq!(said(&bytes), ("new_messages".into(), "e-9".into(), left, 3));
            assert_eq!(seen, Seen { up_to: 9, total: 3 });
        }
    }

    #[test]
    fn a_correction_says_the_total_that_its_feed_has_seen_whatever_the_room_knew() {
        for known in [0, 7, 9] {
            let frame = frames(vec![corrected(5, 20, 1)], known).remove(0);
            let mut seen = Seen { up_to: 19, total: 7 };
            let bytes = frame.beyond(&mut seen, &Wire::new("e")).unwrap();
            assert_eq!(said(&bytes), ("message_corrected".into(), "e-20".into(), vec![5], 7));
            assert_eq!(bytes.as_ptr() == frame.encoded().as_ptr(), known == 7);
        }
    }

    #[test]
    fn a_frame_that_a_feed_saw_elsewhere_still_tells_it_the_total() {
        let frame = frames(vec![recorded(5, 8)], 0).remove(0);
        let mut seen = Seen { up_to: 9, total: 7 };
        assert_eq!(frame.beyond(&mut seen, &Wire::new("e")), None);
        assert_eq!(seen, Seen { up_to: 9, total: 8 });
    }
}
