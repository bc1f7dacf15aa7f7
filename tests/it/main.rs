//! What users do, and what breaks.
#![allow(clippy::unwrap_used, reason = "tests fail loudly")]

mod access;
mod analytics;
mod as_of;
mod audit;
mod bad_input;
mod browser;
mod calls;
mod clients;
mod console;
mod continuity;
mod contracts;
mod conversation_webhook;
mod conversations;
mod documents;
mod edge;
mod erasure;
mod export_jobs;
mod exports;
mod faults;
mod feed_faults;
mod feeds;
mod health;
mod hostile;
mod house;
mod interpreters;
mod lists;
mod live;
mod media;
mod objects;
mod openapi;
mod proxies;
mod rebuild;
mod reconcile;
mod replay;
mod retries;
mod rls;
mod sealing;
mod search;
mod seeds;
mod session;
mod signed_urls;
mod standing;
mod sync;
mod tail;
mod talks;
mod tickets;
mod up;
mod vendor;
mod vendors;
mod versions;
mod webhooks;

use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use shared::auth::{Tokens, Who};
use shared::envelope::{Envelope, EventId, Origin};
use shared::events::Event;
use shared::log::Log;
use tests::{Client, System};

/// A message of S0's shape; `more` goes over it.
fn message(research_id: &str, content: &str, more: Value) -> Value {
    let mut body = json!({
        "research_id": research_id,
        "role": "user",
        "content": content,
        "timestamp": Utc::now().to_rfc3339(),
        "provider": "elevenlabs",
    });
    let Value::Object(more) = more else { panic!("not an object: {more}") };
    for (name, value) in more {
        body[name] = value;
    }
    body
}

/// A caller with a token that an operator made.
fn person(system: &System, who: &Who) -> Client {
    let token = Tokens::new(&system.parts.auth()).issue(who, Duration::from_secs(3600), Utc::now());
    system.client.with(&token.unwrap())
}

/// Writes to the log what a service would, past the rules of its edge; answers where it stands.
async fn publish(log: &Log, event: &Event) -> u64 {
    let (origin, now) = (Origin::default(), Utc::now());
    let sealed = Envelope::wrap(event.subject(), EventId::random(), event, &origin, now).unwrap();
    let subject = sealed.subject.as_str().to_owned();
    let reply = log.client().request_with_headers(subject, sealed.headers, sealed.body).await.unwrap();
    let ack: Value = serde_json::from_slice(&reply.payload).unwrap();
    ack["seq"].as_u64().unwrap_or_else(|| panic!("not stored: {ack}"))
}

/// The fields that name a conversation and a message.
fn ids(conversation: &str, message: &str) -> Value {
    json!({"elevenlabs_conversation_id": conversation, "elevenlabs_message_id": message})
}
