//! Letting a device into the family: a guardian shows a code, the new device scans it, both
//! compare pictures, the guardian confirms, the new device keeps the answer and says so, and
//! only then is it added to log and conversation, in one commit (PROTOCOL §9). Whichever
//! side dies before that, nothing has happened, and people try again.

use bytes::Bytes;
use prost::Message;

use super::device::Engine;
use super::errors::{CommandError, check_name, named};
use super::io::{Event, MemberRole};
use super::session::Request;
use super::state::Cx;
use crate::conversation::check_key_package;
use crate::day::Timestamp;
use crate::identity::{AddedDevice, AddedMember, Role};
use crate::ids::{MemberId, RendezvousId};
use crate::limits;
use crate::pairing::{
    Initiator, PairingCode, PairingRole, Responder, Transport, VerifiedRequest, sign_request,
    verify_request,
};
use crate::primitives::sign::SecretKey;
use crate::secrets::Secret;
use crate::wire::{self, client_frame::Body as ClientBody};

/// Key packages a new device brings: one for the family conversation, one for a room.
const KEY_PACKAGES_BROUGHT: usize = 2;

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
    // ---- the guardian's side

    pub(super) fn start_pairing(
        &mut self,
        role: MemberRole,
        name: &str,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        check_name(name)?;
        let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        self.identity_key().ok_or(CommandError::NotGuardian)?;
        if !self.session.is_attached() {
            return Err(CommandError::Offline);
        }
        if role == MemberRole::Guardian && log.members().values().any(|member| member.name == name)
        {
            return Err(CommandError::Name);
        }
        let seconds = limits::RENDEZVOUS_SECONDS_MAX;
        let code = PairingCode {
            relay: self.relay.clone(),
            rendezvous: RendezvousId::random(&mut cx.rng),
            secret: Secret::random(&mut cx.rng),
            admission: self.record.invitation.clone(),
            role: match role {
                MemberRole::Guardian => PairingRole::Guardian,
                MemberRole::Child => PairingRole::Child,
            },
            expires_unix_seconds: (cx.now.0 / 1_000).saturating_add(u64::from(seconds)),
        };
        let open = wire::RendezvousOpen {
            rendezvous: code.rendezvous.to_bytes(),
            seconds,
        };
        self.request(Request::Rendezvous, ClientBody::RendezvousOpen(open), cx);
        self.pairing = Some(PairingState::Offering {
            code,
            name: name.to_owned(),
            stage: Offering::Waiting,
        });
        Ok(())
    }

    pub(super) fn answer_pairing(
        &mut self,
        accept: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let asked = matches!(
            &self.pairing,
            Some(PairingState::Offering {
                stage: Offering::Asked(..),
                ..
            })
        );
        if !asked {
            return Err(CommandError::NoPairing);
        }
        let Some(PairingState::Offering {
            code,
            name,
            stage: Offering::Asked(mut transport, request),
        }) = self.pairing.take()
        else {
            return Err(CommandError::NoPairing);
        };
        let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        let answer = if accept {
            wire::PairAnswer {
                accepted: true,
                family: log.family().to_bytes(),
                head: log.head().to_vec().into(),
                ..wire::PairAnswer::default()
            }
        } else {
            wire::PairAnswer {
                sentence: "the guardian did not confirm this device".into(),
                ..wire::PairAnswer::default()
            }
        };
        if let Ok(message) = transport.seal(&answer.encode_to_vec()) {
            self.rendezvous_put(code.rendezvous, message, cx);
        }
        if accept {
            self.pairing = Some(PairingState::Offering {
                code,
                name,
                stage: Offering::Answered(transport, request),
            });
        }
        Ok(())
    }

    /// Queues the commit that adds the member and the device.
    fn admit_device(
        &mut self,
        code: &PairingCode,
        name: &str,
        request: VerifiedRequest,
        cx: &mut Cx<'_>,
    ) {
        let (Some(log), Some(family)) = (self.log.as_ref(), self.family_conversation()) else {
            return;
        };
        let role = match code.role {
            PairingRole::Guardian => Role::Guardian,
            PairingRole::Child => Role::Child,
        };
        // A second tablet of a child belongs to that child.
        let known = log
            .members()
            .iter()
            .find(|(_, member)| member.name == name && member.role == role)
            .map(|(id, _)| *id);
        let member = known.unwrap_or_else(|| MemberId::new(cx.random16()));
        let added = AddedMember {
            member,
            role,
            name: name.to_owned(),
            identity_key: request.identity_key,
        };
        let device = AddedDevice {
            member,
            device: request.device,
            signature_key: request.signature_key,
            name: named(&request.device_name),
        };
        let operation = wire::OperationRecord {
            conversation: family.to_bytes(),
            add_members: if known.is_some() {
                vec![]
            } else {
                vec![added.to_wire()]
            },
            add_devices: vec![device.to_wire()],
            key_packages: request.key_packages.into_iter().take(1).collect(),
            self_update: false,
        };
        self.queue_operation(operation, cx);
    }

    // ---- the new device's side

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

    fn ask_to_join(&mut self, mut transport: Transport, code: &PairingCode, cx: &mut Cx<'_>) {
        let mut key_packages = Vec::with_capacity(KEY_PACKAGES_BROUGHT);
        for _ in 0..KEY_PACKAGES_BROUGHT {
            match self.new_key_package(None, cx) {
                Ok(bytes) => key_packages.push(Bytes::from(bytes)),
                Err(error) => return self.pairing_failed(&error.to_string(), cx),
            }
        }
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

    fn answered(
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

    // ---- the meeting point

    fn rendezvous_put(&mut self, rendezvous: RendezvousId, body: Vec<u8>, cx: &mut Cx<'_>) {
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

    fn offering_got(
        &mut self,
        code: PairingCode,
        name: String,
        stage: Offering,
        body: &[u8],
        cx: &mut Cx<'_>,
    ) {
        match stage {
            Offering::Waiting => {
                let answered =
                    Responder::new(&code, &mut cx.rng).and_then(|responder| responder.answer(body));
                match answered {
                    Ok((transport, answer)) => {
                        self.rendezvous_put(code.rendezvous, answer, cx);
                        let stage = Offering::Talking(Box::new(transport));
                        self.pairing = Some(PairingState::Offering { code, name, stage });
                    }
                    // One wrong guess burns the code: the secret has 128 bits, nobody mistypes it.
                    Err(error) => self.pairing_failed(&error.to_string(), cx),
                }
            }
            Offering::Talking(mut transport) => {
                let request = transport
                    .open(body)
                    .ok()
                    .and_then(|plain| wire::PairRequest::decode(plain.as_slice()).ok())
                    .and_then(|request| {
                        verify_request(&request, code.role, &transport.handshake_hash()).ok()
                    })
                    .filter(|request| self.brings_own_key_package(request));
                match request {
                    Some(request) => {
                        let device_name = named(&request.device_name);
                        cx.event(Event::PairingRequest {
                            device_name,
                            pictures: transport.pictures(),
                        });
                        let stage = Offering::Asked(transport, Box::new(request));
                        self.pairing = Some(PairingState::Offering { code, name, stage });
                    }
                    None => self.pairing_failed("the new device's request does not hold", cx),
                }
            }
            Offering::Answered(mut transport, request) => {
                let heard = transport
                    .open(body)
                    .ok()
                    .and_then(|plain| wire::PairAnswer::decode(plain.as_slice()).ok());
                if heard.is_some_and(|heard| heard.accepted) {
                    self.admit_device(&code, &name, *request, cx);
                } else {
                    self.pairing_failed("the new device's answer is damaged", cx);
                }
            }
            asked @ Offering::Asked(..) => {
                self.pairing = Some(PairingState::Offering {
                    code,
                    name,
                    stage: asked,
                })
            }
        }
    }

    fn brings_own_key_package(&self, request: &VerifiedRequest) -> bool {
        let first = request
            .key_packages
            .first()
            .map(|bytes| check_key_package(&self.crypto, bytes));
        matches!(first, Some(Ok(checked)) if checked.device == request.device && checked.signature_key == request.signature_key)
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
