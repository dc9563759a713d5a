//! What a photo's file tells besides its pixels, read independently of any image library.
//!
//! The readers walk a file's structure and count everything that is not needed to show the
//! picture. They are used on photos from strangers too: each step is checked against the bytes
//! that are there, each list has an upper bound, nothing is inflated.

mod exif;
pub mod jpeg;
mod photoshop;
mod png;
mod webp;
mod xmp;

use crate::fields::Fields;
use crate::kind::Kind;

/// The name of each piece of metadata in a JPEG, PNG or WebP: `EXIF Make`, `GPS GPSLatitude`,
/// `XMP xmp:Rating`, `ICC profile`, `JPEG comment`, `PNG tEXt Author`, … Empty for a clean
/// photo. Bytes that are none of the three give a single `unknown format (…)`.
///
/// A JFIF header without a thumbnail and an Adobe APP14 header say how to decode the pixels and
/// do not count, nor do PNG's chunks that do so.
#[must_use]
pub fn metadata_fields(bytes: &[u8]) -> Vec<String> {
    scan(bytes).into_names()
}

/// The readable values of a photo's metadata as (name, value): camera, dates, serial numbers,
/// people, comments, and coordinates in the usual renderings (degrees with 4 to 6 decimals;
/// degrees, minutes, seconds). A value may be as short as one character: who searches for them
/// chooses by length.
#[must_use]
pub fn metadata_values(bytes: &[u8]) -> Vec<(String, String)> {
    scan(bytes).into_values()
}

fn scan(bytes: &[u8]) -> Fields {
    let mut fields = Fields::default();
    match Kind::of(bytes) {
        Kind::Jpeg => jpeg::scan(bytes, &mut fields),
        Kind::Png => png::scan(bytes, &mut fields),
        Kind::WebP => webp::scan(bytes, &mut fields),
        other => fields.name(format!("unknown format ({other})")),
    }
    fields
}
