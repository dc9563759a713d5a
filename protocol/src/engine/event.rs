//! What happened on a device, for a screen.

use super::command::Silence;
use super::errors::PairingError;
use super::vault::VaultWrite;
use crate::conversation::Person;
use crate::day::Day;
use crate::identity::{ContactPass, Decision};
use crate::ids::{ContentId, ConversationId, DeviceId, FamilyId, MemberId, PassId};
use crate::operator::Severity;
use crate::primitives::sign::PublicKey;
use crate::wire::ErrorCode;

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
    /// say [`super::io::Command::SendCopy`].
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
    /// What this device was to decide, and could not at once, does not come about.
    NotDecided {
        /// What.
        decisions: Vec<Decision>,
        /// Why not.
        sentence: String,
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
    /// Another family's guardian asks for a conversation of children of several families.
    GroupOffered {
        /// To be named in the answer.
        group: [u8; 16],
        /// Who would be in it.
        children: Vec<Person>,
        /// What it is to be called.
        title: String,
    },
    /// Another family has answered to a group that this device asked for; a no ends it.
    GroupAnswered {
        /// Which.
        group: [u8; 16],
        /// What it was to be called.
        title: String,
        /// Who answered.
        family: FamilyId,
        /// Yes or no.
        accepted: bool,
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
    /// followed, or has forgotten a change of its own that they follow: it writes nothing there
    /// and asks to come back.
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
    /// The vault is to be written at the relay, on a connection of its own; then say
    /// [`super::io::Command::VaultWritten`].
    VaultDue(Box<VaultWrite>),
    /// The account of this phone is not good any more, or the relay says so: its password was changed
    /// elsewhere, it was deleted, another phone of this guardian made another, or one that knew its keys
    /// was put out. Log in again.
    AccountOutdated,
    /// Somebody has begun logins to this phone's account and not finished them: with a wrong password,
    /// mostly. Said when the number has changed.
    LoginsFailed {
        /// Since the last good login.
        times: u32,
        /// The day of the last of them.
        day: Day,
    },
    /// This device asks to come back, and none of the addresses that were put by is good any more: the
    /// family has changed them since. Another guardian can pair it. It goes on asking.
    ReturnUnheard,
    /// On a guardian's phone: a guardian who says that every device is lost asks to come back by
    /// the password. Show it, say [`super::io::Command::ReturnShown`], and let the person answer.
    ReturnAsked {
        /// Who.
        member: MemberId,
        /// The device that asks.
        device: DeviceId,
        /// What it calls itself: anybody can choose that.
        device_name: String,
        /// Four pictures that its own screen shows too.
        pictures: String,
        /// It is this phone's own guardian: somebody else knows the password.
        own: bool,
    },
    /// The relay handed out an older vault than was written: nothing in it can do harm, but the
    /// relay, or whoever restored it, is not as it should be.
    VaultRolledBack {
        /// Whose.
        member: MemberId,
        /// The version that it handed out.
        given: u64,
        /// The newest that was said in the family.
        newest: u64,
    },
    /// What was said before this device came has come in from another one of the family, all
    /// at once: look at the history again.
    History {
        /// Where.
        conversation: ConversationId,
        /// Messages that came in so far.
        done: u64,
        /// Messages that are known of.
        total: u64,
        /// A device has given all it has; others may still know more.
        finished: bool,
    },
    /// Another device of the family lacks this attachment and the relay has it no more: encrypt
    /// it anew, and say [`super::io::Command::GiveMedia`].
    MediaWanted {
        /// Where it was said.
        conversation: ConversationId,
        /// Which content's.
        content: ContentId,
        /// For which device.
        device: DeviceId,
    },
    /// Another device has put an attachment up again: it can be fetched.
    MediaFound {
        /// Where it was said.
        conversation: ConversationId,
        /// Which content's.
        content: ContentId,
    },
    /// A guardian wants a child, or the family, erased everywhere. What that guardian may have
    /// erased is; other guardians say it themselves.
    EraseAsked {
        /// Who.
        by: MemberId,
        /// The child; `None`: the family.
        member: Option<MemberId>,
    },
    /// This device is over: its shell ends it and deletes everything that it has of it.
    Erased {
        /// The last day on which a backup of the relay may hold something; `None`: the relay
        /// did not tell.
        backups_end: Option<Day>,
    },
    /// The key of the relay's operator, whose word counts from now on.
    OperatorPinned {
        /// The offline key.
        key: PublicKey,
        /// The relay's address or the family named it; else the relay itself did, and nobody
        /// knows whether it does so to everybody.
        vouched: bool,
    },
    /// On a guardian's device: the operator says something. It is kept until somebody has
    /// acknowledged it.
    OperatorNotice(OperatorNotice),
    /// The operator has locked the relay down: nobody can be paired now, and messages go on.
    LockedDown {
        /// Why; empty on a child's device.
        reason: String,
        /// This device makes its keys, grants and addresses anew.
        renew: bool,
    },
    /// The lockdown is over.
    LockdownLifted,
    /// The relay shows less of the operator's log than this device or another of the family was
    /// shown before.
    OperatorLogCut {
        /// Entries that somebody was shown.
        known: u64,
        /// Entries that are shown now.
        shown: u64,
    },
    /// Another operator's log than this device knows was shown to it, or to another of the family.
    OperatorLogForked {
        /// Entries of the other one; 0: it has another key.
        entries: u64,
    },
    /// The relay said something in the operator's name that the operator has not signed.
    OperatorForged,
}

/// What the operator says to guardians.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorNotice {
    /// Index of its entry in the operator's log.
    pub index: u64,
    /// The day on which it was signed.
    pub day: Day,
    /// How much it matters.
    pub severity: Severity,
    /// Language tag of the text; empty for the reason of a lockdown.
    pub language: String,
    /// 1 to 4,000 characters.
    pub text: String,
}
