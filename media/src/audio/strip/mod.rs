//! Builds, from an untrusted file, one that holds nothing but what decoding needs.
//!
//! Each builder walks the file's structure, refuses claims that exceed what is there (lengths,
//! table sizes, codebooks: decoder libraries allocate by them), and leaves out every tag.

mod edit;
mod flac;
mod id3;
mod mp4;
mod vorbis;
mod wav;

pub(super) use edit::{Edit, Ticks};
pub(super) use flac::flac;
pub(super) use id3::{ape_length, id3v2_length, synchsafe, without_id3};
pub(super) use mp4::mp4;
pub(super) use vorbis::vorbis;
pub(super) use wav::wav;
