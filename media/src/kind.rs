//! What a file is, by its first bytes; its name does not count.

use std::fmt;

/// What the first bytes of a file look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the formats")]
pub enum Kind {
    Empty,
    Jpeg,
    Png,
    WebP,
    Heic,
    Avif,
    Gif,
    Bmp,
    Tiff,
    Svg,
    Wav,
    Rf64,
    Aiff,
    Flac,
    OggOpus,
    OggVorbis,
    OggFlac,
    OggOther,
    Mp3,
    Aac,
    M4a,
    QuickTime,
    Amr,
    Midi,
    WindowsMedia,
    Matroska,
    Avi,
    Pdf,
    Zip,
    Gzip,
    Html,
    Text,
    Zeros,
    Unknown,
}

impl Kind {
    /// Recognises `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Empty;
        }
        let at = |offset: usize, magic: &[u8]| {
            bytes
                .get(offset..)
                .is_some_and(|rest| rest.starts_with(magic))
        };
        const MAGIC: [(&[u8], Kind); 19] = [
            (b"\xFF\xD8\xFF", Kind::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Kind::Png),
            (b"GIF8", Kind::Gif),
            (b"II*\0", Kind::Tiff),
            (b"MM\0*", Kind::Tiff),
            (b"fLaC", Kind::Flac),
            (b"ID3", Kind::Mp3),
            (b"#!AMR", Kind::Amr),
            (b"MThd", Kind::Midi),
            (b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", Kind::WindowsMedia),
            (b"\x1A\x45\xDF\xA3", Kind::Matroska),
            (b"%PDF", Kind::Pdf),
            (b"PK\x03\x04", Kind::Zip),
            (b"\x1F\x8B", Kind::Gzip),
            (b"RF64", Kind::Rf64),
            (b"BW64", Kind::Rf64),
            (b"<svg", Kind::Svg),
            (b"<!DOCTYPE html", Kind::Html),
            (b"<html", Kind::Html),
        ];
        if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| at(0, magic)) {
            return *kind;
        }
        if at(0, b"RIFF") {
            return match bytes.get(8..12) {
                Some(b"WEBP") => Self::WebP,
                Some(b"WAVE") => Self::Wav,
                Some(b"AVI ") => Self::Avi,
                _ => Self::Unknown,
            };
        }
        if at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) {
            return Self::Aiff;
        }
        if at(0, b"BM") && at(6, &[0, 0, 0, 0]) {
            return Self::Bmp;
        }
        if at(0, b"OggS") {
            return of_ogg(bytes);
        }
        if at(4, b"ftyp") {
            return of_brand(bytes);
        }
        match bytes {
            // An MPEG audio frame: 11 sync bits, then layer III, or layer 0, which ADTS uses.
            [0xFF, second, ..] if second & 0xE6 == 0xE2 => Self::Mp3,
            [0xFF, second, ..] if second & 0xF6 == 0xF0 => Self::Aac,
            _ => of_text(bytes),
        }
    }
}

/// The codec that an Ogg stream begins with: its first packet follows the first page's lacing.
fn of_ogg(bytes: &[u8]) -> Kind {
    let segments = bytes.get(26).copied().map_or(0, usize::from);
    let packet = bytes.get(27 + segments..).unwrap_or_default();
    const CODECS: [(&[u8], Kind); 3] = [
        (b"OpusHead", Kind::OggOpus),
        (b"\x01vorbis", Kind::OggVorbis),
        (b"\x7FFLAC", Kind::OggFlac),
    ];
    CODECS
        .iter()
        .find(|(magic, _)| packet.starts_with(magic))
        .map_or(Kind::OggOther, |(_, kind)| *kind)
}

/// An ISO base media file, by its major brand and then its compatible ones.
fn of_brand(bytes: &[u8]) -> Kind {
    let brands = bytes.get(8..bytes.len().min(64)).unwrap_or_default();
    for brand in brands.chunks_exact(4) {
        match brand {
            b"avif" | b"avis" => return Kind::Avif,
            b"heic" | b"heix" | b"hevc" | b"heim" | b"heis" | b"mif1" | b"msf1" => {
                return Kind::Heic;
            }
            b"qt  " => return Kind::QuickTime,
            _ => {}
        }
    }
    Kind::M4a
}

fn of_text(bytes: &[u8]) -> Kind {
    let sample = bytes.get(..bytes.len().min(512)).unwrap_or_default();
    if sample.iter().all(|&b| b == 0) {
        return Kind::Zeros;
    }
    // A sample may end inside a character; that alone makes it no less a text.
    let is_utf8 = match std::str::from_utf8(sample) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    let has_control = sample
        .iter()
        .any(|&b| b < 0x20 && !matches!(b, b'\n' | b'\r' | b'\t'));
    if is_utf8 && !has_control {
        Kind::Text
    } else {
        Kind::Unknown
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty file",
            Self::Jpeg => "a JPEG picture",
            Self::Png => "a PNG picture",
            Self::WebP => "a WebP picture",
            Self::Heic => "a HEIC picture",
            Self::Avif => "an AVIF picture",
            Self::Gif => "a GIF picture",
            Self::Bmp => "a BMP picture",
            Self::Tiff => "a TIFF picture or camera raw file",
            Self::Svg => "an SVG drawing",
            Self::Wav => "a WAV recording",
            Self::Rf64 => "an RF64 recording",
            Self::Aiff => "an AIFF recording",
            Self::Flac => "a FLAC recording",
            Self::OggOpus => "an Ogg Opus recording",
            Self::OggVorbis => "an Ogg Vorbis recording",
            Self::OggFlac => "an Ogg FLAC recording",
            Self::OggOther => "an Ogg file that holds neither Opus nor Vorbis",
            Self::Mp3 => "an MP3 recording",
            Self::Aac => "a bare AAC stream",
            Self::M4a => "an MP4 file",
            Self::QuickTime => "a QuickTime movie",
            Self::Amr => "an AMR recording",
            Self::Midi => "a MIDI file",
            Self::WindowsMedia => "a Windows Media file",
            Self::Matroska => "a Matroska or WebM video",
            Self::Avi => "an AVI video",
            Self::Pdf => "a PDF document",
            Self::Zip => "a ZIP archive or office document",
            Self::Gzip => "a gzip archive",
            Self::Html => "a web page",
            Self::Text => "a text",
            Self::Zeros => "a file of zeros",
            Self::Unknown => "a file of an unknown kind",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn first_bytes_tell() {
        let cases: [(&[u8], Kind); 22] = [
            (b"", Kind::Empty),
            (b"\xFF\xD8\xFF\xE0", Kind::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Kind::Png),
            (b"RIFF\0\0\0\0WEBP", Kind::WebP),
            (b"RIFF\0\0\0\0WAVE", Kind::Wav),
            (b"RIFF\0\0\0\0AVI ", Kind::Avi),
            (b"\0\0\0\x18ftypheic\0\0\0\0", Kind::Heic),
            (b"\0\0\0\x18ftypmif1\0\0\0\0avif", Kind::Heic),
            (b"\0\0\0\x18ftypavif\0\0\0\0", Kind::Avif),
            (b"\0\0\0\x18ftypM4A \0\0\0\0", Kind::M4a),
            (b"\0\0\0\x18ftypqt  \0\0\0\0", Kind::QuickTime),
            (b"GIF89a", Kind::Gif),
            (b"%PDF-1.7", Kind::Pdf),
            (b"hello there\n", Kind::Text),
            ("Grüße".as_bytes(), Kind::Text),
            (b"\xFF\xFB\x90\x64", Kind::Mp3),
            (b"\xFF\xF1\x50\x80", Kind::Aac),
            (b"ID3\x04", Kind::Mp3),
            (b"OggS", Kind::OggOther),
            (b"\0\0\0\0", Kind::Zeros),
            (b"PK\x03\x04", Kind::Zip),
            (b"\x01\x02\x03", Kind::Unknown),
        ];
        for (bytes, kind) in cases {
            assert_eq!(Kind::of(bytes), kind, "{bytes:?}");
        }
    }
}
