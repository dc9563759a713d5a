//! The secrets to look for.

use std::path::Path;

use crate::ThiefError;

/// What a canary is, where its line says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Anything.
    Secret,
    /// `login:NAME`: the login name of an account.
    Login,
    /// `password:WORD`: its password.
    Password,
}

impl Role {
    /// Takes the mark off a line.
    fn of(line: &str) -> (Self, &str) {
        if let Some(name) = line.strip_prefix("login:") {
            (Self::Login, name)
        } else if let Some(word) = line.strip_prefix("password:") {
            (Self::Password, word)
        } else {
            (Self::Secret, line)
        }
    }
}

/// The secrets of a story, one a line, in the order in which they are numbered in a report. A
/// login name is marked `login:`, a password `password:`: they are sought like all others, and
/// also as what a guess at them could be tested against.
#[derive(Clone)]
pub struct Canaries {
    lines: Vec<String>,
    roles: Vec<Role>,
}

impl Canaries {
    /// Reads a canaries file: UTF-8, one secret a line, blank lines skipped, line ends of either
    /// kind.
    ///
    /// # Errors
    /// [`ThiefError::CanaryFile`] when it can't be read, [`ThiefError::CanaryNotUtf8`] with the
    /// line, [`ThiefError::NoCanaries`] when it holds none.
    pub fn from_file(path: &Path) -> Result<Self, ThiefError> {
        let bytes = std::fs::read(path).map_err(|source| ThiefError::CanaryFile {
            path: path.to_owned(),
            source,
        })?;
        let mut lines = Vec::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = std::str::from_utf8(line).map_err(|_| ThiefError::CanaryNotUtf8 {
                line: index.saturating_add(1),
            })?;
            lines.push(line.trim_start_matches('\u{feff}').to_owned());
        }
        Self::from_lines(lines)
    }

    /// Takes secrets as they are; blank ones are skipped, and a repeated one is kept once.
    ///
    /// # Errors
    /// [`ThiefError::NoCanaries`] when none is left.
    pub fn from_lines<S: AsRef<str>>(
        lines: impl IntoIterator<Item = S>,
    ) -> Result<Self, ThiefError> {
        let (mut kept, mut roles) = (Vec::new(), Vec::new());
        let mut seen = std::collections::HashMap::new();
        for line in lines {
            let (role, line) = Role::of(line.as_ref().trim_end_matches(['\r', '\n']));
            if line.trim().is_empty() {
                continue;
            }
            let place = *seen.entry(line.to_owned()).or_insert(kept.len());
            if place == kept.len() {
                kept.push(line.to_owned());
                roles.push(role);
            } else if let Some(known) = roles.get_mut(place)
                && *known == Role::Secret
            {
                *known = role;
            }
        }
        if kept.is_empty() {
            return Err(ThiefError::NoCanaries);
        }
        Ok(Self { lines: kept, roles })
    }

    /// How many there are; never zero.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty by construction")]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Each canary with its number, from 0.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().map(String::as_str).enumerate()
    }

    /// Those that are marked so, each with its number.
    pub(crate) fn marked(&self, role: Role) -> impl Iterator<Item = (usize, &str)> {
        let roles = self.roles.iter();
        let both = self.iter().zip(roles);
        both.filter(move |(_, it)| **it == role)
            .map(|(line, _)| line)
    }

    /// The text of one canary.
    pub(crate) fn text(&self, index: usize) -> Option<&str> {
        self.lines.get(index).map(String::as_str)
    }
}

impl std::fmt::Debug for Canaries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Canaries({} [secret])", self.lines.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{Canaries, Role, ThiefError};

    fn file(bytes: &[u8]) -> Result<Canaries, ThiefError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("canaries.txt");
        std::fs::write(&path, bytes).unwrap();
        Canaries::from_file(&path)
    }

    #[test]
    fn reads_lines_of_either_end_once_each() {
        let canaries = file("\u{feff}Ottilie\r\n\n  \nרותי\nOttilie\n".as_bytes()).unwrap();
        let lines: Vec<_> = canaries.iter().map(|(_, line)| line).collect();
        assert_eq!(lines, ["Ottilie", "רותי"]);
        assert!(!format!("{canaries:?}").contains("Ottilie"));
    }

    #[test]
    fn marks_are_taken_off_and_kept_in_mind() {
        let lines = [
            "Anna",
            "login:anna@home",
            "password: so long ",
            "login:Anna",
            "login: ",
        ];
        let canaries = Canaries::from_lines(lines).unwrap();
        let all: Vec<_> = canaries.iter().map(|(_, line)| line).collect();
        assert_eq!(all, ["Anna", "anna@home", " so long "]);
        let logins: Vec<_> = canaries.marked(Role::Login).collect();
        assert_eq!(logins, [(0, "Anna"), (1, "anna@home")]);
        let passwords: Vec<_> = canaries.marked(Role::Password).collect();
        assert_eq!(passwords, [(2, " so long ")]);
    }

    #[test]
    fn refuses_what_is_no_text_and_what_is_empty() {
        assert!(matches!(
            file(b"Mila\n\xff\xfe\n"),
            Err(ThiefError::CanaryNotUtf8 { line: 2 })
        ));
        assert!(matches!(file(b"\n \n"), Err(ThiefError::NoCanaries)));
        let missing = Canaries::from_file(std::path::Path::new("no/such/file"));
        assert!(matches!(missing, Err(ThiefError::CanaryFile { .. })));
    }
}
