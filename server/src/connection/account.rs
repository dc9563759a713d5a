//! Frames of accounts, on connections that are for nothing else.

use kinline_protocol::wire;
use kinline_protocol::wire::client_frame::Body as Request;
use kinline_protocol::wire::server_frame::Body as Response;

use super::frames::Reply;
use super::session::{Session, Side};
use crate::errors::Refusal;
use crate::{account, ticket};

/// What a frame is for; `None` for what may be said on any connection.
const fn side_of(request: &Request) -> Option<Side> {
    match request {
        Request::RegisterStart(_)
        | Request::RegisterFinish(_)
        | Request::LoginStart(_)
        | Request::LoginFinish(_)
        | Request::DeleteAccount(_)
        | Request::FetchVault(_)
        | Request::PutVault(_)
        | Request::DrawTickets(_) => Some(Side::Account),
        Request::Ping(_) | Request::FetchOperatorLog(_) => None,
        Request::OpenMailbox(_)
        | Request::Attach(_)
        | Request::Acknowledge(_)
        | Request::Send(_)
        | Request::FetchCommit(_)
        | Request::Signal(_)
        | Request::CreateBlob(_)
        | Request::RevokeGrant(_)
        | Request::CloseMailbox(_)
        | Request::RendezvousOpen(_)
        | Request::RendezvousJoin(_)
        | Request::RendezvousPut(_)
        | Request::RenewCloseKey(_)
        | Request::RendezvousLeave(_)
        | Request::EraseMailbox(_) => Some(Side::Mailbox),
    }
}

/// Who may have taken a password comes no further in a lockdown, also where it has logged in
/// already. Phones go on writing their vaults.
const fn is_stopped_by_lockdown(request: &Request) -> bool {
    matches!(
        request,
        Request::RegisterStart(_)
            | Request::RegisterFinish(_)
            | Request::LoginStart(_)
            | Request::LoginFinish(_)
            | Request::DeleteAccount(_)
            | Request::FetchVault(_)
            | Request::DrawTickets(_)
    )
}

impl Session {
    /// A connection is for mailboxes or for an account, never for both: what a device never says
    /// on one connection, an honest relay can't link.
    ///
    /// # Errors
    /// [`Refusal::OutOfOrder`], [`Refusal::LockedDown`].
    pub(super) fn choose_side(&mut self, request: &Request) -> Result<(), Refusal> {
        if is_stopped_by_lockdown(request) {
            self.shared.operator.lockdown.check()?;
        }
        match (self.side, side_of(request)) {
            (_, None) => Ok(()),
            (Side::Undecided, Some(side)) => {
                self.side = side;
                Ok(())
            }
            (side, Some(other)) if side == other => Ok(()),
            _ => Err(Refusal::OutOfOrder(
                "a connection is for mailboxes or for an account, not for both",
            )),
        }
    }

    pub(super) fn register_start(
        &mut self,
        request: &wire::RegisterStart,
    ) -> Result<Reply, Refusal> {
        let (shared, talk) = self.talking();
        let answer = account::register_start(shared, talk, request)?;
        Ok(Reply::Now(Response::RegisterAnswer(answer)))
    }

    pub(super) async fn register_finish(
        &mut self,
        request: wire::RegisterFinish,
    ) -> Result<Reply, Refusal> {
        let (shared, talk) = self.talking();
        account::register_finish(shared, talk, request).await?;
        Ok(Reply::Now(Response::Registered(wire::Registered {})))
    }

    pub(super) async fn login_start(
        &mut self,
        request: wire::LoginStart,
    ) -> Result<Reply, Refusal> {
        let (shared, talk) = self.talking();
        let answer = account::login_start(shared, talk, &request).await?;
        Ok(Reply::Now(Response::LoginAnswer(answer)))
    }

    pub(super) async fn login_finish(
        &mut self,
        request: wire::LoginFinish,
    ) -> Result<Reply, Refusal> {
        let (shared, talk) = self.talking();
        let answer = account::login_finish(shared, talk, &request).await?;
        Ok(Reply::Now(Response::LoggedIn(answer)))
    }

    pub(super) async fn delete_account(&mut self) -> Result<Reply, Refusal> {
        let (shared, talk) = self.talking();
        let answer = account::delete(shared, talk).await?;
        Ok(Reply::Now(Response::AccountDeleted(answer)))
    }

    pub(super) async fn fetch_vault(&mut self) -> Result<Reply, Refusal> {
        let (shared, talk) = self.talking();
        let answer = account::fetch_vault(shared, talk).await?;
        Ok(Reply::Now(Response::VaultFetched(answer)))
    }

    pub(super) async fn put_vault(&mut self, request: wire::PutVault) -> Result<Reply, Refusal> {
        let nonce = self.nonce;
        let (shared, talk) = self.talking();
        let challenge = kinline_protocol::attach::Challenge {
            server_name: &shared.server_name,
            nonce: &nonce,
        };
        let answer = account::put_vault(shared, talk, &challenge, request).await?;
        Ok(Reply::Now(Response::VaultPut(answer)))
    }

    pub(super) async fn draw_tickets(
        &mut self,
        request: wire::DrawTickets,
    ) -> Result<Reply, Refusal> {
        let (shared, talk) = self.talking();
        let answer = ticket::draw(shared, talk, request).await?;
        Ok(Reply::Now(Response::TicketsDrawn(answer)))
    }
}
