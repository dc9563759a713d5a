//! Voice messages: cleaned before they leave a device, decoded and compared after they arrived.
//!
//! [`clean`] takes WAV, FLAC, Ogg Vorbis, Ogg Opus, MP3 and M4A (AAC or ALAC), mixes all channels
//! to one, resamples to 48 kHz and encodes mono Opus in Ogg (RFC 7845): 20 ms packets at about
//! 24 kbit/s, exactly as long as the recording. Samples flow through in blocks, so the memory is
//! the file's own size twice and the result, whatever a header claims.
//!
//! A decoder library never sees a file as it came: the module `strip` first walks its structure, compares
//! what it claims with what is there, and copies out only what decoding needs, without any tag.

mod clean;
mod compare;
mod decode;
mod error;
mod library;
mod limits;
pub mod metadata;
mod ogg_opus;
mod resample;
mod source;
mod strip;
mod waveform;

pub use clean::{CleanAudio, clean, clean_file};
pub use compare::similarity;
pub use decode::{DecodedAudio, decode, duration_seconds};
pub use error::AudioError;
pub use limits::AudioLimits;
pub use metadata::{metadata_fields, metadata_values};
pub use waveform::WAVEFORM_BARS;
