use crate::audio::source::check_shape;
use crate::audio::{AudioError, AudioLimits};
use crate::bytes::{Walk, index};

/// A FLAC of its stream info and its frames alone (RFC 9639 §8).
///
/// # Errors
/// [`AudioError`] where they are not there.
pub(in crate::audio) fn flac(bytes: &[u8], limits: &AudioLimits) -> Result<Vec<u8>, AudioError> {
    let mut walk = Walk::new(bytes);
    walk.take(4).ok_or(AudioError::Damaged)?;
    let mut stream_info = None;
    loop {
        let header = walk.be32().ok_or(AudioError::Damaged)?;
        let (last, kind, length) = (header >> 31 == 1, (header >> 24) & 0x7F, header & 0xFF_FFFF);
        let body = walk.take(index(length)).ok_or(AudioError::Damaged)?;
        if kind == 0 && body.len() == 34 {
            stream_info = Some(body);
        }
        if last {
            break;
        }
    }
    let stream_info = stream_info.ok_or(AudioError::Damaged)?;
    // 20 bits of sample rate, 3 of channels less one.
    let packed = Walk::new(stream_info.get(10..).unwrap_or_default())
        .be32()
        .ok_or(AudioError::Damaged)?;
    check_shape(index((packed >> 9) & 7) + 1, packed >> 12, limits)?;

    let mut out = Vec::with_capacity(walk.rest().len() + 64);
    out.extend(b"fLaC\x80\0\0\x22");
    out.extend(stream_info);
    out.extend(walk.rest());
    Ok(out)
}
