use kinline_opus::OpusError;
use thiserror::Error;

use crate::bytes::human_size;
use crate::file::ReadError;
use crate::kind::Kind;

/// Why a recording was not taken. Each message is a sentence for the person who picked the file;
/// none holds the file's name or content.
#[derive(Debug, Error)]
pub enum AudioError {
    /// The file could not be read, or is too large.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing in it.
    #[error("the file is empty; accepted are WAV, FLAC, Ogg Vorbis, Ogg Opus, MP3 and M4A")]
    Empty,
    /// Something else, by its first bytes.
    #[error(
        "this looks like {looks_like}; accepted are WAV, FLAC, Ogg Vorbis, Ogg Opus, MP3 and M4A"
    )]
    NotAccepted {
        /// What the first bytes say.
        looks_like: Kind,
    },
    /// The right kind of file with a sound in it that can't be decoded.
    #[error(
        "the recording holds {what}, which can't be read; accepted are WAV, FLAC, Ogg Vorbis, \
         Ogg Opus, MP3 and M4A with AAC or ALAC"
    )]
    Unsupported {
        /// What it holds.
        what: &'static str,
    },
    /// The header speaks of more than there is.
    #[error(
        "the file claims to hold {} of sound, but has only {}: it is damaged or was cut short",
        human_size(*claimed), human_size(*present)
    )]
    ClaimsMore {
        /// Bytes by the header.
        claimed: u64,
        /// Bytes that are there.
        present: u64,
    },
    /// It ends too early or contradicts itself.
    #[error("the recording is damaged or was cut short, and can't be played")]
    Damaged,
    /// Longer than is accepted.
    #[error("the recording is longer than {} minutes, the most that is accepted", seconds_max / 60)]
    TooLong {
        /// The limit.
        seconds_max: u32,
    },
    /// Intact, and without a single sample.
    #[error("there is no sound in the recording")]
    NoSound,
    /// More channels than are accepted.
    #[error("the recording has {channels} channels; accepted are 1 to {channels_max}")]
    Channels {
        /// By its header.
        channels: usize,
        /// The limit.
        channels_max: u16,
    },
    /// A sample rate outside the limits.
    #[error("the recording has {rate} samples a second; accepted are {rate_min} to {rate_max}")]
    SampleRate {
        /// By its header.
        rate: u32,
        /// The lower limit.
        rate_min: u32,
        /// The upper limit.
        rate_max: u32,
    },
    /// The Opus codec failed.
    #[error("the recording could not be encoded: {0}")]
    Codec(#[from] OpusError),
    /// The Ogg pages could not be written.
    #[error("the recording could not be encoded")]
    Encode,
    /// The check after cleaning found something. It never should; then nothing is sent.
    #[error("the cleaned recording still holds {fields} metadata fields, so it is not sent")]
    NotClean {
        /// How many.
        fields: usize,
    },
}
