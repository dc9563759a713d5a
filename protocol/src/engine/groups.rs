//! Children of three families in one conversation: each two of them have a pass already, and
//! a guardian of each family agrees to the group (PROTOCOL §9.8).
//!
//! A pass is shown to the families that it names and to nobody else. So whoever agrees opens
//! the passes among the group's children for the one who asks.

use super::device::Engine;
use super::errors::{CommandError, check_name};
use super::io::Event;
use super::records;
use super::state::Cx;
use super::summary::GroupUnderWay;
use crate::content::{ContactSetup, Control, GroupOffer, LogNews, PassStage};
use crate::conversation::{ConversationKind, Parties, Person};
use crate::identity::{FamilyLog, Shown};
use crate::ids::{ConversationId, DeviceId, FamilyId, PassId};
use crate::limits;
use crate::wire;

/// Groups on their way at a time.
const GROUPS_MAX: usize = 32;

impl Engine {
    /// Groups of children on their way: asked for here, or waiting for this device's answer.
    #[must_use]
    pub fn groups_under_way(&self) -> Vec<GroupUnderWay> {
        let told = self.groups.iter().map(|(group, record)| {
            let link = ConversationId::try_from(&record.link).ok();
            let accepted = record.accepted.iter();
            GroupUnderWay {
                group: *group,
                children: people(&record.children),
                title: record.title.clone(),
                asked_by: link.and_then(|link| self.other_family(link).ok()),
                ours: record.ours,
                accepted: accepted
                    .filter_map(|it| FamilyId::try_from(it).ok())
                    .collect(),
            }
        });
        told.collect()
    }

    /// Asks the guardians of the other children's families for a conversation of all of them.
    ///
    /// # Errors
    /// [`CommandError::NoPass`] when our child has none with one of them.
    pub(super) fn offer_group(
        &mut self,
        children: &[Person],
        title: &str,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.identity_key().ok_or(CommandError::NotGuardian)?;
        check_name(title)?;
        let children = sorted(children);
        if !(2..=limits::CONVERSATION_FAMILIES_MAX).contains(&children.len()) {
            return Err(CommandError::Group);
        }
        self.check_own_passes(&children, cx)?;
        let mut links = Vec::new();
        for person in children
            .iter()
            .filter(|person| !self.is_own(&person.family))
        {
            links.push(
                self.link_with(&person.family)
                    .ok_or(CommandError::NoConversation)?,
            );
        }
        let group = cx.random16();
        let record = wire::GroupRecord {
            children: people_to_wire(&children),
            title: title.to_owned(),
            ours: true,
            ..wire::GroupRecord::default()
        };
        self.save_group(group, record, cx);
        let offer = GroupOffer {
            group,
            children,
            title: title.to_owned(),
            stage: PassStage::Offered,
            key_packages: vec![],
        };
        for link in links {
            self.say(link, Control::Group(offer.clone()), cx);
        }
        Ok(())
    }

    /// A link with the guardians of a family.
    pub(super) fn link_with(&self, family: &FamilyId) -> Option<ConversationId> {
        let links = self
            .rooms
            .values()
            .filter(|room| room.kind == ConversationKind::Link && room.can_talk());
        links
            .into_iter()
            .find(|room| room.conversation.parties().log(family).is_some())
            .map(super::state::Room::id)
    }

    fn save_group(&mut self, group: [u8; 16], record: wire::GroupRecord, cx: &mut Cx<'_>) {
        cx.put_message(records::state(records::GROUP, &[&group]), &record);
        self.groups.insert(group, record);
    }

    fn drop_group(&mut self, group: &[u8; 16], cx: &mut Cx<'_>) {
        self.groups.remove(group);
        cx.erase(records::state(records::GROUP, &[group]));
    }

    /// Our log's passes between our child of the group and each of the others.
    fn check_own_passes(
        &self,
        children: &[Person],
        cx: &Cx<'_>,
    ) -> Result<Vec<PassId>, CommandError> {
        let own = self.log.as_ref().ok_or(CommandError::NoFamily)?;
        let today = self.today(cx.now);
        let mut ours = children
            .iter()
            .filter(|person| person.family == own.family());
        let (Some(child), None) = (ours.next(), ours.next()) else {
            return Err(CommandError::Group);
        };
        let mut passes = Vec::new();
        for other in children.iter().filter(|person| *person != child) {
            let pair = |person: &Person| (person.family, person.member);
            let pass = own.passes().keys().find(|id| {
                own.valid_pass(id, today)
                    .is_some_and(|entry| entry.pass.joins(pair(child), pair(other)))
            });
            passes.push(*pass.ok_or(CommandError::NoPass)?);
        }
        Ok(passes)
    }

    /// The other family speaks of a group.
    pub(super) fn group_offered(
        &mut self,
        link: ConversationId,
        sender: DeviceId,
        offer: &GroupOffer,
        cx: &mut Cx<'_>,
    ) {
        if self.identity_key().is_none() {
            return;
        }
        let Ok(other) = self.other_family(link) else {
            return self.unreadable("a group came where none is agreed on", cx);
        };
        let speaker = self.certificate_in(link, sender);
        if speaker.is_none_or(|speaker| self.is_own(&speaker.family)) {
            // What another guardian of ours asks is not for us to answer, and what it has
            // answered waits for nobody any more.
            let waits = self.groups.get(&offer.group).is_some_and(|it| !it.ours);
            if waits && offer.stage != PassStage::Offered {
                self.drop_group(&offer.group, cx);
            }
            return;
        }
        match offer.stage {
            PassStage::Offered => {
                let fits = offer.children.iter().any(|it| self.is_own(&it.family))
                    && offer.children.iter().any(|it| it.family == other);
                let full = self.groups.len() >= GROUPS_MAX;
                if !fits || full || self.groups.contains_key(&offer.group) {
                    return self.unreadable("a group without our children, or named before", cx);
                }
                let record = wire::GroupRecord {
                    children: people_to_wire(&offer.children),
                    title: offer.title.clone(),
                    link: link.to_bytes(),
                    ..wire::GroupRecord::default()
                };
                self.save_group(offer.group, record, cx);
                cx.event(Event::GroupOffered {
                    group: offer.group,
                    children: offer.children.clone(),
                    title: offer.title.clone(),
                });
            }
            PassStage::Accepted => {
                // Else somebody else has said no meanwhile, or everybody had agreed already.
                let Some(mut record) = self.groups.get(&offer.group).filter(|it| it.ours).cloned()
                else {
                    return;
                };
                let named = people(&record.children).iter().any(|it| it.family == other);
                let again = record
                    .accepted
                    .iter()
                    .any(|family| family.as_ref() == other.as_bytes());
                if !named || again {
                    return;
                }
                record.accepted.push(other.to_bytes());
                record.key_packages.extend(offer.key_packages.clone());
                let title = record.title.clone();
                self.save_group(offer.group, record, cx);
                cx.event(Event::GroupAnswered {
                    group: offer.group,
                    title,
                    family: other,
                    accepted: true,
                });
            }
            PassStage::Refused => {
                let asked = self.groups.get(&offer.group).filter(|it| it.ours);
                if let Some(title) = asked.map(|it| it.title.clone()) {
                    self.drop_group(&offer.group, cx);
                    cx.event(Event::GroupAnswered {
                        group: offer.group,
                        title,
                        family: other,
                        accepted: false,
                    });
                }
            }
        }
    }

    /// Agrees to a group, or says no.
    ///
    /// # Errors
    /// [`CommandError::NoPass`] when our child has none with one of them; nothing was said.
    pub(super) fn answer_group(
        &mut self,
        group: [u8; 16],
        accept: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        self.identity_key().ok_or(CommandError::NotGuardian)?;
        let record = self
            .groups
            .get(&group)
            .filter(|it| !it.ours)
            .cloned()
            .ok_or(CommandError::NoProposal)?;
        let link =
            ConversationId::try_from(&record.link).map_err(|_| CommandError::NoConversation)?;
        let children = people(&record.children);
        let mut answer = GroupOffer {
            group,
            children: children.clone(),
            title: record.title.clone(),
            stage: PassStage::Refused,
            key_packages: vec![],
        };
        if accept {
            let passes = self.check_own_passes(&children, cx)?;
            let own = self.log.clone().ok_or(CommandError::NoFamily)?;
            let head = self.vouching_head(&own).ok_or(CommandError::Group)?;
            let mut used = Vec::new();
            for id in &passes {
                let entry = own.passes().get(id).ok_or(CommandError::NoPass)?;
                let (keys, packages) = self.packages_for(&entry.pass)?;
                if used.is_empty() {
                    (used, answer.key_packages) = (keys, packages);
                }
            }
            for key in used {
                self.use_peer_key_package(key, cx);
            }
            self.session.packages_asked = false;
            let shown = Shown {
                passes: passes.into_iter().collect(),
                ..Shown::default()
            };
            let news = LogNews {
                family: own.family(),
                from: 0,
                entries: own.extract(&shown),
                head,
            };
            self.say_log(link, news, cx);
            answer.stage = PassStage::Accepted;
        }
        self.say(link, Control::Group(answer), cx);
        self.drop_group(&group, cx);
        Ok(())
    }

    /// Groups to which everybody has agreed: our child's device forms the conversation.
    pub(super) fn advance_groups(&mut self, cx: &mut Cx<'_>) {
        let Some(home) = self.family_conversation() else {
            return;
        };
        let mut ready = Vec::new();
        for (group, record) in self.groups.iter().filter(|(_, record)| record.ours) {
            let children = people(&record.children);
            let others = || children.iter().filter(|it| !self.is_own(&it.family));
            let agreed = others().all(|it| {
                let family = it.family.to_bytes();
                record.accepted.contains(&family) && self.is_told(home, &it.family)
            });
            if agreed && self.all_have_passes(&children, cx) {
                ready.push((*group, children, record.clone()));
            }
        }
        for (group, children, record) in ready {
            let Ok(passes) = self.check_own_passes(&children, cx) else {
                continue;
            };
            let own = self.log.as_ref();
            let pass = passes
                .first()
                .and_then(|id| Some(own?.passes().get(id)?.pass.clone()));
            let Some((pass, device)) =
                pass.and_then(|pass| Some((pass.id(), self.former_of(&pass)?)))
            else {
                continue;
            };
            let setup = ContactSetup {
                pass,
                device,
                title: record.title,
                key_packages: record.key_packages,
                children,
            };
            self.say(home, Control::Setup(setup), cx);
            self.drop_group(&group, cx);
        }
    }

    /// Whether each two of these children have a pass, as far as their logs are shown here.
    fn all_have_passes(&self, children: &[Person], cx: &Cx<'_>) -> bool {
        let logs = children
            .iter()
            .filter_map(|it| self.latest(&it.family).cloned());
        let parties: Parties = logs.collect();
        let today = self.today(cx.now);
        children.iter().enumerate().all(|(at, one)| {
            children
                .iter()
                .skip(at + 1)
                .all(|other| parties.pass_between(*one, *other, today).is_some())
        })
    }

    /// The logs with which a group's conversation is formed: ours, and those of the others.
    ///
    /// # Errors
    /// [`CommandError::NoPass`] when two of the children have none that is shown here.
    pub(super) fn group_logs(
        &self,
        children: &[Person],
        cx: &Cx<'_>,
    ) -> Result<(FamilyLog, Parties), CommandError> {
        if !self.all_have_passes(children, cx) {
            return Err(CommandError::NoPass);
        }
        let among = |log: &FamilyLog| Shown {
            passes: log
                .passes()
                .iter()
                .filter(|(_, entry)| {
                    entry.pass.children().iter().all(|(family, member)| {
                        children.contains(&Person {
                            family: *family,
                            member: *member,
                        })
                    })
                })
                .map(|(id, _)| *id)
                .collect(),
            ..Shown::default()
        };
        let mut ours = None;
        let mut theirs = Vec::new();
        for person in children {
            let log = self.latest(&person.family).ok_or(CommandError::NoPass)?;
            let extract = FamilyLog::from_entries(&log.extract(&among(log)))?;
            if self.is_own(&person.family) {
                ours = Some(extract);
            } else {
                theirs.push(extract);
            }
        }
        Ok((
            ours.ok_or(CommandError::Group)?,
            theirs.into_iter().collect(),
        ))
    }
}

fn sorted(children: &[Person]) -> Vec<Person> {
    let mut children = children.to_vec();
    children.sort_unstable();
    children.dedup();
    children
}

pub(super) fn people_to_wire(people: &[Person]) -> Vec<wire::Person> {
    let person = |person: &Person| wire::Person {
        family: person.family.to_bytes(),
        member: person.member.to_bytes(),
    };
    people.iter().map(person).collect()
}

pub(super) fn people(people: &[wire::Person]) -> Vec<Person> {
    let person = |person: &wire::Person| {
        Some(Person {
            family: FamilyId::try_from(&person.family).ok()?,
            member: crate::ids::MemberId::try_from(&person.member).ok()?,
        })
    };
    people.iter().filter_map(person).collect()
}
