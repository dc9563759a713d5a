//! The chunks of a PNG file (PNG third edition, §5 and §11).

use super::{exif, xmp};
use crate::bytes::{Walk, index, printable, text};
use crate::fields::Fields;

/// Lists each chunk that is not needed to show the picture.
pub(super) fn scan(bytes: &[u8], fields: &mut Fields) {
    let mut walk = Walk::new(bytes);
    if walk.take(8).is_none() {
        return;
    }
    while !fields.is_full() {
        let (Some(length), Some(kind)) = (walk.be32(), walk.name()) else {
            fields.name("PNG without an end".to_owned());
            return;
        };
        let body = walk.take_up_to(index(length));
        walk.take_up_to(4);
        chunk(kind, body, fields);
        if &kind == b"IEND" {
            break;
        }
    }
    if !walk.rest().is_empty() {
        fields.name(format!(
            "{} bytes after the end of the PNG",
            walk.rest().len()
        ));
    }
}

fn chunk(kind: [u8; 4], body: &[u8], fields: &mut Fields) {
    let name = printable(kind);
    match &kind {
        b"IHDR" | b"PLTE" | b"IDAT" | b"IEND" | b"tRNS" | b"cHRM" | b"gAMA" | b"sBIT" | b"sRGB"
        | b"cICP" | b"mDCV" | b"cLLI" | b"bKGD" | b"hIST" | b"pHYs" | b"acTL" | b"fcTL"
        | b"fdAT" => {}
        b"tEXt" | b"zTXt" | b"iTXt" => {
            let end = body.iter().position(|&b| b == 0).unwrap_or(body.len());
            let (keyword, after) = body.split_at(end.min(body.len()));
            let keyword = text(keyword).unwrap_or_default();
            let name = format!("PNG {name} {keyword}");
            match text_value(&kind, after) {
                Some(value) if keyword == "XML:com.adobe.xmp" => {
                    fields.name(name);
                    xmp::scan(value, fields);
                }
                Some(value) => match text(value) {
                    Some(value) => fields.value(name, &value),
                    None => fields.name(name),
                },
                None => fields.name(name),
            }
        }
        b"eXIf" => exif::scan(body, fields),
        b"iCCP" => fields.name("ICC profile".to_owned()),
        _ => fields.name(format!("PNG {name} chunk")),
    }
}

/// The uncompressed text of a chunk; `after` begins with the zero that ends the keyword.
fn text_value<'a>(kind: &[u8; 4], after: &'a [u8]) -> Option<&'a [u8]> {
    match kind {
        b"tEXt" => after.get(1..),
        b"iTXt" if after.get(1) == Some(&0) => {
            // Compression flag and method, language and translated keyword, each with its zero.
            let mut rest = after.get(3..)?;
            for _ in 0..2 {
                let end = rest.iter().position(|&b| b == 0)?;
                rest = rest.get(end + 1..)?;
            }
            Some(rest)
        }
        _ => None,
    }
}
