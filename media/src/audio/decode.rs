use super::clean::seconds;
use super::source::decode_mono;
use super::{AudioError, AudioLimits};
use crate::kind::Kind;

/// A voice message ready to be played.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedAudio {
    /// Mono, 48,000 a second, -1.0 to 1.0 and perhaps a little beyond.
    pub samples: Vec<f32>,
    /// Length in seconds.
    pub seconds: f64,
}

/// Decodes a voice message as it arrives: Opus in Ogg, within the default [`AudioLimits`] (ten
/// minutes are 115 MB of samples).
///
/// # Errors
/// [`AudioError`]; bytes of any other kind are [`AudioError::NotAccepted`].
pub fn decode(bytes: &[u8]) -> Result<DecodedAudio, AudioError> {
    match Kind::of(bytes) {
        Kind::OggOpus => {}
        Kind::Empty => return Err(AudioError::Empty),
        looks_like => return Err(AudioError::NotAccepted { looks_like }),
    }
    let mut samples = Vec::new();
    decode_mono(bytes, &AudioLimits::default(), &mut |_, block| {
        samples.extend_from_slice(block);
        Ok(())
    })?;
    let seconds = seconds(u64::try_from(samples.len()).unwrap_or(u64::MAX));
    Ok(DecodedAudio { samples, seconds })
}

/// The length in seconds of any accepted recording, by decoding it: headers can lie.
///
/// # Errors
/// [`AudioError`].
pub fn duration_seconds(bytes: &[u8]) -> Result<f64, AudioError> {
    let (mut frames, mut rate_seen) = (0.0, 1.0);
    decode_mono(bytes, &AudioLimits::default(), &mut |rate, block| {
        rate_seen = f64::from(rate);
        frames += f64::from(u32::try_from(block.len()).unwrap_or(u32::MAX));
        Ok(())
    })?;
    Ok(frames / rate_seen)
}
