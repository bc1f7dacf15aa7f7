//! What is shown live and never kept: it goes between services over the broker's own publish and subscribe, outside of
//! every stream, so a loss is a loss and nothing else.

use serde::{Deserialize, Serialize};

use crate::events::Viewer;
use crate::ids::{AdminId, ConversationId};

/// Somebody types, or stops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Typing {
    /// Where.
    pub conversation_id: ConversationId,
    /// Who.
    pub by: Viewer,
    /// Or stops.
    pub is_typing: bool,
}

/// The admins who watch a conversation through one streamer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watching {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which streamer says so; what it said before no longer counts.
    pub streamer: String,
    /// Who, each once.
    pub admins: Vec<AdminId>,
}
