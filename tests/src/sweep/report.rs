//! What the sweeps add up to.

use serde_json::{Value, json};

use super::device::run::Tally;
use super::device::{disk, pairing};
use super::oracle::Verdict;
use super::planted::Caught;

/// Faults of the relay that are told one by one; more are only counted.
const TOLD_MAX: usize = 20;

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Report {
    /// Repeats the run.
    pub seed: u64,
    /// Relays killed at a point that they came to.
    pub kills: usize,
    /// Points in one life, of which the kills are a choice or all.
    pub points: usize,
    /// Lives that ended before their point came.
    pub missed: usize,
    /// Relays whose disk failed at a point that they came to.
    pub errors: usize,
    /// Times that bits flipped.
    pub damages: usize,
    /// Of these, those after which no relay started.
    pub refused: usize,
    /// Power cuts.
    pub cuts: usize,
    /// The device's own sweep.
    pub device: Tally,
    /// Its disk.
    pub device_disk: disk::Tally,
    /// Deaths while it was paired.
    pub pairing: pairing::Tally,
    /// All verdicts.
    pub total: Verdict,
    /// Where something went wrong, and how to repeat it.
    pub places: Vec<String>,
    /// Planted faults.
    pub planted: Vec<Caught>,
    /// What could not be done here.
    pub skipped: Vec<String>,
    /// How long it took.
    pub seconds: u64,
}

impl Report {
    /// Adds what was found at one place.
    pub fn add(&mut self, place: &str, verdict: Verdict) {
        if !verdict.is_clean() {
            println!("{place}: {verdict:?}");
            self.places.push(place.to_owned());
        }
        self.total.add(verdict);
    }

    /// Adds what was found after damage: it is not held to what was acknowledged.
    pub fn damaged(&mut self, place: &str, verdict: Verdict) {
        let verdict = Verdict {
            acknowledged: 0,
            recovered: 0,
            delivered: 0,
            ..verdict
        };
        self.add(place, verdict);
    }

    /// Planted faults that were caught.
    #[must_use]
    pub fn caught(&self) -> usize {
        self.planted
            .iter()
            .filter(|planted| planted.after.is_some())
            .count()
    }

    /// Nothing was lost, doubled or wrong, and every planted fault was caught.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.total.is_clean() && self.places.is_empty() && self.caught() == self.planted.len()
    }

    /// As a person reads it.
    #[must_use]
    pub fn table(&self) -> String {
        let Verdict {
            acknowledged,
            recovered,
            delivered,
            lost,
            doubled,
            wrong,
        } = &self.total;
        let mut lines = vec![
            ("kills", self.kills.to_string()),
            ("cuts", self.cuts.to_string()),
            ("disk errors", self.errors.to_string()),
            ("damages", self.damages.to_string()),
            ("device: kills", self.device.kills.to_string()),
            ("device: cuts", self.device.cuts.to_string()),
            ("device: kept", self.device.kept.to_string()),
            ("device: confirmed", self.device.confirmed.to_string()),
            ("device: disk errors", self.device_disk.errors.to_string()),
            (
                "device: said and stopped",
                self.device_disk.stopped.to_string(),
            ),
            ("device: damages", self.device_disk.damages.to_string()),
            (
                "device: damages refused",
                self.device_disk.refused.to_string(),
            ),
            ("pairing: deaths", self.pairing.deaths.to_string()),
            (
                "pairing: whole all the same",
                self.pairing.whole.to_string(),
            ),
            ("acknowledged", acknowledged.to_string()),
            ("recovered", recovered.to_string()),
            ("delivered", delivered.to_string()),
            ("lost", lost.len().to_string()),
            ("doubled", doubled.len().to_string()),
            ("wrong", wrong.len().to_string()),
        ];
        let caught = format!("{} of {}", self.caught(), self.planted.len());
        lines.push(("planted faults caught", caught));
        lines.push(("skipped", self.skipped.len().to_string()));
        let mut table: String = lines
            .iter()
            .map(|(name, value)| format!("{name:28} {value}\n"))
            .collect();
        for planted in &self.planted {
            let fate = match (&planted.after, &planted.lost) {
                (Some(cuts), Some(lost)) => format!("caught at death {cuts}: lost {lost}"),
                _ => "MISSED".into(),
            };
            table.push_str(&format!("planted: {}: {fate}\n", planted.fault));
        }
        for skipped in &self.skipped {
            table.push_str(&format!("SKIPPED: {skipped}\n"));
        }
        table.push_str(&format!("seed {}, {} s\n", self.seed, self.seconds));
        table
    }

    /// As a program reads it.
    #[must_use]
    pub fn json(&self) -> Value {
        let told = |sentences: &[String]| -> Vec<String> {
            sentences.iter().take(TOLD_MAX).cloned().collect()
        };
        let planted: Vec<Value> = self
            .planted
            .iter()
            .map(|planted| {
                json!({
                    "fault": planted.fault,
                    "caught": planted.after.is_some(),
                    "cuts": planted.after,
                    "what": planted.lost,
                })
            })
            .collect();
        json!({
            "seed": self.seed,
            "kills": self.kills,
            "points": self.points,
            "missed": self.missed,
            "cuts": self.cuts,
            "errors": self.errors,
            "damages": self.damages,
            "damages_refused_at_start": self.refused,
            "device": {
                "kills": self.device.kills,
                "cuts": self.device.cuts,
                "points": self.device.points,
                "missed": self.device.missed,
                "kept": self.device.kept,
                "confirmed": self.device.confirmed,
                "errors": self.device_disk.errors,
                "errors_said": self.device_disk.stopped,
                "errors_missed": self.device_disk.missed,
                "damages": self.device_disk.damages,
                "damages_refused": self.device_disk.refused,
                "pairing_deaths": self.pairing.deaths,
                "pairing_whole": self.pairing.whole,
                "pairing_missed": self.pairing.missed,
            },
            "acknowledged": self.total.acknowledged,
            "recovered": self.total.recovered,
            "delivered": self.total.delivered,
            "lost": self.total.lost.len(),
            "doubled": self.total.doubled.len(),
            "wrong": self.total.wrong.len(),
            "told": told(&[&self.total.lost[..], &self.total.doubled, &self.total.wrong].concat()),
            "places": told(&self.places),
            "planted": planted,
            "planted_caught": self.caught(),
            "skipped": self.skipped,
            "seconds": self.seconds,
            "ok": self.is_good(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Caught, Report, Verdict};

    #[test]
    fn anything_lost_doubled_wrong_or_missed_is_no_good_report() {
        let caught = |after| Caught {
            fault: "x",
            after,
            lost: None,
        };
        let mut report = Report::default();
        report.planted.push(caught(Some(1)));
        assert!(report.is_good());
        report.planted.push(caught(None));
        assert!(!report.is_good(), "missed");
        for verdict in [
            Verdict {
                lost: vec!["a".into()],
                ..Verdict::default()
            },
            Verdict {
                doubled: vec!["a".into()],
                ..Verdict::default()
            },
            Verdict {
                wrong: vec!["a".into()],
                ..Verdict::default()
            },
        ] {
            let mut report = Report::default();
            report.add("here", verdict);
            assert!(!report.is_good());
            assert_eq!(report.json()["ok"], false);
        }
    }
}
