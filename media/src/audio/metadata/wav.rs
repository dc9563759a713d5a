use super::id3;
use crate::bytes::{Walk, index, printable, text};
use crate::fields::Fields;

/// Lists the chunks of a WAV that are not needed to play it.
pub(super) fn scan(bytes: &[u8], fields: &mut Fields) {
    let mut walk = Walk::new(bytes);
    walk.take_up_to(12);
    while let (Some(kind), Some(length)) = (walk.name(), walk.le32()) {
        if fields.is_full() {
            return;
        }
        let body = walk.take_up_to(index(length));
        if length % 2 == 1 {
            walk.take_up_to(1);
        }
        match &kind {
            b"fmt " | b"data" | b"fact" | b"PEAK" => {}
            b"JUNK" | b"PAD " | b"FLLR" | b"junk" if body.iter().all(|&b| b == 0) => {}
            b"LIST" if body.starts_with(b"INFO") => info(body.get(4..).unwrap_or_default(), fields),
            b"id3 " | b"ID3 " => id3::scan(body, fields),
            b"bext" => {
                fields.name("WAV broadcast extension".to_owned());
                for (name, at) in [
                    ("description", 0..256),
                    ("originator", 256..288),
                    ("date", 320..330),
                ] {
                    if let Some(value) = body.get(at).and_then(text) {
                        fields.rendering(&format!("WAV broadcast {name}"), &value);
                    }
                }
            }
            _ => fields.name(format!("WAV {} chunk", printable(kind).trim())),
        }
    }
    if !walk.rest().is_empty() {
        fields.name(format!(
            "{} bytes after the chunks of the WAV",
            walk.rest().len()
        ));
    }
}

fn info(body: &[u8], fields: &mut Fields) {
    let mut walk = Walk::new(body);
    while let (Some(kind), Some(length)) = (walk.name(), walk.le32()) {
        if fields.is_full() {
            return;
        }
        let name = format!("WAV INFO {}", printable(kind));
        match text(walk.take_up_to(index(length))) {
            Some(value) => fields.value(name, &value),
            None => fields.name(name),
        }
        if length % 2 == 1 {
            walk.take_up_to(1);
        }
    }
}
