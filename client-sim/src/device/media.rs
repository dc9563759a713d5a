//! Photos and recordings on their way out: cleaned, sealed, described.

use std::path::Path;

use kinline_media::audio::{AudioError, AudioLimits};
use kinline_media::photo::{PhotoError, PhotoLimits};
use kinline_protocol::content::{Body, Photo, Voice};
use kinline_protocol::engine::io::OutgoingBlob;

use super::{AttachmentError, seal_attachment};

/// Why a file can't be sent; a sentence for the person who picked it.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// Not a photo that can be sent.
    #[error(transparent)]
    Photo(#[from] PhotoError),
    /// Not a recording that can be sent.
    #[error(transparent)]
    Audio(#[from] AudioError),
    /// It can't be encrypted or kept.
    #[error(transparent)]
    Attachment(#[from] AttachmentError),
}

/// What is ready to be sent.
#[derive(Debug)]
pub struct Prepared {
    /// The message.
    pub body: Body,
    /// Its attachment's encrypted bytes.
    pub blob: OutgoingBlob,
    /// The cleaned file, byte for byte what the others get.
    pub cleaned: Vec<u8>,
}

/// Cleans a photo and seals it in the device's state folder. Blocks.
///
/// # Errors
/// [`MediaError`]; nothing is kept then.
pub fn photo(folder: &Path, file: &Path, caption: &str) -> Result<Prepared, MediaError> {
    let clean = kinline_media::photo::clean_file(file, &PhotoLimits::default())?;
    let (pointer, blob) = seal_attachment(folder, &clean.jpeg)?;
    Ok(Prepared {
        body: Body::Photo(Photo {
            blob: pointer,
            width: clean.width,
            height: clean.height,
            blurhash: clean.blurhash,
            caption: caption.to_owned(),
        }),
        blob,
        cleaned: clean.jpeg,
    })
}

/// Cleans a recording and seals it in the device's state folder. Blocks.
///
/// # Errors
/// [`MediaError`]; nothing is kept then.
pub fn voice(folder: &Path, file: &Path) -> Result<Prepared, MediaError> {
    let clean = kinline_media::audio::clean_file(file, &AudioLimits::default())?;
    let (pointer, blob) = seal_attachment(folder, &clean.ogg_opus)?;
    Ok(Prepared {
        body: Body::Voice(Voice {
            blob: pointer,
            duration_ms: milliseconds(clean.seconds),
            waveform: clean.waveform.to_vec(),
        }),
        blob,
        cleaned: clean.ogg_opus,
    })
}

fn milliseconds(seconds: f64) -> u32 {
    let length = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    u32::try_from(length.as_millis()).unwrap_or(u32::MAX)
}
