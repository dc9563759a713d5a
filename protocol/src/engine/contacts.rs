//! Children of two families: the pass that their guardians agree on, the conversation that it
//! is for, and what each family hears of the other's decisions (PROTOCOL §7.5, §9.7).
//!
//! Guardians speak in their link. What they hear there they pass on at home, so that the
//! children's devices know it too.

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::errors::CommandError;
use super::io::{Event, PassWish};
use super::reconcile::shown_to;
use super::records;
use super::state::Cx;
use crate::content::{ContactSetup, Control, LogNews, PassOffer, PassStage};
use crate::conversation::{ConversationKind, Parties, Person};
use crate::day::Day;
use crate::identity::{
    ContactPass, Decision, FamilyLog, PassGuardian, PassSide, PassTerms, Role, SignedHead,
    Supervision,
};
use crate::ids::{ConversationId, DeviceId, FamilyId, MemberId, PassId};
use crate::labels;
use crate::limits;
use crate::primitives::hash;
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
        let offer = PassOffer {
            pass: pass.bytes().clone(),
            stage: PassStage::Offered,
            sentence: String::new(),
            key_packages: vec![],
        };
        self.say(link, Control::PassOffer(offer), cx);
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

    fn save_pass(&mut self, id: PassId, record: wire::PassRecord, cx: &mut Cx<'_>) {
        cx.put_message(records::state(records::PASS, &[id.as_bytes()]), &record);
        self.passes.insert(id, record);
    }

    fn drop_pass(&mut self, id: PassId, cx: &mut Cx<'_>) {
        self.passes.remove(&id);
        cx.erase(records::state(records::PASS, &[id.as_bytes()]));
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
        let offer = PassOffer {
            pass: pass.bytes().clone(),
            stage: PassStage::Accepted,
            sentence: String::new(),
            key_packages,
        };
        self.say(link, Control::PassOffer(offer), cx);
        let record = wire::PassRecord {
            pass: pass.bytes().clone(),
            accepted: true,
            approving: true,
            ..record
        };
        self.save_pass(id, record, cx);
        Ok(())
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

    /// Passes that both families have approved by now: the child's device forms the
    /// conversation.
    pub(super) fn advance_passes(&mut self, cx: &mut Cx<'_>) {
        let Some(home) = self.family_conversation() else {
            return;
        };
        let today = self.today(cx.now);
        let Some(own) = self.log.as_ref() else { return };
        let mut ready = Vec::new();
        for (id, record) in &self.passes {
            let Some(ours) = own.valid_pass(id, today) else {
                continue;
            };
            if !record.ours {
                ready.push((*id, None));
                continue;
            }
            let other = ours.pass.other_side(&own.family()).map(|side| side.family);
            let theirs = other
                .and_then(|family| self.friends.get(&family))
                .and_then(|log| log.valid_pass(id, today));
            // At home they know of it when the newest of the other family was told there.
            let told = other.is_some_and(|family| self.is_told(home, &family));
            if theirs.is_some_and(|theirs| theirs.bytes == ours.bytes) && told {
                ready.push((*id, Some(ours.pass.clone())));
            }
        }
        for (id, pass) in ready {
            let Some(record) = self.passes.get(&id).cloned() else {
                continue;
            };
            if let Some(pass) = pass {
                let Some(device) = self.former_of(&pass) else {
                    continue;
                };
                let setup = ContactSetup {
                    pass: id,
                    device,
                    title: self.title_of(&pass),
                    key_packages: record.key_packages,
                    children: vec![],
                };
                self.say_friends_log(home, &pass, cx);
                self.say(home, Control::Setup(setup), cx);
            }
            self.drop_pass(id, cx);
        }
    }

    /// Says the other family's log before the setup that rests on it: another guardian may have
    /// said it before, and then it may come later than this.
    fn say_friends_log(&mut self, home: ConversationId, pass: &ContactPass, cx: &mut Cx<'_>) {
        let own = self.log.as_ref().map(FamilyLog::family);
        let other = own
            .and_then(|own| pass.other_side(&own))
            .map(|side| side.family);
        let log = other.and_then(|family| self.friends.get(&family));
        let news = log.and_then(|log| {
            Some(LogNews {
                family: log.family(),
                entries: log.entries(),
                head: self.vouching_head(log)?,
            })
        });
        if let Some(news) = news {
            self.say(home, Control::News(news), cx);
        }
    }

    /// The device of our child that forms the conversation of a pass.
    pub(super) fn former_of(&self, pass: &ContactPass) -> Option<DeviceId> {
        let log = self.log.as_ref()?;
        let child = pass.side_of(&log.family())?.child;
        let home = self.rooms.get(&self.family_conversation()?)?;
        log.certificates()
            .find(|certificate| {
                certificate.member == child && home.conversation.leaf(certificate.device).is_some()
            })
            .map(|certificate| certificate.device)
    }

    fn title_of(&self, pass: &ContactPass) -> String {
        let name = |(family, child): (FamilyId, MemberId)| {
            self.latest(&family)
                .and_then(|log| log.members().get(&child))
                .map_or_else(String::new, |member| member.name.clone())
        };
        let [one, other] = pass.children().map(name);
        let title: String = format!("{one} & {other}");
        let end = title
            .char_indices()
            .map(|(at, c)| at + c.len_utf8())
            .take_while(|end| *end <= crate::limits::NAME_BYTES_MAX)
            .last()
            .unwrap_or(0);
        title.get(..end).unwrap_or_default().to_owned()
    }

    /// A guardian asks this device to form the conversation of a pass.
    pub(super) fn set_up(&mut self, sender: DeviceId, setup: &ContactSetup, cx: &mut Cx<'_>) {
        if self.guardian_of(sender).is_none() {
            return self.unreadable("only a guardian has conversations formed", cx);
        }
        if setup.device != self.device() {
            return;
        }
        if let Err(error) = self.form_contact(setup, cx) {
            cx.event(Event::PassRefused {
                pass: setup.pass,
                sentence: error.to_string(),
            });
        }
    }

    fn form_contact(&mut self, setup: &ContactSetup, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let children = if setup.children.is_empty() {
            let today = self.today(cx.now);
            let own = self.log.as_ref().ok_or(CommandError::NoFamily)?;
            let entry = own
                .valid_pass(&setup.pass, today)
                .ok_or(CommandError::NoPass)?;
            let pair = entry.pass.children();
            pair.map(|(family, member)| Person { family, member })
                .to_vec()
        } else {
            setup.children.clone()
        };
        let (ours, theirs) = self.group_logs(&children, cx)?;
        let id = ConversationId::new(cx.random16());
        self.form(
            id,
            ConversationKind::Contact,
            &setup.title,
            Parties::from(ours),
            cx,
        )?;
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            key_packages: setup.key_packages.clone(),
            parties: theirs.to_wire(),
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
        self.reconcile_due = true;
        Ok(())
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

    // ---- what families hear of each other

    /// Tells linked families our newest head, and our own family what they say.
    pub(super) fn tell_news(&mut self, cx: &mut Cx<'_>) {
        if !self.news_due || !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        self.news_due = false;
        let guardian = self.guardian_of(self.device()).is_some();
        let (Some(own), Some(home)) = (self.log.clone(), self.family_conversation()) else {
            return;
        };
        if !guardian {
            return;
        }
        let mut words = Vec::new();
        for (id, room) in &self.rooms {
            if room.kind != ConversationKind::Link || !room.can_talk() {
                continue;
            }
            let Some(head) = self.vouching_head(&own) else {
                continue;
            };
            if !self.is_told(*id, &own.family()) {
                let news = LogNews {
                    family: own.family(),
                    entries: own.extract(&shown_to(&own, room.conversation.parties())),
                    head: head.clone(),
                };
                words.push((*id, own.family(), Control::News(news)));
            }
        }
        for (family, log) in &self.friends {
            let Some(head) = self.vouching_head(log) else {
                continue;
            };
            if self.is_told(home, family) {
                continue;
            }
            let news = LogNews {
                family: *family,
                entries: log.entries(),
                head,
            };
            words.push((home, *family, Control::News(news)));
        }
        for (id, family, control) in words {
            self.say(id, control, cx);
            self.note_told(id, family, cx);
        }
    }

    /// The newest head that this device has of a log, when it vouches for all of it.
    pub(super) fn vouching_head(&self, log: &FamilyLog) -> Option<Bytes> {
        let head = self.heads.get(&log.family())?;
        let signed = wire::SignedHead::decode(head.clone()).ok()?;
        let vouched = SignedHead::from_wire(&signed).ok()?.vouch(log).is_ok();
        vouched.then(|| head.clone())
    }

    fn told_digest(&self, family: &FamilyId) -> Option<[u8; 32]> {
        let log = self.latest(family)?;
        let head = self.heads.get(family).map(Bytes::as_ref);
        let shown = (log.statements().len() as u64).to_be_bytes();
        Some(hash::labelled(
            labels::HASH_TOLD,
            &[log.head(), &shown, head.unwrap_or_default()],
        ))
    }

    pub(super) fn is_told(&self, id: ConversationId, family: &FamilyId) -> bool {
        self.told.get(&(id, *family)).copied() == self.told_digest(family)
    }

    fn note_told(&mut self, id: ConversationId, family: FamilyId, cx: &mut Cx<'_>) {
        if let Some(digest) = self.told_digest(&family) {
            self.told.insert((id, family), digest);
            cx.put(
                records::state(records::TOLD, &[id.as_bytes(), family.as_bytes()]),
                digest.to_vec(),
            );
        }
    }

    /// A guardian tells what a log says: of ours, what another family's says; of another
    /// family, what its own says.
    pub(super) fn news_told(
        &mut self,
        id: ConversationId,
        sender: DeviceId,
        news: &LogNews,
        cx: &mut Cx<'_>,
    ) {
        let home = self.family_conversation() == Some(id);
        let may_tell = if home {
            self.guardian_of(sender).is_some()
        } else {
            self.certificate_in(id, sender)
                .is_some_and(|it| it.role == Role::Guardian && it.family == news.family)
        };
        if self.is_own(&news.family) {
            // Said to the others, by our own other guardian.
            return;
        }
        if !may_tell {
            return self.unreadable("what it tells of another family is not for it to tell", cx);
        }
        let log = match self.friends.get(&news.family) {
            Some(known) => known.merged(&news.entries),
            None => FamilyLog::from_entries(&news.entries),
        };
        let head = wire::SignedHead::decode(news.head.clone())
            .ok()
            .and_then(|head| SignedHead::from_wire(&head).ok());
        match (log, head) {
            (Ok(log), Some(head)) if head.vouch(&log).is_ok() => {
                self.hear_log(id, &log, cx);
                self.hear_head(id, &news.head, cx);
                if home {
                    self.note_told(id, news.family, cx);
                }
            }
            (Err(error), _) => self.unreadable(&error.to_string(), cx),
            _ => self.unreadable("nobody vouches for what it tells of another family", cx),
        }
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
