//! The tickets that a phone keeps, and when it spends one: with a pairing code that somebody comes
//! with, for a mailbox that it opens again itself, and for room when the day's bytes are used up
//! (PROTOCOL §15.4).

use super::device::Engine;
use super::state::Cx;
use crate::day::Timestamp;
use crate::ticket::{Ticket, end_of};

/// Tickets that a phone keeps: two drawings.
const TICKETS_MAX: usize = 64;

impl Engine {
    /// At most [`TICKETS_MAX`]; older ones go first.
    pub(super) fn keep_tickets(&mut self, tickets: Vec<String>, cx: &mut Cx<'_>) {
        let sound = tickets
            .into_iter()
            .filter(|text| Ticket::from_text(text).is_ok());
        self.record.tickets.extend(sound);
        let old = self.record.tickets.len().saturating_sub(TICKETS_MAX);
        self.record.tickets.drain(..old);
        self.save_device(cx);
    }

    fn drop_old_tickets(&mut self, now: Timestamp) {
        let today = self.today(now).0;
        self.record.tickets.retain(|text| {
            Ticket::from_text(text).is_ok_and(|ticket| today < end_of(ticket.epoch()))
        });
    }

    /// What a pairing code lets a new device show the relay: a ticket, else the code that this
    /// device was invited with.
    ///
    /// The ticket stays until somebody comes with the code, so showing one costs nothing. Each
    /// code has another, so that one which was spent without this device hearing of it stands in
    /// the way once only.
    pub(super) fn admission_for_another(&mut self, cx: &mut Cx<'_>) -> String {
        self.drop_old_tickets(cx.now);
        let Some(ticket) = self.record.tickets.pop() else {
            return self.record.invitation.clone();
        };
        self.record.tickets.insert(0, ticket.clone());
        self.save_device(cx);
        ticket
    }

    /// Somebody came with a code, and has opened a mailbox by what it says.
    pub(super) fn admission_used(&mut self, admission: &str, cx: &mut Cx<'_>) {
        let before = self.record.tickets.len();
        self.record.tickets.retain(|ticket| ticket != admission);
        if self.record.tickets.len() < before {
            self.save_device(cx);
        }
    }

    /// A ticket to be spent now; it is kept no longer.
    pub(super) fn take_ticket(&mut self, cx: &mut Cx<'_>) -> Option<String> {
        self.drop_old_tickets(cx.now);
        let ticket = self.record.tickets.pop()?;
        self.save_device(cx);
        Some(ticket)
    }

    /// Draws what this device shows the relay when it next opens its mailbox: a ticket, else the
    /// code that it was invited with, else what it showed before.
    pub(super) fn renew_own_admission(&mut self, cx: &mut Cx<'_>) {
        if let Some(ticket) = self.take_ticket(cx) {
            self.record.admission_code = ticket;
        } else if !self.record.invitation.is_empty() {
            self.record.admission_code = self.record.invitation.clone();
        }
        self.save_device(cx);
    }
}
