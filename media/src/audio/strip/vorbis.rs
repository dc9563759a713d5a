use std::io::Cursor;

use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

use super::{Edit, Ticks};
use crate::audio::source::check_shape;
use crate::audio::{AudioError, AudioLimits};
use crate::bytes::Walk;

/// Numbers that all codebooks of a stream may expand to: 4 Mi, 16 MiB. Encoders write below
/// 100,000; the header can claim 2^40 in a few bytes.
const CODEBOOK_VALUES_MAX: u64 = 4 << 20;

/// An empty comment header, framing bit included.
const EMPTY_COMMENTS: &[u8] = b"\x03vorbis\0\0\0\0\0\0\0\0\x01";

/// An Ogg stream of the first Vorbis stream's headers, its comments emptied, and its sound; and
/// how much of that is to be played, by the last granule position (Vorbis I §A.2: the last packet
/// usually decodes to more).
///
/// # Errors
/// [`AudioError`] where the headers are not there, or claim too much.
pub(in crate::audio) fn vorbis(
    bytes: &[u8],
    limits: &AudioLimits,
) -> Result<(Vec<u8>, Edit), AudioError> {
    let mut reader = PacketReader::new(Cursor::new(bytes));
    let mut writer = PacketWriter::new(Vec::with_capacity(bytes.len()));
    let mut serial = None;
    let mut number = 0_u64;
    let (mut rate, mut length) = (0, None);
    // A damaged page ends the stream; what came before it is kept.
    while let Ok(Some(packet)) = reader.read_packet() {
        let stream = packet.stream_serial();
        if *serial.get_or_insert(stream) != stream {
            continue;
        }
        let (granule, page_ends, stream_ends) = (
            packet.absgp_page(),
            packet.last_in_page(),
            packet.last_in_stream(),
        );
        let data = match number {
            0 => {
                rate = check_identification(&packet.data, limits)?;
                packet.data
            }
            1 => EMPTY_COMMENTS.to_vec(),
            2 => {
                check_setup(&packet.data)?;
                packet.data
            }
            _ => packet.data,
        };
        let end = match number {
            0 | 2 => PacketWriteEndInfo::EndPage,
            1 => PacketWriteEndInfo::NormalPacket,
            _ if stream_ends => PacketWriteEndInfo::EndStream,
            _ if page_ends => PacketWriteEndInfo::EndPage,
            _ => PacketWriteEndInfo::NormalPacket,
        };
        let granule = if number < 3 { 0 } else { granule };
        if number >= 3 && granule != u64::MAX {
            length = Some(Ticks::new(granule, rate));
        }
        writer
            .write_packet(data, stream, end, granule)
            .map_err(|_| AudioError::Damaged)?;
        number += 1;
        if stream_ends {
            break;
        }
    }
    if number < 3 {
        return Err(AudioError::Damaged);
    }
    Ok((
        writer.into_inner(),
        Edit {
            start: None,
            length,
        },
    ))
}

/// Checks channels, rate and block sizes (Vorbis I §4.2.2); returns the rate.
fn check_identification(packet: &[u8], limits: &AudioLimits) -> Result<u32, AudioError> {
    let mut walk = Walk::new(packet);
    let mut read = || {
        walk.take(7)?;
        let (version, channels, rate) = (walk.le32()?, walk.u8()?, walk.le32()?);
        walk.take(12)?;
        Some((version, channels, rate, walk.u8()?))
    };
    let (version, channels, rate, blocks) = read().ok_or(AudioError::Damaged)?;
    check_shape(usize::from(channels), rate, limits)?;
    let (short, long) = (blocks & 0x0F, blocks >> 4);
    if version != 0 || !(6..=13).contains(&short) || !(short..=13).contains(&long) {
        return Err(AudioError::Damaged);
    }
    Ok(rate)
}

/// Walks the codebooks of the setup header (Vorbis I §3.2.1) and adds up what they expand to.
fn check_setup(packet: &[u8]) -> Result<(), AudioError> {
    let body = packet
        .strip_prefix(b"\x05vorbis")
        .ok_or(AudioError::Damaged)?;
    let mut bits = Bits { bytes: body, at: 0 };
    let count = bits.read(8).ok_or(AudioError::Damaged)? + 1;
    let mut values = 0_u64;
    for _ in 0..count {
        let expands_to = codebook(&mut bits).ok_or(AudioError::Damaged)?;
        values = values.saturating_add(expands_to);
        if values > CODEBOOK_VALUES_MAX {
            return Err(AudioError::Damaged);
        }
    }
    Ok(())
}

/// Reads over one codebook; returns how many numbers it expands to.
fn codebook(bits: &mut Bits<'_>) -> Option<u64> {
    if bits.read(24)? != 0x56_4342 {
        return None;
    }
    let (dimensions, entries) = (bits.read(16)?, bits.read(24)?);
    let expands_to = u64::from(dimensions) * u64::from(entries);
    if expands_to > CODEBOOK_VALUES_MAX || entries > 1 << 20 {
        return None;
    }
    if bits.read(1)? == 1 {
        bits.read(5)?;
        let mut current = 0_u32;
        while current < entries {
            let run = bits.read(u32::BITS - (entries - current).leading_zeros())?;
            // Nothing but a run of zero length would never end.
            current = current.checked_add(run)?;
            if run == 0 && bits.at / 8 >= bits.bytes.len() {
                return None;
            }
        }
    } else if bits.read(1)? == 1 {
        for _ in 0..entries {
            if bits.read(1)? == 1 {
                bits.read(5)?;
            }
        }
    } else {
        bits.skip(u64::from(entries) * 5)?;
    }
    let lookup = bits.read(4)?;
    if lookup == 0 {
        return Some(expands_to);
    }
    bits.skip(64)?;
    let width = bits.read(4)? + 1;
    bits.read(1)?;
    let multiplicands = match lookup {
        1 => u64::from(root(entries, dimensions)),
        2 => expands_to,
        _ => return None,
    };
    bits.skip(multiplicands * u64::from(width))?;
    Some(expands_to)
}

/// The greatest integer whose `dimensions`-th power is at most `entries` (Vorbis I §9.2.3).
fn root(entries: u32, dimensions: u32) -> u32 {
    if dimensions == 0 {
        return 0;
    }
    let fits = |base: u32| {
        let mut power = 1_u64;
        for _ in 0..dimensions {
            power = power.saturating_mul(u64::from(base));
            if power > u64::from(entries) || base <= 1 {
                break;
            }
        }
        power <= u64::from(entries)
    };
    let (mut low, mut high) = (0, entries);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// Bits from the least significant one of each byte on (Vorbis I §2.1.4).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for place in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value |= u32::from((byte >> (self.at % 8)) & 1) << place;
            self.at += 1;
        }
        Some(value)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        let to = self.at.checked_add(usize::try_from(count).ok()?)?;
        if to.div_ceil(8) > self.bytes.len() {
            return None;
        }
        self.at = to;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{check_setup, root};

    #[test]
    fn roots_are_the_specifications() {
        assert_eq!(root(81, 4), 3);
        assert_eq!(root(80, 4), 2);
        assert_eq!(root(1, 7), 1);
        assert_eq!(root(0, 3), 0);
        assert_eq!(root(1_000, 1), 1_000);
    }

    #[test]
    fn a_codebook_that_claims_terabytes_is_refused() {
        // One codebook of 65,535 dimensions and 16,777,215 entries, 4 TiB of numbers.
        let mut setup = b"\x05vorbis\0\x42\x43\x56\xFF\xFF\xFF\xFF\xFF".to_vec();
        setup.extend([0; 64]);
        check_setup(&setup).unwrap_err();
    }
}
