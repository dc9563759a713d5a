use std::path::Path;

use super::ogg_opus::Writer;
use super::source::decode_mono;
use super::waveform::{Loudness, To48, WAVEFORM_BARS, bars};
use super::{AudioError, AudioLimits, metadata_fields};
use crate::file::read_bounded;

/// A recording as it leaves the device.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanAudio {
    /// Mono Opus in Ogg, 20 ms packets, without a tag.
    pub ogg_opus: Vec<u8>,
    /// Length in seconds, exact to the sample.
    pub seconds: f64,
    /// How loud each of 64 equal parts is, 255 for the loudest.
    pub waveform: [u8; WAVEFORM_BARS],
}

/// Cleans a WAV, FLAC, Ogg Vorbis, Ogg Opus, MP3 or M4A recording that is already in memory.
///
/// # Errors
/// [`AudioError`], each a sentence for the person who picked the file.
pub fn clean(bytes: &[u8], limits: &AudioLimits) -> Result<CleanAudio, AudioError> {
    let mut to_48 = To48::default();
    let mut loudness = Loudness::default();
    let mut writer = Writer::new(limits.bits_per_second)?;
    decode_mono(bytes, limits, &mut |rate, block| {
        let block = to_48.push(rate, block);
        loudness.push(block);
        writer.push(block)
    })?;
    let rest = to_48.finish();
    loudness.push(&rest);
    writer.push(&rest)?;
    let (ogg_opus, samples) = writer.finish()?;

    // Trust nothing, our own writer included: what leaves is read again.
    let fields = metadata_fields(&ogg_opus).len();
    if fields != 0 {
        return Err(AudioError::NotClean { fields });
    }
    Ok(CleanAudio {
        ogg_opus,
        seconds: seconds(samples),
        waveform: bars(&loudness.finish()),
    })
}

/// Cleans a file. One that is larger than the limit is refused before it is read.
///
/// # Errors
/// [`AudioError`], each a sentence for the person who picked the file.
pub fn clean_file(path: &Path, limits: &AudioLimits) -> Result<CleanAudio, AudioError> {
    clean(&read_bounded(path, limits.file_bytes_max)?, limits)
}

/// Samples at 48 kHz as seconds.
pub(super) fn seconds(samples: u64) -> f64 {
    // At most 600 x 48,000.
    f64::from(u32::try_from(samples).unwrap_or(u32::MAX)) / 48_000.0
}
