//! Who calls: bearer tokens (JWT), API keys of services, what browsers have instead, tokens that were revoked.

mod cookie;
mod derived;
mod identity;
mod page;
mod revocations;
mod tokens;

pub use cookie::{COOKIE, session_cookie, session_over};
pub use derived::{BadTicket, Ticket};
pub use identity::{
    AnyCaller, AsAdmin, AsParticipant, AsResearcher, AsService, Authenticator, Bearer, Identity, KeyId,
    KeyName, Proven,
};
pub use page::{OwnPage, Session};
pub use revocations::Revocations;
pub use tokens::{Grant, Tokens, Who};
