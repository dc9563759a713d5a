//! A guardian who is back asks other families' guardians to be let into their links again
//! (PROTOCOL §7.10): where no other guardian of the family is in a link, nobody else can, and
//! without it the children's friends would hear of no lease any more.

use bytes::Bytes;
use prost::Message as _;

use super::device::Engine;
use super::reconcile::shown_to;
use super::state::Cx;
use crate::content::LogNews;
use crate::conversation::{Parties, check_key_package};
use crate::identity::{FamilyLog, Role};
use crate::ids::{ConversationId, FamilyId};
use crate::wire;

/// Whoever was asked may be off: they are asked again so often.
const AGAIN_MS: u64 = 600_000;

impl Engine {
    /// Whether this device's guardian was linked with a family there before it lost everything.
    pub(super) fn was_linked(&self, id: ConversationId, family: &FamilyId) -> bool {
        self.record.lost_links.iter().any(|link| {
            link.conversation.as_ref() == id.as_bytes() && link.family.as_ref() == family.as_bytes()
        })
    }

    /// Asks to be let into the links that are still missing.
    pub(super) fn tend_links(&mut self, cx: &mut Cx<'_>) {
        if self.record.lost_links.is_empty() || !self.can_decide() || self.own_guardian().is_none()
        {
            return;
        }
        let before = self.record.lost_links.len();
        let mut links = core::mem::take(&mut self.record.lost_links);
        let over = self.today(cx.now).0 > self.record.lost_links_until_day;
        links.retain(|link| {
            if over {
                return false;
            }
            let id = ConversationId::try_from(&link.conversation);
            id.is_ok_and(|id| !self.rooms.contains_key(&id))
        });
        self.record.lost_links = links;
        if self.record.lost_links.len() != before {
            self.save_device(cx);
        }
        if self.links_at.is_some_and(|at| at > cx.now) {
            return;
        }
        // Today's head has to vouch for the log that says who is back.
        let Some(log) = self.log.clone() else { return };
        let Some(head) = self.vouching_head(&log) else {
            return;
        };
        self.links_at = Some(cx.now.plus_ms(AGAIN_MS));
        for link in self.record.lost_links.clone() {
            self.ask_link(&link, &log, &head, cx);
        }
    }

    fn ask_link(&mut self, link: &wire::VaultLink, log: &FamilyLog, head: &Bytes, cx: &mut Cx<'_>) {
        // One for all times that it is asked until this program is started anew.
        let key = link.conversation.to_vec();
        let key_package = match self.link_packages.get(&key) {
            Some(key_package) => key_package.clone(),
            None => {
                let Ok(made) = self.new_key_package(None, cx) else {
                    return;
                };
                let made = Bytes::from(made);
                self.link_packages.insert(key, made.clone());
                made
            }
        };
        // What a link shows: guardians, and what both families have in common.
        let other = FamilyId::try_from(&link.family);
        let passes = log.passes().iter().filter(|(_, entry)| {
            let side = entry.pass.other_side(&log.family());
            side.is_some_and(|side| Ok(side.family) == other)
        });
        let shown = crate::identity::Shown {
            passes: passes.map(|(id, _)| *id).collect(),
            ..shown_to(log, &Parties::default())
        };
        let asked = wire::LinkReturn {
            conversation: link.conversation.clone(),
            news: Some(wire::LogNews {
                family: log.family().to_bytes(),
                entries: log.extract(&shown),
                head: head.clone(),
                from: 0,
            }),
            key_package,
        };
        self.ask_to_return(&link.addresses, asked.encode_to_vec(), cx);
    }

    /// A guardian of another family, who says that it is back, asks to be let in again.
    pub(super) fn link_return(&mut self, id: ConversationId, payload: &[u8], cx: &mut Cx<'_>) {
        let asked = wire::LinkReturn::decode(payload).ok();
        let news = asked.as_ref().and_then(|asked| asked.news.clone());
        let family = news
            .as_ref()
            .and_then(|it| FamilyId::try_from(&it.family).ok());
        let (Some(asked), Some(news), Some(family)) = (asked, news, family) else {
            return self.unreadable("it asks to be let in again without saying how", cx);
        };
        let party = self.rooms.get(&id).is_some_and(|room| {
            room.can_talk() && room.conversation.parties().log(&family).is_some()
        });
        let own = self.is_own(&family) || self.own_guardian().is_none();
        if own || !party || asked.conversation.as_ref() != id.as_bytes() {
            return self.unreadable("it asks to be let in where it has no place", cx);
        }
        let news = LogNews {
            family,
            from: news.from,
            entries: news.entries,
            head: news.head,
        };
        self.take_news(id, &news, cx);
        let Ok(package) = check_key_package(&self.crypto, &asked.key_package) else {
            return self.unreadable("a key package is damaged", cx);
        };
        let holder = self
            .latest(&family)
            .and_then(|log| log.certificate(&package.device));
        let certified = holder.is_some_and(|holder| {
            holder.role == Role::Guardian && holder.signature_key == package.signature_key
        });
        let there = self
            .rooms
            .get(&id)
            .is_some_and(|room| room.conversation.leaf(package.device).is_some());
        if !certified {
            return self.unreadable("it asks to be let in as a device that is no guardian's", cx);
        }
        let queued = self.operations.values().any(|operation| {
            operation.conversation.as_ref() == id.as_bytes() && !operation.key_packages.is_empty()
        });
        if there || queued {
            return;
        }
        let operation = wire::OperationRecord {
            conversation: id.to_bytes(),
            key_packages: vec![asked.key_package],
            reconcile: true,
            ..wire::OperationRecord::default()
        };
        self.queue_operation(operation, cx);
    }
}
