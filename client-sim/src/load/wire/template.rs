//! A `Send` made beforehand.

use kinline_protocol::ids::MailboxId;
use kinline_protocol::limits::ENVELOPE_BYTES;
use kinline_protocol::wire::client_frame::Body;
use kinline_protocol::wire::{self, ClientFrame};

use super::websocket::{self, Kind};

/// What stands at the beginning of each envelope, so that its recipient can tell when it was
/// to be sent, and whether one is missing, twice there or out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::load) struct Stamp {
    /// Counted from 0 for each sender and recipient.
    pub(in crate::load) number: u64,
    /// When it was to be sent: nanoseconds of the run's clock.
    pub(in crate::load) at_ns: u64,
}

impl Stamp {
    /// Bytes of a stamp.
    pub(in crate::load) const BYTES: usize = 16;

    /// Reads the first bytes of an envelope or message.
    pub(in crate::load) fn read(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk::<8>()?;
        let at_ns = rest.first_chunk::<8>()?;
        Some(Self {
            number: u64::from_be_bytes(*number),
            at_ns: u64::from_be_bytes(*at_ns),
        })
    }

    /// Overwrites the first bytes of `out`, when there are enough.
    pub(in crate::load) fn write(self, out: &mut [u8]) {
        let both = u128::from(self.number) << 64 | u128::from(self.at_ns);
        if let Some(place) = out.first_chunk_mut::<{ Self::BYTES }>() {
            *place = both.to_be_bytes();
        }
    }
}

/// The first request id: from here to 2^35 each takes five bytes, so that it can be changed in place.
pub(in crate::load) const FIRST_REQUEST: u64 = 1 << 28;

/// A whole WebSocket message with a `Send` of one envelope.
///
/// The envelope is noise: sealed ones are, to everybody but their recipients.
#[derive(Debug, Clone)]
pub(in crate::load) struct Template {
    message: Vec<u8>,
    message_id: usize,
    envelope: usize,
    /// The changing half of a message id counts up from a random start.
    next_id: u64,
}

impl Template {
    /// Offset of the request id in the message: after 2 + 2 bytes of length, 4 of mask, 1 of tag.
    const REQUEST: usize = 9;

    /// For one recipient, under `grant`.
    pub(in crate::load) fn new(mailbox: MailboxId, grant: &[u8], rng: &mut impl rand::Rng) -> Self {
        let mut id = [0_u8; 16];
        let mut envelope = [0_u8; ENVELOPE_BYTES];
        rng.fill_bytes(&mut id);
        rng.fill_bytes(&mut envelope);
        let frame = ClientFrame {
            request_id: FIRST_REQUEST,
            critical: vec![],
            body: Some(Body::Send(wire::Send {
                deliveries: vec![wire::Delivery {
                    mailbox: mailbox.to_bytes(),
                    grant: grant.to_vec().into(),
                    message_id: id.to_vec().into(),
                    envelope: envelope.to_vec().into(),
                }],
                commit: None,
                generation: 1,
            })),
        };
        let frame = wire::encode(&frame);
        let mut message = Vec::with_capacity(frame.len() + 16);
        websocket::put_header(&mut message, Kind::Binary, frame.len());
        message.extend_from_slice(&frame);
        let find = |part: &[u8]| {
            message
                .windows(part.len())
                .position(|window| window == part)
                .unwrap_or_default()
        };
        let (message_id, envelope) = (find(&id), find(&envelope));
        Self {
            message,
            message_id: message_id + 8,
            envelope,
            next_id: rng.next_u64(),
        }
    }

    /// Appends the next `Send` to `out`.
    pub(in crate::load) fn put(&mut self, out: &mut Vec<u8>, request_id: u64, stamp: Stamp) {
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id.to_be_bytes();
        put_varint5(&mut self.message, Self::REQUEST, request_id);
        write_at(&mut self.message, self.message_id, &id);
        if let Some(envelope) = self.message.get_mut(self.envelope..) {
            stamp.write(envelope);
        }
        out.extend_from_slice(&self.message);
    }
}

fn write_at(message: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = message.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Five bytes, for values from 2^28 to 2^35.
fn put_varint5(message: &mut [u8], at: usize, value: u64) {
    let bytes: [u8; 5] = std::array::from_fn(|place| {
        let seven = (value >> (7 * place))
            .to_le_bytes()
            .first()
            .map_or(0, |byte| byte & 0x7f);
        if place < 4 { seven | 0x80 } else { seven }
    });
    write_at(message, at, &bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{FIRST_REQUEST, Stamp, Template};
    use crate::load::wire::websocket;
    use kinline_protocol::ids::MailboxId;
    use kinline_protocol::wire::client_frame::Body;
    use kinline_protocol::wire::decode_client;

    #[test]
    fn what_is_put_is_a_send_with_everything_in_its_place() {
        let mut rng = crate::random::os();
        let mut template = Template::new(MailboxId::new([5; 16]), &[6; 125], &mut rng);
        let mut ids = vec![];
        for number in [0_u64, 1, 1_000_000] {
            let mut out = vec![];
            let stamp = Stamp { number, at_ns: 99 };
            template.put(&mut out, FIRST_REQUEST + number, stamp);
            let mut header = vec![];
            websocket::put_header(&mut header, websocket::Kind::Binary, out.len() - 8);
            assert_eq!(out[..8], header);
            let frame = decode_client(out[8..].to_vec().into()).unwrap();
            assert_eq!(frame.request_id, FIRST_REQUEST + number);
            let Some(Body::Send(send)) = frame.body else {
                unreachable!("a Send");
            };
            let delivery = &send.deliveries[0];
            assert_eq!(delivery.mailbox[..], [5; 16]);
            assert_eq!(delivery.grant[..], [6; 125]);
            assert_eq!(delivery.envelope.len(), 1_024);
            assert_eq!(Stamp::read(&delivery.envelope), Some(stamp));
            ids.push(delivery.message_id.clone());
        }
        ids.dedup();
        assert_eq!(ids.len(), 3);
    }
}
