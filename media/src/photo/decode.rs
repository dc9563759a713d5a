//! From untrusted bytes to an upright sRGB picture, under a memory bound.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage,
};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

use super::metadata::jpeg::JpegShape;
use super::scale::shrink_to_rgb;
use super::{PhotoError, PhotoLimits};
use crate::kind::Kind;

/// Bytes of a colour profile that is still applied; phones' own have 500 bytes to 4 KiB.
const ICC_BYTES_MAX: usize = 256 << 10;

/// Decodes a JPEG, PNG or WebP, and returns it upright, in sRGB, at most `side_out_max` pixels on
/// its longer side, transparent parts white.
///
/// # Errors
/// Every [`PhotoError`] but those of encoding.
pub(super) fn decode_upright(
    bytes: &[u8],
    limits: &PhotoLimits,
    side_out_max: u32,
) -> Result<RgbImage, PhotoError> {
    let format = accepted(bytes)?;
    // The decoders are written not to panic; should one do so all the same, that file is damaged
    // and nothing else is.
    let picture = catch_unwind(AssertUnwindSafe(|| decode(bytes, format, limits)))
        .unwrap_or(Err(PhotoError::Damaged { source: None }))?;
    let Decoded {
        picture,
        icc,
        orientation,
    } = picture;
    let small = shrink_to_rgb(picture, side_out_max);
    let small = match icc {
        Some(icc) => catch_unwind(AssertUnwindSafe(|| to_srgb(&small, &icc)))
            .ok()
            .flatten()
            .unwrap_or(small),
        None => small,
    };
    let (width, height) = fit(small.width(), small.height(), side_out_max);
    let mut upright = DynamicImage::ImageRgb8(small);
    if (width, height) != (upright.width(), upright.height()) {
        upright = upright.resize_exact(width, height, FilterType::Lanczos3);
    }
    upright.apply_orientation(orientation);
    Ok(upright.into_rgb8())
}

/// Largest size of the same shape whose longer side is at most `side_max`.
fn fit(width: u32, height: u32, side_max: u32) -> (u32, u32) {
    let long = width.max(height);
    if long <= side_max || long == 0 {
        return (width, height);
    }
    let scaled = |side: u32| {
        let exact = (u64::from(side) * u64::from(side_max) + u64::from(long) / 2) / u64::from(long);
        u32::try_from(exact).unwrap_or(side_max).max(1)
    };
    (scaled(width), scaled(height))
}

/// The format, where it is one of the three that are accepted.
fn accepted(bytes: &[u8]) -> Result<ImageFormat, PhotoError> {
    match Kind::of(bytes) {
        Kind::Jpeg => Ok(ImageFormat::Jpeg),
        Kind::Png => Ok(ImageFormat::Png),
        Kind::WebP => Ok(ImageFormat::WebP),
        Kind::Empty => Err(PhotoError::Empty),
        looks_like => Err(PhotoError::NotAccepted { looks_like }),
    }
}

struct Decoded {
    picture: DynamicImage,
    icc: Option<Vec<u8>>,
    orientation: Orientation,
}

fn damaged(source: ImageError) -> PhotoError {
    PhotoError::Damaged {
        source: Some(source),
    }
}

fn decode(bytes: &[u8], format: ImageFormat, limits: &PhotoLimits) -> Result<Decoded, PhotoError> {
    let shape = (format == ImageFormat::Jpeg).then(|| JpegShape::of(bytes));
    // A JPEG that lacks its end would be decoded with a grey rest.
    if shape.is_some_and(|shape| !shape.complete) {
        return Err(PhotoError::Damaged { source: None });
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder_limits = Limits::default();
    decoder_limits.max_alloc = Some(limits.decode_bytes_max);
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;

    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if width > limits.side_max || height > limits.side_max || pixels > limits.pixels_max {
        return Err(PhotoError::TooManyPixels {
            width,
            height,
            side_max: limits.side_max,
            pixels_max: limits.pixels_max,
        });
    }
    let needed = pixels * bytes_per_pixel(format, decoder.color_type(), shape);
    if needed > limits.decode_bytes_max {
        return Err(PhotoError::TooMuchMemory {
            bytes: needed,
            bytes_max: limits.decode_bytes_max,
        });
    }

    let icc = decoder
        .icc_profile()
        .ok()
        .flatten()
        .filter(|icc| icc.len() <= ICC_BYTES_MAX);
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    Ok(Decoded {
        picture,
        icc,
        orientation,
    })
}

/// Bytes that decoding and the step after it hold per pixel.
fn bytes_per_pixel(format: ImageFormat, color: ColorType, shape: Option<JpegShape>) -> u64 {
    let own = u64::from(color.bytes_per_pixel());
    let channels = u64::from(color.channel_count());
    // 16-bit pictures are converted to 8 bits while both are held.
    let converted = if own > channels { channels } else { 0 };
    let decoder = match (format, shape) {
        // 16-bit coefficients of every component until the last scan.
        (_, Some(shape)) if shape.progressive => 2 * u64::from(shape.components),
        // Two chroma planes and one of luma, or the 32-bit pixels of the lossless kind.
        (ImageFormat::WebP, _) => 4,
        _ => 0,
    };
    own + converted + decoder
}

/// The same picture in sRGB, or `None` where the profile is not of RGB or can't be used; then
/// the pixels are shown as they are.
fn to_srgb(picture: &RgbImage, icc: &[u8]) -> Option<RgbImage> {
    let profile = ColorProfile::new_from_slice(icc).ok()?;
    if profile.color_space != DataColorSpace::Rgb {
        return None;
    }
    let transform = profile
        .create_transform_8bit(
            Layout::Rgb,
            &ColorProfile::new_srgb(),
            Layout::Rgb,
            TransformOptions::default(),
        )
        .ok()?;
    let mut converted = vec![0_u8; picture.as_raw().len()];
    transform.transform(picture.as_raw(), &mut converted).ok()?;
    RgbImage::from_raw(picture.width(), picture.height(), converted)
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn fitting_keeps_the_shape() {
        assert_eq!(fit(640, 480, 2_048), (640, 480));
        assert_eq!(fit(4_096, 3_072, 2_048), (2_048, 1_536));
        assert_eq!(fit(3_000, 4_000, 2_048), (1_536, 2_048));
        assert_eq!(fit(20_000, 3, 2_048), (2_048, 1));
    }
}
