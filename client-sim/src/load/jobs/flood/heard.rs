//! What a flooder is answered.

use kinline_protocol::wire::server_frame::Body;
use kinline_protocol::wire::{ErrorCode, RecipientStatus};

use crate::load::trouble::Trouble;
use crate::load::wire::{FIRST_REQUEST, Seen};

/// Answers, counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    /// `OK`.
    pub(super) accepted: u64,
    /// "Slow down", with a time.
    pub(super) slow_down: u64,
    /// "Full", or no room at all, with a time.
    pub(super) full: u64,
    /// Anything else, or without a time.
    pub(super) unexplained: u64,
    /// The longest time, in milliseconds.
    pub(super) retry_ms_max: u32,
}

impl Heard {
    /// Everything but `OK`.
    pub(super) const fn refused(&self) -> u64 {
        self.slow_down + self.full + self.unexplained
    }

    /// Takes a frame; whether it answers a Send.
    ///
    /// # Errors
    /// [`Trouble`] when the relay ends the connection.
    pub(super) fn take(&mut self, seen: &Seen) -> Result<bool, Trouble> {
        let (place, retry_ms) = match seen {
            Seen::Answer { status, .. } if Seen::is_ok(*status) => {
                self.accepted += 1;
                return Ok(true);
            }
            Seen::Answer {
                status,
                retry_after_ms,
                ..
            } => match RecipientStatus::try_from(*status) {
                Ok(RecipientStatus::SlowDown) => (&mut self.slow_down, *retry_after_ms),
                Ok(RecipientStatus::Full) => (&mut self.full, *retry_after_ms),
                _ => (&mut self.unexplained, 0),
            },
            Seen::Other {
                request_id,
                body: Body::Error(error),
            } => {
                if error.closing || *request_id < FIRST_REQUEST {
                    return Err(Trouble::new(format!(
                        "the relay ended a flood: {}",
                        error.sentence
                    )));
                }
                match error.code() {
                    ErrorCode::SlowDown => (&mut self.slow_down, error.retry_after_ms),
                    ErrorCode::NoRoom => (&mut self.full, error.retry_after_ms),
                    _ => (&mut self.unexplained, 0),
                }
            }
            _ => return Ok(false),
        };
        if retry_ms == 0 {
            self.unexplained += 1;
        } else {
            *place += 1;
            self.retry_ms_max = self.retry_ms_max.max(retry_ms);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Body, ErrorCode, FIRST_REQUEST, Heard, RecipientStatus, Seen};
    use kinline_protocol::wire;

    fn answer(status: RecipientStatus, retry_after_ms: u32) -> Seen {
        Seen::Answer {
            request_id: FIRST_REQUEST,
            status: status.into(),
            retry_after_ms,
        }
    }

    fn error(code: ErrorCode, retry_after_ms: u32, closing: bool) -> Seen {
        Seen::Other {
            request_id: FIRST_REQUEST,
            body: Body::Error(wire::Error {
                code: code.into(),
                sentence: "too fast".into(),
                retry_after_ms,
                closing,
            }),
        }
    }

    #[test]
    fn a_refusal_needs_a_reason_and_a_time() {
        let mut heard = Heard::default();
        for seen in [
            answer(RecipientStatus::Ok, 0),
            answer(RecipientStatus::SlowDown, 10),
            error(ErrorCode::SlowDown, 500, false),
            answer(RecipientStatus::Full, 60_000),
            error(ErrorCode::NoRoom, 30_000, false),
            answer(RecipientStatus::SlowDown, 0),
            answer(RecipientStatus::Gone, 7),
            error(ErrorCode::SlowDown, 0, false),
            error(ErrorCode::Internal, 9, false),
        ] {
            assert!(heard.take(&seen).unwrap());
        }
        let expected = Heard {
            accepted: 1,
            slow_down: 2,
            full: 2,
            unexplained: 4,
            retry_ms_max: 60_000,
        };
        assert_eq!(heard, expected);
        assert_eq!(heard.refused(), 8);
    }

    #[test]
    fn what_answers_no_send_is_not_counted_and_an_end_is_trouble() {
        let mut heard = Heard::default();
        let pong = Seen::Other {
            request_id: 2,
            body: Body::Pong(wire::Pong {}),
        };
        assert!(!heard.take(&pong).unwrap());
        assert_eq!(heard, Heard::default());
        assert!(heard.take(&error(ErrorCode::SlowDown, 1, true)).is_err());
    }
}
