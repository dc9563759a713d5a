//! Names of the records a device keeps (PROTOCOL §11). Values are the protobuf messages of
//! `device.proto` that end in `Record`, but for MLS state, which is OpenMLS's own.

use super::io::{RecordClass, RecordKey};
use crate::ids::{ContentId, ConversationId, DeviceId, MemberId};

/// Version of everything a device stores; an older engine refuses a newer store.
pub(super) const VERSION: u32 = 1;

pub(super) const DEVICE: &[u8] = b"device";
pub(super) const GENERATION: &[u8] = b"generation";
pub(super) const LOG: &[u8] = b"l/";
/// Another family's log, as far as this device was shown it: by family.
pub(super) const FRIEND: &[u8] = b"y/";
/// A family's log as a conversation sees it: by conversation and family.
pub(super) const PARTY: &[u8] = b"a/";
pub(super) const CONVERSATION: &[u8] = b"c/";
pub(super) const MLS: &[u8] = b"g/";
pub(super) const KEY_PACKAGE: &[u8] = b"k/";
pub(super) const PEER_KEY_PACKAGE: &[u8] = b"p/";
pub(super) const OUTGOING: &[u8] = b"o/";
pub(super) const SEND: &[u8] = b"s/";
pub(super) const OPERATION: &[u8] = b"q/";
pub(super) const HELD: &[u8] = b"h/";
/// What guardians' heads said about time.
pub(super) const CLOCK: &[u8] = b"clock";
/// How far the operator's log was read.
pub(super) const OPERATOR: &[u8] = b"operator";
/// What the operator said and nobody acknowledged yet, by index of its entry.
pub(super) const OPERATOR_NOTICE: &[u8] = b"notice/";
/// The newest head of a family, by family.
pub(super) const HEAD: &[u8] = b"d/";
/// At a guardian: what a child's device has entrusted to this one, by device.
pub(super) const WARD: &[u8] = b"w/";
pub(super) const REVOCATION: &[u8] = b"v/";
/// Of another guardian, by salt.
pub(super) const PROPOSAL: &[u8] = b"j/";
/// A contact pass on its way, by its id.
pub(super) const PASS: &[u8] = b"pass/";
/// A group on its way, by its id.
pub(super) const GROUP: &[u8] = b"group/";
/// What was last told about a family, by conversation and family.
pub(super) const TOLD: &[u8] = b"u/";
/// A picture of which the family gets a copy, by content.
pub(super) const COPY: &[u8] = b"copy/";
/// A guardian's wish to come back that this device has heard of, by the device that asks.
pub(super) const RETURN: &[u8] = b"return/";
/// The newest version of a guardian's vault that was said in the family, by member.
pub(super) const VAULT: &[u8] = b"vault/";
/// By mailbox.
pub(super) const CLOSING: &[u8] = b"z/";
pub(super) const INDEX: &[u8] = b"i/";
pub(super) const GARBAGE: &[u8] = b"x/";
/// An attachment that was fetched, until its sender is told: by conversation, sender and content.
pub(super) const FETCHED: &[u8] = b"f/";
/// How many messages a child sent to others today.
pub(super) const DAY_COUNT: &[u8] = b"day-count";
/// A content that waits for the end of quiet time, by order of showing.
pub(super) const RESTING: &[u8] = b"n/";

/// How far a conversation's history has come in, by conversation.
pub(super) const PAST: &[u8] = b"past/";
/// What was said about a message that is still to come: by conversation, target and content.
pub(super) const LATE: &[u8] = b"late/";
/// A piece of history that a device asked for: by conversation and device.
pub(super) const GIVING: &[u8] = b"give/";
/// An erasure that this device asked for: by member; empty: the family.
pub(super) const ERASE: &[u8] = b"erase/";
/// An attachment that a device asked for: by conversation, device and content.
pub(super) const MEDIA_WANTED: &[u8] = b"want/";
/// An attachment that this device asked others for: by conversation and content.
pub(super) const MEDIA_SOUGHT: &[u8] = b"sought/";

/// History: a shown content, by conversation and order of showing.
pub(super) const MESSAGE: &[u8] = b"m/";
/// History: a reaction, by conversation, target and member.
pub(super) const REACTION: &[u8] = b"r/";
/// History: new words, by conversation and target.
pub(super) const EDIT: &[u8] = b"e/";
/// History: a content that nobody sees any more although it is kept, by conversation and target.
pub(super) const VEIL: &[u8] = b"v/";
/// History: how far a content of ours got, by conversation, content and device: 1 delivered, 2 read, 3 fetched.
pub(super) const RECEIPT: &[u8] = b"t/";

/// History: the signed content of an edit, by conversation and target.
pub(super) const EDIT_SAID: &[u8] = b"es/";
/// History: the signed content of a reaction, by conversation, target and member.
pub(super) const REACTION_SAID: &[u8] = b"rs/";
/// History: where an attachment lies that another device put up again, by conversation and content.
pub(super) const MEDIA: &[u8] = b"mp/";

pub(super) fn state(prefix: &[u8], rest: &[&[u8]]) -> RecordKey {
    key(RecordClass::State, prefix, rest)
}

pub(super) fn history(prefix: &[u8], rest: &[&[u8]]) -> RecordKey {
    key(RecordClass::History, prefix, rest)
}

fn key(class: RecordClass, prefix: &[u8], rest: &[&[u8]]) -> RecordKey {
    let mut name = prefix.to_vec();
    for part in rest {
        name.extend_from_slice(part);
    }
    RecordKey { class, name }
}

pub(super) fn number(prefix: &[u8], number: u64) -> RecordKey {
    state(prefix, &[&number.to_be_bytes()])
}

pub(super) fn message(conversation: ConversationId, order: u64) -> RecordKey {
    history(MESSAGE, &[conversation.as_bytes(), &order.to_be_bytes()])
}

pub(super) fn reaction(
    conversation: ConversationId,
    target: ContentId,
    member: MemberId,
) -> RecordKey {
    history(
        REACTION,
        &[
            conversation.as_bytes(),
            target.as_bytes(),
            member.as_bytes(),
        ],
    )
}

pub(super) fn edit(conversation: ConversationId, target: ContentId) -> RecordKey {
    history(EDIT, &[conversation.as_bytes(), target.as_bytes()])
}

pub(super) fn edit_said(conversation: ConversationId, target: ContentId) -> RecordKey {
    history(EDIT_SAID, &[conversation.as_bytes(), target.as_bytes()])
}

pub(super) fn reaction_said(
    conversation: ConversationId,
    target: ContentId,
    member: MemberId,
) -> RecordKey {
    history(
        REACTION_SAID,
        &[
            conversation.as_bytes(),
            target.as_bytes(),
            member.as_bytes(),
        ],
    )
}

pub(super) fn media(conversation: ConversationId, content: ContentId) -> RecordKey {
    history(MEDIA, &[conversation.as_bytes(), content.as_bytes()])
}

pub(super) fn receipt(
    conversation: ConversationId,
    content: ContentId,
    device: DeviceId,
) -> RecordKey {
    history(
        RECEIPT,
        &[
            conversation.as_bytes(),
            content.as_bytes(),
            device.as_bytes(),
        ],
    )
}

pub(super) fn outgoing(conversation: ConversationId, sequence: u64) -> RecordKey {
    state(
        OUTGOING,
        &[conversation.as_bytes(), &sequence.to_be_bytes()],
    )
}

pub(super) fn fetched(
    conversation: ConversationId,
    device: DeviceId,
    content: ContentId,
) -> RecordKey {
    state(
        FETCHED,
        &[
            conversation.as_bytes(),
            device.as_bytes(),
            content.as_bytes(),
        ],
    )
}

pub(super) fn held(conversation: ConversationId, device: DeviceId, sequence: u64) -> RecordKey {
    state(
        HELD,
        &[
            conversation.as_bytes(),
            device.as_bytes(),
            &sequence.to_be_bytes(),
        ],
    )
}
