//! Every endpoint by what the audit log says of it. One that is new belongs here before it is served.

use std::collections::BTreeSet;

use chrono::{Duration, Utc};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shared::audit::{Looker, What};
use shared::auth::{Tokens, Who};
use tests::{Client, System, eventually};

use self::Class::{Issues, Jobs, Looks, Open, Own, Writes};
use super::records;
use crate::calls::{admin, with_call};
use crate::openapi::with_conversations;

/// What is recorded of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// It shows something of conversations: a record of each look of others than participants.
    Looks(What),
    /// It makes a credential: a record of each.
    Issues,
    /// It shows nothing that was not sent with it: no record, since the log itself says who wrote.
    Writes,
    /// It shows participants their own alone.
    Own,
    /// It shows nothing of anybody.
    Open,
    /// Jobs of data sets: what is recorded of them is held to in `export_jobs`.
    Jobs,
}

const CLASSES: [(&str, &str, Class); 58] = [
    ("get", "/api/v1/health", Open),
    ("get", "/health", Open),
    ("get", "/health/live", Open),
    ("get", "/health/ready", Open),
    ("get", "/metrics", Open),
    ("get", "/openapi.json", Open),
    ("get", "/api/v1/analytics/messages", Open),
    ("get", "/api/v1/analytics/conversations", Open),
    ("get", "/api/v1/analytics/answers", Open),
    ("post", "/api/v1/exports", Jobs),
    ("get", "/api/v1/exports", Jobs),
    ("get", "/api/v1/exports/{id}", Jobs),
    ("delete", "/api/v1/exports/{id}", Jobs),
    ("get", "/api/v1/exports/{id}/stream", Jobs),
    ("get", "/api/v1/exports/{id}/download", Jobs),
    ("get", "/docs", Open),
    ("get", "/redoc", Open),
    ("post", "/api/v1/auth/login", Issues),
    ("post", "/api/session", Issues),
    ("post", "/api/stream-tickets", Issues),
    ("post", "/api/v1/conversations/elevenlabs/init", Issues),
    ("post", "/api/v1/conversations/elevenlabs/refresh-token", Issues),
    ("get", "/api/v1/conversations/elevenlabs/validate-session/{conversation_id}", Own),
    ("post", "/api/v1/auth/logout", Writes),
    ("delete", "/api/session", Writes),
    ("post", "/api/v1/chat/message", Writes),
    ("post", "/api/v1/chat/save-message", Writes),
    ("post", "/api/v1/chat/messages", Writes),
    ("put", "/api/v1/participants/{research_id}", Writes),
    ("put", "/api/v1/profile", Writes),
    ("post", "/api/v1/dreams", Writes),
    ("post", "/api/v1/dreams/{dream_id}/interpretations", Writes),
    ("post", "/api/v1/conversations/messages", Writes),
    ("post", "/api/v1/webhooks/elevenlabs", Writes),
    ("post", "/api/v1/webhook/conversation", Writes),
    ("put", "/api/workers/{id}", Writes),
    ("delete", "/api/workers/{id}", Writes),
    ("put", "/api/admins/{id}", Writes),
    ("delete", "/api/admins/{id}", Writes),
    ("post", "/api/media", Writes),
    ("post", "/api/calls", Writes),
    ("post", "/api/conversation/{id}/messages", Writes),
    ("post", "/api/conversation/{id}/takeover", Writes),
    ("post", "/api/conversation/{id}/release", Writes),
    ("post", "/api/conversation/{id}/end", Writes),
    ("post", "/api/conversation/{id}/seen", Writes),
    ("post", "/api/conversation/{id}/typing", Writes),
    ("get", "/api/v1/conversations", Looks(What::List)),
    ("get", "/api/conversations", Looks(What::List)),
    ("get", "/api/conversations/stream", Looks(What::FeedOpened)),
    ("get", "/api/v1/search", Looks(What::Search)),
    ("get", "/api/conversation/{id}", Looks(What::Snapshot)),
    ("get", "/api/v1/conversations/{id}", Looks(What::Status)),
    ("get", "/api/conversation/{id}/export", Looks(What::Export)),
    ("get", "/api/conversation/{id}/audio", Looks(What::Media)),
    ("get", "/api/conversation/{id}/media/{media_id}", Looks(What::Media)),
    ("get", "/api/conversation/{id}/stream", Looks(What::FeedOpened)),
    ("get", "/api/conversation/{id}/ws", Looks(What::FeedOpened)),
];

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, operation)| (method.clone(), path.clone(), operation))
        })
        .collect()
}

#[tokio::test]
async fn every_endpoint_has_a_class() {
    let system = System::start().await;
    let document = system.client.get("/openapi.json").await.body;
    let served: BTreeSet<_> =
        operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let classed: BTreeSet<_> =
        CLASSES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    let without: Vec<_> = served.difference(&classed).collect();
    assert!(without.is_empty(), "say in CLASSES what the audit log says of {without:?}");
    assert_eq!(served, classed);
    for (method, _, class) in CLASSES {
        assert!(
            method == "get" || matches!(class, Issues | Writes | Jobs),
            "what is sent may show something: {method}"
        );
    }
}

async fn ask(client: &Client, method: Method, path: &str, id: &str) {
    let request = client.request(method, path).header("X-Request-Id", id);
    let websocket = path.ends_with("/ws");
    let request = if websocket {
        request
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    } else {
        request
    };
    // A feed does not end: its head is enough.
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), if websocket { 101 } else { 200 }, "{path}");
}

/// Sound and uploads have their own tests, in `media`.
#[tokio::test]
async fn every_endpoint_that_shows_a_conversation_records_who_looked() {
    let system = with_call().await;
    let asha = admin(&system, "admin_1", "acme");
    let call = "conv_919325590143_20251003_115804";
    let shows = CLASSES.iter().filter_map(|(_, path, class)| match class {
        Looks(what) if *what != What::Media => Some((*path, *what)),
        Looks(_) | Issues | Writes | Own | Open | Jobs => None,
    });
    let mut asked = 0;
    for (path, what) in shows {
        let id = format!("looks-{asked}");
        // These two are for services alone.
        let service = matches!(path, "/api/v1/conversations" | "/api/v1/conversations/{id}");
        let caller = if service { system.service() } else { asha.clone() };
        let query = if path.ends_with("/search") { "?q=falling" } else { "" };
        ask(&caller, Method::GET, &(path.replace("{id}", call) + query), &id).await;
        let recorded =
            records(&system.parts).await.into_iter().find(|look| look.request_id == id && look.what == what);
        let recorded = recorded.unwrap_or_else(|| panic!("nothing is recorded of {path}"));
        assert_eq!(recorded.who.role, if service { "service" } else { "admin" }, "{path}");
        assert_eq!(recorded.conversation_id.as_deref(), path.contains("{id}").then_some(call), "{path}");
        asked += 1;
    }
    assert_eq!(asked, 9);
}

#[tokio::test]
async fn every_endpoint_that_makes_a_credential_records_it() {
    let (system, _vendor) = with_conversations().await;
    let issued = async |id: &str, kind: &str| {
        let all = records(&system.parts).await;
        let found = all.into_iter().find(|record| record.request_id == id).unwrap_or_else(|| panic!("{id}"));
        assert_eq!((found.what, &found.more["kind"]), (What::TokenIssued, &json!(kind)), "{id}");
        assert!(found.more["expires_at"].as_str().is_some_and(|until| *until > *Utc::now().to_rfc3339()));
        found
    };
    let post = async |client: &Client, path: &str, id: &str, body: Value| {
        let reply =
            client.send(client.request(Method::POST, path).header("X-Request-Id", id).json(&body)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply
    };
    let login = json!({"research_id": "RID001"});
    let reply = post(&system.client, "/api/v1/auth/login", "login", login).await;
    let token = reply.body["access_token"].as_str().unwrap();
    let record = issued("login", "token").await;
    let own = Looker::participant(&"RID001".to_owned().try_into().unwrap());
    assert_eq!((&record.who, record.more["to"].as_str()), (&own, own.id.as_deref()));
    let grant = Tokens::new(&system.parts.auth()).check(token).unwrap();
    assert_eq!(record.more["token_id"], json!(grant.token_id), "what a revocation names");
    assert!(!serde_json::to_string(&record).unwrap().contains("RID001"), "{record:?}");

    let own = system.client.with(token);
    post(&own, "/api/session", "session", json!({})).await;
    let session = issued("session", "session").await;
    assert!(session.more["token_id"].as_str().unwrap().starts_with(&grant.token_id));
    post(&own, "/api/stream-tickets", "ticket", json!({})).await;
    issued("ticket", "ticket").await;
    post(&system.service(), "/api/stream-tickets", "service-ticket", json!({})).await;
    assert_eq!(issued("service-ticket", "ticket").await.who.role, "service");
    let talk = json!({"dreamId": "7f3c1f6e-7c1c-4a3b-9f43-0a0f5f3d6a11", "interpreterId": "jung"});
    let begun = post(&own, "/api/v1/conversations/elevenlabs/init", "init", talk).await;
    let conversation = begun.body["data"]["conversationId"].as_str().unwrap();
    assert_eq!(issued("init", "signed_url").await.conversation_id.as_deref(), Some(conversation));
    let refresh = json!({"conversationId": conversation});
    post(&own, "/api/v1/conversations/elevenlabs/refresh-token", "refresh", refresh).await;
    issued("refresh", "signed_url").await;
}

/// Whoever shows a token that was good once is known, wherever they knock.
#[tokio::test]
async fn every_endpoint_that_needs_a_credential_records_whom_it_turned_away() {
    let system = System::start().await;
    let document = system.client.get("/openapi.json").await.body;
    let person = ["participant", "admin", "researcher", "service"];
    let needs = |operation: &Value| {
        let schemes = operation["security"].as_array().unwrap().iter();
        let names: Vec<_> = schemes.flat_map(|scheme| scheme.as_object().unwrap().keys()).collect();
        names.iter().any(|name| person.contains(&name.as_str()))
            && !names.iter().any(|name| *name == "standardWebhooks")
    };
    let all = operations(&document);
    let guarded: Vec<_> = all.into_iter().filter(|(_, _, operation)| needs(operation)).collect();
    assert!(guarded.len() > 30, "{}", guarded.len());
    let tokens = Tokens::new(&system.parts.auth());
    let asked = join_all(guarded.iter().enumerate().map(|(n, (method, path, _))| {
        // One for each: of one caller only so many a minute are told apart.
        let who = Who::Researcher(format!("r{n}"));
        let long_ago = Utc::now() - Duration::hours(2);
        let token = tokens.issue(&who, std::time::Duration::from_secs(60), long_ago).unwrap();
        let caller = system.client.with(&token);
        let method: Method = method.to_uppercase().parse().unwrap();
        let request =
            caller.request(method, &path.replace(['{', '}'], "")).header("X-Request-Id", format!("id-{n}"));
        async move {
            let request = request
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
            (path, caller.send(request).await.status)
        }
    }));
    for (path, status) in asked.await {
        assert_eq!(status, 401, "{path}");
    }
    eventually("all are recorded", || async {
        let all = records(&system.parts).await;
        let refused = |(n, (method, path, _)): (usize, &(String, String, &Value))| {
            let (who, asked) = (format!("r{n}"), format!("{} {path}", method.to_uppercase()));
            all.iter().any(|record| {
                record.what == What::Refused
                    && record.who.id.as_ref() == Some(&who)
                    && record.more["asked"] == json!(asked)
                    && record.request_id == format!("id-{n}")
            })
        };
        guarded.iter().enumerate().all(refused).then_some(())
    })
    .await;
}
