//! From untrusted bytes to mono samples, block by block.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{AudioError, AudioLimits, library, ogg_opus, strip};
use crate::kind::Kind;

/// Takes blocks of mono samples with their sample rate, which never changes within a recording.
pub(super) type Sink<'a> = dyn FnMut(u32, &[f32]) -> Result<(), AudioError> + 'a;

/// Decodes any accepted recording into `sink`.
///
/// # Errors
/// [`AudioError`], of the recording or of the sink.
pub(super) fn decode_mono(
    bytes: &[u8],
    limits: &AudioLimits,
    sink: &mut Sink<'_>,
) -> Result<(), AudioError> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > limits.file_bytes_max {
        let bytes_max = limits.file_bytes_max;
        return Err(crate::file::ReadError::TooLarge {
            bytes: length,
            bytes_max,
        }
        .into());
    }
    let mut frames = 0_u64;
    let mut counted = |rate: u32, block: &[f32]| {
        frames = frames.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        if frames > u64::from(limits.seconds_max) * u64::from(rate) {
            return Err(AudioError::TooLong {
                seconds_max: limits.seconds_max,
            });
        }
        sink(rate, block)
    };
    // The decoders are written not to panic; should one do so all the same, that file is damaged
    // and nothing else is.
    catch_unwind(AssertUnwindSafe(|| dispatch(bytes, limits, &mut counted)))
        .unwrap_or(Err(AudioError::Damaged))?;
    if frames == 0 {
        Err(AudioError::NoSound)
    } else {
        Ok(())
    }
}

fn dispatch(bytes: &[u8], limits: &AudioLimits, sink: &mut Sink<'_>) -> Result<(), AudioError> {
    match Kind::of(bytes) {
        Kind::Empty => Err(AudioError::Empty),
        Kind::OggOpus => ogg_opus::decode_mono(bytes, limits, sink),
        Kind::Wav => library::wav(strip::wav(bytes, limits)?, limits, sink),
        Kind::Flac => library::flac(strip::flac(bytes, limits)?, limits, sink),
        Kind::OggVorbis => {
            let (ogg, edit) = strip::vorbis(bytes, limits)?;
            library::vorbis(ogg, edit, limits, sink)
        }
        Kind::M4a => {
            let (mp4, edit) = strip::mp4(bytes)?;
            library::mp4(mp4, edit, limits, sink)
        }
        Kind::Mp3 => match strip::without_id3(bytes) {
            [] => Err(AudioError::NoSound),
            flac if flac.starts_with(b"fLaC") => {
                library::flac(strip::flac(flac, limits)?, limits, sink)
            }
            mp3 => library::mp3(mp3.to_vec(), limits, sink),
        },
        looks_like => Err(AudioError::NotAccepted { looks_like }),
    }
}

/// Checks what a header says about channels and sample rate.
///
/// # Errors
/// [`AudioError::Channels`], [`AudioError::SampleRate`].
pub(super) fn check_shape(
    channels: usize,
    rate: u32,
    limits: &AudioLimits,
) -> Result<(), AudioError> {
    let AudioLimits {
        channels_max,
        rate_min,
        rate_max,
        ..
    } = *limits;
    if channels == 0 || channels > usize::from(channels_max) {
        return Err(AudioError::Channels {
            channels,
            channels_max,
        });
    }
    if !(rate_min..=rate_max).contains(&rate) {
        return Err(AudioError::SampleRate {
            rate,
            rate_min,
            rate_max,
        });
    }
    Ok(())
}

/// How many packets were good and bad. A few bad ones are skipped, as players do.
#[derive(Debug, Default)]
pub(super) struct Health {
    good: u64,
    bad: u64,
    bad_in_a_row: u64,
}

impl Health {
    /// Bad packets in a row after which there is no point in going on.
    const ROW_MAX: u64 = 200;

    pub(super) fn good(&mut self) {
        self.good += 1;
        self.bad_in_a_row = 0;
    }

    /// Notes a bad packet.
    ///
    /// # Errors
    /// [`AudioError::Damaged`] after 200 in a row.
    pub(super) fn bad(&mut self) -> Result<(), AudioError> {
        self.bad += 1;
        self.bad_in_a_row += 1;
        if self.bad_in_a_row > Self::ROW_MAX {
            Err(AudioError::Damaged)
        } else {
            Ok(())
        }
    }

    /// # Errors
    /// [`AudioError::Damaged`] where more than one packet in twenty was bad.
    pub(super) fn verdict(&self) -> Result<(), AudioError> {
        if self.bad * 19 > self.good {
            Err(AudioError::Damaged)
        } else {
            Ok(())
        }
    }
}
