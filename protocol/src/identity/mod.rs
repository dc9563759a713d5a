//! Who is who: the family log, from which all authority comes, and the certificates it
//! implies (PROTOCOL §7).

mod log;
mod statement;
mod stub;

pub use log::{Certificate, FamilyLog, LogError, Member, Role};
pub use statement::{AddedDevice, AddedMember, Decision, Statement, sign_statement};
pub use stub::{ContactPass, PassEntry, PassGuardian, PassSide, Shown, Supervision};
