//! What a recording's file tells besides its sound, read independently of any audio library.
//!
//! The readers walk a file's structure; each step is checked against the bytes that are there,
//! each list has an upper bound, nothing is inflated or decoded.

mod comments;
mod flac;
mod id3;
mod mp4;
mod ogg;
mod wav;

use crate::fields::Fields;
use crate::kind::Kind;

/// The name of each piece of metadata in a recording: `FLAC comment ARTIST`, `FLAC picture`,
/// `ID3 TPE1`, `WAV INFO IART`, `MP4 ©nam`, … Empty for a clean one. Bytes of no kind that is
/// known here give a single `unknown format (…)`.
///
/// The name of the encoding program counts too; the `kinline` that stands in every recording
/// that was cleaned does not, because it is the same for everyone.
#[must_use]
pub fn metadata_fields(bytes: &[u8]) -> Vec<String> {
    scan(bytes).into_names()
}

/// The readable values of a recording's metadata as (name, value). A value may be as short as
/// one character: who searches for them chooses by length.
#[must_use]
pub fn metadata_values(bytes: &[u8]) -> Vec<(String, String)> {
    scan(bytes).into_values()
}

fn scan(bytes: &[u8]) -> Fields {
    let mut fields = Fields::default();
    match Kind::of(bytes) {
        Kind::Wav => wav::scan(bytes, &mut fields),
        Kind::Flac => flac::scan(bytes, &mut fields),
        Kind::OggOpus | Kind::OggVorbis | Kind::OggFlac | Kind::OggOther => {
            ogg::scan(bytes, &mut fields);
        }
        Kind::Mp3 => id3::scan(bytes, &mut fields),
        Kind::M4a | Kind::QuickTime => mp4::scan(bytes, &mut fields),
        other => fields.name(format!("unknown format ({other})")),
    }
    fields
}
