//! What a family lets a child do with others, judged on the child's device in its local
//! time (PROTOCOL §8.7). Pure: the moment and the day's count come in. The family log
//! carries policies, and tells stricter ones from looser ones.
//!
//! A child always reaches its guardians: in the family's conversation, and in one of
//! guardians with the child only, nothing is ever refused.

mod count;
mod quiet;
mod rules;
#[cfg(test)]
mod tests;
mod verdict;
mod zone;

pub use count::DayCount;
pub(crate) use quiet::DAY_MINUTES;
pub use quiet::{QuietEnd, QuietHours};
pub use rules::{Policy, PolicyError};
pub use verdict::{Audience, Verdict, Why};
pub use zone::Zone;
