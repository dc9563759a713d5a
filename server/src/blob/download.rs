//! A blob on its way out.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;

use super::files::blocking;
use super::http::{Refused, SIZE, readable, report_damage};
use super::sums::{self, CHUNK_BYTES};
use crate::operator::BULK_BLOB_BYTES_MAX;
use crate::relay::Shared;

/// Bytes read at a time: each time costs a way to another thread and back. A download has one
/// page in memory, and what of it is on its way.
const PAGE_BYTES: usize = 4 * CHUNK_BYTES;

pub(super) async fn download(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let mut row = readable(&shared, &headers).await?;
    if row.offset < row.size {
        return Err(Refused::NotFound);
    }
    if row.size > BULK_BLOB_BYTES_MAX && shared.operator.lockdown.check().is_err() {
        return Err(Refused::LockedDown);
    }
    let range = headers
        .get(header::RANGE)
        .map(|value| parse_range(value, row.size))
        .transpose()?
        .flatten();
    let (first, length) = range.unwrap_or((0, row.size));
    shared.tripwire.watch.blob_bytes(length);
    let chunk = first / CHUNK_BYTES as u64;
    let file = shared
        .blobs
        .read(&row.file, chunk * CHUNK_BYTES as u64)
        .await
        .map_err(|error| shared.blob_failed(&error))?;
    let outgoing = Outgoing {
        file,
        chunk: usize::try_from(chunk).unwrap_or(usize::MAX),
        skip: usize::try_from(first % CHUNK_BYTES as u64).unwrap_or(0),
        left: length,
        sums: row.sums.take(),
    };
    let body = Body::from_stream(stream::try_unfold(outgoing, Outgoing::next));
    let mut response = Response::new(body);
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_LENGTH, length.into());
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(SIZE, row.size.into());
    if range.is_some() {
        let last = (first + length).saturating_sub(1);
        if let Ok(value) = format!("bytes {first}-{last}/{}", row.size).parse() {
            fields.insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// A blob's file on its way out, a page at a time.
struct Outgoing {
    file: File,
    chunk: usize,
    /// Bytes of the next chunk that were not asked for.
    skip: usize,
    left: u64,
    sums: Option<Vec<u8>>,
}

impl Outgoing {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.left == 0 {
            return Ok(None);
        }
        blocking(move || Ok(Some((self.page()?, self)))).await
    }

    /// The next page. A chunk that is not as it was written ends the answer before its length is
    /// reached, which no device takes for the whole.
    fn page(&mut self) -> io::Result<Bytes> {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = self.skip.saturating_add(left);
        let room = wanted.min(PAGE_BYTES).next_multiple_of(CHUNK_BYTES);
        let mut page = vec![0; room];
        let read = fill(&self.file, &mut page)?;
        page.truncate(read);
        if let Some(sums) = &self.sums {
            for (chunk, number) in page.chunks(CHUNK_BYTES).zip(self.chunk..) {
                if sums::of(sums, number) != Some(sums::sum(chunk)) {
                    report_damage();
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
        let end = page.len().min(wanted);
        if end <= self.skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bytes = Bytes::from(page).slice(self.skip..end);
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.skip = 0;
        self.chunk = self.chunk.saturating_add(PAGE_BYTES / CHUNK_BYTES);
        Ok(bytes)
    }
}

/// Reads until `room` is full or the file ends; returns how much that was.
fn fill(mut file: &File, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// First byte and length of one `bytes=` range; `None` for a form that may be ignored
/// (RFC 9110 §14.2: several ranges, another unit).
fn parse_range(value: &HeaderValue, size: u64) -> Result<Option<(u64, u64)>, Refused> {
    let Some((first, last)) = value
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (number(first), number(last)) {
        (Some(first), _) if first >= size => Err(Refused::Range { size }),
        (Some(first), Some(last)) if last >= first => {
            Ok(Some((first, last.min(size - 1) - first + 1)))
        }
        (Some(first), None) if last.trim().is_empty() => Ok(Some((first, size - first))),
        (None, Some(0)) if first.is_empty() => Err(Refused::Range { size }),
        (None, Some(tail)) if first.is_empty() => Ok(Some((size - tail.min(size), tail.min(size)))),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::parse_range;
    use axum::http::HeaderValue;

    #[test]
    fn ranges() {
        let parse = |text: &'static str| parse_range(&HeaderValue::from_static(text), 100).ok();
        assert_eq!(parse("bytes=0-9"), Some(Some((0, 10))));
        assert_eq!(parse("bytes=90-"), Some(Some((90, 10))));
        assert_eq!(parse("bytes=90-500"), Some(Some((90, 10))));
        assert_eq!(parse("bytes=-10"), Some(Some((90, 10))));
        assert_eq!(parse("bytes=-1000"), Some(Some((0, 100))));
        assert_eq!(parse("bytes=100-"), None);
        assert_eq!(parse("bytes=-0"), None);
        for ignored in [
            "bytes=5-2",
            "lines=1-2",
            "bytes=1-2,4-5",
            "bytes=a-b",
            "bytes=-",
        ] {
            assert_eq!(parse(ignored), Some(None), "{ignored}");
        }
    }
}
