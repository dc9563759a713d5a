//! What one device notices, and every guardian should hear of: another past of a log, another
//! epoch, a time that lies ahead, a contact that was refused (PROTOCOL §8.6).

use std::collections::BTreeSet;

use super::device::Engine;
use super::io::Event;
use super::state::Cx;
use crate::content::{Control, Refusal};
use crate::day::Day;
use crate::ids::ConversationId;

/// Sentences that a device tells in a day: what is noticed again and again is said once.
const TOLD_MAX: usize = 32;

/// What was told today. Volatile: a device that is started anew says it again.
#[derive(Default)]
pub(super) struct Noticed {
    day: Option<Day>,
    told: BTreeSet<(ConversationId, String)>,
}

impl Noticed {
    /// Whether this is to be told: not today yet, and not too much.
    fn take(&mut self, day: Day, id: ConversationId, sentence: &str) -> bool {
        if self.day != Some(day) {
            self.day = Some(day);
            self.told.clear();
        }
        self.told.len() < TOLD_MAX && self.told.insert((id, sentence.to_owned()))
    }
}

impl Engine {
    /// Says at home what this step noticed.
    pub(super) fn tell_noticed(&mut self, cx: &mut Cx<'_>) {
        let Some(home) = self.family_conversation() else {
            return;
        };
        let may_say = self.rooms.get(&home).is_some_and(|room| room.can_talk());
        if !may_say || self.member().is_none() {
            return;
        }
        let noticed: Vec<(ConversationId, String)> = cx
            .out
            .events
            .iter()
            .filter_map(|event| noticed(event, home))
            .collect();
        for (conversation, sentence) in noticed {
            if self.noticed.take(cx.now.day(), conversation, &sentence) {
                let refusal = Refusal {
                    conversation,
                    sentence: sentence.chars().take(200).collect(),
                };
                self.say(home, Control::Refusal(refusal), cx);
            }
        }
    }
}

/// Where something was noticed, and what.
fn noticed(event: &Event, home: ConversationId) -> Option<(ConversationId, String)> {
    match event {
        Event::LogForked { conversation } => Some((
            *conversation,
            "a family's log has two pasts: somebody was shown another one than this device".into(),
        )),
        Event::Forked { conversation } => Some((
            *conversation,
            "others are in another epoch than this device, which asks to come back".into(),
        )),
        Event::TimeAhead { told, own } => Some((
            home,
            format!("a guardian's device says that it is {told}, and the own clock says {own}"),
        )),
        Event::OperatorLogCut { known, shown } => Some((
            home,
            format!(
                "the relay shows {shown} entries of its operator's log, and has shown {known} before"
            ),
        )),
        Event::OperatorLogForked { .. } => Some((
            home,
            "the relay's operator has two logs: somebody was shown another one than this device"
                .into(),
        )),
        Event::PassRefused { sentence, .. } => {
            Some((home, format!("a contact was not agreed on: {sentence}")))
        }
        _ => None,
    }
}
