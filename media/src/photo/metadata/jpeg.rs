//! The segments of a JPEG file (ITU T.81 annex B).

use super::{exif, photoshop, xmp};
use crate::bytes::{Walk, text};
use crate::fields::Fields;

/// What has to be known about a JPEG before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JpegShape {
    /// Its end marker is there.
    pub complete: bool,
    /// Decoded in several scans, with all coefficients held meanwhile.
    pub progressive: bool,
    /// Colour components, 1 to 4.
    pub components: u8,
}

impl JpegShape {
    /// Walks the segments of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut shape = Self {
            complete: false,
            progressive: false,
            components: 0,
        };
        let trailing = walk_segments(bytes, |marker, body| {
            // Frame headers are C0 to CF, but for DHT (C4), JPG (C8) and DAC (CC). Only the
            // sequential Huffman kinds are decoded row by row.
            if matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC) {
                shape.progressive |= !matches!(marker, 0xC0 | 0xC1);
                shape.components = body.get(5).copied().unwrap_or(0);
            }
        });
        shape.complete = trailing.is_some();
        shape
    }
}

/// Calls `visit` with each segment's marker and body; returns what follows the end marker, or
/// `None` where there is none.
fn walk_segments<'a>(bytes: &'a [u8], mut visit: impl FnMut(u8, &'a [u8])) -> Option<&'a [u8]> {
    let mut walk = Walk::new(bytes);
    walk.take(2)?;
    loop {
        // A marker is FF and a code; any number of FF may come before.
        let mut marker = walk.u8()?;
        if marker != 0xFF {
            continue;
        }
        while marker == 0xFF {
            marker = walk.u8()?;
        }
        match marker {
            0xD9 => return Some(walk.rest()),
            // Stuffing, restart markers, start of image, TEM: no length follows.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            _ => {
                let length = usize::from(walk.be16()?).checked_sub(2)?;
                visit(marker, walk.take(length)?);
            }
        }
    }
}

/// Lists the metadata of a JPEG.
pub(super) fn scan(bytes: &[u8], fields: &mut Fields) {
    let trailing = walk_segments(bytes, |marker, body| segment(marker, body, fields));
    match trailing {
        None => fields.name("JPEG without an end".to_owned()),
        Some([]) => {}
        Some(trailing) => {
            fields.name(format!(
                "{} bytes after the end of the JPEG",
                trailing.len()
            ));
            // What phones put there: larger previews, depth maps, videos.
            if trailing.starts_with(&[0xFF, 0xD8]) {
                fields.name("second picture after the end of the JPEG".to_owned());
            }
        }
    }
}

fn segment(marker: u8, body: &[u8], fields: &mut Fields) {
    let after = |magic: &[u8]| body.strip_prefix(magic);
    match marker {
        0xE0 => {
            if let Some(jfif) = after(b"JFIF\0") {
                let thumbnail = jfif.get(7).zip(jfif.get(8));
                if thumbnail.is_some_and(|(&x, &y)| x != 0 && y != 0) || jfif.len() > 9 {
                    fields.name("JFIF thumbnail".to_owned());
                }
            } else if after(b"JFXX\0").is_some() {
                fields.name("JFIF extension thumbnail".to_owned());
            } else {
                fields.name(format!("JPEG APP0 segment ({} bytes)", body.len()));
            }
        }
        0xE1 => {
            if let Some(tiff) = after(b"Exif\0\0").or_else(|| after(b"Exif\0\xFF")) {
                exif::scan(tiff, fields);
            } else if let Some(packet) = after(b"http://ns.adobe.com/xap/1.0/\0") {
                xmp::scan(packet, fields);
            } else if let Some(packet) = after(b"http://ns.adobe.com/xmp/extension/\0") {
                fields.name("XMP extension".to_owned());
                // A GUID in hex, the full length and this part's offset come first.
                xmp::scan(packet.get(40..).unwrap_or_default(), fields);
            } else {
                fields.name(format!("JPEG APP1 segment ({} bytes)", body.len()));
            }
        }
        0xE2 => {
            if after(b"ICC_PROFILE\0").is_some() {
                fields.name("ICC profile".to_owned());
            } else if after(b"MPF\0").is_some() {
                fields.name("MPF index of further pictures".to_owned());
            } else {
                fields.name(format!("JPEG APP2 segment ({} bytes)", body.len()));
            }
        }
        0xED => match after(b"Photoshop 3.0\0") {
            Some(resources) => photoshop::scan(resources, fields),
            None => fields.name(format!("JPEG APP13 segment ({} bytes)", body.len())),
        },
        // How the colours are encoded: needed to decode them.
        0xEE if after(b"Adobe").is_some() && body.len() <= 12 => {}
        0xE3..=0xEC | 0xEE | 0xEF => {
            fields.name(format!(
                "JPEG APP{} segment ({} bytes)",
                marker - 0xE0,
                body.len()
            ));
        }
        0xFE => match text(body) {
            Some(comment) => fields.value("JPEG comment".to_owned(), &comment),
            None => fields.name("JPEG comment".to_owned()),
        },
        _ => {}
    }
}
