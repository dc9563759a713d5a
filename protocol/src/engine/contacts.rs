//! Children of two families: the pass that their guardians agree on (PROTOCOL §7.5, §9.7).

use bytes::Bytes;

use super::device::Engine;
use super::errors::CommandError;
use super::io::{Event, PassWish};
use super::records;
use super::state::Cx;
use crate::content::{Control, PassOffer, PassStage};
use crate::conversation::ConversationKind;
use crate::day::Day;
use crate::identity::{
    ContactPass, Decision, FamilyLog, PassGuardian, PassSide, PassTerms, Role, Supervision,
};
use crate::ids::{ConversationId, DeviceId, FamilyId, MemberId, PassId};
use crate::limits;
use crate::wire;

/// Passes on their way at a time: nobody has more friends at once.
const PASSES_MAX: usize = 64;

impl Engine {
    // ---- agreeing on a pass

    /// Offers the guardians of another family a pass for a child of ours and one of theirs.
    ///
    /// # Errors
    /// A sentence for the guardian.
    pub(super) fn offer_pass(
        &mut self,
        link: ConversationId,
        children: (MemberId, MemberId),
        wish: &PassWish,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.identity_key().ok_or(CommandError::NotGuardian)?;
        let other = self.other_family(link)?;
        let own = self.log.as_ref().ok_or(CommandError::NoFamily)?.family();
        let today = self.today(cx.now);
        let pass = ContactPass::new(PassTerms {
            pass: PassId::new(cx.random16()),
            sides: [
                side(own, children.0, wish),
                PassSide {
                    family: other,
                    child: children.1,
                    supervision: Supervision::Contacts,
                    guardians: vec![],
                },
            ],
            kinds: wish.kinds,
            // The other family may not be in this day yet.
            first_day: Day(today.0.saturating_sub(1)),
            last_day: today.plus(wish.days.min(limits::PASS_DAYS_MAX - 1)),
        })?;
        let child = |log: Option<&FamilyLog>, child: &MemberId| {
            log.and_then(|log| log.members().get(child))
                .is_some_and(|member| member.role == Role::Child)
        };
        if !child(self.log.as_ref(), &children.0) || !child(self.latest(&other), &children.1) {
            return Err(CommandError::NoMember);
        }
        let record = wire::PassRecord {
            pass: pass.bytes().clone(),
            link: link.to_bytes(),
            ours: true,
            ..wire::PassRecord::default()
        };
        self.save_pass(pass.id(), record, cx);
        self.say_stage(link, &pass, PassStage::Offered, vec![], cx);
        Ok(())
    }

    /// The other family of a link.
    pub(super) fn other_family(&self, link: ConversationId) -> Result<FamilyId, CommandError> {
        let room = self
            .rooms
            .get(&link)
            .filter(|room| room.kind == ConversationKind::Link && room.can_talk())
            .ok_or(CommandError::NoConversation)?;
        let others = room.conversation.parties().logs();
        others
            .map(FamilyLog::family)
            .find(|family| !self.is_own(family))
            .ok_or(CommandError::NoConversation)
    }

    pub(super) fn save_pass(&mut self, id: PassId, record: wire::PassRecord, cx: &mut Cx<'_>) {
        cx.put_message(records::state(records::PASS, &[id.as_bytes()]), &record);
        self.passes.insert(id, record);
    }

    pub(super) fn drop_pass(&mut self, id: PassId, cx: &mut Cx<'_>) {
        self.passes.remove(&id);
        cx.erase(records::state(records::PASS, &[id.as_bytes()]));
    }

    /// These decisions do not come about: neither do the passes among them.
    pub(super) fn forget_approvals(&mut self, decisions: &[Decision], cx: &mut Cx<'_>) {
        for decision in decisions {
            if let Decision::ApprovePass(pass) = decision {
                self.drop_pass(pass.id(), cx);
            }
        }
    }

    /// The other family speaks of a pass; or another guardian of ours does to them.
    pub(super) fn pass_offered(
        &mut self,
        link: ConversationId,
        sender: DeviceId,
        offer: &PassOffer,
        cx: &mut Cx<'_>,
    ) {
        if self.identity_key().is_none() {
            return;
        }
        let Ok(other) = self.other_family(link) else {
            return self.unreadable("a contact pass came where none is agreed on", cx);
        };
        let Ok(pass) = ContactPass::decode(&offer.pass) else {
            return self.unreadable("a contact pass is damaged", cx);
        };
        let own = self.log.as_ref().map(FamilyLog::family);
        let of_us = own.is_some_and(|own| pass.side_of(&own).is_some());
        if !of_us || pass.side_of(&other).is_none() {
            return self.unreadable("a contact pass is between other families", cx);
        }
        let speaker = self.certificate_in(link, sender);
        if speaker.is_none_or(|speaker| self.is_own(&speaker.family)) {
            // What another guardian of ours offers is not for us to answer, and what it has
            // answered waits for nobody any more.
            let waits = self
                .passes
                .get(&pass.id())
                .is_some_and(|record| !record.ours && !record.accepted);
            if waits && offer.stage != PassStage::Offered {
                self.drop_pass(pass.id(), cx);
            }
            return;
        }
        match offer.stage {
            PassStage::Offered if self.holds_to(&pass, cx) => {
                self.give_packages_again(link, &pass, cx);
            }
            PassStage::Offered => {
                let record = wire::PassRecord {
                    pass: offer.pass.clone(),
                    link: link.to_bytes(),
                    ..wire::PassRecord::default()
                };
                if !self.passes.contains_key(&pass.id()) && self.passes.len() < PASSES_MAX {
                    self.save_pass(pass.id(), record, cx);
                    cx.event(Event::PassOffered { link, pass });
                }
            }
            PassStage::Accepted => self.pass_accepted(link, &pass, offer, cx),
            PassStage::Refused => {
                let ours = self
                    .passes
                    .get(&pass.id())
                    .is_some_and(|record| record.ours && !record.accepted);
                if ours {
                    self.drop_pass(pass.id(), cx);
                    cx.event(Event::PassRefused {
                        pass: pass.id(),
                        sentence: offer.sentence.clone(),
                    });
                }
            }
        }
    }

    /// Answers the other family's offer: completes our side and approves, or says no.
    ///
    /// # Errors
    /// A sentence for the guardian; nothing was said then.
    pub(super) fn answer_pass(
        &mut self,
        id: PassId,
        wish: Option<&PassWish>,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.identity_key().ok_or(CommandError::NotGuardian)?;
        let record = self
            .passes
            .get(&id)
            .filter(|record| !record.ours && !record.accepted)
            .cloned()
            .ok_or(CommandError::NoPass)?;
        let offered = ContactPass::decode(&record.pass)?;
        let link =
            ConversationId::try_from(&record.link).map_err(|_| CommandError::NoConversation)?;
        let own = self.log.as_ref().ok_or(CommandError::NoFamily)?.family();
        let Some(wish) = wish else {
            let offer = PassOffer {
                pass: record.pass.clone(),
                stage: PassStage::Refused,
                sentence: "the other family does not want this contact".into(),
                key_packages: vec![],
            };
            self.say(link, Control::PassOffer(offer), cx);
            self.drop_pass(id, cx);
            return Ok(());
        };
        let mut terms = offered.terms().clone();
        for ours in terms.sides.iter_mut().filter(|side| side.family == own) {
            *ours = side(own, ours.child, wish);
        }
        terms.kinds &= wish.kinds;
        terms.last_day = terms.last_day.min(self.today(cx.now).plus(wish.days));
        let pass = ContactPass::new(terms)?;
        let (used, key_packages) = self.packages_for(&pass)?;
        self.decide(&[Decision::ApprovePass(pass.clone())], vec![], cx)?;
        for key in used {
            self.use_peer_key_package(key, cx);
        }
        self.session.packages_asked = false;
        self.say_stage(link, &pass, PassStage::Accepted, key_packages, cx);
        let record = wire::PassRecord {
            pass: pass.bytes().clone(),
            accepted: true,
            approving: true,
            ..record
        };
        self.save_pass(id, record, cx);
        Ok(())
    }

    /// Says in a link how far a pass has come.
    pub(super) fn say_stage(
        &mut self,
        link: ConversationId,
        pass: &ContactPass,
        stage: PassStage,
        key_packages: Vec<Bytes>,
        cx: &mut Cx<'_>,
    ) {
        let offer = PassOffer {
            pass: pass.bytes().clone(),
            stage,
            sentence: String::new(),
            key_packages,
        };
        self.say(link, Control::PassOffer(offer), cx);
    }

    /// A key package of each device of ours that the conversation begins with: the child's,
    /// and those of guardians who have to be in it.
    pub(super) fn packages_for(
        &self,
        pass: &ContactPass,
    ) -> Result<(Vec<Vec<u8>>, Vec<Bytes>), CommandError> {
        let log = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        let side = pass.side_of(&log.family()).ok_or(CommandError::NoPass)?;
        let watching = side.supervision == Supervision::Everything;
        let mut used = Vec::new();
        let mut packages = Vec::new();
        for certificate in log.certificates() {
            let named = side
                .guardians
                .iter()
                .any(|named| named.member == certificate.member);
            if certificate.member != side.child && !(watching && named) {
                continue;
            }
            if certificate.device == self.device() {
                // Comes in by itself: it is in the family, and the pass names it.
                continue;
            }
            let Some((key, package)) = self.peer_key_package(certificate.device) else {
                return Err(CommandError::NoKeyPackage(
                    self.member_name(certificate.member),
                ));
            };
            used.push(key);
            packages.push(package);
        }
        Ok((used, packages))
    }

    /// The other family has completed our offer: if it is still what we offered, we approve.
    fn pass_accepted(
        &mut self,
        link: ConversationId,
        pass: &ContactPass,
        offer: &PassOffer,
        cx: &mut Cx<'_>,
    ) {
        // Else another guardian of ours has offered it, and hears this too.
        let Some(record) = self.passes.get(&pass.id()).cloned() else {
            return;
        };
        if record.said_at_ms > 0 {
            return self.packages_came(pass, record, offer, cx);
        }
        let Some(own) = self.log.as_ref().map(FamilyLog::family) else {
            return;
        };
        let same = ContactPass::decode(&record.pass).is_ok_and(|offered| {
            let narrower = pass.kinds() & !offered.kinds() == 0
                && pass.terms().first_day == offered.terms().first_day
                && pass.terms().last_day <= offered.terms().last_day;
            let children = pass.children() == offered.children();
            narrower && children && pass.side_of(&own) == offered.side_of(&own)
        });
        if !record.ours || record.accepted || !same || record.link.as_ref() != link.as_bytes() {
            return self.unreadable("a contact pass was accepted that was not offered so", cx);
        }
        let record = wire::PassRecord {
            pass: pass.bytes().clone(),
            accepted: true,
            approving: true,
            key_packages: offer.key_packages.clone(),
            ..record
        };
        self.save_pass(pass.id(), record, cx);
        if let Err(error) = self.decide(&[Decision::ApprovePass(pass.clone())], vec![], cx) {
            cx.event(Event::PassRefused {
                pass: pass.id(),
                sentence: error.to_string(),
            });
            self.drop_pass(pass.id(), cx);
        }
    }

    /// Ends a contact: nobody of the other family is read or written to from now on.
    ///
    /// # Errors
    /// What the log says.
    pub(super) fn revoke_pass(&mut self, id: PassId, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        self.decide(&[Decision::RevokePass(id)], vec![], cx)?;
        self.cut_off(id, cx);
        Ok(())
    }
}

fn side(family: FamilyId, child: MemberId, wish: &PassWish) -> PassSide {
    PassSide {
        family,
        child,
        supervision: wish.supervision,
        guardians: wish
            .guardians
            .iter()
            .map(|(member, may_write)| PassGuardian {
                member: *member,
                may_write: *may_write,
            })
            .collect(),
    }
}
