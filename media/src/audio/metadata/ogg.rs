use std::collections::BTreeSet;
use std::io::Cursor;

use ogg::PacketReader;

use super::comments;
use crate::fields::Fields;

/// Lists the comments of each stream in an Ogg file, further streams, and bytes that belong to
/// none.
pub(super) fn scan(bytes: &[u8], fields: &mut Fields) {
    stray_bytes(bytes, fields);
    let mut reader = PacketReader::new(Cursor::new(bytes));
    let mut streams = BTreeSet::new();
    while let Ok(Some(packet)) = reader.read_packet() {
        if fields.is_full() {
            return;
        }
        if packet.first_in_stream()
            && (!streams.insert(packet.stream_serial()) || streams.len() > 1)
        {
            fields.name("further stream in the Ogg file".to_owned());
        }
        if let Some(body) = packet.data.strip_prefix(b"OpusTags") {
            let padding = comments::scan(body, "Opus", fields);
            if padding.iter().any(|&b| b != 0) {
                fields.name("Opus comment padding that is not empty".to_owned());
            }
        } else if let Some(body) = packet.data.strip_prefix(b"\x03vorbis") {
            comments::scan(body, "Vorbis", fields);
        } else if packet.data.first().is_some_and(|kind| kind & 0x7F == 4)
            && packet.data.len() > 8
            && streams.len() == 1
            && bytes.get(28..33) == Some(b"\x7FFLAC")
        {
            comments::scan(packet.data.get(4..).unwrap_or_default(), "FLAC", fields);
        }
    }
}

/// Pages follow each other without a gap; anything else would be skipped by players.
fn stray_bytes(bytes: &[u8], fields: &mut Fields) {
    let mut rest = bytes;
    loop {
        if rest.is_empty() {
            return;
        }
        let page = rest.starts_with(b"OggS").then(|| {
            let segments = usize::from(*rest.get(26)?);
            let lengths = rest.get(27..27 + segments)?;
            Some(27 + segments + lengths.iter().map(|&l| usize::from(l)).sum::<usize>())
        });
        match page.flatten().and_then(|length| rest.get(length..)) {
            Some(after) => rest = after,
            None => {
                fields.name(format!("{} bytes outside the Ogg pages", rest.len()));
                return;
            }
        }
    }
}
