//! Whether a conversation is as this device's family wants it, at this moment: what may be
//! sent into it, and what that comes out of it may be shown. The gate judges changes by what
//! all members share; this judges the present by all that this device knows (PROTOCOL §6.10).

use super::device::Engine;
use super::errors::CommandError;
use super::io::{Event, Silence};
use super::state::{Cx, Room};
use crate::content::Body;
use crate::conversation::{ConversationKind, Parties, Person};
use crate::day::Timestamp;
use crate::faults::{Fault, planted};
use crate::identity::{Certificate, Role, Supervision};
use crate::ids::{ConversationId, DeviceId};

impl Engine {
    /// Whether contents may go into a conversation now; says so when that changes.
    pub(super) fn is_in_order(&mut self, id: ConversationId, cx: &mut Cx<'_>) -> bool {
        let Some(room) = self.rooms.get(&id) else {
            return false;
        };
        // Its commits take out whoever has to go.
        if matches!(room.kind, ConversationKind::Family | ConversationKind::Link) {
            return true;
        }
        let silence = self.silence(room, cx.now);
        if let Some(room) = self
            .rooms
            .get_mut(&id)
            .filter(|room| room.silence != silence)
        {
            room.silence = silence;
            cx.event(Event::Silent {
                conversation: id,
                why: silence,
            });
        }
        silence.is_none()
    }

    /// Whether this device may write this there at all.
    ///
    /// # Errors
    /// [`CommandError::NotAllowed`].
    pub(super) fn check_rights(
        &self,
        id: ConversationId,
        body: &Body,
        cx: &Cx<'_>,
    ) -> Result<(), CommandError> {
        let room = self.rooms.get(&id).ok_or(CommandError::NoConversation)?;
        if self.has_left(room) {
            return Err(CommandError::Removed);
        }
        if room.kind != ConversationKind::Contact {
            let people = room.kind != ConversationKind::Link || matches!(body, Body::Control(_));
            return if people {
                Ok(())
            } else {
                Err(CommandError::NotAllowed)
            };
        }
        let own = self
            .certificate_in(id, self.device())
            .ok_or(CommandError::Removed)?;
        let people = self.people_in(id);
        if !self.is_forming(id) && people.iter().all(|other| other.family == own.family) {
            return Err(CommandError::Over);
        }
        // While it forms, those it is for are not in it yet.
        if self.is_forming(id) || self.may_say(room, &own, body, cx.now) {
            Ok(())
        } else {
            Err(CommandError::NotAllowed)
        }
    }

    /// Why nothing is sent into a conversation for now; `None` when all is well.
    pub(super) fn silence(&self, room: &Room, now: Timestamp) -> Option<Silence> {
        if room.lost {
            return Some(Silence::Lost);
        }
        if room.is_silenced() {
            return Some(Silence::Forked);
        }
        let newest = self.newest_parties(room);
        let day = self.today(now);
        let devices = room.conversation.devices();
        let people = newest.certificates_of(&devices);
        let stranger = people.len() < devices.len()
            || people
                .iter()
                .any(|holder| newest.may_be_in(room.kind, holder, &people, day).is_err());
        if stranger {
            return Some(Silence::SomebodyHasToGo);
        }
        if !room.kind.crosses_families() || room.kind == ConversationKind::Link {
            return None;
        }
        // Our own first: without our guardians we don't hear theirs either.
        if let Some(stale) = newest
            .logs()
            .map(crate::identity::FamilyLog::family)
            .filter(|family| !self.is_fresh(family, now))
            .max_by_key(|family| self.is_own(family))
        {
            return Some(if self.is_own(&stale) {
                Silence::Lease
            } else {
                Silence::FriendsLease
            });
        }
        if self.lacks_supervision(&newest, &people, now) {
            return Some(Silence::Supervision);
        }
        None
    }

    /// Whether a pass wants a guardian of this device's family in the room, and none is.
    fn lacks_supervision(&self, newest: &Parties, people: &[Certificate], now: Timestamp) -> bool {
        let Some(own) = &self.log else { return true };
        let family = own.family();
        let wanted = newest
            .passes_among(people, self.today(now))
            .into_iter()
            .filter_map(|pass| pass.side_of(&family))
            .any(|side| side.supervision == Supervision::Everything);
        wanted
            && !planted(Fault::Supervision)
            && !people.iter().any(|person| {
                person.family == family && newest.is_supervised_by(person, people, self.today(now))
            })
    }

    /// Whether what a device says may be shown (or, for our own, said) in this conversation.
    pub(super) fn may_say(
        &self,
        room: &Room,
        holder: &Certificate,
        body: &Body,
        now: Timestamp,
    ) -> bool {
        // Who is out neither says nor hears anything, not even what gaps held back.
        if !room.conversation.is_active() {
            return false;
        }
        match (room.kind, body) {
            (ConversationKind::Link, Body::Control(_)) => holder.role == Role::Guardian,
            (ConversationKind::Link, _) => false,
            (ConversationKind::Family | ConversationKind::Room, _) => true,
            (ConversationKind::Contact, _) => self.may_say_to_contacts(room, holder, body, now),
        }
    }

    fn may_say_to_contacts(
        &self,
        room: &Room,
        holder: &Certificate,
        body: &Body,
        now: Timestamp,
    ) -> bool {
        let newest = self.newest_parties(room);
        let day = self.today(now);
        let people = newest.certificates_of(&room.conversation.devices());
        if newest.may_be_in(room.kind, holder, &people, day).is_err() {
            return false;
        }
        let writes = match holder.role {
            Role::Child => true,
            Role::Guardian => newest
                .guardian_in(Person::from(holder), &people, day)
                .unwrap_or(false),
        };
        let kind = body.kind_bit();
        let kinds = newest
            .passes_among(&people, day)
            .into_iter()
            .all(|pass| kind & !pass.kinds() == 0);
        (writes || matches!(body, Body::Control(_))) && kinds
    }

    /// The people of a conversation by the newest that this device knows.
    pub(super) fn people_in(&self, id: ConversationId) -> Vec<Certificate> {
        self.rooms.get(&id).map_or_else(Vec::new, |room| {
            let devices: Vec<DeviceId> = room.conversation.devices();
            self.newest_parties(room).certificates_of(&devices)
        })
    }
}
