//! Lists what was stolen.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::ThiefError;
use crate::report::Note;

/// Folders nested deeper than this are not a relay's.
const DEPTH_MAX: usize = 64;
/// The first bytes of every SQLite database.
pub(crate) const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// A stolen file.
#[derive(Debug, Clone)]
pub(crate) struct LootFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its name below the data folder, for reports.
    pub(crate) name: String,
    /// The same as the bytes that are on disk.
    pub(crate) name_bytes: Vec<u8>,
    /// How long it was when it was listed.
    pub(crate) bytes: u64,
}

/// Everything that was stolen.
#[derive(Debug, Default)]
pub(crate) struct Loot {
    /// Regular files, in the order of their names.
    pub(crate) files: Vec<LootFile>,
    /// Names of folders, as bytes.
    pub(crate) folders: Vec<Vec<u8>>,
    pub(crate) notes: Vec<Note>,
}

impl Loot {
    /// Lists a data folder without following links.
    ///
    /// # Errors
    /// [`ThiefError::DataFolder`] when it can't be listed, [`ThiefError::NothingStolen`] when no
    /// file in it holds a byte.
    pub(crate) fn list(data: &Path) -> Result<Self, ThiefError> {
        let mut loot = Self::default();
        loot.folder(data, data, 0)
            .map_err(|source| ThiefError::DataFolder {
                path: data.to_owned(),
                source,
            })?;
        loot.files.sort_by(|a, b| a.name_bytes.cmp(&b.name_bytes));
        if loot.bytes() == 0 {
            return Err(ThiefError::NothingStolen {
                path: data.to_owned(),
            });
        }
        Ok(loot)
    }

    /// How many bytes all files have together.
    pub(crate) fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    fn folder(&mut self, root: &Path, folder: &Path, depth: usize) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let name = relative.to_string_lossy().into_owned();
            let name_bytes = relative.as_os_str().as_encoded_bytes().to_vec();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.folders.push(name_bytes);
                if depth >= DEPTH_MAX {
                    self.note(
                        name,
                        "folders nested too deep were not read".to_owned(),
                        true,
                    );
                } else if let Err(error) = self.folder(root, &path, depth.saturating_add(1)) {
                    self.note(name, format!("this folder can't be read: {error}"), true);
                }
            } else if kind.is_file() {
                match entry.metadata() {
                    Ok(meta) => {
                        self.files.push(LootFile {
                            path,
                            name,
                            name_bytes,
                            bytes: meta.len(),
                        });
                    }
                    Err(error) => {
                        self.note(name, format!("this file can't be read: {error}"), true)
                    }
                }
            } else {
                let what = if kind.is_symlink() {
                    "a link, not followed"
                } else {
                    "no regular file"
                };
                self.folders.push(name_bytes);
                self.note(name, what.to_owned(), false);
            }
        }
        Ok(())
    }

    fn note(&mut self, file: String, what: String, gap: bool) {
        self.notes.push(Note { file, what, gap });
    }
}

impl LootFile {
    /// Whether the file says of itself that it is an SQLite database.
    pub(crate) fn is_database(&self) -> bool {
        let mut head = [0; 16];
        let read = File::open(&self.path).and_then(|mut file| file.read_exact(&mut head));
        read.is_ok() && &head == SQLITE_MAGIC
    }

    /// Whether it is a blob by where it lies or how it is named.
    pub(crate) fn is_blob(&self) -> bool {
        let lower = self.name.to_ascii_lowercase();
        let mut parts = lower.rsplit(['/', '\\']);
        let file = parts.next().unwrap_or_default();
        let stem = file.split('.').next().unwrap_or_default();
        let hex = stem.len() >= 16 && stem.bytes().all(|b| b.is_ascii_hexdigit());
        hex || parts.any(|part| part.contains("blob"))
    }

    /// Reads the file in pieces that overlap, each with where it begins, its bytes, and how many
    /// of them were in the piece before. Gives how many bytes were read in all.
    pub(crate) fn read(
        &self,
        piece: usize,
        overlap: usize,
        max: u64,
        mut each: impl FnMut(u64, &[u8], usize),
    ) -> io::Result<u64> {
        let mut file = File::open(&self.path)?.take(max);
        let mut buffer: Vec<u8> = Vec::new();
        let (mut base, mut seen, mut total) = (0_u64, 0_usize, 0_u64);
        loop {
            let wanted = piece.saturating_sub(seen).max(1) as u64;
            let read = file.by_ref().take(wanted).read_to_end(&mut buffer)?;
            if read == 0 {
                return Ok(total);
            }
            total = total.saturating_add(read as u64);
            each(base, &buffer, seen);
            seen = overlap.min(buffer.len()).min(piece / 2);
            let drop = buffer.len().saturating_sub(seen);
            buffer.drain(..drop);
            base = base.saturating_add(drop as u64);
        }
    }
}
