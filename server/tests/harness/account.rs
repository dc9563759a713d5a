//! A parent's account: a device's half of OPAQUE, and of tickets.

use kinline_protocol::account::sign_put_vault;
use kinline_protocol::ids::AccountId;
use kinline_protocol::primitives::opaque::Names;
use kinline_protocol::primitives::opaque::device::{Login, Registration};
use kinline_protocol::primitives::sign::SecretKey;
use kinline_protocol::primitives::stretching::Stretching;
use kinline_protocol::secrets::Secret;
use kinline_protocol::ticket::{Draw, Ticket};
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{self, ErrorCode};
use kinline_server::Config;
use kinline_server::config::Costs;

use super::Socket;

/// Costs that a test can pay.
pub fn cheap(config: &mut Config) {
    config.accounts.stretching = vec![Costs {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    }];
}

/// What a parent knows, and what the phones keep.
pub struct Parent {
    pub id: AccountId,
    pub password: Vec<u8>,
    pub write_key: SecretKey,
    pub export_key: Option<Secret<64>>,
}

impl Parent {
    pub fn random(password: &str) -> Self {
        let mut rng = rand::rng();
        Self {
            id: AccountId::random(&mut rng),
            password: password.into(),
            write_key: SecretKey::random(&mut rng),
            export_key: None,
        }
    }

    /// The costs that the relay announces first.
    fn costs(socket: &Socket) -> wire::Stretching {
        socket.hello.stretching[0]
    }

    fn stretchings(socket: &Socket) -> Vec<Stretching> {
        let read = |said: &wire::Stretching| {
            Stretching::cheap_for_tests(said.memory_kib, said.passes, said.lanes).unwrap()
        };
        socket.hello.stretching.iter().map(read).collect()
    }

    /// The last frame of a registration, after the first two.
    pub async fn registration(
        &mut self,
        socket: &mut Socket,
        admission: &str,
        vault: Option<wire::Vault>,
    ) -> Result<wire::RegisterFinish, ErrorCode> {
        let mut rng = rand::rng();
        let (state, message) = Registration::start(&self.password, &mut rng).unwrap();
        let start = wire::RegisterStart {
            account: self.id.to_bytes(),
            message: message.into(),
        };
        let answer = match socket.ask(Ask::RegisterStart(start)).await {
            Say::RegisterAnswer(answer) => answer.message,
            Say::Error(error) => return Err(error.code()),
            other => panic!("{other:?}"),
        };
        let server = socket.hello.server_name.clone();
        let names = Names {
            account: &self.id,
            server: &server,
        };
        let costs = Self::stretchings(socket)[0];
        let done = state
            .finish(&self.password, costs, names, &answer, &mut rng)
            .unwrap();
        self.export_key = Some(done.export_key);
        Ok(wire::RegisterFinish {
            account: self.id.to_bytes(),
            record: done.record.into(),
            stretching: Some(Self::costs(socket)),
            write_key: self.write_key.public().as_bytes().to_vec().into(),
            admission: admission.into(),
            vault,
        })
    }

    pub async fn register(
        &mut self,
        socket: &mut Socket,
        admission: &str,
        vault: Option<wire::Vault>,
    ) -> Result<(), ErrorCode> {
        let finish = self.registration(socket, admission, vault).await?;
        match socket.ask(Ask::RegisterFinish(finish)).await {
            Say::Registered(_) => Ok(()),
            Say::Error(error) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }

    /// KE1 and what goes with it.
    pub fn login_start(&self) -> (Login, wire::LoginStart) {
        let (state, message) = Login::start(&self.password, &mut rand::rng()).unwrap();
        let start = wire::LoginStart {
            account: self.id.to_bytes(),
            message: message.into(),
        };
        (state, start)
    }

    /// What a device makes of KE2; `None` when the password is another.
    pub fn login_proof(&self, socket: &Socket, state: &Login, answer: &[u8]) -> Option<Vec<u8>> {
        let names = Names {
            account: &self.id,
            server: &socket.hello.server_name,
        };
        let costs = Self::stretchings(socket);
        let done = state
            .finish(&self.password, &costs, names, answer, &mut rand::rng())
            .ok()?;
        if let Some(key) = &self.export_key {
            assert!(*key == done.export_key, "the key of the registration");
        }
        Some(done.proof)
    }

    /// Begins a login; what comes back.
    pub async fn begin(&self, socket: &mut Socket) -> Result<(Login, Vec<u8>), ErrorCode> {
        let (state, start) = self.login_start();
        match socket.ask(Ask::LoginStart(start)).await {
            Say::LoginAnswer(answer) => Ok((state, answer.message.to_vec())),
            Say::Error(error) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }

    pub async fn finish(socket: &mut Socket, proof: Vec<u8>) -> Result<wire::LoggedIn, ErrorCode> {
        let finish = wire::LoginFinish {
            message: proof.into(),
        };
        match socket.ask(Ask::LoginFinish(finish)).await {
            Say::LoggedIn(logged_in) => Ok(logged_in),
            Say::Error(error) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }

    /// Logs in; with a wrong password sends a proof of noise.
    pub async fn log_in(&self, socket: &mut Socket) -> Result<wire::LoggedIn, ErrorCode> {
        let (state, answer) = self.begin(socket).await?;
        let proof = self.login_proof(socket, &state, &answer);
        Self::finish(socket, proof.unwrap_or_else(|| vec![7; 64])).await
    }

    /// A vault to be written with the write key.
    pub fn put_request(&self, socket: &Socket, vault: wire::Vault) -> wire::PutVault {
        let challenge = socket.challenge();
        let signature = sign_put_vault(&self.write_key, &challenge, &self.id, &vault);
        wire::PutVault {
            account: self.id.to_bytes(),
            vault: Some(vault),
            signature: signature.to_vec().into(),
        }
    }

    pub async fn put(
        &self,
        socket: &mut Socket,
        vault: wire::Vault,
    ) -> Result<wire::VaultPut, ErrorCode> {
        let request = self.put_request(socket, vault);
        match socket.ask(Ask::PutVault(request)).await {
            Say::VaultPut(put) => Ok(put),
            Say::Error(error) => Err(error.code()),
            other => panic!("{other:?}"),
        }
    }
}

/// A vault whose parts are of `byte`.
pub fn vault(version: u64, byte: u8) -> wire::Vault {
    wire::Vault {
        version,
        request_part: vec![byte; 2_048].into(),
        recovery_part: vec![byte; 1_024].into(),
    }
}

/// The vault of the account that is logged in.
pub async fn fetch(socket: &mut Socket) -> Option<wire::Vault> {
    match socket.ask(Ask::FetchVault(wire::FetchVault {})).await {
        Say::VaultFetched(fetched) => fetched.vault,
        other => panic!("{other:?}"),
    }
}

/// Draws tickets and checks them against `key`.
pub async fn draw(
    socket: &mut Socket,
    logged_in: &wire::LoggedIn,
    count: usize,
) -> Result<Vec<Ticket>, ErrorCode> {
    let epoch = logged_in.ticket_epoch;
    let (draw, blinded) = Draw::start(epoch, count, &mut rand::rng()).unwrap();
    let request = wire::DrawTickets {
        epoch,
        blinded: blinded.iter().map(|one| one.to_vec().into()).collect(),
    };
    match socket.ask(Ask::DrawTickets(request)).await {
        Say::TicketsDrawn(drawn) => Ok(draw
            .finish(&drawn.evaluated, &drawn.proof, &logged_in.issuer_key)
            .unwrap()),
        Say::Error(error) => Err(error.code()),
        other => panic!("{other:?}"),
    }
}
