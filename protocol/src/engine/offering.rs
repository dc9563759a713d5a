//! The guardian's side of a pairing: shows the code, says yes, adds the device.

use prost::Message;

use super::device::Engine;
use super::errors::{CommandError, PairingError, check_name, named};
use super::io::{Event, MemberRole};
use super::pairing::{Offer, Offering, PairingState, meeting_over, wrong_code};
use super::session::Request;
use super::state::Cx;
use crate::conversation::check_key_package;
use crate::identity::{AddedDevice, AddedMember, Decision, LogError, Role};
use crate::ids::{MemberId, RendezvousId};
use crate::limits;
use crate::pairing::{
    CodeKind, JoinCode, PairingCode, PairingRole, Responder, SHORT_CODE_TRIES_MAX, ShortCode,
    ShortKey, Transport, VerifiedRequest, answer_short, verify_request, wrong_try,
};
use crate::secrets::Secret;
use crate::wire::{self, client_frame::Body as ClientBody};

/// Short codes drawn until one is free: a relay has 1,024 meeting points at most, of 100,000.
const DRAWS_MAX: u8 = 16;

impl Engine {
    pub(super) fn start_pairing(
        &mut self,
        role: MemberRole,
        name: &str,
        by: CodeKind,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        check_name(name)?;
        let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        self.identity_key().ok_or(CommandError::NotGuardian)?;
        if let Some(freeze) = log.is_frozen(self.today(cx.now)) {
            let until = freeze.until;
            return Err(LogError::Frozen { until }.into());
        }
        if !self.session.is_attached() {
            return Err(CommandError::Offline);
        }
        let own = self.member();
        // Whoever else took this guardian's name does not stand in their way.
        let bearers = log.members().iter().filter(|(_, it)| it.name == name);
        let bearer = bearers.min_by_key(|(id, _)| Some(**id) != own);
        match (role, bearer.map(|(id, it)| (*id, it.role))) {
            // Another guardian's further phone is that guardian's to let in.
            (MemberRole::Guardian, Some((bearer, Role::Guardian))) if Some(bearer) != own => {
                return Err(CommandError::GuardianThere);
            }
            (MemberRole::Guardian, Some((_, Role::Child)))
            | (MemberRole::Child, Some((_, Role::Guardian))) => {
                return Err(CommandError::NameTaken);
            }
            // A further device of this guardian or of a child, or somebody new.
            (MemberRole::Guardian, Some((_, Role::Guardian)))
            | (MemberRole::Child, Some((_, Role::Child)))
            | (_, None) => {}
        }
        if let Some(before) = self.pairing.take() {
            self.rendezvous_leave(before.code().rendezvous(), cx);
        }
        let role = match role {
            MemberRole::Guardian => PairingRole::Guardian,
            MemberRole::Child => PairingRole::Child,
        };
        let expires = meeting_over(cx.now);
        let code = match by {
            CodeKind::Qr => JoinCode::Qr(PairingCode {
                relay: self.relay_with_operator(),
                rendezvous: RendezvousId::random(&mut cx.rng),
                secret: Secret::random(&mut cx.rng),
                admission: self.admission_for_another(cx),
                role,
                expires_unix_seconds: expires.0 / 1_000,
            }),
            CodeKind::Short => JoinCode::Short(ShortCode::random(role, &mut cx.rng)),
        };
        let offer = Offer {
            code,
            name: name.to_owned(),
            expires,
            tries: 0,
            drawn: 0,
        };
        self.open_rendezvous(offer, cx);
        Ok(())
    }

    fn open_rendezvous(&mut self, offer: Offer, cx: &mut Cx<'_>) {
        let open = wire::RendezvousOpen {
            rendezvous: offer.code.rendezvous().to_bytes(),
            seconds: limits::RENDEZVOUS_SECONDS_MAX,
        };
        self.request(Request::Rendezvous, ClientBody::RendezvousOpen(open), cx);
        self.pairing = Some(PairingState::Offering {
            offer,
            stage: Offering::Waiting,
        });
    }

    /// Somebody else has the meeting point of a short code: other digits. False when that
    /// happened too often.
    pub(super) fn draw_again(&mut self, cx: &mut Cx<'_>) -> bool {
        match self.pairing.take() {
            Some(PairingState::Offering { mut offer, .. }) if offer.drawn < DRAWS_MAX => {
                offer.drawn += 1;
                offer.code = JoinCode::Short(ShortCode::random(offer.code.role(), &mut cx.rng));
                self.open_rendezvous(offer, cx);
                true
            }
            other => {
                self.pairing = other;
                false
            }
        }
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
            offer,
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
                operator_key: self.record.operator_key.clone(),
                ..wire::PairAnswer::default()
            }
        } else {
            wire::PairAnswer {
                sentence: "the guardian did not confirm this device".into(),
                ..wire::PairAnswer::default()
            }
        };
        if let Ok(message) = transport.seal(&answer.encode_to_vec()) {
            self.rendezvous_put(offer.code.rendezvous(), message, cx);
        }
        if accept {
            self.pairing = Some(PairingState::Offering {
                offer,
                stage: Offering::Answered(transport, request),
            });
        } else {
            self.rendezvous_leave(offer.code.rendezvous(), cx);
        }
        Ok(())
    }

    /// Queues the commit that adds the member and the device.
    fn admit_device(
        &mut self,
        code: &JoinCode,
        name: &str,
        request: VerifiedRequest,
        cx: &mut Cx<'_>,
    ) {
        let (Some(log), Some(family)) = (self.log.as_ref(), self.family_conversation()) else {
            return;
        };
        let role = match code.role() {
            PairingRole::Guardian => Role::Guardian,
            PairingRole::Child => Role::Child,
        };
        // A further device of a child or of this guardian belongs to them.
        let own = self.member();
        let bearers = log.members().iter();
        let known = bearers
            .filter(|(_, member)| member.name == name && member.role == role)
            .map(|(id, _)| *id)
            .min_by_key(|id| Some(*id) != own);
        let member = known.unwrap_or_else(|| MemberId::new(cx.random16()));
        let mut decisions = Vec::new();
        let added = AddedMember {
            member,
            role,
            name: name.to_owned(),
        };
        let device = AddedDevice {
            member,
            device: request.device,
            signature_key: request.signature_key,
            name: named(&request.device_name),
            identity_key: request.identity_key,
        };
        if known.is_none() {
            decisions.push(Decision::AddMember(added));
        }
        decisions.push(Decision::AddDevice(device));
        let key_packages = request.key_packages.into_iter().take(1).collect();
        if let Err(error) = self.decide(&decisions, key_packages, cx) {
            cx.event(Event::Refused {
                conversation: family,
                sentence: error.to_string(),
            });
        }
    }

    pub(super) fn offering_got(
        &mut self,
        offer: Offer,
        stage: Offering,
        body: &[u8],
        cx: &mut Cx<'_>,
    ) {
        match stage {
            Offering::Waiting => match &offer.code {
                JoinCode::Qr(code) => {
                    self.admission_used(&code.admission, cx);
                    let answered = Responder::new(code, &mut cx.rng)
                        .and_then(|responder| responder.answer(body));
                    match answered {
                        Ok(channel) => self.talk(offer, channel, cx),
                        // One wrong guess burns the code: the secret has 128 bits, nobody mistypes it.
                        Err(error) => {
                            let error = PairingError::Handshake(error.to_string());
                            self.stop_offering(&offer, error, cx);
                        }
                    }
                }
                JoinCode::Short(code) => {
                    let server_name = self.relay.server_name();
                    let answered = answer_short(code, &server_name, body, &mut cx.rng).ok();
                    self.tried_once(offer, answered, cx);
                }
            },
            Offering::Keyed(key) => {
                let answered =
                    Responder::new(&*key, &mut cx.rng).and_then(|responder| responder.answer(body));
                match answered {
                    Ok(channel) => self.talk(offer, channel, cx),
                    Err(_) => self.wrong(offer, cx),
                }
            }
            Offering::Talking(mut transport) => {
                let request = transport
                    .open(body)
                    .ok()
                    .and_then(|plain| wire::PairRequest::decode(plain.as_slice()).ok())
                    .and_then(|request| {
                        verify_request(&request, offer.code.role(), &transport.handshake_hash())
                            .ok()
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
                        self.pairing = Some(PairingState::Offering { offer, stage });
                    }
                    None => self.stop_offering(&offer, PairingError::Request, cx),
                }
            }
            Offering::Answered(mut transport, request) => {
                let heard = transport
                    .open(body)
                    .ok()
                    .and_then(|plain| wire::PairAnswer::decode(plain.as_slice()).ok());
                if heard.is_some_and(|heard| heard.accepted) {
                    self.admit_device(&offer.code, &offer.name, *request, cx);
                    // Nobody may come with the same code again.
                    self.rendezvous_leave(offer.code.rendezvous(), cx);
                } else {
                    self.stop_offering(&offer, PairingError::NewDevice, cx);
                }
            }
            stage @ Offering::Asked(..) => {
                self.pairing = Some(PairingState::Offering { offer, stage })
            }
        }
    }

    fn talk(&mut self, offer: Offer, channel: (Transport, Vec<u8>), cx: &mut Cx<'_>) {
        let (transport, answer) = channel;
        self.rendezvous_put(offer.code.rendezvous(), answer, cx);
        let stage = Offering::Talking(Box::new(transport));
        self.pairing = Some(PairingState::Offering { offer, stage });
    }

    /// Somebody has begun to try the digits: that counts, whether or not it goes on.
    fn tried_once(
        &mut self,
        mut offer: Offer,
        answered: Option<(ShortKey, Vec<u8>)>,
        cx: &mut Cx<'_>,
    ) {
        offer.tries += 1;
        match answered {
            Some((key, answer)) => {
                self.rendezvous_put(offer.code.rendezvous(), answer, cx);
                let stage = Offering::Keyed(Box::new(key));
                self.pairing = Some(PairingState::Offering { offer, stage });
            }
            None => self.wrong(offer, cx),
        }
    }

    /// The digits were wrong: again, or never again.
    fn wrong(&mut self, offer: Offer, cx: &mut Cx<'_>) {
        let left = SHORT_CODE_TRIES_MAX.saturating_sub(offer.tries);
        self.rendezvous_put(offer.code.rendezvous(), wrong_try(left), cx);
        if left == 0 {
            return self.stop_offering(&offer, PairingError::Burnt, cx);
        }
        self.pairing = Some(PairingState::Offering {
            offer,
            stage: Offering::Waiting,
        });
        wrong_code(left, cx);
    }

    fn stop_offering(&mut self, offer: &Offer, error: PairingError, cx: &mut Cx<'_>) {
        self.pairing_failed(error, cx);
        self.rendezvous_leave(offer.code.rendezvous(), cx);
    }

    fn brings_own_key_package(&self, request: &VerifiedRequest) -> bool {
        let first = request
            .key_packages
            .first()
            .map(|bytes| check_key_package(&self.crypto, bytes));
        matches!(first, Some(Ok(checked)) if checked.device == request.device && checked.signature_key == request.signature_key)
    }
}
