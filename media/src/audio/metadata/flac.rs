use super::comments;
use crate::bytes::{Walk, index};
use crate::fields::Fields;

/// Lists the metadata blocks of a FLAC (RFC 9639 §8) but its stream info and seek table.
pub(super) fn scan(bytes: &[u8], fields: &mut Fields) {
    let mut walk = Walk::new(bytes);
    walk.take_up_to(4);
    while let Some(header) = walk.be32() {
        if fields.is_full() {
            break;
        }
        let (last, kind, length) = (header >> 31 == 1, (header >> 24) & 0x7F, header & 0xFF_FFFF);
        let body = walk.take_up_to(index(length));
        match kind {
            0 | 3 => {}
            1 if body.iter().all(|&b| b == 0) => {}
            1 => fields.name("FLAC padding that is not empty".to_owned()),
            2 => fields.name("FLAC application block".to_owned()),
            4 => {
                comments::scan(body, "FLAC", fields);
            }
            5 => fields.name("FLAC cue sheet".to_owned()),
            6 => fields.name("FLAC picture".to_owned()),
            other => fields.name(format!("FLAC block {other}")),
        }
        if last {
            break;
        }
    }
}
