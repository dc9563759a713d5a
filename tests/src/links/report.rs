//! The figures, for people and for machines.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Plan;
use super::chance::{Figure, Measured};

/// Which copy, and what was asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// The relay ended or the day changed: mailboxes of an account.
    Tidied,
    /// The same, for mailboxes of one family.
    TidiedMailboxes,
    /// On the evening of a day on which the relay never rested, before it is tidied.
    Evening,
    /// The same, for mailboxes of one family.
    EveningMailboxes,
    /// A tell: never tidied.
    Never,
    /// A tell: rows in the order in which families came.
    Order,
    /// A tell: a vault whose size tells the day.
    Size,
}

impl Copy {
    fn name(self) -> &'static str {
        match self {
            Self::Tidied => "tidied: account to mailbox",
            Self::TidiedMailboxes => "tidied: mailbox to mailbox, same last day",
            Self::Evening => "before the evening's tidying: account to mailbox",
            Self::EveningMailboxes => {
                "before the evening's tidying: mailbox to mailbox, same last day"
            }
            Self::Never => "planted, never tidied: account to mailbox",
            Self::Order => "planted, rows in the order of arrival: account to mailbox",
            Self::Size => "planted, a vault's size tells the day: account to mailbox",
        }
    }

    /// What must come out; `None` where it is only told.
    fn wanted(self) -> Option<bool> {
        match self {
            Self::Tidied | Self::TidiedMailboxes => Some(true),
            Self::Evening | Self::EveningMailboxes => None,
            Self::Never | Self::Order | Self::Size => Some(false),
        }
    }
}

/// All of them.
#[derive(Debug)]
pub struct Figures {
    plan: Plan,
    began: Instant,
    all: Vec<(Copy, Measured, Duration)>,
}

impl Figures {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            began: Instant::now(),
            all: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, copy: Copy, measured: Measured) {
        self.all.push((copy, measured, self.began.elapsed()));
    }

    /// Of one copy.
    #[must_use]
    pub fn of(&self, copy: Copy) -> Option<Measured> {
        let one = self.all.iter().find(|one| one.0 == copy);
        one.map(|one| one.1)
    }

    /// Whether what must tell nothing does not, and every planted tell was found.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.all.len() == 7
            && self.all.iter().all(|(copy, measured, _)| {
                copy.wanted()
                    .is_none_or(|wanted| measured.is_chance() == wanted)
            })
    }

    /// For machines.
    #[must_use]
    pub fn json(&self) -> String {
        let figure = |it: Figure| json!({ "value": it.value, "chance": it.chance, "interval": it.interval, "p": it.p });
        let copies: Vec<Value> = self
            .all
            .iter()
            .map(|(copy, it, _)| {
                json!({
                    "name": copy.name(),
                    "chance": it.is_chance(),
                    "wanted": copy.wanted(),
                    "guesses": it.guesses,
                    "first": figure(it.first),
                    "best": figure(it.best),
                    "area": figure(it.area),
                })
            })
            .collect();
        let seconds = self.all.last().map_or(0.0, |one| one.2.as_secs_f64());
        let report = json!({
            "ok": self.ok(),
            "seconds": seconds,
            "families": self.plan.families,
            "days": self.plan.days,
            "seed": self.plan.seed,
            "copies": copies,
        });
        format!("{report:#}\n")
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} families over {} days, seed {}; figure (95 % of random deals; p)",
            self.plan.families, self.plan.days, self.plan.seed
        )?;
        for (copy, it, _) in &self.all {
            let verdict = match (copy.wanted(), it.is_chance()) {
                (_, true) => "chance",
                (Some(true), false) => "TELLS",
                (_, false) => "tells",
            };
            writeln!(f, "{}: {verdict}", copy.name())?;
            let share = [
                ("first", it.first),
                ("ten best", it.best),
                ("area", it.area),
            ];
            for (name, it) in share {
                writeln!(
                    f,
                    "  {name:<9} {:.4}  ({:.4} to {:.4}; {:.4})",
                    it.value, it.interval[0], it.interval[1], it.p
                )?;
            }
        }
        let seconds = self.all.last().map_or(0.0, |one| one.2.as_secs_f64());
        let verdict = if self.ok() {
            "ok"
        } else {
            "NOT AS IT HAS TO BE"
        };
        writeln!(f, "{verdict}, {seconds:.1} s")
    }
}
