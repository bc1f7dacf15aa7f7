//! Watching by WebSocket, and what is shown live: who types, who watches.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use shared::auth::{Tokens, Who};
use shared::http::Edge;
use streamer::FeedCaps;
use tests::{
    Binary, Client, Feed, Frame, Nginx, PATIENCE, Parts, Reply, Socket, System, eventually, per_minute,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::calls::{CONVERSATION, admin, of, ok, open_call, turn, with_call};
use crate::{ids, message, person};

/// What asks for a WebSocket.
const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn watch(caller: &Client) -> Socket {
    let mut socket = Socket::open(caller, CONVERSATION, "", &[]).await;
    socket.expect("initial").await;
    socket
}

async fn follow(caller: &Client) -> Feed {
    let mut feed = caller.feed(CONVERSATION, None).await;
    feed.expect("initial").await;
    feed
}

async fn say(system: &System, content: &str) -> u64 {
    ok(system.service().post(&of("/messages"), &turn("user", content)).await).sequence()
}

/// The contents of the messages in a frame.
fn contents(frame: &Frame) -> Vec<&str> {
    let messages = frame.data["messages"].as_array().unwrap();
    messages.iter().map(|message| message["content"].as_str().unwrap()).collect()
}

fn typing(is_typing: bool) -> Value {
    json!({"type": "typing", "is_typing": is_typing})
}

/// What is answered to one who asks for a WebSocket of `path` and does not get it.
async fn refused(caller: &Client, path: &str, more: &[(&str, &str)]) -> Reply {
    let request =
        UPGRADE.iter().chain(more).fold(
            caller.request(Method::GET, &format!("/api/conversation/{path}")),
            |request, (name, value)| request.header(*name, *value),
        );
    caller.send(request).await
}

/// Begins a session; answers the cookie as a browser sends it.
async fn session(caller: &Client) -> String {
    let reply = ok(caller.post("/api/session", &json!({})).await);
    reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn frames_come_with_ids_and_go_on_from_the_last_one() {
    let system = with_call().await;
    let one = admin(&system, "admin_1", "acme");
    let mut socket = Socket::open(&one, CONVERSATION, "", &[]).await;
    let initial = socket.expect("initial").await;
    assert_eq!(
        (initial.data["total_messages"].as_u64(), &initial.data["urgency"]),
        (Some(1), &json!("CRITICAL"))
    );
    assert!(initial.id.is_some());
    say(&system, "second").await;
    let frame = socket.expect("new_messages").await;
    assert_eq!(contents(&frame), ["second"]);
    let (id, newest) = (frame.id.unwrap(), frame.data["messages"][0]["sequence"].as_u64().unwrap());
    assert!(id.ends_with(&format!("-{newest}")), "{id}");
    socket.leave().await;
    say(&system, "third").await;
    let last = say(&system, "with a\n\nblank line").await;
    let mut socket = Socket::open(&one, CONVERSATION, &format!("last_event_id={id}&after={last}"), &[]).await;
    let frame = socket.expect("new_messages").await;
    assert_eq!(contents(&frame), ["third", "with a\n\nblank line"]);
    assert_eq!(frame.data["total_messages"], 4);
    // An id that cannot be continued.
    let mut lost = Socket::open(&one, CONVERSATION, "last_event_id=x", &[]).await;
    assert_eq!(lost.expect("reset").await.data["reason"], "unknown_id");
    assert_eq!(lost.expect("initial").await.data["total_messages"], 4);
    ok(system.service().post(&of("/end"), &json!({})).await);
    for socket in [&mut socket, &mut lost] {
        assert!(socket.expect("ended").await.id.is_some());
        assert_eq!(socket.is_closed().await, 1000);
    }
}

#[tokio::test]
async fn what_is_seen_by_websocket_is_kept_and_told() {
    let system = with_call().await;
    let second = system.parts.only(false, false, true).start().await;
    let (one, two) = (admin(&second, "admin_1", "acme"), admin(&system, "admin_2", "acme"));
    let (mut mine, mut theirs) = (watch(&one).await, follow(&two).await);
    let sequence = say(&system, "look").await;
    mine.expect("new_messages").await;
    theirs.expect("new_messages").await;
    mine.say(&json!({"type": "seen", "sequence": sequence})).await;
    let wanted =
        json!({"conversation_id": CONVERSATION, "role": "admin", "id": "admin_1", "sequence": sequence});
    let frame = mine.expect("seen").await;
    assert_eq!(frame.data, wanted);
    assert!(frame.id.is_some());
    assert_eq!(theirs.expect("seen").await.data, wanted);
    // Again, or less: nothing new.
    mine.say(&json!({"type": "seen", "sequence": sequence})).await;
    mine.say(&json!({"type": "seen", "sequence": 1})).await;
    let position = frame.id.unwrap().split_once('-').unwrap().1.parse::<u64>().unwrap();
    system.projected(position).await;
    let shown = ok(two.get(&of("")).await);
    let receipts = json!([{"role": "admin", "id": "admin_1", "sequence": sequence}]);
    assert_eq!(shown.body["conversation"]["seen"], receipts);
    // What is not there cannot be seen.
    mine.say(&json!({"type": "seen", "sequence": sequence + 1000})).await;
    let rejected = mine.expect("rejected").await;
    assert_eq!(rejected.id, None);
    assert!(rejected.data["detail"].as_str().unwrap().contains("it ends at"), "{}", rejected.data);
    // A participant says it of their own.
    let caller = system.client.login("RID001").await;
    let said = ok(caller.post("/api/v1/chat/message", &message("RID001", "Hi", ids("conv_1", "m1"))).await);
    system.projected(said.sequence()).await;
    let mut socket = Socket::open(&caller, "conv_1", "", &[]).await;
    socket.expect("initial").await;
    socket.say(&json!({"type": "seen", "sequence": said.sequence()})).await;
    assert_eq!(socket.expect("seen").await.data["role"], "participant");
    // Without a write edge the watcher is told, and goes on watching.
    system.stop().await.unwrap();
    mine.say(&json!({"type": "seen", "sequence": 1})).await;
    let rejected = mine.expect("rejected").await;
    assert!(rejected.data["detail"].as_str().unwrap().contains("again in a moment"), "{}", rejected.data);
    mine.say(&typing(true)).await;
    mine.say_text("x").await;
    mine.expect("rejected").await;
}

#[tokio::test]
async fn who_types_is_shown_to_the_others_on_every_instance_and_not_kept() {
    let system = with_call().await;
    let second = system.parts.only(false, false, true).start().await;
    let (one, two) = (admin(&system, "admin_1", "acme"), admin(&second, "admin_2", "acme"));
    let near = admin(&system, "admin_3", "acme");
    let (mut mine, mut my_feed) = (watch(&one).await, follow(&one).await);
    let (mut far, mut far_feed, mut near) = (watch(&two).await, follow(&two).await, follow(&near).await);
    let wanted = |is_typing: bool| json!({"conversation_id": CONVERSATION, "role": "admin", "id": "admin_1", "is_typing": is_typing});
    mine.say(&typing(true)).await;
    for frame in [far.expect("typing").await, far_feed.expect("typing").await, near.expect("typing").await] {
        assert_eq!((frame.data, frame.id), (wanted(true), None));
    }
    let posted = ok(one.post(&of("/typing"), &json!({"is_typing": false})).await);
    assert!(!posted.headers.contains_key("turnlog-sequence"));
    for frame in [far.expect("typing").await, far_feed.expect("typing").await, near.expect("typing").await] {
        assert_eq!(frame.data, wanted(false));
    }
    // It came to them in the moment in which it would have come to whoever typed.
    say(&system, "done").await;
    mine.expect("new_messages").await;
    my_feed.expect("new_messages").await;
    // And whoever comes back is not told.
    let mut again = two.feed(CONVERSATION, far.last_id.as_deref()).await;
    again.expect("new_messages").await;
    far.say(&typing(true)).await;
    assert_eq!(mine.expect("typing").await.data["id"], "admin_2");
}

#[tokio::test]
async fn admins_see_who_of_them_watches_whichever_instance_they_are_on() {
    let system = with_call().await;
    let second = system.parts.only(false, false, true).start().await;
    let (one, two) = (admin(&system, "admin_1", "acme"), admin(&second, "admin_2", "acme"));
    let mut service = system.service().feed(CONVERSATION, None).await;
    service.expect("initial").await;
    let mut mine = Socket::open(&one, CONVERSATION, "", &[]).await;
    let present = |admins: &[&str]| json!({"conversation_id": CONVERSATION, "admins": admins});
    let shown = async |socket: &mut Socket, admins: &[&str]| loop {
        let frame = socket.any().await.unwrap();
        if frame.event == "presence" && frame.data == present(admins) {
            assert_eq!(frame.id, None);
            break;
        }
        assert!(["initial", "presence"].contains(&&*frame.event), "{frame:?}");
    };
    shown(&mut mine, &["admin_1"]).await;
    let mut theirs = Socket::open(&two, CONVERSATION, "", &[]).await;
    shown(&mut mine, &["admin_1", "admin_2"]).await;
    shown(&mut theirs, &["admin_1", "admin_2"]).await;
    let also = follow(&two).await;
    theirs.leave().await;
    let third = follow(&admin(&system, "admin_3", "acme")).await;
    shown(&mut mine, &["admin_1", "admin_2", "admin_3"]).await;
    drop(also);
    shown(&mut mine, &["admin_1", "admin_3"]).await;
    drop(third);
    shown(&mut mine, &["admin_1"]).await;
    // An instance that stops says that nobody is there any more.
    let theirs = watch(&two).await;
    shown(&mut mine, &["admin_1", "admin_2"]).await;
    second.stop().await.unwrap();
    shown(&mut mine, &["admin_1"]).await;
    drop(theirs);
    // Whoever is no admin heard nothing of it.
    say(&system, "done").await;
    assert_eq!(service.any().await.unwrap().event, "new_messages");
}

#[tokio::test]
async fn a_participant_is_not_told_who_watches() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let said = message("RID001", "Hello", json!({"elevenlabs_conversation_id": CONVERSATION}));
    ok(caller.post("/api/v1/chat/message", &said).await);
    open_call(&system).await;
    let mut theirs = Socket::open(&caller, CONVERSATION, "", &[]).await;
    assert_eq!(theirs.any().await.unwrap().event, "initial");
    let mut mine = Socket::open(&admin(&system, "admin_1", "acme"), CONVERSATION, "", &[]).await;
    while mine.any().await.unwrap().event != "presence" {}
    mine.say(&typing(true)).await;
    assert_eq!(theirs.any().await.unwrap().event, "typing");
    theirs.say(&typing(true)).await;
    let frame = mine.expect("typing").await;
    assert_eq!((&frame.data["role"], &frame.data["id"]), (&json!("participant"), &json!("RID001")));
}

#[tokio::test]
async fn whoever_loses_access_is_told_and_closed() {
    let system = with_call().await;
    let (one, two) = (admin(&system, "admin_1", "acme"), admin(&system, "admin_2", "acme"));
    let mut theirs = watch(&two).await;
    ok(one.post(&of("/takeover"), &json!({})).await);
    say(&system, "only for who holds it").await;
    let error = theirs.expect("error").await;
    assert!(error.data["error"].as_str().unwrap().starts_with("Access denied"), "{}", error.data);
    assert_eq!(theirs.is_closed().await, 1008);
    refused(&two, &format!("{CONVERSATION}/ws"), &[]).await.assert_problem(403);
}

#[tokio::test]
async fn what_makes_no_sense_is_answered_and_the_socket_goes_on() {
    let system = with_call().await;
    let one = admin(&system, "admin_1", "acme");
    let mut socket = watch(&one).await;
    let bad = [
        "",
        "{",
        "null",
        "[]",
        "\u{0}",
        r#"{"type":"end"}"#,
        r#"{"type":"seen"}"#,
        r#"{"type":"seen","sequence":0}"#,
        r#"{"type":"seen","sequence":-1}"#,
        r#"{"type":"seen","sequence":1.5}"#,
        r#"{"type":"seen","sequence":99999999999999999999}"#,
        r#"{"type":"typing","is_typing":"yes"}"#,
        r#"{"event":"typing","is_typing":true}"#,
    ];
    for text in bad {
        socket.say_text(text).await;
        let rejected = socket.expect("rejected").await;
        assert!(rejected.data["detail"].as_str().unwrap().starts_with("Say {"), "{text}: {}", rejected.data);
    }
    socket.say_bytes(br#"{"type":"typing","is_typing":true}"#).await;
    assert!(socket.expect("rejected").await.data["detail"].as_str().unwrap().ends_with("as a text."));
    socket.say(&json!({"type": "seen", "sequence": u64::MAX})).await;
    socket.expect("rejected").await;
    say(&system, "still here").await;
    assert_eq!(contents(&socket.expect("new_messages").await), ["still here"]);
    // Those who only look.
    for caller in [system.service(), person(&system, &Who::Researcher("r1".into()))] {
        let mut socket = watch(&caller).await;
        socket.say(&typing(true)).await;
        let rejected = socket.expect("rejected").await;
        assert!(rejected.data["detail"].as_str().unwrap().starts_with("Only participants and admins"));
    }
}

#[tokio::test]
async fn whoever_says_far_too_much_is_slowed_down_or_closed_and_costs_nobody_else() {
    let system = with_call().await;
    let (one, two) = (admin(&system, "admin_1", "acme"), admin(&system, "admin_2", "acme"));
    let (mut flooding, mut other) = (watch(&one).await, follow(&two).await);
    for n in 0..200 {
        flooding.say(&typing(n % 2 == 0)).await;
    }
    let rejected = flooding.expect("rejected").await;
    assert!(rejected.data["detail"].as_str().unwrap().starts_with("Too much at once"), "{}", rejected.data);
    other.expect("typing").await;
    let mut large = watch(&one).await;
    large.say_text(&"x".repeat(4097)).await;
    assert_eq!(large.is_closed().await, 1009);
    let mut huge = watch(&one).await;
    huge.say_bytes(&vec![0; 8 * 1024 * 1024]).await;
    // What is left unread may turn our word into a reset.
    assert_eq!(huge.next().await, None);
    assert!(huge.closed.is_none_or(|(code, _)| code == 1008));
    say(&system, "still here").await;
    while other.next().await.unwrap().event != "new_messages" {}
}

#[tokio::test]
async fn nobody_gets_in_without_a_right_and_no_other_page_by_the_cookie() {
    let named = "https://app.example.org";
    let edge = Edge { origins: named.parse().unwrap(), ..Parts::fresh().await.edge };
    let system = Parts { edge, ..Parts::fresh().await }.start().await;
    open_call(&system).await;
    let one = admin(&system, "admin_1", "acme");
    let path = format!("{CONVERSATION}/ws");
    refused(&system.client, &path, &[]).await.assert_problem(401);
    refused(&system.client.with("x"), &path, &[]).await.assert_problem(401);
    refused(&system.client, &format!("{path}?ticket=x"), &[]).await.assert_problem(401);
    refused(&one, "none/ws", &[]).await.assert_problem(404);
    refused(&one, &format!("{path}?after=x"), &[]).await.assert_problem(400);
    refused(&system.client.login("RID666").await, &path, &[]).await.assert_problem(403);
    let plain = one.get(&of("/ws")).await;
    plain.assert_problem(400);
    let cookie = session(&one).await;
    for foreign in ["https://evil.example.org", "null", "http://127.0.0.1:1"] {
        let page = [("Cookie", &*cookie), ("Origin", foreign)];
        refused(&system.client, &path, &page).await.assert_problem(403);
    }
    for own in [named, &*system.base] {
        let mut socket =
            Socket::open(&system.client, CONVERSATION, "", &[("cookie", &cookie), ("origin", own)]).await;
        socket.expect("initial").await;
    }
    let ticket = ok(one.post("/api/stream-tickets", &json!({})).await);
    let ticket = format!("ticket={}", ticket.body["ticket"].as_str().unwrap());
    let mut socket = Socket::open(&system.client, CONVERSATION, &ticket, &[]).await;
    socket.expect("initial").await;
    socket.say(&json!({"type": "seen", "sequence": 1})).await;
    assert_eq!(socket.expect("seen").await.data["id"], "admin_1");
    refused(&system.client, &format!("{path}?{ticket}"), &[]).await.assert_problem(401);
}

#[tokio::test]
async fn a_page_says_what_was_seen_and_who_types_by_its_cookie() {
    let system = with_call().await;
    let mut feed = follow(&admin(&system, "admin_2", "acme")).await;
    let cookie = session(&admin(&system, "admin_1", "acme")).await;
    let post = async |path: &str, body: Value, origin: Option<&str>| {
        let request = system.client.request(Method::POST, &of(path)).header("Cookie", &cookie).json(&body);
        system.client.send(origin.iter().fold(request, |request, at| request.header("Origin", *at))).await
    };
    for (path, body, event) in
        [("/seen", json!({"sequence": 1}), "seen"), ("/typing", json!({"is_typing": true}), "typing")]
    {
        for foreign in [Some("https://evil.example.org"), None] {
            post(path, body.clone(), foreign).await.assert_problem(403);
        }
        ok(post(path, body, Some(&system.base)).await);
        assert_eq!(feed.expect(event).await.data["id"], "admin_1");
    }
    // Nothing else is done by it.
    post("/takeover", json!({}), Some(&system.base)).await.assert_problem(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_leases_tokens_and_stops_are_those_of_every_feed() {
    let feed_caps = FeedCaps { per_token: per_minute(1), ..FeedCaps::default() };
    let parts = Parts { feed_caps, heartbeat: Duration::from_millis(200), ..Parts::fresh().await };
    let system = parts.start().await;
    open_call(&system).await;
    let path = format!("{CONVERSATION}/ws");
    let one = admin(&system, "admin_1", "acme");
    let mut socket = watch(&one).await;
    refused(&one, &path, &[]).await.assert_problem(429);
    // It is there for as long as its peer answers pings.
    for _ in 0..10 {
        while socket.any().await.unwrap().event != "heartbeat" {}
    }
    socket.leave().await;
    eventually("its place is free", || async { one.try_feed(CONVERSATION, None).await.ok() }).await;
    // One who answers nothing is gone after two heartbeats.
    let silent = admin(&system, "admin_2", "acme");
    let host = system.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let headers = UPGRADE.map(|(name, value)| format!("{name}: {value}\r\n")).concat();
    let token = silent.token();
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\n{headers}Authorization: Bearer {token}\r\n\r\n",
        of("/ws")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("it is not given up").unwrap();
    let heard = String::from_utf8_lossy(&all);
    assert!(heard.starts_with("HTTP/1.1 101 ") && heard.contains("initial"), "{heard:.100}");
    assert!((2..=3).contains(&heard.matches("heartbeat").count()), "{heard}");
    eventually("its place is free", || async { silent.try_feed(CONVERSATION, None).await.ok() }).await;
    // Its token is given up, or expires.
    let caller = system.client.login("RID001").await;
    let said = ok(caller.post("/api/v1/chat/message", &message("RID001", "Hi", ids("conv_1", "m1"))).await);
    system.projected(said.sequence()).await;
    let mut socket = Socket::open(&caller, "conv_1", "", &[]).await;
    socket.expect("initial").await;
    ok(caller.post("/api/v1/auth/logout", &json!({})).await);
    assert!(socket.expect("error").await.data["error"].as_str().unwrap().contains("revoked"));
    assert_eq!(socket.is_closed().await, 1008);
    let who = Who::Participant("RID001".to_owned().try_into().unwrap());
    let short = Tokens::new(&system.parts.auth()).issue(&who, Duration::from_secs(3), chrono::Utc::now());
    let mut socket = Socket::open(&system.client.with(&short.unwrap()), "conv_1", "", &[]).await;
    socket.expect("initial").await;
    socket.expect("expiring").await;
    socket.expect("error").await;
    assert_eq!(socket.is_closed().await, 1008);
    // Its time is over: the client has only to come back.
    let leasing = Parts { feed_max_age: Duration::from_millis(500), ..system.parts.only(false, false, true) };
    let leasing = leasing.start().await;
    let mut socket = watch(&admin(&leasing, "admin_3", "acme")).await;
    assert_eq!(socket.is_closed().await, 1001);
}

/// More than are ended in one step: the stop has to wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_every_websocket_with_a_word() {
    let system = with_call().await;
    let one = admin(&system, "admin_1", "acme");
    let mut sockets = Vec::new();
    for _ in 0..60 {
        sockets.push(watch(&one).await);
    }
    let watching = sockets
        .into_iter()
        .map(|mut socket| tokio::spawn(async move { (socket.is_closed().await, socket.closed.unwrap().1) }));
    let watching: Vec<_> = watching.collect();
    system.stop().await.unwrap();
    for socket in watching {
        assert_eq!(socket.await.unwrap(), (1001, "stopping".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_passes_nginx() {
    let parts = Parts::fresh().await;
    let system = parts.only(true, true, false).start().await;
    let streamer = Binary::serve_with("streamer", &parts, &[("HEARTBEAT_SECONDS", "1")]).await;
    open_call(&system).await;
    let directives = "proxy_http_version 1.1; proxy_set_header Host $http_host; \
                      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
    let nginx = Nginx::before(streamer.client.base(), directives).await;
    let through = nginx.client.with(admin(&system, "admin_1", "acme").token());
    let mut socket = watch(&through).await;
    say(&system, "through").await;
    assert_eq!(contents(&socket.expect("new_messages").await), ["through"]);
    for _ in 0..3 {
        while socket.any().await.unwrap().event != "heartbeat" {}
    }
    socket.say(&json!({"type": "seen", "sequence": 1})).await;
    assert_eq!(socket.expect("seen").await.data["sequence"], 1);
    socket.leave().await;
    eventually("its place is free", || async {
        (streamer.client.metric("turnlog_feeds_open").await == Some(0.0)).then_some(())
    })
    .await;
    // By the cookie, from a page that came through it, too.
    let cookie = session(&admin(&system, "admin_1", "acme")).await;
    let page = [("cookie", &*cookie), ("origin", nginx.client.base())];
    Socket::open(&nginx.client, CONVERSATION, "", &page).await.expect("initial").await;
}
