//! De-identified data sets: what they still tell, and that nothing raw is left in any file of any format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Parts, System, command, run_python};

use super::filled::ok;
use super::{done, export, failed, files, filled, rows, types};
use crate::{ids, message};

pub(crate) const ONE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
const TABLES: [&str; 4] = ["messages", "conversations", "events", "redactions"];

/// Everything that names somebody or something in the log, as it was given.
const RAW: [&str; 34] = [
    "RID1",
    "RID2",
    "RID7",
    "participant-zq",
    "conv_1",
    "conv_2",
    "conv_call",
    "conv_abc123",
    "conv_zq",
    "message-zq",
    "idempotent-zq",
    "user@example.com",
    "zeb.quark@example.com",
    "acc123",
    "account-zq",
    "msg_123",
    "worker_1",
    "+919325590143",
    "9325590143",
    "Asha",
    "Zebulon",
    "Timbuktu",
    "acme",
    "agent_1",
    "dream-zq",
    "cdn.example.net",
    "passport.jpg",
    "52.5163",
    "4111 1111",
    "DE89 3704",
    "12 March 1984",
    "192.0.2.77",
    "token=zq",
    "device-zq",
];

async fn run_with(parts: &Parts, key: Option<&str>, arguments: &[&str]) -> Output {
    let key: Vec<_> = key.map(|key| ("EXPORT_KEY", key)).into_iter().collect();
    let command = command(parts, &[&["export"][..], arguments].concat(), &key);
    tokio::process::Command::from(command).kill_on_drop(true).output().await.unwrap()
}

pub(crate) async fn export_with(parts: &Parts, key: &str, out: &Path, arguments: &[&str]) {
    let output =
        run_with(parts, Some(key), &[&["--out", out.to_str().unwrap()][..], arguments].concat()).await;
    done(output.status, &output.stderr);
}

/// A log with everything, and with somebody who tells all of themselves.
async fn told_all() -> (System, u64) {
    let (system, _) = filled(Parts::fresh().await).await;
    let service = system.service();
    let profile = json!({"access_code": "a code that is long", "name": "Zebulon Quark", "age": 93, "location": "Timbuktu"});
    ok(service.put("/api/v1/participants/participant-zq", &profile).await);
    let dream = json!({"dreamId": "dream-zq", "rawTranscript": "I fell. Write to zeb.quark@example.com", "themes": ["falling"],
                       "recordedAt": "2025-01-08T07:30:00+05:30"});
    let caller = system.client.login("participant-zq").await;
    ok(caller.post("/api/v1/dreams", &dream).await);
    for (number, content) in [
        "Mail Zeb.Quark＠example.com or\nzeb.quark@\nexample.com, at 11:58 on 2025-10-03",
        "It is +91 93255 90143, or 9325590143. My blood pressure is 120/80 130/85",
        "4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, born 12 March 1984",
        "See https://cdn.example.net/passport.jpg?token=zq from 192.0.2.77",
    ]
    .into_iter()
    .enumerate()
    {
        let id = if number == 0 { "message-zq".to_owned() } else { format!("message-zq-{number}") };
        ok(caller
            .post("/api/v1/chat/message", &message("participant-zq", content, ids("conv_zq", &id)))
            .await);
    }
    let call =
        json!({"kind": "image", "url": "https://cdn.example.net/passport.jpg", "name": "passport.jpg"});
    let place = json!({"kind": "location", "latitude": 52.5163, "longitude": 13.3777});
    let turn = json!({"role": "user", "content": "Here", "timestamp": "2025-10-03T11:58:30+05:30", "message_id": "message-zq-5",
                      "attachments": [call, place], "sources": "https://cdn.example.net/a"});
    ok(service.post("/api/conversation/conv_call/messages", &turn).await);
    let whole = json!({
        "emailId": "Zeb.Quark@Example.com", "accountId": "account-zq", "conversationId": "conv_abc124",
        "transcript": [{"timestamp": "2024-01-15T10:30:00Z", "speaker": "user", "content": "Call 9325590143",
                        "messageId": "message-zq-6"}],
        "metadata": {"sessionId": "s-zq", "agentId": "agent_1", "duration": 300, "messageCount": 1, "platform": "web",
                     "userAgent": "device-zq"},
        "summary": {"summary": "They gave zeb.quark@example.com", "unheard": "Zebulon of Timbuktu"},
    });
    let last = ok(service.post("/api/v1/webhook/conversation", &whole).await).sequence();
    (system, last)
}

/// Ids and tokens as a raw data set has them.
fn hidden_in(raw: &Path) -> BTreeSet<String> {
    let mut hidden: BTreeSet<String> = RAW.iter().map(|text| (*text).to_owned()).collect();
    for row in rows(raw, "events") {
        hidden.insert(row["subject"].as_str().unwrap().rsplit('.').next().unwrap().to_owned());
        hidden.insert(row["event_id"].as_str().unwrap().to_owned());
        hidden.extend(row["conversation_id"].as_str().map(str::to_owned));
    }
    for row in rows(raw, "messages") {
        // Some are as short as a word.
        hidden.extend(row["message_id"].as_str().filter(|id| id.len() > 9).map(str::to_owned));
    }
    hidden
}

/// Which of these stand somewhere in the text, in whatever case.
fn leaks(text: &str, hidden: &BTreeSet<String>) -> Vec<String> {
    let text = text.to_lowercase();
    hidden.iter().filter(|raw| text.contains(&raw.to_lowercase())).cloned().collect()
}

#[tokio::test]
async fn nothing_raw_is_in_any_file_of_any_format_and_tools_read_it() {
    let (system, last) = told_all().await;
    let (folder, last) = (TempDir::new().unwrap(), last.to_string());
    let raw = folder.path().join("raw");
    export(&system.parts, &raw, &["--as-of", &last]).await;
    let hidden = hidden_in(&raw);
    // What is searched for is there to be found.
    let clear =
        files(&raw).values().map(|file| String::from_utf8_lossy(file).into_owned()).collect::<String>();
    for one in ["participant-zq", "Zebulon", "52.5163", "device-zq", "passport.jpg", "acc123"] {
        assert!(leaks(&clear, &hidden).contains(&one.to_owned()), "{one}");
    }
    let mut first: BTreeMap<&str, Value> = BTreeMap::new();
    for format in ["jsonl", "csv", "parquet"] {
        let out = folder.path().join(format);
        let arguments = ["--format", format, "--as-of", &last, "--pseudonymize", "--redact"];
        export_with(&system.parts, ONE_KEY, &out, &arguments).await;
        for (name, content) in files(&out) {
            assert_eq!(
                leaks(&String::from_utf8_lossy(&content), &hidden),
                Vec::<String>::new(),
                "{format} {name}"
            );
            assert!(!String::from_utf8_lossy(&content).contains(ONE_KEY));
        }
        let told = run_python("data_set.py", &json!({"folder": out.to_str(), "tables": TABLES})).await;
        assert_eq!(told["frictionless"]["valid"], true, "{format}: {:#}", told["frictionless"]);
        assert_eq!(told["croissant"]["errors"], json!([]), "{format}");
        for table in TABLES {
            for (tool, read) in told["readers"].as_object().unwrap() {
                assert_eq!(read[table]["types"], types(&out, table), "{tool} {format} {table}");
                let read = &read[table]["rows"];
                assert_eq!(
                    leaks(&read.to_string(), &hidden),
                    Vec::<String>::new(),
                    "{tool} {format} {table}"
                );
                assert!(
                    *first.entry(table).or_insert_with(|| read.clone()) == *read,
                    "{tool} {format} {table}"
                );
            }
        }
    }
    // It still tells what it is for.
    let messages = rows(&folder.path().join("jsonl"), "messages");
    let said: Vec<_> = messages.iter().map(|row| row["content"].as_str().unwrap()).collect();
    for expected in [
        "Mail [EMAIL] or\n[EMAIL], at 11:58 on 2025-10-03",
        "It is [PHONE], or [PHONE]. My blood pressure is 120/80 130/85",
        "[CARD], [IBAN], born [DATE_OF_BIRTH]",
        "See [URL] from [IP]",
        "Call [PHONE]",
    ] {
        assert!(said.contains(&expected), "{expected:?} is not in {said:#?}");
    }
    assert!(messages.iter().any(|row| row["sources"] == "[URL]"));
    let attached = messages.iter().find(|row| row["content"] == "Here").unwrap();
    assert_eq!(attached["attachments"], r#"[{"kind":"image"},{"kind":"location"}]"#);
}

#[tokio::test]
async fn a_pseudonym_joins_tables_and_data_sets_of_one_key_and_of_no_other() {
    let (system, last) = told_all().await;
    let (parts, folder, last) = (&system.parts, TempDir::new().unwrap(), last.to_string());
    let made = async |name: &str, key: &str, more: &[&str]| {
        let out = folder.path().join(name);
        let arguments = [&["--pseudonymize", "--as-of", &last][..], more].concat();
        export_with(parts, key, &out, &arguments).await;
        out
    };
    let (one, again, other) = (
        made("one", ONE_KEY, &[]).await,
        made("again", ONE_KEY, &[]).await,
        made("other", OTHER_KEY, &[]).await,
    );
    assert!(files(&one) == files(&again), "the same key gives other bytes");

    let column = |out: &Path, table: &str, name: &str| -> Vec<String> {
        rows(out, table).iter().filter_map(|row| row[name].as_str().map(str::to_owned)).collect()
    };
    for name in ["conversation_id", "participant_id"] {
        let of = |out: &Path| -> BTreeSet<_> { column(out, "conversations", name).into_iter().collect() };
        assert!(of(&one).is_disjoint(&of(&other)), "{name}");
        assert_eq!(of(&one).len(), of(&other).len());
        let said: BTreeSet<_> = column(&one, "messages", name).into_iter().collect();
        assert!(said.is_subset(&of(&one)), "{name}");
    }
    // One address, written in two ways, and one number: in columns and within JSON.
    let conversations = rows(&one, "conversations");
    let mail = conversations.iter().filter_map(|row| row["email_id"].as_str()).collect::<BTreeSet<_>>();
    assert_eq!(mail.len(), 2);
    assert!(mail.iter().all(|mail| mail.starts_with("mail_")), "{mail:?}");
    let number = conversations.iter().find_map(|row| row["mobile_no"].as_str()).unwrap();
    let worker =
        rows(&one, "events").into_iter().find(|row| row["type"] == "turnlog.worker.registered.v1").unwrap();
    let worker: Value = serde_json::from_str(worker["data"].as_str().unwrap()).unwrap();
    assert_eq!(worker["mobile_no"], number);
    assert!(worker.get("name").is_none(), "{worker}");
    // What is said stays as it was said.
    assert!(column(&one, "messages", "content").iter().any(|said| said.contains("born 12 March 1984")));

    // Whoever is selected is named in the manifest as in the data.
    let person = conversations.iter().find(|row| row["email_id"].is_null()).unwrap();
    let two = made("two", ONE_KEY, &["--participant", "RID2", "--conversation", "conv_2"]).await;
    assert_eq!(rows(&two, "messages").len(), 0, "the conversation is another participant's");
    let selected = made("selected", ONE_KEY, &["--participant", "RID1", "--conversation", "conv_1"]).await;
    assert!(!rows(&selected, "messages").is_empty() && !person["conversation_id"].is_null());
    let manifest: Value = serde_json::from_slice(&files(&selected)["datapackage.json"]).unwrap();
    let manifest = &manifest["turnlog"];
    assert_eq!(manifest["arguments"]["participants"][0], rows(&selected, "messages")[0]["participant_id"]);
    assert_eq!(manifest["arguments"]["conversations"][0], rows(&selected, "messages")[0]["conversation_id"]);

    let print = |out: &Path| {
        let manifest: Value = serde_json::from_slice(&files(out)["datapackage.json"]).unwrap();
        manifest["turnlog"]["deidentification"]["key_fingerprint"].as_str().unwrap().to_owned()
    };
    assert!(print(&one) == print(&selected) && print(&one) != print(&other));
    for out in [&one, &selected] {
        let verify = ["--verify", out.to_str().unwrap()];
        let verified = run_with(parts, Some(ONE_KEY), &verify).await;
        done(verified.status, &verified.stderr);
        let without = failed(&run_with(parts, None, &verify).await, 1);
        assert!(without.contains("set EXPORT_KEY to the key with the fingerprint"), "{without}");
        let wrong = failed(&run_with(parts, Some(OTHER_KEY), &verify).await, 1);
        assert!(wrong.contains(&print(&one)) && wrong.contains(&print(&other)), "{wrong}");
    }
}

#[tokio::test]
async fn every_mark_is_counted_and_listed_where_it_stands() {
    let (system, last) = told_all().await;
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("set");
    export(&system.parts, &out, &["--redact", "--as-of", &last.to_string()]).await;
    let listed = rows(&out, "redactions");
    let tables: BTreeMap<_, BTreeMap<String, Value>> = ["messages", "conversations", "events"]
        .into_iter()
        .map(|table| {
            let key = |row: &Value| row.as_object().unwrap().values().next().unwrap().to_string();
            (
                table,
                rows(&out, table)
                    .into_iter()
                    .map(|row| (key(&row).trim_matches('"').to_owned(), row))
                    .collect(),
            )
        })
        .collect();
    let mut counted: BTreeMap<(String, String, String), u64> = BTreeMap::new();
    for mark in &listed {
        let text = |name: &str| mark[name].as_str().unwrap_or_default().to_owned();
        let row = &tables[text("table").as_str()][&text("row")];
        let cell = row[text("column")].as_str().unwrap();
        let within: String = if text("path").is_empty() {
            cell.chars().skip(usize::try_from(mark["offset"].as_u64().unwrap()).unwrap()).collect()
        } else {
            cell.to_owned()
        };
        let stands = format!("[{}]", text("kind"));
        let there =
            if text("path").is_empty() { within.starts_with(&stands) } else { within.contains(&stands) };
        assert!(there, "{mark} {cell}");
        *counted.entry((text("table"), text("column"), text("kind"))).or_default() += 1;
    }
    let told: Value = serde_json::from_slice(&files(&out)["deidentification.json"]).unwrap();
    let told: BTreeMap<_, _> = told["masked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |name: &str| one[name].as_str().unwrap().to_owned();
            let table = text("path").split('-').next().unwrap().to_owned();
            ((table, text("column"), text("kind")), one["count"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(told, counted);
    assert!(counted.contains_key(&("messages".into(), "content".into(), "EMAIL".into())), "{counted:?}");
    // Ids stay in clear without pseudonyms, and what nobody knows of JSON stays, masked.
    assert!(tables["conversations"].contains_key("conv_1"));
    let all = files(&out).values().map(|file| String::from_utf8_lossy(file).into_owned()).collect::<String>();
    assert!(
        all.contains("device-zq") && !all.contains("passport.jpg?token"),
        "masked too much, or too little"
    );
    let page = String::from_utf8_lossy(&files(&out)["DEIDENTIFICATION.md"]).into_owned();
    assert!(page.contains("Best effort, and no anonymity"), "{page}");
    let verified = run_with(&system.parts, None, &["--verify", out.to_str().unwrap()]).await;
    done(verified.status, &verified.stderr);
}

#[tokio::test]
async fn pseudonyms_without_a_good_key_are_refused() {
    let (system, _) = filled(Parts::fresh().await).await;
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("set");
    for key in
        [None, Some("c2hvcnQ="), Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), Some("no base64!")]
    {
        let output = run_with(&system.parts, key, &["--out", out.to_str().unwrap(), "--pseudonymize"]).await;
        let told = failed(&output, 1);
        assert!(told.contains("EXPORT_KEY") && told.contains("openssl rand -base64 32"), "{told}");
        assert!(key.is_none_or(|key| !told.contains(key)), "{told}");
        assert!(!out.exists());
    }
}

/// Whether a field of this name is anywhere in it.
fn has_key(value: &Value, name: &str) -> bool {
    match value {
        Value::Object(fields) => {
            fields.contains_key(name) || fields.values().any(|value| has_key(value, name))
        }
        Value::Array(items) => items.iter().any(|value| has_key(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[tokio::test]
async fn safe_harbor_leaves_nothing_that_leads_back_but_what_was_said() {
    let (system, last) = told_all().await;
    let (parts, folder, last) = (&system.parts, TempDir::new().unwrap(), last.to_string());
    let raw = folder.path().join("raw");
    export(parts, &raw, &["--as-of", &last]).await;
    let mut hidden = hidden_in(&raw);
    hidden.extend(["Mozilla", "conversation_webhook"].map(str::to_owned));
    for row in rows(&raw, "messages") {
        for time in ["said_at", "recorded_at"] {
            let day = &row[time].as_str().unwrap()[..10];
            // The manifest writes a year as its first day.
            hidden.extend(Some(day.to_owned()).filter(|day| !day.ends_with("-01-01")));
        }
    }
    let tables = ["messages", "conversations", "participants", "redactions"];
    let mut first: BTreeMap<&str, Value> = BTreeMap::new();
    let mapping = folder.path().join("mapping.json");
    for format in ["jsonl", "csv", "parquet"] {
        let out = folder.path().join(format);
        let kept = folder.path().join(format!("{format}.json"));
        let keep = ["--keep-mapping", kept.to_str().unwrap()];
        let arguments = ["--format", format, "--as-of", &last, "--profile", "safe-harbor", "--k", "2"];
        export(parts, &out, &[&arguments[..], &keep].concat()).await;
        for (name, content) in files(&out) {
            assert_eq!(
                leaks(&String::from_utf8_lossy(&content), &hidden),
                Vec::<String>::new(),
                "{format} {name}"
            );
        }
        let manifest: Value = serde_json::from_slice(&files(&out)["datapackage.json"]).unwrap();
        for name in ["as_of", "sequence_range", "epoch", "created", "events_read"] {
            assert!(!has_key(&manifest, name), "{name}: {manifest:#}");
        }
        let told = run_python("data_set.py", &json!({"folder": out.to_str(), "tables": tables})).await;
        assert_eq!(told["frictionless"]["valid"], true, "{format}: {:#}", told["frictionless"]);
        assert_eq!(told["croissant"]["errors"], json!([]), "{format}");
        for table in tables {
            for (tool, read) in told["readers"].as_object().unwrap() {
                assert_eq!(read[table]["types"], types(&out, table), "{tool} {format} {table}");
                let rows = read[table]["rows"].as_array().unwrap();
                assert_eq!(
                    leaks(&read[table]["rows"].to_string(), &hidden),
                    Vec::<String>::new(),
                    "{tool} {table}"
                );
                let count = first.entry(table).or_insert_with(|| json!(rows.len()));
                assert_eq!(*count, rows.len(), "{tool} {format} {table}");
            }
        }
        if format == "jsonl" {
            std::fs::copy(&kept, &mapping).unwrap();
        }
        // Only the mapping makes it again.
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&kept).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let verify = ["--verify", out.to_str().unwrap()];
        let verified =
            run_with(parts, None, &[&verify[..], &["--mapping", kept.to_str().unwrap()]].concat()).await;
        done(verified.status, &verified.stderr);
        let without = failed(&run_with(parts, Some(ONE_KEY), &verify).await, 1);
        assert!(without.contains("name the file of --keep-mapping with --mapping"), "{without}");
    }
    let (out, other) = (folder.path().join("jsonl"), folder.path().join("other"));
    let messages = rows(&out, "messages");
    assert_eq!(messages.len(), rows(&raw, "messages").len());
    assert!(messages.iter().any(|row| row["content"] == "Mail [EMAIL] or\n[EMAIL], at 11:58 on [DATE]"));
    // A conversation is together and in order, and hours count from its beginning.
    let mut seen: Vec<&str> = Vec::new();
    let mut number = 0;
    for row in &messages {
        let of = row["conversation_id"].as_str().unwrap();
        if seen.last() != Some(&of) {
            assert!(!seen.contains(&of), "a conversation is in two pieces");
            seen.push(of);
            number = 0;
        }
        number += 1;
        assert_eq!(row["number"], number);
        assert!(row["hours"].as_i64().unwrap() >= 0);
    }
    assert!(seen.is_sorted());
    // Few share anything here: each combination that is left is of two at least, by every table.
    let told: Value = serde_json::from_slice(&files(&out)["deidentification.json"]).unwrap();
    let known = &told["k_anonymity"];
    assert_eq!((&known["k"], told["profile"].as_str()), (&json!(2), Some("safe-harbor")));
    let persons = rows(&out, "participants");
    let old = raw_ages(&raw);
    assert_eq!(old, [93]);
    let mut classes: BTreeMap<String, u64> = BTreeMap::new();
    let conversations = rows(&out, "conversations");
    for person in &persons {
        let values = ["age_group", "providers", "language", "years"].map(|name| person[name].to_string());
        *classes.entry(values.join("/")).or_default() += 1;
        let of_theirs = conversations.iter().filter(|row| row["participant_id"] == person["participant_id"]);
        assert_eq!(of_theirs.clone().count() as u64, person["conversations"].as_u64().unwrap());
        if person["years"].is_null() {
            assert!(
                of_theirs
                    .clone()
                    .all(|row| ["year", "provider", "language"].iter().all(|name| row[name].is_null()))
            );
        }
    }
    assert!(known["persons_suppressed"].as_u64() > Some(0), "{known}");
    let nobodys = conversations.iter().filter(|row| row["participant_id"].is_null()).count() as u64;
    assert_eq!(known["persons"].as_u64().unwrap(), persons.len() as u64 + nobodys);
    // Whoever is 93 is alone in that.
    assert!(persons.iter().all(|person| person["age_group"].is_null()), "{persons:#?}");
    // Suppressing nothing shows the group.
    let shown = folder.path().join("shown");
    export(parts, &shown, &["--as-of", &last, "--profile", "safe-harbor", "--k", "1"]).await;
    let groups: Vec<_> = rows(&shown, "participants").iter().map(|row| row["age_group"].clone()).collect();
    assert!(groups.contains(&json!("90+")), "{groups:?}");

    // Surrogates are of one data set.
    export(parts, &other, &["--as-of", &last, "--profile", "safe-harbor"]).await;
    let ids = |out: &Path| -> BTreeSet<String> {
        rows(out, "conversations").iter().map(|row| row["conversation_id"].to_string()).collect()
    };
    assert!(ids(&out).is_disjoint(&ids(&other)));
    let wrong = ["--verify", other.to_str().unwrap(), "--mapping", mapping.to_str().unwrap()];
    assert!(failed(&run_with(parts, None, &wrong).await, 1).contains("fingerprint"));

    for (arguments, sentence) in [
        (&["--profile", "safe-harbor", "--include", "events"][..], "names events, which tell too much"),
        (
            &["--profile", "safe-harbor", "--keep-mapping", "OUT/mapping.json"][..],
            "in the data set's own folder",
        ),
    ] {
        let refused = folder.path().join("refused");
        let inside = refused.join("mapping.json");
        let arguments: Vec<_> = arguments
            .iter()
            .map(|text| if *text == "OUT/mapping.json" { inside.to_str().unwrap() } else { text })
            .collect();
        let told = failed(
            &run_with(parts, None, &[&["--out", refused.to_str().unwrap()][..], &arguments].concat()).await,
            1,
        );
        assert!(told.contains(sentence), "{told}");
        assert!(!refused.exists());
    }
}

fn raw_ages(raw: &Path) -> Vec<u64> {
    let data = rows(raw, "events").into_iter().filter_map(|row| row["data"].as_str().map(str::to_owned));
    data.filter_map(|data| serde_json::from_str::<Value>(&data).unwrap()["age"].as_u64()).collect()
}
