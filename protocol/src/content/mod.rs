//! What people say to each other: kinds of content, their bounds, and the signature that
//! makes them reportable (PROTOCOL §8).

mod body;
mod signed;

pub use body::{Body, BodyError, Photo, Voice};
pub use signed::{Content, ContentError, ContentIn};
