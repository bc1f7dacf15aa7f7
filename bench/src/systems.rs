//! The systems that are measured, started as they are shipped, each with data of its own.

pub mod elevenlabs;
pub mod fastapi;
pub mod nats;
pub mod nchan;
pub mod postgres;
pub mod turnlog;
pub mod watched;
