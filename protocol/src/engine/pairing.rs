//! Letting a device into the family: a guardian shows a code, the new device scans it, both
//! compare pictures, the guardian confirms, the new device keeps the answer and says so, and
//! only then is it added to log and conversation, in one commit (PROTOCOL §9). Whichever
//! side dies before that, nothing has happened, and people try again.

use super::device::Engine;
use super::io::Event;
use super::session::Request;
use super::state::Cx;
use crate::day::Timestamp;
use crate::ids::RendezvousId;
use crate::pairing::{Initiator, PairingCode, Transport, VerifiedRequest};
use crate::wire::{self, client_frame::Body as ClientBody};

/// A pairing under way; gone with the connection.
pub(super) enum PairingState {
    /// A guardian's phone shows a code.
    Offering {
        code: PairingCode,
        name: String,
        stage: Offering,
    },
    /// A new device has scanned one.
    Joining { code: PairingCode, stage: Joining },
}

pub(super) enum Offering {
    Waiting,
    Talking(Box<Transport>),
    Asked(Box<Transport>, Box<VerifiedRequest>),
    /// The guardian has said yes; the new device has not said that it knows.
    Answered(Box<Transport>, Box<VerifiedRequest>),
}

pub(super) enum Joining {
    /// The connection does not stand yet.
    Starting,
    /// The meeting point was asked for.
    Meeting,
    Greeted(Box<Initiator>),
    Asked(Box<Transport>),
}

impl PairingState {
    const fn code(&self) -> &PairingCode {
        match self {
            Self::Offering { code, .. } | Self::Joining { code, .. } => code,
        }
    }

    pub(super) fn expires(&self) -> Timestamp {
        Timestamp(self.code().expires_unix_seconds.saturating_mul(1_000))
    }
}

impl Engine {
    // ---- the meeting point

    pub(super) fn rendezvous_put(
        &mut self,
        rendezvous: RendezvousId,
        body: Vec<u8>,
        cx: &mut Cx<'_>,
    ) {
        let put = wire::RendezvousPut {
            rendezvous: rendezvous.to_bytes(),
            body: body.into(),
        };
        self.request(Request::Other, ClientBody::RendezvousPut(put), cx);
    }

    fn is_meeting(&self, rendezvous: &[u8]) -> bool {
        self.pairing
            .as_ref()
            .is_some_and(|state| state.code().rendezvous.as_bytes() == rendezvous)
    }

    pub(super) fn rendezvous_ready(&mut self, ready: &wire::RendezvousReady, cx: &mut Cx<'_>) {
        if !self.is_meeting(&ready.rendezvous) {
            return;
        }
        match self.pairing.take() {
            Some(PairingState::Offering {
                code,
                name,
                stage: Offering::Waiting,
            }) => {
                if !ready.joined {
                    cx.event(Event::PairingCode {
                        code: code.to_text(),
                    });
                }
                self.pairing = Some(PairingState::Offering {
                    code,
                    name,
                    stage: Offering::Waiting,
                });
            }
            Some(PairingState::Joining {
                code,
                stage: Joining::Meeting,
            }) => match Initiator::start(&code, &mut cx.rng) {
                Ok((initiator, first)) => {
                    self.rendezvous_put(code.rendezvous, first, cx);
                    self.pairing = Some(PairingState::Joining {
                        code,
                        stage: Joining::Greeted(Box::new(initiator)),
                    });
                }
                Err(error) => self.pairing_failed(&error.to_string(), cx),
            },
            other => self.pairing = other,
        }
    }

    pub(super) fn rendezvous_got(&mut self, got: &wire::RendezvousGot, cx: &mut Cx<'_>) {
        if !self.is_meeting(&got.rendezvous) {
            return;
        }
        if got.closed {
            return self.pairing_failed("the other side left, or the code has expired", cx);
        }
        match self.pairing.take() {
            Some(PairingState::Offering { code, name, stage }) => {
                self.offering_got(code, name, stage, &got.body, cx)
            }
            Some(PairingState::Joining {
                code,
                stage: Joining::Greeted(initiator),
            }) => match initiator.finish(&got.body) {
                Ok(transport) => self.ask_to_join(transport, &code, cx),
                Err(error) => self.pairing_failed(&error.to_string(), cx),
            },
            Some(PairingState::Joining {
                code,
                stage: Joining::Asked(transport),
            }) => {
                self.answered(&code, &got.body, *transport, cx);
            }
            other => self.pairing = other,
        }
    }

    // ---- endings

    pub(super) fn pairing_failed(&mut self, sentence: &str, cx: &mut Cx<'_>) {
        self.pairing = None;
        cx.event(Event::PairingFailed {
            sentence: sentence.to_owned(),
        });
    }

    pub(super) fn abandon_pairing(&mut self, cx: &mut Cx<'_>) {
        let begun = !matches!(
            &self.pairing,
            None | Some(PairingState::Joining {
                stage: Joining::Starting,
                ..
            })
        );
        if begun {
            self.pairing_failed(
                "the connection was lost while pairing; ask for a new code",
                cx,
            );
        }
    }

    pub(super) fn expire_pairing(&mut self, cx: &mut Cx<'_>) {
        if self
            .pairing
            .as_ref()
            .is_some_and(|state| state.expires() <= cx.now)
        {
            self.pairing_failed("the pairing code has expired", cx);
        }
    }
}
