//! The document of the endpoints: a snapshot, valid by an independent party, and true by property-based testing.

use std::process::Output;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use shared::auth::Who;
use tests::vendor::Vendor;
use tests::{API_KEY, Parts, System, python, run_python};
use tokio::process::Command;

use crate::calls::{admin, with_call};
use crate::contracts::assert_golden;
use crate::{ids, message, person};

#[tokio::test]
async fn the_document_is_what_it_was() {
    let system = System::start().await;
    let document = system.client.get("/openapi.json").await;
    assert_eq!(
        (document.status, &document.headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    assert_golden("openapi.json", &document.body);
}

#[tokio::test]
async fn the_document_is_openapi_3_1() {
    let system = System::start().await;
    let document = system.client.get("/openapi.json").await.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(run_python("openapi.py", &document).await, json!([]));
    let mut broken = document;
    broken["info"] = json!({"version": 1});
    assert_ne!(run_python("openapi.py", &broken).await, json!([]));
}

#[tokio::test]
async fn a_role_documents_its_own_endpoints() {
    let all = Parts::fresh().await;
    let paths = |document: &Value| -> Vec<String> {
        document["paths"].as_object().unwrap().keys().cloned().collect()
    };
    let ingest = all.only(true, false, false).start().await.client.get("/openapi.json").await.body;
    let streamer = all.only(false, true, true).start().await.client.get("/openapi.json").await.body;
    let (ingest, streamer) = (paths(&ingest), paths(&streamer));
    let (write, read) = ("/api/v1/chat/message".to_owned(), "/api/conversation/{id}".to_owned());
    assert!(ingest.contains(&write) && !ingest.contains(&read), "{ingest:?}");
    assert!(streamer.contains(&read) && !streamer.contains(&write), "{streamer:?}");
}

#[tokio::test]
async fn the_pages_need_nothing_from_elsewhere() {
    let system = System::start().await;
    for page in ["/docs", "/redoc"] {
        let reply = system.client.get(page).await;
        assert_eq!(reply.status, 200, "{page}");
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("http"), "{policy}");
        assert!(!policy.contains("script-src 'unsafe") && !policy.contains("eval"), "{policy}");
        let assets =
            ["src=\"http", "src=\"//", "<link href=\"http", "rel=\"stylesheet\" href=\"http", "cdn."];
        for asset in assets {
            assert!(!reply.text.contains(asset), "{page} holds {asset}");
        }
    }
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "start.js"] {
        assert_eq!(system.client.get(&format!("/docs/{file}")).await.status, 200, "{file}");
    }
    system.client.get("/docs/unknown.js").await.assert_problem(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_anybody_sends_is_answered_as_documented() {
    let (system, _vendor) = with_conversations().await;
    probe(&system, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_participant_sends_is_answered_as_documented() {
    let (system, _vendor) = with_conversations().await;
    let participant = system.client.login("RID001").await;
    probe(&system, Some(participant.token())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_service_sends_is_answered_as_documented() {
    let (system, _vendor) = with_conversations().await;
    probe(&system, Some(API_KEY)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_admin_sends_is_answered_as_documented() {
    let system = with_call().await;
    let asha = admin(&system, "admin_1", "acme");
    probe(&system, Some(asha.token())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_researcher_sends_is_answered_as_documented() {
    let (system, _vendor) = with_conversations().await;
    probe(&system, Some(person(&system, &Who::Researcher("r1".into())).token())).await;
}

#[tokio::test]
async fn what_the_probe_leaves_out_is_answered_as_documented() {
    let (system, _vendor) = with_conversations().await;
    let participant = system.client.login("RID001").await;
    let document = system.client.get("/openapi.json").await.body;
    let stream = "/api/conversation/{id}/stream";
    let feed = participant.request(Method::GET, "/api/conversation/conv_abc123/stream").send().await.unwrap();
    check(&document, "get", stream, feed.status().as_u16(), feed.headers());
    let websocket = "/api/conversation/{id}/ws";
    for (caller, status) in [(&system.client, 401), (&participant, 400)] {
        let reply = caller.get("/api/conversation/conv_abc123/ws").await;
        assert_eq!(reply.status, status);
        check(&document, "get", websocket, status, &reply.headers);
    }
    let another = "/api/conversation/conv_919325590143_20251003_115804/stream";
    for (caller, path, status) in [
        (&system.client, "/api/conversation/conv_abc123/stream", 401),
        (&participant, another, 403),
        (&participant, "/api/conversation/conv_nowhere/stream", 404),
        (&participant, "/api/conversation/conv_abc123/stream?after=soon", 400),
    ] {
        let reply = caller.get(path).await;
        assert_eq!(reply.status, status, "{path}");
        check(&document, "get", stream, status, &reply.headers);
    }
    for (caller, status) in [(&system.client, 401), (&system.service(), 403), (&participant, 200)] {
        let reply = caller.post("/api/v1/auth/logout", &json!({})).await;
        assert_eq!(reply.status, status);
        check(&document, "post", "/api/v1/auth/logout", status, &reply.headers);
    }
}

/// Whether the document knows this answer, with its media type and its headers.
fn check(document: &Value, method: &str, path: &str, status: u16, headers: &HeaderMap) {
    let mut answer = &document["paths"][path][method]["responses"][status.to_string()];
    if let Some(name) = answer["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        answer = &document["components"]["responses"][name];
    }
    let media_type = headers["content-type"].to_str().unwrap();
    assert!(answer["content"][media_type].is_object(), "{method} {path} {status} {media_type}: {answer}");
    for name in answer["headers"].as_object().unwrap().keys() {
        assert!(headers.contains_key(name), "{method} {path} {status} came without {name}");
    }
}

/// The document's examples name two conversations, one of the participant that they name and one of another, and a dream
/// that can be talked about.
pub(crate) async fn with_conversations() -> (System, Vendor) {
    let vendor = Vendor::start().await;
    let system = Parts { vendor: Some(vendor.settings()), ..Parts::fresh().await }.start().await;
    let conversations = [("RID001", "conv_abc123"), ("RID002", "conv_919325590143_20251003_115804")];
    for (participant, conversation) in conversations {
        let message = message(participant, "Hello", ids(conversation, "m1"));
        let caller = system.client.login(participant).await;
        let stored = caller.post("/api/v1/chat/message", &message).await;
        system.projected(stored.sequence()).await;
    }
    let dream = json!({"dreamId": "7f3c1f6e-7c1c-4a3b-9f43-0a0f5f3d6a11", "participantId": "RID001",
                       "rawTranscript": "I fell.", "recordedAt": "2025-01-08T07:30:00+05:30"});
    assert_eq!(system.service().post("/api/v1/dreams", &dream).await.status, 200);
    (system, vendor)
}

/// Lets Schemathesis derive requests, good and bad ones, from the document.
///
/// Left out: feeds, which do not end, and the logout, which would end the session that the others need.
async fn probe(system: &System, credential: Option<&str>) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(python());
    command.args(["-m", "schemathesis.cli"]);
    command.arg("--config-file").arg(tests::root().join("tests/python/schemathesis.toml")).arg("run");
    command.arg(format!("{}/openapi.json", system.base));
    command.args(["--exclude-path-regex", "/stream$", "--exclude-path", "/api/v1/auth/logout", "--no-color"]);
    if let Some(credential) = credential {
        command.args(["--header", &format!("Authorization: Bearer {credential}")]);
    }
    command.current_dir(directory.path()).env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let (told, wrong) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{told}\n{wrong}");
}
