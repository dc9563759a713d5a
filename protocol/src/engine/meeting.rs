//! Guardians of two families meet: by a code that one shows and the other scans or types, each
//! proves its family's card to the other, both compare pictures and say yes, and a link is
//! formed in which their devices speak from then on (PROTOCOL §9.5).
//!
//! Whichever side dies before both have said yes, nothing has happened.

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::errors::{CommandError, PairingError};
use super::io::Event;
use super::pairing::meeting_over;
use super::session::Request;
use super::state::Cx;
use crate::day::Timestamp;
use crate::identity::{FamilyLog, Role};
use crate::ids::{MemberId, RendezvousId};
use crate::limits;
use crate::pairing::{
    CodeKind, HandshakeError, Initiator, MeetCode, MeetingCode, Responder, SHORT_CODE_TRIES_MAX,
    ShortJoiner, ShortKey, ShortMeetCode, Transport, answer_short, read_wrong_try, wrong_try,
};
use crate::secrets::Secret;
use crate::wire::{self, ErrorCode, client_frame::Body as ClientBody};

/// Short codes drawn until one is free.
const DRAWS_MAX: u8 = 16;

/// A meeting under way; gone with the connection.
pub(super) struct Meeting {
    pub(super) code: MeetingCode,
    /// Whom it is about, of our children.
    pub(super) child: MemberId,
    pub(super) expires: Timestamp,
    /// We show the code.
    pub(super) host: bool,
    pub(super) tries: u8,
    pub(super) drawn: u8,
    pub(super) stage: Stage,
}

pub(super) enum Stage {
    /// The relay is asked for the meeting point, or the other side awaited there.
    Waiting,
    /// Guest: SPAKE2 has begun.
    Keying(Box<ShortJoiner>),
    /// Host: SPAKE2 is through.
    Keyed(Box<ShortKey>),
    /// Guest: the Noise handshake has begun.
    Greeted(Box<Initiator>),
    Talking(Box<Talk>),
}

pub(super) struct Talk {
    pub(super) transport: Transport,
    pub(super) theirs: Option<Card>,
    pub(super) we_agree: bool,
    pub(super) they_agree: bool,
}

/// The other family, proven.
pub(super) struct Card {
    pub(super) log: FamilyLog,
    pub(super) head: Bytes,
    pub(super) key_package: Bytes,
    pub(super) child: MemberId,
}

impl Meeting {
    pub(super) const fn expires(&self) -> Timestamp {
        self.expires
    }

    pub(super) fn rendezvous(&self) -> RendezvousId {
        self.code.rendezvous()
    }
}

impl Engine {
    // ---- commands

    /// Shows a code with which a guardian of another family can meet this one.
    ///
    /// # Errors
    /// A sentence for the guardian.
    pub(super) fn start_meeting(
        &mut self,
        child: MemberId,
        by: CodeKind,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.check_meeting(child)?;
        let expires = meeting_over(cx.now);
        let code = match by {
            CodeKind::Qr => MeetingCode::Qr(MeetCode {
                relay: self.relay.clone(),
                rendezvous: RendezvousId::random(&mut cx.rng),
                secret: Secret::random(&mut cx.rng),
                expires_unix_seconds: expires.0 / 1_000,
            }),
            CodeKind::Short => MeetingCode::Short(ShortMeetCode::random(&mut cx.rng)),
        };
        self.leave_meeting(cx);
        self.meeting = Some(Meeting {
            code,
            child,
            expires,
            host: true,
            tries: 0,
            drawn: 0,
            stage: Stage::Waiting,
        });
        self.open_meeting(cx);
        Ok(())
    }

    fn check_meeting(&self, child: MemberId) -> Result<(), CommandError> {
        let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        self.guardian_of(self.device())
            .ok_or(CommandError::NotGuardian)?;
        if log
            .members()
            .get(&child)
            .is_none_or(|member| member.role != Role::Child)
        {
            return Err(CommandError::NoMember);
        }
        if !self.session.is_attached() {
            return Err(CommandError::Offline);
        }
        if self.pairing.is_some() {
            return Err(CommandError::PairingUnderWay);
        }
        Ok(())
    }

    fn open_meeting(&mut self, cx: &mut Cx<'_>) {
        let Some(meeting) = &self.meeting else { return };
        let open = wire::RendezvousOpen {
            rendezvous: meeting.rendezvous().to_bytes(),
            seconds: limits::RENDEZVOUS_SECONDS_MAX,
        };
        self.request(Request::Rendezvous, ClientBody::RendezvousOpen(open), cx);
    }

    /// Comes to another guardian's meeting.
    ///
    /// # Errors
    /// A sentence for the guardian; codes of other purposes are refused.
    pub(super) fn join_meeting(
        &mut self,
        code: &str,
        child: MemberId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let code: MeetingCode = code.parse()?;
        self.check_meeting(child)?;
        let expires = match &code {
            MeetingCode::Qr(code) => {
                if code.is_expired(cx.now) {
                    return Err(CommandError::CodeExpired);
                }
                if !code.relay.is_same(&self.relay) {
                    return Err(CommandError::OtherRelay);
                }
                Timestamp(code.expires_unix_seconds.saturating_mul(1_000))
            }
            MeetingCode::Short(code) => {
                if self.tried(code.rendezvous()) >= SHORT_CODE_TRIES_MAX {
                    return Err(CommandError::CodeBurnt);
                }
                meeting_over(cx.now)
            }
        };
        let again = self
            .meeting
            .as_ref()
            .is_some_and(|meeting| !meeting.host && meeting.rendezvous() == code.rendezvous());
        if !again {
            self.leave_meeting(cx);
        }
        let rendezvous = code.rendezvous();
        self.meeting = Some(Meeting {
            code,
            child,
            expires,
            host: false,
            tries: 0,
            drawn: 0,
            stage: Stage::Waiting,
        });
        if again {
            // The same digits, typed better: the other side waits for them.
            self.greet_host(cx);
        } else {
            let join = wire::RendezvousJoin {
                rendezvous: rendezvous.to_bytes(),
            };
            self.request(Request::Rendezvous, ClientBody::RendezvousJoin(join), cx);
        }
        Ok(())
    }

    /// The guardian has compared the pictures and says yes (or no).
    ///
    /// # Errors
    /// [`CommandError::NoPairing`] when nobody has shown a card.
    pub(super) fn answer_meeting(
        &mut self,
        accept: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let Some(Meeting {
            code,
            stage: Stage::Talking(talk),
            ..
        }) = &mut self.meeting
        else {
            return Err(CommandError::NoPairing);
        };
        if talk.theirs.is_none() {
            return Err(CommandError::NoPairing);
        }
        talk.we_agree = accept;
        let rendezvous = code.rendezvous();
        let answer = wire::PairAnswer {
            accepted: accept,
            sentence: if accept {
                String::new()
            } else {
                "the other guardian did not agree".into()
            },
            ..wire::PairAnswer::default()
        };
        if let Ok(message) = talk.transport.seal(&answer.encode_to_vec()) {
            self.rendezvous_put(rendezvous, message, cx);
        }
        if accept {
            self.agreed(cx);
        } else {
            self.meeting = None;
        }
        Ok(())
    }

    // ---- the meeting point

    pub(super) fn meets_at(&self, rendezvous: &[u8]) -> bool {
        self.meeting
            .as_ref()
            .is_some_and(|meeting| meeting.rendezvous().as_bytes() == rendezvous)
    }

    pub(super) fn meeting_ready(&mut self, ready: &wire::RendezvousReady, cx: &mut Cx<'_>) {
        let Some(meeting) = &self.meeting else { return };
        match (&meeting.stage, meeting.host) {
            (Stage::Waiting, true) if !ready.joined => {
                let code = meeting.code.to_text();
                cx.event(Event::MeetingCode { code });
            }
            (Stage::Waiting, false) => self.greet_host(cx),
            _ => {}
        }
    }

    /// The relay has no meeting point for us.
    pub(super) fn meeting_point_refused(&mut self, code: ErrorCode, cx: &mut Cx<'_>) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let taken = code == ErrorCode::Taken;
        let error = match (&meeting.code, meeting.host) {
            (MeetingCode::Short(_), true) if taken && meeting.drawn < DRAWS_MAX => {
                meeting.drawn += 1;
                meeting.code = MeetingCode::Short(ShortMeetCode::random(&mut cx.rng));
                return self.open_meeting(cx);
            }
            (MeetingCode::Short(_), true) if taken => PairingError::NoneFree,
            (_, false) if taken => PairingError::InUse,
            (MeetingCode::Short(_), false) if code == ErrorCode::NotFound => {
                PairingError::UnknownShortCode
            }
            _ => PairingError::NoMeetingPoint,
        };
        self.meeting_failed(error, cx);
    }

    fn greet_host(&mut self, cx: &mut Cx<'_>) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let rendezvous = meeting.rendezvous();
        match &meeting.code {
            MeetingCode::Qr(code) => {
                let started = Initiator::start(code, &mut cx.rng);
                self.greeted_host(rendezvous, started, cx);
            }
            MeetingCode::Short(code) => {
                let name = self.relay.server_name();
                let (joiner, first) = ShortJoiner::start(code, &name, &mut cx.rng);
                meeting.stage = Stage::Keying(Box::new(joiner));
                self.rendezvous_put(rendezvous, first, cx);
            }
        }
    }

    fn greeted_host(
        &mut self,
        rendezvous: RendezvousId,
        started: Result<(Initiator, Vec<u8>), HandshakeError>,
        cx: &mut Cx<'_>,
    ) {
        match started {
            Ok((initiator, first)) => {
                if let Some(meeting) = &mut self.meeting {
                    meeting.stage = Stage::Greeted(Box::new(initiator));
                }
                self.rendezvous_put(rendezvous, first, cx);
            }
            Err(error) => self.meeting_failed(PairingError::Handshake(error.to_string()), cx),
        }
    }

    pub(super) fn meeting_got(&mut self, got: &wire::RendezvousGot, cx: &mut Cx<'_>) {
        if got.closed {
            // Once both have agreed it is over anyway.
            return self.meeting_failed(PairingError::Left, cx);
        }
        let Some(mut meeting) = self.meeting.take() else {
            return;
        };
        let stage = core::mem::replace(&mut meeting.stage, Stage::Waiting);
        let host = meeting.host;
        self.meeting = Some(meeting);
        match (stage, host) {
            (Stage::Waiting, true) => self.guest_speaks(&got.body, cx),
            (Stage::Keyed(key), true) => {
                let answered = Responder::new(&*key, &mut cx.rng)
                    .and_then(|responder| responder.answer(&got.body));
                match answered {
                    Ok(channel) => self.channel_stands(channel, cx),
                    Err(_) => self.guest_erred(cx),
                }
            }
            (Stage::Keying(_) | Stage::Greeted(_), false)
                if read_wrong_try(&got.body).is_some() && self.is_typed() =>
            {
                self.digits_were_wrong(read_wrong_try(&got.body).unwrap_or(0), cx);
            }
            (Stage::Keying(joiner), false) => match joiner.finish(&got.body) {
                Ok(key) => {
                    let Some(rendezvous) = self.meeting.as_ref().map(Meeting::rendezvous) else {
                        return;
                    };
                    let tries = self.tried(rendezvous).saturating_add(1);
                    self.short_tries = Some((rendezvous, tries));
                    let started = Initiator::start(&key, &mut cx.rng);
                    self.greeted_host(rendezvous, started, cx);
                }
                Err(error) => self.meeting_failed(PairingError::Handshake(error.to_string()), cx),
            },
            (Stage::Greeted(initiator), false) => match initiator.finish(&got.body) {
                Ok(transport) => {
                    self.talk_as(transport, cx);
                    // The guest shows its card first.
                    self.show_card(cx);
                }
                Err(error) => self.meeting_failed(PairingError::Handshake(error.to_string()), cx),
            },
            (Stage::Talking(talk), _) => self.heard_there(*talk, &got.body, cx),
            (stage, _) => {
                if let Some(meeting) = &mut self.meeting {
                    meeting.stage = stage;
                }
            }
        }
    }

    fn is_typed(&self) -> bool {
        self.meeting
            .as_ref()
            .is_some_and(|meeting| matches!(meeting.code, MeetingCode::Short(_)))
    }

    fn guest_speaks(&mut self, body: &[u8], cx: &mut Cx<'_>) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        match &meeting.code {
            MeetingCode::Qr(code) => {
                let answered =
                    Responder::new(code, &mut cx.rng).and_then(|responder| responder.answer(body));
                match answered {
                    Ok(channel) => self.channel_stands(channel, cx),
                    Err(error) => {
                        self.meeting_failed(PairingError::Handshake(error.to_string()), cx);
                    }
                }
            }
            MeetingCode::Short(code) => {
                let name = self.relay.server_name();
                let answered = answer_short(code, &name, body, &mut cx.rng);
                meeting.tries += 1;
                match answered {
                    Ok((key, answer)) => {
                        meeting.stage = Stage::Keyed(Box::new(key));
                        let rendezvous = meeting.rendezvous();
                        self.rendezvous_put(rendezvous, answer, cx);
                    }
                    Err(_) => self.guest_erred(cx),
                }
            }
        }
    }

    /// The guest's digits were wrong: again, or never again.
    fn guest_erred(&mut self, cx: &mut Cx<'_>) {
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let left = SHORT_CODE_TRIES_MAX.saturating_sub(meeting.tries);
        meeting.stage = Stage::Waiting;
        let rendezvous = meeting.rendezvous();
        self.rendezvous_put(rendezvous, wrong_try(left), cx);
        if left == 0 {
            self.meeting_failed(PairingError::Burnt, cx);
            self.rendezvous_leave(rendezvous, cx);
        } else {
            super::pairing::wrong_code(left, cx);
        }
    }

    fn digits_were_wrong(&mut self, left: u8, cx: &mut Cx<'_>) {
        let Some(rendezvous) = self.meeting.as_ref().map(Meeting::rendezvous) else {
            return;
        };
        let left = left.min(SHORT_CODE_TRIES_MAX.saturating_sub(self.tried(rendezvous)));
        if left == 0 {
            self.short_tries = Some((rendezvous, SHORT_CODE_TRIES_MAX));
            return self.meeting_failed(PairingError::Burnt, cx);
        }
        super::pairing::wrong_code(left, cx);
    }

    fn channel_stands(&mut self, channel: (Transport, Vec<u8>), cx: &mut Cx<'_>) {
        let (transport, answer) = channel;
        if let Some(rendezvous) = self.meeting.as_ref().map(Meeting::rendezvous) {
            self.rendezvous_put(rendezvous, answer, cx);
            self.talk_as(transport, cx);
        }
    }

    fn talk_as(&mut self, transport: Transport, _cx: &mut Cx<'_>) {
        if let Some(meeting) = &mut self.meeting {
            meeting.stage = Stage::Talking(Box::new(Talk {
                transport,
                theirs: None,
                we_agree: false,
                they_agree: false,
            }));
        }
    }

    // ---- endings

    fn leave_meeting(&mut self, cx: &mut Cx<'_>) {
        if let Some(before) = self.meeting.take() {
            self.rendezvous_leave(before.rendezvous(), cx);
        }
    }

    pub(super) fn meeting_failed(&mut self, error: PairingError, cx: &mut Cx<'_>) {
        if self.meeting.take().is_some() {
            cx.event(Event::PairingFailed {
                sentence: error.to_string(),
                error,
            });
        }
    }

    pub(super) fn abandon_meeting(&mut self, cx: &mut Cx<'_>) {
        self.meeting_failed(PairingError::ConnectionLost, cx);
    }

    pub(super) fn expire_meeting(&mut self, cx: &mut Cx<'_>) {
        if self
            .meeting
            .as_ref()
            .is_some_and(|meeting| meeting.expires <= cx.now)
        {
            self.leave_meeting_expired(cx);
        }
    }

    fn leave_meeting_expired(&mut self, cx: &mut Cx<'_>) {
        let rendezvous = self.meeting.as_ref().map(Meeting::rendezvous);
        self.meeting_failed(PairingError::Expired, cx);
        if let Some(rendezvous) = rendezvous {
            self.rendezvous_leave(rendezvous, cx);
        }
    }
}
