use crate::bytes::{Walk, index};

/// What is between the ID3v2 tags before and the ID3v1 and APE tags behind a stream.
pub(in crate::audio) fn without_id3(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let Some(length) = id3v2_length(rest) {
        rest = rest.get(length..).unwrap_or_default();
    }
    if let Some(at) = rest.len().checked_sub(128)
        && rest.get(at..).is_some_and(|tail| tail.starts_with(b"TAG"))
    {
        rest = rest.get(..at).unwrap_or_default();
    }
    if let Some(at) = rest.len().checked_sub(32)
        && let Some(length) = rest.get(at..).and_then(ape_length)
    {
        rest = rest
            .get(..rest.len().saturating_sub(length))
            .unwrap_or_default();
    }
    rest
}

/// Bytes of an ID3v2 tag with its header and footer.
pub(in crate::audio) fn id3v2_length(bytes: &[u8]) -> Option<usize> {
    let mut walk = Walk::new(bytes.strip_prefix(b"ID3")?);
    walk.take(2)?;
    let flags = walk.u8()?;
    let size = synchsafe(walk.be32()?);
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    Some(10 + index(size) + footer)
}

/// A length of four times seven bits.
pub(in crate::audio) fn synchsafe(value: u32) -> u32 {
    let [a, b, c, d] = value.to_be_bytes().map(|byte| u32::from(byte & 0x7F));
    (a << 21) | (b << 14) | (c << 7) | d
}

/// Bytes of an APE tag, by its 32-byte footer.
pub(in crate::audio) fn ape_length(footer: &[u8]) -> Option<usize> {
    let mut walk = Walk::new(footer.strip_prefix(b"APETAGEX")?);
    let (_version, size, _items, flags) = (walk.le32()?, walk.le32()?, walk.le32()?, walk.le32()?);
    let header = if flags & 0x8000_0000 == 0 { 0 } else { 32 };
    index(size).checked_add(header)
}
