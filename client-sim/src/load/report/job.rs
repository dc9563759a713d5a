//! The shape of a report.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::course::Outcome;

/// What a job should reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::load) enum Target {
    /// The ratio to the baseline, at least.
    RatioAtLeast(f64),
    /// The ratio to the baseline, at most.
    RatioAtMost(f64),
    /// The figure itself, below.
    FigureBelow(f64),
    /// The figure itself, at most.
    FigureAtMost(f64),
}

impl Target {
    /// The number alone.
    const fn number(self) -> f64 {
        match self {
            Self::RatioAtLeast(number)
            | Self::RatioAtMost(number)
            | Self::FigureBelow(number)
            | Self::FigureAtMost(number) => number,
        }
    }

    /// As a table says it.
    pub(super) fn sentence(self, unit: &str) -> String {
        match self {
            Self::RatioAtLeast(number) => format!("≥ {number} ×"),
            Self::RatioAtMost(number) => format!("≤ {number} ×"),
            Self::FigureBelow(number) => format!("< {number} {unit}"),
            Self::FigureAtMost(number) => format!("≤ {number} {unit}"),
        }
    }

    fn is_reached(self, figure: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
            Self::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Self::FigureBelow(bound) => Some(figure < bound),
            Self::FigureAtMost(most) => Some(figure <= most),
        }
    }
}

/// A picture: lines over one axis.
#[derive(Debug, Clone, Serialize)]
pub(in crate::load) struct Plot {
    pub(in crate::load) title: String,
    pub(in crate::load) x: String,
    pub(in crate::load) y: String,
    /// Whether the axis up is logarithmic.
    pub(in crate::load) log: bool,
    /// Name and points of each line.
    pub(in crate::load) lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// One job, or one figure of it.
#[derive(Debug, Clone, Serialize)]
pub(in crate::load) struct JobReport {
    pub(in crate::load) name: String,
    pub(in crate::load) title: String,
    pub(in crate::load) figure: f64,
    pub(in crate::load) unit: String,
    pub(in crate::load) baseline: Option<f64>,
    /// What the baseline is.
    pub(in crate::load) baseline_is: String,
    pub(in crate::load) ratio: Option<f64>,
    pub(in crate::load) target: Option<f64>,
    /// What the target is about; `null` when a figure is only told.
    pub(in crate::load) target_is: Option<Target>,
    /// Whether it was reached; `null` when there is none, or no baseline to compare with.
    pub(in crate::load) ok: Option<bool>,
    pub(in crate::load) relay_cpu_s_per_1k: Option<f64>,
    /// Share of a core that the relay took.
    pub(in crate::load) relay_cores: Option<f64>,
    /// Share of a core that this program took.
    pub(in crate::load) generator_cores: Option<f64>,
    /// Whether this program had nothing left to give while the relay had.
    pub(in crate::load) generator_was_the_bottleneck: bool,
    /// Acknowledged, and not with its recipient.
    pub(in crate::load) lost: Option<u64>,
    /// With its recipient twice, or after a later one.
    pub(in crate::load) doubled: Option<u64>,
    /// Further figures by name; the unit stands in the name.
    pub(in crate::load) details: BTreeMap<String, f64>,
    /// What a reader has to know.
    pub(in crate::load) notes: Vec<String>,
    pub(in crate::load) plots: Vec<Plot>,
}

impl JobReport {
    /// A figure.
    pub(in crate::load) fn new(name: &str, title: &str, figure: f64, unit: &str) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            figure,
            unit: unit.into(),
            baseline: None,
            baseline_is: String::new(),
            ratio: None,
            target: None,
            target_is: None,
            ok: None,
            relay_cpu_s_per_1k: None,
            relay_cores: None,
            generator_cores: None,
            generator_was_the_bottleneck: false,
            lost: None,
            doubled: None,
            details: BTreeMap::new(),
            notes: vec![],
            plots: vec![],
        }
    }

    /// What it is compared with.
    pub(in crate::load) fn beside(mut self, baseline: f64, what: &str) -> Self {
        self.baseline = Some(baseline);
        self.baseline_is = what.into();
        self.ratio = (baseline > 0.0).then(|| self.figure / baseline);
        self
    }

    /// What it should reach; call it after [`Self::beside`].
    pub(in crate::load) fn aims_at(mut self, target: Target) -> Self {
        self.target = Some(target.number());
        self.target_is = Some(target);
        self.ok = target.is_reached(self.figure, self.ratio);
        self
    }

    /// CPU, losses and latencies of the run that it comes from.
    pub(in crate::load) fn of_run(mut self, outcome: &Outcome) -> Self {
        self.relay_cpu_s_per_1k = Some(outcome.server_cpu_s_per_1k);
        self.relay_cores = Some(outcome.server_cores);
        self.generator_cores = Some(outcome.generator_cores);
        self.generator_was_the_bottleneck = outcome.generator_was_the_bottleneck();
        self.lost = Some(outcome.lost);
        self.doubled = Some(outcome.doubled);
        if self.generator_was_the_bottleneck {
            self = self.note("The generator was the bottleneck: the relay could do more.");
        }
        for (name, latency) in [
            ("delivered", outcome.delivery),
            ("acknowledged", outcome.acknowledgement),
        ] {
            self = self
                .detail(&format!("{name}_p50_ms"), latency.p50_ms)
                .detail(&format!("{name}_p90_ms"), latency.p90_ms)
                .detail(&format!("{name}_p99_ms"), latency.p99_ms)
                .detail(&format!("{name}_p999_ms"), latency.p999_ms)
                .detail(&format!("{name}_max_ms"), latency.max_ms);
        }
        self.detail("messages_per_s", outcome.rate)
            .detail("sent", outcome.sent as f64)
            .detail("refused", outcome.refused as f64)
    }

    pub(in crate::load) fn detail(mut self, name: &str, value: f64) -> Self {
        self.details.insert(name.into(), value);
        self
    }

    pub(in crate::load) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(in crate::load) fn plot(mut self, plot: Plot) -> Self {
        self.plots.push(plot);
        self
    }
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub(in crate::load) struct Report {
    pub(in crate::load) version: u32,
    pub(in crate::load) machine: String,
    /// Seconds since 1970 when it began.
    pub(in crate::load) began: u64,
    /// As it was called.
    pub(in crate::load) command: String,
    pub(in crate::load) relay: String,
    /// Whether relay and generator had a core each.
    pub(in crate::load) pinned: bool,
    /// Built for measuring.
    pub(in crate::load) optimized: bool,
    /// Load average of the machine before and after.
    pub(in crate::load) load_before: f64,
    pub(in crate::load) load_after: f64,
    pub(in crate::load) jobs: Vec<JobReport>,
}

impl Report {
    /// Whether anything that was acknowledged is missing, or came twice.
    pub(in crate::load) fn broken(&self) -> Option<String> {
        let sum =
            |of: fn(&JobReport) -> Option<u64>| -> u64 { self.jobs.iter().filter_map(of).sum() };
        let (lost, doubled) = (sum(|job| job.lost), sum(|job| job.doubled));
        (lost + doubled > 0)
            .then(|| format!("{lost} acknowledged messages were lost, {doubled} came twice"))
    }
}

#[cfg(test)]
mod tests {
    use super::{JobReport, Report, Target};

    #[test]
    fn one_lost_or_doubled_message_breaks_a_report() {
        let report = |lost, doubled| {
            let mut job = JobReport::new("j", "J", 1.0, "x");
            (job.lost, job.doubled) = (lost, doubled);
            Report {
                version: 1,
                machine: String::new(),
                began: 0,
                command: String::new(),
                relay: String::new(),
                pinned: true,
                optimized: true,
                load_before: 0.0,
                load_after: 0.0,
                jobs: vec![JobReport::new("k", "K", 1.0, "x"), job],
            }
            .broken()
        };
        assert_eq!(report(None, Some(0)), None);
        assert!(report(Some(1), None).is_some());
        assert!(report(Some(0), Some(1)).is_some());
    }

    #[test]
    fn a_target_is_judged_by_what_it_is_about() {
        let job = |figure, target| {
            JobReport::new("j", "J", figure, "x")
                .beside(100.0, "that")
                .aims_at(target)
                .ok
        };
        assert_eq!(job(50.0, Target::RatioAtLeast(0.5)), Some(true));
        assert_eq!(job(49.0, Target::RatioAtLeast(0.5)), Some(false));
        assert_eq!(job(250.0, Target::RatioAtMost(2.5)), Some(true));
        assert_eq!(job(251.0, Target::RatioAtMost(2.5)), Some(false));
        assert_eq!(job(25.0, Target::FigureBelow(25.0)), Some(false));
        let alone = JobReport::new("j", "J", 5.0, "x").aims_at(Target::RatioAtLeast(0.5));
        assert_eq!((alone.ok, alone.ratio), (None, None));
        assert_eq!(alone.target, Some(0.5));
    }
}
