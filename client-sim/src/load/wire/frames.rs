//! What a relay says, read without building frames for the two kinds that come all the time.

use kinline_protocol::wire::server_frame::Body;
use kinline_protocol::wire::{self, FrameError, RecipientStatus};

use super::Stamp;

/// One frame of a relay.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::load) enum Seen {
    /// An envelope.
    Deliver { number: u64, stamp: Stamp },
    /// The answer to a Send with one delivery.
    Answer {
        request_id: u64,
        status: i32,
        retry_after_ms: u32,
    },
    /// Anything else.
    Other { request_id: u64, body: Body },
}

impl Seen {
    /// Whether this is the answer `OK`.
    pub(in crate::load) const fn is_ok(status: i32) -> bool {
        status == RecipientStatus::Ok as i32
    }
}

/// Reads protobuf off a slice.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Number of a field and how it is written: 0 a varint, 2 bytes.
    fn tag(&mut self) -> Option<(u64, u64)> {
        self.varint().map(|tag| (tag >> 3, tag & 7))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

/// The quick way: `None` for every frame that is not one of the two.
fn quick(frame: &[u8]) -> Option<Seen> {
    let mut reader = Reader(frame);
    let mut request_id = 0;
    while !reader.0.is_empty() {
        match reader.tag()? {
            (1, 0) => request_id = reader.varint()?,
            (13, 2) => return deliver(reader.bytes()?),
            (14, 2) => return answer(request_id, reader.bytes()?),
            _ => return None,
        }
    }
    None
}

fn deliver(body: &[u8]) -> Option<Seen> {
    let mut reader = Reader(body);
    let (mut number, mut stamp) = (0, None);
    while !reader.0.is_empty() {
        match reader.tag()? {
            (1, 0) => number = reader.varint()?,
            (2, 2) => drop(reader.bytes()?),
            (3, 2) => stamp = Stamp::read(reader.bytes()?),
            _ => return None,
        }
    }
    stamp.map(|stamp| Seen::Deliver { number, stamp })
}

fn answer(request_id: u64, body: &[u8]) -> Option<Seen> {
    let mut reader = Reader(body);
    if reader.tag()? != (1, 2) {
        return None;
    }
    let mut recipient = Reader(reader.bytes()?);
    if !reader.0.is_empty() {
        return None;
    }
    let (mut status, mut retry_after_ms) = (0, 0);
    while !recipient.0.is_empty() {
        match recipient.tag()? {
            (1, 0) => status = i32::try_from(recipient.varint()?).ok()?,
            (2, 0) => retry_after_ms = u32::try_from(recipient.varint()?).ok()?,
            _ => return None,
        }
    }
    Some(Seen::Answer {
        request_id,
        status,
        retry_after_ms,
    })
}

/// Reads one frame.
///
/// # Errors
/// [`FrameError`] when it is none.
pub(in crate::load) fn read(frame: &[u8]) -> Result<Seen, FrameError> {
    if let Some(seen) = quick(frame) {
        return Ok(seen);
    }
    let frame = wire::decode_server(bytes::Bytes::copy_from_slice(frame))?;
    match frame.body {
        Some(body) => Ok(Seen::Other {
            request_id: frame.request_id,
            body,
        }),
        None => Err(FrameError::UnknownKind {
            request_id: frame.request_id,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Seen, Stamp, read};
    use kinline_protocol::wire::{self, ServerFrame, server_frame::Body};

    fn encoded(request_id: u64, body: Body) -> bytes::Bytes {
        wire::encode(&ServerFrame {
            request_id,
            critical: vec![],
            body: Some(body),
        })
    }

    #[test]
    fn the_quick_way_reads_what_the_codec_writes() {
        let stamp = Stamp {
            number: 7,
            at_ns: 1 << 40,
        };
        let mut envelope = vec![9; 1_024];
        stamp.write(&mut envelope);
        let deliver = Body::Deliver(wire::Deliver {
            number: 300,
            message_id: vec![1; 16].into(),
            envelope: envelope.into(),
        });
        assert_eq!(
            read(&encoded(0, deliver)).unwrap(),
            Seen::Deliver { number: 300, stamp }
        );
        let slow_down = wire::RecipientAnswer {
            status: wire::RecipientStatus::SlowDown.into(),
            retry_after_ms: 500,
        };
        let result = |recipients| {
            Body::SendResult(wire::SendResult {
                recipients,
                commit: None,
            })
        };
        assert_eq!(
            read(&encoded(1 << 28, result(vec![slow_down]))).unwrap(),
            Seen::Answer {
                request_id: 1 << 28,
                status: 5,
                retry_after_ms: 500
            }
        );
        // Two recipients are not for the quick way, and are read all the same.
        let both = result(vec![slow_down, slow_down]);
        assert_eq!(
            read(&encoded(3, both.clone())).unwrap(),
            Seen::Other {
                request_id: 3,
                body: both
            }
        );
        assert!(read(&[0x6a, 0xff, 0xff, 1]).is_err());
    }
}
