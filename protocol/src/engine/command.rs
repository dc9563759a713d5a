//! What a person does on a device.

use bytes::Bytes;

use super::io::BlobHandle;
use crate::account::{AccountKeys, OpenedVault};
use crate::conversation::Person;
use crate::day::Day;
use crate::identity::{Settings, Supervision};
use crate::ids::{AccountId, ContentId, ConversationId, DeviceId, MemberId, PassId};
use crate::pairing::CodeKind;
use crate::policy::Policy;
use crate::secrets::Secret;

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
    /// [`super::io::Event::PairingWrongCode`] tries again.
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
    /// Asks the other guardians for a conversation of children of several families, each two
    /// of whom have a pass.
    OfferGroup {
        /// One child of each family, ours among them.
        children: Vec<Person>,
        /// What it is called.
        title: String,
    },
    /// Agrees to a group, or says no.
    AnswerGroup {
        /// Which.
        group: [u8; 16],
        /// Yes or no.
        accept: bool,
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
    /// Sends the family a copy of a picture ([`super::io::Event::CopyWanted`]).
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
    /// Somebody has read what the operator said.
    AcknowledgeNotice {
        /// Which: [`super::io::OperatorNotice::index`].
        index: u64,
    },
    /// Says what a child may do with others. Guardians only.
    SetPolicy {
        /// Which child.
        child: MemberId,
        /// Replaces the one before.
        policy: Policy,
    },
    /// The relay does not have an attachment any more that came with the history: asks the
    /// family's other devices to put it up again ([`super::io::Event::MediaFound`]).
    AskMedia {
        /// Of which content.
        content: ContentId,
    },
    /// What another device put up again is something else than what its sender sent, or can't be
    /// fetched: it is forgotten, and the others are asked.
    RefuseMedia {
        /// Of which content.
        content: ContentId,
        /// It opened, and is not its sender's: whoever put it up is not asked again.
        forged: bool,
    },
    /// Puts an attachment up again for another device ([`super::io::Event::MediaWanted`]).
    GiveMedia {
        /// What was asked for.
        wish: super::MediaWish,
        /// Where it lies now, and its encrypted bytes; `None` when it is not here.
        media: Option<(crate::attachment::Pointer, OutgoingBlob)>,
    },
    /// Erases a child everywhere: its devices, what the relay has of them, its place in the
    /// family. Guardians only.
    EraseMember {
        /// Which child.
        member: MemberId,
        /// Also what it said, on the family's other devices.
        messages: bool,
    },
    /// Erases the family everywhere: the children's devices and this guardian's own. Guardians
    /// only.
    EraseFamily,
    /// Keeps what a login has made of password and recovery code, and puts by with it what this
    /// guardian needs to come back (PROTOCOL §15). Without a code the one before goes on.
    KeepAccount {
        /// From [`crate::account::Outcome`].
        keys: Box<AccountKeys>,
        /// What the login found in the vault: another phone of this guardian may have written it.
        vault: Option<Box<OpenedVault>>,
        /// Draw new keys for the log, too: those of before lead back no more.
        fresh: bool,
        /// No other device knows these keys: the account was made, its password changed, or
        /// [`crate::account::LoggedIn::renewed`].
        renewed: bool,
    },
    /// Keeps tickets that a login has drawn: each opens one mailbox, and goes with one pairing code.
    KeepTickets {
        /// Their texts.
        tickets: Vec<String>,
    },
    /// An account was deleted: when it is this phone's, nothing is put by any more.
    ForgetAccount {
        /// Which.
        account: AccountId,
    },
    /// What became of [`Event::VaultDue`](super::io::Event::VaultDue).
    VaultWritten {
        /// Which version.
        version: u64,
        /// How.
        outcome: VaultOutcome,
    },
    /// This device, which is in no family yet, comes back in place of all that its guardian lost.
    ComeBack {
        /// What the login brought; with the second part at once, else as the family says.
        vault: Box<OpenedVault>,
        /// The account's keys.
        keys: Box<AccountKeys>,
        /// No other device knows them ([`crate::account::LoggedIn::renewed`]). Else nothing is put by
        /// with them: what was lost could open it.
        renewed: bool,
    },
    /// A guardian has seen on this screen that another one asks to come back: from now on there is
    /// a day for a veto.
    ReturnShown {
        /// The device that asks.
        device: DeviceId,
    },
    /// A guardian says yes to another one's wish to come back, or vetoes it.
    AnswerReturn {
        /// The device that asks: a yes is to it and to no other.
        device: DeviceId,
        /// Yes, or veto.
        accept: bool,
    },
}

/// How writing a vault ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultOutcome {
    /// The relay has it.
    Written {
        /// Logins begun since the last good one, as the relay says.
        failed_logins: u32,
        /// The day of the last of them.
        failed_day: Day,
    },
    /// The relay has a newer one: another phone of this guardian was faster, or a copy of this one.
    Outdated {
        /// The version that the relay has; 0 when it does not say.
        newest: u64,
    },
    /// The relay does not know the account, or not with this password any more.
    Denied,
    /// Not now; again later.
    Unreachable,
}
