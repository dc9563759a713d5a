//! The sans-IO engine of a device: commands, frames and time go in; changes to persist,
//! frames to send and events to show come out (see [`io`]).
//!
//! The [`Engine`] owns all state of a device. Each of its jobs has a file:
//! - `load` takes it up from its records, `session` attaches;
//! - `inbox` opens what is delivered, `receive` puts contents into order, `history` shows
//!   them, and hands what devices say to each other to `control`;
//! - `outbox` takes and encrypts what is written, `outgoing` repeats it until it is
//!   confirmed (`contents` holds it), `sends` repeats sealed envelopes until the relay has
//!   them, `blobs` moves what is larger;
//! - `operations` keeps changes of conversations that wait, `commits` makes them, `slots`
//!   follows them;
//! - `direct` speaks one to one, `packages` hands out key packages, `signals` says who types;
//! - `policing` enforces the family's policy on a child's device; `safety` is what a child can
//!   do by itself, `noticing` tells guardians what a device noticed;
//! - `family` founds; `pairing` (`offering`, `joining`) and `join` let devices in;
//! - `governing` decides for the family; `authority` knows who is who, `lease` what day it is
//!   and whose guardians were heard, `standing` what may be sent and shown now, and
//!   `reconcile` brings conversations to what the logs say;
//! - `meeting` and `cards` bring guardians of two families together, `contacts` and `groups`
//!   their children, `setup` has their conversations formed, `news` and `parts` tell each what the
//!   other decided, `copies` send home what supervision wants to see;
//! - `operator` reads the log of the relay's operator, compares it with what the family was shown,
//!   and does what it orders;
//! - `past` asks other devices of the family for what was said before this one came,
//!   `past_giving` gives it, `past_media` puts attachments up again that the relay has no more;
//! - `erasing` forgets a child or the family everywhere;
//! - `mailboxes` gives guardians power over a child's mailbox; `reentry` comes back where a
//!   device can't follow any more, `reform` forms again what nobody can change any more;
//! - `recovery` puts by what a guardian needs who loses every phone, `returning` is the new phone
//!   that asks to come back (`returning_links`: with other families), `asked` what the family does
//!   about it.

pub mod io;
pub mod view;

mod asked;
mod authority;
mod blobs;
mod cards;
mod command;
mod commits;
mod contacts;
mod contents;
mod control;
mod copies;
mod device;
mod direct;
mod erasing;
mod errors;
mod event;
mod family;
mod governing;
mod groups;
mod history;
mod inbox;
mod join;
mod joining;
mod lease;
mod load;
mod mailboxes;
mod meeting;
mod news;
mod noticing;
mod offering;
mod operating;
mod operations;
mod operator;
mod outbox;
mod outgoing;
mod packages;
mod pairing;
mod parts;
mod past;
mod past_giving;
mod past_media;
mod past_taking;
mod policing;
mod receive;
mod reconcile;
mod records;
mod recovery;
mod reentry;
mod reform;
mod returning;
mod returning_links;
mod safety;
mod sends;
mod session;
mod setup;
mod signals;
mod slots;
mod standing;
mod state;
mod summary;
mod tickets;
mod vault;

pub use asked::ReturnWish;
pub use device::{Counters, Engine};
pub use errors::{CommandError, LoadError, PairingError};
pub use load::Setup;
pub use operator::{IssuerVerdict, OperatorStatus};
pub use past::HistoryProgress;
pub use past_media::MediaWish;
pub use policing::PolicyNow;
pub use recovery::{RecoveryGap, RecoveryStatus};
pub use summary::{
    ConversationSummary, GroupUnderWay, MemberSummary, PassUnderWay, ProposalSummary,
};
pub use vault::VaultWrite;
