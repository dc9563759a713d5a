//! The chunks of a WebP file (RFC 9649 §2).

use super::{exif, xmp};
use crate::bytes::{Walk, index, printable};
use crate::fields::Fields;

/// Lists each chunk that is not needed to show the picture.
pub(super) fn scan(bytes: &[u8], fields: &mut Fields) {
    let mut walk = Walk::new(bytes);
    let Some(length) = walk.take(4).and_then(|_| walk.le32()) else {
        return;
    };
    let mut inside = Walk::new(walk.take_up_to(index(length)));
    inside.take_up_to(4);
    while !fields.is_full() && !inside.rest().is_empty() {
        let (Some(kind), Some(length)) = (inside.name(), inside.le32()) else {
            fields.name(format!("{} odd bytes in the WebP", inside.rest().len()));
            break;
        };
        let body = inside.take_up_to(index(length));
        if length % 2 == 1 {
            inside.take_up_to(1);
        }
        match &kind {
            b"VP8 " | b"VP8L" | b"VP8X" | b"ALPH" | b"ANIM" | b"ANMF" => {}
            b"EXIF" => exif::scan(body.strip_prefix(b"Exif\0\0").unwrap_or(body), fields),
            b"XMP " => xmp::scan(body, fields),
            b"ICCP" => fields.name("ICC profile".to_owned()),
            _ => fields.name(format!("WebP {} chunk", printable(kind))),
        }
    }
    if !walk.rest().is_empty() {
        fields.name(format!(
            "{} bytes after the end of the WebP",
            walk.rest().len()
        ));
    }
}
