//! What all floods tell.

use std::time::Duration;

use crate::load::course::Outcome;
use crate::load::jobs::Bench;
use crate::load::others::Others;
use crate::load::process::Process;
use crate::load::report::{JobReport, Plot, Target};
use crate::load::trouble::Trouble;
use crate::load::wire::Dial;

/// What the relay may take more: its default bound on envelopes in memory
/// (`envelopes_in_memory_bytes`), of all mailboxes and connections together.
const MEMORY_MIB: f64 = 64.0;
/// How many times as long as before others may wait.
const OTHERS: f64 = 2.0;
/// Longer than any flood: others go on until it is over.
const UNTIL_STOPPED: Duration = Duration::from_secs(3_600);

/// A relay and the others on it, before and during a flood.
pub(super) struct Scene<'a> {
    dial: &'a Dial,
    relay: Process,
    before: Outcome,
}

/// The same while it goes on.
pub(super) struct During {
    others: Others,
    relay: Process,
    before: Outcome,
    resident_kib: f64,
}

impl<'a> Scene<'a> {
    /// Lets others talk while nothing else happens.
    ///
    /// # Errors
    /// [`Trouble`] of theirs.
    pub(super) async fn set(
        bench: &Bench,
        dial: &'a Dial,
        relay: Process,
    ) -> Result<Self, Trouble> {
        let (warm_up, measured) = (bench.plan.warm_up, bench.plan.measured);
        let before = Others::begin(dial, relay, warm_up, measured).await?;
        Ok(Self {
            dial,
            relay,
            before: before.whole().await?,
        })
    }

    /// Others talk again; what comes now is the flood.
    ///
    /// # Errors
    /// [`Trouble`] of theirs.
    pub(super) async fn begin(self) -> Result<During, Trouble> {
        let others = Others::begin(self.dial, self.relay, Duration::ZERO, UNTIL_STOPPED).await?;
        Ok(During {
            others,
            relay: self.relay,
            before: self.before,
            resident_kib: self.relay.memory().rss_kib,
        })
    }
}

impl During {
    /// The flood is over: two rows, named `flood-NAME-…`.
    ///
    /// # Errors
    /// [`Trouble`] of the others.
    pub(super) async fn end(self, name: &str, title: &str) -> Result<Vec<JobReport>, Trouble> {
        let peak_kib = self.relay.peak_kib();
        let during = self.others.end().await?;
        let lines = [("before", &self.before), ("during", &during)].map(|(name, run)| {
            let points = run.seconds.iter().map(|second| (second.at, second.p99_ms));
            (name.to_owned(), points.collect())
        });
        let others = JobReport::new(
            &format!("flood-{name}-others"),
            &format!("{title}: p99 of others"),
            during.delivery.p99_ms,
            "ms",
        )
        .beside(self.before.delivery.p99_ms, "the same before")
        .aims_at(Target::RatioAtMost(OTHERS))
        .of_run(&during)
        .detail("before_delivered_p50_ms", self.before.delivery.p50_ms)
        .detail("before_delivered_p999_ms", self.before.delivery.p999_ms)
        .plot(Plot {
            title: format!("{title}, others' p99 each second"),
            x: "seconds".into(),
            y: "milliseconds".into(),
            log: true,
            lines: lines.into(),
        });
        let more_mib = (peak_kib - self.resident_kib).max(0.0) / 1_024.0;
        let memory = JobReport::new(
            &format!("flood-{name}-memory"),
            &format!("{title}: memory of the relay"),
            more_mib,
            "MiB more",
        )
        .aims_at(Target::FigureAtMost(MEMORY_MIB))
        .detail("before_mib", self.resident_kib / 1_024.0)
        .detail("peak_mib", peak_kib / 1_024.0)
        .note("The peak of the whole process less what it had just before; the bound is that on envelopes in memory, envelopes_in_memory_bytes.");
        Ok(vec![others, memory])
    }
}
