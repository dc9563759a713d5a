//! Opens what is packed, wherever it begins, within bounds.
//!
//! In noise every thousandth byte looks like the beginning of a zlib stream; most fail within a
//! few bytes. Whatever a stream gives before it fails is searched too: a thief reads torn streams.

use std::io::Read as _;

use flate2::{FlushDecompress, Status};

use crate::Detector;
use crate::marks::Mark;
use crate::report::FindingKind;
use crate::search::{Place, Search};

/// Output shorter than this holds no secret that could be told from chance.
const OUTPUT_BYTES_MIN: usize = 4;
/// A raw deflate stream has no magic: one that breaks off is believed when it gave this much.
const DEFLATE_BYTES_MIN: usize = 64;
/// The largest window a zstd frame may ask memory for.
const ZSTD_WINDOW_MAX: u64 = 8 << 20;

/// What a stream gave.
struct Unpacked {
    bytes: Vec<u8>,
    /// Whether it came to its proper end.
    ended: bool,
    /// Whether it would have given more than it may.
    over: bool,
}

impl Search<'_> {
    /// Follows the magic bytes in `bytes`.
    pub(crate) fn open_marked(&mut self, bytes: &[u8], place: &Place) {
        for (at, mark) in self.marks.find(bytes) {
            let rest = bytes.get(at..).unwrap_or_default();
            match mark {
                Mark::Media(what) => self.found(FindingKind::Media, place, at, what),
                Mark::PrivateKey(what) => self.found(FindingKind::PrivateKey, place, at, what),
                _ if !self.may_open(place) => {}
                Mark::Gzip => {
                    let limit = self.options.expansion_bytes_max;
                    let unpacked = bounded(flate2::bufread::GzDecoder::new(rest), limit);
                    self.unpacked("gzip", unpacked, at, place);
                }
                Mark::Zlib => {
                    let unpacked = self.inflate(rest, true);
                    self.unpacked("zlib", unpacked, at, place);
                }
                Mark::Zstd => {
                    let limit = self.options.expansion_bytes_max;
                    let unpacked = unzstd(rest, limit);
                    self.unpacked("zstd", unpacked, at, place);
                }
                Mark::Zip => {
                    if let Some(entry) = zip_entry(rest) {
                        let unpacked = self.inflate(entry, false);
                        self.unpacked("deflate", unpacked, at, place);
                    }
                }
            }
        }
    }

    /// Tries a whole value, or the beginning of a file, as a deflate stream without a header.
    pub(crate) fn open_bare(&mut self, bytes: &[u8], place: &Place) {
        if self.options.uses(Detector::Deflate) && self.may_open(place) {
            let unpacked = self.inflate(bytes, false);
            if unpacked.ended || unpacked.bytes.len() >= DEFLATE_BYTES_MIN {
                self.unpacked("deflate", unpacked, 0, place);
            }
        }
    }

    /// Searches decoded bytes, one container deeper.
    pub(crate) fn look_inside(&mut self, how: &str, bytes: &[u8], offset: usize, place: &Place) {
        if !self.may_open(place) || bytes.len() < OUTPUT_BYTES_MIN {
            return;
        }
        self.expanded = self.expanded.saturating_add(bytes.len() as u64);
        self.containers = self.containers.saturating_add(1);
        self.look(bytes, place.inside(how, offset));
    }

    fn may_open(&mut self, place: &Place) -> bool {
        if place.within.len() >= self.options.depth_max {
            return false;
        }
        if self.expanded > self.options.expansion_total_max {
            let what = "containers were no longer opened: together they hold too much";
            let file = place.file.to_string();
            self.note(&file, what, true);
            return false;
        }
        true
    }

    fn unpacked(&mut self, how: &str, unpacked: Unpacked, offset: usize, place: &Place) {
        if unpacked.over {
            let what = format!(
                "a {how} stream at byte {} holds more than {} bytes; the rest was not searched",
                place.offset(offset),
                self.options.expansion_bytes_max
            );
            let file = place.file.to_string();
            self.note(&file, what, true);
        }
        self.look_inside(how, &unpacked.bytes, offset, place);
    }

    fn inflate(&mut self, input: &[u8], header: bool) -> Unpacked {
        let limit = self.options.expansion_bytes_max;
        self.inflater.reset(header);
        let mut bytes: Vec<u8> = Vec::with_capacity(512);
        loop {
            if bytes.len() >= limit {
                return Unpacked {
                    bytes,
                    ended: false,
                    over: true,
                };
            }
            if bytes.len() == bytes.capacity() {
                bytes.reserve(bytes.capacity().min(limit.saturating_sub(bytes.len())));
            }
            let consumed = usize::try_from(self.inflater.total_in()).unwrap_or(usize::MAX);
            let rest = input.get(consumed..).unwrap_or_default();
            let before = (self.inflater.total_in(), bytes.len());
            let status = self
                .inflater
                .decompress_vec(rest, &mut bytes, FlushDecompress::None);
            let stuck = (self.inflater.total_in(), bytes.len()) == before;
            match status {
                Ok(Status::StreamEnd) => {
                    return Unpacked {
                        bytes,
                        ended: true,
                        over: false,
                    };
                }
                Ok(Status::Ok | Status::BufError) if !stuck => {}
                _ => {
                    return Unpacked {
                        bytes,
                        ended: false,
                        over: false,
                    };
                }
            }
        }
    }
}

/// Reads a stream up to a limit; what came before an error is kept.
fn bounded(stream: impl std::io::Read, limit: usize) -> Unpacked {
    let mut bytes = Vec::new();
    let ended = stream
        .take((limit as u64).saturating_add(1))
        .read_to_end(&mut bytes)
        .is_ok();
    let over = bytes.len() > limit;
    bytes.truncate(limit);
    Unpacked {
        bytes,
        ended: ended && !over,
        over,
    }
}

fn unzstd(input: &[u8], limit: usize) -> Unpacked {
    use ruzstd::decoding::StreamingDecoder;
    match StreamingDecoder::new_with_max_window_size(input, ZSTD_WINDOW_MAX) {
        Ok(decoder) => bounded(decoder, limit),
        Err(_) => Unpacked {
            bytes: Vec::new(),
            ended: false,
            over: false,
        },
    }
}

/// The deflated bytes of a ZIP entry whose local header begins here (APPNOTE 4.3.7).
fn zip_entry(header: &[u8]) -> Option<&[u8]> {
    let short = |at: usize| {
        let bytes = header.get(at..at.saturating_add(2))?.first_chunk::<2>()?;
        Some(usize::from(u16::from_le_bytes(*bytes)))
    };
    let begin = 30_usize
        .saturating_add(short(26)?)
        .saturating_add(short(28)?);
    if short(8)? == 8 {
        header.get(begin..)
    } else {
        None
    }
}
