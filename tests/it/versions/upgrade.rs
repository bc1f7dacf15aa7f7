//! What an older version passed over is applied by one that knows it, and then all is as if it had always been known.

use serde_json::json;
use shared::events::{Event, Refusal, Source};
use shared::log::Log;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tests::{Parts, System, database, eventually};

use crate::continuity::Talk;
use crate::publish;
use crate::rebuild::{Operator, busy, indexed};

/// What the projector says of events of a newer version.
pub(super) const OF_NEWER: &str = "unknown type: a newer version wrote it, and folds it as soon as it runs";

/// An older version is played by the database: the checkpoint may pass some events only where they were set aside.
fn older(unknown: &str) -> String {
    format!(
        "CREATE FUNCTION public.older() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM generate_series(OLD.last_sequence + 1, NEW.last_sequence) AS s (sequence)
                        WHERE {unknown} AND s.sequence NOT IN (SELECT sequence FROM read_v1.parked))
             THEN RAISE EXCEPTION 'not known' USING ERRCODE = '22000'; END IF;
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER older AFTER UPDATE ON read_v1.checkpoint DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.name = 'read') EXECUTE FUNCTION public.older()"
    )
}

/// Folds the log into tables of their own, by a version that does not know some events, and then by this one.
async fn upgraded(system: &System, last: u64, unknown: &str) {
    let parts = Parts::on(system.parts.nats.clone(), database().await).only(false, true, false);
    let mut tables = PgConnection::connect(&parts.database_url).await.unwrap();
    tables.execute(AssertSqlSafe(older(unknown))).await.unwrap();
    let before = parts.start().await;
    before.projected(last).await;
    before.stop().await.unwrap();
    let passed_over = format!(
        "DROP TRIGGER older ON read_v1.checkpoint;
         UPDATE read_v1.parked SET reason = '{OF_NEWER}' WHERE reason LIKE '%SQLSTATE 22000%'"
    );
    tables.execute(AssertSqlSafe(passed_over)).await.unwrap();
    let waiting = format!("SELECT count(*)::int AS n FROM read_v1.parked WHERE reason = '{OF_NEWER}'");
    let after = parts.start().await;
    eventually("what waited is applied", || async {
        (after.rows(&waiting).await == [json!({"n": 0})]).then_some(())
    })
    .await;
    indexed(&after, last).await;
    let (verified, differences) = Operator::of(&parts).await.verify().await;
    assert_eq!((verified.events, verified.waiting.total()), (last, 0));
    assert_eq!(differences, [], "where {unknown}");
}

/// Deliveries that fail and do not, one after the other; answers the last event.
async fn webhooks(system: &System) -> u64 {
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let talk = Talk { owner: "RID001", id: "heard", dream: "d2", vendor: "conv_w" };
    let refused = || {
        let (source, address) = (Source::ElevenlabsWebhook, "192.0.2.7".to_owned());
        let (reason, sha256) = ("bad_signature".to_owned(), "0".repeat(64));
        Event::WebhookRefused(Refusal { source, reason, bytes: 1, sha256, address })
    };
    let mut last = 0;
    for digit in ["1", "2", "3", "4"] {
        publish(&log, &refused()).await;
        publish(&log, &talk.sound(0, &digit.repeat(64))).await;
        publish(&log, &refused()).await;
        publish(&log, &refused()).await;
        last = publish(&log, &refused()).await;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_passed_over_is_applied_as_if_it_had_always_been_known() {
    let system = System::start().await;
    busy(&system).await;
    let last = webhooks(&system).await;
    for unknown in ["sequence % 3 = 0", "sequence % 3 = 1", "sequence % 3 = 2", "sequence > 3"] {
        upgraded(&system, last, unknown).await;
    }
}
