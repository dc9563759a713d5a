//! Others, who talk at a modest rate while something is done to their relay.
//!
//! They live on a thread of their own: what the generator has to do meanwhile is not to count
//! as their latency. The system lets a thread that mostly sleeps go first.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::course::{Course, Outcome, Pace};
use super::pairs::run_with;
use super::process::Process;
use super::progress::Progress;
use super::tally::Tally;
use super::trouble::Trouble;
use super::wire::Dial;

/// Pairs, and messages a second of all of them: half of what a mailbox may get by default.
const PAIRS: (u32, f64) = (10, 500.0);
/// How often it is looked whether they have begun.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Others at it; they stop when this is dropped.
pub(super) struct Others {
    stop: DropGuard,
    outcome: oneshot::Receiver<Result<Outcome, Trouble>>,
}

impl Others {
    /// Lets them begin over the relay at `dial`; returns when the first message arrived. They
    /// go on for `measured` after a warm-up, or until they are stopped.
    ///
    /// # Errors
    /// [`Trouble`] when they can't.
    pub(super) async fn begin(
        dial: &Dial,
        relay: Process,
        warm_up: Duration,
        measured: Duration,
    ) -> Result<Self, Trouble> {
        let stop = CancellationToken::new();
        let (begun, has_begun) = oneshot::channel();
        let (end, outcome) = oneshot::channel();
        let course = Course {
            pairs: PAIRS.0,
            pace: Pace::Rate(PAIRS.1),
            warm_up,
            measured,
        };
        let (dial, stopped) = (dial.clone(), stop.clone());
        std::thread::spawn(move || {
            // Whoever waits for it may be gone.
            drop(end.send(talk(&dial, relay, course, stopped, begun)));
        });
        let others = Self {
            stop: stop.drop_guard(),
            outcome,
        };
        match has_begun.await {
            Ok(()) => Ok(others),
            // They ended before the first message, and say why.
            Err(_) => match others.whole().await {
                Ok(_) => Err(Trouble::new("the others said nothing")),
                Err(trouble) => Err(trouble),
            },
        }
    }

    /// Waits until their time is over.
    ///
    /// # Errors
    /// [`Trouble`] of theirs.
    pub(super) async fn whole(self) -> Result<Outcome, Trouble> {
        let Self { stop, outcome } = self;
        let outcome = outcome
            .await
            .map_err(|_| Trouble::new("the others stopped without a word"))?;
        drop(stop);
        outcome
    }

    /// Stops them.
    ///
    /// # Errors
    /// As [`Self::whole`].
    pub(super) async fn end(self) -> Result<Outcome, Trouble> {
        let Self { stop, outcome } = self;
        drop(stop);
        outcome
            .await
            .map_err(|_| Trouble::new("the others stopped without a word"))?
    }
}

fn talk(
    dial: &Dial,
    relay: Process,
    course: Course,
    stop: CancellationToken,
    begun: oneshot::Sender<()>,
) -> Result<Outcome, Trouble> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let tally = Rc::new(Tally::new());
        let watched = Rc::clone(&tally);
        tokio::task::spawn_local(async move {
            while watched.delivered.get() == 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let _ = begun.send(());
            stop.cancelled().await;
            watched.stopped.set(true);
        });
        let progress = Progress::silent();
        run_with(dial, relay, course, Duration::ZERO, &tally, &progress).await
    })
}
