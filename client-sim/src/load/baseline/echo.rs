//! A WebSocket echo: axum over the same TLS, messages of 1,024 bytes, nothing stored, one
//! socket where the relay has two. What a relay in Rust can't be quicker than.

use std::path::Path;
use std::rc::Rc;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use kinline_protocol::limits::ENVELOPE_BYTES;
use kinline_protocol::wire as protocol;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::tls;
use crate::load::course::{Course, Outcome, conduct};
use crate::load::pairs::Due;
use crate::load::people::noise;
use crate::load::process::Process;
use crate::load::progress::Progress;
use crate::load::tally::{Tally, count};
use crate::load::trouble::Trouble;
use crate::load::wire::websocket::{Kind, put_header};
use crate::load::wire::{Connection, Dial, Stamp};

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if let Message::Binary(_) = message
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

/// Serves until the process ends. Buffers are as the relay has them.
pub(super) async fn serve(_: &Path) -> Result<(), Trouble> {
    let (listener, acceptor) = tls::listen().await?;
    let upgrade = any(|request: WebSocketUpgrade| async move {
        request
            .protocols([protocol::SUBPROTOCOL])
            .read_buffer_size(4_096)
            .write_buffer_size(0)
            .on_upgrade(echo)
    });
    let router: Router = Router::new().route(protocol::PATH, upgrade);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let connection = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
                .with_upgrades();
            drop(connection.await);
        });
    }
}

async fn talk(mut connection: Connection, due: Due, tally: Rc<Tally>) -> Result<(), Trouble> {
    let mut message = noise(ENVELOPE_BYTES);
    let (mut number, mut back) = (0_u64, 0_u64);
    loop {
        let mut later = None;
        while !tally.stopped.get() {
            let now_ns = tally.now_ns();
            let Some(at_ns) = due.at(number, number - back, now_ns) else {
                break;
            };
            if at_ns > now_ns {
                later = Some(tally.moment(at_ns));
                break;
            }
            Stamp { number, at_ns }.write(&mut message);
            put_header(&mut connection.output, Kind::Binary, message.len());
            connection.output.extend_from_slice(&message);
            number += 1;
            count(&tally.sent);
        }
        if tally.stopped.get() && number == back {
            return Ok(());
        }
        match later {
            None => connection.turn().await?,
            Some(at) => tokio::select! {
                turned = connection.turn() => turned?,
                () = sleep_until(at) => {}
            },
        }
        while let Some(stamp) = connection.next_plain()? {
            let stamp = stamp.ok_or_else(|| Trouble::new("the echo said something of its own"))?;
            back += 1;
            tally.note_delivery(stamp.at_ns);
            tally.note_acknowledgement(stamp.at_ns);
        }
    }
}

/// Runs a course of connections over the echo at `dial`.
pub(in crate::load) async fn run(
    dial: &Dial,
    server: Process,
    course: Course,
    progress: &Progress,
) -> Result<Outcome, Trouble> {
    let tally = Rc::new(Tally::new());
    let mut connections = Vec::new();
    for _ in 0..course.pairs {
        connections.push(dial.connect(protocol::PATH).await?);
    }
    let mut tasks = JoinSet::new();
    for (index, connection) in (0..).zip(connections) {
        let due = Due::of(course.pace, index, course.pairs, &tally);
        tasks.spawn_local(talk(connection, due, Rc::clone(&tally)));
    }
    conduct(course, &tally, tasks, server, progress).await
}
