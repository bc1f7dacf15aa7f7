//! Who calls: bearer tokens (JWT), API keys of services, tokens that were revoked.

mod identity;
mod revocations;
mod tokens;

pub use identity::{AnyCaller, AsAdmin, AsParticipant, AsService, Authenticator, Bearer, Identity, KeyId};
pub use revocations::Revocations;
pub use tokens::{Grant, Tokens, Who};
