//! Magic bytes: containers to open, pictures and sound, private keys.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::{Detector, Options, ThiefError};

/// What begins, or lies, where its magic bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Gzip,
    Zlib,
    Zstd,
    Zip,
    Media(&'static str),
    PrivateKey(&'static str),
}

/// Six bytes and more: fewer would stand in every few megabytes of noise.
const MEDIA: [(&[u8], &str); 15] = [
    (b"JFIF\0\x01", "a JPEG picture"),
    (b"\xff\xd8\xff\xdb\0\x43", "a JPEG picture"),
    (b"Exif\0\0", "an EXIF block"),
    (b"http://ns.adobe.com/xap/1.0/", "an XMP block"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"WEBPVP8", "a WebP picture"),
    (b"ftypheic", "a HEIC picture"),
    (b"ftypisom", "an MPEG-4 file"),
    (b"ftypmp42", "an MPEG-4 file"),
    (b"ftypM4A ", "an M4A sound"),
    (b"OggS\0\x02", "an Ogg sound"),
    (b"OpusHead", "an Opus sound"),
    (b"fLaC\0\0\0\x22", "a FLAC sound"),
    (b"WAVEfmt ", "a WAV sound"),
    (b"matroska", "a Matroska file"),
];

const PRIVATE_KEYS: [(&[u8], &str); 6] = [
    (b"PRIVATE KEY-----", "a PEM private key"),
    (b"AGE-SECRET-KEY-1", "an age private key"),
    (b"openssh-key-v1\0", "an OpenSSH private key"),
    // PKCS #8 (RFC 5958): version 0, then the algorithm.
    (
        b"\x02\x01\0\x30\x05\x06\x03\x2b\x65\x70",
        "an Ed25519 private key in DER",
    ),
    (
        b"\x02\x01\0\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01",
        "an EC private key in DER",
    ),
    (
        b"\x02\x01\0\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
        "an RSA private key in DER",
    ),
];

/// The table of all magic bytes.
#[derive(Debug)]
pub(crate) struct Marks {
    table: AhoCorasick,
    marks: Vec<Mark>,
}

impl Marks {
    pub(crate) fn new(options: &Options) -> Result<Self, ThiefError> {
        let mut patterns: Vec<(Vec<u8>, Mark)> = Vec::new();
        if options.uses(Detector::Gzip) {
            patterns.push((vec![0x1f, 0x8b, 8], Mark::Gzip));
        }
        if options.uses(Detector::Zlib) {
            patterns.extend(zlib_headers().map(|header| (header.to_vec(), Mark::Zlib)));
        }
        if options.uses(Detector::Zstd) {
            patterns.push((vec![0x28, 0xb5, 0x2f, 0xfd], Mark::Zstd));
        }
        if options.uses(Detector::Deflate) {
            patterns.push((b"PK\x03\x04".to_vec(), Mark::Zip));
        }
        if options.uses(Detector::Media) {
            patterns.extend(MEDIA.map(|(magic, what)| (magic.to_vec(), Mark::Media(what))));
        }
        if options.uses(Detector::PrivateKeys) {
            let known = PRIVATE_KEYS.map(|(magic, what)| (magic.to_vec(), Mark::PrivateKey(what)));
            patterns.extend(known);
            let own = options
                .key_file_magics
                .iter()
                .filter(|magic| magic.len() >= 6);
            patterns
                .extend(own.map(|magic| (magic.clone(), Mark::PrivateKey("a relay's key file"))));
        }
        let table = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(patterns.iter().map(|(magic, _)| magic))
            .map_err(|error| ThiefError::Needles {
                reason: error.to_string(),
            })?;
        Ok(Self {
            table,
            marks: patterns.into_iter().map(|(_, mark)| mark).collect(),
        })
    }

    /// Every mark in some bytes, with where it begins.
    pub(crate) fn find(&self, bytes: &[u8]) -> Vec<(usize, Mark)> {
        let Ok(found) = self.table.try_find_overlapping_iter(bytes) else {
            return Vec::new();
        };
        found
            .filter_map(|one| {
                self.marks
                    .get(one.pattern().as_usize())
                    .map(|mark| (one.start(), *mark))
            })
            .collect()
    }
}

/// All two-byte zlib headers without a preset dictionary (RFC 1950 §2.2): method 8, window up to
/// 32 KiB, the whole divisible by 31.
fn zlib_headers() -> impl Iterator<Item = [u8; 2]> {
    (0_u8..8).flat_map(|window| {
        let method = (window << 4) | 8;
        (0_u8..=255).filter_map(move |flags| {
            let fits = u16::from_be_bytes([method, flags]) % 31 == 0 && flags & 0x20 == 0;
            fits.then_some([method, flags])
        })
    })
}
