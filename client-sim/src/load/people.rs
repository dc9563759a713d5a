//! Mailboxes with their keys, opened and attached.

use kinline_protocol::attach::{self, Challenge, MailboxKeys};
use kinline_protocol::day::Timestamp;
use kinline_protocol::grant::{GRANT_BYTES, Grant, revocation_hash};
use kinline_protocol::ids::MailboxId;
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::wire::client_frame::Body as Request;
use kinline_protocol::wire::server_frame::Body as Response;
use kinline_protocol::wire::{self, Hello};
use rand::Rng as _;

use super::trouble::Trouble;
use super::wire::{Connection, Dial, Seen};

/// Days that the grants of a run last.
const GRANT_DAYS: u32 = 100;
/// Request ids of frames that need no speed.
const ASK: u64 = 1;

/// A mailbox as its device knows it.
pub(super) struct Mailbox {
    pub(super) id: MailboxId,
    authentication: SecretKey,
    grant: SecretKey,
    close: SecretKey,
}

impl Mailbox {
    pub(super) fn random(rng: &mut rand::rngs::StdRng) -> Self {
        Self {
            id: MailboxId::random(rng),
            authentication: SecretKey::random(rng),
            grant: SecretKey::random(rng),
            close: SecretKey::random(rng),
        }
    }

    /// Another mailbox under the same keys.
    pub(super) fn twin(&self, id: MailboxId) -> Self {
        let copy = |key: &SecretKey| SecretKey::from_seed(&key.seed());
        Self {
            id,
            authentication: copy(&self.authentication),
            grant: copy(&self.grant),
            close: copy(&self.close),
        }
    }

    /// Permission to put something in.
    pub(super) fn grant(&self) -> [u8; GRANT_BYTES] {
        Grant {
            mailbox: self.id,
            serial: 1,
            last_day: today().plus(GRANT_DAYS),
            revocation_hash: revocation_hash(self.id.as_bytes()),
        }
        .sign(&self.grant)
    }

    /// Its three public keys, as the relay keeps them.
    pub(super) fn keys(&self) -> MailboxKeys {
        MailboxKeys {
            authentication: self.authentication.public(),
            grant: self.grant.public(),
            close: self.close.public(),
        }
    }

    /// Creates it.
    pub(super) async fn open(&self, door: &mut Door) -> Result<(), Trouble> {
        let keys = self.keys();
        let signature =
            attach::sign_open(&self.authentication, &door.challenge(), &self.id, &keys, 1);
        let request = wire::OpenMailbox {
            mailbox: self.id.to_bytes(),
            authentication_key: keys.authentication.as_bytes().to_vec().into(),
            grant_key: keys.grant.as_bytes().to_vec().into(),
            close_key: keys.close.as_bytes().to_vec().into(),
            generation: 1,
            admission_code: String::new(),
            signature: signature.to_vec().into(),
        };
        match door.ask(Request::OpenMailbox(request)).await? {
            Response::MailboxOpened(_) => Ok(()),
            _ => Err(Trouble::new("the relay did not open a mailbox")),
        }
    }

    /// Puts the request to attach; its answer comes like any frame.
    pub(super) fn ask_to_attach(&self, door: &mut Door, window: u32) {
        let signature =
            attach::sign_attach(&self.authentication, &door.challenge(), &self.id, 1, window);
        let request = wire::Attach {
            mailbox: self.id.to_bytes(),
            generation: 1,
            window,
            signature: signature.to_vec().into(),
        };
        door.connection.put(ASK, Request::Attach(request));
    }

    /// Attaches; returns how many envelopes wait.
    pub(super) async fn attach(&self, door: &mut Door, window: u32) -> Result<u64, Trouble> {
        self.ask_to_attach(door, window);
        match door.connection.answer(ASK).await? {
            Response::Attached(attached) => Ok(attached.waiting),
            _ => Err(Trouble::new("the relay did not attach a device")),
        }
    }
}

/// Today.
pub(super) fn today() -> kinline_protocol::day::Day {
    let since = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or_default()).day()
}

/// A connection that was greeted and may sign.
pub(super) struct Door {
    pub(super) connection: Connection,
    server_name: String,
    nonce: bytes::Bytes,
}

impl Door {
    /// Connects and waits for the hello.
    pub(super) async fn enter(dial: &Dial) -> Result<Self, Trouble> {
        let mut connection = dial.connect(wire::PATH).await?;
        loop {
            match connection.next()? {
                Some(Seen::Other {
                    body: Response::Hello(Hello { nonce, .. }),
                    ..
                }) => {
                    return Ok(Self {
                        connection,
                        server_name: dial.address.server_name(),
                        nonce,
                    });
                }
                Some(_) => return Err(Trouble::new("the relay did not begin with hello")),
                None => connection.turn().await?,
            }
        }
    }

    fn challenge(&self) -> Challenge<'_> {
        Challenge {
            server_name: &self.server_name,
            nonce: &self.nonce,
        }
    }

    async fn ask(&mut self, request: Request) -> Result<Response, Trouble> {
        self.connection.put(ASK, request);
        self.connection.answer(ASK).await
    }
}

/// A new mailbox with its device attached to it.
pub(super) async fn attached(
    dial: &Dial,
    rng: &mut rand::rngs::StdRng,
    window: u32,
) -> Result<(Mailbox, Connection), Trouble> {
    let mailbox = Mailbox::random(rng);
    let mut door = Door::enter(dial).await?;
    mailbox.open(&mut door).await?;
    mailbox.attach(&mut door, window).await?;
    Ok((mailbox, door.connection))
}

/// Noise, for whatever wants some.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    rand::rng().fill_bytes(&mut noise);
    noise
}
