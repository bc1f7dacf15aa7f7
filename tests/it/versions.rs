//! Every version of every event that was ever written, and those that this version does not know yet.

mod corpus;
mod unknown;
mod upgrade;

use std::path::Path;

use async_nats::HeaderMap;
use serde_json::Value;
use shared::log::Log;

/// Writes what anybody may have written; answers where it stands.
async fn write(log: &Log, subject: &str, headers: HeaderMap, body: Vec<u8>) -> u64 {
    let reply = log.client().request_with_headers(subject.to_owned(), headers, body.into()).await.unwrap();
    let ack: Value = serde_json::from_slice(&reply.payload).unwrap();
    ack["seq"].as_u64().unwrap_or_else(|| panic!("not stored: {ack}"))
}

/// The rows of a table of a data set in JSON Lines.
fn exported(folder: &Path, table: &str) -> Vec<Value> {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of_table =
        |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{table}-"));
    let text = std::fs::read_to_string(files.find(|path| of_table(path)).unwrap()).unwrap();
    text.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect()
}
