//! A folder as a power cut would leave it: what was synced, and of the rest whatever the disk
//! happened to have written.
//!
//! A write is certain once a sync of its file that began after it has ended. A name (of a file
//! made, moved or removed) is certain once its folder was synced likewise: a file may be whole
//! on disk and in no folder. Everything else is there or not, sector by sector. That is less
//! than any file system in use promises, and so more than any of them does to us.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rand::RngExt as _;
use rand_chacha::ChaCha20Rng;

use super::trace::{Call, Effect};

/// What becomes of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rest {
    /// All of it is lost.
    Nothing,
    /// All of it is there: as after SIGKILL.
    Everything,
    /// Each sector and each name with this likelihood.
    Some {
        /// From 0 to 1.
        share: f64,
        /// Bytes that are written as a whole.
        sector: usize,
    },
}

impl Rest {
    fn keeps(self, random: &mut ChaCha20Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Some { share, .. } => random.random_bool(share),
        }
    }
}

/// Files by path, as they lie on disk after the cut; folders are there without bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// Every folder.
    pub folders: Vec<PathBuf>,
    /// Every file.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

/// One file, whatever it is called.
#[derive(Default)]
struct Inode<'a> {
    /// What was in it before.
    before: Vec<u8>,
    changes: Vec<&'a Call>,
    /// When syncs of it began and ended.
    syncs: Vec<(u64, u64)>,
}

/// Names and files, as the relay saw them.
#[derive(Default)]
struct History<'a> {
    /// Folders and files that were there before.
    folders: Vec<PathBuf>,
    files: BTreeMap<PathBuf, usize>,
    inodes: Vec<Inode<'a>>,
    live: BTreeMap<PathBuf, usize>,
    /// What changed names, with the file that a creation made.
    names: Vec<(&'a Call, Option<usize>)>,
    /// When syncs of folders began and ended.
    folder_syncs: BTreeMap<PathBuf, Vec<(u64, u64)>>,
}

/// Rebuilds the disk as it is when the power goes at `moment` (in nanoseconds since 1970), from
/// everything that was ever done to a folder that was not there at first.
#[must_use]
pub fn cut(calls: &[Call], moment: u64, rest: Rest, random: &mut ChaCha20Rng) -> Disk {
    cut_after(&Disk::default(), calls, moment, rest, random)
}

/// [`cut`] of a folder in which this was on disk before.
#[must_use]
pub fn cut_after(
    before: &Disk,
    calls: &[Call],
    moment: u64,
    rest: Rest,
    random: &mut ChaCha20Rng,
) -> Disk {
    let mut history = History::of(before);
    for call in calls.iter().filter(|call| call.at < moment) {
        history.add(call, moment);
    }
    history.disk(rest, random)
}

impl<'a> History<'a> {
    fn of(before: &Disk) -> Self {
        let mut history = Self {
            folders: before.folders.clone(),
            ..Self::default()
        };
        for (path, bytes) in &before.files {
            history.files.insert(path.clone(), history.inodes.len());
            history.inodes.push(Inode {
                before: bytes.clone(),
                ..Inode::default()
            });
        }
        history.live = history.files.clone();
        history
    }

    fn add(&mut self, call: &'a Call, moment: u64) {
        match &call.effect {
            Effect::Create { path, truncate } => {
                if let Some(inode) = self.live.get(path) {
                    if *truncate {
                        self.inodes[*inode].changes.push(call);
                    }
                } else {
                    let inode = self.inodes.len();
                    self.inodes.push(Inode::default());
                    self.live.insert(path.clone(), inode);
                    self.names.push((call, Some(inode)));
                }
            }
            Effect::Write { path, .. } | Effect::Truncate { path, .. } => {
                if let Some(inode) = self.live.get(path) {
                    self.inodes[*inode].changes.push(call);
                }
            }
            Effect::Rename { from, to } => {
                if let Some(inode) = self.live.remove(from) {
                    self.live.insert(to.clone(), inode);
                }
                self.names.push((call, None));
            }
            Effect::Unlink { path } => {
                self.live.remove(path);
                self.names.push((call, None));
            }
            Effect::Mkdir { .. } => self.names.push((call, None)),
            Effect::Sync { path, ok: true } if call.end <= moment => {
                let span = (call.at, call.end);
                match self.live.get(path) {
                    Some(inode) => self.inodes[*inode].syncs.push(span),
                    None => self
                        .folder_syncs
                        .entry(path.clone())
                        .or_default()
                        .push(span),
                }
            }
            Effect::Sync { .. } => {}
        }
    }

    fn disk(&self, rest: Rest, random: &mut ChaCha20Rng) -> Disk {
        let mut disk = Disk {
            folders: self.folders.clone(),
            ..Disk::default()
        };
        let mut named = self.files.clone();
        let is_there = |disk: &Disk, path: &Path| {
            // The root of everything was there before.
            let Some(folder) = path.parent() else {
                return true;
            };
            disk.folders.iter().any(|there| there == folder) || !self.was_made(folder)
        };
        for (call, inode) in &self.names {
            let path = call.effect.path();
            let folder = path.parent().unwrap_or(path);
            let synced = self.folder_syncs.get(folder);
            if !is_certain(call, synced.map_or(&[], Vec::as_slice)) && !rest.keeps(random) {
                continue;
            }
            if !is_there(&disk, path) {
                continue;
            }
            match (&call.effect, inode) {
                (Effect::Create { path, .. }, Some(inode)) => {
                    named.insert(path.clone(), *inode);
                }
                (Effect::Rename { from, to }, _) => {
                    if let Some(inode) = named.remove(from) {
                        named.insert(to.clone(), inode);
                    }
                }
                (Effect::Unlink { path }, _) => drop(named.remove(path)),
                (Effect::Mkdir { path }, _) => disk.folders.push(path.clone()),
                _ => {}
            }
        }
        for (path, inode) in named {
            let bytes = self.inodes[inode].bytes(rest, random);
            disk.files.insert(path, bytes);
        }
        disk
    }

    fn was_made(&self, folder: &Path) -> bool {
        self.names
            .iter()
            .any(|(call, _)| matches!(&call.effect, Effect::Mkdir { path } if path == folder))
    }
}

/// Whether a sync began after a call had ended.
fn is_certain(call: &Call, syncs: &[(u64, u64)]) -> bool {
    syncs.iter().any(|(began, _)| *began >= call.end)
}

impl Inode<'_> {
    fn bytes(&self, rest: Rest, random: &mut ChaCha20Rng) -> Vec<u8> {
        let mut file = self.before.clone();
        for call in &self.changes {
            let certain = is_certain(call, &self.syncs);
            match &call.effect {
                Effect::Write { offset, bytes, .. } => {
                    write(&mut file, *offset, bytes, certain, rest, random);
                }
                Effect::Truncate { length, .. } if certain || rest.keeps(random) => {
                    file.resize(usize::try_from(*length).unwrap(), 0);
                }
                Effect::Create { .. } if certain || rest.keeps(random) => file.clear(),
                _ => {}
            }
        }
        file
    }
}

fn write(
    file: &mut Vec<u8>,
    offset: u64,
    bytes: &[u8],
    certain: bool,
    rest: Rest,
    random: &mut ChaCha20Rng,
) {
    let sector = match rest {
        Rest::Some { sector, .. } => sector,
        _ => usize::MAX,
    };
    let mut at = usize::try_from(offset).unwrap();
    let mut left = bytes;
    while !left.is_empty() {
        let length = left.len().min(sector - at % sector);
        let (now, after) = left.split_at(length);
        if certain || rest.keeps(random) {
            if file.len() < at + length {
                file.resize(at + length, 0);
            }
            file[at..at + length].copy_from_slice(now);
        }
        at += length;
        left = after;
    }
}

impl Disk {
    /// A folder as it is.
    ///
    /// # Panics
    /// When the system refuses.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let mut disk = Self::default();
        disk.add(folder);
        disk
    }

    fn add(&mut self, folder: &Path) {
        self.folders.push(folder.to_owned());
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add(&path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                self.files.insert(path, bytes);
            }
        }
    }

    /// Makes a folder that [`Self::read`] knew what it is here, and leaves the permissions of
    /// what stays.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn put_back(&self, folder: &Path) {
        let now = Self::read(folder);
        for path in now.files.keys() {
            if !self.files.contains_key(path) {
                std::fs::remove_file(path).unwrap();
            }
        }
        self.write(folder, folder);
    }

    /// Writes it out, below `to` instead of below `from`. SQLite's shared memory is left out: it
    /// never was on disk.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn write(&self, from: &Path, to: &Path) {
        let place = |path: &Path| to.join(path.strip_prefix(from).expect("below the folder"));
        for folder in &self.folders {
            std::fs::create_dir_all(place(folder)).unwrap();
        }
        for (path, bytes) in &self.files {
            if path.extension().is_none_or(|end| end != "sqlite-shm") {
                std::fs::write(place(path), bytes).unwrap();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha20Rng;

    use super::{Call, Disk, Effect, Rest, cut, cut_after};

    fn path(name: &str) -> PathBuf {
        Path::new("/d").join(name)
    }

    fn calls(effects: impl IntoIterator<Item = Effect>) -> Vec<Call> {
        let timed = effects.into_iter().zip((10..).step_by(10));
        timed
            .map(|(effect, at)| Call {
                thread: 1,
                at,
                end: at + 5,
                effect,
            })
            .collect()
    }

    fn create(name: &str) -> Effect {
        Effect::Create {
            path: path(name),
            truncate: false,
        }
    }

    fn write(name: &str, offset: u64, bytes: &[u8]) -> Effect {
        Effect::Write {
            path: path(name),
            offset,
            bytes: bytes.to_vec(),
        }
    }

    fn sync(name: &str) -> Effect {
        Effect::Sync {
            path: path(name),
            ok: true,
        }
    }

    fn after(effects: &[Effect], moment: u64, rest: Rest) -> Disk {
        let mut random = ChaCha20Rng::seed_from_u64(1);
        cut(&calls(effects.iter().cloned()), moment, rest, &mut random)
    }

    fn file(disk: &Disk, name: &str) -> Option<Vec<u8>> {
        disk.files.get(&path(name)).cloned()
    }

    #[test]
    fn only_what_was_synced_is_certain() {
        let life = [
            create("a"),
            sync(""),
            write("a", 0, b"one"),
            sync("a"), // from 40 to 45
            write("a", 3, b"two"),
        ];
        let kept = |moment| file(&after(&life, moment, Rest::Nothing), "a");
        assert_eq!(kept(25), Some(vec![]), "its name alone");
        assert_eq!(kept(44), Some(vec![]), "the sync had not ended");
        assert_eq!(kept(45), Some(b"one".to_vec()));
        assert_eq!(kept(1_000), Some(b"one".to_vec()));
        let all = after(&life, 1_000, Rest::Everything);
        assert_eq!(file(&all, "a"), Some(b"onetwo".to_vec()));
    }

    #[test]
    fn a_synced_file_in_a_folder_that_was_not_is_gone() {
        let life = [create("a"), write("a", 0, b"one"), sync("a")];
        assert_eq!(file(&after(&life, 1_000, Rest::Nothing), "a"), None);
        let folder = Effect::Mkdir { path: path("f") };
        let within = [folder, create("f/a"), sync("f"), sync("f/a")];
        let lost = after(&within, 1_000, Rest::Nothing);
        assert_eq!(
            lost,
            Disk::default(),
            "the folder's own name was not synced"
        );
        let mut synced = within.to_vec();
        synced.push(sync(""));
        let kept = after(&synced, 1_000, Rest::Nothing);
        assert_eq!(file(&kept, "f/a"), Some(vec![]));
    }

    #[test]
    fn names_move_and_go_when_their_folder_was_synced() {
        let moved = Effect::Rename {
            from: path("a"),
            to: path("b"),
        };
        let gone = Effect::Unlink { path: path("b") };
        let life = [create("a"), sync(""), moved, sync(""), gone, sync("")];
        let names = |moment| -> Vec<PathBuf> {
            let disk = after(&life, moment, Rest::Nothing);
            disk.files.into_keys().collect()
        };
        assert_eq!(names(40), [path("a")]);
        assert_eq!(names(50), [path("b")]);
        assert_eq!(names(60), [path("b")]);
        assert_eq!(names(70), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_was_there_before_is_certain() {
        let before = Disk {
            folders: vec![path("")],
            files: [(path("a"), b"old".to_vec()), (path("b"), b"b".to_vec())].into(),
        };
        let gone = Effect::Unlink { path: path("b") };
        let life = [create("a"), write("a", 3, b"er"), gone, write("a", 0, b"x")];
        let after = |rest| {
            let calls = calls(life.iter().cloned());
            let mut random = ChaCha20Rng::seed_from_u64(1);
            cut_after(&before, &calls, 1_000, rest, &mut random)
        };
        assert_eq!(after(Rest::Nothing), before);
        let all = after(Rest::Everything);
        assert_eq!(file(&all, "a"), Some(b"xlder".to_vec()));
        assert_eq!(file(&all, "b"), None);
    }

    #[test]
    fn what_was_not_synced_is_torn_at_sectors() {
        let bytes = vec![7; 512 * 64];
        let life = [create("a"), sync(""), write("a", 256, &bytes)];
        let rest = Rest::Some {
            share: 0.5,
            sector: 512,
        };
        let torn = file(&after(&life, 1_000, rest), "a").unwrap();
        let sectors: Vec<bool> = torn[512..]
            .chunks(512)
            .map(|sector| sector.iter().all(|byte| *byte == 7))
            .collect();
        assert!(sectors.contains(&true) && sectors.contains(&false));
        let halves = torn[512..].chunks(512);
        for sector in halves {
            assert!(
                sector.iter().all(|byte| *byte == sector[0]),
                "torn within a sector"
            );
        }
    }

    #[test]
    fn a_sync_that_failed_makes_nothing_certain() {
        let failed = Effect::Sync {
            path: path("a"),
            ok: false,
        };
        let life = [create("a"), sync(""), write("a", 0, b"one"), failed];
        assert_eq!(file(&after(&life, 1_000, Rest::Nothing), "a"), Some(vec![]));
    }
}
