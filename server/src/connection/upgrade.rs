//! From an HTTP request to a connection.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kinline_protocol::wire::SUBPROTOCOL;
use tungstenite::handshake::server::create_response_with_body;

use super::actor::Actor;
use super::session::Session;
use super::socket::Socket;
use crate::listener::{Stream, Visit};
use crate::relay::Shared;

/// Turns an HTTP request into a connection of `kinline.v1`.
pub(crate) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    Extension(visit): Extension<Arc<Visit>>,
    mut request: Request,
) -> Response {
    let refuse = |sentence: &'static str| (StatusCode::BAD_REQUEST, sentence).into_response();
    let Ok(mut response) = create_response_with_body(&request, Body::empty) else {
        return refuse("this endpoint takes WebSockets (RFC 6455) and nothing else\n");
    };
    if !offers_ours(&request) {
        return refuse(
            "this endpoint speaks the WebSocket subprotocol kinline.v1 and nothing else\n",
        );
    }
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let upgrade = hyper::upgrade::on(&mut request);
    // A task for what comes before, one for the connection: it has no room for the other.
    let tracker = shared.tracker.clone();
    tracker.clone().spawn(async move {
        if let Ok(upgraded) = upgrade.await
            && let Some(socket) = socket(upgraded)
            && let Ok(session) = Session::new(shared, visit.origin())
        {
            tracker.spawn(Box::new(Actor::new(session, socket)).run(visit));
        }
    });
    response
}

fn offers_ours(request: &Request) -> bool {
    let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    offers
        .iter()
        .filter_map(|offer| offer.to_str().ok())
        .flat_map(|offer| offer.split(','))
        .any(|offer| offer.trim() == SUBPROTOCOL)
}

/// What the listener gave to hyper, without what hyper put around it.
fn socket(upgraded: Upgraded) -> Option<Socket<Stream>> {
    let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
    Some(Socket::new(parts.io.into_inner(), &parts.read_buf))
}
