#![doc = include_str!("../README.md")]

pub mod auth;
pub mod config;
pub mod envelope;
pub mod events;
pub mod health;
pub mod http;
pub mod ids;
pub mod limiter;
pub mod limits;
pub mod live;
pub mod log;
pub mod objects;
pub mod problem;
pub mod report;
pub mod subjects;
pub mod telemetry;
