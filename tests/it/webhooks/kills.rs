//! What is acknowledged is never lost, also when the write edge is killed right after.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shared::events::Event;
use tests::{Binary, Parts, eventually};
use tokio::task::JoinSet;

use super::{entries, signed, transcript};

const WEBHOOKS: usize = 200;
const SENDERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_survive_kill_9_of_the_write_edge() {
    let parts = Parts::fresh().await;
    let mut ingest = Binary::serve("ingest", &parts).await;
    let done = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (client, done) = (ingest.client.clone(), Arc::clone(&done));
        senders.spawn(async move {
            let mut acknowledged = Vec::new();
            for n in (sender..WEBHOOKS).step_by(SENDERS) {
                let turns = [("agent", "Hello"), ("user", "I cannot sleep"), ("agent", "Since when?")];
                let body = transcript(&format!("conv_{n}"), 1_788_170_431, &turns).to_string();
                let reply = eventually("the webhook is acknowledged", || async {
                    let request = signed(&client, body.clone().into_bytes());
                    client.try_send(request).await.ok().filter(|reply| reply.status == 200)
                })
                .await;
                acknowledged.push((reply.sequence(), format!("conv_{n}")));
                done.fetch_add(1, Ordering::Relaxed);
            }
            acknowledged
        });
    }
    for part in 1..=3 {
        eventually("the load is under way", || async {
            (done.load(Ordering::Relaxed) >= part * WEBHOOKS / 5).then_some(())
        })
        .await;
        ingest.kill();
        ingest.restart().await;
    }
    let acknowledged: BTreeMap<u64, String> = senders.join_all().await.into_iter().flatten().collect();
    assert_eq!(acknowledged.len(), WEBHOOKS);
    let mut reported = BTreeMap::new();
    let mut said: BTreeMap<String, usize> = BTreeMap::new();
    for entry in entries(&parts).await {
        let event = entry.decode().unwrap();
        if let Event::ConversationReported(report) = event {
            reported.insert(entry.sequence, report.conversation_id.as_str().to_owned());
        } else if let Event::MessageRecorded(message) = event {
            *said.entry(message.conversation_id.as_str().to_owned()).or_default() += 1;
        } else {
            panic!("{event:?}");
        }
    }
    assert_eq!(reported, acknowledged);
    assert_eq!((said.len(), said.values().all(|count| *count == 3)), (WEBHOOKS, true), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_just_before_the_kill_is_there() {
    let parts = Parts::fresh().await;
    let ingest = Binary::serve("ingest", &parts).await;
    let body = super::transcription().to_string();
    let reply = ingest.client.send(signed(&ingest.client, body.into_bytes())).await;
    ingest.kill();
    assert_eq!(reply.status, 200, "{}", reply.text);
    let stored = super::entry(&parts, reply.sequence()).await.decode().unwrap();
    assert!(matches!(stored, Event::ConversationReported(_)), "{stored:?}");
}
