//! Conversations as they stood: what a snapshot showed then is what it shows of then.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::audit::What;
use shared::auth::Who;
use shared::events::{Claim, Correction, Event, Message, Sighting, Viewer};
use shared::log::Log;
use tests::{Client, Reply, System, encode};

use crate::audit::looks;
use crate::calls::{admin, of, ok, open_call, turn};
use crate::continuity::{OWNER, Talk};
use crate::{ids, message, person, publish, rebuild, rls};

const TALK: Talk<'static> = Talk { owner: OWNER, id: "talk", dream: "d1", vendor: "conv_v" };

async fn snapshot(caller: &Client, id: &str, query: &str) -> Reply {
    caller.get(&format!("/api/conversation/{}{query}", encode(id))).await
}

/// Another version of a message, as the write edge would record it.
fn corrected(event: Event, first_sequence: u64, change: impl FnOnce(&mut Message)) -> Event {
    let Event::MessageRecorded(mut message) = event else { panic!("not a message") };
    change(&mut message);
    Event::MessageCorrected(Correction { first_sequence, message, sent: None })
}

/// A message that stands at another place than the end.
fn inserted(event: Event, place: u64) -> Event {
    let Event::MessageRecorded(message) = event else { panic!("not a message") };
    Event::MessageRecorded(Message { inserted_at: Some(place), ..message })
}

fn claimed() -> Event {
    Event::ConversationClaimed(Claim {
        conversation_id: TALK.id.to_owned().try_into().unwrap(),
        participant_id: OWNER.to_owned().try_into().unwrap(),
    })
}

fn seen(by: Viewer, sequence: u64) -> Event {
    Event::ConversationSeen(Sighting {
        conversation_id: TALK.id.to_owned().try_into().unwrap(),
        by,
        sequence,
    })
}

/// Everything that can happen to a conversation, in an order in which each changes what is seen.
fn story() -> Vec<Event> {
    let participant = Viewer::Participant(OWNER.to_owned().try_into().unwrap());
    let nobody = Viewer::Admin("a1".to_owned().try_into().unwrap());
    // The log begins with these, so that the third is at 3.
    vec![
        rls::of_nobody(TALK.reported(0, None, None)),
        rls::of_nobody(TALK.sound(0, &"b".repeat(64))),
        rls::of_nobody(TALK.said(0, 1, "who am I")),
        claimed(),
        TALK.said(0, 2, "me"),
        TALK.reported(0, Some("done"), Some(3)),
        corrected(TALK.said(0, 2, "me, at last"), 5, |message| {
            (message.message_id, message.sources, message.late) = (None, Some("OSHA".into()), true);
            message.provider = shared::ids::Provider::Call;
        }),
        seen(participant.clone(), 5),
        TALK.opened(1),
        // Of the session before: nothing of how it stands.
        TALK.reported(0, None, Some(4)),
        TALK.said(1, 3, "falling"),
        seen(nobody, 11),
        // It stands before the one before it.
        inserted(TALK.said(1, 4, "as I said"), 1),
        TALK.ended(5_000),
        TALK.said(1, 5, "late"),
        TALK.opened(2),
        TALK.reported(1, Some("done"), Some(30)),
        TALK.reported(2, Some("failed"), Some(5)),
        seen(participant, 15),
        // No message of this conversation.
        corrected(TALK.said(2, 9, "of nothing"), 999, |_| ()),
        // What no table holds is not shown, then as now.
        TALK.said(2, 6, "\0"),
        TALK.said(2, 7, "the end"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_showed_is_shown_again_of_every_sequence_and_time() {
    let system = System::start().await;
    let (service, log) = (system.service(), Log::open(&system.parts.nats, "test").await.unwrap());
    let mut kept: Vec<(u64, DateTime<Utc>, Value)> = Vec::new();
    for event in story() {
        let sequence = publish(&log, &event).await;
        let stored_at = log.get(sequence).await.unwrap().unwrap().stored_at;
        let reply = snapshot(&service, TALK.id, &format!("?after={sequence}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(log.extent().await.unwrap().last, sequence, "the story is alone in the log");
        kept.push((sequence, stored_at, reply.body));
    }
    let bodies = kept.windows(2).filter(|pair| pair[0].2 != pair[1].2).count();
    assert!(bodies > 12, "hardly anything changed: {bodies}");
    for (sequence, stored_at, body) in &kept {
        let then = snapshot(&service, TALK.id, &format!("?as_of={sequence}")).await;
        assert_eq!((then.status, &then.body), (200, body), "as of {sequence}");
        let time = stored_at.to_rfc3339_opts(SecondsFormat::Nanos, true);
        let then = snapshot(&service, TALK.id, &format!("?as_of={time}")).await;
        assert_eq!((then.status, &then.body), (200, body), "as of {time}, {sequence}");
    }
    // By the vendor's name of a session, too, and in another zone.
    let (_, stored_at, body) = &kept[kept.len() - 1];
    let zone = chrono::FixedOffset::east_opt(19_800).unwrap();
    let time = (*stored_at + TimeDelta::days(1)).with_timezone(&zone).to_rfc3339();
    let then = snapshot(&service, "conv_v2", &format!("?as_of={}", encode(&time))).await;
    assert_eq!((then.status, &then.body), (200, body), "{time}");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_of_the_last_sequence_is_as_of_now() {
    let system = System::start().await;
    let last = rebuild::busy(&system).await;
    let service = system.service();
    let conversations = system.rows("SELECT conversation_id FROM turnlog.conversations").await;
    assert!(conversations.len() >= 5, "{conversations:?}");
    for conversation in conversations {
        let id = conversation["conversation_id"].as_str().unwrap();
        let now = snapshot(&service, id, "").await;
        let then = snapshot(&service, id, &format!("?as_of={last}")).await;
        assert_eq!((then.status, then.body), (200, now.body), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_is_asked_of_today_and_the_look_is_recorded() {
    let system = System::start().await;
    open_call(&system).await;
    let (service, own, other) =
        (system.service(), admin(&system, "admin_1", "acme"), admin(&system, "admin_2", "acme"));
    let before = ok(service.post(&of("/messages"), &turn("assistant", "Hold on.")).await).sequence();
    let taken = ok(own.post(&of("/takeover"), &json!({})).await).sequence();
    let then = of(&format!("?as_of={before}&after={taken}"));
    other.get(&then).await.assert_problem(403);
    let shown = ok(own.get(&then).await);
    assert_eq!(shown.body["conversation"]["admin_id"], Value::Null);
    assert_eq!(shown.body["conversation"]["total_messages"], 2);
    let researcher = person(&system, &Who::Researcher("r1".into()));
    assert_eq!(ok(researcher.get(&then).await).body, shown.body);
    let looks = looks(&system.parts).await;
    let looks: Vec<_> = looks.iter().filter(|look| look.what == What::Snapshot).collect();
    assert_eq!(looks.len(), 2);
    for look in looks {
        assert_eq!((look.to_sequence, &look.more["as_of"]), (Some(before), &json!(before)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_there_then_is_404_and_what_is_to_come_is_400() {
    let system = System::start().await;
    let caller = system.client.login(OWNER).await;
    let body = message(OWNER, "hello", ids("conv_1", "m1"));
    let first = ok(caller.post("/api/v1/chat/message", &body).await).sequence();
    let as_of = |text: String| {
        let caller = caller.clone();
        async move { snapshot(&caller, "conv_1", &format!("?as_of={text}")).await }
    };
    // At once: its answer waits for the tables.
    assert_eq!(as_of(first.to_string()).await.body["conversation"]["total_messages"], 1);
    assert_eq!(as_of("9999-12-31T23:59:60Z".into()).await.status, 200);
    for early in [first - 1, 0] {
        as_of(early.to_string()).await.assert_problem(404);
    }
    for early in ["0000-01-01T00:00:00%2B14:00", "1970-01-01T00:00:00Z", "2016-12-31T23:59:60Z"] {
        let reply = as_of(early.into()).await;
        reply.assert_problem(404);
        assert_eq!(reply.body["detail"], "The conversation had not begun by then.");
    }
    let end = Log::open(&system.parts.nats, "test").await.unwrap().extent().await.unwrap().last;
    for wrong in ["", "-1", "yesterday", "2025-10-03", "2025-10-03T11:58:04", "1e3"] {
        let reply = as_of(wrong.into()).await;
        reply.assert_problem(400);
        assert_eq!(reply.bad_fields(), ["as_of"], "{wrong}");
    }
    for beyond in [(end + 1).to_string(), "9".repeat(30)] {
        let reply = as_of(beyond.clone()).await;
        reply.assert_problem(400);
        let said = reply.body["errors"][0]["message"].as_str().unwrap();
        assert!(said.contains("end of the log") && said.contains(&end.to_string()), "{beyond}: {said}");
    }
    snapshot(&caller, "conv_none", &format!("?as_of={end}")).await.assert_problem(404);
}
