//! strace as a witness: the command lines that stand before a program. [`trace`](super::trace)
//! reads back what it wrote.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Calls that change what a folder holds, or make that durable.
const CALLS: &str = "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,\
fallocate,copy_file_range,sendfile,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,\
link,linkat,symlink,symlinkat,lseek,fsync,fdatasync,sync_file_range,msync";
/// The longest string that is written out: more than any one write of a relay.
const STRING_MAX: &str = "4194304";

/// A kind of call at which something is done to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// fsync, fdatasync.
    Sync,
    /// write, pwrite64, ftruncate, fallocate.
    Write,
    /// rename, unlink, mkdir: what changes a folder's names.
    Name,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sync, Self::Write, Self::Name];

    /// strace's list of the calls.
    #[must_use]
    pub const fn calls(self) -> &'static str {
        match self {
            Self::Sync => "fsync,fdatasync",
            Self::Write => "write,pwrite64,ftruncate,fallocate",
            Self::Name => "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir",
        }
    }
}

/// Whether strace is there and may watch a process.
///
/// # Errors
/// A sentence that says what is missing.
pub fn check() -> Result<(), String> {
    let mut witness = common();
    witness.extend([
        "-o".into(),
        "/dev/null".into(),
        "-e".into(),
        "trace=fsync".into(),
    ]);
    let mut line = witness.into_iter();
    let program = line.next().unwrap_or_default();
    let output = Command::new(program).args(line).arg("true").output();
    match output {
        Err(error) => Err(format!(
            "strace can't be run ({error}): install it, for example with apt-get install strace"
        )),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "strace may not watch a process here, or is older than 6.0: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

/// The relay is the child, strace its grandchild: killing the child kills the relay, and the
/// child's status is the relay's.
fn common() -> Vec<OsString> {
    ["strace", "-D", "-f", "-qqq"].map(OsString::from).to_vec()
}

/// The command line before a relay that is watched: everything goes into `to`. Each sync takes
/// `delay_us` longer, as on a disk that is slow.
#[must_use]
pub fn recording(to: &Path, delay_us: u32) -> Vec<OsString> {
    let mut line = common();
    for argument in [
        "--seccomp-bpf", // stops at these calls alone; it loses signals, so only here
        "-y",
        "-xx",
        "-s",
        STRING_MAX,
        "--absolute-timestamps=format:unix,precision:ns",
        "--syscall-times=ns",
        "-e",
    ] {
        line.push(argument.into());
    }
    line.push(format!("trace={CALLS}").into());
    if delay_us > 0 {
        line.push("-e".into());
        line.push(format!("inject=fsync,fdatasync:delay_enter={delay_us}").into());
    }
    line.push("-o".into());
    line.push(to.into());
    line
}

/// The command line before a process that is watched as by [`recording`] and to which `fault` is
/// done at the `number`th of these calls, counted in each thread by itself; with `sync_lies` a
/// sync says that all is well and does nothing. Everything goes into `to`.
#[must_use]
pub fn recording_death(
    calls: &str,
    fault: &str,
    number: u32,
    sync_lies: bool,
    to: &Path,
) -> Vec<OsString> {
    let mut line = common();
    let mut arguments = vec![
        "-y".to_owned(),
        "-xx".to_owned(),
        "-s".to_owned(),
        STRING_MAX.to_owned(),
        "--absolute-timestamps=format:unix,precision:ns".to_owned(),
        "--syscall-times=ns".to_owned(),
        "-e".to_owned(),
        format!("trace={CALLS},{calls}"),
    ];
    if sync_lies {
        arguments.push("-e".to_owned());
        arguments.push("inject=fsync,fdatasync:retval=0".to_owned());
    }
    arguments.push("-e".to_owned());
    arguments.push(format!("inject={calls}:{fault}:when={number}"));
    line.extend(arguments.into_iter().map(OsString::from));
    line.push("-o".into());
    line.push(to.into());
    line
}

/// The command line before a relay whose writes to these files find no room from the `first` to
/// the `last`, counted in each thread by itself.
#[must_use]
pub fn without_room(first: u32, last: u32, paths: &[PathBuf], to: &Path) -> Vec<OsString> {
    let mut line = common();
    for path in paths {
        line.push("-P".into());
        line.push(path.into());
    }
    line.extend(["-e", "trace=pwrite64", "-e"].map(OsString::from));
    line.push(format!("inject=pwrite64:error=ENOSPC:when={first}..{last}").into());
    line.push("-o".into());
    line.push(to.into());
    line
}

/// The command line before a relay to which `fault` is done at the `number`th call of a kind,
/// counted in each thread by itself, on one of these paths. What was watched goes into `to`.
#[must_use]
pub fn injecting(
    kind: Kind,
    fault: &str,
    number: u32,
    paths: &[PathBuf],
    to: &Path,
) -> Vec<OsString> {
    let mut line = common();
    for path in paths {
        line.push("-P".into());
        line.push(path.into());
    }
    let calls = kind.calls();
    for argument in [
        "-y".to_owned(),
        "-e".to_owned(),
        format!("trace={calls}"),
        "-e".to_owned(),
        format!("inject={calls}:{fault}:when={number}"),
    ] {
        line.push(argument.into());
    }
    line.push("-o".into());
    line.push(to.into());
    line
}
