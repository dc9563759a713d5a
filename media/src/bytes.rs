//! Reading untrusted bytes without ever indexing past them.

/// A position in a byte slice; every step is checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    /// A walk over all of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been walked over yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes, or `None` (and no step) if there are fewer.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next `count` bytes, or as many as are left.
    pub(crate) fn take_up_to(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// One byte.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes, big-endian.
    pub(crate) fn be16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    pub(crate) fn be32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    pub(crate) fn be64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// Two bytes, little-endian.
    pub(crate) fn le16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub(crate) fn le32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Four bytes as a name, unprintable ones as `?`.
    pub(crate) fn name(&mut self) -> Option<[u8; 4]> {
        self.array()
    }
}

/// A `u32` as an index; our targets have at least 32 bits.
pub(crate) fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Four bytes as text for a human, unprintable ones as `?`.
pub(crate) fn printable(name: [u8; 4]) -> String {
    name.iter()
        .map(|&b| {
            if (0x20..0x7f).contains(&b) {
                char::from(b)
            } else {
                '?'
            }
        })
        .collect()
}

/// Text up to the first zero byte, trimmed; `None` if nothing readable is left.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(bytes.get(..end)?).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A size for a human: `12 bytes`, `3.4 KiB`, `64 MiB`.
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in UNITS {
        if bytes >= size {
            let tenths = u128::from(bytes) * 10 / u128::from(size);
            return if tenths % 10 == 0 {
                format!("{} {unit}", tenths / 10)
            } else {
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::{Walk, human_size, text};

    #[test]
    fn a_walk_never_passes_its_end() {
        let mut walk = Walk::new(&[1, 2, 3]);
        assert_eq!(walk.be16(), Some(0x0102));
        assert_eq!(walk.be16(), None);
        assert_eq!(walk.rest(), &[3]);
        assert_eq!(walk.take_up_to(9), &[3]);
        assert_eq!(walk.u8(), None);
    }

    #[test]
    fn sizes_read_like_a_human_writes_them() {
        assert_eq!(human_size(12), "12 bytes");
        assert_eq!(human_size(64 << 20), "64 MiB");
        assert_eq!(human_size(0xFFFF_FFFF), "3.9 GiB");
    }

    #[test]
    fn text_ends_at_its_zero() {
        assert_eq!(text(b" NIKON \0junk").as_deref(), Some("NIKON"));
        assert_eq!(text(b"\0"), None);
    }
}
