//! The new device's side of a pairing: scans the code, asks, keeps the answer.

use bytes::Bytes;
use prost::Message;

use super::device::Engine;
use super::errors::{CommandError, named};
use super::io::Event;
use super::pairing::{Joining, PairingState};
use super::session::Request;
use super::state::Cx;
use crate::pairing::{PairingCode, PairingRole, Transport, sign_request};
use crate::primitives::sign::SecretKey;
use crate::wire::{self, client_frame::Body as ClientBody};

impl Engine {
    pub(super) fn join_by_code(&mut self, code: &str, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let code: PairingCode = code.trim().parse()?;
        // A pairing that never led into a family is simply repeated.
        if self.log.is_some() {
            return Err(CommandError::InFamily);
        }
        if code.is_expired(cx.now) {
            return Err(CommandError::CodeExpired);
        }
        if code.relay != self.relay {
            return Err(CommandError::OtherRelay);
        }
        if self.pairing.is_some() {
            return Err(CommandError::PairingUnderWay);
        }
        if code.role == PairingRole::Guardian && self.record.identity_seed.is_empty() {
            self.record.identity_seed = SecretKey::random(&mut cx.rng).seed().to_vec().into();
            self.save_device(cx);
        }
        self.pairing = Some(PairingState::Joining {
            code,
            stage: Joining::Starting,
        });
        if self.session.is_attached() {
            self.join_rendezvous(cx);
        }
        Ok(())
    }

    /// Goes to the meeting point as soon as a connection is attached.
    pub(super) fn join_rendezvous(&mut self, cx: &mut Cx<'_>) {
        let Some(PairingState::Joining {
            code,
            stage: stage @ Joining::Starting,
        }) = &mut self.pairing
        else {
            return;
        };
        *stage = Joining::Meeting;
        let join = wire::RendezvousJoin {
            rendezvous: code.rendezvous.to_bytes(),
        };
        self.request(Request::Rendezvous, ClientBody::RendezvousJoin(join), cx);
    }

    pub(super) fn ask_to_join(
        &mut self,
        mut transport: Transport,
        code: &PairingCode,
        cx: &mut Cx<'_>,
    ) {
        // For the family conversation; others follow once the device is in it.
        let key_packages = match self.new_key_package(None, cx) {
            Ok(bytes) => vec![Bytes::from(bytes)],
            Err(error) => return self.pairing_failed(&error.to_string(), cx),
        };
        let mut request = wire::PairRequest {
            device: self.signer.device.to_bytes(),
            device_name: named(&self.record.device_name),
            key_packages,
            ..wire::PairRequest::default()
        };
        let identity = if code.role == PairingRole::Guardian {
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
                self.rendezvous_put(code.rendezvous, message, cx);
                cx.event(Event::PairingStarted {
                    pictures: transport.pictures(),
                });
                self.pairing = Some(PairingState::Joining {
                    code: code.clone(),
                    stage: Joining::Asked(Box::new(transport)),
                });
            }
            Err(error) => self.pairing_failed(&error.to_string(), cx),
        }
    }

    pub(super) fn answered(
        &mut self,
        code: &PairingCode,
        message: &[u8],
        mut transport: Transport,
        cx: &mut Cx<'_>,
    ) {
        let answer = transport
            .open(message)
            .ok()
            .and_then(|plain| wire::PairAnswer::decode(plain.as_slice()).ok());
        let Some(answer) = answer else {
            return self.pairing_failed("the guardian's answer is damaged", cx);
        };
        if !answer.accepted {
            let sentence = if answer.sentence.is_empty() {
                "the guardian said no"
            } else {
                &answer.sentence
            };
            return self.pairing_failed(sentence, cx);
        }
        // The same words back: the frame leaves when they are durable here.
        let heard = wire::PairAnswer {
            accepted: true,
            family: answer.family.clone(),
            head: answer.head.clone(),
            ..wire::PairAnswer::default()
        };
        match transport.seal(&heard.encode_to_vec()) {
            Ok(message) => self.rendezvous_put(code.rendezvous, message, cx),
            Err(error) => return self.pairing_failed(&error.to_string(), cx),
        }
        self.record.family = answer.family;
        self.record.pairing_head = answer.head;
        self.save_device(cx);
        self.pairing = None;
    }
}
