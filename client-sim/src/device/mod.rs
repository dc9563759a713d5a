//! A whole device: the protocol's engine in the shell, with its attachments and media.

mod attachment;
mod engine;
mod media;

pub use attachment::{AttachmentError, fetch_attachment, seal_attachment};
pub use engine::{Device, OpenError, create, messages, open};
pub use media::{MediaError, Prepared, photo, voice};
