//! Seals over the audit log: whatever was done to a copy of it is named, and nothing that crashes breaks the chain.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::jetstream;
use bytes::Bytes;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use shared::audit::seal::{Head, Sealer};
use shared::audit::verify::{self, Break, Verified, Watch};
use shared::audit::{Audit, Look, Looker, What};
use shared::config::NatsSettings;
use shared::log::Log;
use tempfile::TempDir;
use tests::{Binary, Client, Nats, Parts, Up, account, command, database, eventually, operate};

use super::{SNAPSHOT, looks, records, say};

struct Named(Vec<Break>);

impl Watch for Named {
    fn read(&mut self, _: u64, _: u64) {}

    fn found(&mut self, found: Break) {
        self.0.push(found);
    }
}

async fn verified(log: &Log, kept: &[Head]) -> (Verified, Vec<Break>) {
    let mut named = Named(Vec::new());
    let verified = verify::run(log, kept, &mut named).await.unwrap();
    (verified, named.0)
}

/// Waits until all that is there is sealed, and compares.
async fn sealed(parts: &Parts) -> (Verified, Vec<Break>) {
    let log = Log::open(&parts.nats, "test").await.unwrap();
    eventually("all is sealed", || async {
        let (verified, breaks) = verified(&log, &[]).await;
        (verified.unsealed == 0).then_some((verified, breaks))
    })
    .await
}

fn look(id: &str) -> Look {
    let who = Looker { role: "researcher".into(), id: Some("r1".into()), company: None };
    Look::new(who, What::List, None, id)
}

/// So many records under each of so many seals.
async fn written(seals: usize, each: usize) -> (NatsSettings, Log) {
    let nats = account().await;
    let log = Log::open(&nats, "test").await.unwrap();
    let (audit, mut sealer) = (Audit::new(&log), Sealer::new(&log));
    for seal in 0..seals {
        let looks: Vec<_> = (0..each).map(|n| look(&format!("req-{seal}-{n}"))).collect();
        assert!(audit.append(&looks).await.iter().all(Result::is_ok));
        assert!(sealer.round().await.unwrap() >= each as u64);
        assert_eq!(sealer.round().await.unwrap(), 0, "a seal alone is not worth another");
    }
    (nats, log)
}

type Raw = Vec<(String, Bytes)>;

/// All of it as it stands there.
async fn raw(log: &Log) -> Raw {
    let mut stream = jetstream::new(log.client().clone()).get_stream("AUDIT").await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let all = (1..=last).map(|sequence| {
        let stream = stream.clone();
        async move {
            let found = stream.direct_get(sequence).await.unwrap();
            (found.subject.to_string(), found.payload)
        }
    });
    join_all(all).await
}

/// A log of its own whose audit log is made of this.
async fn copied(raw: &Raw) -> (NatsSettings, Log) {
    let nats = account().await;
    let log = Log::open(&nats, "test").await.unwrap();
    let context = jetstream::new(log.client().clone());
    for (subject, body) in raw {
        context.publish(subject.clone(), body.clone()).await.unwrap().await.unwrap();
    }
    (nats, log)
}

#[tokio::test]
async fn whatever_was_done_to_a_copy_is_named() {
    let (_, log) = written(3, 5).await;
    let original = raw(&log).await;
    let (whole, breaks) = verified(&log, &[]).await;
    assert_eq!((breaks, whole.records, whole.seals), (vec![], 15, 3));
    let head = whole.head.unwrap();
    assert_eq!(head.sequence, 18);
    type Tampering = fn(&mut Raw);
    let cases: [(&str, Tampering, &[Break]); 9] = [
        ("nothing", |_| {}, &[]),
        ("taken out", |raw| drop(raw.remove(7)), &[Break::Removed(8, 8)]),
        ("taken out twice", |raw| drop(raw.drain(7..9)), &[Break::Removed(8, 9)]),
        ("changed", |raw| raw[7].1 = b"{}".as_slice().into(), &[Break::Changed(8, 8)]),
        ("filed elsewhere", |raw| raw[7].0 = "audit.list.elsewhere".into(), &[Break::Changed(8, 8)]),
        ("moved", |raw| raw.swap(7, 8), &[Break::Moved(8, 9)]),
        (
            "put in",
            |raw| raw.insert(7, ("audit.list.x".into(), b"{}".as_slice().into())),
            &[Break::Inserted(8, 8)],
        ),
        (
            "a seal taken out",
            |raw| drop(raw.remove(11)),
            &[Break::Unchained(17), Break::Uncovered(6, 11), Break::Removed(12, 12)],
        ),
        ("cut off", |raw| raw.truncate(12), &[]),
    ];
    for (name, tamper, named) in cases {
        let mut copy = original.clone();
        tamper(&mut copy);
        let (_, copy) = copied(&copy).await;
        assert_eq!(verified(&copy, &[]).await.1, named, "{name}");
        // Whoever kept the head sees the cut, too, and wherever something is missing, that its place is another.
        let kept = verified(&copy, &[head]).await.1;
        assert_eq!(
            kept.contains(&Break::Unexpected(18)),
            matches!(name, "taken out" | "taken out twice" | "put in" | "a seal taken out" | "cut off"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_command_names_breaks_and_compares_with_a_head_that_was_kept() {
    let (nats, log) = written(3, 5).await;
    let verify = |nats: &NatsSettings, more: &[&str]| {
        let parts = Parts::on(nats.clone(), String::new());
        let output = command(&parts, &[&["audit", "verify"][..], more].concat(), &[]).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, said, _) = verify(&nats, &[]);
    assert!(code == Some(0) && said.contains("15 records, 3 seals compared"), "{said}");
    let head = said.split("head ").nth(1).unwrap().split(": ").next().unwrap().to_owned();
    assert_eq!(verify(&nats, &["--expect", &head]).0, Some(0));
    let json: serde_json::Value = serde_json::from_str(&verify(&nats, &["--json"]).1).unwrap();
    assert_eq!((&json["head"], &json["breaks"]), (&json!(head), &json!(0)));

    let mut copy = raw(&log).await;
    copy.remove(7);
    let (tampered, _) = copied(&copy).await;
    let (code, said, failed) = verify(&tampered, &[]);
    assert!(code == Some(1) && said.contains("record 8 taken out\n"), "{said}");
    assert!(failed.contains("1 breaks") && failed.lines().count() == 1, "{failed}");
    copy = raw(&log).await;
    copy.truncate(12);
    let (cut, _) = copied(&copy).await;
    assert_eq!(verify(&cut, &[]).0, Some(0));
    let (code, said, _) = verify(&cut, &["--expect", &head]);
    assert!(code == Some(1) && said.contains("seal 18 is not there as it was kept"), "{said}");
    assert_eq!(verify(&nats, &["--expect", "18:abc"]).0, Some(2));
}

#[tokio::test]
async fn what_was_there_before_the_first_seal_is_sealed_at_the_start() {
    let log = Log::open(&account().await, "test").await.unwrap();
    let audit = Audit::new(&log);
    for batch in 0..25 {
        let looks: Vec<_> = (0..500).map(|n| look(&format!("req-{batch}-{n}"))).collect();
        assert!(audit.append(&looks).await.iter().all(Result::is_ok));
    }
    let (unsealed, breaks) = verified(&log, &[]).await;
    assert_eq!((unsealed.records, unsealed.unsealed, unsealed.head, breaks), (12_500, 12_500, None, vec![]));
    let mut sealer = Sealer::new(&log);
    // As much as one seal covers; then the rest, with the first seal.
    assert_eq!((sealer.round().await.unwrap(), sealer.round().await.unwrap()), (10_000, 2_501));
    let (all, breaks) = verified(&log, &[]).await;
    assert_eq!((all.records, all.seals, all.unsealed, breaks), (12_500, 2, 0, vec![]));
}

#[tokio::test]
async fn any_number_of_instances_write_one_chain() {
    let parts = Parts::fresh().await;
    let (one, two) = (parts.start().await, parts.only(false, false, true).start().await);
    let own = one.client.login("RID001").await;
    let said = say(&own, "m1", "secret words").await;
    one.projected(said).await;
    two.projected(said).await;
    let all = join_all((0..300).map(|n| {
        let service = if n % 2 == 0 { one.service() } else { two.service() };
        let login = one.client.clone();
        async move {
            let request = service.request(Method::GET, SNAPSHOT).header("X-Request-Id", format!("req-{n}"));
            let reply = service.send(request).await;
            if n % 10 == 0 {
                login.login(&format!("RID-{n}")).await;
            }
            reply.status
        }
    }));
    assert!(all.await.iter().all(|status| *status == 200));
    let (verified, breaks) = sealed(&parts).await;
    assert_eq!(breaks, []);
    assert!(verified.seals > 0 && verified.records >= 331, "{verified:?}");
    let ids: BTreeSet<_> = looks(&parts).await.into_iter().map(|look| look.request_id).collect();
    assert_eq!(ids.len(), 300);
}

/// Reads on and on; answers the ids of what was answered.
async fn reads(client: Client, name: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut answered = Vec::new();
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{name}-{n}");
        let request = client.request(Method::GET, SNAPSHOT).header("X-Request-Id", &id);
        if client.try_send(request).await.is_ok_and(|reply| reply.status == 200) {
            answered.push(id);
        }
    }
    answered
}

#[tokio::test]
async fn no_kill_breaks_the_chain_or_takes_a_record_of_what_was_answered() {
    let mut nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), database().await);
    let mut service = Binary::serve("all", &parts).await;
    let own = service.client.login("RID001").await;
    let said = say(&own, "m1", "secret words").await;
    let reader = service.client.with(tests::API_KEY);
    eventually("it can be read", || async {
        (reader.get(&format!("{SNAPSHOT}?after={said}")).await.status == 200).then_some(())
    })
    .await;
    let (other, stop) = (Binary::serve("streamer", &parts).await, Arc::new(AtomicBool::new(false)));
    let clients = [&service.client, &service.client, &other.client, &other.client];
    let load = clients.iter().enumerate().map(|(n, client)| {
        tokio::spawn(reads(client.with(tests::API_KEY), format!("reader{n}"), Arc::clone(&stop)))
    });
    let load: Vec<_> = load.collect();
    let log = Log::open(&parts.nats, "test").await.unwrap();
    let grown = |from: u64| {
        let log = log.clone();
        eventually("more is sealed", move || {
            let log = log.clone();
            async move {
                Audit::new(&log)
                    .sealed()
                    .await
                    .ok()
                    .flatten()
                    .map(|sealed| sealed.to)
                    .filter(|to| *to > from + 20)
            }
        })
    };
    let mut to = grown(0).await;
    for round in 0..4 {
        if round % 2 == 0 {
            service.kill();
            service.restart().await;
        } else {
            nats.kill();
            nats.restart().await;
        }
        to = grown(to).await;
    }
    stop.store(true, Ordering::Relaxed);
    let answered: Vec<_> = join_all(load).await.into_iter().flat_map(Result::unwrap).collect();
    let (verified, breaks) = sealed(&parts).await;
    assert_eq!(breaks, []);
    let mut found: Vec<_> = looks(&parts).await.into_iter().map(|look| look.request_id).collect();
    found.sort_unstable();
    let before = found.len();
    found.dedup();
    assert_eq!(found.len(), before, "a record is stored once or, unanswered, not at all");
    assert!(answered.len() > 50 && verified.records >= answered.len() as u64, "{}", answered.len());
    for id in answered {
        assert!(found.binary_search(&id).is_ok(), "{id} was answered and is not recorded");
    }
}

#[tokio::test]
async fn the_services_of_up_may_write_the_audit_log_and_not_touch_it() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    let up = Up::start(&data_dir).await;
    let url = shared::config::Secret::new(up.instance()["nats_url"].as_str().unwrap());
    let nats = NatsSettings { urls: vec![url], user: None, password: None, ..account().await };
    let parts = Parts::on(nats.clone(), String::new());
    let researcher = operate(&data_dir, &["token", "researcher", "r1"]);
    assert!(researcher.status.success());
    let out = folder.path().join("study");
    let exported = operate(&data_dir, &["export", "--participant", "RID001", "--out", out.to_str().unwrap()]);
    // There is nothing to export yet: that, too, is a beginning and an end.
    assert_eq!(exported.status.code(), Some(1), "{}", String::from_utf8_lossy(&exported.stdout));
    say(&up.client().login("RID001").await, "m1", "secret words").await;
    let exported = operate(&data_dir, &["export", "--participant", "RID001", "--out", out.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));

    let all = records(&parts).await;
    let by: Vec<_> = all.iter().filter(|record| record.who.role == "operator").collect();
    let kinds: Vec<_> = by.iter().map(|record| record.what).collect();
    let (begun, ended) = (What::DataSetBegun, What::DataSetEnded);
    assert_eq!(kinds, [What::TokenIssued, begun, ended, begun, ended]);
    assert!(by.iter().all(|record| record.who.id.as_deref().is_some_and(|id| id.contains('@'))));
    assert_eq!((&by[0].more["to_role"], &by[0].more["to"]), (&json!("researcher"), &json!("r1")));
    assert_eq!((&by[2].more["outcome"], &by[4].more["outcome"]), (&json!("failed"), &json!("made")));
    assert_eq!(by[3].request_id, by[4].request_id);
    let manifest = std::fs::read(out.join("datapackage.json")).unwrap();
    assert_eq!(
        by[4].more["manifest_sha256"],
        json!(hex::encode(<sha2::Sha256 as sha2::Digest>::digest(manifest)))
    );
    assert!(by[4].from_sequence.is_some());
    let said = |arguments: &[&str]| String::from_utf8(operate(&data_dir, arguments).stdout).unwrap();
    assert_eq!(said(&["audit", "--what", "token_issued", "--participant", "RID001"]).lines().count(), 1);
    assert_eq!(said(&["audit", "--who", "operator", "--what", "data_set_begun"]).lines().count(), 2);

    let (_, breaks) = sealed(&parts).await;
    assert_eq!(breaks, []);
    let log = Log::open(&nats, "test").await.unwrap();
    let mut context = jetstream::new(log.client().clone());
    context.set_timeout(std::time::Duration::from_secs(1));
    let mut config = context.get_stream("AUDIT").await.unwrap().cached_info().config.clone();
    config.max_messages = 1;
    assert!(context.update_stream(&config).await.is_err(), "limits take out, too");
    assert!(context.delete_stream("AUDIT").await.is_err());
    assert_eq!(records(&parts).await.len(), all.len());
    // What is not forbidden works with the same rights.
    let config = context.get_stream("TICKETS").await.unwrap().cached_info().config.clone();
    assert!(context.update_stream(&config).await.is_ok());
    up.stop();
}
