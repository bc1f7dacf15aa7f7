//! Calls: opened by a service, watched and held by admins, ended; and who loses sight of them when.

use chrono::Utc;
use serde_json::{Value, json};
use shared::auth::{Tokens, Who};
use tests::{Client, Feed, Reply, System, eventually};

pub(crate) const CONVERSATION: &str = "conv_919325590143_20251003_115804";

fn call() -> Value {
    json!({"worker_id": "worker_919325590143", "mobile_no": "+919325590143", "urgency": "CRITICAL",
           "medium": "Voice", "timestamp": "2025-10-03T11:58:04+05:30"})
}

pub(crate) fn turn(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content, "timestamp": "2025-10-03T11:58:18+05:30", "sources": "OSHA"})
}

pub(crate) fn of(path: &str) -> String {
    format!("/api/conversation/{CONVERSATION}{path}")
}

/// A caller with an admin's token.
pub(crate) fn admin(system: &System, id: &str, company: &str) -> Client {
    let who =
        Who::Admin { id: id.to_owned().try_into().unwrap(), company: company.to_owned().try_into().unwrap() };
    let hour = std::time::Duration::from_secs(3600);
    system.client.with(&Tokens::new(&system.parts.auth()).issue(&who, hour, Utc::now()).unwrap())
}

/// A system with the seed's worker of the company `acme`, and their call.
pub(crate) async fn with_call() -> System {
    let system = System::start().await;
    open_call(&system).await;
    system
}

/// Opens it.
pub(crate) async fn open_call(system: &System) {
    let service = system.service();
    let worker = json!({"company_id": "acme", "mobile_no": "+919325590143", "name": "Asha"});
    ok(service.put("/api/workers/worker_919325590143", &worker).await);
    let opened = ok(service.post("/api/calls", &call()).await);
    assert_eq!(opened.body["conversation_id"], CONVERSATION);
    assert_eq!(opened.body["call_id"], "call_919325590143_20251003_115804");
    let said = turn("user", "My friend is falling from a floor, what should I do?");
    let told = ok(service.post(&of("/messages"), &said).await);
    system.projected(told.sequence()).await;
}

pub(crate) fn ok(reply: Reply) -> Reply {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

async fn post(caller: &Client, path: &str) -> Reply {
    caller.post(&of(path), &json!({})).await
}

async fn delete(caller: &Client, path: &str) -> Reply {
    caller.send(caller.request(reqwest::Method::DELETE, path)).await
}

/// Waits for the feed's error, which must be the next thing it says, and for its end.
async fn assert_lost(mut feed: Feed) {
    let error = feed.expect("error").await;
    assert!(error.data["error"].as_str().unwrap().starts_with("Access denied"), "{}", error.data);
    assert!(feed.any().await.is_none(), "the feed went on");
}

#[tokio::test]
async fn a_snapshot_has_the_call_with_the_seeds_ids_and_words() {
    let system = with_call().await;
    let reply = ok(admin(&system, "admin_1", "acme").get(&of("")).await);
    let conversation = &reply.body["conversation"];
    let wanted = json!({
        "conversation_id": CONVERSATION, "call_id": "call_919325590143_20251003_115804",
        "worker_id": "worker_919325590143", "mobile_no": "+919325590143", "urgency": "CRITICAL",
        "status": "ACTIVE", "medium": "Voice", "timestamp": "2025-10-03T11:58:04+05:30",
        "total_messages": 1, "admin_id": null,
    });
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(conversation[name], *value, "{name}");
    }
    let message = &conversation["messages"][0];
    assert_eq!(message["message_id"], "msg_919325590143_20251003_115804_0001");
    assert_eq!(message["sources"], "OSHA");
    // Another company, and the same admin with a token of another.
    admin(&system, "admin_2", "other").get(&of("")).await.assert_problem(403);
    admin(&system, "admin_1", "acme").get("/api/conversation/none").await.assert_problem(404);
}

#[tokio::test]
async fn a_call_is_opened_once_and_its_urgency_may_change() {
    let system = with_call().await;
    let service = system.service();
    let again = ok(service.post("/api/calls", &call()).await);
    let mut changed = call();
    changed["urgency"] = json!("LOW");
    let mut feed = admin(&system, "admin_1", "acme").feed(CONVERSATION, None).await;
    feed.expect("initial").await;
    let second = ok(service.post("/api/calls", &changed).await);
    assert!(second.sequence() > again.sequence());
    let frame = feed.expect("conversation").await;
    assert_eq!(frame.data["urgency"], "LOW");
    assert!(frame.id.is_some());
    let mut other = call();
    other["worker_id"] = json!("worker_2");
    service.post("/api/calls", &other).await.assert_problem(409);
    let empty = service.post("/api/calls", &json!({})).await;
    empty.assert_problem(400);
    assert_eq!(empty.bad_fields(), ["worker_id", "mobile_no", "urgency", "medium", "timestamp"]);
    admin(&system, "admin_1", "acme").post("/api/calls", &call()).await.assert_problem(403);
    service.post("/api/conversation/none/messages", &turn("user", "x")).await.assert_problem(404);
}

#[tokio::test]
async fn of_two_admins_on_two_instances_one_takes_the_call_and_the_other_loses_sight() {
    let system = with_call().await;
    let second = system.parts.only(true, false, false).start().await;
    for round in 0..10 {
        let (one, two) = (admin(&system, "admin_1", "acme"), admin(&second, "admin_2", "acme"));
        let (first, other) = tokio::join!(post(&one, "/takeover"), post(&two, "/takeover"));
        let mut codes = [first.status, other.status];
        codes.sort_unstable();
        assert_eq!(codes, [200, 409], "round {round}");
        let first_won = first.status == 200;
        let (won, lost, loser) = if first_won { (&one, other, &two) } else { (&two, first, &one) };
        let holder = if first_won { "admin_1" } else { "admin_2" };
        assert!(lost.body["detail"].as_str().unwrap().contains(holder), "{}", lost.text);
        // Only who holds it gives it back; a repeat of a takeover changes nothing.
        post(loser, "/release").await.assert_problem(409);
        ok(post(won, "/takeover").await);
        ok(post(won, "/release").await);
    }
}

#[tokio::test]
async fn a_takeover_ends_the_feeds_of_the_others_and_a_release_lets_them_back() {
    let system = with_call().await;
    let (one, two) = (admin(&system, "admin_1", "acme"), admin(&system, "admin_2", "acme"));
    let (mut mine, mut theirs) = (one.feed(CONVERSATION, None).await, two.feed(CONVERSATION, None).await);
    mine.expect("initial").await;
    theirs.expect("initial").await;
    let taken = ok(post(&one, "/takeover").await);
    ok(system.service().post(&of("/messages"), &turn("user", "only for who holds it")).await);
    assert_lost(theirs).await;
    assert_eq!(mine.expect("conversation").await.data["admin_id"], "admin_1");
    assert_eq!(mine.expect("new_messages").await.data["messages"][0]["content"], "only for who holds it");
    two.get(&format!("{}?after={}", of(""), taken.sequence())).await.assert_problem(403);
    two.post(&of("/seen"), &json!({"sequence": 1})).await.assert_problem(403);
    let released = ok(post(&one, "/release").await);
    ok(two.get(&format!("{}?after={}", of(""), released.sequence())).await);
}

#[tokio::test]
async fn whoever_moves_or_leaves_loses_sight_at_once() {
    let system = with_call().await;
    let service = system.service();
    let (one, two) = (admin(&system, "admin_1", "acme"), admin(&system, "admin_2", "acme"));
    for (change, at) in [("worker", "/api/workers/worker_919325590143"), ("admin", "/api/admins/admin_1")] {
        let back = ok(service.put(at, &json!({"company_id": "acme", "mobile_no": "+919325590143"})).await);
        system.projected(back.sequence()).await;
        let mut feed = one.feed(CONVERSATION, None).await;
        feed.expect("initial").await;
        let moved = json!({"company_id": "other", "mobile_no": "+919325590143"});
        let moved = ok(service.put(at, &moved).await);
        ok(service.post(&of("/messages"), &turn("user", change)).await);
        assert_lost(feed).await;
        one.get(&format!("{}?after={}", of(""), moved.sequence())).await.assert_problem(403);
        one.post(&of("/takeover"), &json!({})).await.assert_problem(403);
        ok(service.put(at, &json!({"company_id": "acme", "mobile_no": "+919325590143"})).await);
    }
    // One who was never registered, only a token says who they are, can be sent away too.
    let shown = ok(two.get(&of("")).await);
    assert_eq!(shown.body["conversation"]["total_messages"], 3);
    let mut feed = two.feed(CONVERSATION, None).await;
    feed.expect("initial").await;
    ok(delete(&service, "/api/admins/admin_2").await);
    assert_lost(feed).await;
    let mut feed = one.feed(CONVERSATION, None).await;
    feed.expect("initial").await;
    ok(delete(&service, "/api/workers/worker_919325590143").await);
    assert_lost(feed).await;
    delete(&service, "/api/workers/nobody").await.assert_problem(404);
}

#[tokio::test]
async fn an_end_is_told_closes_feeds_and_what_comes_later_is_marked() {
    let system = with_call().await;
    let service = system.service();
    let one = admin(&system, "admin_1", "acme");
    let mut feed = one.feed(CONVERSATION, None).await;
    feed.expect("initial").await;
    post(&one, "/end").await.assert_problem(403);
    ok(post(&one, "/takeover").await);
    feed.expect("conversation").await;
    let ended = ok(post(&one, "/end").await);
    let frame = feed.expect("ended").await;
    assert_eq!(frame.data, json!({"message": "Conversation has ended", "conversation_id": CONVERSATION}));
    assert!(feed.any().await.is_none());
    assert_eq!(ok(post(&service, "/end").await).sequence(), ended.sequence(), "it ends once");
    let late = ok(service.post(&of("/messages"), &turn("assistant", "too late")).await);
    system.projected(late.sequence()).await;
    // Whoever comes back gets what came since, and is told again.
    let mut feed = one.feed(CONVERSATION, feed.last_id.as_deref()).await;
    let messages = feed.expect("new_messages").await;
    assert_eq!(messages.data["messages"][0]["late"], true);
    feed.expect("ended").await;
    assert!(feed.any().await.is_none());
    let snapshot = ok(one.get(&of("")).await);
    assert_eq!(snapshot.body["conversation"]["status"], "ENDED");
    assert_eq!(snapshot.body["conversation"]["messages"][0].get("late"), None);
    let counts =
        system.rows("SELECT status, conversations FROM turnlog.conversation_counts ORDER BY status").await;
    assert_eq!(counts[1], json!({"status": "ENDED", "conversations": 1}), "{counts:?}");
    assert_eq!(counts[0], json!({"status": "ACTIVE", "conversations": 0}), "{counts:?}");
}

#[tokio::test]
async fn who_has_seen_what_is_kept_and_shown() {
    let system = with_call().await;
    let one = admin(&system, "admin_1", "acme");
    let mut feed = one.feed(CONVERSATION, None).await;
    let initial = feed.expect("initial").await;
    let sequence = initial.data["messages"][0]["sequence"].as_u64().unwrap();
    let seen = ok(one.post(&of("/seen"), &json!({"sequence": sequence})).await);
    let frame = feed.expect("seen").await;
    let wanted =
        json!({"conversation_id": CONVERSATION, "role": "admin", "id": "admin_1", "sequence": sequence});
    assert_eq!(frame.data, wanted);
    // What was seen stays seen; what is not there cannot be.
    assert_eq!(ok(one.post(&of("/seen"), &json!({"sequence": 1})).await).sequence(), seen.sequence());
    let ahead = one.post(&of("/seen"), &json!({"sequence": 1_000_000})).await;
    ahead.assert_problem(400);
    assert_eq!(ahead.bad_fields(), ["sequence"]);
    let snapshot = ok(one.get(&format!("{}?after={}", of(""), seen.sequence())).await);
    let receipt = json!([{"role": "admin", "id": "admin_1", "sequence": sequence}]);
    assert_eq!(snapshot.body["conversation"]["seen"], receipt);
    // A client that was away is told on its return.
    let mut feed = one.feed(CONVERSATION, initial.id.as_deref()).await;
    assert_eq!(feed.expect("seen").await.data, wanted);
}

#[tokio::test]
async fn nobody_claims_a_call_by_knowing_its_id() {
    let system = with_call().await;
    let thief = system.client.login("RID666").await;
    let message = crate::message("RID666", "mine now", json!({"elevenlabs_conversation_id": CONVERSATION}));
    thief.post("/api/v1/chat/message", &message).await.assert_problem(403);
    thief.get(&of("")).await.assert_problem(403);
    thief.post(&of("/typing"), &json!({"is_typing": true})).await.assert_problem(403);
    thief.post(&of("/takeover"), &json!({})).await.assert_problem(403);
}

#[tokio::test]
async fn a_call_on_a_participants_conversation_is_its_own_to_read() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let said = crate::message("RID001", "Hello", json!({"elevenlabs_conversation_id": "conv_1"}));
    ok(caller.post("/api/v1/chat/message", &said).await);
    let mut call = call();
    call["conversation_id"] = json!("conv_1");
    ok(system.service().post("/api/calls", &call).await);
    let told = ok(system.service().post("/api/conversation/conv_1/messages", &turn("assistant", "Hi")).await);
    let shown = ok(caller.get(&format!("/api/conversation/conv_1?after={}", told.sequence())).await);
    assert_eq!(shown.body["conversation"]["urgency"], "CRITICAL");
    assert_eq!(shown.body["conversation"]["total_messages"], 2);
    let newest = shown.body["conversation"]["messages"][1]["sequence"].clone();
    let seen = ok(caller.post("/api/conversation/conv_1/seen", &json!({"sequence": newest})).await);
    let shown = ok(caller.get(&format!("/api/conversation/conv_1?after={}", seen.sequence())).await);
    assert_eq!(shown.body["conversation"]["seen"][0]["role"], "participant");
}

#[tokio::test]
async fn the_database_shows_an_admin_what_the_rule_shows_and_nothing_else() {
    let system = with_call().await;
    ok(post(&admin(&system, "admin_1", "acme"), "/takeover").await);
    let tables = ["conversations", "messages", "calls"];
    for (who, company, sees) in
        [("admin_1", "acme", 1), ("admin_2", "acme", 0), ("admin_2", "other", 0), ("", "acme", 0)]
    {
        for table in tables {
            eventually("the table shows what it should", || async {
                let mut connection = system.tables().await;
                let session = "SELECT set_config('turnlog.role', 'admin', false),
                                      set_config('turnlog.admin', $1, false),
                                      set_config('turnlog.company', $2, false)";
                sqlx::query(session).bind(who).bind(company).execute(&mut connection).await.unwrap();
                sqlx::query("SET ROLE turnlog_reader").execute(&mut connection).await.unwrap();
                let count = format!("SELECT count(*) FROM turnlog.{table}");
                let count = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(count));
                let count = count.fetch_one(&mut connection).await.unwrap();
                (count == sees).then_some(())
            })
            .await;
        }
    }
}
