//! The secrets of the story: everything that a thief must not find.

use std::collections::BTreeSet;
use std::path::Path;

use super::Obstacle;

/// Shorter values (an orientation "6", a compass "N") say nothing and are everywhere.
const SECRET_CHARS_MIN: usize = 4;
/// Letters that make a word of a file's metadata telling (a camera's maker has five).
const METADATA_LETTERS_MIN: usize = 5;
/// Digits that make a number of a file's metadata telling (a coordinate, a serial number).
const METADATA_DIGITS_MIN: usize = 6;

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

    /// Remembers each word of a name.
    pub(super) fn add_words(&mut self, name: &str) {
        for word in name.split([' ', '-']) {
            self.add(word);
        }
    }

    /// Remembers what a file says about its maker, place and time. What is neither a word
    /// nor a long number (an offset "+01:00", a version "0230") is nobody's secret.
    pub(super) fn add_metadata(&mut self, value: &str) {
        let letters = value.chars().filter(|c| c.is_alphabetic()).count();
        let digits = value.chars().filter(char::is_ascii_digit).count();
        if letters >= METADATA_LETTERS_MIN || digits >= METADATA_DIGITS_MIN {
            self.add(value);
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
