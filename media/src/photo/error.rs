use image::ImageError;
use thiserror::Error;

use crate::bytes::human_size;
use crate::file::ReadError;
use crate::kind::Kind;

/// Why a photo was not taken. Each message is a sentence for the person who picked the file; none
/// holds the file's name or content.
#[derive(Debug, Error)]
pub enum PhotoError {
    /// The file could not be read, or is too large.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing in it.
    #[error("the file is empty; accepted are JPEG, PNG and WebP photos")]
    Empty,
    /// Something else, by its first bytes.
    #[error("this looks like {looks_like}; accepted are JPEG, PNG and WebP photos")]
    NotAccepted {
        /// What the first bytes say.
        looks_like: Kind,
    },
    /// More pixels than are accepted, by its header. Nothing was decoded.
    #[error(
        "the picture is {width} x {height} pixels; accepted are at most {side_max} a side \
         and {} megapixels in all",
        pixels_max / 1_000_000
    )]
    TooManyPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit of either side.
        side_max: u32,
        /// The limit of their product.
        pixels_max: u64,
    },
    /// Within the pixel limits, yet its kind of encoding needs too much memory.
    #[error(
        "decoding the picture would need {} of memory; at most {} are used: save it with fewer \
         pixels or as an ordinary JPEG",
        human_size(*bytes), human_size(*bytes_max)
    )]
    TooMuchMemory {
        /// What decoding would need.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// It ends too early or contradicts itself.
    #[error("the photo is damaged or was cut short, and can't be shown")]
    Damaged {
        /// What the decoder said, if it did.
        #[source]
        source: Option<ImageError>,
    },
    /// The new JPEG could not be made.
    #[error("the photo could not be encoded")]
    Encode {
        /// What the encoder said, if it did.
        #[source]
        source: Option<ImageError>,
    },
    /// The check after cleaning found something. It never should; then nothing is sent.
    #[error("the cleaned photo still holds {fields} metadata fields, so it is not sent")]
    NotClean {
        /// How many.
        fields: usize,
    },
}
