//! What is said lies in the log as nobody can read it without its owner's key, and with it as everybody reads it.

use chrono::Utc;
use serde_json::json;
use shared::config::NatsSettings;
use shared::ids::ParticipantId;
use shared::log::Log;
use shared::sealing::{Kept, KeyStore, MasterKeys};
use shared::subjects::Subject;
use std::sync::Arc;
use tests::{Nats, Parts, database};

use crate::{ids, message};

const SAID: &str = "my calves cramp after three hundred steps";

fn owner(participant: &str) -> Subject {
    Subject::participant(&ParticipantId::try_from(participant.to_owned()).unwrap())
}

async fn store(nats: &NatsSettings) -> KeyStore {
    Log::open(nats, "test").await.unwrap().keyring().store().clone()
}

fn masters(text: &str) -> Option<Arc<MasterKeys>> {
    Some(Arc::new(MasterKeys::parse(text).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_is_on_no_disk_of_the_log_in_clear_and_everywhere_where_it_is_read() {
    let nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), database().await);
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    drop(caller.post("/api/v1/chat/message", &message("RID001", SAID, json!({}))).await);
    let profile = json!({"name": "Ada Augusta King", "location": "Ockham Park"});
    let last = caller.put("/api/v1/profile", &profile).await.sequence();
    let shown = caller.get(&format!("/api/conversation/standing.elevenlabs.RID001?after={last}")).await;
    assert_eq!(shown.body["conversation"]["messages"][0]["content"], SAID);
    for personal in [SAID, "Ada Augusta King", "Ockham Park"] {
        assert!(!nats.stored(personal.as_bytes()), "{personal}");
    }
    assert!(nats.stored(owner("RID001").token().as_bytes()), "what is looked at is where it lies");
    let mut feed = caller.feed("standing.elevenlabs.RID001", None).await;
    assert_eq!(feed.expect("initial").await.data["messages"][0]["content"], SAID);
    // Another process, with the same keys, reads it as it was.
    let again = parts.start().await;
    let repeat = again.client.with(caller.token());
    let body = message("RID001", SAID, ids("conv_1", "m1"));
    let (first, second) =
        (repeat.post("/api/v1/chat/message", &body).await, caller.post("/api/v1/chat/message", &body).await);
    assert_eq!(first.body, second.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_in_clear_before_is_read_beside_what_is_sealed() {
    let parts = Parts::fresh().await;
    let clear = Parts { nats: NatsSettings { sealing: None, ..parts.nats.clone() }, ..parts.clone() };
    let before = clear.only(true, false, false).start().await;
    let caller = before.client.login("RID001").await;
    let say = |id: &'static str| message("RID001", SAID, ids("conv_1", id));
    assert_eq!(caller.post("/api/v1/chat/message", &say("m1")).await.status, 200);
    before.stop().await.unwrap();
    let after = parts.start().await;
    let caller = after.client.with(caller.token());
    assert_eq!(caller.post("/api/v1/chat/message", &say("m1")).await.status, 200);
    let last = caller.post("/api/v1/chat/message", &say("m2")).await.sequence();
    let shown = caller.get(&format!("/api/conversation/conv_1?after={last}")).await;
    assert_eq!(shown.body["conversation"]["total_messages"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_destroyed_opens_nothing_and_is_not_on_the_disk() {
    let nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), database().await);
    let system = parts.only(true, false, false).start().await;
    let (caller, other) = (system.client.login("RID001").await, system.client.login("RID002").await);
    let say = |who: &'static str, id: &'static str| message(who, SAID, ids(&format!("conv_{who}"), id));
    assert_eq!(caller.post("/api/v1/chat/message", &say("RID001", "m1")).await.status, 200);
    assert_eq!(other.post("/api/v1/chat/message", &say("RID002", "m1")).await.status, 200);
    let keys = store(&parts.nats).await;
    let id = owner("RID001");
    let Some(Kept::Key(wrapped)) = keys.get(id.token()).await.unwrap() else { panic!("no key") };
    assert!(nats.stored(wrapped.key.as_bytes()));
    keys.destroy(id.token(), Utc::now()).await.unwrap();
    keys.destroy(id.token(), Utc::now()).await.unwrap();
    assert!(matches!(keys.get(id.token()).await.unwrap(), Some(Kept::Destroyed { .. })));
    assert!(!nats.stored(wrapped.key.as_bytes()), "it was overwritten");
    tests::eventually("the running instance forgets it", || async {
        let reply = caller.post("/api/v1/chat/message", &say("RID001", "m2")).await;
        (reply.status == 403).then_some(())
    })
    .await;
    assert_eq!(other.post("/api/v1/chat/message", &say("RID002", "m2")).await.status, 200);
    // Who projects it now finds nothing of the one, and all of the other.
    let reading = parts.start().await;
    let last = reading.client.with(other.token()).post("/api/v1/chat/message", &say("RID002", "m3")).await;
    reading.projected(last.sequence()).await;
    let rows = reading.rows("SELECT research_id, count(*)::int AS n FROM turnlog.messages GROUP BY 1").await;
    assert_eq!(rows, [json!({"research_id": "RID002", "n": 3})]);
    assert_eq!(reading.rows("SELECT count(*)::int AS n FROM turnlog.parked").await, [json!({"n": 0})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_key_wraps_every_key_anew_and_the_old_one_is_needed_no_more() {
    const OLD: &str = "old=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const NEW: &str = "new=AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    let parts = Parts::fresh().await;
    let with = |text: &str| Parts {
        nats: NatsSettings { sealing: masters(text), ..parts.nats.clone() },
        ..parts.clone()
    };
    let old = with(OLD).start().await;
    let caller = old.client.login("RID001").await;
    let last =
        caller.post("/api/v1/chat/message", &message("RID001", SAID, ids("conv_1", "m1"))).await.sequence();
    old.projected(last).await;
    old.stop().await.unwrap();
    let keys = store(&parts.nats).await;
    let id = owner("RID001");
    let both = MasterKeys::parse(&format!("{NEW},{OLD}")).unwrap();
    assert!(keys.rewrap(id.token(), &both).await.unwrap());
    assert!(!keys.rewrap(id.token(), &both).await.unwrap());
    let new = with(NEW).only(true, false, false).start().await;
    let again = new.client.with(caller.token());
    let repeat = again.post("/api/v1/chat/message", &message("RID001", SAID, ids("conv_1", "m1"))).await;
    assert_eq!((repeat.status, repeat.sequence()), (200, last), "it is known, so it was read");
}
