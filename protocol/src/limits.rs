//! Every limit of the protocol, with its arithmetic (PROTOCOL §3.3).

/// An envelope on the wire and at rest: nonce 24 ‖ ciphertext 984 ‖ tag 16.
pub const ENVELOPE_BYTES: usize = 1_024;
/// Plaintext inside an envelope: 1,024 − 24 (nonce) − 16 (tag).
pub const ENVELOPE_PLAINTEXT_BYTES: usize = ENVELOPE_BYTES - 24 - 16;
/// Payload inside an envelope: the plaintext less kind (1) and length (2).
pub const ENVELOPE_PAYLOAD_BYTES_MAX: usize = ENVELOPE_PLAINTEXT_BYTES - 3;
const _: () = assert!(ENVELOPE_PAYLOAD_BYTES_MAX == 981);

/// Leaves of a conversation: a family with eight members of four devices each.
pub const CONVERSATION_LEAVES_MAX: usize = 32;
/// Families in one conversation: children of three families play together.
pub const CONVERSATION_FAMILIES_MAX: usize = 3;
/// The day this version was made (2026-11-01): a clock before it is known to be wrong.
pub const BUILD_DAY: crate::day::Day = crate::day::Day(20_758);
/// Deliveries in one `Send`: one for each other leaf of two full conversations.
pub const SEND_DELIVERIES_MAX: usize = 64;
/// A sealed commit: 32 leaves of X-Wing need about 15 KiB; four times that, a Padmé class.
pub const COMMIT_BYTES_MAX: usize = 64 * 1_024;
/// One ephemeral signal: nonce 24 + tag 16 + a padded body.
pub const SIGNAL_BYTES_MAX: usize = 256;
/// One rendezvous message: the largest Noise message.
pub const RENDEZVOUS_MESSAGE_BYTES_MAX: usize = 65_535;
/// Messages that wait in a rendezvous for a side that is not there.
pub const RENDEZVOUS_MESSAGES_MAX: usize = 8;
/// A rendezvous lives at most ten minutes.
pub const RENDEZVOUS_SECONDS_MAX: u32 = 600;

/// A delivery: envelope, mailbox 16, grant 125, message id 16 and protobuf tags (below 32).
const DELIVERY_BYTES_MAX: usize = ENVELOPE_BYTES + 16 + 125 + 16 + 32;
/// The largest frame a device may send: 64 deliveries and one commit, rounded up.
pub const CLIENT_FRAME_BYTES_MAX: usize = 192 * 1_024;
const _: () = assert!(
    SEND_DELIVERIES_MAX * DELIVERY_BYTES_MAX + COMMIT_BYTES_MAX + 256 <= CLIENT_FRAME_BYTES_MAX
);
/// The largest frame a relay may send: a lost slot's winner or a rendezvous message.
pub const SERVER_FRAME_BYTES_MAX: usize = 72 * 1_024;
const _: () = assert!(RENDEZVOUS_MESSAGE_BYTES_MAX + 256 <= SERVER_FRAME_BYTES_MAX);
const _: () = assert!(COMMIT_BYTES_MAX + 256 <= SERVER_FRAME_BYTES_MAX);

/// Envelopes a mailbox holds: a busy family's month (100 a day from three others).
pub const MAILBOX_ENVELOPES_MAX: u32 = 10_000;
/// Deliveries that may be unacknowledged on one connection: 256 KiB.
pub const DELIVERY_WINDOW_MAX: u32 = 256;
/// A blob: ten minutes of voice or a large photo fit many times over.
pub const BLOB_BYTES_MAX: u64 = 128 * 1_024 * 1_024;
/// Blob bytes a mailbox may upload in a day.
pub const MAILBOX_BLOB_BYTES_PER_DAY_MAX: u64 = 1_024 * 1_024 * 1_024;

/// Bytes of messages in one piece of history, but for the last one that goes in.
pub const HISTORY_PIECE_BYTES: usize = 256 * 1_024;
/// Messages in one piece of history.
pub const HISTORY_PIECE_MESSAGES_MAX: usize = 400;

/// Bytes of blobs that a ticket adds to what its mailbox may upload on that day: 512 MiB, a family's holiday.
pub const TICKET_BLOB_BYTES: u64 = 512 * 1_024 * 1_024;
/// Days an undelivered envelope is kept.
pub const ENVELOPE_RETENTION_DAYS: u32 = 30;
/// Days a commit slot is kept.
pub const COMMIT_RETENTION_DAYS: u32 = 120;
/// A device offers a commit only if it saw its slot empty within this many days (20 before the slot goes).
pub const COMMIT_OFFER_DAYS_MAX: u32 = 100;
/// Days a blob is kept.
pub const BLOB_RETENTION_DAYS: u32 = 30;
/// Days without an attach after which a mailbox is deleted.
pub const MAILBOX_IDLE_DAYS: u32 = 90;
/// Days between closing a mailbox and its deletion (72 hours).
pub const MAILBOX_CLOSED_DAYS: u32 = 3;
/// Days a grant is valid.
pub const GRANT_DAYS: u32 = 120;
/// Days by which the clock of a device that makes a grant may be ahead of the relay's.
pub const GRANT_CLOCK_DAYS: u32 = 7;
/// Days that a relay keeps a revocation at most: as long as the grant could be good.
pub const REVOKED_DAYS_MAX: u32 = GRANT_DAYS + GRANT_CLOCK_DAYS;

/// Characters of one text: longer ones are refused with a sentence.
pub const TEXT_CHARACTERS_MAX: usize = 20_000;
/// Bytes of one content, as protobuf.
pub const CONTENT_BYTES_MAX: usize = 128 * 1_024;
/// A name of a person, device or conversation, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 128;
/// Statements in one family log.
pub const FAMILY_LOG_STATEMENTS_MAX: usize = 10_000;
/// The last of them are kept for what takes away: whoever fills the log must not keep others
/// from removing them, nor from ending contacts.
pub const FAMILY_LOG_RESERVED: usize = 1_000;
/// Statements of one day that one guardian signs or consents to, beside what takes away: a
/// family with 32 people and a device for each is made in a day, and the log lasts for 70 days of
/// a device that does nothing else (9,000 / 128: a removal that is taken back is two).
pub const FAMILY_LOG_DAY_MAX: u32 = 64;
/// Bytes of one statement: a policy with 32 quiet hours or a full pass fit three times over.
pub const STATEMENT_BYTES_MAX: usize = 4_096;
const _: () = assert!(3 * (PASS_BYTES_MAX + 128) <= STATEMENT_BYTES_MAX);
const _: () =
    assert!(3 * (QUIET_HOURS_MAX * 16 + TIME_ZONE_BYTES_MAX + 128) <= STATEMENT_BYTES_MAX);
/// Signatures on one statement, and consents: more guardians than any family has.
pub const STATEMENT_SIGNATURES_MAX: usize = 32;
/// Signatures that a family may choose for what widens.
pub const SIGNATURES_CHOSEN_MAX: u32 = 2;
/// Days of the lease that a family may choose, at least.
pub const LEASE_DAYS_MIN: u32 = 3;
/// Days of the lease that a family may choose, at most.
pub const LEASE_DAYS_MAX: u32 = 14;
/// Days for which removing a guardian freezes what widens, and in which it may object (72 hours).
pub const REMOVAL_FREEZE_DAYS: u32 = 3;
/// Days for which a removed guardian still counts among those who could sign.
pub const REMOVAL_COUNTS_DAYS: u32 = 14;
/// Guardians on one side of a contact pass.
pub const PASS_GUARDIANS_MAX: usize = 8;
/// A contact pass: two sides of 44 bytes and eight guardians of 24 each, and 40 more.
pub const PASS_BYTES_MAX: usize = 1_024;
const _: () = assert!(2 * (44 + PASS_GUARDIANS_MAX * 24) + 40 <= PASS_BYTES_MAX);
/// Days that a contact pass may last: a year and a month.
pub const PASS_DAYS_MAX: u32 = 400;
/// Quiet hours in one policy: four for each weekday, and more.
pub const QUIET_HOURS_MAX: usize = 32;
/// Name of a time zone; the longest of IANA's has 32 bytes.
pub const TIME_ZONE_BYTES_MAX: usize = 64;
/// Days that a guardian's head may be ahead of a device's own clock.
pub const CLOCK_AHEAD_DAYS_MAX: u32 = 2;
/// Corrections of the clock that are remembered between two statements.
pub const CLOCK_CORRECTIONS_MAX: usize = 32;
/// Families whose lease a device keeps: more than its conversations can name.
pub const LEASES_MAX: usize = 1_024;
/// Bytes of an overflow blob that a device fetches by itself (welcomes, long texts, key packages).
pub const OVERFLOW_BYTES_MAX: u64 = 2 * 1_024 * 1_024;
/// Days a sender keeps content that some device has not confirmed; then it visibly expires.
pub const CONTENT_KEEP_DAYS: u32 = 30;
/// Days that a child's device keeps, unseen, what people outside its family took back.
pub const VEILED_DAYS: u32 = 30;
/// Milliseconds a gap holds back what follows while attached.
pub const GAP_HOLD_MS: u64 = 3_600_000;
/// Messages after which a device renews its keys in a conversation.
pub const MESSAGES_PER_UPDATE: u64 = 1_000;
/// Generations a member may leave unconfirmed before the sender self-updates.
pub const UNCONFIRMED_GENERATIONS_MAX: u64 = 500;

/// Days after a wish to come back was shown to another guardian before it holds by the password
/// alone: the day after, and on that guardian's device [`RETURN_WAIT_MS`] by its own clock.
pub const RETURN_WAIT_DAYS: u32 = 1;

/// For so long a guardian's device that has shown a wish to come back waits for a veto: 24 hours.
pub const RETURN_WAIT_MS: u64 = 24 * 60 * 60 * 1_000;

/// Devices with which one guardian may ask to come back at a time: those beyond wait until one was
/// vetoed.
pub const RETURN_ASKS_MAX: usize = 4;
/// Characters of a notice, or of a lockdown's reason.
pub const OPERATOR_TEXT_CHARACTERS_MAX: usize = 4_000;
/// One entry of the operator's log: 4,000 characters of at most 4 bytes, and what stands around them
/// (1 + 8 + 32 + 4 + 1 + 2 + 35 + 64 = 147).
pub const OPERATOR_ENTRY_BYTES_MAX: usize = 4 * OPERATOR_TEXT_CHARACTERS_MAX + 147;
/// Entries of one operator's log: one a day for 27 years.
pub const OPERATOR_LOG_ENTRIES_MAX: u64 = 10_000;
/// Bytes of entries in one answer: at least four, and the checkpoint fits beside them.
pub const OPERATOR_PART_BYTES_MAX: usize = 64 * 1_024;
const _: () = assert!(4 * OPERATOR_ENTRY_BYTES_MAX <= OPERATOR_PART_BYTES_MAX);
/// Keys of tickets that a device remembers: two years of epochs.
pub const OPERATOR_ISSUERS_MAX: usize = 24;
