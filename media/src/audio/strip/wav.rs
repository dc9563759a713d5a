use crate::audio::source::check_shape;
use crate::audio::{AudioError, AudioLimits};
use crate::bytes::{Walk, index};

/// Longest format chunk that is copied; the extensible one has 40 bytes.
const FORMAT_BYTES_MAX: u32 = 64;

/// A WAV of its format and data chunks alone.
///
/// # Errors
/// [`AudioError`] where the chunks are not there, contradict themselves or claim more than there is.
pub(in crate::audio) fn wav(bytes: &[u8], limits: &AudioLimits) -> Result<Vec<u8>, AudioError> {
    let mut walk = Walk::new(bytes);
    walk.take(12).ok_or(AudioError::Damaged)?;
    let mut format = None;
    loop {
        let (Some(kind), Some(length)) = (walk.name(), walk.le32()) else {
            return Err(AudioError::Damaged);
        };
        match &kind {
            b"fmt " if length <= FORMAT_BYTES_MAX => {
                let body = walk.take(index(length)).ok_or(AudioError::Damaged)?;
                check_format(body, limits)?;
                format = Some(body);
            }
            b"data" => {
                let Some(data) = walk.take(index(length)) else {
                    let present = u64::try_from(walk.rest().len()).unwrap_or(u64::MAX);
                    return Err(AudioError::ClaimsMore {
                        claimed: u64::from(length),
                        present,
                    });
                };
                return build(format.ok_or(AudioError::Damaged)?, data);
            }
            _ => {
                walk.take_up_to(index(length));
            }
        }
        if length % 2 == 1 {
            walk.take_up_to(1);
        }
    }
}

fn check_format(body: &[u8], limits: &AudioLimits) -> Result<(), AudioError> {
    let mut walk = Walk::new(body);
    let mut read = || {
        let (_codec, channels, rate) = (walk.le16()?, walk.le16()?, walk.le32()?);
        let (_per_second, block, bits) = (walk.le32()?, walk.le16()?, walk.le16()?);
        Some((channels, rate, block, bits))
    };
    let (channels, rate, block, bits) = read().ok_or(AudioError::Damaged)?;
    check_shape(usize::from(channels), rate, limits)?;
    if !matches!(bits, 8 | 16 | 24 | 32 | 64) {
        return Err(AudioError::Unsupported {
            what: "compressed samples in a WAV file",
        });
    }
    if u32::from(block) != u32::from(channels) * u32::from(bits) / 8 {
        return Err(AudioError::Damaged);
    }
    Ok(())
}

fn build(format: &[u8], data: &[u8]) -> Result<Vec<u8>, AudioError> {
    let length = |bytes: usize| u32::try_from(bytes).map_err(|_| AudioError::Damaged);
    let mut out = Vec::with_capacity(data.len() + 128);
    out.extend(b"RIFF");
    out.extend(length(4 + 8 + format.len() + 8 + data.len())?.to_le_bytes());
    out.extend(b"WAVEfmt ");
    out.extend(length(format.len())?.to_le_bytes());
    out.extend(format);
    out.extend(b"data");
    out.extend(length(data.len())?.to_le_bytes());
    out.extend(data);
    Ok(out)
}
