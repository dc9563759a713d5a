//! A new recovery code on its way to paper: in the files that were asked for before the relay
//! hears of it, on the screen once the relay has said yes.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use kinline_protocol::account::RecoveryCode;
use zeroize::Zeroizing;

use super::args_account::Print;
use super::failure::Failure;
use super::screen;
use crate::store::sync_folder;

/// Refuses before anything is asked, of people or of the relay.
pub(super) fn check_print(print: &Print) -> Result<(), Failure> {
    for path in [&print.code_out, &print.png].into_iter().flatten() {
        if path.exists() {
            return Err(Failure::new(format!(
                "{} is there already: a recovery code overwrites nothing",
                path.display()
            )));
        }
    }
    Ok(())
}

/// A code that was written and not yet shown. Its files go with it unless it is
/// [shown](Self::show): a code that the relay did not take leads nowhere.
pub(super) struct Paper {
    words: Zeroizing<String>,
    qr: Option<Zeroizing<String>>,
    files: Vec<PathBuf>,
}

impl Paper {
    /// Writes whole files, durable: what can't be written shows while nothing has happened yet.
    pub(super) fn write(code: &RecoveryCode, print: &Print) -> Result<Self, Failure> {
        let qr = (!print.no_qr).then(|| screen::qr(&code.text()));
        let mut paper = Self {
            words: Zeroizing::new(code.words()),
            qr: qr.transpose()?.map(Zeroizing::new),
            files: Vec::new(),
        };
        if let Some(path) = &print.code_out {
            let line = Zeroizing::new(format!("{}\n", *paper.words));
            paper.write_new(path, line.as_bytes())?;
        }
        if let Some(path) = &print.png {
            let picture = Zeroizing::new(screen::qr_png(&code.text())?);
            paper.write_new(path, &picture)?;
        }
        Ok(paper)
    }

    fn write_new(&mut self, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let failed = |error| Failure::file(path, &error);
        let mut file: File = options.open(path).map_err(failed)?;
        // From here on it is ours, also when it can't be filled.
        self.files.push(path.to_owned());
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(failed)?;
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        sync_folder(folder.unwrap_or(Path::new(".")))
            .map_err(|error| Failure::new(error.to_string()))
    }

    /// Shows it on the screen; its files stay: the relay has taken the code, or may have.
    pub(super) fn show(&mut self) {
        self.files.clear();
        println!("Your recovery code. Write it down and keep it where you would keep a passport:");
        println!();
        let words: Vec<&str> = self.words.split(' ').collect();
        for (at, four) in words.chunks(4).enumerate() {
            let numbered: Vec<String> = four
                .iter()
                .enumerate()
                .map(|(place, word)| format!("{:>2}. {word:<10}", at * 4 + place + 1))
                .collect();
            println!("   {}", numbered.join(" ").trim_end());
        }
        println!();
        if let Some(qr) = &self.qr {
            println!("{}", **qr);
        }
        println!(
            "With it and your password a new phone is your phone at once. Nobody can give it to you again."
        );
    }
}

impl Drop for Paper {
    fn drop(&mut self) {
        for path in &self.files {
            drop(fs::remove_file(path));
        }
    }
}
