//! An MP4 whose boxes are renamed to `free` unless decoding the first sound track needs them
//! (ISO 14496-12). Offsets into the file stay valid, and nothing in a `free` box is read.

use std::ops::Range;

use super::{Edit, Ticks};
use crate::audio::AudioError;
use crate::bytes::{Walk, index};

/// Bytes of one sample (packet) at most; AAC's have at most 6,144 bits a channel, ALAC's less
/// than 64 KiB a channel.
const SAMPLE_BYTES_MAX: u32 = 1 << 20;

/// The renamed copy, and what part of its sound to play.
///
/// # Errors
/// [`AudioError`] where a box claims more than there is, or no sound track is there.
pub(in crate::audio) fn mp4(bytes: &[u8]) -> Result<(Vec<u8>, Edit), AudioError> {
    let mut found = Found::default();
    let all = boxes(bytes, 0..bytes.len())?;
    if all.iter().any(|b| &b.kind == b"moof") {
        return Err(AudioError::Unsupported {
            what: "an MP4 in fragments",
        });
    }
    for found_box in &all {
        match &found_box.kind {
            b"ftyp" | b"mdat" => {}
            b"moov" => movie(bytes, found_box.body.clone(), &mut found)?,
            _ => found.unneeded.push(found_box.kind_at),
        }
    }
    if !found.has_sound {
        return Err(AudioError::NoSound);
    }
    let mut out = bytes.to_vec();
    for at in found.unneeded {
        if let Some(kind) = out.get_mut(at..at + 4) {
            kind.copy_from_slice(b"free");
        }
    }
    Ok((out, found.edit))
}

#[derive(Default)]
struct Found {
    /// Where the kinds of boxes stand that are to be renamed.
    unneeded: Vec<usize>,
    has_sound: bool,
    edit: Edit,
    movie_timescale: u32,
}

struct Box4 {
    kind: [u8; 4],
    kind_at: usize,
    body: Range<usize>,
}

/// The boxes in a range of the file, each within it.
fn boxes(bytes: &[u8], range: Range<usize>) -> Result<Vec<Box4>, AudioError> {
    let mut found = Vec::new();
    let mut at = range.start;
    while range.end.saturating_sub(at) >= 8 {
        let mut walk = Walk::new(bytes.get(at..range.end).ok_or(AudioError::Damaged)?);
        let left = u64::try_from(range.end - at).unwrap_or(u64::MAX);
        let (Some(short), Some(kind)) = (walk.be32(), walk.name()) else {
            break;
        };
        let (header, size) = match short {
            0 => (8, left),
            1 => (16, walk.be64().ok_or(AudioError::Damaged)?),
            short => (8, u64::from(short)),
        };
        if size > left {
            return Err(AudioError::ClaimsMore {
                claimed: size,
                present: left,
            });
        }
        let size = usize::try_from(size).map_err(|_| AudioError::Damaged)?;
        if size < header || found.len() >= 1_024 {
            return Err(AudioError::Damaged);
        }
        found.push(Box4 {
            kind,
            kind_at: at + 4,
            body: at + header..at + size,
        });
        at += size;
    }
    Ok(found)
}

fn movie(bytes: &[u8], range: Range<usize>, found: &mut Found) -> Result<(), AudioError> {
    for inner in boxes(bytes, range)? {
        match &inner.kind {
            b"mvhd" => found.movie_timescale = timescale(bytes, &inner).unwrap_or(0),
            b"mvex" => {
                return Err(AudioError::Unsupported {
                    what: "an MP4 in fragments",
                });
            }
            b"trak" if !found.has_sound && is_sound(bytes, inner.body.clone())? => {
                found.has_sound = true;
                track(bytes, inner.body, found)?;
            }
            _ => found.unneeded.push(inner.kind_at),
        }
    }
    Ok(())
}

/// The units of a movie or media header: after two times, of 4 or, in version 1, 8 bytes.
fn timescale(bytes: &[u8], header: &Box4) -> Option<u32> {
    let mut walk = Walk::new(bytes.get(header.body.clone())?);
    let version = walk.be32()? >> 24;
    walk.take(if version == 1 { 16 } else { 8 })?;
    walk.be32()
}

fn is_sound(bytes: &[u8], range: Range<usize>) -> Result<bool, AudioError> {
    let Some(media) = boxes(bytes, range)?
        .into_iter()
        .find(|b| &b.kind == b"mdia")
    else {
        return Ok(false);
    };
    let handler = boxes(bytes, media.body)?
        .into_iter()
        .find(|b| &b.kind == b"hdlr");
    let body = handler
        .and_then(|handler| bytes.get(handler.body))
        .unwrap_or_default();
    Ok(body.get(8..12) == Some(b"soun"))
}

fn track(bytes: &[u8], range: Range<usize>, found: &mut Found) -> Result<(), AudioError> {
    let inner = boxes(bytes, range)?;
    let mut edit_list = None;
    let mut media_timescale = 0;
    for part in &inner {
        match &part.kind {
            b"tkhd" => {}
            b"edts" => {
                found.unneeded.push(part.kind_at);
                let lists = boxes(bytes, part.body.clone())?;
                edit_list = lists.into_iter().find(|b| &b.kind == b"elst");
            }
            b"mdia" => {
                for media in boxes(bytes, part.body.clone())? {
                    match &media.kind {
                        b"mdhd" => media_timescale = timescale(bytes, &media).unwrap_or(0),
                        b"hdlr" => {}
                        b"minf" => information(bytes, media.body, found)?,
                        _ => found.unneeded.push(media.kind_at),
                    }
                }
            }
            _ => found.unneeded.push(part.kind_at),
        }
    }
    if let Some(list) = edit_list
        && let Some((start, length)) = first_edit(bytes.get(list.body).unwrap_or_default())
    {
        let ticks = |count, per_second| (per_second != 0).then(|| Ticks::new(count, per_second));
        found.edit = Edit {
            start: ticks(start, media_timescale),
            // Zero stands for "until the end".
            length: ticks(length, found.movie_timescale).filter(|_| length != 0),
        };
    }
    Ok(())
}

/// Start and length of the only edit that plays something. With several, all is played.
fn first_edit(body: &[u8]) -> Option<(u64, u64)> {
    let mut walk = Walk::new(body);
    let version = walk.be32()? >> 24;
    let count = walk.be32()?;
    let mut edits = Vec::new();
    for _ in 0..count.min(16) {
        let (length, start) = if version == 1 {
            (walk.be64()?, walk.be64()?)
        } else {
            let (length, start) = (walk.be32()?, walk.be32()?);
            (
                u64::from(length),
                if start == u32::MAX {
                    u64::MAX
                } else {
                    u64::from(start)
                },
            )
        };
        walk.be32()?;
        // A start of -1 is silence.
        if start != u64::MAX {
            edits.push((start, length));
        }
    }
    match edits.as_slice() {
        [edit] => Some(*edit),
        _ => None,
    }
}

fn information(bytes: &[u8], range: Range<usize>, found: &mut Found) -> Result<(), AudioError> {
    for part in boxes(bytes, range)? {
        match &part.kind {
            b"smhd" => {}
            b"stbl" => {
                for table in boxes(bytes, part.body)? {
                    if is_needed_table(bytes, &table)? {
                        continue;
                    }
                    found.unneeded.push(table.kind_at);
                }
            }
            _ => found.unneeded.push(part.kind_at),
        }
    }
    Ok(())
}

/// Whether decoding needs a table; and if so, that its entries are there.
fn is_needed_table(bytes: &[u8], table: &Box4) -> Result<bool, AudioError> {
    let entry_bytes = match &table.kind {
        b"stsd" => return Ok(true),
        b"stts" => 8,
        b"stsc" => 12,
        b"stco" => 4,
        b"co64" => 8,
        b"stsz" => {
            sample_sizes(bytes.get(table.body.clone()).unwrap_or_default())?;
            return Ok(true);
        }
        _ => return Ok(false),
    };
    let mut walk = Walk::new(bytes.get(table.body.clone()).unwrap_or_default());
    let count = walk
        .take(4)
        .and_then(|_| walk.be32())
        .ok_or(AudioError::Damaged)?;
    entries_fit(count, entry_bytes, walk.rest().len())?;
    Ok(true)
}

fn entries_fit(count: u32, entry_bytes: u64, present: usize) -> Result<(), AudioError> {
    let claimed = u64::from(count) * entry_bytes;
    let present = u64::try_from(present).unwrap_or(u64::MAX);
    if claimed > present {
        Err(AudioError::ClaimsMore { claimed, present })
    } else {
        Ok(())
    }
}

fn sample_sizes(body: &[u8]) -> Result<(), AudioError> {
    let mut walk = Walk::new(body);
    let mut read = || {
        walk.take(4)?;
        Some((walk.be32()?, walk.be32()?))
    };
    let (common, count) = read().ok_or(AudioError::Damaged)?;
    if common != 0 {
        return if common > SAMPLE_BYTES_MAX {
            Err(AudioError::Damaged)
        } else {
            Ok(())
        };
    }
    entries_fit(count, 4, walk.rest().len())?;
    for _ in 0..index(count) {
        if walk.be32().is_none_or(|size| size > SAMPLE_BYTES_MAX) {
            return Err(AudioError::Damaged);
        }
    }
    Ok(())
}
