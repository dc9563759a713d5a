//! A whole device: the protocol's engine in the shell, with its attachments and media.

mod attachment;
mod book;
mod copies;
mod engine;
mod media;
mod notice;
mod notice_words;
mod past;

pub use attachment::{AttachmentError, fetch_attachment, seal_attachment};
pub use book::{Book, KINDS, Known, WEEKDAYS, kind_names, policy_words, quiet_words, short};
pub use copies::copy_pictures;
pub use engine::{Device, OpenError, create, messages, open};
pub use media::{MediaError, Prepared, photo, voice};
pub use notice::{Notice, note, notices, sentence, unseen};
pub use past::{fetch_message, give_media};
