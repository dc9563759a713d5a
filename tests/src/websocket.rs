//! Reads along on an HTTP connection that becomes a WebSocket; changes nothing.

/// One direction of a connection, byte by byte.
#[derive(Debug)]
pub struct Listener {
    stage: Stage,
    buffer: Vec<u8>,
    message: Vec<u8>,
    /// Of an HTTP request that is no WebSocket.
    method: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// The HTTP head has not ended.
    Head,
    /// WebSocket frames.
    Frames,
    /// Something else: a blob goes up or down, or is deleted.
    Opaque,
}

/// How the head of a WebSocket connection begins, in either direction.
const BEGINNINGS: [&[u8]; 2] = [b"GET /v1/connect ", b"HTTP/1.1 101 "];
const BINARY: u8 = 2;
const CONTINUATION: u8 = 0;

impl Default for Listener {
    fn default() -> Self {
        Self {
            stage: Stage::Head,
            buffer: Vec::new(),
            message: Vec::new(),
            method: None,
        }
    }
}

impl Listener {
    /// Takes what passed by; returns the binary messages that are whole now.
    pub fn hear(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        if self.stage == Stage::Opaque {
            return vec![];
        }
        self.buffer.extend_from_slice(bytes);
        if self.stage == Stage::Head {
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
                return vec![];
            };
            if !BEGINNINGS
                .iter()
                .any(|beginning| self.buffer.starts_with(beginning))
            {
                self.stage = Stage::Opaque;
                let head = String::from_utf8_lossy(&self.buffer).into_owned();
                self.method = head.split(' ').next().map(str::to_owned);
                self.buffer = Vec::new();
                return vec![];
            }
            self.stage = Stage::Frames;
            self.buffer.drain(..end + 4);
        }
        let mut messages = Vec::new();
        while let Some((opcode, last, payload)) = self.frame() {
            if opcode == BINARY || opcode == CONTINUATION {
                self.message.extend(payload);
                if last {
                    messages.push(std::mem::take(&mut self.message));
                }
            }
        }
        messages
    }

    /// Whether this is an HTTP request of this method.
    #[must_use]
    pub fn is_request(&self, method: &str) -> bool {
        self.method.as_deref() == Some(method)
    }

    /// RFC 6455 §5.2: fin and opcode 1 ‖ mask bit and length 1 ‖ length 0, 2 or 8 ‖ mask 0 or 4 ‖ payload.
    fn frame(&mut self) -> Option<(u8, bool, Vec<u8>)> {
        let (&first, rest) = self.buffer.split_first()?;
        let (&second, rest) = rest.split_first()?;
        let (length, rest) = match second & 0x7f {
            126 => {
                let (bytes, rest) = rest.split_first_chunk::<2>()?;
                (u64::from(u16::from_be_bytes(*bytes)), rest)
            }
            127 => {
                let (bytes, rest) = rest.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*bytes), rest)
            }
            short => (u64::from(short), rest),
        };
        let (mask, rest) = if second & 0x80 == 0 {
            ([0; 4], rest)
        } else {
            let (mask, rest) = rest.split_first_chunk::<4>()?;
            (*mask, rest)
        };
        let payload = rest.get(..usize::try_from(length).ok()?)?;
        let payload: Vec<u8> = payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        let used = self.buffer.len() - rest.len() + payload.len();
        self.buffer.drain(..used);
        Some((first & 0x0f, first & 0x80 != 0, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::Listener;

    #[test]
    fn messages_are_heard_whole_however_they_are_cut() {
        let mut stream = b"GET /v1/connect HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
        // Masked "hi", a ping between, then "hello" in two frames.
        stream.extend([
            0x82,
            0x82,
            1,
            2,
            3,
            4,
            b'h' ^ 1,
            b'i' ^ 2,
            0x89,
            0x00,
            0x02,
            0x03,
        ]);
        stream.extend(b"hel");
        stream.extend([0x80, 0x02]);
        stream.extend(b"lo");
        stream.extend([0x82, 126, 1, 0]);
        stream.extend([7; 256]);
        let expected = vec![b"hi".to_vec(), b"hello".to_vec(), vec![7; 256]];
        assert_eq!(Listener::default().hear(&stream), expected);
        let mut slow = Listener::default();
        let heard: Vec<_> = stream.iter().flat_map(|byte| slow.hear(&[*byte])).collect();
        assert_eq!(heard, expected);
    }

    #[test]
    fn an_upload_is_not_listened_to() {
        let mut listener = Listener::default();
        assert!(
            listener
                .hear(b"PUT /v1/blob HTTP/1.1\r\n\r\n\x82\x01x")
                .is_empty()
        );
        assert!(listener.is_request("PUT") && !listener.is_request("GET"));
    }
}
