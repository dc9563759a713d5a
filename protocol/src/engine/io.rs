//! What goes into the engine and what comes out (ARCHITECTURE "sans-IO").
//!
//! One rule makes crashes harmless: a shell makes [`Output::changes`] durable in ONE
//! transaction before it sends any of [`Output::frames`], starts any of the transfers, or
//! shows any of the events of the same output.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::errors::PairingError;
use crate::day::{Day, Timestamp};
use crate::identity::{ContactPass, Decision, Settings, Supervision};
use crate::ids::{ContentId, ConversationId, DeviceId, FamilyId, MemberId, PassId};
use crate::pairing::CodeKind;
use crate::policy::Policy;
use crate::secrets::Secret;
use crate::wire::{ClientFrame, ErrorCode, Hello, ServerFrame};

/// Which records a shell loads at start and which it only reads back when asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordClass {
    /// Needed to go on: all of it goes into [`super::Engine::load`].
    State,
    /// Messages as shown: written by the engine, read by [`super::view`].
    History,
}

/// Name of a record. Names hold ids and must be stored encrypted or hashed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// State or history.
    pub class: RecordClass,
    /// The name within its class; ordered bytewise.
    pub name: Vec<u8>,
}

/// Records to write (`Some`) and to erase (`None`), all or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// By name.
    pub records: BTreeMap<RecordKey, Option<Vec<u8>>>,
}

impl Changes {
    /// Whether there is nothing to persist.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Names a blob on its way up; 16 random bytes.
pub type BlobHandle = [u8; 16];

/// Where a shell finds the (already encrypted and padded) bytes of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadSource {
    /// Here.
    Bytes(Bytes),
    /// In the file that the shell made under the upload's handle.
    File,
}

/// A blob to upload over HTTPS; the relay has made room for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// To be named in [`Input::Uploaded`].
    pub handle: BlobHandle,
    /// Goes into the owner header.
    pub owner_secret: Secret<32>,
    /// Bytes that the relay has already.
    pub offset: u64,
    /// Full size.
    pub size: u64,
    /// The bytes.
    pub source: UploadSource,
}

/// A blob to fetch over HTTPS into memory, because the engine needs it to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Goes into the read header, and names the answer.
    pub read_secret: Secret<32>,
    /// Its size; at most [`crate::limits::OVERFLOW_BYTES_MAX`]. More must not be read.
    pub size: u64,
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The bytes.
    Got(Bytes),
    /// The relay does not have it (any more).
    NotFound,
    /// The connection failed: the engine asks again later.
    Unreachable,
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The relay has all bytes.
    Done,
    /// The connection failed: the engine asks again later.
    Unreachable,
    /// The shell no longer has the bytes.
    Lost,
}

/// What a shell tells the engine.
#[derive(Debug, Clone)]
pub enum Input {
    /// A connection stands and the relay has said hello.
    Connected(Hello),
    /// The connection is gone.
    Disconnected,
    /// Frames of the relay, in order; give several at once when several are there, they
    /// are then persisted and acknowledged together.
    Frames(Vec<ServerFrame>),
    /// An upload ended.
    Uploaded {
        /// Its handle.
        handle: BlobHandle,
        /// How.
        outcome: UploadOutcome,
    },
    /// A fetch ended.
    Fetched {
        /// Which.
        read_secret: Secret<32>,
        /// How.
        outcome: FetchOutcome,
    },
    /// Time passed: call at [`super::Engine::deadline`].
    Tick,
}

/// An attachment whose encrypted bytes the shell has put (and synced) under its handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingBlob {
    /// Names the shell's file.
    pub handle: BlobHandle,
    /// Lets its holder read the blob; stands in the pointer too.
    pub read_secret: Secret<32>,
    /// Lets its holder upload and delete the blob.
    pub owner_secret: Secret<32>,
    /// Bytes of the file: a Padmé size class.
    pub size: u64,
}

/// What a new device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRole {
    /// A grown-up who decides.
    Guardian,
    /// A child.
    Child,
}

/// What one family wants of a contact pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassWish {
    /// What our guardians see.
    pub supervision: Supervision,
    /// Who of our guardians may be in the conversation, and whether they may write.
    pub guardians: Vec<(MemberId, bool)>,
    /// Kinds of content that are allowed ([`crate::content::kinds`]).
    pub kinds: u32,
    /// Days from today that it lasts.
    pub days: u32,
}

/// Why nothing is sent into a conversation for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// This device has to come back as a new leaf.
    #[error("this device is asking to be let back into this conversation")]
    Lost,
    /// It may have gone on without this device.
    #[error("the relay does not show this device what others are said to have done here")]
    Forked,
    /// Somebody in it is not in their family any more, or has no pass.
    #[error("somebody has to leave this conversation first")]
    SomebodyHasToGo,
    /// No guardian of our family was heard within the lease.
    #[error("no guardian's phone has been heard for too long; only your own family can be reached")]
    Lease,
    /// No guardian of the other family was heard within its lease.
    #[error("the other family's guardians have not been heard for too long")]
    FriendsLease,
    /// A guardian of ours has to be in it and is not.
    #[error("a guardian who watches over this conversation is not in it yet")]
    Supervision,
}

/// What a person does on a device.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "made one at a time, by hand, and handed over at once"
)]
pub enum Command {
    /// Founds a family with this device's person as its first guardian.
    CreateFamily {
        /// Name of the family.
        family_name: String,
        /// Name of the guardian.
        guardian_name: String,
    },
    /// Makes a pairing code for a new member's first device. Needs an attached connection.
    StartPairing {
        /// What the new member is.
        role: MemberRole,
        /// The new member's name, as the guardian says it.
        name: String,
        /// Whether the new device scans the code or types it.
        by: CodeKind,
    },
    /// The guardian has compared the pictures and says yes (or no).
    AnswerPairing {
        /// Yes or no.
        accept: bool,
    },
    /// Starts to pair this device by the code on a guardian's phone; after
    /// [`Event::PairingWrongCode`] tries again.
    JoinByCode {
        /// The text of the QR code, or a short code as it was typed.
        code: String,
    },
    /// Forms a room with some members' devices.
    CreateConversation {
        /// Its title.
        title: String,
        /// Who is in it besides this member.
        members: Vec<MemberId>,
    },
    /// Sends something.
    Send {
        /// Where.
        conversation: ConversationId,
        /// What.
        body: crate::content::Body,
        /// The content this answers.
        reply_to: Option<ContentId>,
        /// Seconds after showing when it disappears; 0: stays.
        disappear_seconds: u32,
        /// The attachment's encrypted bytes, for photo and voice.
        blob: Option<OutgoingBlob>,
    },
    /// The person has seen everything in this conversation.
    MarkRead {
        /// Where.
        conversation: ConversationId,
    },
    /// The person is typing.
    Typing {
        /// Where.
        conversation: ConversationId,
    },
    /// This device fetched and checked an attachment.
    AttachmentFetched {
        /// Of which content.
        content: ContentId,
    },
    /// Takes a member out of the family, with all their devices.
    RemoveMember {
        /// Who.
        member: MemberId,
    },
    /// Takes a lost device out of the family, and closes its mailbox where this device can.
    RemoveDevice {
        /// Which.
        device: DeviceId,
    },
    /// Changes how many guardians have to sign, or how long a lease lasts.
    ChangeSettings {
        /// The new ones.
        settings: Settings,
    },
    /// Says yes or no to another guardian's proposal.
    AnswerProposal {
        /// Its salt.
        proposal: [u8; 16],
        /// Yes or no.
        accept: bool,
    },
    /// Carries a removed guardian's objection ([`super::Engine::objection`]) into the log.
    CarryObjection {
        /// Its text.
        text: String,
    },
    /// Ends the freeze after a removal: the removed guardian gives in, or whoever removed
    /// takes it back.
    Withdraw {
        /// Index of the removal.
        removal: u64,
    },
    /// Shows a code with which another family's guardian can meet this one.
    StartMeeting {
        /// Whom it is about, of our children.
        child: MemberId,
        /// To scan or to type.
        by: CodeKind,
    },
    /// Comes to another guardian's meeting.
    JoinMeeting {
        /// The code's text.
        code: String,
        /// Whom it is about, of our children.
        child: MemberId,
    },
    /// The guardian has compared the pictures and says yes (or no) to the other family.
    AnswerMeeting {
        /// Yes or no.
        accept: bool,
    },
    /// Offers another family a contact pass.
    OfferPass {
        /// The link with its guardians.
        link: ConversationId,
        /// Our child.
        child: MemberId,
        /// Theirs.
        other_child: MemberId,
        /// What our side wants.
        wish: PassWish,
    },
    /// Answers another family's offer.
    AnswerPass {
        /// Which.
        pass: PassId,
        /// What our side wants; `None`: no.
        wish: Option<PassWish>,
    },
    /// Ends a contact; works while our child's tablet is off.
    RevokePass {
        /// Which.
        pass: PassId,
    },
    /// Leaves a conversation with all devices of this member; nobody brings them back but a
    /// guardian of the family.
    Leave {
        /// Which.
        conversation: ConversationId,
    },
    /// Does not show a member's messages in a conversation any more, or again.
    Block {
        /// Where.
        conversation: ConversationId,
        /// Whose; not a guardian of the own family.
        member: MemberId,
        /// Block, or show again.
        blocked: bool,
    },
    /// Shows a message with its signature to the guardians of this device's family.
    Report {
        /// Which.
        content: ContentId,
        /// The exact bytes of its `SignedContent` ([`super::view::signed`]).
        signed: Bytes,
        /// What the reporter says to it; may be empty.
        words: String,
    },
    /// A child asks its guardians to meet another family.
    RequestFriend {
        /// The text of that family's meeting code.
        code: String,
        /// What the child says to it; may be empty.
        words: String,
    },
    /// Sends the family a copy of a picture ([`Event::CopyWanted`]).
    SendCopy {
        /// Of which content.
        original: ContentId,
        /// The photo or voice message with its new pointer, and its encrypted bytes; `None`
        /// when the original can't be had any more.
        copied: Option<(crate::content::Body, OutgoingBlob)>,
    },
    /// A guardian forms a conversation again that can't be changed any more.
    Reform {
        /// Which.
        conversation: ConversationId,
    },
    /// A guardian says what day it is, although clocks say otherwise.
    CorrectTime {
        /// Today.
        day: Day,
    },
    /// Closes the mailbox of a child's device: nothing in or out at once, deleted after 72
    /// hours; or undoes that. Works while that device is off.
    CloseMailbox {
        /// Which device.
        device: DeviceId,
        /// Open it again.
        undo: bool,
    },
    /// Renews this device's keys and address in a conversation.
    SelfUpdate {
        /// Where.
        conversation: ConversationId,
    },
    /// Says what a child may do with others. Guardians only.
    SetPolicy {
        /// Which child.
        child: MemberId,
        /// Replaces the one before.
        policy: Policy,
    },
}

/// What the shell must do, in this order: persist, then everything else.
#[derive(Debug, Default)]
pub struct Output {
    /// Persist first, in one transaction, synced.
    pub changes: Changes,
    /// Send in order.
    pub frames: Vec<ClientFrame>,
    /// Start.
    pub uploads: Vec<Upload>,
    /// Start.
    pub fetches: Vec<Fetch>,
    /// Blobs of ours that everyone has: delete over HTTPS with the owner secret, best effort.
    pub blob_deletions: Vec<Secret<32>>,
    /// Show.
    pub events: Vec<Event>,
    /// The connection can't be used any more: close it.
    pub close: bool,
}

/// What happened, for a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Attached; so many envelopes wait.
    Attached {
        /// Envelopes that wait.
        waiting: u64,
    },
    /// Everything that waited has been read, and what was written offline is on its way.
    CaughtUp,
    /// The pairing code to show: as QR, or its digits.
    PairingCode {
        /// Text.
        code: String,
    },
    /// A device wants to be paired; compare the pictures, then answer.
    PairingRequest {
        /// What it calls itself.
        device_name: String,
        /// Four pictures that both screens show.
        pictures: String,
    },
    /// The code on the other side is good; compare the pictures.
    PairingStarted {
        /// Four pictures that both screens show.
        pictures: String,
    },
    /// A short code was typed wrong, on the other device or on this one; it may be typed again.
    PairingWrongCode {
        /// Tries that are left, at least one.
        tries_left: u8,
        /// The same for a human.
        sentence: String,
    },
    /// Pairing ended badly.
    PairingFailed {
        /// Why, for a program.
        error: PairingError,
        /// Why, for a human.
        sentence: String,
    },
    /// This device is in a conversation now.
    Joined {
        /// Which.
        conversation: ConversationId,
        /// Its title.
        title: String,
    },
    /// A device of this member joined a conversation.
    DeviceAdded {
        /// Where.
        conversation: ConversationId,
        /// Whose.
        member: MemberId,
        /// Which.
        device: DeviceId,
        /// The member's name in the family log.
        name: String,
    },
    /// A device left a conversation.
    DeviceRemoved {
        /// Where.
        conversation: ConversationId,
        /// Which.
        device: DeviceId,
    },
    /// A content is to be shown (also own ones, when written).
    Message {
        /// Where.
        conversation: ConversationId,
        /// Which.
        content: ContentId,
        /// By whom.
        sender: MemberId,
        /// Written on this device.
        mine: bool,
        /// What.
        body: crate::content::Body,
    },
    /// Another device said something that is not shown as a message.
    Control {
        /// Where.
        conversation: ConversationId,
        /// Which device.
        sender: DeviceId,
        /// What.
        control: crate::content::Control,
    },
    /// A message disappeared, as its sender wanted.
    Disappeared {
        /// Where.
        conversation: ConversationId,
        /// Which.
        content: ContentId,
    },
    /// A device has a content of ours.
    Delivered {
        /// Which.
        content: ContentId,
        /// Which device.
        device: DeviceId,
    },
    /// A device showed a content of ours.
    Read {
        /// Which.
        content: ContentId,
        /// Which device.
        device: DeviceId,
    },
    /// A device has fetched our attachment.
    Fetched {
        /// Of which content.
        content: ContentId,
        /// Which device.
        device: DeviceId,
    },
    /// Someone is typing.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        member: MemberId,
    },
    /// The conversation entered an epoch.
    Epoch {
        /// Where.
        conversation: ConversationId,
        /// Number.
        epoch: u64,
    },
    /// A content of ours did not reach a device in time.
    Undelivered {
        /// Which.
        content: ContentId,
        /// Which device.
        device: DeviceId,
        /// Why.
        sentence: String,
    },
    /// Contents of a sender are missing and were given up waiting for.
    Gap {
        /// Where.
        conversation: ConversationId,
        /// Whose.
        device: DeviceId,
        /// First missing sequence number.
        from: u64,
        /// Last missing sequence number.
        through: u64,
    },
    /// An envelope could not be opened: counted, never shown.
    Unreadable {
        /// Why, without content.
        reason: String,
        /// So many in all.
        total: u64,
    },
    /// A change was refused; the state is as it was.
    Refused {
        /// Where.
        conversation: ConversationId,
        /// Why.
        sentence: String,
    },
    /// A recipient's mailbox did not take it; the others got theirs.
    RecipientRefused {
        /// Which device.
        device: DeviceId,
        /// Why.
        sentence: String,
    },
    /// Nothing is sent into a conversation any more (or again, when there is no reason).
    Silent {
        /// Where.
        conversation: ConversationId,
        /// Why.
        why: Option<Silence>,
    },
    /// A guardian formed a conversation again: this one goes on in its place.
    Reformed {
        /// The one that is over.
        old: ConversationId,
        /// The one that goes on.
        new: ConversationId,
    },
    /// The family gets a copy of this photo or voice message: fetch it, encrypt it anew, and
    /// say [`Command::SendCopy`].
    CopyWanted {
        /// Where it was said.
        conversation: ConversationId,
        /// Which.
        content: ContentId,
    },
    /// Somebody leaves a conversation by themselves.
    Left {
        /// Where.
        conversation: ConversationId,
        /// Who.
        member: MemberId,
    },
    /// A member is not in the family any more.
    MemberRemoved {
        /// Who.
        member: MemberId,
        /// Their name.
        name: String,
        /// What widens is frozen: a guardian was removed by another.
        frozen: bool,
    },
    /// The family's log has a new decision.
    Decided {
        /// Its index.
        index: u64,
        /// What.
        decision: Decision,
        /// Guardians who signed it.
        by: Vec<MemberId>,
    },
    /// These decisions wait for another guardian's yes.
    Proposed {
        /// What.
        decisions: Vec<Decision>,
    },
    /// Another guardian asks for this one's yes.
    Proposal {
        /// To be named in the answer.
        proposal: [u8; 16],
        /// Who asks.
        by: MemberId,
        /// What.
        decision: Decision,
    },
    /// The code with which another family's guardian can meet this one.
    MeetingCode {
        /// Text.
        code: String,
    },
    /// Another family has shown its card; compare the pictures, then answer.
    MeetingRequest {
        /// Which.
        family: FamilyId,
        /// Its name.
        family_name: String,
        /// Whom the meeting is about, of their children.
        child: MemberId,
        /// That child's name.
        child_name: String,
        /// Four pictures that both screens show.
        pictures: String,
    },
    /// Both guardians have agreed to know each other.
    Met {
        /// The other family.
        family: FamilyId,
        /// Its name.
        family_name: String,
        /// Whom the meeting was about, of their children.
        child: MemberId,
    },
    /// Another family offers a contact pass.
    PassOffered {
        /// Where it was offered.
        link: ConversationId,
        /// What; our side is still to be filled in.
        pass: ContactPass,
    },
    /// A contact pass does not come about.
    PassRefused {
        /// Which.
        pass: PassId,
        /// Why.
        sentence: String,
    },
    /// Somebody was shown another past of a family's log than this device.
    LogForked {
        /// Where it showed.
        conversation: ConversationId,
    },
    /// A guardian's head says a day that is too far ahead of this device's clock: one of the
    /// two is wrong, and nothing was moved.
    TimeAhead {
        /// What the guardian's device said.
        told: Day,
        /// What this device's clock says.
        own: Day,
    },
    /// A guardian has set the day.
    TimeCorrected {
        /// Today.
        day: Day,
    },
    /// This device was shown another past of a conversation than its peers, or none of what
    /// followed: it writes nothing there and asks to come back.
    Forked {
        /// Where.
        conversation: ConversationId,
    },
    /// This device is back in a conversation as a new leaf: what was said meanwhile and is
    /// not sent again is missing here.
    BackIn {
        /// Where.
        conversation: ConversationId,
    },
    /// Another device is back in a conversation as a new leaf.
    CameBack {
        /// Where.
        conversation: ConversationId,
        /// Which.
        device: DeviceId,
    },
    /// The mailbox of a child's device is closed, or open again.
    MailboxClosed {
        /// Whose.
        device: DeviceId,
        /// It is open again.
        undone: bool,
    },
    /// The relay refused something.
    RelayError {
        /// Code.
        code: ErrorCode,
        /// For a human.
        sentence: String,
    },
    /// This store is a copy of an older state: the relay has seen a newer one.
    StaleStore,
    /// The family has changed what a child may do with others.
    PolicyChanged {
        /// Which child.
        child: MemberId,
    },
    /// On a child's device: something came that its policy keeps from it for good.
    Withheld {
        /// Where.
        conversation: ConversationId,
        /// Which.
        content: ContentId,
        /// By whom.
        sender: MemberId,
        /// Why, for the child.
        sentence: String,
    },
}

/// When something must happen even if nothing comes in.
pub type Deadline = Option<Timestamp>;
