//! EXIF blocks written by hand: a little-endian TIFF with a main, an EXIF, a GPS and a thumbnail
//! directory, and JPEG segments.

/// One entry: tag, TIFF type, count, value bytes (little-endian).
pub type Entry = (u16, u16, u32, Vec<u8>);

/// A text with its closing zero.
pub fn ascii(tag: u16, text: &str) -> Entry {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    (tag, 2, u32::try_from(value.len()).unwrap_or(0), value)
}

/// One 16-bit number.
pub fn short(tag: u16, value: u16) -> Entry {
    (tag, 3, 1, value.to_le_bytes().to_vec())
}

/// One 32-bit number.
pub fn long(tag: u16, value: u32) -> Entry {
    (tag, 4, 1, value.to_le_bytes().to_vec())
}

/// Fractions.
pub fn rationals(tag: u16, fractions: &[(u32, u32)]) -> Entry {
    let value = fractions
        .iter()
        .flat_map(|(above, below)| [above.to_le_bytes(), below.to_le_bytes()].concat())
        .collect();
    (tag, 5, u32::try_from(fractions.len()).unwrap_or(0), value)
}

/// Bytes of no declared type.
pub fn undefined(tag: u16, value: &[u8]) -> Entry {
    (
        tag,
        7,
        u32::try_from(value.len()).unwrap_or(0),
        value.to_vec(),
    )
}

/// What a block is made of. Directories that are empty are left out.
#[derive(Default)]
pub struct Block {
    pub main: Vec<Entry>,
    pub exif: Vec<Entry>,
    pub gps: Vec<Entry>,
    pub thumbnail_jpeg: Vec<u8>,
}

impl Block {
    /// The TIFF bytes.
    pub fn tiff(&self) -> Vec<u8> {
        let mut main = self.main.clone();
        let mut out = b"II*\0\x08\0\0\0".to_vec();
        // Pointers get their value once the directories' places are known.
        if !self.exif.is_empty() {
            main.push(long(0x8769, 0));
        }
        if !self.gps.is_empty() {
            main.push(long(0x8825, 0));
        }
        let thumbnail = if self.thumbnail_jpeg.is_empty() {
            Vec::new()
        } else {
            let length = u32::try_from(self.thumbnail_jpeg.len()).unwrap_or(0);
            vec![short(0x0103, 6), long(0x0201, 0), long(0x0202, length)]
        };
        let exif_at = 8 + size(&main);
        let gps_at = exif_at + size(&self.exif);
        let thumbnail_at = gps_at + size(&self.gps);
        let jpeg_at = thumbnail_at + size(&thumbnail);
        let pointed = |entries: &[Entry]| -> Vec<Entry> {
            entries
                .iter()
                .map(|entry| match entry.0 {
                    0x8769 => long(0x8769, exif_at),
                    0x8825 => long(0x8825, gps_at),
                    0x0201 => long(0x0201, jpeg_at),
                    _ => entry.clone(),
                })
                .collect()
        };
        let next = if thumbnail.is_empty() {
            0
        } else {
            thumbnail_at
        };
        write(&mut out, pointed(&main), next);
        write(&mut out, self.exif.clone(), 0);
        write(&mut out, self.gps.clone(), 0);
        write(&mut out, pointed(&thumbnail), 0);
        out.extend_from_slice(&self.thumbnail_jpeg);
        out
    }

    /// The APP1 segment of a JPEG.
    pub fn segment(&self) -> Vec<u8> {
        jpeg_segment(0xE1, &[b"Exif\0\0", self.tiff().as_slice()].concat())
    }
}

/// Bytes of a directory with its values; none for an empty one.
fn size(entries: &[Entry]) -> u32 {
    if entries.is_empty() {
        return 0;
    }
    let values: usize = entries
        .iter()
        .map(|(.., value)| {
            if value.len() > 4 {
                value.len().next_multiple_of(2)
            } else {
                0
            }
        })
        .sum();
    u32::try_from(6 + 12 * entries.len() + values).unwrap_or(0)
}

fn write(out: &mut Vec<u8>, mut entries: Vec<Entry>, next: u32) {
    if entries.is_empty() {
        return;
    }
    entries.sort_by_key(|entry| entry.0);
    let mut values_at = out.len() + 6 + 12 * entries.len();
    let mut values = Vec::new();
    out.extend(u16::try_from(entries.len()).unwrap_or(0).to_le_bytes());
    for (tag, kind, count, mut value) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(count.to_le_bytes());
        if value.len() <= 4 {
            value.resize(4, 0);
            out.extend(value);
        } else {
            value.resize(value.len().next_multiple_of(2), 0);
            out.extend(u32::try_from(values_at).unwrap_or(0).to_le_bytes());
            values_at += value.len();
            values.extend(value);
        }
    }
    out.extend(next.to_le_bytes());
    out.extend(values);
}

/// A JPEG segment: marker, length, body.
pub fn jpeg_segment(marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap_or(u16::MAX);
    [&[0xFF, marker], length.to_be_bytes().as_slice(), body].concat()
}

/// A JPEG with segments put in right behind its start marker.
pub fn insert_segments(jpeg: &[u8], segments: &[Vec<u8>]) -> Vec<u8> {
    let (start, rest) = jpeg.split_at(2.min(jpeg.len()));
    [start, &segments.concat(), rest].concat()
}
