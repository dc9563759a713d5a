//! What a run says while it goes on, on standard error.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use super::tally::Second;

/// Lines of progress; on a terminal the newest overwrites the one before.
#[derive(Debug)]
pub(super) struct Progress {
    title: RefCell<String>,
    terminal: bool,
    /// Whether nothing is said at all.
    silent: bool,
    /// Whether a line stands that the next one overwrites.
    standing: Cell<bool>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            title: RefCell::default(),
            terminal: std::io::stderr().is_terminal(),
            silent: false,
            standing: Cell::new(false),
        }
    }

    /// For whoever runs beside what is told.
    pub(super) fn silent() -> Self {
        let mut progress = Self::new();
        progress.silent = true;
        progress
    }

    /// What is measured from now on.
    pub(super) fn begin(&self, title: &str) {
        self.settle();
        title.clone_into(&mut self.title.borrow_mut());
        self.line("begins");
        self.settle();
    }

    /// A second of a run has passed.
    pub(super) fn second(&self, second: &Second, of: Duration) {
        self.line(&format!(
            "{:>3.0}/{:.0} s  {:>8} /s  p50 {:>8.3} ms  p99 {:>8.3} ms",
            second.at,
            of.as_secs_f64(),
            super::report::thousands(second.rate),
            second.p50_ms,
            second.p99_ms
        ));
    }

    /// Anything else that is worth knowing at the moment.
    pub(super) fn line(&self, text: &str) {
        if self.silent {
            return;
        }
        let mut out = std::io::stderr().lock();
        let title = self.title.borrow();
        // Progress that nobody can read is no reason to stop.
        let _ = if self.terminal {
            write!(out, "\r\x1b[K{title:<34} {text}")
        } else {
            writeln!(out, "{title:<34} {text}")
        };
        let _ = out.flush();
        self.standing.set(self.terminal);
    }

    /// Leaves the standing line where it is.
    pub(super) fn settle(&self) {
        if self.standing.take() {
            let _ = writeln!(std::io::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.settle();
    }
}
