//! How much of everything: each count of the issue, and a small one for CI.

use std::time::Duration;

use super::args::LoadArgs;
use super::course::{Course, Pace};

/// Counts and times of all jobs.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
    pub(super) rounds: u32,
    pub(super) pairs: u32,
    pub(super) window: u32,
    /// Pairs of the job that shows whether many collapse.
    pub(super) pairs_many: u32,
    /// J2: envelopes, and absent recipients that they are for.
    pub(super) absent_envelopes: u32,
    pub(super) absent_recipients: u32,
    /// J3.
    pub(super) devices: u32,
    /// J3: how long CPU at rest is watched.
    pub(super) rest: Duration,
    /// Scale: envelopes; mailboxes are a tenth.
    pub(super) scale_envelopes: u64,
    pub(super) blob_bytes: u64,
    /// Pairs and messages a second of each in the job "hold".
    pub(super) hold_pairs: u32,
    pub(super) hold_rate: f64,
    /// How long a flood lasts, and what the mailbox of the reader that never reads holds.
    pub(super) flood: Duration,
    pub(super) flood_mailbox: u32,
    /// Device: messages one after the other, messages missed, devices of the conversation.
    pub(super) device_messages: u32,
    pub(super) device_missed: u32,
    pub(super) device_members: u32,
    /// Rows of the baseline of inserts.
    pub(super) insert_rows: u32,
    /// Syncs of the baseline of the disk.
    pub(super) syncs: u32,
}

impl Plan {
    pub(super) fn of(arguments: &LoadArgs) -> Self {
        let quick = arguments.quick;
        let pick = |full: u32, small: u32| if quick { small } else { full };
        let seconds = arguments.seconds.unwrap_or(if quick { 1 } else { 10 });
        Self {
            warm_up: Duration::from_millis(if quick { 100 } else { 2_000 }),
            measured: Duration::from_secs(seconds),
            rounds: arguments.rounds.unwrap_or(pick(3, 1)),
            pairs: arguments.pairs.unwrap_or(pick(50, 4)),
            window: arguments.window.unwrap_or(8),
            pairs_many: pick(500, 8),
            absent_envelopes: pick(20_000, 400),
            absent_recipients: pick(200, 8),
            devices: arguments.devices.unwrap_or(pick(10_000, 20)),
            rest: Duration::from_secs(if quick { 1 } else { 30 }),
            scale_envelopes: arguments
                .scale
                .unwrap_or(if quick { 2_000 } else { 10_000_000 }),
            blob_bytes: u64::from(pick(100, 1)) << 20,
            hold_pairs: pick(50, 4),
            hold_rate: f64::from(pick(2_000, 100)),
            // A minute, of runs of ten seconds.
            flood: Duration::from_secs(seconds.saturating_mul(if quick { 1 } else { 6 })),
            flood_mailbox: pick(kinline_protocol::limits::MAILBOX_ENVELOPES_MAX, 600),
            device_messages: pick(300, 5),
            // As many as a mailbox holds beside what else comes for a device.
            device_missed: pick(9_900, 20),
            device_members: pick(8, 3),
            insert_rows: pick(40_000, 1_000),
            syncs: pick(2_000, 20),
        }
    }

    /// A course of this plan's length.
    pub(super) const fn course(&self, pairs: u32, pace: Pace) -> Course {
        Course {
            pairs,
            pace,
            warm_up: self.warm_up,
            measured: self.measured,
        }
    }
}
