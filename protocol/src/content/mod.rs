//! What people say to each other: kinds of content, their bounds, and the signature that
//! makes them reportable (PROTOCOL §8).

pub mod kinds;

mod body;
mod control;
mod progress;
mod signed;

pub use body::{Body, BodyError, Photo, Voice};
pub use control::{
    ContactSetup, Control, Copied, Erase, FriendRequest, GroupOffer, LogNews, PassOffer, PassStage,
    Proposal, Refusal, Report,
};
pub use progress::Progress;
pub use signed::{Content, ContentError, ContentIn};
