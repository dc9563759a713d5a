//! Metrics for the operator, on a listener of their own. No label names anybody.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use crate::relay::Shared;

/// How often the recorder's samples are folded.
const UPKEEP: Duration = Duration::from_secs(5);

/// One recorder for the process, however many relays a test starts in it.
///
/// What is counted is counted from the first call on: before that, a counter counts for nobody.
pub(crate) fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets(&[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0]);
            builder.ok()?.install_recorder().ok()
        })
        .as_ref()
}

/// Serves `/metrics` until the relay stops.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let Some(recorder) = recorder() else { return };
    // Samples pile up in the recorder until somebody looks, or until this.
    let upkeep = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            recorder.run_upkeep();
        }
    });
    let app = Router::new().route("/metrics", get(|| async { recorder.render() }));
    let stopping = shared.stopping.clone();
    let served = axum::serve(listener, app)
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    if let Err(error) = served.await {
        tracing::warn!(kind = %error.kind(), "the admin listener ended");
    }
    upkeep.abort();
}
