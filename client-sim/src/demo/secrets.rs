//! The secrets of the story: everything that a thief must not find.

use std::collections::BTreeSet;
use std::path::Path;

use super::Obstacle;

/// Shorter values (an orientation "6", a compass "N") say nothing and are everywhere.
const SECRET_CHARS_MIN: usize = 6;

/// One secret a line, each once, in the order of their first use.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    lines: Vec<String>,
    known: BTreeSet<String>,
}

impl Secrets {
    /// Remembers a secret; a text of several lines is one secret per line.
    pub(super) fn add(&mut self, text: &str) {
        for line in text.lines().map(str::trim) {
            if line.chars().count() >= SECRET_CHARS_MIN && self.known.insert(line.to_owned()) {
                self.lines.push(line.to_owned());
            }
        }
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Obstacle> {
        std::fs::write(path, self.lines.join("\n") + "\n")
            .map_err(|error| Obstacle::file(path, &error))
    }
}
