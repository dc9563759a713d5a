//! What families hear of each other's decisions (PROTOCOL §7.5).
//!
//! Guardians speak in their link. What they hear there they pass on at home, so that the
//! children's devices know it too.

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::parts::{continued, is_part};
use super::reconcile::shown_to;
use super::records;
use super::state::Cx;
use crate::content::{Control, LogNews};
use crate::conversation::ConversationKind;
use crate::identity::{FamilyLog, LogError, Role, SignedHead};
use crate::ids::{ConversationId, DeviceId, FamilyId};
use crate::labels;
use crate::primitives::hash;
use crate::wire;

impl Engine {
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
                    from: 0,
                    entries: own.extract(&shown_to(&own, room.conversation.parties())),
                    head: head.clone(),
                };
                words.push((*id, news));
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
                from: 0,
                entries: log.entries(),
                head,
            };
            words.push((home, news));
        }
        for (id, news) in words {
            let family = news.family;
            if self.say_log(id, news, cx) {
                self.note_told(id, family, cx);
            }
        }
    }

    /// Who just came home has heard no head yet, and would hold back what contacts say until
    /// the next day's.
    pub(super) fn brief_newcomers(&mut self, home: ConversationId, cx: &mut Cx<'_>) {
        if self.guardian_of(self.device()).is_none() {
            return;
        }
        let own = self.log.as_ref().map(FamilyLog::family);
        if let Some(head) = own.and_then(|own| self.heads.get(&own)).cloned() {
            self.say(home, Control::Head(head), cx);
        }
        let told = self.told.keys().filter(|(id, _)| *id == home);
        for (id, family) in told.copied().collect::<Vec<_>>() {
            self.told.remove(&(id, family));
            cx.erase(records::state(
                records::TOLD,
                &[id.as_bytes(), family.as_bytes()],
            ));
        }
        self.news_due = true;
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
        self.take_news(id, news, cx);
    }

    /// What another family's log says, when that family's own head vouches for it, whoever tells.
    pub(super) fn take_news(&mut self, id: ConversationId, news: &LogNews, cx: &mut Cx<'_>) {
        let home = self.family_conversation() == Some(id);
        let log = match (self.friends.get(&news.family), news.from) {
            (Some(known), 0) => known.merged(&news.entries),
            (Some(known), from) => continued(known, from, &news.entries),
            (None, 0) => FamilyLog::from_entries(&news.entries),
            (None, found) => Err(LogError::Hole { expected: 0, found }),
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
            // A part: more follows, which the head is about.
            (Ok(log), Some(head)) if is_part(&log, &head) => self.hear_log(id, &log, cx),
            (Err(error), _) => self.unreadable(&error.to_string(), cx),
            _ => self.unreadable("nobody vouches for what it tells of another family", cx),
        }
    }
}
