//! What strace wrote, read back: calls and what they did to a folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::strace::Kind;

/// One call that changed something, or made something durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The thread that made it.
    pub thread: u32,
    /// When it began, in nanoseconds since 1970.
    pub at: u64,
    /// When it had returned.
    pub end: u64,
    /// What it did.
    pub effect: Effect,
}

/// What a call did. Paths are whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A file was opened, and made if it was not there.
    Create {
        /// Its path.
        path: PathBuf,
        /// Whether it was emptied.
        truncate: bool,
    },
    /// Bytes were written.
    Write {
        /// Into which file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// A file was cut or stretched.
    Truncate {
        /// Which.
        path: PathBuf,
        /// Its length now.
        length: u64,
    },
    /// A name was moved.
    Rename {
        /// The old one.
        from: PathBuf,
        /// The new one.
        to: PathBuf,
    },
    /// A name was removed.
    Unlink {
        /// Which.
        path: PathBuf,
    },
    /// A folder was made.
    Mkdir {
        /// Its path.
        path: PathBuf,
    },
    /// A file or folder was made durable, if the call succeeded.
    Sync {
        /// Which.
        path: PathBuf,
        /// Whether it did.
        ok: bool,
    },
}

impl Effect {
    /// The path concerned; of a rename the new one.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Create { path, .. }
            | Self::Write { path, .. }
            | Self::Truncate { path, .. }
            | Self::Unlink { path }
            | Self::Mkdir { path }
            | Self::Sync { path, .. }
            | Self::Rename { to: path, .. } => path,
        }
    }

    /// Its kind; opening a file is none of them.
    #[must_use]
    pub const fn kind(&self) -> Option<Kind> {
        match self {
            Self::Create { .. } => None,
            Self::Write { .. } | Self::Truncate { .. } => Some(Kind::Write),
            Self::Rename { .. } | Self::Unlink { .. } | Self::Mkdir { .. } => Some(Kind::Name),
            Self::Sync { .. } => Some(Kind::Sync),
        }
    }
}

/// How often each of these calls was begun, in the thread that made most of them.
#[must_use]
pub fn count(text: &str, calls: &str) -> u32 {
    let mut threads: HashMap<&str, u32> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace(); // small numbers of threads are padded
        let (Some(thread), Some(_), Some(call)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let name = call.split('(').next().unwrap_or_default();
        if calls.split(',').any(|wanted| wanted == name) {
            *threads.entry(thread).or_default() += 1;
        }
    }
    threads.into_values().max().unwrap_or_default()
}

/// Reads what [`recording`](super::strace::recording) wrote, as far as it concerns `folder`, in the order in which the
/// calls began.
///
/// # Errors
/// A sentence about a line that changes something in a way not known here.
pub fn read(text: &str, folder: &Path) -> Result<Vec<Call>, String> {
    let mut reader = Reader {
        folder,
        positions: HashMap::new(),
        unfinished: HashMap::new(),
        calls: Vec::new(),
    };
    for line in text.lines() {
        reader.line(line).ok_or_else(|| {
            let begin: String = line.chars().take(200).collect();
            format!("not understood: {begin}")
        })?;
    }
    reader.calls.sort_by_key(|call| call.at);
    Ok(reader.calls)
}

struct Reader<'a> {
    folder: &'a Path,
    /// Where the next plain write of a descriptor goes.
    positions: HashMap<u32, u64>,
    unfinished: HashMap<u32, (u64, String)>,
    calls: Vec<Call>,
}

impl Reader<'_> {
    /// `thread time name(arguments) = result <seconds>`.
    fn line(&mut self, line: &str) -> Option<()> {
        let (thread, rest) = line.split_once(' ')?;
        let (time, rest) = rest.trim_start().split_once(' ')?;
        let (thread, at) = (thread.parse().ok()?, nanoseconds(time)?);
        if rest.starts_with("+++") || rest.starts_with("---") {
            return Some(()); // an end, a signal
        }
        if rest.ends_with("<detached ...>") {
            return Some(()); // it died before anything was known of the call
        }
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            self.unfinished.insert(thread, (at, begin.to_owned()));
            return Some(());
        }
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let (_, end) = resumed.split_once(" resumed>")?;
            let (at, begin) = self.unfinished.remove(&thread)?;
            return self.call(thread, at, &format!("{begin}{end}"));
        }
        self.call(thread, at, rest)
    }

    fn call(&mut self, thread: u32, at: u64, call: &str) -> Option<()> {
        let (name, rest) = call.split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ")?;
        if result.trim() == "?" || result.starts_with("? <unavailable>") {
            return Some(()); // it died there
        }
        let arguments = arguments.trim_end().strip_suffix(')')?;
        let (value, took) = result.rsplit_once(" <")?;
        let took = nanoseconds(took.strip_suffix('>')?)?;
        let failed = value.starts_with('-') || value.starts_with('?');
        let injected = value.contains("(INJECTED)") && !value.contains("(DELAYED)");
        let arguments = split(arguments);
        let effect = self.effect(name, &arguments, value, failed, injected)?;
        if let Some(effect) = effect
            && effect.path().starts_with(self.folder)
        {
            self.calls.push(Call {
                thread,
                at,
                end: at + took,
                effect,
            });
        }
        Some(())
    }

    /// `Some(None)` for what changes nothing.
    fn effect(
        &mut self,
        name: &str,
        arguments: &[&str],
        value: &str,
        failed: bool,
        injected: bool,
    ) -> Option<Option<Effect>> {
        if name == "fsync" || name == "fdatasync" {
            let (_, path) = descriptor(arguments.first()?)?;
            let ok = !failed && !injected;
            return Some(Some(Effect::Sync { path, ok }));
        }
        if failed {
            return Some(None);
        }
        let effect = match name {
            "openat" | "open" | "creat" => {
                let (number, path) = descriptor(value)?;
                self.positions.insert(number, 0);
                let makes = |flag| name == "creat" || arguments.iter().any(|a| a.contains(flag));
                if !makes("O_CREAT") {
                    return Some(None);
                }
                Effect::Create {
                    path,
                    truncate: makes("O_TRUNC"),
                }
            }
            "write" | "pwrite64" => {
                let (number, path) = descriptor(arguments.first()?)?;
                if !path.starts_with(self.folder) {
                    return Some(None);
                }
                let mut bytes = unescape(arguments.get(1)?)?;
                bytes.truncate(value.split(' ').next()?.parse().ok()?);
                let offset = if name == "write" {
                    let position = self.positions.entry(number).or_default();
                    let offset = *position;
                    *position += bytes.len() as u64;
                    offset
                } else {
                    arguments.get(3)?.parse().ok()?
                };
                Effect::Write {
                    path,
                    offset,
                    bytes,
                }
            }
            "lseek" => {
                let (number, _) = descriptor(arguments.first()?)?;
                self.positions
                    .insert(number, value.split(' ').next()?.parse().ok()?);
                return Some(None);
            }
            "ftruncate" => {
                let (_, path) = descriptor(arguments.first()?)?;
                let length = arguments.get(1)?.parse().ok()?;
                Effect::Truncate { path, length }
            }
            // A hole reads as zeros.
            "fallocate" => {
                let (_, path) = descriptor(arguments.first()?)?;
                if !path.starts_with(self.folder) {
                    return Some(None);
                }
                let how = arguments.get(1)?;
                if !(how.contains("PUNCH_HOLE") && how.contains("KEEP_SIZE")) {
                    return None;
                }
                let length: usize = arguments.get(3)?.parse().ok()?;
                Effect::Write {
                    path,
                    offset: arguments.get(2)?.parse().ok()?,
                    bytes: vec![0; length],
                }
            }
            "rename" => Effect::Rename {
                from: path(arguments.first()?)?,
                to: path(arguments.get(1)?)?,
            },
            "unlink" => Effect::Unlink {
                path: path(arguments.first()?)?,
            },
            "mkdir" => Effect::Mkdir {
                path: path(arguments.first()?)?,
            },
            // Whatever else there is must not concern the folder.
            _ => {
                let concerned = arguments.iter().any(|argument| {
                    let name = descriptor(argument).map(|(_, path)| path);
                    name.or_else(|| path(argument))
                        .is_some_and(|path| path.starts_with(self.folder))
                });
                return (!concerned).then_some(None);
            }
        };
        Some(Some(effect))
    }
}

/// `1795327208.765700328` or `0.000199510` as nanoseconds.
fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let digits = fraction.len();
    let fraction: u64 = fraction.parse().ok()?;
    let unit = 10_u64.checked_pow(9_u32.checked_sub(digits.try_into().ok()?)?)?;
    Some(seconds * 1_000_000_000 + fraction * unit)
}

/// Arguments, parted at commas outside of strings and brackets. With `-xx` no string holds a
/// quote or a comma.
fn split(arguments: &str) -> Vec<&str> {
    arguments.split(", ").collect()
}

/// `9<\x2f…>`: number and path. A file that was unlinked says so, and is no path any more.
fn descriptor(text: &str) -> Option<(u32, PathBuf)> {
    let (number, rest) = text.split_once('<')?;
    let (path, after) = rest.rsplit_once('>')?;
    let number = number.parse().ok()?;
    if after.contains("(deleted)") {
        return Some((number, PathBuf::from("(deleted)")));
    }
    let path = String::from_utf8(unescape_bytes(path)?).ok()?;
    Some((number, PathBuf::from(path.trim_end_matches(" (deleted)"))))
}

/// A quoted path.
fn path(text: &str) -> Option<PathBuf> {
    String::from_utf8(unescape(text)?).ok().map(PathBuf::from)
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    unescape_bytes(text.strip_prefix('"')?.strip_suffix('"')?)
}

/// `\x00` for each byte, or the character itself.
fn unescape_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [] => return Some(bytes),
            [b'\\', b'x', high, low, after @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let byte = digit(*high)? << 4 | digit(*low)?;
                bytes.push(u8::try_from(byte).ok()?);
                rest = after;
            }
            [b'\\', ..] => return None,
            [byte, after @ ..] => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Call, Effect, read};

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    fn effects(lines: &[String]) -> Result<Vec<Effect>, String> {
        let calls = read(&lines.join("\n"), Path::new("/d"))?;
        Ok(calls.into_iter().map(|call| call.effect).collect())
    }

    #[test]
    fn each_line_becomes_what_it_did() {
        let (db, new, elsewhere) = (hex("/d/db"), hex("/d/new"), hex("/e"));
        let lines = [
            format!(
                "7 1.000000001 openat(AT_FDCWD</>, \"{db}\", O_RDWR|O_CREAT, 0644) = 3<{db}> <0.000000010>"
            ),
            format!("7 2.000000000 pwrite64(3<{db}>, \"\\x00\\xff\", 2, 8192) = 2 <0.000000010>"),
            format!("7 3.000000000 write(3<{db}>, \"\\x01\\x02\", 2) = 2 <0.000000010>"),
            format!("7 4.000000000 write(3<{db}>, \"\\x03\\x04\", 2) = 1 <0.000000010>"),
            format!("7 5.000000000 lseek(3<{db}>, 9, SEEK_SET) = 9 <0.000000010>"),
            format!("7 6.000000000 write(3<{db}>, \"\\x05\", 1) = 1 <0.000000010>"),
            format!("7 7.000000000 ftruncate(3<{db}>, 5) = 0 <0.000000010>"),
            format!("7 8.000000000 fsync(3<{db}>) = 0 <0.000000010>"),
            format!(
                "7 9.000000000 fdatasync(3<{db}>) = -1 EIO (Input/output error) (INJECTED) <0.000000010>"
            ),
            format!("7 10.000000000 rename(\"{db}\", \"{new}\") = 0 <0.000000010>"),
            format!("7 11.000000000 unlink(\"{new}\") = 0 <0.000000010>"),
            format!(
                "7 12.000000000 unlink(\"{new}\") = -1 ENOENT (No such file or directory) <0.000000010>"
            ),
            format!("7 13.000000000 write(4<{elsewhere}>, \"\\x05\", 1) = 1 <0.000000010>"),
            "7 14.000000000 write(5<socket:[1]>, \"\\x05\", 1) = 1 <0.000000010>".into(),
            "7 15.000000000 +++ exited with 0 +++".into(),
        ];
        let path = || PathBuf::from("/d/db");
        let write = |offset, bytes: &[u8]| Effect::Write {
            path: path(),
            offset,
            bytes: bytes.to_vec(),
        };
        let expected = [
            Effect::Create {
                path: path(),
                truncate: false,
            },
            write(8192, &[0, 255]),
            write(0, &[1, 2]),
            write(2, &[3]),
            write(9, &[5]),
            Effect::Truncate {
                path: path(),
                length: 5,
            },
            Effect::Sync {
                path: path(),
                ok: true,
            },
            Effect::Sync {
                path: path(),
                ok: false,
            },
            Effect::Rename {
                from: path(),
                to: "/d/new".into(),
            },
            Effect::Unlink {
                path: "/d/new".into(),
            },
        ];
        assert_eq!(effects(&lines).unwrap(), expected);
    }

    #[test]
    fn a_call_in_two_lines_is_one_and_a_delay_is_no_failure() {
        let db = hex("/d/db");
        let lines = [
            format!("7 1.000000000 fsync(3<{db}> <unfinished ...>"),
            format!("8 1.500000000 ftruncate(4<{db}>, 1) = 0 <0.000000010>"),
            "7 2.000000000 <... fsync resumed>) = 0 (DELAYED) <1.000000000>".to_owned(),
        ];
        let calls = read(&lines.join("\n"), Path::new("/d")).unwrap();
        let (at, end) = (1_000_000_000, 2_000_000_000);
        let sync = Effect::Sync {
            path: "/d/db".into(),
            ok: true,
        };
        assert_eq!(
            calls[0],
            Call {
                thread: 7,
                at,
                end,
                effect: sync
            }
        );
        assert_eq!(calls.len(), 2);
    }

    #[test]
    fn a_call_at_which_the_process_died_did_nothing_and_counts() {
        let db = hex("/d/db");
        let lines = [
            format!("7 1.000000000 pwrite64(3<{db}>, \"\\x01\", 1, 0) = 1 <0.000000010>"),
            format!("8 1.000000000 pwrite64(3<{db}>, \"\\x01\", 1, 0) = 1 <0.000000010>"),
            format!("7     2.000000000 pwrite64(3<{db}>, \"\\x02\", 1, 0) = ?"),
            format!("8 2.000000000 unlink(\"{db}\") = ? <unavailable>"),
            format!("9 2.000000000 fsync(3<{db}> <unfinished ...>"),
            "10 2.000000000 ???( <detached ...>".to_owned(),
            "7 3.000000000 +++ killed by SIGKILL +++".to_owned(),
        ];
        assert_eq!(effects(&lines).unwrap().len(), 2);
        let text = lines.join("\n");
        let of = |calls| super::count(&text, calls);
        assert_eq!((of("pwrite64,write"), of("fsync"), of("rename")), (2, 1, 0));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let db = hex("/d/db");
        let unknown = format!("7 1.000000000 fallocate(3<{db}>, 0, 0, 5) = 0 <0.000000010>");
        assert!(effects(&[unknown]).is_err());
        let elsewhere = format!("7 1.0 fallocate(3<{}>, 0, 0, 5) = 0 <0.0>", hex("/e"));
        assert_eq!(effects(&[elsewhere]).unwrap(), []);
        assert!(effects(&["nonsense".into()]).is_err());
    }
}
