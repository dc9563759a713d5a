//! One connection through the tap.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kinline_client_sim::connection::client_config;
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, RecipientStatus};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Moment, Shared};
use crate::record::Envelope;
use crate::websocket::Listener;

/// Small, so that a blob passes in many pieces.
const PIECE_BYTES: usize = 8 * 1_024;

/// The HTTP methods of blobs.
const UPLOAD: &str = "PATCH";
const DOWNLOAD: &str = "GET";

/// Passes bytes both ways until one side ends. Errors end the connection, as on any network.
pub(super) async fn carry(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    drop(stream.set_nodelay(true));
    let mut upstream = shared.upstream.subscribe();
    let relay = match upstream.wait_for(Option::is_some).await {
        Ok(relay) => relay.clone(),
        Err(_) => return,
    };
    let Some(relay) = relay else { return };
    let Ok(mut device) = acceptor.accept(stream).await else {
        return;
    };
    let Some(mut relay) = dial(&relay).await else {
        return;
    };
    let (cutter, mut cut) = watch::channel(false);
    let was_cut = cut.clone();
    let mut heard = Heard::new(Arc::clone(&shared), cutter);
    let (mut up, mut down) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    loop {
        tokio::select! {
            read = device.read(&mut up) => {
                let Some(bytes) = some_of(read, &up) else { break };
                if shared.is_muted(heard.mailbox) {
                    continue;
                }
                // Muting ends with the cut: not a word comes through in between.
                if *was_cut.borrow() {
                    break;
                }
                heard.device(bytes);
                if relay.write_all(bytes).await.is_err() || relay.flush().await.is_err() {
                    break;
                }
            }
            read = relay.read(&mut down) => {
                let Some(bytes) = some_of(read, &down) else { break };
                heard.relay(bytes);
                if device.write_all(bytes).await.is_err() || device.flush().await.is_err() {
                    break;
                }
            }
            true = async { cut.wait_for(|cut| *cut).await.is_ok() } => break,
        }
    }
}

fn some_of(read: std::io::Result<usize>, buffer: &[u8]) -> Option<&[u8]> {
    buffer.get(..read.ok()?).filter(|bytes| !bytes.is_empty())
}

async fn dial(relay: &RelayAddress) -> Option<TlsStream<TcpStream>> {
    let stream = TcpStream::connect((relay.host.as_str(), relay.port))
        .await
        .ok()?;
    drop(stream.set_nodelay(true));
    let name = ServerName::try_from(relay.host.clone()).ok()?;
    let connector = TlsConnector::from(client_config(relay).ok()?);
    connector.connect(name, stream).await.ok()
}

/// What was heard on one connection.
struct Heard {
    shared: Arc<Shared>,
    from_device: Listener,
    from_relay: Listener,
    attaching: HashMap<u64, MailboxId>,
    mailbox: Option<MailboxId>,
    sends: HashMap<u64, Vec<Envelope>>,
    /// By delivery number.
    delivered: BTreeMap<u64, Envelope>,
    cutter: Option<watch::Sender<bool>>,
}

impl Heard {
    fn new(shared: Arc<Shared>, cutter: watch::Sender<bool>) -> Self {
        Self {
            shared,
            from_device: Listener::default(),
            from_relay: Listener::default(),
            attaching: HashMap::new(),
            mailbox: None,
            sends: HashMap::new(),
            delivered: BTreeMap::new(),
            cutter: Some(cutter),
        }
    }

    fn device(&mut self, bytes: &[u8]) {
        let messages = self.from_device.hear(bytes);
        if self.from_device.is_request(UPLOAD) {
            self.shared.pass(Moment::Upload, None);
        }
        for message in messages {
            // What is no frame is the relay's to refuse.
            if let Ok(frame) = wire::decode_client(message.into())
                && let Some(body) = frame.body
            {
                self.ask(frame.request_id, body);
            }
        }
    }

    fn ask(&mut self, request_id: u64, body: Ask) {
        match body {
            Ask::Attach(attach) => {
                if let Ok(mailbox) = MailboxId::try_from(&attach.mailbox) {
                    self.attaching.insert(request_id, mailbox);
                    self.shared.pass(Moment::Attach, Some(mailbox));
                }
            }
            Ask::Send(send) => {
                let envelopes: Vec<Envelope> =
                    send.deliveries.iter().filter_map(envelope).collect();
                for envelope in &envelopes {
                    self.shared.record().send(self.mailbox, *envelope);
                }
                self.sends.insert(request_id, envelopes);
                self.shared.pass(Moment::Send, self.mailbox);
            }
            Ask::Acknowledge(acknowledge) => {
                let rest = self.delivered.split_off(&(acknowledge.through + 1));
                let had = std::mem::replace(&mut self.delivered, rest);
                self.shared.record().acknowledged.extend(had.into_values());
                self.shared.pass(Moment::Acknowledge, self.mailbox);
            }
            Ask::CreateBlob(_) => self.shared.pass(Moment::Room, self.mailbox),
            _ => {}
        }
    }

    fn relay(&mut self, bytes: &[u8]) {
        let messages = self.from_relay.hear(bytes);
        if self.from_device.is_request(DOWNLOAD) {
            self.shared.pass(Moment::Download, None);
        }
        for message in messages {
            let frame = wire::decode_server(message.into()).expect("a relay sends frames");
            if let Some(body) = frame.body {
                self.say(frame.request_id, body);
            }
        }
    }

    fn say(&mut self, request_id: u64, body: Say) {
        match body {
            Say::Attached(_) => {
                self.mailbox = self.attaching.remove(&request_id);
                if let Some(mailbox) = self.mailbox {
                    *self.shared.record().attached.entry(mailbox).or_default() += 1;
                    if let Some(cutter) = self.cutter.take() {
                        self.shared.cutters.lock().unwrap().insert(mailbox, cutter);
                    }
                }
            }
            Say::SendResult(result) => {
                let envelopes = self.sends.remove(&request_id).unwrap_or_default();
                for (envelope, answer) in envelopes.iter().zip(&result.recipients) {
                    if answer.status() == RecipientStatus::Ok {
                        self.shared.record().answered.insert(*envelope);
                        self.shared.pass(Moment::Answer, Some(envelope.0));
                    }
                }
            }
            Say::Deliver(deliver) => {
                let message = MessageId::try_from(&deliver.message_id).expect("16 bytes");
                let mailbox = self.mailbox.expect("deliveries come after an attach");
                self.shared.record().delivered.push((mailbox, message));
                self.delivered.insert(deliver.number, (mailbox, message));
                self.shared.pass(Moment::Deliver, Some(mailbox));
            }
            _ => {}
        }
    }
}

fn envelope(delivery: &wire::Delivery) -> Option<Envelope> {
    Some((
        MailboxId::try_from(&delivery.mailbox).ok()?,
        MessageId::try_from(&delivery.message_id).ok()?,
    ))
}
