//! Data sets over HTTP: asked for, watched, downloaded; and what becomes of jobs that are killed, cancelled, or too many.

mod held;
mod joined;

use std::time::Duration;

use exporter::JobsSettings;
use reqwest::{Method, header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::audit::What;
use shared::auth::{Tokens, Who};
use tempfile::TempDir;
use tests::{Client, Feed, Parts, Reply, System, eventually, python, run_python};

use crate::audit::records;
use crate::exports::filled::filled;
use crate::exports::{TABLES, export, files};
use crate::person;

const EXPORTS: &str = "/api/v1/exports";

fn researcher(system: &System, id: &str) -> Client {
    person(system, &Who::Researcher(id.into()))
}

fn path(job: &Value, more: &str) -> String {
    format!("{EXPORTS}/{}{more}", job["id"].as_str().unwrap())
}

async fn ask(caller: &Client, body: &Value) -> Value {
    let reply = caller.post(EXPORTS, body).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(reply.headers["location"], path(&reply.body, "").as_str());
    reply.body
}

/// Waits until a job is in this state.
async fn until(caller: &Client, job: &Value, state: &str) -> Value {
    eventually(&format!("the job is {state}"), || async {
        let reply = caller.get(&path(job, "")).await;
        (reply.body["state"] == state).then_some(reply.body)
    })
    .await
}

async fn remove(caller: &Client, job: &Value) -> Reply {
    caller.send(caller.request(Method::DELETE, &path(job, ""))).await
}

async fn watch(caller: &Client, job: &Value) -> Feed {
    Feed::of(caller.request(Method::GET, &path(job, "/stream"))).await
}

/// Bytes that must come with this status.
async fn download(caller: &Client, path: &str, headers: &[(&str, &str)], status: u16) -> Vec<u8> {
    let request = headers
        .iter()
        .fold(caller.request(Method::GET, path), |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), status);
    response.bytes().await.unwrap().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[tokio::test]
async fn a_data_set_comes_over_http_and_other_peoples_tools_read_it() {
    let (system, last) = filled(Parts::fresh().await).await;
    let caller = researcher(&system, "r1");
    let folder = TempDir::new().unwrap();
    for format in ["parquet", "jsonl"] {
        let job = ask(&caller, &json!({"format": format, "as_of": last, "licence": "CC-BY-4.0"})).await;
        let mut feed = watch(&caller, &job).await;
        let mut frame = feed.next().await.unwrap();
        while frame.event == "progress" {
            assert!(frame.id.is_some() && frame.data["archive"].is_null(), "{frame:?}");
            frame = feed.next().await.unwrap();
        }
        assert_eq!(frame.event, "done", "{frame:?}");
        assert!(feed.next().await.is_none(), "the feed goes on");
        let done = caller.get(&path(&job, "")).await.body;
        assert_eq!(frame.data, done);
        assert_eq!((&done["progress"]["total"], &done["progress"]["read"]), (&json!(last), &json!(last)));

        let archive = download(&caller, done["archive"]["path"].as_str().unwrap(), &[], 200).await;
        assert_eq!(done["archive"]["bytes"], archive.len());
        assert_eq!(done["archive"]["sha256"], sha256(&archive));
        let (zip, out) = (folder.path().join("a.zip"), folder.path().join(format));
        std::fs::write(&zip, &archive).unwrap();
        let mut unpack = tokio::process::Command::new(python());
        assert!(unpack.args(["-m", "zipfile", "-e"]).arg(&zip).arg(&out).status().await.unwrap().success());
        // The same as on the command line, to the byte.
        let expected = folder.path().join(format!("{format}-expected"));
        let as_of = last.to_string();
        export(&system.parts, &expected, &["--format", format, "--as-of", &as_of, "--licence", "CC-BY-4.0"])
            .await;
        assert_eq!(files(&out), files(&expected));
        for file in done["files"].as_array().unwrap() {
            let bytes = download(&caller, file["path"].as_str().unwrap(), &[], 200).await;
            assert_eq!(
                (file["sha256"].as_str().unwrap(), file["bytes"].as_u64()),
                (&*sha256(&bytes), Some(bytes.len() as u64))
            );
            assert_eq!(bytes, files(&expected)[file["name"].as_str().unwrap()]);
        }
        let told = run_python("data_set.py", &json!({"folder": out.to_str(), "tables": TABLES})).await;
        assert_eq!(told["frictionless"]["valid"], true, "{told:#}");
        assert_eq!(told["croissant"]["errors"], json!([]));
    }
    let listed = caller.get(EXPORTS).await.body;
    let formats: Vec<_> =
        listed["exports"].as_array().unwrap().iter().map(|job| &job["arguments"]["format"]).collect();
    assert_eq!(formats, ["jsonl", "parquet"]);

    let mut steps = Vec::new();
    for look in records(&system.parts).await.into_iter().filter(|look| look.more.contains_key("export_id")) {
        assert_eq!(look.who.id.as_deref(), Some("r1"));
        assert_eq!((look.from_sequence, look.to_sequence), (Some(1), Some(last)));
        steps.push((look.what, look.more["outcome"].as_str().unwrap().to_owned()));
    }
    steps.dedup();
    let once = [(What::DataSetBegun, "asked"), (What::DataSetEnded, "made"), (What::Export, "downloaded")];
    let steps: Vec<_> = steps.iter().map(|(what, outcome)| (*what, outcome.as_str())).collect();
    assert_eq!(steps, [once, once].concat());
}

#[tokio::test]
async fn a_download_in_pieces_is_the_whole_also_across_a_restart() {
    let (system, _) = filled(Parts::fresh().await).await;
    let caller = researcher(&system, "r1");
    let job = ask(&caller, &json!({"format": "csv"})).await;
    let done = until(&caller, &job, "done").await;
    let at = path(&job, "/download");
    let whole = download(&caller, &at, &[], 200).await;
    let head = caller.send(caller.request(Method::HEAD, &at)).await;
    let tag = head.headers[header::ETAG].to_str().unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", done["archive"]["sha256"].as_str().unwrap()));
    assert_eq!(head.headers[header::CONTENT_LENGTH], whole.len().to_string().as_str());
    assert_eq!(head.headers[header::CONTENT_TYPE], "application/zip");
    let half = whole.len() / 2;
    let mut pieces = download(&caller, &at, &[("Range", &format!("bytes=0-{}", half - 1))], 206).await;
    let parts = system.parts.clone();
    system.stop().await.unwrap();
    let system = parts.start().await;
    let caller = researcher(&system, "r1");
    let rest = format!("bytes={half}-");
    pieces.extend(download(&caller, &at, &[("Range", &rest), ("If-Range", &tag)], 206).await);
    assert!(pieces == whole, "the pieces are not the whole");
    assert_eq!(
        download(&caller, &at, &[("Range", &rest), ("If-Range", "\"other\"")], 200).await.len(),
        whole.len()
    );
    let past = caller
        .send(caller.request(Method::GET, &at).header("Range", format!("bytes={}-", whole.len())))
        .await;
    past.assert_problem(416);
    // A range of a file is a range of the archive.
    let file = done["files"].as_array().unwrap().iter().find(|file| file["name"] == "CODEBOOK.md").unwrap();
    let at = file["path"].as_str().unwrap();
    let text = download(&caller, at, &[], 200).await;
    assert_eq!(download(&caller, at, &[("Range", "bytes=5-14")], 206).await, text[5..15]);
    assert_eq!(download(&caller, at, &[("Range", "bytes=-7")], 206).await, text[text.len() - 7..]);
    for wrong in ["?file=..%2F..%2Fetc%2Fpasswd", "?file=", "?file=events"] {
        caller.get(&path(&job, &format!("/download{wrong}"))).await.assert_problem(404);
    }
    caller.get(&path(&job, "/download?file=a&file=b")).await.assert_problem(400);
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_there() {
    let (system, _) = filled(Parts::fresh().await).await;
    let (caller, other) = (researcher(&system, "r1"), researcher(&system, "r2"));
    let job = ask(&caller, &json!({"include": ["conversations"]})).await;
    until(&caller, &job, "done").await;
    let participant = system.client.login("RID1").await;
    let admin =
        Who::Admin { id: "a".to_owned().try_into().unwrap(), company: "c".to_owned().try_into().unwrap() };
    for more in ["", "/stream", "/download"] {
        let at = path(&job, more);
        other.get(&at).await.assert_problem(404);
        system.client.get(&at).await.assert_problem(401);
        for stranger in [&participant, &person(&system, &admin), &system.service()] {
            stranger.get(&at).await.assert_problem(403);
        }
        for unknown in ["0", "..%2F", &"0".repeat(32)] {
            caller.get(&format!("{EXPORTS}/{unknown}{more}")).await.assert_problem(404);
        }
    }
    for stranger in [&participant, &person(&system, &admin), &system.service()] {
        stranger.post(EXPORTS, &json!({})).await.assert_problem(403);
        stranger.get(EXPORTS).await.assert_problem(403);
        remove(stranger, &job).await.assert_problem(403);
    }
    remove(&other, &job).await.assert_problem(404);
    assert_eq!(other.get(EXPORTS).await.body, json!({"exports": []}));
    assert_eq!(caller.get(&path(&job, "")).await.body["state"], "done");
}

#[tokio::test]
async fn arguments_that_cannot_be_answered_are_named() {
    let (system, last) = filled(Parts::fresh().await).await;
    let caller = researcher(&system, "r1");
    let many: Vec<_> = (0..1_001).map(|number| number.to_string()).collect();
    for (body, fields) in [
        (json!({"format": "xlsx", "pseudonymise": true}), &["format", "pseudonymise"][..]),
        (json!({"as_of": "yesterday", "from": "2025-01-01"}), &["as_of", "from"]),
        (json!({"as_of": "2199-01-01T00:00:00Z"}), &["as_of"]),
        (json!({"as_of": last + 1000}), &["as_of"]),
        (json!({"as_of": -1}), &["as_of"]),
        (json!({"from_sequence": 5, "to_sequence": 5}), &["from_sequence"]),
        (json!({"from_sequence": last + 1000}), &["from_sequence"]),
        (json!({"from": "2025-01-02T00:00:00Z", "to": "2025-01-01T00:00:00Z"}), &["from"]),
        (json!({"include": []}), &["include"]),
        (json!({"include": ["dreams"], "provider": ["x"]}), &["include[0]", "provider[0]"]),
        (json!({"participant": many}), &["participant"]),
        (
            json!({"conversation": ["", "a\u{0}b", 7]}),
            &["conversation[0]", "conversation[1]", "conversation[2]"],
        ),
        (json!({"licence": "my own"}), &["licence"]),
        (json!([]), &["body"]),
    ] {
        let reply = caller.post(EXPORTS, &body).await;
        reply.assert_problem(400);
        assert_eq!(reply.bad_fields(), fields, "{}", reply.text);
    }
    caller.post(EXPORTS, &json!({"participant": ["x".repeat(70_000)]})).await.assert_problem(413);
    assert_eq!(caller.get(EXPORTS).await.body, json!({"exports": []}));
    // Names are names, whatever is in them.
    let hostile = json!({"participant": ["../../etc/passwd", "*", "évt\r\n"], "conversation": ["../x", ">"]});
    let job = ask(&caller, &hostile).await;
    let done = until(&caller, &job, "done").await;
    let rows = done["files"].as_array().unwrap().iter().filter_map(|file| file["rows"].as_u64());
    assert_eq!(rows.collect::<Vec<_>>(), [0, 0, 0]);
}

#[tokio::test]
async fn the_same_key_asks_for_one_export() {
    let (system, last) = filled(Parts::fresh().await).await;
    let (caller, other) = (researcher(&system, "r1"), researcher(&system, "r2"));
    let keyed = async |caller: &Client, body: &Value, key: &str| {
        caller.send(caller.request(Method::POST, EXPORTS).header("Idempotency-Key", key).json(body)).await
    };
    let body = json!({"format": "csv", "include": ["messages"], "as_of": last});
    let (first, again) = tokio::join!(keyed(&caller, &body, "k1"), keyed(&caller, &body, "k1"));
    assert_eq!((first.status, again.status), (202, 202), "{} {}", first.text, again.text);
    assert_eq!(first.body["id"], again.body["id"]);
    let done = until(&caller, &first.body, "done").await;
    assert_eq!(keyed(&caller, &body, "k1").await.body["state"], "done");
    assert_eq!(caller.get(EXPORTS).await.body["exports"].as_array().unwrap().len(), 1);
    keyed(&caller, &json!({"format": "csv"}), "k1").await.assert_problem(409);
    keyed(&caller, &body, &"k".repeat(257)).await.assert_problem(400);
    let theirs = keyed(&other, &body, "k1").await;
    assert_ne!(theirs.body["id"], first.body["id"]);
    // Once it is removed the key is free.
    assert_eq!(remove(&caller, &first.body).await.status, 204);
    caller.get(&path(&first.body, "")).await.assert_problem(404);
    let fresh = eventually("the key is free", || async {
        Some(keyed(&caller, &body, "k1").await).filter(|reply| reply.status == 202)
    })
    .await;
    let again = until(&caller, &fresh.body, "done").await;
    assert_eq!(
        (&again["archive"]["sha256"], &again["files"][0]["sha256"]),
        (&done["archive"]["sha256"], &done["files"][0]["sha256"])
    );
}

async fn with(change: impl FnOnce(&mut JobsSettings)) -> System {
    let mut parts = Parts::fresh().await;
    let mut exports = parts.exports();
    change(&mut exports);
    parts.exports = Some(exports);
    filled(parts).await.0
}

#[tokio::test]
async fn one_that_cannot_be_made_says_why() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    let system = with(|exports| exports.dir = file.join("within")).await;
    let caller = researcher(&system, "r1");
    let job = ask(&caller, &json!({})).await;
    let failed = until(&caller, &job, "failed").await;
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.starts_with("The server cannot write the data set's files: Not a directory"), "{reason}");
    assert!(!reason.contains(file.to_str().unwrap()), "{reason}");
    caller.get(&path(&job, "/download")).await.assert_problem(409);
    let mut feed = watch(&caller, &job).await;
    assert_eq!(feed.expect("failed").await.data, failed);
    assert!(feed.next().await.is_none());

    let system = with(|exports| exports.max_bytes = 1_000).await;
    let caller = researcher(&system, "r1");
    let job = ask(&caller, &json!({})).await;
    let reason = until(&caller, &job, "failed").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("There is no room for it"), "{reason}");
    // It takes no room itself.
    assert_eq!(caller.post(EXPORTS, &json!({})).await.status, 202);
}

#[tokio::test]
async fn a_data_set_expires_and_is_deleted() {
    let system = with(|exports| exports.expires = Duration::from_secs(1)).await;
    let caller = researcher(&system, "r1");
    let job = ask(&caller, &json!({"format": "parquet"})).await;
    let expired = until(&caller, &job, "expired").await;
    assert!(expired["archive"].is_null() && expired["files"] == json!([]), "{expired}");
    let refused = caller.get(&path(&job, "/download")).await;
    refused.assert_problem(409);
    assert!(refused.body["detail"].as_str().unwrap().contains("\"as_of\": "), "{}", refused.text);
    watch(&caller, &job).await.expect("expired").await;
    no_bytes(&system.parts).await;
    assert_eq!(remove(&caller, &job).await.status, 204);
    assert_eq!(caller.get(EXPORTS).await.body, json!({"exports": []}));
}

/// Nothing of a data set is left in the store.
async fn no_bytes(parts: &Parts) {
    let log = shared::log::Log::open(&parts.nats, "test").await.unwrap();
    let context = async_nats::jetstream::new(log.client().clone());
    eventually("the bytes are deleted", || async {
        let stream = context.get_stream("EXPORT_PARTS").await.unwrap();
        (stream.cached_info().state.messages == 0).then_some(())
    })
    .await;
}

/// A token that is good for so long.
fn for_seconds(system: &System, id: &str, seconds: u64) -> Client {
    let tokens = Tokens::new(&system.parts.auth());
    let token = tokens.issue(&Who::Researcher(id.into()), Duration::from_secs(seconds), chrono::Utc::now());
    system.client.with(&token.unwrap())
}
