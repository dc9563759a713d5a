//! EXIF: a TIFF structure of directories (TIFF 6.0 §2, Exif 2.32 §4.6).
//!
//! Only the table of tag names comes from a library. The walk is our own, because entries may
//! overlap: a parser that copies each value can be made to copy gigabytes out of 64 KiB.

use std::collections::BTreeSet;

use exif::{Context, Tag};

use super::xmp;
use crate::bytes::{Walk, index, text};
use crate::fields::Fields;

/// Entries that are read at most, over all directories; cameras write about 100.
const ENTRIES_MAX: usize = 2_048;

/// Bytes of a value that are looked at.
const VALUE_BYTES_MAX: usize = 2_048;

/// Lists each tag of a TIFF structure.
pub(super) fn scan(tiff: &[u8], fields: &mut Fields) {
    let big_endian = match tiff.get(..4) {
        Some(b"MM\0*") => true,
        Some(b"II*\0") => false,
        _ => {
            fields.name("EXIF block that can't be read".to_owned());
            return;
        }
    };
    let mut reader = Reader {
        tiff,
        big_endian,
        seen: BTreeSet::new(),
        entries: 0,
        gps: Gps::default(),
    };
    let first = reader.number(4, 4).unwrap_or(0);
    let before = reader.entries;
    reader.directory(first, Directory::Main, fields);
    reader.gps.render(fields);
    if reader.entries == before {
        fields.name("empty EXIF block".to_owned());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directory {
    Main,
    Thumbnail,
    Exif,
    Gps,
    Interoperability,
    Sub,
}

impl Directory {
    fn group(self) -> &'static str {
        match self {
            Self::Main | Self::Exif => "EXIF",
            Self::Thumbnail => "EXIF thumbnail",
            Self::Gps => "GPS",
            Self::Interoperability => "EXIF interoperability",
            Self::Sub => "EXIF sub-image",
        }
    }

    fn context(self) -> Context {
        match self {
            Self::Main | Self::Thumbnail | Self::Sub => Context::Tiff,
            Self::Exif => Context::Exif,
            Self::Gps => Context::Gps,
            Self::Interoperability => Context::Interop,
        }
    }
}

struct Reader<'a> {
    tiff: &'a [u8],
    big_endian: bool,
    /// Offsets of directories that were read: each is read once, so a loop ends.
    seen: BTreeSet<u32>,
    entries: usize,
    gps: Gps,
}

impl<'a> Reader<'a> {
    /// An unsigned number of 1, 2 or 4 bytes at `offset`.
    fn number(&self, offset: usize, size: usize) -> Option<u32> {
        let bytes = self.tiff.get(offset..offset.checked_add(size)?)?;
        Some(number_of(self.big_endian, bytes))
    }

    fn directory(&mut self, offset: u32, directory: Directory, fields: &mut Fields) {
        if offset == 0 || !self.seen.insert(offset) || self.seen.len() > 32 {
            return;
        }
        let start = index(offset);
        let Some(count) = self.number(start, 2) else {
            return;
        };
        for entry in 0..index(count) {
            let at = start + 2 + entry * 12;
            if self.entries >= ENTRIES_MAX || fields.is_full() {
                return;
            }
            if !self.entry(at, directory, fields) {
                return;
            }
        }
        if matches!(directory, Directory::Main | Directory::Thumbnail)
            && let Some(next) = self.number(start + 2 + index(count) * 12, 4)
        {
            self.directory(next, Directory::Thumbnail, fields);
        }
    }

    /// Reads the entry at `at`; false where the bytes end.
    fn entry(&mut self, at: usize, directory: Directory, fields: &mut Fields) -> bool {
        let (Some(tag), Some(kind), Some(count)) = (
            self.number(at, 2),
            self.number(at + 2, 2),
            self.number(at + 4, 4),
        ) else {
            return false;
        };
        let Some(own) = self.tiff.get(at + 8..at + 12) else {
            return false;
        };
        self.entries += 1;
        let tag = u16::try_from(tag).unwrap_or(0);
        let below = match tag {
            0x8769 => Some(Directory::Exif),
            0x8825 => Some(Directory::Gps),
            0xA005 => Some(Directory::Interoperability),
            0x014A => Some(Directory::Sub),
            _ => None,
        };
        if let Some(below) = below {
            let offset = number_of(self.big_endian, own);
            self.directory(offset, below, fields);
            return true;
        }
        let unit: usize = match kind {
            1 | 2 | 6 | 7 => 1,
            3 | 8 => 2,
            4 | 9 | 11 => 4,
            5 | 10 | 12 => 8,
            _ => 0,
        };
        let size = unit.saturating_mul(index(count));
        let value: Option<&'a [u8]> = if size <= 4 {
            self.tiff.get(at + 8..at + 8 + size)
        } else {
            let offset = index(number_of(self.big_endian, own));
            offset
                .checked_add(size)
                .and_then(|end| self.tiff.get(offset..end))
        };
        self.found(directory, tag, kind, value, fields);
        true
    }

    fn found(
        &mut self,
        directory: Directory,
        tag: u16,
        kind: u32,
        value: Option<&'a [u8]>,
        fields: &mut Fields,
    ) {
        let group = directory.group();
        let name = match Tag(directory.context(), tag).description() {
            Some(_) => format!("{group} {}", Tag(directory.context(), tag)),
            None => format!("{group} tag 0x{tag:04x}"),
        };
        let Some(value) = value else {
            fields.name(name);
            return;
        };
        if directory == Directory::Gps {
            self.gps.note(tag, value, self.big_endian);
        }
        if directory == Directory::Main && tag == 0x02BC {
            // XMP inside TIFF.
            xmp::scan(value, fields);
        }
        let short = value
            .get(..value.len().min(VALUE_BYTES_MAX))
            .unwrap_or_default();
        let readable = match (tag, kind) {
            // UserComment, GPSProcessingMethod, GPSAreaInformation: a character code first.
            (0x9286 | 0x001B | 0x001C, 7) => text(short.get(8..).unwrap_or_default()),
            (0x9C9B..=0x9C9F, _) => utf16_le(short),
            (_, 2) => text(short),
            _ => None,
        };
        match readable {
            Some(readable) => {
                for rendering in dates(&readable) {
                    fields.rendering(&name, &rendering);
                }
                fields.value(name, &readable);
            }
            None => fields.name(name),
        }
    }
}

/// An unsigned number in either byte order.
fn number_of(big_endian: bool, bytes: &[u8]) -> u32 {
    let shift = |value: u32, byte: &u8| (value << 8) | u32::from(*byte);
    if big_endian {
        bytes.iter().fold(0, shift)
    } else {
        bytes.iter().rev().fold(0, shift)
    }
}

/// `2008:10:22 16:28:39` as other programs write it.
fn dates(value: &str) -> Vec<String> {
    let Some((date, time)) = value.split_once(' ') else {
        return Vec::new();
    };
    let is_date = date.len() == 10
        && date.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b':',
            _ => b.is_ascii_digit(),
        });
    if !is_date {
        return Vec::new();
    }
    let date = date.replace(':', "-");
    vec![format!("{date} {time}"), format!("{date}T{time}")]
}

/// The text of Windows' XPTitle, XPComment, XPAuthor, XPKeywords, XPSubject.
fn utf16_le(bytes: &[u8]) -> Option<String> {
    let mut walk = Walk::new(bytes);
    let units: Vec<u16> = std::iter::from_fn(|| walk.le16())
        .take_while(|&u| u != 0)
        .collect();
    let text = String::from_utf16_lossy(&units).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Coordinates, put together from four tags.
#[derive(Debug, Default)]
struct Gps {
    latitude: Option<[f64; 3]>,
    longitude: Option<[f64; 3]>,
    south: bool,
    west: bool,
}

impl Gps {
    fn note(&mut self, tag: u16, value: &[u8], big_endian: bool) {
        let degrees = || {
            let mut parts = value.chunks_exact(8).map(|rational| {
                let (above, below) = rational.split_at(4);
                f64::from(number_of(big_endian, above))
                    / f64::from(number_of(big_endian, below).max(1))
            });
            Some([
                parts.next()?,
                parts.next().unwrap_or(0.0),
                parts.next().unwrap_or(0.0),
            ])
        };
        match tag {
            1 => self.south = value.starts_with(b"S"),
            2 => self.latitude = degrees(),
            3 => self.west = value.starts_with(b"W"),
            4 => self.longitude = degrees(),
            _ => {}
        }
    }

    /// Adds the usual ways to write the coordinates. Where one is negative, the sign is left
    /// out: who searches for the digits finds both.
    fn render(&self, fields: &mut Fields) {
        let mut decimals = Vec::new();
        for (name, parts, letter) in [
            (
                "GPS latitude",
                self.latitude,
                if self.south { 'S' } else { 'N' },
            ),
            (
                "GPS longitude",
                self.longitude,
                if self.west { 'W' } else { 'E' },
            ),
        ] {
            let Some([degrees, minutes, seconds]) = parts else {
                continue;
            };
            let decimal = degrees + minutes / 60.0 + seconds / 3_600.0;
            for rendering in [
                format!("{decimal:.6}"),
                format!("{decimal:.5}"),
                format!("{decimal:.4}"),
                format!("{degrees:.0} deg {minutes:.0}' {seconds:.2}\""),
                format!("{degrees:.0}\u{b0}{minutes:.0}'{seconds:.2}\"{letter}"),
                format!("{degrees:.0}\u{b0}{minutes:.0}'{seconds:.1}\"{letter}"),
            ] {
                fields.rendering(name, &rendering);
            }
            decimals.push(decimal);
        }
        if let [latitude, longitude] = decimals.as_slice() {
            fields.rendering("GPS position", &format!("{latitude:.6},{longitude:.6}"));
            fields.rendering("GPS position", &format!("{latitude:.6}, {longitude:.6}"));
        }
    }
}
