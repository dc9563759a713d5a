use crate::bytes::{Walk, index, text};
use crate::fields::Fields;

/// Boxes within boxes that are followed.
const DEPTH_MAX: u8 = 8;

/// Lists what an MP4 tells: user data, item lists, times of creation, private boxes.
pub(super) fn scan(bytes: &[u8], fields: &mut Fields) {
    boxes(bytes, 0, fields);
}

fn boxes(bytes: &[u8], depth: u8, fields: &mut Fields) {
    let mut walk = Walk::new(bytes);
    while let (Some(size), Some(kind)) = (walk.be32(), walk.name()) {
        if fields.is_full() || depth > DEPTH_MAX {
            return;
        }
        let length = match size {
            0 => walk.rest().len(),
            1 => walk
                .be64()
                .and_then(|long| usize::try_from(long).ok())
                .unwrap_or(usize::MAX)
                .saturating_sub(16),
            short => index(short).saturating_sub(8),
        };
        let body = walk.take_up_to(length);
        one(kind, body, depth, fields);
    }
}

fn one(kind: [u8; 4], body: &[u8], depth: u8, fields: &mut Fields) {
    // Names such as "©nam" are in Latin-1.
    let name: String = kind.iter().map(|&b| char::from(b)).collect();
    match &kind {
        b"moov" | b"trak" | b"mdia" | b"minf" | b"stbl" | b"udta" | b"ilst" | b"edts" | b"moof" => {
            boxes(body, depth + 1, fields);
        }
        // In MP4 a version stands before the boxes, in QuickTime it does not.
        b"meta" => {
            let versioned = body.get(4..8) != Some(b"hdlr");
            let inner = if versioned {
                body.get(4..).unwrap_or_default()
            } else {
                body
            };
            boxes(inner, depth + 1, fields);
        }
        b"mvhd" | b"tkhd" | b"mdhd" => {
            let mut walk = Walk::new(body);
            let version = walk.be32().unwrap_or(0) >> 24;
            let times = if version == 1 {
                walk.take(16)
            } else {
                walk.take(8)
            };
            if times.unwrap_or_default().iter().any(|&b| b != 0) {
                fields.name(format!("MP4 {name} creation time"));
            }
        }
        b"hdlr" => {
            // "SoundHandler" and the like; players of old wrote their own name here.
            if let Some(value) = body.get(24..).and_then(text) {
                fields.value("MP4 handler name".to_owned(), &value);
            }
        }
        b"free" | b"skip" | b"wide" if body.iter().all(|&b| b == 0) => {}
        b"free" | b"skip" | b"uuid" => fields.name(format!("MP4 {name} box")),
        b"data" => {
            // Inside an item: type and locale, then the value.
            let mut walk = Walk::new(body);
            let kind = walk.be32().unwrap_or(0);
            walk.take_up_to(4);
            if let Some(value) = text(walk.rest()).filter(|_| kind & 0xFF_FFFF == 1) {
                fields.rendering("MP4 item", &value);
            }
        }
        [0xA9, ..]
        | b"----"
        | b"covr"
        | b"trkn"
        | b"disk"
        | b"gnre"
        | b"aART"
        | b"desc"
        | b"cprt"
        | b"loci"
        | b"auth"
        | b"titl"
        | b"dscp"
        | b"perf"
        | b"name"
        | b"tool" => {
            fields.name(format!("MP4 {name}"));
            // A list of "data" boxes, or QuickTime's length and language before a text.
            if body.get(4..8) == Some(b"data") {
                boxes(body, depth + 1, fields);
            } else if let Some(value) = body.get(4..).and_then(text) {
                fields.rendering(&format!("MP4 {name}"), &value);
            }
        }
        _ => {}
    }
}
