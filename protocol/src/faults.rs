//! Checks that a test may leave out, to show that somebody notices. Without the feature
//! `planted-faults` nothing can be left out; with it nothing is until a test says so, and then
//! on its own thread alone.

/// A check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A content is signed by the device that sent it.
    ContentSignature,
    /// A content names the device whose leaf sent it.
    ContentSender,
    /// A content names the conversation that it came through.
    ContentConversation,
    /// A content whose id was shown is not shown again.
    ContentAgain,
    /// Contents of one sender are shown in its order.
    ContentOrder,
    /// A change brings in certified devices only.
    Stranger,
    /// A leaf carries the certified key.
    LeafKey,
    /// A statement is signed by a guardian.
    Statement,
    /// What fills a slot is signed by who offered it.
    SlotSignature,
    /// A one-to-one message is signed by its sender.
    DirectSignature,
    /// A first welcome leads into the family that the pairing named.
    WelcomeFamily,
    /// A joiner looks at every leaf.
    WelcomeLeaf,
    /// Only who may removes a device.
    Removal,
    /// A change leaves kind, family and title alone.
    Context,
    /// A pending commit is kept until a member's word has replaced it.
    EarlyDrop,
    /// A relay calls itself what was dialled.
    ServerName,
    /// Deliveries are counted without holes.
    DeliveryNumber,
    /// Children of two families are together under a pass alone.
    Pass,
    /// A pass that was revoked holds no more.
    Revocation,
    /// What contacts say waits when no guardian was heard for too long.
    Lease,
    /// A head of a log is signed by a guardian.
    HeadSigner,
    /// A log that others tell ends with an entry that is shown.
    HiddenTail,
    /// A change that was made on a day that has not come waits.
    Early,
    /// Nothing is sent into a room without the guardian whom a pass wants there.
    Supervision,
    /// A device is brought back a few times a day at most.
    Readmission,
    /// A device is brought back by its own wish alone.
    Wish,
    /// A guardian's further device is let in by that guardian.
    OwnDevice,
}

impl Fault {
    /// Every check that can be left out.
    pub const ALL: [Self; 27] = [
        Self::ContentSignature,
        Self::ContentSender,
        Self::ContentConversation,
        Self::ContentAgain,
        Self::ContentOrder,
        Self::Stranger,
        Self::LeafKey,
        Self::Statement,
        Self::SlotSignature,
        Self::DirectSignature,
        Self::WelcomeFamily,
        Self::WelcomeLeaf,
        Self::Removal,
        Self::Context,
        Self::EarlyDrop,
        Self::ServerName,
        Self::DeliveryNumber,
        Self::Pass,
        Self::Revocation,
        Self::Lease,
        Self::HeadSigner,
        Self::HiddenTail,
        Self::Early,
        Self::Supervision,
        Self::Readmission,
        Self::Wish,
        Self::OwnDevice,
    ];
}

#[cfg(feature = "planted-faults")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Leaves a check out on this thread until the value is dropped; then it is as before.
#[cfg(feature = "planted-faults")]
#[must_use]
pub fn plant(fault: Option<Fault>) -> Planted {
    Planted(PLANTED.replace(fault))
}

/// A check is left out as long as this lives.
#[cfg(feature = "planted-faults")]
#[derive(Debug)]
pub struct Planted(Option<Fault>);

#[cfg(feature = "planted-faults")]
impl Drop for Planted {
    fn drop(&mut self) {
        PLANTED.set(self.0);
    }
}

/// Whether this check is left out here.
#[cfg(feature = "planted-faults")]
#[must_use]
pub fn planted(fault: Fault) -> bool {
    PLANTED.get() == Some(fault)
}

/// Whether this check is left out here: never.
#[cfg(not(feature = "planted-faults"))]
#[must_use]
pub const fn planted(_fault: Fault) -> bool {
    false
}
