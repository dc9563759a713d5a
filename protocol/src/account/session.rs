//! A connection on which an account is made, changed or used: sans-IO, like the engine, and on a
//! connection of its own, so that an honest relay can't link account and mailbox.
//!
//! ```text
//! register         RegisterStart · RegisterAnswer · RegisterFinish · Registered
//! log in           LoginStart · LoginAnswer · LoginFinish · LoggedIn
//!                  · FetchVault · VaultFetched · (DrawTickets · TicketsDrawn)
//! change password  log in, then register with the vault sealed anew
//! delete           log in, then DeleteAccount · AccountDeleted
//! ```
//! Stretching a password takes a tenth of a second and 64 MiB: [`Session::frame`] may be slow.

use bytes::Bytes;

use super::wish::{Anew, Credentials, LoggedIn, LoginError, Outcome, Wish};
use super::{AccountKeys, VaultError, open_vault, seal_vault};
use crate::primitives::opaque::{EXPORT_KEY_BYTES, Names, device};
use crate::primitives::stretching::Stretching;
use crate::secrets::Secret;
use crate::ticket::Draw;
use crate::wire::{
    self, ClientFrame, Hello, ServerFrame, client_frame::Body as Request,
    server_frame::Body as Response,
};

/// Sets of stretching costs that a device tries on one answer: what a relay announces beyond
/// that is not tried.
const STRETCHINGS_MAX: usize = 4;

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this, and wait for the answer.
    Send(ClientFrame),
    /// It is over; close the connection.
    Done(Outcome),
}

enum Phase {
    Registering(device::Registration),
    Finishing(AccountKeys, Option<u64>),
    LoggingIn(Box<device::Login>),
    Proving(Box<device::LoggedIn>),
    Fetching(Box<LoggedIn>, Drawable),
    Drawing(Box<LoggedIn>, Draw),
    Renewing(Box<LoggedIn>, device::Registration),
    Renewed(Box<LoggedIn>),
    Deleting,
    Over,
}

/// What the relay said about tickets.
#[derive(Clone, Copy)]
struct Drawable {
    count: usize,
    renew: bool,
}

/// Whether a relay's costs are taken as they are announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Costs {
    /// Only within what a device accepts.
    Bounded,
    /// However cheap: for tests.
    Any,
}

/// One connection's worth of account.
pub struct Session {
    server_name: String,
    stretchings: Vec<Stretching>,
    credentials: Credentials,
    wish: Wish,
    phase: Phase,
    next_request: u64,
    /// Of a vault that is written with a new password.
    vault_version: u64,
}

/// The costs that a relay announces and this device accepts, newest first.
///
/// # Errors
/// [`LoginError::Stretching`] when there is none.
pub fn announced(hello: &Hello, costs: Costs) -> Result<Vec<Stretching>, LoginError> {
    let read = |said: &wire::Stretching| match costs {
        Costs::Bounded => Stretching::new(said.memory_kib, said.passes, said.lanes).ok(),
        Costs::Any => Stretching::cheap_for_tests(said.memory_kib, said.passes, said.lanes).ok(),
    };
    let accepted: Vec<Stretching> = hello
        .stretching
        .iter()
        .take(STRETCHINGS_MAX)
        .filter_map(read)
        .collect();
    if accepted.is_empty() {
        return Err(LoginError::Stretching);
    }
    Ok(accepted)
}

impl Session {
    /// Begins, once the relay has said hello under the name that was dialled.
    ///
    /// # Errors
    /// [`LoginError`].
    pub fn start(
        hello: &Hello,
        server_name: &str,
        credentials: Credentials,
        wish: Wish,
        costs: Costs,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<(Self, ClientFrame), LoginError> {
        if hello.server_name != server_name {
            return Err(LoginError::OtherRelay);
        }
        let password = credentials.password.as_bytes();
        let account = credentials.account.to_bytes();
        let (phase, request) = match &wish {
            Wish::Register { .. } => {
                let (state, message) = device::Registration::start(password, rng)?;
                let message = message.into();
                let start = wire::RegisterStart { account, message };
                (Phase::Registering(state), Request::RegisterStart(start))
            }
            Wish::LogIn { .. } | Wish::ChangePassword { .. } | Wish::Delete => {
                let (state, message) = device::Login::start(password, rng)?;
                let message = message.into();
                let start = wire::LoginStart { account, message };
                (
                    Phase::LoggingIn(Box::new(state)),
                    Request::LoginStart(start),
                )
            }
        };
        let mut session = Self {
            server_name: server_name.to_owned(),
            stretchings: announced(hello, costs)?,
            credentials,
            wish,
            phase,
            next_request: 0,
            vault_version: 0,
        };
        let frame = session.framed(request);
        Ok((session, frame))
    }

    fn framed(&mut self, body: Request) -> ClientFrame {
        self.next_request += 1;
        ClientFrame {
            request_id: self.next_request,
            critical: vec![],
            body: Some(body),
        }
    }

    fn send(&mut self, body: Request) -> Result<Option<Step>, LoginError> {
        Ok(Some(Step::Send(self.framed(body))))
    }

    /// Takes the relay's next frame; `None` for one that says nothing here.
    ///
    /// # Errors
    /// [`LoginError`]: it is over then.
    pub fn frame(
        &mut self,
        frame: ServerFrame,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Option<Step>, LoginError> {
        let Some(body) = frame.body else {
            return Ok(None);
        };
        if frame.request_id != self.next_request && !matches!(body, Response::Error(_)) {
            return Ok(None);
        }
        let phase = core::mem::replace(&mut self.phase, Phase::Over);
        match (phase, body) {
            (_, Response::Error(error)) => Err(LoginError::from(error)),
            (Phase::Registering(state), Response::RegisterAnswer(answer)) => {
                self.register(state, &answer.message, rng)
            }
            (Phase::Finishing(keys, None), Response::Registered(_)) => {
                Ok(Some(Step::Done(Outcome::Registered { keys })))
            }
            (Phase::Finishing(keys, Some(version)), Response::Registered(_)) => {
                Ok(Some(Step::Done(Outcome::Changed { keys, version })))
            }
            (Phase::LoggingIn(state), Response::LoginAnswer(answer)) => {
                let password = self.credentials.password.as_bytes();
                let names = Names {
                    account: &self.credentials.account,
                    server: &self.server_name,
                };
                let logged_in =
                    state.finish(password, &self.stretchings, names, &answer.message, rng)?;
                let message = logged_in.proof.clone().into();
                self.phase = Phase::Proving(Box::new(logged_in));
                self.send(Request::LoginFinish(wire::LoginFinish { message }))
            }
            (Phase::Proving(state), Response::LoggedIn(said)) => self.logged_in(&state, &said, rng),
            (Phase::Fetching(done, drawable), Response::VaultFetched(fetched)) => {
                self.fetched(done, drawable, &fetched, rng)
            }
            (Phase::Drawing(mut done, draw), Response::TicketsDrawn(drawn)) => {
                let key = done.issuer.map(|(_, key)| key).unwrap_or_default();
                done.tickets = draw.finish(&drawn.evaluated, &drawn.proof, &key)?;
                Ok(Some(Step::Done(Outcome::LoggedIn(done))))
            }
            (Phase::Renewing(done, state), Response::RegisterAnswer(answer)) => {
                self.renew(done, state, &answer.message, rng)
            }
            (Phase::Renewed(done), Response::Registered(_)) => self.draw(done, rng),
            (Phase::Deleting, Response::AccountDeleted(deleted)) => {
                let backups_end_day = deleted.backups_end_day;
                Ok(Some(Step::Done(Outcome::Deleted { backups_end_day })))
            }
            _ => Err(LoginError::Unexpected),
        }
    }

    fn register(
        &mut self,
        state: device::Registration,
        answer: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Option<Step>, LoginError> {
        let stretching = *self.stretchings.first().ok_or(LoginError::Stretching)?;
        let account = self.credentials.account;
        let (password, code, admission) = match &self.wish {
            Wish::ChangePassword { password, code, .. } => (password, code, String::new()),
            Wish::Register { admission } => (
                &self.credentials.password,
                &self.credentials.code,
                admission.clone(),
            ),
            _ => return Err(LoginError::Unexpected),
        };
        let names = Names {
            account: &account,
            server: &self.server_name,
        };
        let registered = state.finish(password.as_bytes(), stretching, names, answer, rng)?;
        let keys = AccountKeys::derive(account, &registered.export_key, code.as_ref());
        let mut finish = finish(&keys, registered.record, stretching);
        finish.admission = admission;
        let mut version = None;
        if let Wish::ChangePassword { vault, .. } = &self.wish {
            let next = self.vault_version.saturating_add(1);
            let (request, recovery) = &**vault;
            finish.vault = Some(seal_vault(
                &account,
                next,
                &keys.vault,
                request,
                recovery,
                rng,
            )?);
            version = Some(next);
        }
        self.phase = Phase::Finishing(keys, version);
        self.send(Request::RegisterFinish(finish))
    }

    fn logged_in(
        &mut self,
        state: &device::LoggedIn,
        said: &wire::LoggedIn,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Option<Step>, LoginError> {
        self.vault_version = said.vault_version;
        match &self.wish {
            Wish::Delete => {
                self.phase = Phase::Deleting;
                self.send(Request::DeleteAccount(wire::DeleteAccount {}))
            }
            Wish::ChangePassword { password, .. } => {
                let (state, message) = device::Registration::start(password.as_bytes(), rng)?;
                self.phase = Phase::Registering(state);
                let start = wire::RegisterStart {
                    account: self.credentials.account.to_bytes(),
                    message: message.into(),
                };
                self.send(Request::RegisterStart(start))
            }
            Wish::LogIn { tickets, anew } => {
                let count = (*tickets).min(said.tickets_left as usize);
                let key = said.issuer_key.as_ref().try_into().ok();
                let done = LoggedIn {
                    keys: self.derive(&state.export_key),
                    vault: Err(VaultError::None),
                    vault_version: said.vault_version,
                    failed_logins: said.failed_logins,
                    failed_day: said.failed_day,
                    tickets: vec![],
                    issuer: key.map(|key| (said.ticket_epoch, key)),
                    renewed: false,
                };
                let renew = said.renew || *anew != Anew::Asked;
                self.phase = Phase::Fetching(Box::new(done), Drawable { count, renew });
                self.send(Request::FetchVault(wire::FetchVault {}))
            }
            Wish::Register { .. } => Err(LoginError::Unexpected),
        }
    }

    fn derive(&self, export_key: &Secret<EXPORT_KEY_BYTES>) -> AccountKeys {
        AccountKeys::derive(
            self.credentials.account,
            export_key,
            self.credentials.code.as_ref(),
        )
    }

    fn fetched(
        &mut self,
        mut done: Box<LoggedIn>,
        drawable: Drawable,
        fetched: &wire::VaultFetched,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Option<Step>, LoginError> {
        done.vault = match &fetched.vault {
            None => Err(VaultError::None),
            // The relay says one version and hands out another.
            Some(vault) if vault.version != done.vault_version => Err(VaultError::Damaged),
            Some(vault) => open_vault(&self.credentials.account, &done.keys.vault, vault),
        };
        let mut always = false;
        if let Wish::LogIn { tickets, anew } = &mut self.wish {
            always = *anew == Anew::Always;
            // Who can't come back by this has no use for any: they would be gone for this epoch.
            let leads_back = done
                .vault
                .as_ref()
                .is_ok_and(|opened| opened.recovery.is_some() || !opened.request.alone);
            let useless = *anew == Anew::Whole && !leads_back;
            *tickets = if useless { 0 } else { drawable.count };
        }
        // Only what opens as a whole can be sealed anew under the keys that a renewal makes.
        let whole =
            matches!(&done.vault, Ok(opened) if opened.recovery.is_some() || !opened.request.code);
        if drawable.renew && (whole || always) {
            let password = self.credentials.password.as_bytes();
            let (state, message) = device::Registration::start(password, rng)?;
            self.phase = Phase::Renewing(done, state);
            let start = wire::RegisterStart {
                account: self.credentials.account.to_bytes(),
                message: message.into(),
            };
            return self.send(Request::RegisterStart(start));
        }
        self.draw(done, rng)
    }

    /// The relay's setup or its costs are newer: the same password, a new record, new keys.
    fn renew(
        &mut self,
        mut done: Box<LoggedIn>,
        state: device::Registration,
        answer: &[u8],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Option<Step>, LoginError> {
        let stretching = *self.stretchings.first().ok_or(LoginError::Stretching)?;
        let account = self.credentials.account;
        let names = Names {
            account: &account,
            server: &self.server_name,
        };
        let password = self.credentials.password.as_bytes();
        let registered = state.finish(password, stretching, names, answer, rng)?;
        let keys = self.derive(&registered.export_key);
        let mut finish = finish(&keys, registered.record, stretching);
        if let Ok(opened) = &mut done.vault {
            let next = self.vault_version.saturating_add(1);
            opened.request.code = self.credentials.code.is_some();
            let recovery = opened.recovery.clone().unwrap_or_default();
            let vault = seal_vault(&account, next, &keys.vault, &opened.request, &recovery, rng)?;
            finish.vault = Some(vault);
            opened.version = next;
            done.vault_version = next;
        }
        done.keys = keys;
        done.renewed = true;
        self.phase = Phase::Renewed(done);
        self.send(Request::RegisterFinish(finish))
    }

    fn draw(
        &mut self,
        done: Box<LoggedIn>,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Option<Step>, LoginError> {
        let count = match &self.wish {
            Wish::LogIn { tickets, .. } => *tickets,
            _ => 0,
        };
        let Some((epoch, _)) = done.issuer.filter(|_| count > 0) else {
            return Ok(Some(Step::Done(Outcome::LoggedIn(done))));
        };
        let (draw, elements) = Draw::start(epoch, count, rng)?;
        self.phase = Phase::Drawing(done, draw);
        let blinded = elements
            .iter()
            .map(|element| Bytes::copy_from_slice(element))
            .collect();
        self.send(Request::DrawTickets(wire::DrawTickets { epoch, blinded }))
    }
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("[account session]")
    }
}

fn finish(keys: &AccountKeys, record: Vec<u8>, stretching: Stretching) -> wire::RegisterFinish {
    wire::RegisterFinish {
        account: keys.account.to_bytes(),
        record: record.into(),
        stretching: Some(stretching.to_wire()),
        write_key: keys.write_key().public().as_bytes().to_vec().into(),
        admission: String::new(),
        vault: None,
    }
}
