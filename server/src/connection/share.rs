//! How much of one connection is heard at a time: whoever says much waits for everybody else.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Frames heard before everybody else who is ready comes first.
const FRAMES: u8 = 10;
/// Frames refused as too fast before the connection is not read for a while: a refusal costs
/// nearly as much as a ping, and whoever goes on after so many does not listen.
const REFUSALS: u8 = 64;
/// How long it is not read then.
pub(super) const DEAF: Duration = Duration::from_millis(100);

/// What a connection has used up.
#[derive(Default)]
pub(super) struct Share {
    frames: u8,
    refusals: u8,
    deaf: Option<Pin<Box<Sleep>>>,
}

impl Share {
    /// A frame was heard; whether others come first now.
    pub(super) const fn heard(&mut self) -> bool {
        self.frames += 1;
        let over = self.frames >= FRAMES;
        if over {
            self.frames = 0;
        }
        over
    }

    /// The connection waits: others had their turn.
    pub(super) const fn rested(&mut self) {
        self.frames = 0;
    }

    /// A frame was refused as too fast; after many the connection is not read for `deaf`.
    pub(super) fn refused(&mut self, deaf: Duration) {
        self.refusals += 1;
        if self.refusals >= REFUSALS {
            self.refusals = 0;
            self.deaf = Some(Box::pin(sleep(deaf)));
        }
    }

    /// Whether the connection may be read; wakes `cx` when it may again.
    pub(super) fn may_hear(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deaf) = &mut self.deaf else {
            return true;
        };
        let over = deaf.as_mut().poll(cx) == Poll::Ready(());
        if over {
            self.deaf = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::{FRAMES, REFUSALS, Share};

    #[test]
    fn others_come_first_after_so_many_frames_without_a_rest() {
        let mut share = Share::default();
        let mut over = |frames: u8| (0..frames).filter(|_| share.heard()).count();
        assert_eq!(over(FRAMES - 1), 0);
        assert_eq!(over(1), 1);
        assert_eq!(over(3 * FRAMES), 3);
        for _ in 0..3 {
            assert_eq!((0..FRAMES - 1).filter(|_| share.heard()).count(), 0);
            share.rested();
        }
    }

    #[tokio::test]
    async fn whoever_goes_on_after_many_refusals_is_not_read_until_the_time_is_over() {
        let mut share = Share::default();
        for _ in 1..REFUSALS {
            share.refused(Duration::from_secs(3_600));
        }
        poll_fn(|cx| {
            assert!(share.may_hear(cx), "one more is said");
            share.refused(Duration::from_secs(3_600));
            assert!(!share.may_hear(cx), "it goes on");
            Poll::Ready(())
        })
        .await;
        for _ in 0..REFUSALS {
            share.refused(Duration::ZERO);
        }
        poll_fn(|cx| match share.may_hear(cx) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}
