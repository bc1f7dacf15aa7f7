//! Facts about calls, who holds them, who has seen what, and the directory of those who work them.

use serde::{Deserialize, Serialize};

use crate::ids::{AdminId, CallId, CompanyId, ConversationId, ParticipantId, Timestamp, WorkerId};

/// Data of `turnlog.call.opened.v1` and `turnlog.call.changed.v1`: a call as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The conversation that it carries.
    pub conversation_id: ConversationId,
    /// Its own id.
    pub call_id: CallId,
    /// Who called.
    pub worker_id: WorkerId,
    /// From which number.
    pub mobile_no: String,
    /// How urgent it is, in the caller's system's words: `CRITICAL`.
    pub urgency: String,
    /// How it is held: `Voice`.
    pub medium: String,
    /// When it began.
    #[serde(rename = "timestamp")]
    pub opened_at: Timestamp,
    /// The admin who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_id: Option<AdminId>,
}

/// Data of `turnlog.call.taken_over.v1` and `turnlog.call.released.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    /// The call as it stands after it.
    #[serde(flatten)]
    pub call: Call,
    /// The admin who took it, or gave it back.
    pub by: AdminId,
}

/// Data of `turnlog.conversation.ended.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// Which one.
    pub conversation_id: ConversationId,
    /// Its call, where it carries one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// When.
    pub ended_at: Timestamp,
    /// The admin who ended it; absent where a service did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<AdminId>,
}

/// Data of `turnlog.conversation.seen.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// Which one.
    pub conversation_id: ConversationId,
    /// Who has seen it.
    pub by: Viewer,
    /// Up to which sequence of the log.
    pub sequence: u64,
}

/// A person who looks at a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "role", content = "id", rename_all = "lowercase")]
pub enum Viewer {
    /// Who watches it.
    Admin(AdminId),
    /// Whose it is.
    Participant(ParticipantId),
}

impl Viewer {
    /// `admin` or `participant`.
    pub fn role(&self) -> &'static str {
        match self {
            Self::Admin(_) => "admin",
            Self::Participant(_) => "participant",
        }
    }

    /// The person's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Admin(id) => id.as_str(),
            Self::Participant(id) => id.as_str(),
        }
    }
}

/// Data of `turnlog.worker.registered.v1`: a worker as they stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Who.
    pub worker_id: WorkerId,
    /// Whose admins watch their calls.
    pub company_id: CompanyId,
    /// The number that they call from.
    pub mobile_no: String,
    /// What they are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Data of `turnlog.worker.removed.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerRemoval {
    /// Who.
    pub worker_id: WorkerId,
}

/// Data of `turnlog.admin.registered.v1`: an admin as they stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Admin {
    /// Who.
    pub admin_id: AdminId,
    /// Whose calls they watch.
    pub company_id: CompanyId,
    /// What they are called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Data of `turnlog.admin.removed.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdminRemoval {
    /// Who.
    pub admin_id: AdminId,
}
