//! Feeds with the clients that people have: the seed's own as printed, `curl -N`, npm `eventsource`.

use std::time::Duration;

use chrono::Utc;
use futures::future::join_all;
use serde_json::json;
use shared::auth::{Tokens, Who};
use tests::{Binary, Client, Parts, Program, Reply, System, client_file, node, python};
use tokio::process::Command;

use crate::calls::{admin, with_call};
use crate::{ids, message};

const CONVERSATION: &str = "conv_919325590143_20251003_115804";

/// npm's `eventsource` that takes headers as the seed gives them.
const SECOND: &str = "const EventSource = require('eventsource-2');";

/// From its third version on it wants a `fetch` in their place: what its manual shows.
const THIRD: &str = "const { EventSource: Bare } = require('eventsource');
    class EventSource extends Bare {
        constructor(url, { headers }) {
            const more = (init) => ({ ...init, headers: { ...init.headers, ...headers } });
            super(url, { fetch: (input, init) => fetch(input, more(init)) });
        }
    }";

/// Who watches.
#[derive(Clone, Copy)]
enum Watcher {
    Admin,
    Researcher,
    Service,
}

/// How a feed ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    GivenUp,
    Ended,
}

const WATCHES: [(Watcher, End); 4] = [
    (Watcher::Admin, End::GivenUp),
    (Watcher::Admin, End::Ended),
    (Watcher::Researcher, End::Ended),
    (Watcher::Service, End::Ended),
];

/// What a client prints: at the start, of a new turn, and last, when its token was given up or the conversation ended.
struct Words {
    opened: &'static str,
    told: String,
    given_up: &'static str,
    ended: &'static str,
}

/// Starts a client with a token.
type Start = fn(&System, &str) -> Program;

/// Longer than one read of `requests`, and of more than one byte a character.
fn long_content() -> String {
    "अभी मदद बुलाओ। ".repeat(200)
}

/// Lets a client watch the seed's call with each kind of credential, to each kind of end.
async fn watched(start: Start, words: Words) {
    join_all(WATCHES.map(|(watcher, end)| watch(start, &words, watcher, end))).await;
}

async fn watch(start: Start, words: &Words, watcher: Watcher, end: End) {
    let system = with_call().await;
    let service = system.service();
    let caller = match watcher {
        Watcher::Admin => admin(&system, "admin_1", "acme"),
        Watcher::Researcher => researcher(&system),
        Watcher::Service => service.clone(),
    };
    let mut client = start(&system, caller.token());
    client.until(words.opened).await;
    let turn =
        json!({"role": "assistant", "content": long_content(), "timestamp": "2025-10-03T11:58:18+05:30"});
    ok(service.post(&format!("/api/conversation/{CONVERSATION}/messages"), &turn).await);
    client.until(&words.told).await;
    let (path, last) = match end {
        End::GivenUp => ("/api/v1/auth/logout".to_owned(), words.given_up),
        End::Ended => (format!("/api/conversation/{CONVERSATION}/end"), words.ended),
    };
    let by = if end == End::GivenUp { &caller } else { &service };
    ok(by.post(&path, &json!({})).await);
    let (status, said) = client.ended().await;
    assert!(status.success() && said.iter().any(|line| line.contains(last)), "{status}: {said:#?}");
}

fn researcher(system: &System) -> Client {
    let (who, hour) = (Who::Researcher("r1".into()), Duration::from_secs(3_600));
    system.client.with(&Tokens::new(&system.parts.auth()).issue(&who, hour, Utc::now()).unwrap())
}

fn ok(reply: Reply) -> Reply {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

/// A text of the seed; the token and the address are put in.
fn printed(file: &str, system: &System, token: &str) -> String {
    let text = std::fs::read_to_string(client_file("seed").join(file)).unwrap();
    text.replace("YOUR_JWT_TOKEN", token)
        .replace("your_jwt_token_here", token)
        .replace("http://localhost:5000", &system.base)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_python_loop_follows_as_printed() {
    let start: Start = |system, token| {
        let mut command = Command::new(python());
        command.args(["-u", "-c", &printed("requests_loop.py", system, token)]);
        Program::start(command)
    };
    let words = Words {
        opened: "Initial messages: 1",
        told: format!("  assistant: {}", long_content()),
        given_up: "Error: The token was revoked; log in again.",
        ended: "Conversation ended",
    };
    watched(start, words).await;
}

/// The seed's JavaScript in Node.js, where a path alone is no address and what shows messages is not given.
fn start_js(event_source: &str, system: &System, token: &str) -> Program {
    let printed = printed("event_source.js", system, token);
    let printed = printed.replace("`/api/", &format!("`{}/api/", system.base));
    let shows = "const show = (name) => (messages) =>
            console.log(name, messages.map((message) => message.message_id).join());
        const displayMessages = show('displayed'), appendMessages = show('appended');";
    let mut command = node();
    command.arg("--input-type=commonjs").arg("-e").arg(format!("{event_source}\n{shows}\n{printed}"));
    Program::start(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_javascript_follows_as_printed_where_headers_are_taken() {
    let starts: [Start; 2] =
        [|system, token| start_js(SECOND, system, token), |system, token| start_js(THIRD, system, token)];
    for start in starts {
        let words = Words {
            opened: "displayed msg_919325590143_20251003_115804_0001",
            told: "appended msg_919325590143_20251003_115804_0002".into(),
            given_up: "Stream error: The token was revoked; log in again.",
            ended: "Conversation ended: Conversation has ended",
        };
        watched(start, words).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_curl_lines_run_as_printed() {
    fn shell(text: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {text}")]);
        Program::start(command)
    }
    let words = Words {
        opened: "event: initial",
        told: format!(r#""content":"{}""#, long_content()),
        given_up: r#"data: {"error":"The token was revoked; log in again.""#,
        ended: r#""message":"Conversation has ended""#,
    };
    watched(|system, token| shell(&printed("stream.sh", system, token)), words).await;
    let system = with_call().await;
    let client = shell(&printed("snapshot.sh", &system, admin(&system, "admin_1", "acme").token()));
    let (status, said) = client.ended().await;
    assert!(status.success() && said.iter().any(|line| line.contains(r#""total_messages":1"#)), "{said:?}");
}

async fn say(caller: &Client, id: &str, content: &str) {
    ok(caller.post("/api/v1/chat/message", &message("RID001", content, ids(CONVERSATION, id))).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn npms_event_sources_go_on_by_themselves_when_their_streamer_was_killed() {
    let parts = Parts::fresh().await;
    let writer = parts.only(true, true, false).start().await;
    let mut streamer = Binary::serve("streamer", &parts).await;
    let caller = writer.client.login("RID001").await;
    say(&caller, "m1", "one").await;
    let start = |event_source: &str| {
        let script = format!(
            "{event_source}
            const address = '{}/api/conversation/{CONVERSATION}/stream';
            const source = new EventSource(address, {{ headers: {{ Authorization: 'Bearer {}' }} }});
            const ids = (event) => JSON.parse(event.data).messages.map((message) => message.message_id);
            for (const name of ['initial', 'new_messages', 'reset'])
                source.addEventListener(name, (event) => ids(event).forEach((id) => console.log(name, id)));
            source.onerror = () => console.log('lost');
            // The timer of a reconnect does not keep a process alive by itself.
            process.stdin.resume();",
            streamer.client.base(),
            caller.token()
        );
        let mut command = node();
        command.arg("--input-type=commonjs").arg("-e").arg(script);
        Program::start(command)
    };
    let mut clients = [start(SECOND), start(THIRD)];
    for client in &mut clients {
        assert_eq!(client.until("").await, "initial m1");
    }
    streamer.kill();
    for client in &mut clients {
        client.until("lost").await;
    }
    say(&caller, "m2", "while nobody listens").await;
    streamer.restart().await;
    say(&caller, "m3", "and again").await;
    for client in &mut clients {
        for id in ["m2", "m3"] {
            assert_eq!(client.until(" ").await, format!("new_messages {id}"));
        }
    }
}
