//! An erasure that was killed is finished by the next one, wherever it was; and a new master key.

use chrono::Utc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shared::config::NatsSettings;
use shared::ids::ParticipantId;
use shared::log::Log;
use shared::sealing::{Kept, MasterKeys};
use shared::subjects::Subject;
use std::sync::Arc;
use tests::{Parts, System, command, eventually};

use super::{OTHER, OWNER, assert_agreement, erase, rows_of, say, turnlog};
use crate::rebuild::{busy, indexed};

fn token(id: &str) -> String {
    Subject::participant(&ParticipantId::try_from(id.to_owned()).unwrap()).token().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_as_soon_as_the_key_is_gone_it_is_finished_by_the_next_run() {
    let system = System::start().await;
    busy(&system).await;
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let keys = log.keyring().store();
    let mut running =
        command(&system.parts, &["erase", "participant", OWNER, "--yes", "--by", "Bo"], &[]).spawn().unwrap();
    eventually("the key is destroyed", || async {
        matches!(keys.get(&token(OWNER)).await, Ok(Some(Kept::Destroyed { .. }))).then_some(())
    })
    .await;
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGKILL).unwrap();
    running.wait().unwrap();
    let told = erase(&system.parts, OWNER).await;
    // Whoever began it has done it.
    let tombstone = erase(&system.parts, OWNER).await;
    assert!(tombstone.contains("was erased by Bo"), "{told}{tombstone}");
    assert_eq!(rows_of(&mut system.tables().await, OWNER).await, []);
    assert_agreement(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_key_is_gone_nothing_more_is_taken_and_the_next_run_finishes() {
    let system = System::start().await;
    let caller = system.client.login(OWNER).await;
    indexed(&system, say(&caller, OWNER, "conv_1", "as long as the key is there").await).await;
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    log.keyring().store().close(&token(OWNER), Utc::now()).await.unwrap();
    eventually("nothing more is taken", || async {
        let body = crate::message(OWNER, "more", crate::ids("conv_1", "m2"));
        (caller.post("/api/v1/chat/message", &body).await.status == 403).then_some(())
    })
    .await;
    let shown = caller.get("/api/conversation/conv_1").await;
    assert_eq!(shown.body["conversation"]["messages"][0]["content"], "as long as the key is there");
    erase(&system.parts, OWNER).await;
    assert_eq!(rows_of(&mut system.tables().await, OWNER).await, []);
    assert_agreement(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_sealed_events_are_deleted_and_their_bytes_with_them() {
    let nats = tests::Nats::start().await;
    let parts = Parts::on(nats.settings(), tests::database().await);
    let clear = Parts { nats: NatsSettings { sealing: None, ..parts.nats.clone() }, ..parts.clone() };
    let system = clear.start().await;
    let (caller, other) = (system.client.login(OWNER).await, system.client.login(OTHER).await);
    say(&caller, OWNER, "conv_1", "in clear and unmistakable").await;
    let last = say(&other, OTHER, "conv_2", "theirs, in clear").await;
    indexed(&system, last).await;
    assert!(nats.stored(b"in clear and unmistakable"));
    let arguments = ["erase", "participant", OWNER, "--yes", "--without-vacuum"];
    let erase = command(&parts, &arguments, &[("SEALING_KEYS", "")]);
    let erased = tokio::process::Command::from(erase).output().await.unwrap();
    assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    assert!(!nats.stored(b"in clear and unmistakable") && nats.stored(b"theirs, in clear"));
    eventually("nothing more is taken", || async {
        let body = crate::message(OWNER, "more", crate::ids("conv_1", "m2"));
        (caller.post("/api/v1/chat/message", &body).await.status == 403).then_some(())
    })
    .await;
    assert_eq!(rows_of(&mut system.tables().await, OWNER).await, []);
    system.stop().await.unwrap();
    assert_agreement(&parts.start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_changed_by_a_command() {
    const NEW: &str = "new=AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    const BOTH: &str =
        "new=AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=,test=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let system = System::start().await;
    let parts = system.parts.clone();
    let caller = system.client.login(OWNER).await;
    say(&caller, OWNER, "conv_1", "sealed").await;
    erase(&parts, OWNER).await;
    let other = system.client.login(OTHER).await;
    say(&other, OTHER, "conv_2", "sealed, too").await;
    system.stop().await.unwrap();
    let rotate = || {
        let rotate = command(&parts, &["keys", "rotate"], &[("SEALING_KEYS", BOTH)]);
        tokio::process::Command::from(rotate).output()
    };
    for wrapped in ["2 of 4 ", "0 of 4 "] {
        let output = rotate().await.unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(out.starts_with(wrapped), "{out}{}", String::from_utf8_lossy(&output.stderr));
    }
    let sealing = Some(Arc::new(MasterKeys::parse(NEW).unwrap()));
    let new = Parts { nats: NatsSettings { sealing, ..parts.nats.clone() }, ..parts.clone() };
    let system = new.start().await;
    let other = system.client.login(OTHER).await;
    let last = say(&other, OTHER, "conv_2", "with the new one").await;
    let shown = other.get(&format!("/api/conversation/conv_2?after={last}")).await;
    assert_eq!(shown.body["conversation"]["total_messages"], 2);
    let unset = turnlog(&parts, &["keys", "rotate"]).await;
    assert_eq!(unset.status.code(), Some(1), "the old master key opens none of them");
}
