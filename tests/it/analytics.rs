//! Numbers by day and provider: what they say, who is told them, and that they are what the tables add up to whatever
//! happens.

use chrono::DateTime;
use projector::verify;
use serde_json::{Value, json};
use shared::auth::Who;
use shared::config::{DatabaseSettings, Secret};
use shared::events::{Call, Correction, Ending, Event, Message, Worker};
use shared::ids::{Provider, Speaker, Timestamp};
use shared::log::Log;
use shared::objects::Objects;
use tests::{Client, Reply, System};

use crate::calls::{admin, ok, with_call};
use crate::continuity::{OWNER, Talk};
use crate::{ids, message, person, publish};

const MESSAGES: &str = "/api/v1/analytics/messages";
const CONVERSATIONS: &str = "/api/v1/analytics/conversations";
const ANSWERS: &str = "/api/v1/analytics/answers";

fn researcher(system: &System) -> Client {
    person(system, &Who::Researcher("r1".into()))
}

async fn say(caller: &Client, role: &str, id: &str, at: &str, content: &str) -> u64 {
    let mut body = message(OWNER, content, ids("conv_1", id));
    (body["role"], body["timestamp"]) = (json!(role), json!(at));
    let stored: Reply = caller.post("/api/v1/chat/message", &body).await;
    assert_eq!(stored.status, 200, "{}", stored.text);
    stored.sequence()
}

async fn numbers(caller: &Client, path: &str, query: &str) -> Value {
    let reply = caller.get(&format!("{path}?{query}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.body
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_count_on_the_day_they_were_said_with_the_length_they_have_now() {
    let system = System::start().await;
    let (own, reader) = (system.client.login(OWNER).await, researcher(&system));
    // In Delhi the third day has begun; in UTC it has not.
    say(&own, "user", "m1", "2025-10-03T05:29:59+05:30", "1234").await;
    say(&own, "assistant", "m2", "2025-10-03T05:30:01+05:30", "né🦀").await;
    say(&own, "user", "m3", "2025-10-03T00:00:10Z", "12").await;
    // Corrected, sent again, and said by somebody else through another frontend.
    say(&own, "user", "m3", "2025-10-03T00:00:10Z", "123456").await;
    say(&own, "user", "m3", "2025-10-03T00:00:10Z", "123456").await;
    let mut other = message(OWNER, "x", json!({"provider": "openai"}));
    other["timestamp"] = json!("2025-10-04T12:00:00Z");
    let last = ok(own.post("/api/v1/chat/message", &other).await).sequence();
    let query = format!("from=2025-10-01&to=2025-10-03&after={last}");
    let expected = json!({
        "success": true, "from": "2025-10-01", "to": "2025-10-03",
        "providers": [{
            "provider": "elevenlabs", "messages": 3, "average_length": 4.333,
            "user": {"messages": 2, "average_length": 5.0}, "assistant": {"messages": 1, "average_length": 3.0},
        }],
        "days": [
            {"day": "2025-10-02", "provider": "elevenlabs", "messages": 1, "average_length": 4.0,
             "user": {"messages": 1, "average_length": 4.0}, "assistant": {"messages": 0, "average_length": null}},
            {"day": "2025-10-03", "provider": "elevenlabs", "messages": 2, "average_length": 4.5,
             "user": {"messages": 1, "average_length": 6.0}, "assistant": {"messages": 1, "average_length": 3.0}},
        ],
    });
    assert_eq!(numbers(&reader, MESSAGES, &query).await, expected);
    let all = numbers(&reader, MESSAGES, "from=2025-10-01&to=2025-10-04").await;
    assert_eq!(all["providers"].as_array().unwrap().len(), 2);
    let of = numbers(&reader, MESSAGES, "from=2025-10-01&to=2025-10-04&provider=openai").await;
    assert_eq!(of["days"], json!([all["days"][2]]));
    assert_eq!(numbers(&reader, MESSAGES, "").await["days"], json!([]));
    // What people's own SQL says.
    let sql = system
        .rows("SELECT count(*) AS n, round(avg(length(content)), 3) AS l FROM paco_conversations WHERE provider = 'elevenlabs'")
        .await;
    assert_eq!((&sql[0]["n"], &sql[0]["l"]), (&json!(3), &json!(4.333)));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_measured_from_the_message_before_them() {
    let system = System::start().await;
    let (own, reader) = (system.client.login(OWNER).await, researcher(&system));
    say(&own, "assistant", "m1", "2025-10-03T10:00:00Z", "Welcome.").await;
    say(&own, "user", "m2", "2025-10-03T10:00:10Z", "Hello?").await;
    say(&own, "user", "m3", "2025-10-03T10:00:12Z", "Are you there?").await;
    let m4 = say(&own, "assistant", "m4", "2025-10-03T10:00:14Z", "I am.").await;
    say(&own, "assistant", "m5", "2025-10-03T10:00:15Z", "Go on.").await;
    say(&own, "user", "m6", "2025-10-03T10:01:00Z", "I fell.").await;
    // Its clock was behind.
    let last = say(&own, "assistant", "m7", "2025-10-03T10:00:59Z", "Oh.").await;
    let query = format!("from=2025-10-03&to=2025-10-03&after={last}");
    let answers = numbers(&reader, ANSWERS, &query).await;
    let waited = json!({"count": 1, "average": 2.0, "p50": 2.25, "p90": 2.45, "p99": 2.495,
                        "buckets": [{"from": 2.0, "to": 2.5, "count": 1}]});
    assert_eq!(answers["providers"], json!([{"provider": "elevenlabs", "waited": waited}]));
    assert_eq!(answers["days"][0]["day"], "2025-10-03");
    // Corrected: the user spoke earlier, the answer that was early came in time.
    say(&own, "user", "m3", "2025-10-03T10:00:04Z", "Are you there at all?").await;
    let last = say(&own, "assistant", "m7", "2025-10-03T10:01:30Z", "Oh!").await;
    let query = format!("from=2025-10-03&to=2025-10-03&after={last}");
    let answers = numbers(&reader, ANSWERS, &query).await;
    let waited = &answers["providers"][0]["waited"];
    assert_eq!((&waited["count"], &waited["average"]), (&json!(2), &json!(20.0)), "{m4}: {answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_count_on_the_day_they_began_with_what_became_of_them() {
    let system = System::start().await;
    let reader = researcher(&system);
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    for (id, status, seconds) in
        [("a", Some("done"), Some(40)), ("b", Some("failed"), Some(70)), ("c", None, None)]
    {
        let talk = Talk { owner: OWNER, id, dream: "d1", vendor: id };
        publish(&log, &talk.said(0, 1, "hello")).await;
        if status.is_some() {
            publish(&log, &talk.reported(0, status, seconds)).await;
        }
    }
    let talk = Talk { owner: OWNER, id: "c", dream: "d1", vendor: "c" };
    let last = publish(&log, &talk.said(1, 2, "still there?")).await;
    let query = format!("from=2025-01-08&to=2025-01-08&after={last}");
    let all = numbers(&reader, CONVERSATIONS, &query).await;
    assert_eq!(all["active"], json!({"conversations": 1, "by_provider": {"elevenlabs": 1}}));
    let held = &all["providers"][0];
    assert_eq!((&held["conversations"], &held["ended"], &held["failed"]), (&json!(3), &json!(1), &json!(1)));
    let durations = &held["durations"];
    assert_eq!((&durations["count"], &durations["average"]), (&json!(2), &json!(55.0)));
    assert_eq!(
        durations["buckets"],
        json!([{"from": 30.0, "to": 60.0, "count": 1}, {"from": 60.0, "to": 120.0, "count": 1}])
    );
    // It goes on, so it is not over.
    let talk = Talk { owner: OWNER, id: "b", dream: "d1", vendor: "b" };
    let last = publish(&log, &talk.opened(1)).await;
    let all = numbers(&reader, CONVERSATIONS, &format!("from=2025-01-08&to=2025-01-08&after={last}")).await;
    assert_eq!(all["active"]["conversations"], 2);
    assert_eq!((&all["days"][0]["failed"], &all["days"][0]["durations"]["count"]), (&json!(0), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_is_told_of_their_company_and_nobody_else_is_told() {
    let system = with_call().await;
    let (service, own) = (system.service(), system.client.login(OWNER).await);
    let last = say(&own, "user", "m1", "2025-10-03T10:00:00Z", "of no company").await;
    let query = |last: u64| format!("from=2025-10-01&to=2025-10-03&after={last}");
    let messages = async |caller: &Client, last| {
        let all = numbers(caller, MESSAGES, &query(last)).await;
        let of = all["providers"].as_array().unwrap().iter();
        of.map(|provider| provider["messages"].as_i64().unwrap()).sum::<i64>()
    };
    let (acme, umbrella) = (admin(&system, "a1", "acme"), admin(&system, "a2", "umbrella"));
    assert_eq!(messages(&researcher(&system), last).await, 2);
    assert_eq!((messages(&acme, last).await, messages(&umbrella, last).await), (1, 0));
    let of = numbers(&researcher(&system), MESSAGES, &format!("{}&company=acme", query(last))).await;
    assert_eq!(of["providers"][0]["messages"], 1);
    // The worker is of another company now, and with them what they said.
    let moved = json!({"company_id": "umbrella", "mobile_no": "+919325590143", "name": "Asha"});
    let last = ok(service.put("/api/workers/worker_919325590143", &moved).await).sequence();
    assert_eq!((messages(&acme, last).await, messages(&umbrella, last).await), (0, 1));
    assert_eq!(numbers(&acme, CONVERSATIONS, &query(last)).await["active"]["conversations"], 0);
    assert_eq!(numbers(&umbrella, CONVERSATIONS, &query(last)).await["active"]["conversations"], 1);
    // The directory says otherwise than the token.
    let elsewhere = json!({"company_id": "acme", "name": "Bo"});
    let last = ok(service.put("/api/admins/a2", &elsewhere).await).sequence();
    umbrella.get(&format!("{MESSAGES}?after={last}")).await.assert_problem(403);
    for path in [MESSAGES, CONVERSATIONS, ANSWERS] {
        own.get(path).await.assert_problem(403);
        service.get(path).await.assert_problem(403);
        system.client.get(path).await.assert_problem(401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_named() {
    let system = System::start().await;
    let reader = researcher(&system);
    for path in [MESSAGES, CONVERSATIONS, ANSWERS] {
        let wrong = "from=2025-13-01&to=3&provider=paper&company=&after=x";
        let reply = reader.get(&format!("{path}?{wrong}")).await;
        reply.assert_problem(400);
        let mut fields = reply.bad_fields();
        fields.sort_unstable();
        assert_eq!(fields, ["after", "company", "from", "provider", "to"]);
        let reply = reader.get(&format!("{path}?from=2024-01-01&to=2025-01-01")).await;
        assert_eq!(reply.bad_fields(), ["from"]);
    }
}

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn time(second: u64) -> Timestamp {
    let second = 1_759_449_000 + i64::try_from(second).unwrap();
    Timestamp::from_parts(DateTime::from_timestamp(second, 0).unwrap(), 0)
}

fn id<T: TryFrom<String>>(text: String) -> T {
    T::try_from(text).ok().unwrap()
}

fn said(conversation: u64, ordinal: u64, dice: &mut Dice) -> Message {
    Message {
        conversation_id: id(format!("c{conversation}")),
        participant_id: None,
        ordinal,
        message_id: None,
        idempotency_key: None,
        role: if dice.below(2) == 0 { Speaker::User } else { Speaker::Assistant },
        content: "é".repeat(usize::try_from(dice.below(9)).unwrap()),
        timestamp: time(dice.below(3_000)),
        provider: [Provider::Openai, Provider::Elevenlabs, Provider::Call]
            [usize::try_from(dice.below(3)).unwrap()],
        inserted_at: None,
        event_id: None,
        reported: false,
        original: None,
        sources: None,
        attachments: Vec::new(),
        late: false,
        session: 0,
    }
}

/// Something that happens, of everything that can; `stored` are the messages so far.
fn happening(
    dice: &mut Dice,
    stored: &[(u64, u64, u64)],
    sessions: &mut [u32; 12],
) -> (Event, Option<(u64, u64)>) {
    let conversation = dice.below(12);
    // Who opens a call twice says the same of it.
    let call = Call {
        conversation_id: id(format!("c{conversation}")),
        call_id: id(format!("call{conversation}")),
        worker_id: id(format!("w{}", conversation % 3)),
        mobile_no: "1".into(),
        urgency: "HIGH".into(),
        medium: "Voice".into(),
        opened_at: time(100 * conversation),
        admin_id: None,
    };
    let whole = format!("c{conversation}");
    let talk = Talk { owner: OWNER, id: &whole, dream: "d1", vendor: "v" };
    let event = match dice.below(20) {
        0 if conversation < 6 => Event::CallOpened(call),
        1 => Event::WorkerRegistered(Worker {
            worker_id: id(format!("w{}", dice.below(3))),
            company_id: id(["acme", "umbrella"][usize::try_from(dice.below(2)).unwrap()].to_owned()),
            mobile_no: "1".into(),
            name: None,
        }),
        2 if stored.iter().any(|(of, ..)| *of == conversation) => Event::ConversationEnded(Ending {
            conversation_id: id(whole),
            call: None,
            ended_at: time(dice.below(6_000)),
            by: None,
        }),
        3 => talk.reported(0, Some(["done", "failed"][usize::try_from(dice.below(2)).unwrap()]), Some(7)),
        4 => {
            let opened = &mut sessions[usize::try_from(conversation).unwrap()];
            *opened += 1;
            talk.opened(*opened)
        }
        5..=8 if !stored.is_empty() => {
            let (conversation, ordinal, first_sequence) =
                stored[usize::try_from(dice.below(stored.len() as u64)).unwrap()];
            let message = said(conversation, ordinal, dice);
            Event::MessageCorrected(Correction { first_sequence, message, sent: None })
        }
        _ => {
            let ordinal = stored.iter().filter(|(of, ..)| *of == conversation).count() as u64 + 1;
            return (
                Event::MessageRecorded(said(conversation, ordinal, dice)),
                Some((conversation, ordinal)),
            );
        }
    };
    (event, None)
}

/// However the events fall into batches: `verify` counts everything anew, from the log.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_the_numbers_are_what_the_tables_add_up_to() {
    let system = System::start().await;
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let objects = Objects::open(&system.parts.nats, "test").await.unwrap();
    let settings = DatabaseSettings { url: Secret::new(system.parts.database_url.clone()) };
    let (mut dice, mut stored, mut last) = (Dice(0x9e37_79b9_7f4a_7c15), Vec::new(), 0);
    let mut sessions = [0; 12];
    for round in 0..6 {
        for _ in 0..120 {
            let (event, message) = happening(&mut dice, &stored, &mut sessions);
            last = publish(&log, &event).await;
            stored.extend(message.map(|(conversation, ordinal)| (conversation, ordinal, last)));
            // Some batches are of one event, some of many.
            if dice.below(10) == 0 {
                system.projected(last).await;
            }
        }
        system.projected(last).await;
        let (mut found, mut show) = (Vec::new(), |_| ());
        let mut each = |difference| found.push(difference);
        let verified =
            Box::pin(verify::run(&settings, &log, &objects, true, &mut show, &mut each)).await.unwrap();
        assert_eq!((verified.events, found), (last, Vec::new()), "round {round}");
    }
    let rows = system.rows("SELECT DISTINCT measure, company = '' AS of_none FROM turnlog.day_counts").await;
    assert_eq!(rows.len(), 14, "not everything happened: {rows:?}");
}
