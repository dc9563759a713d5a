//! Who is who: the family log, from which all authority comes, the certificates and contact
//! passes it implies, and the heads that tell how new it is (PROTOCOL §7).

mod clock;
mod decision;
mod head;
mod log;
mod narrowing;
mod pass;
mod statement;

pub use clock::{Clock, Heard, Lease, clock_record, read_clock_record};
pub use decision::{
    AddedDevice, AddedMember, Decision, RecoveryKeys, Return, ReturnWay, Role, Settings,
};
pub use head::{Head, HeadError, SignedHead, sign_head};
pub use log::{
    Asked, Certificate, FamilyLog, Freeze, LogError, Member, PassEntry, Removal, Shown, Standing,
};
pub use pass::{ContactPass, PassError, PassGuardian, PassSide, PassTerms, Supervision};
pub use statement::{Statement, sign_consent, sign_statement, verify_consent};
