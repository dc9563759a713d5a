//! Who is who, and who still is: certificates by the newest that this device knows of each
//! family's log, and what happens when logs say more.

use super::device::Engine;
use super::errors::CommandError;
use super::io::Event;
use super::records;
use super::state::Cx;
use crate::conversation::ConversationKind;
use crate::identity::{Certificate, FamilyLog, LogError};
use crate::ids::{ConversationId, DeviceId, FamilyId, MemberId};
use crate::wire;
use prost::Message as _;

impl Engine {
    /// The newest that this device knows of a family's log.
    pub(super) fn latest(&self, family: &FamilyId) -> Option<&FamilyLog> {
        match &self.log {
            Some(own) if own.family() == *family => Some(own),
            _ => self.friends.get(family),
        }
    }

    /// Why this device is nobody's.
    pub(super) fn no_family(&self) -> CommandError {
        if self.log.is_some() {
            CommandError::OutOfFamily
        } else {
            CommandError::NoFamily
        }
    }

    pub(super) fn is_own(&self, family: &FamilyId) -> bool {
        self.log.as_ref().is_some_and(|own| own.family() == *family)
    }

    /// Whose device this is in a conversation: certified there, and not put out of its family
    /// since, as far as this device knows.
    pub(super) fn certificate_in(
        &self,
        id: ConversationId,
        device: DeviceId,
    ) -> Option<Certificate> {
        let room = self.rooms.get(&id)?;
        // Its commits take out whoever the family puts out.
        if room.kind == ConversationKind::Family {
            return room.conversation.parties().certificate(&device);
        }
        self.newest_parties(room).certificate(&device)
    }

    pub(super) fn member_in(&self, id: ConversationId, device: DeviceId) -> Option<MemberId> {
        self.certificate_in(id, device)
            .map(|certificate| certificate.member)
    }

    /// A member's name in its family's log; of one who was removed, the last one.
    pub(super) fn name_in(&self, id: ConversationId, member: MemberId) -> String {
        let logs = self.rooms.get(&id).into_iter();
        logs.flat_map(|room| room.conversation.parties().logs())
            .chain(&self.log)
            .find_map(|log| log.name_ever(&member))
            .map_or_else(String::new, str::to_owned)
    }

    /// The name of a member of this device's family.
    pub(super) fn member_name(&self, member: MemberId) -> String {
        let entry = self.log.as_ref().and_then(|log| log.members().get(&member));
        entry.map_or_else(String::new, |entry| entry.name.clone())
    }

    /// Takes in what a conversation's logs say. Our own log moves with the family
    /// conversation alone; another one that says more has us look there.
    pub(super) fn learn(&mut self, id: ConversationId, cx: &mut Cx<'_>) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let kind = room.kind;
        for log in room.conversation.parties().clone().logs() {
            if kind == ConversationKind::Family {
                self.replace_log(log.clone(), cx);
            } else {
                self.hear_log(id, log, cx);
            }
        }
    }

    /// Compares a log with what is known of that family.
    pub(super) fn hear_log(&mut self, id: ConversationId, log: &FamilyLog, cx: &mut Cx<'_>) {
        let family = log.family();
        if self.is_own(&family) {
            self.compare_own(id, log, cx);
            return;
        }
        let merged = match self.friends.get(&family) {
            Some(known) => known.merged(&log.entries()),
            None => Ok(log.clone()),
        };
        match merged {
            Ok(merged) => {
                if self.friends.get(&family) == Some(&merged) {
                    return;
                }
                let record = wire::PartyNews {
                    family: family.to_bytes(),
                    from: 0,
                    entries: merged.entries(),
                };
                cx.put_message(
                    records::state(records::FRIEND, &[family.as_bytes()]),
                    &record,
                );
                self.friends.insert(family, merged);
                self.reconcile_due = true;
                self.news_due = true;
            }
            Err(error) => self.report_past(id, &error, cx),
        }
    }

    fn compare_own(&mut self, id: ConversationId, log: &FamilyLog, cx: &mut Cx<'_>) {
        let Some(own) = &self.log else { return };
        if own.contains_head(log.head()) {
            return;
        }
        if log.contains_head(own.head()) {
            // The family has decided something that was not walked here yet.
            let family = self.family_conversation();
            if let Some(room) = family.and_then(|family| self.rooms.get_mut(&family)) {
                room.synced = false;
            }
            return;
        }
        self.report_past(id, &LogError::Fork, cx);
    }

    fn report_past(&mut self, id: ConversationId, error: &LogError, cx: &mut Cx<'_>) {
        self.counters.refused += 1;
        if *error == LogError::Fork {
            cx.event(Event::LogForked { conversation: id });
        }
        cx.event(Event::Refused {
            conversation: id,
            sentence: error.to_string(),
        });
    }

    /// The family conversation and its next epoch, when a welcome speaks of decisions of our
    /// family that are not here yet.
    pub(super) fn next_family_epoch(&self, welcome: &[u8]) -> Option<(ConversationId, u64)> {
        let own = self.log.as_ref()?;
        let package = wire::WelcomePackage::decode(welcome).ok()?;
        let ahead = package.logs.iter().any(|news| {
            news.family.as_ref() == own.family().as_bytes() && news.entries.len() as u64 > own.len()
        });
        let family = self.family_conversation().filter(|_| ahead)?;
        let epoch = self.rooms.get(&family)?.conversation.epoch();
        Some((family, epoch.saturating_add(1)))
    }
}
