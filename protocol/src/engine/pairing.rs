//! Letting a device into the family: a guardian shows a code, the new device scans or types it,
//! both compare pictures, the guardian confirms, the new device keeps the answer and says so,
//! and only then is it added to log and conversation, in one commit (PROTOCOL §9). Whichever
//! side dies before that, nothing has happened, and people try again.

use super::device::Engine;
use super::errors::PairingError;
use super::io::Event;
use super::session::Request;
use super::state::Cx;
use crate::day::Timestamp;
use crate::ids::RendezvousId;
use crate::limits;
use crate::pairing::{
    Initiator, JoinCode, SHORT_CODE_TRIES_MAX, ShortJoiner, ShortKey, Transport, VerifiedRequest,
    read_wrong_try,
};
use crate::wire::{self, ErrorCode, client_frame::Body as ClientBody};

/// A pairing under way; gone with the connection.
pub(super) enum PairingState {
    /// A guardian's phone shows a code.
    Offering { offer: Offer, stage: Offering },
    /// A new device has scanned or typed one.
    Joining {
        code: JoinCode,
        expires: Timestamp,
        stage: Joining,
    },
}

/// What a guardian's phone offers.
pub(super) struct Offer {
    pub(super) code: JoinCode,
    /// Who joins, as the guardian says.
    pub(super) name: String,
    pub(super) expires: Timestamp,
    /// How often somebody tried the digits.
    pub(super) tries: u8,
    /// How often digits were drawn whose meeting point was taken.
    pub(super) drawn: u8,
}

pub(super) enum Offering {
    Waiting,
    /// SPAKE2 is through; whether the digits were right, the next message says.
    Keyed(Box<ShortKey>),
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
    /// SPAKE2 has begun.
    Keying(Box<ShortJoiner>),
    Greeted(Box<Initiator>),
    /// The digits were wrong: a person types them again.
    Mistaken,
    Asked(Box<Transport>),
}

impl PairingState {
    pub(super) const fn code(&self) -> &JoinCode {
        match self {
            Self::Offering { offer, .. } => &offer.code,
            Self::Joining { code, .. } => code,
        }
    }

    pub(super) const fn expires(&self) -> Timestamp {
        match self {
            Self::Offering { offer, .. } => offer.expires,
            Self::Joining { expires, .. } => *expires,
        }
    }
}

/// When a meeting point opened now is over.
pub(super) fn meeting_over(now: Timestamp) -> Timestamp {
    now.plus_ms(u64::from(limits::RENDEZVOUS_SECONDS_MAX) * 1_000)
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

    /// Ends the meeting point for both sides: its code is worthless from now on.
    pub(super) fn rendezvous_leave(&mut self, rendezvous: RendezvousId, cx: &mut Cx<'_>) {
        if self.session.is_attached() {
            let leave = wire::RendezvousLeave {
                rendezvous: rendezvous.to_bytes(),
            };
            self.request(Request::Other, ClientBody::RendezvousLeave(leave), cx);
        }
    }

    fn is_meeting(&self, rendezvous: &[u8]) -> bool {
        self.pairing
            .as_ref()
            .is_some_and(|state| state.code().rendezvous().as_bytes() == rendezvous)
    }

    pub(super) fn rendezvous_ready(&mut self, ready: &wire::RendezvousReady, cx: &mut Cx<'_>) {
        if !self.is_meeting(&ready.rendezvous) {
            return;
        }
        match self.pairing.take() {
            Some(PairingState::Offering {
                offer,
                stage: Offering::Waiting,
            }) => {
                if !ready.joined {
                    cx.event(Event::PairingCode {
                        code: offer.code.to_text(),
                    });
                }
                self.pairing = Some(PairingState::Offering {
                    offer,
                    stage: Offering::Waiting,
                });
            }
            Some(PairingState::Joining {
                code,
                expires,
                stage: Joining::Meeting,
            }) => self.speak_first(code, expires, cx),
            other => self.pairing = other,
        }
    }

    /// The relay has no meeting point for us. True when the pairing goes on with another one.
    pub(super) fn meeting_refused(&mut self, code: ErrorCode, cx: &mut Cx<'_>) -> bool {
        let taken = code == ErrorCode::Taken;
        let error = match &self.pairing {
            Some(PairingState::Offering {
                offer,
                stage: Offering::Waiting,
            }) if taken && matches!(offer.code, JoinCode::Short(_)) => {
                if self.draw_again(cx) {
                    return true;
                }
                PairingError::NoneFree
            }
            Some(PairingState::Joining { .. }) if taken => PairingError::InUse,
            Some(PairingState::Joining {
                code: JoinCode::Short(_),
                ..
            }) if code == ErrorCode::NotFound => PairingError::UnknownShortCode,
            _ => PairingError::NoMeetingPoint,
        };
        self.pairing_failed(error, cx);
        false
    }

    pub(super) fn rendezvous_got(&mut self, got: &wire::RendezvousGot, cx: &mut Cx<'_>) {
        if !self.is_meeting(&got.rendezvous) {
            return;
        }
        if got.closed {
            return self.pairing_failed(PairingError::Left, cx);
        }
        match self.pairing.take() {
            Some(PairingState::Offering { offer, stage }) => {
                self.offering_got(offer, stage, &got.body, cx)
            }
            Some(PairingState::Joining {
                code,
                expires,
                stage,
            }) => self.joining_got(code, expires, stage, &got.body, cx),
            None => {}
        }
    }

    fn joining_got(
        &mut self,
        code: JoinCode,
        expires: Timestamp,
        stage: Joining,
        body: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let typed = matches!(code, JoinCode::Short(_));
        match (stage, read_wrong_try(body)) {
            (Joining::Keying(_) | Joining::Greeted(_), Some(left)) if typed => {
                self.mistaken(code, expires, left, cx)
            }
            (Joining::Keying(joiner), _) => match joiner.finish(body) {
                Ok(key) => self.prove_digits(code, expires, &key, cx),
                Err(error) => self.pairing_failed(PairingError::Handshake(error.to_string()), cx),
            },
            (Joining::Greeted(initiator), _) => match initiator.finish(body) {
                Ok(transport) => self.ask_to_join(transport, code, expires, cx),
                Err(error) => self.pairing_failed(PairingError::Handshake(error.to_string()), cx),
            },
            (Joining::Asked(transport), _) => self.answered(&code, body, *transport, cx),
            (stage, _) => {
                self.pairing = Some(PairingState::Joining {
                    code,
                    expires,
                    stage,
                });
            }
        }
    }

    /// The other side says that the digits were wrong. It may lie about what is left: this
    /// device counts for itself.
    fn mistaken(&mut self, code: JoinCode, expires: Timestamp, left: u8, cx: &mut Cx<'_>) {
        let rendezvous = code.rendezvous();
        let tries_left = left.min(SHORT_CODE_TRIES_MAX.saturating_sub(self.tried(rendezvous)));
        if tries_left == 0 {
            self.short_tries = Some((rendezvous, SHORT_CODE_TRIES_MAX));
            return self.pairing_failed(PairingError::Burnt, cx);
        }
        self.pairing = Some(PairingState::Joining {
            code,
            expires,
            stage: Joining::Mistaken,
        });
        wrong_code(tries_left, cx);
    }

    /// How often this device tried the short code of a meeting point.
    pub(super) fn tried(&self, rendezvous: RendezvousId) -> u8 {
        match self.short_tries {
            Some((of, tries)) if of == rendezvous => tries,
            _ => 0,
        }
    }

    // ---- endings

    pub(super) fn pairing_failed(&mut self, error: PairingError, cx: &mut Cx<'_>) {
        self.pairing = None;
        cx.event(Event::PairingFailed {
            sentence: error.to_string(),
            error,
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
            self.pairing_failed(PairingError::ConnectionLost, cx);
        }
    }

    pub(super) fn expire_pairing(&mut self, cx: &mut Cx<'_>) {
        let Some(state) = self.pairing.as_ref() else {
            return;
        };
        if state.expires() <= cx.now {
            let rendezvous = state.code().rendezvous();
            self.pairing_failed(PairingError::Expired, cx);
            self.rendezvous_leave(rendezvous, cx);
        }
    }
}

/// Tells a person that the digits were wrong.
pub(super) fn wrong_code(tries_left: u8, cx: &mut Cx<'_>) {
    cx.event(Event::PairingWrongCode {
        tries_left,
        sentence: PairingError::WrongCode { tries_left }.to_string(),
    });
}
