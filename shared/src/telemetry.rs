//! Log lines and metrics, set up once by the binary.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::TelemetrySettings;

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error("LOG_LEVEL is not understood: {0}")]
    Level(String),
    /// It was set up before in this process.
    #[error("telemetry is already set up: {0}")]
    Twice(String),
}

/// Sends log lines to stderr, as text or JSON.
///
/// # Errors
/// [`TelemetryError`], when the level is not understood or this was done before.
pub fn init_logs(settings: &TelemetrySettings) -> Result<(), TelemetryError> {
    // The client of the log repeats at INFO what our own lines say better.
    let directives = format!("async_nats=warn,sqlx=warn,{}", settings.level);
    let filter = EnvFilter::try_new(directives).map_err(|error| TelemetryError::Level(error.to_string()))?;
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let result = if settings.json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(false).try_init()
    };
    result.map_err(|error| TelemetryError::Twice(error.to_string()))
}

/// Collects metrics for `/metrics`; the same handle when called again.
///
/// # Panics
/// Never: the bounds below are not empty.
pub fn metrics() -> PrometheusHandle {
    static HANDLE: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let seconds = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0];
            let events = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1000.0, 2000.0];
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &seconds)
                .and_then(|builder| {
                    builder.set_buckets_for_metric(Matcher::Suffix("_events".into()), &events)
                })
                .expect("the bounds are not empty")
                .build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder was there first: /metrics stays empty");
            }
            handle
        })
        .clone()
}
