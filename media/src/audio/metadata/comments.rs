use crate::audio::ogg_opus::VENDOR;
use crate::bytes::{Walk, index, text};
use crate::fields::Fields;

/// Lists Vorbis comments: a vendor, then `NAME=value` entries, each with its length before it.
/// Returns what follows them.
pub(super) fn scan<'a>(body: &'a [u8], format: &str, fields: &mut Fields) -> &'a [u8] {
    let mut walk = Walk::new(body);
    let entry = |walk: &mut Walk<'a>| {
        let length = index(walk.le32()?);
        walk.take(length)
    };
    let Some(vendor) = entry(&mut walk) else {
        fields.name(format!("{format} comments that can't be read"));
        return &[];
    };
    if let Some(vendor) = text(vendor).filter(|vendor| vendor != VENDOR) {
        fields.value(format!("{format} encoder"), &vendor);
    }
    let count = walk.le32().unwrap_or(0);
    for _ in 0..count {
        if fields.is_full() {
            break;
        }
        let Some(comment) = entry(&mut walk) else {
            fields.name(format!("{format} comments that were cut short"));
            break;
        };
        let short = comment.get(..comment.len().min(4_096)).unwrap_or_default();
        let comment = String::from_utf8_lossy(short);
        match comment.split_once('=') {
            Some((name, value)) => {
                let name: String = name.chars().take(64).collect();
                fields.value(format!("{format} comment {name}"), value);
            }
            None => fields.value(format!("{format} comment"), &comment),
        }
    }
    walk.rest()
}
