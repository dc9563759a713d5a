//! What families show each other when their guardians meet, and the link that comes of it
//! (PROTOCOL §9.5).

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::errors::{CommandError, PairingError};
use super::io::Event;
use super::meeting::{Card, Meeting, Stage, Talk};
use super::state::Cx;
use crate::conversation::{ConversationKind, Parties, check_key_package};
use crate::identity::{FamilyLog, Role, Shown, SignedHead, sign_head};
use crate::ids::{ConversationId, FamilyId, MemberId};
use crate::limits;
use crate::pairing::{check_card, sign_card, verify_card};
use crate::wire;

impl Engine {
    pub(super) fn show_card(&mut self, cx: &mut Cx<'_>) {
        let key_package = match self.new_key_package(None, cx) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => {
                return self.meeting_failed(PairingError::Inside(error.to_string()), cx);
            }
        };
        let today = self.today(cx.now);
        let (Some(log), Some(identity)) = (self.log.clone(), self.identity_key()) else {
            return;
        };
        let Some(member) = self.member() else { return };
        let Some(meeting) = &mut self.meeting else {
            return;
        };
        let rendezvous = meeting.rendezvous();
        let child = meeting.child;
        let Stage::Talking(talk) = &mut meeting.stage else {
            return;
        };
        let shown = Shown {
            children: [child].into(),
            ..Shown::default()
        };
        let mut card = wire::FamilyCard {
            family: log.family().to_bytes(),
            family_name: log.family_name().to_owned(),
            entries: log.extract(&shown),
            guardian: member.to_bytes(),
            device: self.signer.device.to_bytes(),
            key_packages: vec![key_package],
            child: child.to_bytes(),
            head: sign_head(&log, today, false, &identity)
                .encode_to_vec()
                .into(),
            ..wire::FamilyCard::default()
        };
        let hash = talk.transport.handshake_hash();
        sign_card(&mut card, &self.signer.key, &identity, &hash);
        match talk.transport.seal(&card.encode_to_vec()) {
            Ok(message) => self.rendezvous_put(rendezvous, message, cx),
            Err(error) => self.meeting_failed(PairingError::Inside(error.to_string()), cx),
        }
    }

    pub(super) fn heard_there(&mut self, mut talk: Talk, body: &[u8], cx: &mut Cx<'_>) {
        let plain = talk.transport.open(body).ok();
        if talk.theirs.is_some() {
            let answer = plain.and_then(|plain| wire::PairAnswer::decode(plain.as_slice()).ok());
            let agrees = answer.as_ref().is_some_and(|answer| answer.accepted);
            talk.they_agree = agrees;
            if let Some(meeting) = &mut self.meeting {
                meeting.stage = Stage::Talking(Box::new(talk));
            }
            if !agrees {
                let sentence = answer.map_or_else(String::new, |answer| answer.sentence);
                return self.meeting_failed(PairingError::Declined(sentence), cx);
            }
            return self.agreed(cx);
        }
        let hash = talk.transport.handshake_hash();
        let card = plain
            .and_then(|plain| wire::FamilyCard::decode(plain.as_slice()).ok())
            .and_then(|card| self.read_card(&card, &hash));
        let Some(card) = card else {
            return self.meeting_failed(PairingError::Request, cx);
        };
        let event = Event::MeetingRequest {
            family: card.log.family(),
            family_name: card.log.family_name().to_owned(),
            child: card.child,
            child_name: card
                .log
                .members()
                .get(&card.child)
                .map_or_else(String::new, |member| member.name.clone()),
            pictures: talk.transport.pictures(),
        };
        talk.theirs = Some(card);
        let mut host = false;
        if let Some(meeting) = &mut self.meeting {
            meeting.stage = Stage::Talking(Box::new(talk));
            host = meeting.host;
        }
        if host {
            self.show_card(cx);
        }
        cx.event(event);
    }

    /// The other family's card: its log holds, a guardian of today vouches for what it hides,
    /// and whoever shows it has that guardian's keys.
    fn read_card(&self, card: &wire::FamilyCard, hash: &[u8; 32]) -> Option<Card> {
        let claims = check_card(card).ok()?;
        let log = FamilyLog::from_entries(&card.entries).ok()?;
        let certificate = log.certificate(&claims.device)?;
        let child = MemberId::try_from(&card.child).ok()?;
        let is_child = log
            .members()
            .get(&child)
            .is_some_and(|member| member.role == Role::Child);
        let identity = log.identity_key(&claims.device)?;
        verify_card(card, &certificate.signature_key, &identity, hash).ok()?;
        let signed = wire::SignedHead::decode(card.head.clone()).ok()?;
        SignedHead::from_wire(&signed).ok()?.vouch(&log).ok()?;
        let sound = claims.family == log.family()
            && certificate.member == claims.guardian
            && is_child
            && !self.is_own(&claims.family)
            && card.family_name == log.family_name();
        let key_package = card.key_packages.first()?.clone();
        let package = check_key_package(&self.crypto, &key_package).ok()?;
        let brings_own =
            package.device == claims.device && package.signature_key == certificate.signature_key;
        (sound && brings_own).then_some(Card {
            log,
            head: card.head.clone(),
            key_package,
            child,
        })
    }

    /// Both have said yes: the host forms the link, the guest awaits its welcome.
    pub(super) fn agreed(&mut self, cx: &mut Cx<'_>) {
        let agreed = matches!(
            &self.meeting,
            Some(Meeting { stage: Stage::Talking(talk), .. }) if talk.we_agree && talk.they_agree
        );
        if !agreed {
            return;
        }
        let Some(Meeting {
            host,
            code,
            child,
            stage: Stage::Talking(talk),
            ..
        }) = self.meeting.take()
        else {
            return;
        };
        let Some(card) = talk.theirs else { return };
        let family = card.log.family();
        let home = self.family_conversation();
        if let Some(home) = home {
            self.hear_log(home, &card.log, cx);
            self.hear_head(home, &card.head, cx);
        }
        cx.event(Event::Met {
            family,
            family_name: card.log.family_name().to_owned(),
            child: card.child,
        });
        if host {
            if let Err(error) = self.form_link(child, family, &card, cx) {
                cx.event(Event::PairingFailed {
                    sentence: error.to_string(),
                    error: PairingError::Inside(error.to_string()),
                });
            }
            self.rendezvous_leave(code.rendezvous(), cx);
        }
    }

    fn form_link(
        &mut self,
        child: MemberId,
        family: FamilyId,
        card: &Card,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let own = self.log.clone().ok_or(CommandError::NoFamily)?;
        let shown = Shown {
            children: [child].into(),
            ..Shown::default()
        };
        let ours = FamilyLog::from_entries(&own.extract(&shown))?;
        let title = format!("{} & {}", own.family_name(), card.log.family_name());
        let title: String = title.chars().take(limits::NAME_BYTES_MAX / 4).collect();
        let id = ConversationId::new(cx.random16());
        self.form(id, ConversationKind::Link, &title, Parties::from(ours), cx)?;
        let parties = Parties::from(card.log.clone()).to_wire();
        debug_assert!(self.friends.contains_key(&family));
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            key_packages: vec![card.key_package.clone()],
            parties,
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
        Ok(())
    }
}
