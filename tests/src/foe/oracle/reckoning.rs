//! What has to hold once all is quiet: everyone is together, and nothing is missing unsaid.

use std::collections::{BTreeMap, BTreeSet};

use kinline_protocol::ids::{ContentId, ConversationId, DeviceId};

use super::Oracle;
use crate::foe::device::Look;

impl Oracle {
    fn waits_for(&self, id: ConversationId, device: DeviceId) -> bool {
        let known = self.admitted.get(&device);
        known.is_some_and(|known| !known.retired)
            && !self.expelled.contains(&device)
            && self.joined.contains(&(device, id))
            && !self.removals.contains(&(id, device))
            // Of a past that was destroyed a device may know nothing that the others do, and
            // nobody is left who could bring it back.
            && !self.forked.contains(&id)
            && !self.spoilt.contains(&id)
            && !self.is_unsettled(id)
    }

    /// After all is quiet: everyone who came in is in the same epoch with the same leaves.
    pub fn agree(&mut self, looks: &[(DeviceId, ConversationId, Look)]) {
        let mut first: BTreeMap<ConversationId, (u64, BTreeSet<DeviceId>)> = BTreeMap::new();
        for (device, id, look) in looks {
            if !self.waits_for(*id, *device) {
                continue;
            }
            let leaves: BTreeSet<DeviceId> = look.leaves.iter().map(|leaf| leaf.device).collect();
            let here = (look.epoch, leaves);
            let there = first.entry(*id).or_insert_with(|| here.clone());
            if *there != here {
                let what = format!(
                    "{} device is in epoch {} of {:?} with {} leaves, another in {} with {}",
                    self.name(*device),
                    here.0,
                    look.context.title,
                    here.1.len(),
                    there.0,
                    there.1.len()
                );
                self.fault(what);
            }
        }
    }

    /// After all is quiet: everything is shown to everyone, or visibly given up.
    pub fn nothing_is_missing(&mut self) {
        let mut wrong = Vec::new();
        for (content, written) in &self.written {
            if self.is_unsettled(written.conversation)
                || !self.waits_for(written.conversation, written.by)
            {
                continue;
            }
            for device in &written.to {
                let settled = !self.waits_for(written.conversation, *device)
                    || self.has(*device, *content)
                    || self.does_without(*device, written)
                    || self.withheld.contains(&(*device, *content))
                    || self.given_up.contains(&(*content, *device))
                    || self.refused.contains(&(written.by, *device));
                if !settled {
                    wrong.push(format!(
                        "{} content {} never reached {} device, and nobody was told",
                        self.name(written.by),
                        written.number(),
                        self.name(*device)
                    ));
                }
            }
        }
        for what in wrong {
            self.fault(what);
        }
    }

    /// Whether a device is (still) a reader of a conversation that can be mended.
    #[must_use]
    pub fn is_reader(&self, id: ConversationId, device: DeviceId) -> bool {
        self.waits_for(id, device)
    }

    /// Whether a content is on a device's screen.
    #[must_use]
    pub fn is_shown(&self, device: DeviceId, content: ContentId) -> bool {
        self.has(device, content)
    }

    /// How many contents were written.
    #[must_use]
    pub fn contents(&self) -> usize {
        self.written.len()
    }
}
