//! A bit for each kind of message, as policies and contact passes name them.

/// Written words.
pub const TEXT: u32 = 1;
/// Stickers.
pub const STICKER: u32 = 2;
/// Photos.
pub const PHOTO: u32 = 4;
/// Voice messages.
pub const VOICE: u32 = 8;
/// Learning reports.
pub const PROGRESS: u32 = 16;
/// All of them.
pub const ALL: u32 = TEXT | STICKER | PHOTO | VOICE | PROGRESS;

/// What people call a kind, in the plural, at the beginning of a sentence.
#[must_use]
pub const fn name(kind: u32) -> &'static str {
    match kind {
        TEXT => "Texts",
        STICKER => "Stickers",
        PHOTO => "Photos",
        VOICE => "Voice messages",
        PROGRESS => "Learning reports",
        _ => "Such messages",
    }
}
