//! The guardian's side of a pairing: shows the code, says yes, adds the device.

use prost::Message;

use super::device::Engine;
use super::errors::{CommandError, check_name, named};
use super::io::{Event, MemberRole};
use super::pairing::{Offering, PairingState};
use super::session::Request;
use super::state::Cx;
use crate::conversation::check_key_package;
use crate::identity::{AddedDevice, AddedMember, Decision, Role};
use crate::ids::{MemberId, RendezvousId};
use crate::limits;
use crate::pairing::{PairingCode, PairingRole, Responder, VerifiedRequest, verify_request};
use crate::secrets::Secret;
use crate::wire::{self, client_frame::Body as ClientBody};

impl Engine {
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
        let mut decisions = Vec::new();
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
        if known.is_none() {
            decisions.push(Decision::AddMember(added));
        }
        decisions.push(Decision::AddDevice(device));
        let key_packages = request.key_packages.into_iter().take(1).collect();
        self.queue_decisions(family, &decisions, key_packages, cx);
    }

    pub(super) fn offering_got(
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
}
