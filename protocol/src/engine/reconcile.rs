//! Bringing conversations to what the logs say (PROTOCOL §6.11): who has to go, who has to
//! come, which heads have moved. What is to be done is worked out when it is done, so that whichever device
//! comes first does it and the others find nothing left.

use bytes::Bytes;

use super::device::Engine;
use super::errors::CommandError;
use super::state::{Cx, Room};
use crate::conversation::{ConversationKind, Parties, Person, check_key_package};
use crate::day::Day;
use crate::identity::{Certificate, Decision, FamilyLog, Role, Shown, Statement};
use crate::ids::{ConversationId, DeviceId, FamilyId};
use crate::wire;

/// What a commit is to do.
pub(super) struct Plan {
    /// The logs after it.
    pub(super) parties: Parties,
    pub(super) remove: Vec<DeviceId>,
    /// Of devices to add, beside those that the operation names.
    pub(super) key_packages: Vec<Bytes>,
    /// Records of those key packages.
    pub(super) used: Vec<Vec<u8>>,
    pub(super) day: Day,
    /// Who has left by themselves.
    pub(super) left: Vec<Person>,
}

/// A log: more of one past is opened, never less.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LogState {
    family: FamilyId,
    head: [u8; 32],
    shown: usize,
}

/// The newest logs of a conversation's families.
#[derive(Debug, Clone)]
pub(super) struct Newest {
    /// Of each family, the log that the conversation has and the one that this device has.
    of: Vec<(LogState, Option<LogState>)>,
    parties: Parties,
}

impl Engine {
    /// Works out an operation, by the logs as they are now.
    pub(super) fn plan(
        &self,
        id: ConversationId,
        operation: &wire::OperationRecord,
        cx: &mut Cx<'_>,
    ) -> Result<Plan, CommandError> {
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        let before = room.conversation.context()?;
        // What is decided now is not dated before what was changed already.
        let day = self.day_for(room, before.day, cx.now);
        let mut plan = Plan {
            parties: room.conversation.parties().clone(),
            remove: vec![],
            key_packages: vec![],
            used: vec![],
            day,
            left: before.left,
        };
        let children = super::groups::people(&operation.children);
        if !children.is_empty() && self.is_with(&children) {
            // Another device of this child was faster.
            return Err(CommandError::Nothing);
        }
        if operation.leave {
            let own = self
                .certificate_in(id, self.device())
                .ok_or(CommandError::Removed)?;
            plan.left.push(Person::from(&own));
            plan.left.sort_unstable();
            plan.left.dedup();
        }
        if !operation.decisions.is_empty() {
            let log = self.decided(operation, day, cx)?;
            plan.parties = Parties::from(log);
        }
        if !operation.statements.is_empty() {
            let mut log = self.log.clone().ok_or(CommandError::NoFamily)?;
            let said = log.len();
            for signed in &operation.statements {
                let salt = Statement::decode(&signed.statement)?.salt;
                if !log.contains_salt(&salt) {
                    log.append(signed)?;
                }
            }
            if log.len() == said {
                return Err(CommandError::Nothing);
            }
            plan.parties = Parties::from(log);
        }
        if !operation.parties.is_empty() {
            plan.parties = plan.parties.after(&operation.parties)?;
        }
        for device in &operation.remove {
            let device = DeviceId::try_from(device).map_err(|_| CommandError::NoMember)?;
            if self.is_back(room, device, operation) {
                return Err(CommandError::Nothing);
            }
            if room.conversation.leaf(device).is_some() {
                plan.remove.push(device);
            }
        }
        let changes = !operation.decisions.is_empty() || !operation.statements.is_empty();
        if operation.reconcile || changes || !operation.remove.is_empty() {
            self.plan_leaves(room, &mut plan);
        }
        Ok(plan)
    }

    /// Whether a device that an operation is to bring back has come back with that key package,
    /// or a newer one.
    fn is_back(&self, room: &Room, device: DeviceId, operation: &wire::OperationRecord) -> bool {
        let Some(leaf) = room.conversation.leaf(device) else {
            return false;
        };
        operation.key_packages.iter().any(|bytes| {
            check_key_package(&self.crypto, bytes).is_ok_and(|package| {
                package.device == device && package.address.number <= leaf.address.number
            })
        })
    }

    /// Our log with the operation's decisions, signed by this guardian and who else consented.
    fn decided(
        &self,
        operation: &wire::OperationRecord,
        day: Day,
        _cx: &mut Cx<'_>,
    ) -> Result<FamilyLog, CommandError> {
        let mut log = self.log.clone().ok_or(CommandError::NoFamily)?;
        let key = self.identity_key();
        let keys: Vec<_> = key.iter().collect();
        let said = log.len();
        for record in &operation.decisions {
            let decision = Decision::decode(&record.decision)?;
            let salt = record
                .salt
                .as_ref()
                .try_into()
                .map_err(|_| CommandError::Nothing)?;
            if log.contains_salt(&salt) || self.is_returned(&decision, &log) {
                // By a newer copy of this store, or another guardian's yes.
                continue;
            }
            let signed = log.propose_with(decision, salt, record.consents.clone(), &keys, day);
            log.append(&signed)?;
        }
        if log.len() == said {
            return Err(CommandError::Nothing);
        }
        Ok(log)
    }

    /// Who has to go and who has to come, by the newest logs that this device knows.
    fn plan_leaves(&self, room: &Room, plan: &mut Plan) {
        let kind = room.kind;
        let newest = if kind == ConversationKind::Family {
            plan.parties.clone()
        } else {
            self.newest_parties(room)
        };
        let devices = room.conversation.devices();
        let people = newest.certificates_of(&devices);
        let mut own_stays = true;
        for device in &devices {
            let stays = newest.certificate(device).is_some_and(|certificate| {
                newest
                    .may_be_in(kind, &certificate, &people, plan.day)
                    .is_ok()
                    && !plan.left.contains(&Person::from(&certificate))
            });
            // Who has to go brings nobody: the gate would refuse it all.
            own_stays &= stays || *device != self.signer.device;
            // Nobody can take out itself: another does it.
            if !stays && *device != self.signer.device && !plan.remove.contains(device) {
                plan.remove.push(*device);
            }
        }
        let stay: Vec<DeviceId> = devices
            .iter()
            .filter(|device| !plan.remove.contains(device))
            .copied()
            .collect();
        if own_stays {
            self.plan_joiners(room, &stay, &newest, plan);
        }
        let moves = kind == ConversationKind::Link
            || !plan.remove.is_empty()
            || !plan.key_packages.is_empty();
        if moves {
            plan.parties = newest;
        }
    }

    /// Devices of our family that belong into a conversation and are not there yet.
    fn plan_joiners(&self, room: &Room, stay: &[DeviceId], newest: &Parties, plan: &mut Plan) {
        let Some(own) = self.log.as_ref().and_then(|log| newest.log(&log.family())) else {
            return;
        };
        let guardian = own
            .certificate(&self.device())
            .is_some_and(|it| it.role == Role::Guardian);
        let people = newest.certificates_of(stay);
        let present = |person: Person| {
            let lost = person.family == own.family() && room.absent.contains(&person.member);
            lost || people.iter().any(|other| Person::from(other) == person)
        };
        let wanted = |certificate: &Certificate| match room.kind {
            // Whoever was left out when it was formed again follows a guardian alone.
            ConversationKind::Family => guardian,
            ConversationKind::Room => present(Person::from(certificate)),
            ConversationKind::Link => certificate.role == Role::Guardian,
            ConversationKind::Contact => match certificate.role {
                Role::Child => present(Person::from(certificate)),
                Role::Guardian => newest.is_supervised_by(certificate, &people, plan.day),
            },
        };
        for certificate in own.certificates() {
            let known = newest.certificate(&certificate.device).is_some();
            if stay.contains(&certificate.device) || !known || !wanted(&certificate) {
                continue;
            }
            // Who comes back does so with a key package of its own choice.
            let goes = plan.remove.contains(&certificate.device);
            if goes || plan.left.contains(&Person::from(&certificate)) {
                continue;
            }
            let full =
                stay.len() + plan.key_packages.len() + 1 >= crate::limits::CONVERSATION_LEAVES_MAX;
            if let Some((key, key_package)) =
                self.peer_key_package(certificate.device).filter(|_| !full)
            {
                plan.used.push(key);
                plan.key_packages.push(key_package);
            }
        }
    }

    /// The logs of a conversation's families with everything that this device knows more, and
    /// no more of it shown than these families have to do with each other.
    pub(super) fn newest_parties(&self, room: &Room) -> Parties {
        match &room.newest {
            Some(newest) if newest.of == self.states(room) => newest.parties.clone(),
            _ => self.work_out_newest(room),
        }
    }

    /// Works out what has changed: it takes signatures, and is asked for again and again.
    pub(super) fn refresh_newest(&mut self) {
        let crosses = self.rooms.values().filter(|it| it.kind.crosses_families());
        let changed: Vec<_> = crosses
            .map(|room| (room, self.states(room)))
            .filter(|(room, of)| room.newest.as_ref().is_none_or(|newest| newest.of != *of))
            .map(|(room, of)| {
                let parties = self.work_out_newest(room);
                (room.id(), Newest { of, parties })
            })
            .collect();
        for (id, newest) in changed {
            if let Some(room) = self.rooms.get_mut(&id) {
                room.newest = Some(newest);
            }
        }
    }

    /// What the newest logs of a conversation follow from.
    fn states(&self, room: &Room) -> Vec<(LogState, Option<LogState>)> {
        let state = |log: &FamilyLog| LogState {
            family: log.family(),
            head: *log.head(),
            shown: log.statements().len(),
        };
        let seen = room.conversation.parties().logs();
        seen.map(|seen| (state(seen), self.latest(&seen.family()).map(state)))
            .collect()
    }

    fn work_out_newest(&self, room: &Room) -> Parties {
        let seen = room.conversation.parties();
        let mut families: Vec<_> = seen.logs().map(FamilyLog::family).collect();
        // Ours first: what another family claims must not keep our decisions out.
        families.sort_by_key(|family| !self.is_own(family));
        let mut newest = Parties::default();
        for family in families {
            let Some(log) = seen.log(&family).map(|seen| self.newest_log(room, seen)) else {
                continue;
            };
            let together: Parties = newest.logs().cloned().chain([log]).collect();
            // Who claims what belongs to others has nobody certified here.
            if together.is_sound() {
                newest = together;
            }
        }
        newest
    }

    /// A conversation's log with what this device knows more. Where the two are different
    /// pasts, the one that this device knows from elsewhere counts.
    fn newest_log(&self, room: &Room, seen: &FamilyLog) -> FamilyLog {
        let Some(latest) = self.latest(&seen.family()) else {
            return seen.clone();
        };
        let crosses = room.kind.crosses_families();
        if latest.head() == seen.head() && !crosses {
            return seen.clone();
        }
        let entries = if crosses {
            latest.extract(&shown_to(latest, room.conversation.parties()))
        } else {
            latest.entries()
        };
        seen.merged(&entries)
            .or_else(|_| FamilyLog::from_entries(&entries))
            .unwrap_or_else(|_| latest.clone())
    }

    /// Leaves a conversation: says so in its context, and whoever is in it takes this member's
    /// devices out.
    ///
    /// # Errors
    /// [`CommandError::NoConversation`]; nobody leaves the family's.
    pub(super) fn leave(
        &mut self,
        id: ConversationId,
        cx: &mut Cx<'_>,
    ) -> Result<(), CommandError> {
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        if room.kind == ConversationKind::Family {
            return Err(CommandError::NotAllowed);
        }
        if !room.can_talk() {
            return Err(CommandError::Removed);
        }
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            leave: true,
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
        Ok(())
    }

    /// Whether this device's member has left a conversation.
    pub(super) fn has_left(&self, room: &Room) -> bool {
        let own = self
            .log
            .as_ref()
            .and_then(|log| log.certificate(&self.device()));
        let context = room.conversation.context();
        own.zip(context.ok())
            .is_some_and(|(own, context)| context.left.contains(&Person::from(&own)))
    }

    /// Tells who has left with a change.
    pub(super) fn tell_left(&self, id: ConversationId, before: &[Person], cx: &mut Cx<'_>) {
        let Some(Ok(context)) = self.rooms.get(&id).map(|room| room.conversation.context()) else {
            return;
        };
        for person in context
            .left
            .iter()
            .filter(|person| !before.contains(person))
        {
            cx.event(super::io::Event::Left {
                conversation: id,
                member: person.member,
            });
        }
    }

    /// Queues decisions for the family's log, with the devices that they bring in.
    pub(super) fn queue_decisions(
        &mut self,
        family: ConversationId,
        decisions: &[Decision],
        key_packages: Vec<Bytes>,
        cx: &mut Cx<'_>,
    ) {
        let decisions = decisions
            .iter()
            .map(|decision| wire::DecisionRecord {
                decision: decision.encode().into(),
                salt: cx.random16().to_vec().into(),
                consents: vec![],
            })
            .collect();
        let operation = wire::OperationRecord {
            conversation: family.to_bytes(),
            decisions,
            key_packages,
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
    }

    /// Queues what has to be done in each conversation.
    pub(super) fn queue_reconciles(&mut self, cx: &mut Cx<'_>) {
        if !self.reconcile_due || !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        self.reconcile_due = false;
        let operation = |id: ConversationId| wire::OperationRecord {
            conversation: id.to_bytes(),
            reconcile: true,
            ..wire::OperationRecord::default()
        };
        let mut due = Vec::new();
        for (id, room) in &self.rooms {
            let queued = self
                .operations
                .values()
                .any(|op| op.reconcile && op.conversation.as_ref() == id.as_bytes());
            if queued || !room.conversation.is_active() || self.is_forming(*id) {
                continue;
            }
            let needed = self.plan(*id, &operation(*id), cx).is_ok_and(|plan| {
                !plan.remove.is_empty()
                    || !plan.key_packages.is_empty()
                    || plan.parties.heads() != room.conversation.parties().heads()
            });
            if needed {
                due.push(*id);
            }
        }
        for id in due {
            self.queue_operation(operation(id), cx);
        }
    }
}

/// What a family shows of its log to the other families in a conversation.
pub(super) fn shown_to(log: &FamilyLog, parties: &Parties) -> Shown {
    let mut shown = Shown::default();
    for (id, entry) in log.passes() {
        let other = entry.pass.other_side(&log.family());
        if other.is_some_and(|side| parties.log(&side.family).is_some()) {
            shown.passes.insert(*id);
        }
    }
    shown
}
