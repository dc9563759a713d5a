//! A device as a process that is fed line by line, so that it can be killed at any moment and
//! its reports are what it said while it lived.
//!
//! | in | out |
//! |---|---|
//! | `say TEXT` | `kept TEXT` once it is durable |
//! | `photo FILE` | `kept photo` once it is durable |
//! | `online` | |
//! | `settle` | `settled` when everything is delivered and read as far as it knows |
//! | `offer NAME` | `code CODE`, by which a child's device pairs; what asks gets yes; `added` when it is in |
//! | `join CODE` | `joined` when the family is there |
//! | `stop` | `stopped`, after it ended politely |
//! | | `shown TEXT` for what others said, once it is durable |
//! | | `failed SENTENCE` when it can't go on; then it ends with status 1 |

mod device;
mod early;
mod process;

pub use device::main;
pub use early::VARIABLE as PLANTED;
pub use process::Chat;
