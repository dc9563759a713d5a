//! WebSocket frames (RFC 6455) of a client that sends whole binary messages.
//!
//! The mask is four zeros: a legal one, that saves this side the work and costs the other
//! side what any mask does. Masks protect proxies from scripts in browsers; neither is here.

use bytes::{Buf as _, BytesMut};

/// Largest message taken from a server.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::load) enum Kind {
    Binary,
    Ping,
    Pong,
    Close,
}

/// Appends the header of a binary message of `length` bytes.
pub(in crate::load) fn put_header(out: &mut Vec<u8>, kind: Kind, length: usize) {
    let code = match kind {
        Kind::Binary => 0x82,
        Kind::Close => 0x88,
        Kind::Ping => 0x89,
        Kind::Pong => 0x8a,
    };
    out.push(code);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => out.push(0x80 | short),
        (_, Ok(middle)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side does not speak WebSocket as it should")]
pub(in crate::load) struct NotWebSocket;

/// Takes the header of the next whole message off `input`; its payload are then the first
/// bytes of `input`. `None` while not all of it is there.
pub(in crate::load) fn next(input: &mut BytesMut) -> Result<Option<(Kind, usize)>, NotWebSocket> {
    let (first, second, rest) = match &input[..] {
        [first, second, rest @ ..] => (*first, *second, rest),
        _ => return Ok(None),
    };
    let kind = match first {
        0x82 => Kind::Binary,
        0x88 => Kind::Close,
        0x89 => Kind::Ping,
        0x8a => Kind::Pong,
        _ => return Err(NotWebSocket),
    };
    let (length, header) = match second {
        short @ ..126 => (usize::from(short), 2),
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (usize::from(u16::from_be_bytes(*bytes)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => {
                let length = usize::try_from(u64::from_be_bytes(*bytes));
                (length.map_err(|_| NotWebSocket)?, 10)
            }
            None => return Ok(None),
        },
        // A server never masks.
        _ => return Err(NotWebSocket),
    };
    if length > MESSAGE_BYTES_MAX {
        return Err(NotWebSocket);
    }
    if input.len() < header + length {
        return Ok(None);
    }
    input.advance(header);
    Ok(Some((kind, length)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{Kind, NotWebSocket, next, put_header};
    use bytes::BytesMut;

    #[test]
    fn headers_of_every_length() {
        let header = |length| {
            let mut out = vec![];
            put_header(&mut out, Kind::Binary, length);
            out
        };
        assert_eq!(header(5), [0x82, 0x85, 0, 0, 0, 0]);
        assert_eq!(header(1_024), [0x82, 0xfe, 4, 0, 0, 0, 0, 0]);
        assert_eq!(
            header(70_000),
            [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70, 0, 0, 0, 0]
        );
    }

    #[test]
    fn a_message_is_taken_when_all_of_it_is_there() {
        let mut input = BytesMut::from(&[0x82, 3, 1, 2][..]);
        assert_eq!(next(&mut input), Ok(None));
        input.extend_from_slice(&[3, 0x89, 0]);
        assert_eq!(next(&mut input), Ok(Some((Kind::Binary, 3))));
        assert_eq!(&input[..3], [1, 2, 3]);
        let _ = input.split_to(3);
        assert_eq!(next(&mut input), Ok(Some((Kind::Ping, 0))));
        assert!(input.is_empty());
    }

    #[test]
    fn what_claims_too_much_or_is_masked_is_refused() {
        for bytes in [
            &[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0][..],
            &[0x82, 0x83, 0, 0, 0, 0, 1, 2, 3],
            &[0x02, 1, 0],
        ] {
            assert_eq!(next(&mut BytesMut::from(bytes)), Err(NotWebSocket));
        }
    }
}
