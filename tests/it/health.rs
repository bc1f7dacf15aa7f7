//! What probes and Prometheus see.

use serde_json::json;
use tests::{Nats, Parts, System, eventually};

use crate::{ids, message};

#[tokio::test]
async fn health_has_the_shape_of_the_seed() {
    let system = System::start().await;
    let health = system.client.get("/api/v1/health").await;
    assert_eq!((health.status, &health.body["status"]), (200, &json!("healthy")));
    let dependencies = json!({"database": "connected", "nats": "connected", "elevenlabs": "not_configured"});
    assert_eq!(health.body["dependencies"], dependencies);
    for name in ["timestamp", "version"] {
        assert!(health.body[name].is_string(), "{name} is missing");
    }
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(system.client.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_log_it_is_alive_but_not_ready() {
    let nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), tests::database().await);
    let system = parts.start().await;
    nats.kill();
    let health = eventually("the log is missed", || async {
        let health = system.client.get("/api/v1/health").await;
        (health.status == 503).then_some(health)
    })
    .await;
    assert_eq!(
        (&health.body["status"], &health.body["dependencies"]["nats"]),
        (&json!("unhealthy"), &json!("disconnected"))
    );
    assert_eq!(system.client.get("/health/ready").await.status, 503);
    assert_eq!(system.client.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn every_promised_metric_is_there() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let first = caller.post("/api/v1/chat/message", &message("RID001", "Hello", ids("conv_1", "m1"))).await;
    let mut feed = caller.feed("conv_1", None).await;
    feed.expect("initial").await;
    let second = caller.post("/api/v1/chat/message", &message("RID001", "Hi", ids("conv_1", "m2"))).await;
    feed.expect("new_messages").await;
    assert!(second.sequence() > first.sequence());
    system.projected(second.sequence()).await;
    let promised = [
        "turnlog_http_requests_total",
        "turnlog_http_request_seconds",
        "turnlog_publish_seconds",
        "turnlog_commit_batch_events",
        "turnlog_projected_events_total",
        "turnlog_parked_events",
        "turnlog_lag_events",
        "turnlog_lag_seconds",
        "turnlog_feeds_open",
        "turnlog_frames_total",
    ];
    eventually("all metrics", || async {
        let page = system.client.get("/metrics").await.text;
        promised.iter().all(|name| page.contains(&format!("# TYPE {name} "))).then_some(())
    })
    .await;
}
