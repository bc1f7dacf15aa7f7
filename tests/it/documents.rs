//! One conversation as a file: who gets it, and what other people's programs read in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use shared::auth::Who;
use streamer::Fonts;
use tests::{Client, Parts, System, run_python};

use crate::calls::{admin, with_call};
use crate::{ids, message, person};

const AT: &str = "2025-10-03T11:58:04+05:30";

/// What was said in every script at once, and what a page must show of it.
const SAID: [(&str, &str); 8] = [
    ("My friend is falling from a floor, what should I do?", "falling from a floor"),
    ("मेरा दोस्त गिर रहा है, क्या करूँ?", "दोस्त"),
    ("صديقي يسقط من الطابق 12 في Pune الآن", "Pune"),
    ("我的朋友从楼上掉下来了，怎么办？", "我的朋友从楼上掉下来了"),
    ("Fire 🔥 brigade 👩🏽\u{200d}🚒 is on its way 🇮🇳", "is on its way"),
    ("友だちが落ちています。친구가 떨어지고 있어요", "落ちています"),
    (
        "#panic() *not bold* $x^2$ `code` <label> @ref #[#read(\"/etc/passwd\")] \\",
        "#panic() *not bold* $x^2$",
    ),
    ("tab\there\nline two\u{7}", "line two"),
];

/// Says it, and answers the sequence of it.
async fn say(caller: &Client, conversation: &str, id: &str, content: &str) -> u64 {
    let mut more = ids(conversation, id);
    more["timestamp"] = json!(AT);
    let reply = caller.post("/api/v1/chat/message", &message("RID001", content, more)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.sequence()
}

async fn file(caller: &Client, query: &str) -> (HeaderMap, Vec<u8>) {
    let request = caller.request(Method::GET, &format!("/api/conversation/conv_1/export?{query}"));
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.unwrap().to_vec();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    (headers, body)
}

/// What another program reads in a file.
async fn read(kind: &str, body: &[u8]) -> Value {
    run_python("documents.py", &json!({kind: STANDARD.encode(body)})).await
}

fn pages(read: &Value) -> &Vec<Value> {
    read["pages"].as_array().unwrap()
}

/// The text of all pages, with one space wherever there is any.
fn text(read: &Value) -> String {
    let all: Vec<_> = pages(read).iter().map(|page| page["text"].as_str().unwrap()).collect();
    all.join(" ").replace('\u{200b}', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().unwrap()
}

#[tokio::test]
async fn who_may_read_a_conversation_gets_it_as_a_file_and_nobody_else_does() {
    let system = System::start().await;
    let owner = system.client.login("RID001").await;
    let last = say(&owner, "conv_1", "m1", "Hello").await;
    system.projected(last).await;
    let researcher = person(&system, &Who::Researcher("r".into()));
    let admin = person(
        &system,
        &Who::Admin { id: "a".to_owned().try_into().unwrap(), company: "c".to_owned().try_into().unwrap() },
    );
    let other = system.client.login("RID002").await;
    for format in ["json", "csv", "txt", "pdf"] {
        for caller in [&owner, &system.service(), &researcher] {
            let (headers, _) = file(caller, &format!("format={format}")).await;
            let disposition = format!("attachment; filename=\"conversation-conv_1.{format}\"");
            assert_eq!(header(&headers, "content-disposition"), disposition);
            assert_eq!(header(&headers, "x-content-type-options"), "nosniff");
        }
        let path = |id: &str| format!("/api/conversation/{id}/export?format={format}");
        for stranger in [&other, &admin] {
            stranger.get(&path("conv_1")).await.assert_problem(403);
        }
        owner.get(&path("conv_9")).await.assert_problem(404);
        system.client.get(&path("conv_1")).await.assert_problem(401);
    }
    for bad in ["docx", "", "PDF"] {
        let refused = owner.get(&format!("/api/conversation/conv_1/export?format={bad}&after=x")).await;
        refused.assert_problem(400);
        assert_eq!(refused.bad_fields(), ["after", "format"]);
    }
}

#[tokio::test]
async fn json_is_the_snapshot_with_what_was_reported_and_how_far_it_reaches() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let webhook = json!({
        "emailId": "user@example.com", "accountId": "acc123", "conversationId": "conv_1",
        "transcript": [{"timestamp": "2024-01-15T10:30:00Z", "speaker": "user", "content": "Hello", "messageId": "m1"}],
        "metadata": {"duration": 300, "messageCount": 1, "platform": "web", "userAgent": "u", "agentId": "a"}, "summary": "They greet each other.",
    });
    let reported = system.service().post("/api/v1/webhook/conversation", &webhook).await;
    assert_eq!(reported.status, 200, "{}", reported.text);
    let service = system.service();
    let last: u64 = header(&reported.headers, "turnlog-sequence").parse().unwrap();
    let (headers, body) = file(&service, &format!("after={last}")).await;
    assert_eq!(header(&headers, "content-type"), "application/json");
    let document: Value = serde_json::from_slice(&body).unwrap();
    let snapshot = service.get("/api/conversation/conv_1").await.body;
    assert_eq!(document["conversation"], snapshot["conversation"]);
    assert_eq!(document["success"], true);
    assert_eq!(document["as_of_sequence"], last);
    assert_eq!(document["report"]["summary"], "They greet each other.");
    assert_eq!(document["report"]["duration_seconds"], 300);
    let (_, text) = file(&service, "format=txt").await;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("Summary: They greet each other.\n"), "{text}");
    assert!(text.contains("Duration: 0:05:00\n"), "{text}");
    // What happens elsewhere changes nothing.
    let (_, pdf) = file(&service, "format=pdf").await;
    let elsewhere = say(&caller, "conv_2", "m1", "Hello").await;
    assert_eq!(file(&service, &format!("format=pdf&after={elsewhere}")).await.1, pdf);
    assert_eq!(file(&service, &format!("after={elsewhere}")).await.1, body);
}

#[tokio::test]
async fn a_spreadsheet_reads_every_message_and_runs_none() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let mut last = 0;
    let said = SAID.map(|(said, _)| said);
    for (number, said) in said.iter().chain(&["=HYPERLINK(\"http://x\",\"y\")", "a,\"b\"\r\nc"]).enumerate() {
        last = say(&caller, "conv_1", &format!("m{number}"), said).await;
    }
    let (headers, body) = file(&caller, &format!("format=csv&after={last}")).await;
    assert!(header(&headers, "content-type").starts_with("text/csv; charset=utf-8"));
    assert!(body.starts_with(b"\xef\xbb\xbf"));
    let rows = read("csv", &body).await;
    let contents: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| row["content"].as_str().unwrap()).collect();
    let formula = "'=HYPERLINK(\"http://x\",\"y\")";
    assert_eq!(contents, [&said[..], &[formula, "a,\"b\"\r\nc"]].concat());
    let first = &rows[0];
    let got =
        ["conversation_id", "message_id", "role", "timestamp"].map(|name| first[name].as_str().unwrap());
    assert_eq!(got, ["conv_1", "m0", "user", AT]);
}

#[tokio::test]
async fn a_pdf_shows_every_script_and_what_was_said_at_last() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    for (number, (said, _)) in SAID.iter().enumerate() {
        say(&caller, "conv_1", &format!("m{number}"), said).await;
    }
    say(&caller, "conv_1", "last", "You shoul").await;
    let last = say(&caller, "conv_1", "last", "You should call for help").await;
    let (headers, body) = file(&caller, &format!("format=pdf&after={last}")).await;
    assert_eq!(header(&headers, "content-type"), "application/pdf");
    let read = read("pdf", &body).await;
    let shown = text(&read);
    for (_, wanted) in SAID {
        assert!(shown.contains(wanted), "{wanted} is missing: {shown}");
    }
    // Readers give letters that run from right to left in either order.
    let arabic = ["الطابق", "قباطلا"];
    assert!(arabic.iter().any(|word| shown.contains(word)), "{shown}");
    assert!(shown.contains("2025-10-03 11:58:04 +05:30"), "{shown}");
    assert!(shown.contains("Conversation conv_1"), "{shown}");
    assert!(shown.contains(&format!("As of sequence {last} Page 1 of 1")), "{shown}");
    assert!(shown.contains("corrected") && !shown.contains("You shoul "), "{shown}");
    assert_eq!(pages(&read).len(), 1);
    // Emoji are in colour, which nothing else is.
    assert!(pages(&read)[0]["coloured"].as_u64().unwrap() > 100, "{}", pages(&read)[0]["coloured"]);
    assert!((595.0..596.0).contains(&pages(&read)[0]["width"].as_f64().unwrap()), "A4");
    assert_eq!(read["metadata"]["Title"], "Conversation conv_1");
    for clock in ["CreationDate", "ModDate"] {
        assert_eq!(read["metadata"][clock].as_str().unwrap_or_default(), "");
    }
}

#[tokio::test]
async fn long_words_and_long_messages_stay_on_paper() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    for (id, word) in ["W", "https://example.org/a/", "अ", "ع", "你", "👍", "\u{e01}"].iter().enumerate()
    {
        say(&caller, "conv_1", &format!("m{id}"), &word.repeat(1_000 / word.len())).await;
    }
    let last = say(&caller, "conv_1", "long", &"A sentence of a long message. ".repeat(2_000)).await;
    let (_, body) = file(&caller, &format!("format=pdf&after={last}")).await;
    let read = read("pdf", &body).await;
    assert!((10..=25).contains(&pages(&read).len()), "{} pages", pages(&read).len());
    for (number, page) in (1..).zip(pages(&read)) {
        let (left, right) = (page["left"].as_f64().unwrap(), page["right"].as_f64().unwrap());
        assert!(left > 0.09 && right < 0.91, "page {number}: ink from {left} to {right}");
        let shown = format!("Page {number} of {}", pages(&read).len());
        assert!(page["text"].as_str().unwrap().contains(&shown), "{shown}: {}", page["text"]);
    }
    let sentences = text(&read).matches("A sentence of a long message.").count();
    // One that goes on overleaf is cut by the foot of its page.
    assert!(sentences + pages(&read).len() >= 2_000, "{sentences}");
}

#[tokio::test]
async fn what_is_too_long_for_a_pdf_is_said_and_had_otherwise() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let mut last = 0;
    for id in ["m1", "m2"] {
        last = say(&caller, "conv_1", id, &"a\n".repeat(32_000)).await;
    }
    system.projected(last).await;
    let refused = caller.get("/api/conversation/conv_1/export?format=pdf").await;
    refused.assert_problem(413);
    assert!(refused.body["detail"].as_str().unwrap().contains("format=json"), "{}", refused.text);
    for format in ["json", "csv", "txt"] {
        assert!(file(&caller, &format!("format={format}")).await.1.len() > 128_000);
    }
}

#[tokio::test]
async fn a_pdf_is_made_where_there_is_no_font() {
    let parts = Parts { fonts: Fonts::new(vec!["/nowhere".into()]), ..Parts::fresh().await };
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    let last = say(&caller, "conv_1", "m1", "Hello").await;
    let (_, body) = file(&caller, &format!("format=pdf&after={last}")).await;
    assert_eq!(pages(&read("pdf", &body).await).len(), 1);
}

#[tokio::test]
async fn a_call_is_printed_with_who_and_what_it_is_about_and_what_answers_are_based_on() {
    let system = with_call().await;
    let conversation = "conv_919325590143_20251003_115804";
    let turn = json!({
        "role": "assistant", "content": "Call the rescue team.", "timestamp": AT, "sources": "OSHA 1926.501",
        "attachments": [{"kind": "location", "latitude": 19.07, "longitude": 72.88, "name": "The site"}],
    });
    let told = system.service().post(&format!("/api/conversation/{conversation}/messages"), &turn).await;
    assert_eq!(told.status, 200, "{}", told.text);
    let last = told.sequence();
    let watching = admin(&system, "admin_1", "acme");
    let path = |format: &str| format!("/api/conversation/{conversation}/export?format={format}&after={last}");
    let printed = watching.send(watching.request(Method::GET, &path("txt"))).await;
    for wanted in [
        "Worker: worker_919325590143\n",
        "Urgency: CRITICAL\n",
        "Attachment: location \u{b7} The site \u{b7} 19.07, 72.88\n",
        "Sources: OSHA 1926.501\n",
        &format!("As of sequence: {last}\n"),
    ] {
        assert!(printed.text.contains(wanted), "{wanted} is missing: {}", printed.text);
    }
    // What is known of the call is as of a sequence, too: the file changes with it.
    let of = |deed: &str| format!("/api/conversation/{conversation}/{deed}");
    for (deed, body) in [("takeover", json!({})), ("seen", json!({"sequence": last})), ("end", json!({}))] {
        let done = watching.post(&of(deed), &body).await;
        let path = of(&format!("export?after={}", done.sequence()));
        let document = watching.get(&path).await.body;
        assert_eq!(document["as_of_sequence"], done.sequence(), "{deed}");
    }
    admin(&system, "admin_2", "other").get(&path("pdf")).await.assert_problem(403);
    let body = watching.request(Method::GET, &path("pdf")).send().await.unwrap().bytes().await.unwrap();
    let shown = text(&read("pdf", &body).await);
    for wanted in ["CRITICAL", "worker_919325590143", "Sources: OSHA 1926.501", "The site"] {
        assert!(shown.contains(wanted), "{wanted} is missing: {shown}");
    }
}
