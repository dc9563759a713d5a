//! What each frame asks for, and what it is answered with.

use std::num::NonZeroU32;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use kinline_protocol::day::Day;
use kinline_protocol::ids::{MailboxId, RendezvousId, SlotToken};
use kinline_protocol::wire::client_frame::Body as Request;
use kinline_protocol::wire::server_frame::Body as Response;
use kinline_protocol::{grant, limits, wire};

use super::session::Session;
use crate::errors::Refusal;
use crate::mailbox::{self, Arrival, Sent};
use crate::{blob, mailbox::take};

/// Rendezvous that one connection may have open or joined at a time.
const RENDEZVOUS_MAX: usize = 4;

/// How a frame is answered.
pub(super) enum Reply {
    /// Not at all.
    Nothing,
    /// Now.
    Now(Response),
    /// When what was sent is safe, through the connection's inbox.
    Soon,
    /// When what was sent is safe.
    Later(BoxFuture<'static, Result<Response, Refusal>>),
}

/// How a frame is handled.
pub(super) enum Handling<'a> {
    /// It was.
    Done(Reply),
    /// In a while. In a box, so that a connection at rest has no room for it.
    Wait(BoxFuture<'a, Result<Reply, Refusal>>),
}

impl Session {
    /// Handles one frame.
    ///
    /// # Errors
    /// [`Refusal`], which becomes an error frame; what is waited for has it too.
    pub(super) fn handle(
        &mut self,
        request_id: u64,
        request: Request,
    ) -> Result<Handling<'_>, Refusal> {
        self.slow_down(&request)?;
        self.choose_side(&request)?;
        let reply = match request {
            Request::OpenMailbox(request) => return wait(self.open_mailbox(request)),
            Request::Attach(request) => return wait(self.attach(request)),
            Request::Send(request) => return wait(self.send(request_id, request)),
            Request::FetchCommit(request) => return wait(self.fetch_commit(request)),
            Request::Signal(request) => return wait(self.signal(request)),
            Request::CreateBlob(request) => return wait(self.create_blob(request)),
            Request::RevokeGrant(request) => return wait(self.revoke(request)),
            Request::CloseMailbox(request) => return wait(self.close_mailbox(request)),
            Request::RenewCloseKey(request) => return wait(self.renew_close_key(request)),
            Request::Acknowledge(request) => {
                self.attached()?
                    .acknowledge(&*self.shared.storage, self.id, &request)?;
                let news = request.through.saturating_sub(self.acknowledged);
                self.acknowledged = self.acknowledged.max(request.through);
                self.shared.tripwire.watch.acknowledged(news);
                Reply::Nothing
            }
            Request::RendezvousOpen(request) => self.rendezvous_open(&request)?,
            Request::RendezvousJoin(request) => self.rendezvous_join(&request)?,
            Request::RendezvousPut(request) => self.rendezvous_put(&request)?,
            Request::RendezvousLeave(request) => self.rendezvous_leave(&request)?,
            Request::FetchOperatorLog(request) => {
                return wait(self.fetch_operator_log(request));
            }
            Request::Ping(_) => Reply::Now(Response::Pong(wire::Pong {})),
            Request::EraseMailbox(request) => return wait(self.erase_mailbox(request)),
            Request::RegisterStart(request) => self.register_start(&request)?,
            Request::RegisterFinish(request) => return wait(self.register_finish(request)),
            Request::LoginStart(request) => return wait(self.login_start(request)),
            Request::LoginFinish(request) => return wait(self.login_finish(request)),
            Request::DeleteAccount(_) => return wait(self.delete_account()),
            Request::FetchVault(_) => return wait(self.fetch_vault()),
            Request::PutVault(request) => return wait(self.put_vault(request)),
            Request::DrawTickets(request) => return wait(self.draw_tickets(request)),
        };
        Ok(Handling::Done(reply))
    }

    /// A Send counts as one and one more for each eight deliveries; acknowledgements are free,
    /// since each answers a delivery.
    fn slow_down(&self, request: &Request) -> Result<(), Refusal> {
        let weight = match request {
            Request::Acknowledge(_) => return Ok(()),
            Request::Send(send) => 1 + send.deliveries.len() / 8,
            Request::Signal(signal) => 1 + signal.deliveries.len() / 8,
            // Up to 64 KiB are read for it.
            Request::FetchOperatorLog(_) => 8,
            _ => 1,
        };
        let weight = u32::try_from(weight)
            .ok()
            .and_then(NonZeroU32::new)
            .unwrap_or(NonZeroU32::MAX);
        let limiter = if self.mailbox.is_some() {
            &self.frames
        } else {
            &self.frames_unattached
        };
        take(limiter, weight).map_err(|retry_after_ms| Refusal::SlowDown { retry_after_ms })
    }

    async fn open_mailbox(&self, request: wire::OpenMailbox) -> Result<Reply, Refusal> {
        mailbox::open(&self.shared, &self.challenge(), &request).await?;
        Ok(Reply::Now(Response::MailboxOpened(wire::MailboxOpened {})))
    }

    async fn attach(&mut self, request: wire::Attach) -> Result<Reply, Refusal> {
        if self.mailbox.is_some() {
            return Err(Refusal::OutOfOrder("this connection is attached already"));
        }
        let (mailbox, attached) = mailbox::attach(
            &self.shared,
            &self.challenge(),
            &request,
            self.id,
            &self.inbox,
        )
        .await?;
        self.mailbox = Some(mailbox);
        // What came between hello and here was told to whoever was attached by then.
        if self.shared.operator.size() != self.operator_log {
            self.inbox.put(Arrival::OperatorNews);
        }
        self.inbox.wake();
        Ok(Reply::Now(Response::Attached(attached)))
    }

    async fn send(&self, request_id: u64, request: wire::Send) -> Result<Reply, Refusal> {
        let from = (&self.inbox, request_id);
        let sent = mailbox::accept(&self.shared, self.mailbox.as_ref(), from, request);
        Ok(match sent.await? {
            Sent::Whole => Reply::Soon,
            Sent::Parts(pending) => Reply::Later(Box::pin(async move {
                pending.answer().await.map(Response::SendResult)
            })),
        })
    }

    async fn fetch_commit(&self, request: wire::FetchCommit) -> Result<Reply, Refusal> {
        let token = SlotToken::try_from(&request.token)
            .map_err(|_| Refusal::Malformed("a token has 16 bytes"))?;
        let sealed = self.shared.storage.commit(token).await?;
        Ok(Reply::Now(Response::CommitSlot(wire::CommitSlot {
            present: sealed.is_some(),
            sealed: sealed.unwrap_or_default(),
        })))
    }

    async fn fetch_operator_log(&self, request: wire::FetchOperatorLog) -> Result<Reply, Refusal> {
        // Only what was verified, and no more than the checkpoint beside it says.
        let checkpoint = self.shared.operator.checkpoint();
        let size = self.shared.operator.size();
        let entries = match size.checked_sub(request.from) {
            None | Some(0) => Vec::new(),
            Some(left) => {
                let rows = self.shared.storage.operator_log(request.from).await?;
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                rows.into_iter().take(left).map(|row| row.entry).collect()
            }
        };
        Ok(Reply::Now(Response::OperatorLogPart(
            wire::OperatorLogPart {
                entries,
                checkpoint,
            },
        )))
    }

    async fn create_blob(&self, request: wire::CreateBlob) -> Result<Reply, Refusal> {
        let created = blob::create(&self.shared, self.attached()?, &request).await?;
        Ok(Reply::Now(Response::BlobCreated(created)))
    }

    async fn close_mailbox(&self, request: wire::CloseMailbox) -> Result<Reply, Refusal> {
        mailbox::close(&self.shared, &self.challenge(), &request).await?;
        Ok(Reply::Now(Response::MailboxClosed(wire::MailboxClosed {})))
    }

    async fn renew_close_key(&self, request: wire::RenewCloseKey) -> Result<Reply, Refusal> {
        let mailbox = self.attached()?;
        let challenge = self.challenge();
        mailbox::renew_close_key(&self.shared, &challenge, mailbox, self.id, &request).await?;
        Ok(Reply::Now(Response::CloseKeyRenewed(
            wire::CloseKeyRenewed {},
        )))
    }

    async fn erase_mailbox(&mut self, request: wire::EraseMailbox) -> Result<Reply, Refusal> {
        let mailbox = Arc::clone(self.attached()?);
        mailbox::erase(&self.shared, &self.challenge(), &mailbox, self.id, &request).await?;
        self.mailbox = None;
        let backups_end_day = self.shared.backups_end_day();
        Ok(Reply::Now(Response::MailboxErased(wire::MailboxErased {
            backups_end_day,
        })))
    }

    async fn signal(&self, request: wire::Signal) -> Result<Reply, Refusal> {
        self.attached()?;
        if request.deliveries.len() > limits::SEND_DELIVERIES_MAX {
            return Err(Refusal::Malformed("more deliveries than a signal may have"));
        }
        for delivery in request.deliveries {
            let id = MailboxId::try_from(&delivery.mailbox)
                .map_err(|_| Refusal::Malformed("a mailbox id has 16 bytes"))?;
            if delivery.body.len() > limits::SIGNAL_BYTES_MAX
                || delivery.grant.len() != grant::GRANT_BYTES
            {
                return Err(Refusal::Malformed(
                    "a signal's body or grant has a wrong size",
                ));
            }
            if let Ok(mailbox) = mailbox::permit(&self.shared, id, delivery.grant).await?
                && mailbox.slow_down().is_ok()
                && let Some(inbox) = mailbox.lock().queue.inbox()
            {
                inbox.put(Arrival::Signal(bytes::Bytes::copy_from_slice(
                    &delivery.body,
                )));
            }
        }
        Ok(Reply::Nothing)
    }

    async fn revoke(&self, request: wire::RevokeGrant) -> Result<Reply, Refusal> {
        MailboxId::try_from(&request.mailbox)
            .map_err(|_| Refusal::Malformed("a mailbox id has 16 bytes"))?;
        if request.secret.len() != 32 {
            return Err(Refusal::Malformed("a revocation secret has 32 bytes"));
        }
        let today = self.shared.clock.day();
        if request.last_day >= today.0 {
            let expires = Day(request.last_day).min(mailbox::last_day_max(today));
            self.shared
                .grants
                .revoke(grant::revocation_hash(&request.secret), expires)
                .await?;
        }
        Ok(Reply::Now(Response::GrantRevoked(wire::GrantRevoked {})))
    }

    fn rendezvous_open(&mut self, request: &wire::RendezvousOpen) -> Result<Reply, Refusal> {
        self.attached()?;
        self.shared.operator.lockdown.check()?;
        if request.seconds == 0 || request.seconds > limits::RENDEZVOUS_SECONDS_MAX {
            return Err(Refusal::Malformed(
                "a rendezvous lasts between 1 and 600 seconds",
            ));
        }
        let id = rendezvous(&request.rendezvous)?;
        self.meet(id, |session| {
            session
                .shared
                .rendezvous
                .open(id, request.seconds, session.id, &session.inbox)
        })?;
        Ok(ready(id, false))
    }

    fn rendezvous_join(&mut self, request: &wire::RendezvousJoin) -> Result<Reply, Refusal> {
        self.shared.operator.lockdown.check()?;
        let id = rendezvous(&request.rendezvous)?;
        self.meet(id, |session| {
            session
                .shared
                .rendezvous
                .join(id, session.id, &session.inbox)
        })?;
        Ok(ready(id, true))
    }

    fn meet(
        &mut self,
        id: RendezvousId,
        enter: impl FnOnce(&Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let known = self.rendezvous.contains(&id);
        if !known && self.rendezvous.len() >= RENDEZVOUS_MAX {
            return Err(Refusal::SlowDown {
                retry_after_ms: 60_000,
            });
        }
        enter(self)?;
        if !known {
            self.rendezvous.push(id);
        }
        Ok(())
    }

    fn rendezvous_put(&self, request: &wire::RendezvousPut) -> Result<Reply, Refusal> {
        let id = rendezvous(&request.rendezvous)?;
        if request.body.len() > limits::RENDEZVOUS_MESSAGE_BYTES_MAX {
            return Err(Refusal::Malformed(
                "a rendezvous message has at most 65,535 bytes",
            ));
        }
        self.shared.rendezvous.put(id, self.id, &request.body)?;
        Ok(Reply::Nothing)
    }

    fn rendezvous_leave(&mut self, request: &wire::RendezvousLeave) -> Result<Reply, Refusal> {
        let id = rendezvous(&request.rendezvous)?;
        self.shared.rendezvous.leave(id, self.id);
        self.rendezvous.retain(|other| *other != id);
        Ok(Reply::Nothing)
    }
}

pub(super) fn wait<'a>(
    reply: impl Future<Output = Result<Reply, Refusal>> + Send + 'a,
) -> Result<Handling<'a>, Refusal> {
    Ok(Handling::Wait(Box::pin(reply)))
}

fn rendezvous(bytes: &bytes::Bytes) -> Result<RendezvousId, Refusal> {
    RendezvousId::try_from(bytes).map_err(|_| Refusal::Malformed("a rendezvous id has 16 bytes"))
}

fn ready(id: RendezvousId, joined: bool) -> Reply {
    Reply::Now(Response::RendezvousReady(wire::RendezvousReady {
        rendezvous: id.to_bytes(),
        joined,
    }))
}
