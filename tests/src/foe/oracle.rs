//! Watches devices from outside. It knows what each person did, and judges what screens, stores
//! and frames show; it asks no code that it judges.
//!
//! Devices belong to houses: a conversation is open to the house that formed it, and what
//! crosses families to those whose guardians met theirs ([`Oracle::met`]).

use std::collections::{BTreeMap, BTreeSet};

use kinline_protocol::content::Body;
use kinline_protocol::conversation::ConversationContext;
use kinline_protocol::engine::io::Event;
use kinline_protocol::identity::FamilyLog;
use kinline_protocol::ids::{ContentId, ConversationId, DeviceId};
use kinline_protocol::primitives::sign::PublicKey;
use kinline_protocol::wire::{ClientFrame, client_frame::Body as C};

use super::device::Look;

mod reckoning;

/// Times a day that a device is brought back into a conversation: three, and those that another
/// had begun by then.
const RETURNS_MAX: usize = 6;

/// A device that a guardian let in.
#[derive(Debug, Clone)]
struct Admitted {
    key: PublicKey,
    person: &'static str,
    house: &'static str,
    retired: bool,
}

/// A content that somebody wrote.
#[derive(Debug, Clone)]
struct Written {
    conversation: ConversationId,
    by: DeviceId,
    /// Its places among what this device said there: a device that comes back as a new leaf
    /// counts anew what is still open.
    numbers: Vec<u64>,
    /// How often its device had come back there when it counted this last.
    leaf: usize,
    body: Body,
    to: Vec<DeviceId>,
}

impl Written {
    fn number(&self) -> u64 {
        self.numbers.last().copied().unwrap_or(0)
    }
}

/// What one device showed of another in a conversation.
#[derive(Debug, Default, Clone)]
struct Heard {
    last: u64,
    gaps: Vec<(u64, u64)>,
    /// Gaps from before this device came back: what was given up in them is sent to the new
    /// leaf, and what followed may be on the screen, or have waited for another reason.
    late: Vec<(u64, u64)>,
}

impl Heard {
    fn is_late(&self, number: u64) -> bool {
        let mut late = self.late.iter();
        late.any(|(from, through)| (*from..=*through).contains(&number))
    }
}

/// The oracle.
#[derive(Debug, Default)]
pub struct Oracle {
    /// What must not be, and is.
    pub faults: Vec<String>,
    /// Conversations with two pasts.
    pub forked: BTreeSet<ConversationId>,
    /// Conversations that an accomplice ended for good.
    pub spoilt: BTreeSet<ConversationId>,
    /// Today.
    pub day: u32,
    admitted: BTreeMap<DeviceId, Admitted>,
    written: BTreeMap<ContentId, Written>,
    counts: BTreeMap<(DeviceId, ConversationId), u64>,
    shown: BTreeMap<DeviceId, BTreeSet<ContentId>>,
    heard: BTreeMap<(DeviceId, ConversationId, DeviceId), Heard>,
    joined: BTreeSet<(DeviceId, ConversationId)>,
    /// Devices that came back into a conversation as new leaves.
    back: BTreeSet<(DeviceId, ConversationId)>,
    contexts: BTreeMap<ConversationId, ConversationContext>,
    houses: BTreeMap<ConversationId, BTreeSet<&'static str>>,
    friends: BTreeSet<(&'static str, &'static str)>,
    unsettled: BTreeSet<ConversationId>,
    pasts: BTreeMap<(ConversationId, u64), Vec<u8>>,
    grants: BTreeMap<Vec<u8>, (ConversationId, DeviceId)>,
    removals: BTreeSet<(ConversationId, DeviceId)>,
    expelled: BTreeSet<DeviceId>,
    told: BTreeSet<(DeviceId, ConversationId, DeviceId)>,
    withheld: BTreeSet<(DeviceId, ContentId)>,
    given_up: BTreeSet<(ContentId, DeviceId)>,
    leaves: BTreeMap<(DeviceId, ConversationId), usize>,
    wishes: BTreeSet<(DeviceId, ConversationId)>,
    /// How often a device was seen to be brought back: by viewer, conversation, device and day.
    returns: BTreeMap<(DeviceId, ConversationId, DeviceId, u32), usize>,
    refused: BTreeSet<(DeviceId, DeviceId)>,
}

impl Oracle {
    fn fault(&mut self, what: String) {
        if self.faults.len() < 50 && !self.faults.contains(&what) {
            self.faults.push(what);
        }
    }

    fn name(&self, device: DeviceId) -> String {
        self.admitted
            .get(&device)
            .map_or_else(|| "a stranger".into(), |it| format!("{}'s", it.person))
    }

    // ---- what people did

    /// A guardian let this device into a house, as this person's.
    pub fn admit(
        &mut self,
        device: DeviceId,
        key: PublicKey,
        person: &'static str,
        house: &'static str,
    ) {
        let admitted = Admitted {
            key,
            person,
            house,
            retired: false,
        };
        self.admitted.entry(device).or_insert(admitted);
    }

    /// Guardians of two houses met: each is let into what crosses families.
    pub fn met(&mut self, one: &'static str, other: &'static str) {
        self.friends.insert((one, other));
        self.friends.insert((other, one));
    }

    /// Somebody who may ended what a pass allowed, or a lease did: what was said there need
    /// not arrive any more.
    pub fn unsettle(&mut self, conversation: ConversationId) {
        self.unsettled.insert(conversation);
    }

    /// Who wrote a content.
    #[must_use]
    pub fn author(&self, content: ContentId) -> Option<DeviceId> {
        self.written.get(&content).map(|written| written.by)
    }

    /// A device showed what it knew it may not.
    pub fn may_not_show(&mut self, viewer: DeviceId, why: &str) {
        let who = self.name(viewer);
        self.fault(format!(
            "{who} device shows a contact's message, although {why}"
        ));
    }

    /// A device encrypted what it knew it may not.
    pub fn may_not_encrypt(&mut self, device: DeviceId, why: &str) {
        let who = self.name(device);
        self.fault(format!("{who} device encrypts a content, although {why}"));
    }

    /// A device made a key package with which others may bring it back.
    pub fn wishes_back(&mut self, device: DeviceId, conversation: ConversationId) {
        self.wishes.insert((device, conversation));
    }

    fn brought_back(&mut self, viewer: DeviceId, id: ConversationId, device: DeviceId) {
        if !self.wishes.contains(&(device, id)) {
            let (viewer, device) = (self.name(viewer), self.name(device));
            self.fault(format!(
                "{viewer} device follows a return of {device} that it did not wish"
            ));
        }
        let returns = self.returns.entry((viewer, id, device, self.day));
        let returns = returns.or_default();
        *returns += 1;
        if *returns > RETURNS_MAX {
            let device = self.name(device);
            self.fault(format!("{device} device is brought back again and again"));
        }
    }

    /// This device is never switched on again: nobody waits for it.
    pub fn retire(&mut self, device: DeviceId) {
        if let Some(admitted) = self.admitted.get_mut(&device) {
            admitted.retired = true;
        }
    }

    /// Somebody who may took a device out of a conversation.
    pub fn allow_removal(&mut self, conversation: ConversationId, device: DeviceId) {
        self.removals.insert((conversation, device));
    }

    /// Somebody who may took a device out of its house: wherever it still is, nobody listens.
    pub fn expel(&mut self, device: DeviceId) {
        self.expelled.insert(device);
    }

    /// A content was written and is durable; `to` were there to read it. `number`: its place
    /// among what its device said there, with what is not shown; counted here when not given.
    pub fn wrote(
        &mut self,
        by: DeviceId,
        conversation: ConversationId,
        content: ContentId,
        body: Body,
        to: Vec<DeviceId>,
        number: Option<u64>,
    ) {
        let count = self.counts.entry((by, conversation)).or_default();
        *count = number.unwrap_or(*count + 1);
        let written = Written {
            conversation,
            by,
            numbers: vec![*count],
            leaf: self
                .leaves
                .get(&(by, conversation))
                .copied()
                .unwrap_or_default(),
            body,
            to,
        };
        if self.written.insert(content, written).is_some() {
            self.fault("two contents have one id".into());
        }
    }

    /// A device is back as a new leaf, and counts anew what is still open.
    pub fn recounted(&mut self, numbers: &[(ContentId, u64)]) {
        for (content, number) in numbers {
            let Some(written) = self.written.get_mut(content) else {
                continue;
            };
            let leaf = self.leaves.get(&(written.by, written.conversation));
            written.leaf = leaf.copied().unwrap_or_default();
            written.numbers.push(*number);
        }
    }

    /// What a device counts now, whether or not it counted anew since it was last asked.
    pub fn numbered(&mut self, numbers: &[(ContentId, u64)]) {
        let news = |(content, number): &&(ContentId, u64)| {
            let written = self.written.get(content);
            written.is_some_and(|written| written.numbers.last() != Some(number))
        };
        let news: Vec<(ContentId, u64)> = numbers.iter().filter(news).copied().collect();
        self.recounted(&news);
    }

    /// A device has a new leaf in a conversation.
    pub fn new_leaf(&mut self, device: DeviceId, conversation: ConversationId) {
        *self.leaves.entry((device, conversation)).or_default() += 1;
    }

    // ---- what devices show

    /// An event of a device, after it was persisted; `log` is what it knows.
    pub fn event(&mut self, viewer: DeviceId, event: &Event, logs: &[&FamilyLog]) {
        match event {
            Event::Message {
                conversation,
                content,
                sender,
                mine: false,
                body,
            } => {
                let named = logs.iter().find_map(|log| {
                    let member = log.members().get(sender)?;
                    Some((member.name.as_str(), log.family_name()))
                });
                self.showed(viewer, *conversation, *content, named, body);
            }
            Event::Joined { conversation, .. } => {
                self.joined.insert((viewer, *conversation));
            }
            Event::Gap {
                conversation,
                device,
                from,
                through,
            } => {
                let heard = self.heard.entry((viewer, *conversation, *device));
                heard.or_default().gaps.push((*from, *through));
            }
            Event::DeviceAdded {
                conversation,
                device,
                ..
            } => {
                self.told.remove(&(viewer, *conversation, *device));
            }
            Event::CameBack {
                conversation,
                device,
            } => {
                let heard = self.heard.entry((viewer, *conversation, *device));
                heard.or_default().last = 0;
                self.brought_back(viewer, *conversation, *device);
            }
            // What was given up may come again.
            Event::BackIn { conversation } => {
                self.back.insert((viewer, *conversation));
                for ((by, at, _), heard) in &mut self.heard {
                    if (*by, *at) == (viewer, *conversation) {
                        heard.last = 0;
                        heard.late.extend(heard.gaps.iter().copied());
                    }
                }
            }
            Event::Withheld { content, .. } => {
                self.withheld.insert((viewer, *content));
            }
            Event::Delivered { content, device }
            | Event::Read { content, device }
            | Event::Fetched { content, device } => self.confirmed(viewer, *content, *device),
            Event::Undelivered {
                content, device, ..
            } => {
                self.given_up.insert((*content, *device));
            }
            Event::RecipientRefused { device, .. } => {
                self.refused.insert((viewer, *device));
            }
            // Only a member's own words may end a conversation.
            Event::Refused {
                conversation,
                sentence,
            } if (sentence.contains("can't be changed any more")
                || sentence.contains("offered by another device than made it"))
                && !self.spoilt.contains(conversation) =>
            {
                let who = self.name(viewer);
                self.fault(format!(
                    "{who} device gives a conversation up that is sound: {sentence}"
                ));
            }
            Event::DeviceRemoved {
                conversation,
                device,
            } => {
                let may = self.removals.contains(&(*conversation, *device))
                    || self.expelled.contains(device)
                    || self.is_unsettled(*conversation);
                if !may {
                    let (viewer, device) = (self.name(viewer), self.name(*device));
                    self.fault(format!(
                        "{viewer} device follows a removal of {device} that nobody may make"
                    ));
                }
                self.told.insert((viewer, *conversation, *device));
            }
            _ => {}
        }
    }

    /// Whether what two families agreed on has ended once, or rests: a policy or a lease of one
    /// holds for what they form later too. What must not be shown is judged all the same.
    fn is_unsettled(&self, id: ConversationId) -> bool {
        let context = self.contexts.get(&id);
        let crosses = context.is_some_and(|context| context.kind.crosses_families());
        self.unsettled.contains(&id) || (crosses && !self.unsettled.is_empty())
    }

    fn showed(
        &mut self,
        viewer: DeviceId,
        conversation: ConversationId,
        content: ContentId,
        sender: Option<(&str, &str)>,
        body: &Body,
    ) {
        let who = self.name(viewer);
        // What is no message may be acted on again when one of the two came back as a new leaf:
        // that changes nothing.
        let acts = matches!(
            body,
            Body::Reaction { .. } | Body::Edit { .. } | Body::Delete { .. }
        );
        let recounted = |written: &Written| written.numbers.len() > 1;
        let again = acts
            && (self.written.get(&content).is_some_and(recounted)
                || self.back.contains(&(viewer, conversation)));
        let new = self.shown.entry(viewer).or_default().insert(content);
        if !new && !again {
            return self.fault(format!("{who} device shows a content twice: {body:?}"));
        }
        let Some(written) = self.written.get(&content).cloned() else {
            return self.fault(format!("{who} device shows what nobody wrote: {body:?}"));
        };
        if written.body != *body {
            self.fault(format!("{who} device shows other words than were written"));
        }
        if written.conversation != conversation {
            self.fault(format!(
                "{who} device shows a content in a conversation it was not said in"
            ));
        }
        let person = self
            .admitted
            .get(&written.by)
            .map(|it| (it.person, it.house));
        if sender.is_some_and(|_| person != sender) {
            self.fault(format!(
                "{who} device shows under {sender:?} what {person:?} wrote"
            ));
        }
        let leaf = self.leaves.get(&(written.by, conversation));
        if leaf.is_some_and(|leaf| written.leaf < *leaf) {
            // It came from the leaf before and was laid aside until now: its number means
            // nothing beside those of the new one.
            return;
        }
        let heard = self.heard.entry((viewer, conversation, written.by));
        let heard = heard.or_default();
        let last = heard.last;
        let next = written
            .numbers
            .iter()
            .filter(|number| **number > last)
            .min();
        let Some(next) = next else {
            let number = written.number();
            if heard.is_late(number) || !new {
                return;
            }
            return self.fault(format!("{who} device shows {number} after {last}"));
        };
        heard.last = *next;
    }

    fn has(&self, device: DeviceId, content: ContentId) -> bool {
        let shown = self.shown.get(&device);
        shown.is_some_and(|shown| shown.contains(&content))
    }

    /// Whether a device said visibly that it does without.
    fn does_without(&self, device: DeviceId, written: &Written) -> bool {
        let heard = self.heard.get(&(device, written.conversation, written.by));
        heard.is_some_and(|heard| {
            let mut gaps = heard.gaps.iter();
            gaps.any(|(from, through)| {
                let mut numbers = written.numbers.iter();
                numbers.any(|number| (*from..=*through).contains(number))
            })
        })
    }

    fn confirmed(&mut self, writer: DeviceId, content: ContentId, device: DeviceId) {
        let Some(written) = self.written.get(&content) else {
            let who = self.name(writer);
            return self.fault(format!("{who} device hears of a content that nobody wrote"));
        };
        // What a pass or a lease keeps back is had, and not shown.
        let out = self.expelled.contains(&writer)
            || self.expelled.contains(&device)
            || self.is_unsettled(written.conversation);
        if !out && !self.has(device, content) && !self.does_without(device, written) {
            let (writer, device) = (self.name(writer), self.name(device));
            let number = written.number();
            self.fault(format!(
                "{writer} device believes that {device} has its content {number}, and it has not"
            ));
        }
    }

    // ---- what devices store

    /// A look into a conversation as a device has stored it.
    pub fn looked(&mut self, viewer: DeviceId, id: ConversationId, look: &Look) {
        let who = self.name(viewer);
        let house = self.admitted.get(&viewer).map(|it| it.house);
        let houses = self
            .houses
            .entry(id)
            .or_insert_with(|| house.into_iter().collect());
        if look.context.kind.crosses_families() {
            let met = self.friends.iter().filter(|(one, _)| Some(*one) == house);
            houses.extend(met.map(|(_, other)| *other));
        }
        let mut wrong = Vec::new();
        for leaf in &look.leaves {
            let known = self.admitted.get(&leaf.device);
            let Some(known) = known.filter(|known| houses.contains(known.house)) else {
                wrong.push(format!("{who} device has a leaf that no guardian let in"));
                continue;
            };
            if known.key != leaf.signature_key {
                wrong.push(format!(
                    "{who} device has a leaf of {} under another key",
                    known.person
                ));
            }
            self.grants
                .insert(leaf.address.grant.as_bytes().to_vec(), (id, leaf.device));
        }
        let first = self
            .contexts
            .entry(id)
            .or_insert_with(|| look.context.clone());
        let families = |context: &ConversationContext| {
            let parties = context.parties.iter();
            parties.map(|party| party.family).collect::<BTreeSet<_>>()
        };
        // What crosses families may grow by one, and nothing else.
        let same = families(first).is_subset(&families(&look.context))
            && (families(first) == families(&look.context) || first.kind.crosses_families())
            && first.kind == look.context.kind
            && first.title == look.context.title;
        if !same {
            wrong.push(format!(
                "{who} device is in a conversation that was turned into another one"
            ));
        }
        for what in wrong {
            self.fault(what);
        }
        if !look.token.is_empty() {
            let past = self.pasts.entry((id, look.epoch));
            if *past.or_insert_with(|| look.token.clone()) != look.token {
                self.forked.insert(id);
            }
        }
    }

    /// The relay has lost what filled this slot: who had not followed never can.
    pub fn lost(&mut self, token: &[u8]) {
        let of = self.pasts.iter().filter(|(_, known)| *known == token);
        let of: Vec<ConversationId> = of.map(|((id, _), _)| *id).collect();
        self.forked.extend(of);
    }

    // ---- what devices say

    /// A frame that a device sends.
    pub fn said(&mut self, device: DeviceId, frame: &ClientFrame) {
        let Some(C::Send(send)) = &frame.body else {
            return;
        };
        let mut wrong = Vec::new();
        for to in &send.deliveries {
            if let Some((id, whom)) = self.grants.get(to.grant.as_ref())
                && self.told.contains(&(device, *id, *whom))
            {
                wrong.push(format!(
                    "{} device sends something to a device that it knows to be removed",
                    self.name(device)
                ));
            }
        }
        for what in wrong {
            self.fault(what);
        }
    }
}
