use crate::audio::strip::{ape_length, id3v2_length, synchsafe, without_id3};
use crate::bytes::{Walk, index, printable, text};
use crate::fields::Fields;

/// Lists the ID3v2, ID3v1 and APE tags around an MPEG stream, and the encoder's name in it.
pub(super) fn scan(bytes: &[u8], fields: &mut Fields) {
    let mut rest = bytes;
    while let Some(length) = id3v2_length(rest) {
        id3v2(
            rest.get(..length.min(rest.len())).unwrap_or_default(),
            fields,
        );
        rest = rest.get(length..).unwrap_or_default();
    }
    if let Some(at) = rest.len().checked_sub(128)
        && let Some(tag) = rest.get(at..).and_then(|tail| tail.strip_prefix(b"TAG"))
    {
        id3v1(tag, fields);
        rest = rest.get(..at).unwrap_or_default();
    }
    if let Some(at) = rest.len().checked_sub(32)
        && let Some(length) = rest.get(at..).and_then(ape_length)
    {
        ape(
            rest.get(rest.len().saturating_sub(length)..)
                .unwrap_or_default(),
            fields,
        );
    }
    let sound = without_id3(bytes);
    if sound.starts_with(b"fLaC") {
        super::flac::scan(sound, fields);
        return;
    }
    // The first frame may hold a Xing header, and in it the encoder's name.
    let first = sound.get(..sound.len().min(256)).unwrap_or_default();
    let is_index = first.windows(4).any(|w| w == b"Xing" || w == b"Info");
    if is_index
        && first
            .windows(4)
            .any(|w| matches!(w, b"LAME" | b"Lavc" | b"Lavf" | b"GOGO"))
    {
        fields.name("MP3 encoder".to_owned());
    }
}

fn id3v2(tag: &[u8], fields: &mut Fields) {
    let mut walk = Walk::new(tag);
    walk.take_up_to(3);
    let (Some(version), Some(_revision), Some(_flags), Some(_size)) =
        (walk.u8(), walk.u8(), walk.u8(), walk.be32())
    else {
        return;
    };
    let before = walk.rest().len();
    while !fields.is_full() && frame(version, &mut walk, fields).is_some() {}
    if walk.rest().len() == before {
        fields.name("ID3 tag that can't be read".to_owned());
    }
}

fn frame(version: u8, walk: &mut Walk<'_>, fields: &mut Fields) -> Option<()> {
    if matches!(walk.rest().first(), None | Some(0)) {
        return None;
    }
    let (name, length) = if version == 2 {
        let &[a, b, c] = walk.take(3)? else {
            return None;
        };
        let &[high, middle, low] = walk.take(3)? else {
            return None;
        };
        (
            printable([a, b, c, b' ']),
            u32::from_be_bytes([0, high, middle, low]),
        )
    } else {
        let name = printable(walk.name()?);
        let size = walk.be32()?;
        walk.take(2)?;
        (name, if version >= 4 { synchsafe(size) } else { size })
    };
    let body = walk.take_up_to(index(length));
    let name = format!("ID3 {}", name.trim());
    let readable = match body.split_first() {
        Some((encoding, value)) if name.contains(" T") || name.contains(" COM") => {
            decoded(*encoding, value, name.contains(" COM"))
        }
        _ => None,
    };
    match readable {
        Some(value) => fields.value(name, &value),
        None => fields.name(name),
    }
    Some(())
}

/// A text frame's value; a comment has a language and a description before it.
fn decoded(encoding: u8, value: &[u8], comment: bool) -> Option<String> {
    let value = if comment { value.get(3..)? } else { value };
    let short = value.get(..value.len().min(4_096))?;
    let parts: String = match encoding {
        1 | 2 => {
            let little = encoding == 1 && !short.starts_with(&[0xFE, 0xFF]);
            let units: Vec<u16> = short
                .chunks_exact(2)
                .filter_map(|pair| <[u8; 2]>::try_from(pair).ok())
                .map(|pair| {
                    if little {
                        u16::from_le_bytes(pair)
                    } else {
                        u16::from_be_bytes(pair)
                    }
                })
                .filter(|unit| !matches!(unit, 0xFEFF | 0xFFFE))
                .collect();
            String::from_utf16_lossy(&units)
        }
        0 => short.iter().map(|&b| char::from(b)).collect(),
        _ => String::from_utf8_lossy(short).into_owned(),
    };
    // What stands after the description, or before further values.
    parts
        .split('\0')
        .map(str::trim)
        .rfind(|part| !part.is_empty())
        .map(str::to_owned)
}

fn id3v1(tag: &[u8], fields: &mut Fields) {
    let mut walk = Walk::new(tag);
    for (name, length) in [
        ("title", 30),
        ("artist", 30),
        ("album", 30),
        ("year", 4),
        ("comment", 30),
    ] {
        if let Some(value) = text(walk.take_up_to(length)) {
            fields.value(format!("ID3v1 {name}"), &value);
        }
    }
    fields.name("ID3v1 tag".to_owned());
}

fn ape(tag: &[u8], fields: &mut Fields) {
    fields.name("APE tag".to_owned());
    let items = tag
        .strip_prefix(b"APETAGEX")
        .and_then(|rest| rest.get(24..))
        .unwrap_or(tag);
    let mut walk = Walk::new(items);
    while let (Some(length), Some(_flags)) = (walk.le32(), walk.le32()) {
        let Some(end) = walk.rest().iter().take(256).position(|&b| b == 0) else {
            return;
        };
        let name = text(walk.take_up_to(end)).unwrap_or_default();
        walk.take_up_to(1);
        if fields.is_full() || name.starts_with("APETAGEX") {
            return;
        }
        match text(walk.take_up_to(index(length))) {
            Some(value) => fields.value(format!("APE {name}"), &value),
            None => fields.name(format!("APE {name}")),
        }
    }
}
