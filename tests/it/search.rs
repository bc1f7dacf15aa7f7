//! Search: languages, queries, filters, pages, and who finds what.

use std::collections::BTreeSet;

use chrono::Utc;
use serde_json::{Value, json};
use shared::auth::Who;
use shared::envelope::{Envelope, EventId, Origin};
use shared::events::{Claim, Event};
use shared::log::Log;
use tests::{Client, Reply, System, encode};

use crate::calls::{admin, with_call};
use crate::{ids, message, person};

const SEARCH: &str = "/api/v1/search";

/// Says things in a conversation of a participant, ids m0, m1 and so on; answers the last sequence.
async fn say(caller: &Client, research_id: &str, conversation: &str, said: &[&str]) -> u64 {
    let messages: Vec<_> = said
        .iter()
        .enumerate()
        .map(|(n, content)| message(research_id, content, ids(conversation, &format!("m{n}"))))
        .collect();
    let reply = caller.post("/api/v1/chat/messages", &json!({"messages": messages})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.sequence()
}

async fn ask(caller: &Client, q: &str, more: &str) -> Reply {
    caller.get(&format!("{SEARCH}?q={}&{more}", encode(q))).await
}

async fn page(caller: &Client, q: &str, more: &str) -> Value {
    let reply = ask(caller, q, more).await;
    assert_eq!(reply.status, 200, "{q} {more}: {}", reply.text);
    reply.body
}

fn hits(page: &Value) -> &[Value] {
    page["hits"].as_array().unwrap()
}

/// The ids of the messages that are found, in order of their names.
async fn found(caller: &Client, q: &str, more: &str) -> Vec<String> {
    let page = page(caller, q, more).await;
    let mut found: Vec<_> =
        hits(&page).iter().map(|hit| hit["message_id"].as_str().unwrap().to_owned()).collect();
    found.sort();
    found
}

#[tokio::test]
async fn every_script_is_searched() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let last = say(
        &caller,
        "RID001",
        "conv_1",
        &[
            "My friend is falling from a floor, what should I do?",
            "Zürich: ein Café in der Straße, très déçu",
            "मेरे दोस्त की स्थिति गंभीर है, मदद कीजिए",
            "أَحْمَد يحتاج إلى المساعدة الآن",
            "救急車を呼んでください。東京都庁の近くです",
            "请马上叫救护车 ｶﾞｽ 漏れ",
            "all good 👍🏽 ❤️",
            "Привет, ПОМОГИТЕ! 도와주세요 ช่วยด้วย",
        ],
    )
    .await;
    let after = format!("after={last}");
    for (q, message) in [
        ("FRIEND falling", "m0"),
        ("\"what should I\"", "m0"),
        ("fall*", "m0"),
        ("zurich", "m1"),
        ("CAFE strasse", "m1"),
        ("\"tres decu\"", "m1"),
        ("déç*", "m1"),
        ("मदद", "m2"),
        ("\"स्थिति गंभीर\"", "m2"),
        ("दोस्*", "m2"),
        ("احمد", "m3"),
        ("المساعدة", "m3"),
        ("\"يحتاج الى\"", "m3"),
        ("المسا*", "m3"),
        ("救急車", "m4"),
        ("都庁", "m4"),
        ("庁", "m4"),
        ("京都", "m4"),
        ("東京都庁の近く", "m4"),
        ("救护车", "m5"),
        ("叫", "m5"),
        ("ガス", "m5"),
        ("👍", "m6"),
        ("good ❤", "m6"),
        ("помогите", "m7"),
        ("도와*", "m7"),
        ("ช่วย", "m7"),
    ] {
        assert_eq!(found(&caller, q, &after).await, [message], "{q}");
    }
    for nothing in ["fall", "कि", "東都", "呼ぶ", "👎", "friend café", "\"should what\"", "friend -falling"]
    {
        assert!(found(&caller, nothing, &after).await.is_empty(), "{nothing}");
    }
    assert_eq!(found(&caller, "救 -急", &after).await, ["m5"]);
    assert_eq!(found(&caller, "救", &after).await, ["m4", "m5"]);

    let page = page(&caller, "\"FALLING from\" friend", &after).await;
    let hit = &hits(&page)[0];
    let text = "My friend is falling from a floor, what should I do?";
    let html = "My <mark>friend</mark> is <mark>falling from</mark> a floor, what should I do?";
    assert_eq!(hit["snippet"], json!({"text": text, "highlights": [[3, 9], [13, 25]], "html": html}));
    assert_eq!((&hit["conversation_id"], &hit["role"]), (&json!("conv_1"), &json!("user")));
    assert!(hit["sequence"].as_u64().unwrap() <= last && hit["rank"].as_f64().unwrap() > 0.0);
    let snapshot = caller.get("/api/conversation/conv_1").await.body;
    assert_eq!(hit["timestamp"], snapshot["conversation"]["messages"][0]["timestamp"]);
    assert_eq!(page["cursor"], Value::Null);
}

#[tokio::test]
async fn a_correction_replaces_and_filters_narrow() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let said = |content: &str, id: &str, role: &str, minute: u32| {
        let mut more = ids("conv_1", id);
        (more["role"], more["timestamp"]) =
            (json!(role), json!(format!("2025-10-03T11:{minute:02}:00+05:30")));
        message("RID001", content, more)
    };
    let messages = json!({"messages": [
        said("fire upstairs", "m0", "user", 0), said("fire brigade comes", "m1", "assistant", 10),
        said("the fire is out", "m2", "user", 20),
    ]});
    caller.post("/api/v1/chat/messages", &messages).await;
    say(&caller, "RID001", "conv_2", &["fire drill"]).await;
    let corrected = caller.post("/api/v1/chat/message", &said("flood downstairs", "m0", "user", 0)).await;
    let after = format!("after={}", corrected.sequence());
    assert!(found(&caller, "upstairs", &after).await.is_empty());
    assert_eq!(found(&caller, "flood", &after).await, ["m0"]);

    let from = |time: &str| format!("from=2025-10-03T{}", encode(time));
    assert_eq!(found(&caller, "fire", "conversation_id=conv_1").await, ["m1", "m2"]);
    assert_eq!(found(&caller, "fire", "conversation_id=conv_1&role=assistant").await, ["m1"]);
    assert_eq!(found(&caller, "fire", "to=2025-10-03T11:20:00%2B05:30").await, ["m1"]);
    assert_eq!(found(&caller, "fire", "to=2025-10-03T11:20:01%2B05:30").await, ["m1", "m2"]);
    assert_eq!(
        found(&caller, "fire", &format!("conversation_id=conv_1&{}", from("11:20:00+05:30"))).await,
        ["m2"]
    );
    assert_eq!(found(&caller, "fire", &from("05:50:00Z")).await, ["m0", "m2"]);
    assert_eq!(
        found(&caller, "fire", &format!("{}&to=2025-10-03T05:41:00Z", from("05:40:00Z"))).await,
        ["m1"]
    );

    // The index can be written again from the beginning, and is the same.
    let rows = "SELECT sequence, document::text FROM read_v1.message_search ORDER BY sequence";
    let before = system.rows(rows).await;
    assert_eq!(before.len(), 4);
    let parts = system.parts.clone();
    system.stop().await.unwrap();
    let fresh = parts.start().await;
    let mut tables = fresh.tables().await;
    sqlx::raw_sql("DELETE FROM read_v1.message_search; UPDATE read_v1.checkpoint SET last_sequence = 0 WHERE name = 'search'")
        .execute(&mut tables)
        .await
        .unwrap();
    fresh.stop().await.unwrap();
    let again = parts.start().await;
    let caller = again.client.login("RID001").await;
    assert_eq!(found(&caller, "flood", &after).await, ["m0"]);
    assert_eq!(again.rows(rows).await, before);
}

#[tokio::test]
async fn nobody_finds_what_they_may_not_read() {
    let system = System::start().await;
    let (one, two) = (system.client.login("RID001").await, system.client.login("RID002").await);
    say(&one, "RID001", "conv_1", &["the secret word is swordfish"]).await;
    let last = say(&two, "RID002", "conv_2", &["swordfish for dinner"]).await;
    let after = format!("after={last}");
    let conversations = async |caller: &Client| -> BTreeSet<String> {
        let page = page(caller, "swordfish", &after).await;
        hits(&page).iter().map(|hit| hit["conversation_id"].as_str().unwrap().to_owned()).collect()
    };
    let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(conversations(&one).await, set(&["conv_1"]));
    assert_eq!(conversations(&two).await, set(&["conv_2"]));
    assert_eq!(conversations(&system.service()).await, set(&["conv_1", "conv_2"]));
    let researcher = person(&system, &Who::Researcher("r".into()));
    assert_eq!(conversations(&researcher).await, set(&["conv_1", "conv_2"]));
    let admin = admin(&system, "a", "c");
    assert_eq!(conversations(&admin).await, set(&[]));

    ask(&two, "swordfish", "conversation_id=conv_1").await.assert_problem(403);
    ask(&admin, "swordfish", "conversation_id=conv_1").await.assert_problem(403);
    ask(&two, "swordfish", "conversation_id=conv_9").await.assert_problem(404);
    ask(&system.client, "swordfish", "").await.assert_problem(401);
    // Words that would name what a search is narrowed to are only words.
    for hostile in ["=c:*", "'=0:0'", "\"=p:\"", "=l* swordfish"] {
        let reply = ask(&two, hostile, "").await;
        assert!(reply.status == 400 || hits(&reply.body).is_empty(), "{hostile}: {}", reply.text);
    }
    // The database holds it too: the reader's role cannot read the index, nor find what is another's.
    let mut tables = system.tables().await;
    sqlx::raw_sql("SET ROLE turnlog_reader").execute(&mut tables).await.unwrap();
    assert!(sqlx::raw_sql("SELECT * FROM turnlog.message_search").execute(&mut tables).await.is_err());
    assert!(sqlx::raw_sql("SELECT * FROM turnlog.search_blocks").execute(&mut tables).await.is_err());
    for (role, participant, expected) in [
        ("", "", 0),
        ("admin", "RID001", 0),
        ("participant", "", 0),
        ("participant", "RID001", 1),
        ("service", "", 2),
    ] {
        let settings = format!("SET turnlog.role = '{role}'; SET turnlog.participant = '{participant}'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(settings)).execute(&mut tables).await.unwrap();
        let count: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM turnlog.search('swordfish', false, NULL, NULL, '-infinity', 'infinity', 1000, 10)",
        )
        .fetch_one(&mut tables)
        .await
        .unwrap();
        assert_eq!(count, expected, "{role} {participant}");
    }
}

#[tokio::test]
async fn a_participant_finds_what_became_its_own() {
    let system = System::start().await;
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let mut event = json!({
        "conversation_id": "conv_1", "ordinal": 1, "role": "user", "content": "narwhal",
        "timestamp": "2025-10-03T11:58:04+05:30", "provider": "elevenlabs",
    });
    event["message_id"] = json!("m0");
    let message: shared::events::Message = serde_json::from_value(event).unwrap();
    let publish = async |event: &Event| {
        let sealed =
            Envelope::wrap(event.subject(), EventId::random(), event, &Origin::default(), Utc::now())
                .unwrap();
        let subject = sealed.subject.as_str().to_owned();
        let reply = log.client().request_with_headers(subject, sealed.headers, sealed.body).await.unwrap();
        let ack: Value = serde_json::from_slice(&reply.payload).unwrap();
        ack["seq"].as_u64().unwrap()
    };
    let recorded = publish(&Event::MessageRecorded(message)).await;
    let caller = system.client.login("RID001").await;
    assert_eq!(found(&system.service(), "narwhal", &format!("after={recorded}")).await, ["m0"]);
    assert!(found(&caller, "narwhal", "").await.is_empty());
    let claim = Claim {
        conversation_id: "conv_1".to_owned().try_into().unwrap(),
        participant_id: "RID001".to_owned().try_into().unwrap(),
    };
    let claimed = publish(&Event::ConversationClaimed(claim)).await;
    assert_eq!(found(&caller, "narwhal", &format!("after={claimed}")).await, ["m0"]);
}

#[tokio::test]
async fn pages_have_neither_doubles_nor_gaps() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    // More than are ranked together, and of different ranks.
    let texts: Vec<_> = (0..1_150)
        .map(|n| format!("turtle {} {}", "turtle ".repeat(n % 7), if n % 5 == 0 { "rabbit" } else { "hare" }))
        .collect();
    let mut last = 0;
    for (n, chunk) in texts.chunks(500).enumerate() {
        let chunk: Vec<_> = chunk.iter().map(String::as_str).collect();
        last = say(&caller, "RID001", &format!("conv_{n}"), &chunk).await;
    }
    for (q, expected) in [("turtle", 1_150), ("turt* -rabbit", 920), ("\"turtle rabbit\"", 230)] {
        let mut seen = BTreeSet::new();
        let mut ranks: Vec<Vec<f64>> = vec![Vec::new()];
        let mut next = format!("after={last}&limit=37");
        loop {
            let page = page(&caller, q, &next).await;
            for hit in hits(&page) {
                assert!(seen.insert(hit["sequence"].as_u64().unwrap()), "{q}: {hit} came twice");
                let rank = hit["rank"].as_f64().unwrap();
                let group = ranks.last_mut().unwrap();
                if group.last().is_some_and(|before| *before < rank) {
                    ranks.push(vec![rank]);
                } else {
                    group.push(rank);
                }
            }
            let Some(cursor) = page["cursor"].as_str() else { break };
            next = format!("limit=37&cursor={cursor}");
            // What comes meanwhile is newer than the walk.
            if seen.len() == 37 {
                let extra = format!("conv_extra_{expected}");
                last =
                    say(&caller, "RID001", &extra, &["turtle hare meanwhile", "turtle hare turtle rabbit"])
                        .await;
                page_after(&caller, last).await;
            }
        }
        // What was said during the walks before is found as well.
        let earlier = match q {
            "turtle" => 0,
            "turt* -rabbit" => 1,
            _ => 2,
        };
        assert_eq!(seen.len(), expected + earlier, "{q}");
        // Ranks only rise where the next 500 begin.
        let lengths: Vec<_> = ranks.iter().map(Vec::len).collect();
        assert!(lengths.len() <= expected.div_ceil(500) + 1, "{q}: {lengths:?}");
    }
    let first = page(&caller, "turtle", "limit=5").await;
    let cursor = first["cursor"].as_str().unwrap();
    ask(&caller, "turtle rabbit", &format!("cursor={cursor}")).await.assert_problem(400);
    let other = system.client.login("RID002").await;
    ask(&other, "turtle", &format!("cursor={cursor}")).await.assert_problem(400);
}

/// Waits until what was said up to here is searched.
#[tokio::test]
async fn an_admin_finds_what_was_said_in_calls_that_it_reads() {
    let system = with_call().await;
    let (service, owner) = (system.service(), system.client.login("RID001").await);
    say(&owner, "RID001", "conv_1", &["falling, too"]).await;
    let (asha, ravi) = (admin(&system, "admin_1", "acme"), admin(&system, "admin_2", "acme"));
    let stranger = admin(&system, "admin_3", "other");
    let turn =
        |content: &str| json!({"role": "user", "content": content, "timestamp": "2025-10-03T11:59:00Z"});
    let of = |id: &str, path: &str| format!("/api/conversation/{id}/{path}");
    let call = "conv_919325590143_20251003_115804";
    let told = service.post(&of(call, "messages"), &turn("still falling")).await;
    let after = format!("after={}", told.sequence());
    for reader in [&asha, &ravi] {
        assert_eq!(hits(&page(reader, "falling", &after).await).len(), 2);
        let narrowed = format!("{after}&conversation_id={call}&from=2025-10-03T11:58:30Z");
        assert_eq!(hits(&page(reader, "fall*", &narrowed).await).len(), 1);
    }
    assert_eq!(hits(&page(&stranger, "falling", &after).await).len(), 0);
    ask(&stranger, "falling", &format!("conversation_id={call}")).await.assert_problem(403);
    assert_eq!(hits(&page(&service, "falling", &after).await).len(), 3);
    // Held by one: the other does not find it any more.
    let taken = asha.post(&of(call, "takeover"), &json!({})).await;
    assert_eq!(taken.status, 200, "{}", taken.text);
    let after = format!("after={}", taken.sequence());
    assert_eq!(hits(&page(&asha, "falling", &after).await).len(), 2);
    assert_eq!(hits(&page(&ravi, "falling", &after).await).len(), 0);
    // With more calls than are named one by one.
    let mut last = 0;
    for n in 0..300 {
        let worker = format!("worker_{n}");
        let company = if n % 100 == 0 { "other" } else { "acme" };
        let mobile = format!("+91{n:010}");
        let known = json!({"company_id": company, "mobile_no": mobile});
        let known = service.put(&format!("/api/workers/{worker}"), &known).await;
        assert_eq!(known.status, 200, "{}", known.text);
        let opened = json!({"worker_id": worker, "mobile_no": mobile, "urgency": "LOW",
                            "medium": "Chat", "timestamp": "2025-10-03T12:00:00Z"});
        let opened = service.post("/api/calls", &opened).await;
        assert_eq!(opened.status, 200, "{}", opened.text);
        let id = opened.body["conversation_id"].as_str().unwrap();
        last = service.post(&of(id, "messages"), &turn(&format!("a ladder{n}"))).await.sequence();
    }
    let after = format!("after={last}&limit=100");
    assert_eq!(hits(&page(&stranger, "ladder*", &after).await).len(), 3);
    let mut got = 0;
    let mut page = page(&ravi, "ladder*", &after).await;
    loop {
        got += hits(&page).len();
        let Some(cursor) = page["cursor"].as_str() else { break };
        page = self::page(&ravi, "ladder*", &format!("limit=100&cursor={}", encode(cursor))).await;
    }
    assert_eq!(got, 297);
}

async fn page_after(caller: &Client, sequence: u64) {
    page(caller, "nothing-of-that-kind", &format!("after={sequence}")).await;
}

#[tokio::test]
async fn the_longest_messages_are_searched_to_their_end() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let numbers: String = (0..20_000).map(|n| char::from_u32(0x4e00 + n).unwrap()).collect();
    let words: String = (10_000..19_000).map(|n| format!("w{n} ")).collect();
    let again = format!("{}the end of it", "the x ".repeat(10_000));
    let short: String = "a b ".repeat(16_380);
    let said = [numbers.as_str(), &words, &again, &short];
    assert!(said.iter().all(|text| text.len() <= 65_536));
    let last = say(&caller, "RID001", "conv_1", &said).await;
    let after = format!("after={last}");
    let far: String = numbers.chars().rev().take(6).collect::<Vec<_>>().into_iter().rev().collect();
    for (q, message) in [
        (far.as_str(), "m0"),
        ("w18999", "m1"),
        ("\"w18998 w18999\"", "m1"),
        ("\"the end of it\"", "m2"),
        ("\"b a b a\"", "m3"),
        ("the -\"end the\"", "m2"),
    ] {
        assert_eq!(found(&caller, q, &after).await, [message], "{q}");
    }
    for nothing in ["\"end the\"", "the -\"the end\"", "\"w18999 w18998\""] {
        assert!(found(&caller, nothing, &after).await.is_empty(), "{nothing}");
    }
}

#[tokio::test]
async fn whatever_is_asked_is_answered_or_refused() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let last = say(&caller, "RID001", "conv_1", &["O'Neil said: \\ & | ! (help) :* <-> 100% =l"]).await;
    page_after(&caller, last).await;
    for q in [
        "O'Neil",
        "\\help",
        "help & | !",
        "(help)",
        "help:*",
        "\"said help\"",
        "a' OR '1'='1 help -zzz",
        "100%",
    ] {
        let reply = ask(&caller, q, "").await;
        assert_eq!(reply.status, 200, "{q}: {}", reply.text);
    }
    let pieces = [
        "he", "-", "\"", "*", " ", "'", "\\", "\0", "&!", "<->", "東京", "क्", "ि", "👍🏽", "\u{200d}", "İ",
        "=l",
    ];
    for first in pieces {
        for second in pieces {
            let q = [first, second, first, "x", second].concat();
            let reply = ask(&caller, &q, "").await;
            assert!([200, 400].contains(&reply.status), "{q:?}: {}", reply.text);
        }
    }
    let long = [
        "x ".repeat(10_000),
        "-not".into(),
        "!?".into(),
        "".into(),
        "漢".repeat(400),
        "a*".into(),
        "x ".repeat(65),
    ];
    for q in long {
        let reply = ask(&caller, &q, "").await;
        reply.assert_problem(400);
        assert_eq!(reply.bad_fields(), ["q"]);
    }
    let widest = (0..64).map(|n| format!("ab{n}* ")).collect::<String>();
    assert_eq!(ask(&caller, &widest, "").await.status, 200);
    ask(&caller, "help", "after=999999999").await.assert_problem(503);
    let bad = ask(&caller, "help", "role=admin&from=x&to=y&limit=0&cursor=z&after=q").await;
    assert_eq!(bad.bad_fields(), ["after", "role", "from", "to", "limit", "cursor"]);
    caller.get(SEARCH).await.assert_problem(400);
}
