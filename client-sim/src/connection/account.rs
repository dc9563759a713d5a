//! Connections of an account: each of its own, attached to no mailbox, and gone when its one
//! thing is done.

use std::sync::Arc;
use std::time::Duration;

use kinline_protocol::account::{
    Costs, Credentials, LoginError, Outcome, Session, Step, Wish, sign_put_vault,
};
use kinline_protocol::attach::Challenge;
use kinline_protocol::day::Day;
use kinline_protocol::engine::VaultWrite;
use kinline_protocol::engine::io::VaultOutcome;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::server_name::RelayAddress;
use kinline_protocol::wire::{
    self, ClientFrame, ErrorCode, ServerFrame, client_frame, server_frame,
};
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{ConnectError, Lost, Socket, connect};
use crate::random;

/// Frames of an account that are under way at a time: one asks, one answers.
const FRAMES_MAX: usize = 4;

/// A relay has so long for each answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The relay, or what it sent, said no.
    #[error(transparent)]
    Login(#[from] LoginError),
}

/// A connection on which one asks and the other answers.
struct Line {
    outgoing: mpsc::Sender<ClientFrame>,
    incoming: mpsc::Receiver<ServerFrame>,
    task: JoinHandle<Lost>,
}

impl Line {
    fn new(socket: Socket) -> Self {
        let (outgoing, to_send) = mpsc::channel(FRAMES_MAX);
        let (received, incoming) = mpsc::channel(FRAMES_MAX);
        Self {
            outgoing,
            incoming,
            task: tokio::spawn(socket.run(to_send, received)),
        }
    }

    async fn say(&mut self, frame: ClientFrame) -> Result<(), Lost> {
        self.outgoing.send(frame).await.map_err(|_| Lost::Closed)
    }

    async fn hear(&mut self) -> Result<ServerFrame, Lost> {
        match timeout(ANSWER, self.incoming.recv()).await {
            Err(_) => Err(Lost::Silent),
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err((&mut self.task).await.unwrap_or(Lost::Closed)),
        }
    }
}

/// Does one thing with an account.
///
/// # Errors
/// [`AccountError`], each a sentence for the person who waits.
pub async fn account(
    relay: &RelayAddress,
    tls: &Arc<ClientConfig>,
    credentials: Credentials,
    wish: Wish,
    costs: Costs,
) -> Result<Outcome, AccountError> {
    let (hello, socket) = connect(relay, tls).await?;
    let mut rng = random::os();
    let server_name = relay.server_name();
    let (mut session, first) =
        Session::start(&hello, &server_name, credentials, wish, costs, &mut rng)?;
    let mut line = Line::new(socket);
    line.say(first).await?;
    loop {
        let frame = line.hear().await?;
        // Stretching takes a tenth of a second and more of a core.
        let work = move || {
            let step = session.frame(frame, &mut rng);
            (session, rng, step)
        };
        let Ok(done) = tokio::task::spawn_blocking(work).await else {
            return Err(Lost::Closed.into());
        };
        let step;
        (session, rng, step) = done;
        match step? {
            None => {}
            Some(Step::Send(frame)) => line.say(frame).await?,
            Some(Step::Done(outcome)) => return Ok(outcome),
        }
    }
}

/// Writes a vault, without the password.
pub async fn put_vault(
    relay: &RelayAddress,
    tls: &Arc<ClientConfig>,
    write: VaultWrite,
) -> VaultOutcome {
    let Ok((hello, socket)) = connect(relay, tls).await else {
        return VaultOutcome::Unreachable;
    };
    let server_name = relay.server_name();
    if hello.server_name != server_name {
        return VaultOutcome::Unreachable;
    }
    let challenge = Challenge {
        server_name: &server_name,
        nonce: &hello.nonce,
    };
    let key = SecretKey::from_seed(write.write_seed.expose());
    let signature = sign_put_vault(&key, &challenge, &write.account, &write.vault);
    let put = wire::PutVault {
        account: write.account.to_bytes(),
        vault: Some(write.vault),
        signature: signature.to_vec().into(),
    };
    let frame = ClientFrame {
        request_id: 1,
        critical: vec![],
        body: Some(client_frame::Body::PutVault(put)),
    };
    let mut line = Line::new(socket);
    if line.say(frame).await.is_err() {
        return VaultOutcome::Unreachable;
    }
    while let Ok(frame) = line.hear().await {
        match frame.body {
            Some(server_frame::Body::VaultPut(put)) => {
                return VaultOutcome::Written {
                    failed_logins: put.failed_logins,
                    failed_day: Day(put.failed_day),
                };
            }
            Some(server_frame::Body::Error(error)) => {
                return match error.code() {
                    ErrorCode::StaleGeneration => VaultOutcome::Outdated { newest: 0 },
                    ErrorCode::Denied => VaultOutcome::Denied,
                    _ => VaultOutcome::Unreachable,
                };
            }
            _ => {}
        }
    }
    VaultOutcome::Unreachable
}
