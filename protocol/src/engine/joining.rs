//! The new device's side of a pairing: scans or types the code, asks, keeps the answer.

use bytes::Bytes;
use prost::Message;

use super::device::Engine;
use super::errors::{CommandError, PairingError, named};
use super::io::Event;
use super::pairing::{Joining, PairingState, meeting_over};
use super::session::Request;
use super::state::Cx;
use crate::day::Timestamp;
use crate::pairing::{
    HandshakeError, Initiator, JoinCode, PairingRole, SHORT_CODE_TRIES_MAX, ShortJoiner, ShortKey,
    Transport, sign_request,
};
use crate::primitives::sign::{PublicKey, SecretKey};
use crate::wire::{self, client_frame::Body as ClientBody};

impl Engine {
    pub(super) fn join_by_code(&mut self, code: &str, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let code: JoinCode = code.parse()?;
        // A pairing that never led into a family is simply repeated.
        if self.log.is_some() {
            return Err(CommandError::InFamily);
        }
        let expires = match &code {
            JoinCode::Qr(code) => {
                if code.is_expired(cx.now) {
                    return Err(CommandError::CodeExpired);
                }
                if !code.relay.is_same(&self.relay) {
                    return Err(CommandError::OtherRelay);
                }
                Timestamp(code.expires_unix_seconds.saturating_mul(1_000))
            }
            JoinCode::Short(code) => {
                if self.tried(code.rendezvous()) >= SHORT_CODE_TRIES_MAX {
                    return Err(CommandError::CodeBurnt);
                }
                meeting_over(cx.now)
            }
        };
        let mistaken = match &self.pairing {
            None => None,
            Some(PairingState::Joining {
                code,
                expires,
                stage: Joining::Mistaken,
            }) => Some((code.rendezvous(), *expires)),
            Some(_) => return Err(CommandError::PairingUnderWay),
        };
        if let JoinCode::Qr(code) = &code
            && let Some(key) = code.relay.operator
        {
            self.vouch_operator(key, cx);
        }
        if code.role() == PairingRole::Guardian && self.record.identity_seed.is_empty() {
            self.record.identity_seed = SecretKey::random(&mut cx.rng).seed().to_vec().into();
            self.save_device(cx);
        }
        match mistaken {
            // The same digits, typed better: the other side waits for them.
            Some((rendezvous, expires)) if rendezvous == code.rendezvous() => {
                self.speak_first(code, expires, cx);
                return Ok(());
            }
            Some((rendezvous, _)) => self.rendezvous_leave(rendezvous, cx),
            None => {}
        }
        self.pairing = Some(PairingState::Joining {
            code,
            expires,
            stage: Joining::Starting,
        });
        if self.session.is_attached() {
            self.join_rendezvous(cx);
        }
        Ok(())
    }

    /// Says the first words at the meeting point.
    pub(super) fn speak_first(&mut self, code: JoinCode, expires: Timestamp, cx: &mut Cx<'_>) {
        match &code {
            JoinCode::Qr(scanned) => {
                let started = Initiator::start(scanned, &mut cx.rng);
                self.greeted(code, expires, started, cx);
            }
            JoinCode::Short(typed) => {
                let server_name = self.relay.server_name();
                let (joiner, first) = ShortJoiner::start(typed, &server_name, &mut cx.rng);
                self.rendezvous_put(code.rendezvous(), first, cx);
                self.pairing = Some(PairingState::Joining {
                    code,
                    expires,
                    stage: Joining::Keying(Box::new(joiner)),
                });
            }
        }
    }

    /// SPAKE2 is through: the first message under its key shows the other side, and whoever
    /// stands in its place, whether the digits are the same. So that counts here, too.
    pub(super) fn prove_digits(
        &mut self,
        code: JoinCode,
        expires: Timestamp,
        key: &ShortKey,
        cx: &mut Cx<'_>,
    ) {
        let rendezvous = code.rendezvous();
        let tries = self.tried(rendezvous).saturating_add(1);
        self.short_tries = Some((rendezvous, tries));
        let started = Initiator::start(key, &mut cx.rng);
        self.greeted(code, expires, started, cx);
    }

    fn greeted(
        &mut self,
        code: JoinCode,
        expires: Timestamp,
        started: Result<(Initiator, Vec<u8>), HandshakeError>,
        cx: &mut Cx<'_>,
    ) {
        match started {
            Ok((initiator, first)) => {
                self.rendezvous_put(code.rendezvous(), first, cx);
                self.pairing = Some(PairingState::Joining {
                    code,
                    expires,
                    stage: Joining::Greeted(Box::new(initiator)),
                });
            }
            Err(error) => self.pairing_failed(PairingError::Handshake(error.to_string()), cx),
        }
    }

    /// Goes to the meeting point as soon as a connection is attached.
    pub(super) fn join_rendezvous(&mut self, cx: &mut Cx<'_>) {
        let Some(PairingState::Joining {
            code,
            stage: stage @ Joining::Starting,
            ..
        }) = &mut self.pairing
        else {
            return;
        };
        *stage = Joining::Meeting;
        let join = wire::RendezvousJoin {
            rendezvous: code.rendezvous().to_bytes(),
        };
        self.request(Request::Rendezvous, ClientBody::RendezvousJoin(join), cx);
    }

    pub(super) fn ask_to_join(
        &mut self,
        mut transport: Transport,
        code: JoinCode,
        expires: Timestamp,
        cx: &mut Cx<'_>,
    ) {
        // For the family conversation; others follow once the device is in it.
        let key_packages = match self.new_key_package(None, cx) {
            Ok(bytes) => vec![Bytes::from(bytes)],
            Err(error) => {
                return self.pairing_failed(PairingError::Inside(error.to_string()), cx);
            }
        };
        let mut request = wire::PairRequest {
            device: self.signer.device.to_bytes(),
            device_name: named(&self.record.device_name),
            key_packages,
            ..wire::PairRequest::default()
        };
        let identity = if code.role() == PairingRole::Guardian {
            self.identity_key()
        } else {
            None
        };
        sign_request(
            &mut request,
            &self.signer.key,
            identity.as_ref(),
            &transport.handshake_hash(),
        );
        match transport.seal(&request.encode_to_vec()) {
            Ok(message) => {
                self.rendezvous_put(code.rendezvous(), message, cx);
                cx.event(Event::PairingStarted {
                    pictures: transport.pictures(),
                });
                self.pairing = Some(PairingState::Joining {
                    code,
                    expires,
                    stage: Joining::Asked(Box::new(transport)),
                });
            }
            Err(error) => self.pairing_failed(PairingError::Inside(error.to_string()), cx),
        }
    }

    pub(super) fn answered(
        &mut self,
        code: &JoinCode,
        message: &[u8],
        mut transport: Transport,
        cx: &mut Cx<'_>,
    ) {
        let answer = transport
            .open(message)
            .ok()
            .and_then(|plain| wire::PairAnswer::decode(plain.as_slice()).ok());
        let Some(answer) = answer else {
            return self.pairing_failed(PairingError::Guardian, cx);
        };
        if !answer.accepted {
            let sentence = if answer.sentence.is_empty() {
                "the guardian said no".to_owned()
            } else {
                answer.sentence
            };
            return self.pairing_failed(PairingError::Declined(sentence), cx);
        }
        // The same words back: the frame leaves when they are durable here.
        let heard = wire::PairAnswer {
            accepted: true,
            family: answer.family.clone(),
            head: answer.head.clone(),
            ..wire::PairAnswer::default()
        };
        match transport.seal(&heard.encode_to_vec()) {
            Ok(message) => self.rendezvous_put(code.rendezvous(), message, cx),
            Err(error) => {
                return self.pairing_failed(PairingError::Inside(error.to_string()), cx);
            }
        }
        if let Some(key) = PublicKey::from_slice(&answer.operator_key) {
            self.vouch_operator(key, cx);
        }
        self.record.family = answer.family;
        self.record.pairing_head = answer.head;
        self.save_device(cx);
        self.pairing = None;
    }
}
