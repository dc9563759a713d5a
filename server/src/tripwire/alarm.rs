//! What is an alarm, and where it goes.

use std::num::NonZeroU32;
use std::sync::Mutex;

use kinline_protocol::day::Day;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::config::{TripwireConfig, WebhookAddress};
use super::decoys::Decoys;
use super::watch::{Excess, Watch};
use super::webhook;
use crate::clock::Clock;
use crate::mailbox::{limiter, take};

/// Alarms that wait for their line in the log; what comes beyond is counted alone.
const WAITING_MAX: usize = 64;
/// Lines and requests at once, and one a second after that: who repeats itself is one alarm.
const AT_ONCE: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Alarm {
    /// Somebody tried to attach to a decoy.
    Attach,
    /// Somebody sent to a decoy.
    Send,
    /// Somebody tried to open a mailbox under a decoy's id.
    Open,
    /// Somebody tried to close a decoy.
    Close,
    /// Somebody tried to log in to an account that is a decoy, or to write its vault.
    Account,
    /// More envelopes left than were acknowledged.
    Envelopes,
    /// More bytes of blobs left than acknowledged envelopes explain.
    Blobs,
}

impl Alarm {
    /// Its name in log, metrics and webhook.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Attach => "decoy_attach",
            Self::Send => "decoy_send",
            Self::Open => "decoy_open",
            Self::Close => "decoy_close",
            Self::Account => "decoy_account",
            Self::Envelopes => "envelopes_unexplained",
            Self::Blobs => "blobs_unexplained",
        }
    }
}

/// Takes alarms, from anywhere and without waiting.
pub(crate) struct Tripwire {
    alarms: mpsc::Sender<Alarm>,
    started: Instant,
    /// What leaves.
    pub(crate) watch: Watch,
    /// The decoys of this relay.
    pub(super) decoys: Mutex<Decoys>,
}

impl Tripwire {
    /// Starts the task that tells alarms; it ends with the last handle.
    pub(crate) fn start(
        config: &TripwireConfig,
        webhook: Option<WebhookAddress>,
        clock: Clock,
    ) -> Self {
        let (alarms, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(tell(waiting, webhook, clock));
        Self {
            alarms,
            started: Instant::now(),
            watch: Watch::new(config.envelopes_unexplained, config.blob_bytes_unexplained),
            decoys: Mutex::default(),
        }
    }

    /// A decoy was touched. As quick as possible: whoever touched it must not notice.
    pub(crate) fn touched(&self, alarm: Alarm) {
        let _ = self.alarms.try_send(alarm);
    }

    /// Looks at what left. To be called every second or so.
    pub(crate) fn tick(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        for excess in self.watch.look(now) {
            self.touched(match excess {
                Excess::Envelopes => Alarm::Envelopes,
                Excess::Blobs => Alarm::Blobs,
            });
        }
    }
}

async fn tell(mut waiting: mpsc::Receiver<Alarm>, webhook: Option<WebhookAddress>, clock: Clock) {
    let limiter = limiter(NonZeroU32::MIN, AT_ONCE);
    let (posts, outgoing) = mpsc::channel(WAITING_MAX);
    if let Some(address) = webhook {
        tokio::spawn(webhook::post_all(address, outgoing));
    }
    while let Some(alarm) = waiting.recv().await {
        metrics::counter!("kinline_tripwire_total", "kind" => alarm.label()).increment(1);
        if take(&limiter, NonZeroU32::MIN).is_err() {
            continue;
        }
        let day: Day = clock.day();
        tracing::error!(kind = alarm.label(), %day, "ALARM: a tripwire was touched");
        // Nobody may be there to take it, or it may be slow.
        let _ = posts.try_send((alarm, day));
    }
}
