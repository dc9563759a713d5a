//! What devices say to each other: contents that are ordered, confirmed and sent again like
//! messages, and acted on in place of being shown.

use super::device::Engine;
use super::io::Event;
use super::state::Cx;
use crate::content::{Body, Content, Control};
use crate::conversation::ConversationKind;
use crate::ids::ConversationId;

impl Engine {
    /// Says something to the devices in a conversation. What can't be said is of a
    /// conversation that is over.
    pub(super) fn say(&mut self, id: ConversationId, control: Control, cx: &mut Cx<'_>) {
        if let Err(error) = self.write(id, Body::Control(control), None, 0, None, cx) {
            self.counters.refused += 1;
            cx.event(Event::Refused {
                conversation: id,
                sentence: error.to_string(),
            });
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
            (Control::Head(head), ConversationKind::Family | ConversationKind::Link) => {
                return self.hear_head(id, head, cx);
            }
            (Control::News(news), ConversationKind::Family) => {
                return self.news_told(id, content.sender, news, cx);
            }
            (Control::Proposal(proposal), ConversationKind::Family) => {
                return self.proposed(id, content.sender, proposal, cx);
            }
            (Control::PassOffer(offer), ConversationKind::Link) => {
                return self.pass_offered(id, content.sender, offer, cx);
            }
            (Control::Setup(setup), ConversationKind::Family) => {
                return self.set_up(content.sender, setup, cx);
            }
            (
                Control::FriendRequest(_)
                | Control::Report(_)
                | Control::Copy(_)
                | Control::Refusal(_),
                _,
            ) if home => {}
            (Control::Leave, ConversationKind::Room | ConversationKind::Contact) => {
                return self.somebody_leaves(id, content.sender, cx);
            }
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
