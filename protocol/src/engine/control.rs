//! What devices say to each other: contents that are ordered, confirmed and sent again like
//! messages, and acted on in place of being shown.

use super::device::Engine;
use super::io::Event;
use super::state::Cx;
use crate::content::{Content, Control};
use crate::ids::ConversationId;

impl Engine {
    /// Another device's control content: in its sender's order, and once.
    pub(super) fn controlled(
        &mut self,
        id: ConversationId,
        content: &Content,
        control: &Control,
        cx: &mut Cx<'_>,
    ) {
        cx.event(Event::Control {
            conversation: id,
            sender: content.sender,
            control: control.clone(),
        });
    }
}
