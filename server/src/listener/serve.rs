//! The accept loop.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{any, get};
use axum::{extract::State, http::StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use kinline_protocol::wire;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::patient::Patient;
use super::secure::Secure;
use super::visitors::{Visit, Visitors};
use crate::relay::Shared;
use crate::{blob, connection, terms};

/// A device sends few and small headers.
const HEADERS_MAX: usize = 32;
const HEADER_BUFFER: usize = 16 * 1_024;
/// After an accept failed for want of something (files, memory), before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Who takes none of an answer for this long is gone.
const ANSWER_STALL: Duration = Duration::from_secs(60);

/// What a device's bytes come through.
pub(crate) type Stream = Box<Patient<Secure<TcpStream>>>;

/// Every path that the relay answers.
fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(wire::PATH, any(connection::upgrade))
        .route("/healthz", any(|| async { "ok\n" }))
        .route("/readyz", any(ready))
        .route(terms::PATH, get(terms::show))
        .merge(blob::routes())
        .with_state(shared)
}

async fn ready(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    if shared.is_ready().await {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// Accepts until the relay stops.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    visitors: Arc<Visitors>,
    shared: Arc<Shared>,
) {
    let router = router(Arc::clone(&shared));
    loop {
        let accepted = tokio::select! {
            () = shared.stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(visit) = visitors.admit(peer.ip()) else {
            metrics::counter!("kinline_visitors_refused_total").increment(1);
            continue;
        };
        let (tls, router, shared) = (Arc::clone(&tls), router.clone(), Arc::clone(&shared));
        let tracker = shared.tracker.clone();
        tracker.spawn(async move { greet(stream, tls, router, &shared, visit).await });
    }
}

async fn greet(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    router: Router,
    shared: &Shared,
    visit: Arc<Visit>,
) {
    let _ = stream.set_nodelay(true);
    let handshake = timeout(
        shared.limits.handshake,
        Secure::accept(stream, tls, &shared.turns),
    );
    let Ok(Ok(stream)) = handshake.await else {
        metrics::counter!("kinline_handshakes_failed_total").increment(1);
        return;
    };
    let router = TowerToHyperService::new(router);
    // The visit travels with each request, so that it lasts as long as what the request becomes.
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&visit));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.header)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BUFFER)
        .serve_connection(
            TokioIo::new(Box::new(Patient::new(stream, ANSWER_STALL))),
            service,
        )
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = shared.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
