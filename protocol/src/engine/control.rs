//! What devices say to each other: contents that are ordered, confirmed and sent again like
//! messages, and acted on in place of being shown.

use super::device::Engine;
use super::io::Event;
use super::state::Cx;
use crate::content::{Body, Content, Control, Refusal};
use crate::conversation::ConversationKind;
use crate::ids::ConversationId;

impl Engine {
    /// Says something to the devices in a conversation. What can't be said is of a
    /// conversation that is over, or too long; then this is false.
    pub(super) fn say(&mut self, id: ConversationId, control: Control, cx: &mut Cx<'_>) -> bool {
        let said = self.write(id, Body::Control(control), None, 0, None, cx);
        if let Err(error) = &said {
            self.counters.refused += 1;
            cx.event(Event::Refused {
                conversation: id,
                sentence: error.to_string(),
            });
        }
        said.is_ok()
    }

    /// Tells the guardians what was refused, where that can still be said.
    pub(super) fn tell_refusal(&mut self, id: ConversationId, sentence: &str, cx: &mut Cx<'_>) {
        let home = self
            .family_conversation()
            .filter(|home| *home != id && self.rooms.contains_key(home));
        if let Some(home) = home {
            let refusal = Refusal {
                conversation: id,
                sentence: sentence.chars().take(200).collect(),
            };
            self.say(home, Control::Refusal(refusal), cx);
        }
    }

    /// Another device's control content: in its sender's order, and once.
    pub(super) fn controlled(
        &mut self,
        id: ConversationId,
        content: &Content,
        control: &Control,
        cx: &mut Cx<'_>,
    ) {
        let Some(kind) = self.rooms.get(&id).map(|room| room.kind) else {
            return;
        };
        let home = kind == ConversationKind::Family;
        match (control, kind) {
            (Control::Head(head), ConversationKind::Family) => {
                return self.hear_head(id, head, cx);
            }
            (Control::OperatorSeen(checkpoint), ConversationKind::Family) => {
                return self.operator_seen(checkpoint, cx);
            }
            (Control::News(news), ConversationKind::Family | ConversationKind::Link) => {
                return self.news_told(id, content.sender, news, cx);
            }
            (Control::Proposal(proposal), ConversationKind::Family) => {
                return self.proposed(id, content.sender, proposal, cx);
            }
            (Control::PassOffer(offer), ConversationKind::Link) => {
                return self.pass_offered(id, content.sender, offer, cx);
            }
            (Control::Group(offer), ConversationKind::Link) => {
                return self.group_offered(id, content.sender, offer, cx);
            }
            (Control::Setup(setup), ConversationKind::Family) => {
                return self.set_up(content.sender, setup, cx);
            }
            (Control::ReturnRequest(request), ConversationKind::Family) => {
                return self.return_told(request, cx);
            }
            (Control::VaultNote { member, version }, ConversationKind::Family) => {
                return self.vault_noted(content.sender, *member, *version, cx);
            }
            (Control::Erase(erase), ConversationKind::Family) => {
                return self.erasure_told(id, content, erase, cx);
            }
            (Control::Copy(copy), ConversationKind::Family) => {
                if !self.copy_arrived(id, copy, cx) {
                    return;
                }
            }
            (Control::FriendRequest(_) | Control::Report(_) | Control::Refusal(_), _) if home => {}
            _ => {
                return self.unreadable("it says something that has no place there", cx);
            }
        }
        cx.event(Event::Control {
            conversation: id,
            sender: content.sender,
            control: control.clone(),
        });
    }
}
