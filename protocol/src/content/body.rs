//! The kinds of content and their bounds.

use super::{Control, Progress, kinds};
use crate::attachment::{Pointer, PointerError};
use crate::ids::{ContentId, IdLengthError};
use crate::limits;
use crate::wire::{self, content::Body as WireBody};

/// Bytes of an emoji or a sticker's name.
const SHORT_BYTES_MAX: usize = 64;
/// Bars of a waveform.
const WAVEFORM_BARS_MAX: usize = 64;
/// Pixels of a photo's side, as announced.
const PHOTO_SIDE_MAX: u32 = 65_535;

/// One content, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Written words.
    Text {
        /// 1 to [`limits::TEXT_CHARACTERS_MAX`] characters.
        text: String,
    },
    /// A picture that both sides have already.
    Sticker {
        /// The collection it is in.
        pack: String,
        /// Which.
        name: String,
    },
    /// An emoji on a content; an empty one takes it back.
    Reaction {
        /// What it is about.
        target: ContentId,
        /// The emoji.
        emoji: String,
    },
    /// New words for a text of the same sender.
    Edit {
        /// Which.
        target: ContentId,
        /// The new words.
        text: String,
    },
    /// Takes a content of the same sender back, for everyone.
    Delete {
        /// Which.
        target: ContentId,
    },
    /// A cleaned photo.
    Photo(Photo),
    /// A cleaned voice message.
    Voice(Voice),
    /// A learning report, in the family's conversation only.
    Progress(Progress),
    /// What devices say to each other; never shown.
    Control(Control),
}

/// A photo: the blob holds a JPEG without any metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    /// Where it is and how it opens.
    pub blob: Pointer,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Preview, in BlurHash notation.
    pub blurhash: String,
    /// Words under it; may be empty.
    pub caption: String,
}

/// A voice message: the blob holds mono Opus in Ogg (RFC 7845) without tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// Where it is and how it opens.
    pub blob: Pointer,
    /// Milliseconds.
    pub duration_ms: u32,
    /// At most 64 bars of loudness, 0 to 255.
    pub waveform: Vec<u8>,
}

/// Why a content is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Nothing in it.
    #[error("there is nothing in this message")]
    Empty,
    /// Too long.
    #[error("{what} is too long: at most {max} {unit}")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Bound.
        max: usize,
        /// Of what.
        unit: &'static str,
    },
    /// A kind that this version does not know.
    #[error("this kind of message is not known here")]
    Unknown,
    /// An id of a wrong length.
    #[error("the message names another one badly")]
    Id(#[from] IdLengthError),
    /// A damaged blob pointer.
    #[error("the message's attachment is named badly")]
    Pointer(#[from] PointerError),
    /// A picture size that is none.
    #[error("the photo's size is out of bounds")]
    Size,
    /// A learning report whose numbers can't be.
    #[error("the learning report's {0} is out of bounds")]
    Progress(&'static str),
    /// A part that devices need is missing or damaged.
    #[error("{0} in what a device says is missing or damaged")]
    Control(&'static str),
}

pub(super) fn bounded(what: &'static str, text: &str, max: usize) -> Result<(), BodyError> {
    if text.len() > max {
        return Err(BodyError::TooLong {
            what,
            max,
            unit: "bytes",
        });
    }
    Ok(())
}

fn text_bounded(text: &str) -> Result<(), BodyError> {
    if text.is_empty() {
        return Err(BodyError::Empty);
    }
    if text.chars().count() > limits::TEXT_CHARACTERS_MAX {
        return Err(BodyError::TooLong {
            what: "the text",
            max: limits::TEXT_CHARACTERS_MAX,
            unit: "characters",
        });
    }
    Ok(())
}

impl Body {
    /// Checks every bound; both sides do, before sending and after receiving.
    ///
    /// # Errors
    /// [`BodyError`] with a sentence for the one who wrote it.
    pub fn check(&self) -> Result<(), BodyError> {
        match self {
            Self::Progress(progress) => progress.check(),
            Self::Control(control) => control.check(),
            Self::Text { text } | Self::Edit { text, .. } => text_bounded(text),
            Self::Sticker { pack, name } => {
                if name.is_empty() {
                    return Err(BodyError::Empty);
                }
                bounded("the sticker's pack", pack, SHORT_BYTES_MAX)?;
                bounded("the sticker's name", name, SHORT_BYTES_MAX)
            }
            Self::Reaction { emoji, .. } => bounded("the reaction", emoji, SHORT_BYTES_MAX),
            Self::Delete { .. } => Ok(()),
            Self::Photo(photo) => {
                let sides = 1..=PHOTO_SIDE_MAX;
                if !sides.contains(&photo.width) || !sides.contains(&photo.height) {
                    return Err(BodyError::Size);
                }
                bounded("the preview", &photo.blurhash, 128)?;
                bounded("the caption", &photo.caption, 4_096)
            }
            Self::Voice(voice) => {
                if voice.waveform.len() > WAVEFORM_BARS_MAX {
                    return Err(BodyError::TooLong {
                        what: "the waveform",
                        max: WAVEFORM_BARS_MAX,
                        unit: "bars",
                    });
                }
                Ok(())
            }
        }
    }

    /// The [`kinds`] bit of this content; 0 for what goes with any kind: reactions, what is
    /// taken back, and what devices say to each other. An edit is written words, whatever it
    /// changes: a sticker whose edit says more than a sticker can is none.
    #[must_use]
    pub const fn kind_bit(&self) -> u32 {
        match self {
            Self::Text { .. } | Self::Edit { .. } => kinds::TEXT,
            Self::Sticker { .. } => kinds::STICKER,
            Self::Photo(_) => kinds::PHOTO,
            Self::Voice(_) => kinds::VOICE,
            Self::Progress(_) => kinds::PROGRESS,
            Self::Reaction { .. } | Self::Delete { .. } | Self::Control(_) => 0,
        }
    }

    /// Whether it is a message by itself, of which a day may have so many: an edit is none.
    #[must_use]
    pub const fn is_message(&self) -> bool {
        self.kind_bit() != 0 && !matches!(self, Self::Edit { .. })
    }

    /// The attachment's pointer, for photo and voice.
    #[must_use]
    pub const fn attachment(&self) -> Option<&Pointer> {
        match self {
            Self::Photo(photo) => Some(&photo.blob),
            Self::Voice(voice) => Some(&voice.blob),
            _ => None,
        }
    }

    pub(crate) fn to_wire(&self) -> WireBody {
        match self.clone() {
            Self::Text { text } => WireBody::Text(wire::Text { text }),
            Self::Sticker { pack, name } => WireBody::Sticker(wire::Sticker { pack, name }),
            Self::Reaction { target, emoji } => WireBody::Reaction(wire::Reaction {
                target: target.to_bytes(),
                emoji,
            }),
            Self::Edit { target, text } => WireBody::Edit(wire::Edit {
                target: target.to_bytes(),
                text,
            }),
            Self::Delete { target } => WireBody::Delete(wire::Delete {
                target: target.to_bytes(),
            }),
            Self::Photo(photo) => WireBody::Photo(wire::Photo {
                blob: Some(photo.blob.to_wire()),
                width: photo.width,
                height: photo.height,
                blurhash: photo.blurhash,
                caption: photo.caption,
            }),
            Self::Voice(voice) => WireBody::Voice(wire::Voice {
                blob: Some(voice.blob.to_wire()),
                duration_ms: voice.duration_ms,
                waveform: voice.waveform.into(),
            }),
            Self::Progress(progress) => WireBody::Progress(progress.to_wire()),
            Self::Control(control) => WireBody::Control(control.to_wire()),
        }
    }

    pub(crate) fn from_wire(body: Option<WireBody>) -> Result<Self, BodyError> {
        let body = match body.ok_or(BodyError::Unknown)? {
            WireBody::Text(text) => Self::Text { text: text.text },
            WireBody::Sticker(sticker) => Self::Sticker {
                pack: sticker.pack,
                name: sticker.name,
            },
            WireBody::Reaction(reaction) => Self::Reaction {
                target: ContentId::try_from(&reaction.target)?,
                emoji: reaction.emoji,
            },
            WireBody::Edit(edit) => Self::Edit {
                target: ContentId::try_from(&edit.target)?,
                text: edit.text,
            },
            WireBody::Delete(delete) => Self::Delete {
                target: ContentId::try_from(&delete.target)?,
            },
            WireBody::Photo(photo) => Self::Photo(Photo {
                blob: Pointer::try_from(&photo.blob.unwrap_or_default())?,
                width: photo.width,
                height: photo.height,
                blurhash: photo.blurhash,
                caption: photo.caption,
            }),
            WireBody::Voice(voice) => Self::Voice(Voice {
                blob: Pointer::try_from(&voice.blob.unwrap_or_default())?,
                duration_ms: voice.duration_ms,
                waveform: voice.waveform.to_vec(),
            }),
            WireBody::Progress(progress) => Self::Progress(Progress::from_wire(progress)),
            WireBody::Control(control) => Self::Control(Control::from_wire(control)?),
        };
        body.check()?;
        Ok(body)
    }
}
