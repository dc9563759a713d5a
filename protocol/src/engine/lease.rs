//! Time and leases: guardians' devices sign the head of their log every day, and only their
//! heads move a device's notion of now. Without a recent one a device talks to its own family
//! only (PROTOCOL §7.7, §7.8).

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::content::Control;
use crate::conversation::ConversationKind;
use crate::day::{Day, Timestamp};
use crate::faults::{Fault, planted};
use crate::identity::{
    Clock, FamilyLog, HeadError, Heard, Role, SignedHead, clock_record, read_clock_record,
    sign_head,
};
use crate::ids::{ConversationId, DeviceId, FamilyId};
use crate::limits;
use crate::wire;

impl Engine {
    /// The day as best known: what guardians told and the days counted since; this device's
    /// own clock while they have told nothing.
    pub(super) fn today(&self, now: Timestamp) -> Day {
        match &self.clock {
            Some(clock) => clock.today(now.day()),
            None => now.day(),
        }
    }

    /// The day that is signed into changes: not much later than what guardians told, so that a
    /// tablet whose clock runs ahead stops no conversation for the others.
    pub(super) fn signed_day(&self, now: Timestamp) -> Day {
        let today = self.today(now);
        let told = self.clock.as_ref().and_then(Clock::now);
        // While the own clock counts right, heads confirm the day and set nothing.
        let own = self.log.as_ref().map(FamilyLog::family);
        let heard = own.and_then(|own| self.lease.newest(&own));
        told.max(heard).map_or(today, |told| {
            today.min(told.plus(limits::CLOCK_AHEAD_DAYS_MAX))
        })
    }

    /// Whether a guardian of a family has signed its head within that family's lease.
    pub(super) fn is_fresh(&self, family: &FamilyId, now: Timestamp) -> bool {
        let days = self
            .latest(family)
            .map_or(0, |log| log.settings().lease_days);
        self.lease.is_fresh(family, days, self.today(now)) || planted(Fault::Lease)
    }

    /// Whether what a device of another family says waits for a guardian's head: of ours, or
    /// of its own.
    pub(super) fn lease_rests(&self, id: ConversationId, sender: DeviceId, now: Timestamp) -> bool {
        let contact = self
            .rooms
            .get(&id)
            .is_some_and(|room| room.kind == ConversationKind::Contact);
        let Some(holder) = contact
            .then(|| self.certificate_in(id, sender))
            .flatten()
            .filter(|holder| !self.is_own(&holder.family))
        else {
            return false;
        };
        let own = self.log.as_ref().map(FamilyLog::family);
        !own.is_some_and(|own| self.is_fresh(&own, now)) || !self.is_fresh(&holder.family, now)
    }

    /// Looks at this device's own clock: when it was set back, days are counted from there,
    /// and a lease runs out all the same. Keeps how long it has run, every hour.
    pub(super) fn observe_clock(&mut self, cx: &mut Cx<'_>) {
        let own = cx.now.day();
        if let Some(clock) = &mut self.clock {
            clock.observe(own);
        }
        self.save_clock(cx);
    }

    fn save_clock(&self, cx: &mut Cx<'_>) {
        if let Some(clock) = &self.clock {
            let record = clock_record(clock, &self.lease);
            cx.put_message(records::state(records::CLOCK, &[]), &record);
        }
    }

    /// The clock of this device's family, once it has one.
    fn clock_mut(&mut self) -> Option<&mut Clock> {
        let family = self.log.as_ref()?.family();
        Some(
            self.clock
                .get_or_insert_with(|| Clock::new(family, limits::BUILD_DAY)),
        )
    }

    pub(super) fn load_clock(&mut self) {
        let family = self.log.as_ref().map(FamilyLog::family);
        if let Some((family, record)) = family.zip(self.clock_record.take()) {
            let (clock, lease) = read_clock_record(&record, family, limits::BUILD_DAY);
            self.clock = Some(clock);
            self.lease = lease;
        }
    }

    // ---- the guardian's device

    /// Signs the head of today, unless a guardian has; and one for every step that other
    /// families have to hear of.
    pub(super) fn tend_heads(&mut self, cx: &mut Cx<'_>) {
        if !self.session.is_attached() || !self.session.is_caught_up() {
            return;
        }
        let Some((log, key)) = self.log.clone().zip(self.identity_key()) else {
            return;
        };
        let guardian = log
            .certificate(&self.device())
            .is_some_and(|certificate| certificate.role == Role::Guardian);
        let Some(family) = self.family_conversation().filter(|_| guardian) else {
            return;
        };
        let talks = self
            .rooms
            .get(&family)
            .is_some_and(|room| room.can_talk() && room.conversation.devices().len() > 1);
        if !talks {
            return;
        }
        let today = self.today(cx.now);
        let newest = self.heads.get(&log.family());
        let signed_today = self
            .lease
            .newest(&log.family())
            .is_some_and(|day| day >= today);
        let behind = newest.is_none_or(|head| self.statements_of(head) < log.len());
        if signed_today && !(behind && self.has_friends()) {
            return;
        }
        let head = sign_head(&log, today, false, &key).encode_to_vec();
        self.spread_head(family, head.into(), cx);
    }

    /// Has this device's head heard at home, and by the families it is linked with.
    fn spread_head(&mut self, family: ConversationId, head: Bytes, cx: &mut Cx<'_>) {
        self.hear_head(family, &head, cx);
        self.say(family, Control::Head(head), cx);
    }

    /// A guardian says what day it is, although clocks say otherwise.
    ///
    /// # Errors
    /// [`CommandError::NotGuardian`], [`CommandError::NoFamily`].
    pub(super) fn correct_time(&mut self, day: Day, cx: &mut Cx<'_>) -> Result<(), CommandError> {
        let log = self.log.clone().ok_or(CommandError::NoFamily)?;
        let family = self.family_conversation().ok_or(CommandError::NoFamily)?;
        let key = self.identity_key().ok_or(CommandError::NotGuardian)?;
        let head = sign_head(&log, day, true, &key).encode_to_vec();
        self.spread_head(family, head.into(), cx);
        Ok(())
    }

    fn statements_of(&self, head: &Bytes) -> u64 {
        wire::SignedHead::decode(head.clone())
            .ok()
            .and_then(|signed| wire::Head::decode(signed.head).ok())
            .map_or(0, |head| head.statements)
    }

    fn has_friends(&self) -> bool {
        !self.record.lost_links.is_empty()
            || self
                .rooms
                .values()
                .any(|room| room.kind == ConversationKind::Link && room.can_talk())
    }

    // ---- every device

    /// Hears a guardian's head, of whichever family.
    pub(super) fn hear_head(&mut self, id: ConversationId, bytes: &Bytes, cx: &mut Cx<'_>) {
        let signed = wire::SignedHead::decode(bytes.clone());
        let Some(signed) = signed
            .ok()
            .and_then(|signed| SignedHead::from_wire(&signed).ok())
        else {
            return self.unreadable("a head of a family log is damaged", cx);
        };
        let family = signed.family();
        let Some(log) = self.latest(&family) else {
            // Of a family that nobody here has to do with.
            return;
        };
        let head = match signed.verify(log) {
            Ok(head) => head,
            Err(error @ HeadError::Fork) => {
                cx.event(Event::LogForked { conversation: id });
                return self.unreadable(&error.to_string(), cx);
            }
            Err(HeadError::Unknown { .. }) => return self.look_at_home(&family),
            Err(error) => return self.unreadable(&error.to_string(), cx),
        };
        let own = cx.now.day();
        if self.is_own(&family) {
            let heard = self.clock_mut().map(|clock| clock.hear(&head, own));
            match heard {
                Some(Heard::Ahead { head, own }) => {
                    cx.event(Event::TimeAhead { told: head, own });
                }
                Some(Heard::Corrected { to, .. }) => {
                    self.lease.corrected(to);
                    cx.event(Event::TimeCorrected { day: to });
                }
                _ => {}
            }
        }
        let today = self.today(cx.now);
        let fresher = self.lease.hear(&head, today);
        let known = self
            .heads
            .get(&family)
            .map_or(0, |head| self.statements_of(head));
        if fresher || head.statements() > known {
            cx.put(
                records::state(records::HEAD, &[family.as_bytes()]),
                bytes.to_vec(),
            );
            self.heads.insert(family, bytes.clone());
            self.news_due = true;
        }
        self.save_clock(cx);
    }

    /// A head of our own family speaks of decisions that are not here yet.
    fn look_at_home(&mut self, family: &FamilyId) {
        if !self.is_own(family) {
            return;
        }
        let home = self.family_conversation();
        if let Some(room) = home.and_then(|id| self.rooms.get_mut(&id)) {
            room.synced = false;
        }
    }
}
