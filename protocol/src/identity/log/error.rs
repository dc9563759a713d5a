//! Why a statement does not extend a log.

use crate::day::Day;
use crate::identity::pass::PassError;
use crate::ids::IdLengthError;
use crate::policy::PolicyError;

/// Why a statement does not extend a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Not protobuf of this schema.
    #[error("the family log is damaged")]
    Malformed(#[source] prost::DecodeError),
    /// A version this code does not know.
    #[error("the family log has a statement of version {0}, which is not known here")]
    Version(u32),
    /// A decision this code does not know.
    #[error("the family log has a decision that is not known here")]
    UnknownDecision,
    /// A field out of bounds.
    #[error("a statement of the family log has a bad {0}")]
    Field(&'static str),
    /// An id of a wrong length.
    #[error("a statement of the family log carries a damaged id")]
    Id(#[from] IdLengthError),
    /// An entry that is neither shown nor hidden, or both.
    #[error("an entry of the family log is neither a statement nor a hash")]
    Entry,
    /// A contact pass that does not hold.
    #[error("a statement of the family log carries a contact pass that does not hold")]
    Pass(#[from] PassError),
    /// A policy out of bounds.
    #[error("a statement of the family log carries a policy that can't be")]
    Policy(#[from] PolicyError),
    /// A log without statements.
    #[error("the family log is empty")]
    Empty,
    /// Longer than [`crate::limits::FAMILY_LOG_STATEMENTS_MAX`], or in the places at its end
    /// that are kept for what takes away.
    #[error("the family log is full: it takes nothing more but what removes and revokes")]
    Full,
    /// Decides what is decided already.
    #[error("the statement changes nothing")]
    Unchanged,
    /// One guardian decides more than [`crate::limits::FAMILY_LOG_DAY_MAX`] in a day.
    #[error("a guardian has decided so much on {0} that more has to wait for the next day")]
    Often(Day),
    /// Of another family.
    #[error("the statement is of another family")]
    Family,
    /// Not the next one.
    #[error("the family log has a hole: statement {found} where {expected} was due")]
    Hole {
        /// The index due.
        expected: u64,
        /// The index found.
        found: u64,
    },
    /// Continues another past.
    #[error("the statement continues another past than this family's log")]
    Fork,
    /// Of an earlier day than the one before.
    #[error("the statement is of {found}, and the one before it of {newest}")]
    Day {
        /// The day of the log.
        newest: Day,
        /// The day of the statement.
        found: Day,
    },
    /// Its salt was used before, so a consent might be used twice.
    #[error("the statement repeats the salt of another")]
    Salt,
    /// Not signed by anyone who may.
    #[error("the statement is not signed by a guardian of the family")]
    Signature,
    /// Signed by too few.
    #[error("the statement needs {needed} guardians' signatures and has {found}")]
    Signatures {
        /// Guardians who must sign.
        needed: usize,
        /// Guardians who did.
        found: usize,
    },
    /// Widens while a guardian's removal may be objected to.
    #[error("a guardian was removed: nothing can be allowed until that is settled")]
    Frozen {
        /// The first day on which it is settled; `None` while an objection stands.
        until: Option<Day>,
    },
    /// An objection after the days for it.
    #[error("the removal can be objected to only before {until}")]
    ObjectionLate {
        /// The first day on which it is too late.
        until: Day,
    },
    /// Would leave a family without a guardian.
    #[error("the last guardian of a family can't be removed")]
    LastGuardian,
    /// Would leave a guardian without a device.
    #[error("it is the guardian's only device: remove the guardian")]
    LastDevice,
    /// A guardian's further device, or the loss of one of several, that the guardian did not sign.
    #[error(
        "one of a guardian's several devices is let in, and taken away, by that guardian alone, and so are the keys to come back with"
    )]
    OwnDevice,
    /// A guardian comes back for whom the log has no recovery keys.
    #[error("that guardian has not said how to come back, or is not in the family any more")]
    NoRecovery,
    /// A guardian comes back without a consent of its own recovery keys.
    #[error("the wish to come back is not signed with that guardian's recovery keys")]
    Wish,
    /// By the password alone, and no other guardian's device has shown that wish.
    #[error("the wish to come back was not shown to another guardian, or another one was")]
    NotShown,
    /// By the password alone, too early.
    #[error("the wish to come back is open to veto until {from}")]
    ReturnEarly {
        /// The first day on which it holds.
        from: Day,
    },
    /// A wish like that was vetoed.
    #[error("a guardian vetoed that wish to come back")]
    Vetoed,
    /// Contradicts the log: a member or device that is there already, or is not there.
    #[error("the statement contradicts the log: {0}")]
    Contradiction(&'static str),
}
