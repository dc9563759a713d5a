//! The conversation that a pass is for: a child's device forms it, and is asked again, or
//! another is, until it stands (PROTOCOL §9.7).
//!
//! A guardian's device sees that it stands in what the child's device entrusts to it. What has
//! stood once is not formed again: a child may leave it.

use std::collections::BTreeSet;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::records;
use super::state::{Cx, Room};
use crate::content::{ContactSetup, Control, LogNews, PassOffer, PassStage};
use crate::conversation::{ConversationKind, Parties, Person};
use crate::identity::{ContactPass, FamilyLog, Role};
use crate::ids::{ConversationId, DeviceId, FamilyId, MemberId, PassId};
use crate::wire;

/// A conversation that does not stand so long after it was asked for is asked for again.
const ASK_AGAIN_MS: u64 = 24 * 3_600_000;
/// What another guardian's device asked for, this one asks for after three days.
const ASK_INSTEAD_MS: u64 = 3 * ASK_AGAIN_MS;
/// Times that one device asks; then its guardian is told.
const ASKS_MAX: u32 = 10;
/// Whoever asks for key packages of a pass again gets some at most so often.
const GIVE_AGAIN_MS: u64 = 3_600_000;

/// What is to be done about a pass.
enum Step {
    /// Nothing any more.
    Drop,
    /// A device of our child is asked.
    Say(ContactPass),
    /// The other family is asked for new key packages: those before may have been used.
    Ask(ContactPass),
}

impl Engine {
    // ---- the guardian's device

    /// Our family has approved a pass that it offered: this device, too, sees to it that its
    /// conversation is formed.
    pub(super) fn watch_pass(&mut self, pass: &ContactPass, cx: &mut Cx<'_>) {
        let offered = pass.sides().first().map(|side| side.family);
        let ours = offered.is_some_and(|family| self.is_own(&family));
        if !ours || self.identity_key().is_none() || self.passes.contains_key(&pass.id()) {
            return;
        }
        let record = wire::PassRecord {
            pass: pass.bytes().clone(),
            ours: true,
            accepted: true,
            said_at_ms: cx.now.0.max(1),
            ..wire::PassRecord::default()
        };
        self.save_pass(pass.id(), record, cx);
    }

    /// A child's device is lost, and with it conversations that no other of its devices is in: its
    /// next one forms them anew, whichever family offered the pass.
    pub(super) fn contacts_lost(
        &mut self,
        lost: DeviceId,
        ward: &wire::MailboxHandover,
        cx: &mut Cx<'_>,
    ) {
        let today = self.today(cx.now);
        let joined = ward.addresses.iter().flat_map(|note| &note.joined);
        for id in joined.filter_map(|id| PassId::try_from(id).ok()) {
            let own = self.log.as_ref();
            let valid = own.and_then(|own| own.valid_pass(&id, today));
            let (Some(entry), false) = (valid, self.stands(&id)) else {
                continue;
            };
            let record = wire::PassRecord {
                pass: entry.bytes.clone(),
                ours: true,
                accepted: true,
                said_at_ms: cx.now.0.max(1),
                said_by: self.device().to_bytes(),
                former: lost.to_bytes(),
                ..wire::PassRecord::default()
            };
            self.save_pass(id, record, cx);
        }
    }

    /// Passes that both families have approved by now: the child's device forms the
    /// conversation.
    pub(super) fn advance_passes(&mut self, cx: &mut Cx<'_>) {
        let Some(home) = self.family_conversation() else {
            return;
        };
        let steps: Vec<(PassId, Step)> = self
            .passes
            .iter()
            .filter_map(|(id, record)| Some((*id, self.step_of(id, record, home, cx)?)))
            .collect();
        for (id, step) in steps {
            match step {
                Step::Drop => self.drop_pass(id, cx),
                Step::Say(pass) => self.have_formed(home, &pass, cx),
                Step::Ask(pass) => self.ask_again(&pass, cx),
            }
        }
    }

    fn step_of(
        &self,
        id: &PassId,
        record: &wire::PassRecord,
        home: ConversationId,
        cx: &Cx<'_>,
    ) -> Option<Step> {
        let today = self.today(cx.now);
        let own = self.log.as_ref()?;
        let Some(ours) = own.valid_pass(id, today) else {
            // It held, and does not any more; or it is still to be approved.
            return (record.said_at_ms > 0 || record.asks > 0).then_some(Step::Drop);
        };
        if !record.ours || self.stands(id) {
            return Some(Step::Drop);
        }
        let other = ours.pass.other_side(&own.family())?.family;
        let theirs = self.friends.get(&other)?.valid_pass(id, today)?;
        if theirs.bytes != ours.bytes {
            return None;
        }
        if record.said_at_ms == 0 {
            // At home they know of it when the newest of the other family was told there.
            let told = self.is_told(home, &other);
            return told.then(|| Step::Say(ours.pass.clone()));
        }
        let by_us = record.said_by.as_ref() == self.device().as_bytes();
        let wait = if by_us { ASK_AGAIN_MS } else { ASK_INSTEAD_MS };
        let late = record.said_at_ms.saturating_add(wait) <= cx.now.0;
        let is_gone = by_us
            && !record.wants_packages
            && DeviceId::try_from(&record.former)
                .is_ok_and(|former| own.certificate(&former).is_none());
        (late || is_gone).then(|| Step::Ask(ours.pass.clone()))
    }

    /// Whether a device of our child has said that the conversation of a pass stands.
    fn stands(&self, id: &PassId) -> bool {
        let notes = self.wards.values().flat_map(|ward| &ward.addresses);
        notes
            .flat_map(|note| &note.joined)
            .any(|joined| joined.as_ref() == id.as_bytes())
    }

    /// Asks a device of our child to form the conversation of a pass; not the one that was
    /// asked before, when there is another.
    fn have_formed(&mut self, home: ConversationId, pass: &ContactPass, cx: &mut Cx<'_>) {
        let Some(record) = self.passes.get(&pass.id()).cloned() else {
            return;
        };
        let formers = self.formers_of(pass);
        let before = DeviceId::try_from(&record.former).ok();
        let after = formers.iter().find(|device| before < Some(**device));
        let Some(device) = after.or(formers.first()).copied() else {
            return;
        };
        let setup = ContactSetup {
            pass: pass.id(),
            device,
            title: self.title_of(pass),
            key_packages: record.key_packages.clone(),
            children: vec![],
        };
        self.say_friends_log(home, pass, cx);
        self.say(home, Control::Setup(setup), cx);
        let record = wire::PassRecord {
            said_at_ms: cx.now.0.max(1),
            said_by: self.device().to_bytes(),
            former: device.to_bytes(),
            ..record
        };
        self.save_pass(pass.id(), record, cx);
    }

    /// It still does not stand.
    fn ask_again(&mut self, pass: &ContactPass, cx: &mut Cx<'_>) {
        let own = self.log.as_ref().map(FamilyLog::family);
        let other = own.and_then(|own| pass.other_side(&own));
        let link = other.and_then(|side| self.link_with(&side.family));
        let (Some(link), Some(record)) = (link, self.passes.get(&pass.id()).cloned()) else {
            return;
        };
        if record.asks >= ASKS_MAX {
            cx.event(Event::PassRefused {
                pass: pass.id(),
                sentence: "its conversation was not formed; revoke the pass and agree on it again"
                    .into(),
            });
            return self.drop_pass(pass.id(), cx);
        }
        let record = wire::PassRecord {
            link: link.to_bytes(),
            said_at_ms: cx.now.0.max(1),
            said_by: self.device().to_bytes(),
            wants_packages: true,
            asks: record.asks.saturating_add(1),
            ..record
        };
        self.save_pass(pass.id(), record, cx);
        self.say_stage(link, pass, PassStage::Offered, vec![], cx);
    }

    /// The other family's answer to that: once, and only for what both hold to.
    pub(super) fn packages_came(
        &mut self,
        pass: &ContactPass,
        record: wire::PassRecord,
        offer: &PassOffer,
        cx: &mut Cx<'_>,
    ) {
        // Its other guardians answer, too.
        if !record.wants_packages || !self.holds_to(pass, cx) {
            return;
        }
        let record = wire::PassRecord {
            key_packages: offer.key_packages.clone(),
            wants_packages: false,
            said_at_ms: 0,
            ..record
        };
        self.save_pass(pass.id(), record, cx);
    }

    /// Whether our family has approved just this pass, and it holds today.
    pub(super) fn holds_to(&self, pass: &ContactPass, cx: &Cx<'_>) -> bool {
        let own = self.log.as_ref();
        own.and_then(|own| own.valid_pass(&pass.id(), self.today(cx.now)))
            .is_some_and(|entry| entry.pass.bytes() == pass.bytes())
    }

    /// The conversation of a pass that stands approved was not formed over there.
    pub(super) fn give_packages_again(
        &mut self,
        link: ConversationId,
        pass: &ContactPass,
        cx: &mut Cx<'_>,
    ) {
        let given = self.session.passes_answered.get(&pass.id());
        if given.is_some_and(|at| at.plus_ms(GIVE_AGAIN_MS) > cx.now) {
            return;
        }
        // They are asked for again when there are none, or none are left.
        self.session.packages_asked = false;
        let Ok((used, key_packages)) = self.packages_for(pass) else {
            return;
        };
        self.session.passes_answered.insert(pass.id(), cx.now);
        for key in used {
            self.use_peer_key_package(key, cx);
        }
        self.say_stage(link, pass, PassStage::Accepted, key_packages, cx);
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
                from: 0,
                entries: log.entries(),
                head: self.vouching_head(log)?,
            })
        });
        if let Some(news) = news {
            self.say_log(home, news, cx);
        }
    }

    /// The devices of our child that could form the conversation of a pass.
    fn formers_of(&self, pass: &ContactPass) -> Vec<DeviceId> {
        let there = |home: ConversationId| self.rooms.get(&home);
        let (Some(log), Some(home)) = (
            self.log.as_ref(),
            self.family_conversation().and_then(there),
        ) else {
            return vec![];
        };
        let side = pass.side_of(&log.family());
        log.certificates()
            .filter(|it| side.is_some_and(|side| side.child == it.member))
            .filter(|it| home.conversation.leaf(it.device).is_some())
            .map(|it| it.device)
            .collect()
    }

    /// The first of them.
    pub(super) fn former_of(&self, pass: &ContactPass) -> Option<DeviceId> {
        self.formers_of(pass).first().copied()
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

    // ---- the child's device

    /// A guardian asks a device to form the conversation of a pass.
    pub(super) fn set_up(&mut self, sender: DeviceId, setup: &ContactSetup, cx: &mut Cx<'_>) {
        if self.guardian_of(sender).is_none() {
            return self.unreadable("only a guardian has conversations formed", cx);
        }
        if setup.device != self.device() {
            return self.setup_heard(sender, setup, cx);
        }
        let id = ConversationId::new(cx.random16());
        if let Err(error) = self.form_contact(id, sender, setup, cx) {
            // Every guardian hears of it (`noticing`).
            cx.event(Event::PassRefused {
                pass: setup.pass,
                sentence: error.to_string(),
            });
        }
    }

    /// Another guardian's device has asked: this one waits for longer.
    fn setup_heard(&mut self, sender: DeviceId, setup: &ContactSetup, cx: &mut Cx<'_>) {
        let known = self.passes.get(&setup.pass).filter(|record| record.ours);
        if let Some(record) = known.cloned() {
            let record = wire::PassRecord {
                said_at_ms: cx.now.0.max(1),
                said_by: sender.to_bytes(),
                former: setup.device.to_bytes(),
                wants_packages: false,
                ..record
            };
            self.save_pass(setup.pass, record, cx);
        }
    }

    fn form_contact(
        &mut self,
        id: ConversationId,
        sender: DeviceId,
        setup: &ContactSetup,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
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
        if self.is_with(&children) {
            // It does not know yet.
            let home = self.family_conversation();
            if let Some(room) = home.and_then(|home| self.rooms.get_mut(&home)) {
                room.peer(sender).handover_hash.clear();
            }
            return Ok(());
        }
        for former in self.forming_with(&children) {
            let offered = self
                .rooms
                .get(&former)
                .is_some_and(|room| room.conversation.has_pending_commit());
            if offered {
                return Ok(());
            }
            // With key packages that may have been used since.
            self.unform(former, cx);
        }
        let (ours, theirs) = self.group_logs(&children, cx)?;
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
            children: super::groups::people_to_wire(&children),
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
        self.reconcile_due = true;
        Ok(())
    }

    /// Whether this device is in the conversation of just these children.
    pub(super) fn is_with(&self, children: &[Person]) -> bool {
        let wanted: BTreeSet<Person> = children.iter().copied().collect();
        let rooms = self.rooms.values();
        rooms
            .filter(|room| room.kind == ConversationKind::Contact && room.can_talk())
            .any(|room| children_in(room) == wanted)
    }

    /// Conversations of these children that this device has still to form.
    fn forming_with(&self, children: &[Person]) -> Vec<ConversationId> {
        let wanted = super::groups::people_to_wire(children);
        self.operations
            .values()
            .filter(|operation| operation.children == wanted)
            .filter_map(|operation| ConversationId::try_from(&operation.conversation).ok())
            .collect()
    }

    /// Passes of the two children in a conversation, when there are just two.
    pub(super) fn joined_by(&self, room: &Room) -> Vec<PassId> {
        let mut children = children_in(room).into_iter();
        let (Some(one), Some(other), None) = (children.next(), children.next(), children.next())
        else {
            return vec![];
        };
        let pair = |person: Person| (person.family, person.member);
        let passes = self.log.iter().flat_map(FamilyLog::passes);
        passes
            .filter(|(_, entry)| entry.pass.joins(pair(one), pair(other)))
            .map(|(id, _)| *id)
            .collect()
    }

    /// A conversation that nobody else has come into is not formed after all.
    pub(super) fn unform(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        self.discard_sends(id, |_| true, cx);
        self.clear_operations(id, cx);
        self.fail_all(id, "the conversation was not formed", |_| true, cx);
        let Some(room) = self.rooms.remove(&id) else {
            return;
        };
        for name in room.conversation.record_names() {
            cx.erase(records::state(records::MLS, &[id.as_bytes(), &name]));
        }
        for log in room.conversation.parties().logs() {
            let family = log.family();
            cx.erase(records::state(
                records::PARTY,
                &[id.as_bytes(), family.as_bytes()],
            ));
        }
        cx.erase(records::state(records::CONVERSATION, &[id.as_bytes()]));
    }
}

/// The children whose devices are in a conversation.
fn children_in(room: &Room) -> BTreeSet<Person> {
    let devices = room.conversation.devices();
    let people = room.conversation.parties().certificates_of(&devices);
    let children = people.iter().filter(|it| it.role == Role::Child);
    children.map(Person::from).collect()
}
