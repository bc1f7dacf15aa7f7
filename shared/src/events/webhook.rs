//! Facts about webhooks that became no conversation's fact.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::report::{Payload, Source};

/// Data of `turnlog.webhook.received.v1`: rightly signed, and not understood. It is parked; a later version that
/// understands it reads it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unread {
    /// Where it came in.
    pub source: Source,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Why it was not understood; nothing of its content.
    pub reason: String,
    /// SHA-256 of the body, hexadecimal: its name, so that the same body again is a repeat.
    pub sha256: String,
    /// Size of the body.
    pub bytes: u64,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// The body.
    pub payload: Payload,
}

/// Data of `turnlog.webhook.refused.v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Where it came in.
    pub source: Source,
    /// Why it was turned away: a fixed word such as `bad_signature`.
    pub reason: String,
    /// Size of what was read of the body.
    pub bytes: u64,
    /// SHA-256 of what was read of the body, hexadecimal.
    pub sha256: String,
    /// The address that it came from.
    pub address: String,
}

impl Refusal {
    /// The reason of what came without a signature.
    pub const MISSING: &'static str = "missing";

    /// Whether its sender may count it as a failed delivery. ElevenLabs signs all it sends, so what came without a
    /// signature is a stranger's: it says nothing of how ElevenLabs fares, and must not look as if it did.
    pub fn is_failed_delivery(&self) -> bool {
        self.reason != Self::MISSING
    }
}
