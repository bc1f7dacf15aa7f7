//! Webhooks: who signed them, where their bodies wait, what they say, and what becomes of those that say nothing.

pub mod audio;
pub(crate) mod conversation;
pub(crate) mod elevenlabs;
pub mod outline;
mod settings;
pub mod signature;
pub(crate) mod sources;
pub mod spool;
pub(crate) mod standard;

pub use settings::WebhookSettings;
