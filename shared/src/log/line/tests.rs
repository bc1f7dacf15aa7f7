use tokio::io::AsyncBufReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Secret;

const GREETING: &str = r#"INFO {"server_id":"x","version":"2.15.1","headers":true,"max_payload":1048576}"#;
/// As a cluster tells of its servers.
const TOLD: &str = r#"INFO {"server_id":"x","host":"here","connect_urls":["10.0.0.1:4222","10.0.0.2:4222"]}"#;
const ENTRY: &str = "HMSG a.b.c 1 $JS.ACK.EVENTS.me.1.7.3.17.9 22 26\r\nNATS/1.0\r\nce-id: a\r\n\r\nbody\r\n";

/// A server that greets so, answers what it is told first with `answer`, and keeps what it is told.
async fn server(greeting: &'static str, answer: &'static str) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://ann:secret@{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let (read, mut write) = socket.into_split();
        write.write_all(format!("{greeting}\r\n").as_bytes()).await.unwrap();
        let (mut lines, mut told) = (BufReader::new(read).lines(), Vec::new());
        while let Ok(Some(line)) = lines.next_line().await {
            if line == "PING" {
                // Whoever is refused may be gone.
                let _gone = write.write_all(answer.as_bytes()).await;
            }
            told.push(line);
        }
        told
    });
    (url, serving)
}

fn settings(urls: &[&str]) -> NatsSettings {
    NatsSettings {
        urls: urls.iter().map(|url| Secret::new((*url).to_owned())).collect(),
        credentials: None,
        user: None,
        password: None,
        replicas: 1,
        dedupe_window: Duration::from_secs(120),
        sealing: None,
    }
}

#[tokio::test]
async fn what_a_server_says_besides_entries_is_passed_over_and_a_ping_is_answered() {
    let answer = format!("{TOLD}\r\nPONG\r\n{TOLD}\r\n+OK\r\n{ENTRY}PING\r\n{ENTRY}");
    let (url, serving) = server(GREETING, answer.leak()).await;
    // The first server is not there.
    let settings = settings(&["nats://127.0.0.1:1", &url]);
    let mut line = Line::open(&settings, "reader", "_INBOX.me").await.unwrap();
    for _ in 0..2 {
        let message = line.next().await.unwrap();
        assert_eq!(message.base.subject.as_str(), "a.b.c");
        assert_eq!(message.base.payload.as_ref(), b"body");
    }
    line.ask("$JS.API.NEXT".into(), "{}".into()).await.unwrap();
    drop(line);
    let told = serving.await.unwrap();
    let connect: serde_json::Value = serde_json::from_str(told[0].strip_prefix("CONNECT ").unwrap()).unwrap();
    assert_eq!((&connect["user"], &connect["pass"]), (&"ann".into(), &"secret".into()));
    assert_eq!(connect["name"], "turnlog reader");
    assert_eq!(told[1..], ["SUB _INBOX.me 1", "PING", "PONG", "PUB $JS.API.NEXT _INBOX.me 2", "{}"]);
}

#[tokio::test]
async fn a_server_that_asks_for_tls_is_not_told_a_password() {
    let (url, serving) = server(r#"INFO {"tls_required":true}"#, "").await;
    assert!(Line::open(&settings(&[&url]), "reader", "_INBOX.me").await.is_none());
    assert_eq!(serving.await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn there_is_no_line_where_the_server_refuses_or_is_none() {
    for (greeting, answer) in [
        (GREETING, "-ERR 'Authorization Violation'\r\n"),
        (GREETING, "HTTP/1.1 400 Bad Request\r\n"),
        ("220 mail.example ESMTP", ""),
        ("INFO {", ""),
    ] {
        let (url, _serving) = server(greeting, answer).await;
        assert!(Line::open(&settings(&[&url]), "reader", "_INBOX.me").await.is_none(), "{greeting} {answer}");
    }
}

#[tokio::test]
async fn there_is_no_line_with_tls_or_a_credentials_file() {
    let (url, serving) = server(GREETING, "PONG\r\n").await;
    let secured = [url.replace("nats:", "tls:"), url.clone()];
    assert!(Line::open(&settings(&[&secured[0], &secured[1]]), "reader", "_INBOX.me").await.is_none());
    let named = NatsSettings { credentials: Some("/nowhere".into()), ..settings(&[&url]) };
    assert!(Line::open(&named, "reader", "_INBOX.me").await.is_none());
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled(), "nobody connected");
}

#[tokio::test]
async fn a_line_ends_with_an_error_where_the_server_goes_or_talks_nonsense() {
    for answer in ["PONG\r\nWHAT?\r\n", "PONG\r\n-ERR 'Stale Connection'\r\n", "PONG\r\nHMSG a 1 9 3\r\n"] {
        let (url, _serving) = server(GREETING, answer).await;
        let mut line = Line::open(&settings(&[&url]), "reader", "_INBOX.me").await.unwrap();
        assert!(line.next().await.is_err(), "{answer}");
    }
    let (url, serving) = server(GREETING, "PONG\r\n").await;
    let mut line = Line::open(&settings(&[&url]), "reader", "_INBOX.me").await.unwrap();
    serving.abort();
    assert_eq!(line.next().await, Err("the connection was closed"));
}
