use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, RgbImage};

use super::decode::decode_upright;
use super::{PhotoError, PhotoLimits, metadata_fields};
use crate::file::{ReadError, read_bounded};

/// Components of the preview across and down: 4 x 3, 28 characters.
const BLURHASH_COMPONENTS: (u32, u32) = (4, 3);

/// Longer side of the picture that the preview is computed from; more pixels change nothing.
const BLURHASH_SIDE: u32 = 64;

/// A photo as it leaves the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanPhoto {
    /// A baseline JPEG, upright, in sRGB, with no metadata of any kind.
    pub jpeg: Vec<u8>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// A blurred preview in 28 characters (BlurHash, 4 x 3 components).
    pub blurhash: String,
}

/// Cleans a JPEG, PNG or WebP that is already in memory.
///
/// # Errors
/// [`PhotoError`], each a sentence for the person who picked the file.
pub fn clean(bytes: &[u8], limits: &PhotoLimits) -> Result<CleanPhoto, PhotoError> {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > limits.file_bytes_max {
        return Err(ReadError::TooLarge {
            bytes: length,
            bytes_max: limits.file_bytes_max,
        }
        .into());
    }
    let picture = decode_upright(bytes, limits, limits.side_out_max)?;
    let (width, height) = picture.dimensions();

    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, limits.quality.clamp(1, 100))
        .encode_image(&picture)
        .map_err(|source| PhotoError::Encode {
            source: Some(source),
        })?;

    // Trust nothing, our own encoder included: what leaves is read again.
    let fields = metadata_fields(&jpeg).len();
    if fields != 0 {
        return Err(PhotoError::NotClean { fields });
    }
    let again = decode_upright(&jpeg, limits, limits.side_out_max)?;
    if again.dimensions() != (width, height) {
        return Err(PhotoError::Encode { source: None });
    }
    Ok(CleanPhoto {
        jpeg,
        width,
        height,
        blurhash: preview(picture)?,
    })
}

/// Cleans a file. One that is larger than the limit is refused before it is read.
///
/// # Errors
/// [`PhotoError`], each a sentence for the person who picked the file.
pub fn clean_file(path: &Path, limits: &PhotoLimits) -> Result<CleanPhoto, PhotoError> {
    clean(&read_bounded(path, limits.file_bytes_max)?, limits)
}

fn preview(picture: RgbImage) -> Result<String, PhotoError> {
    let (across, down) = BLURHASH_COMPONENTS;
    let small = DynamicImage::ImageRgb8(picture)
        .thumbnail(BLURHASH_SIDE, BLURHASH_SIDE)
        .into_rgba8();
    blurhash::encode(across, down, small.width(), small.height(), small.as_raw())
        .map_err(|_| PhotoError::Encode { source: None })
}
