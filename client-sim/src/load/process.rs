//! What the kernel says about a process: CPU, memory, bytes written.

use std::fs::read_to_string;
use std::path::Path;

/// A process of this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process(pub(super) u32);

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Memory {
    /// Its share of what it has in memory.
    pub(super) pss_kib: f64,
    /// All that it has in memory.
    pub(super) rss_kib: f64,
}

/// Memory that the kernel holds, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct KernelMemory {
    pub(super) slab_kib: f64,
    /// Pages of TCP buffers.
    pub(super) sockets_kib: f64,
}

fn number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The value of `name:` in a file of `name: value` lines.
fn field(text: &str, name: &str) -> Option<f64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(number)
}

/// Ticks of user and system time in `/proc/PID/stat`; the program's name before may hold anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(number(fields.next()?)? + number(fields.next()?)?)
}

impl Process {
    pub(super) fn own() -> Self {
        Self(std::process::id())
    }

    fn read(self, file: &str) -> String {
        read_to_string(format!("/proc/{}/{file}", self.0)).unwrap_or_default()
    }

    /// Seconds of CPU so far, of all threads.
    pub(super) fn cpu_seconds(self) -> f64 {
        let per_second = rustix::param::clock_ticks_per_second().max(1) as f64;
        cpu_ticks(&self.read("stat")).unwrap_or_default() / per_second
    }

    pub(super) fn memory(self) -> Memory {
        let text = self.read("smaps_rollup");
        Memory {
            pss_kib: field(&text, "Pss").unwrap_or_default(),
            rss_kib: field(&text, "Rss").unwrap_or_default(),
        }
    }

    /// The most that it ever had in memory, in KiB.
    pub(super) fn peak_kib(self) -> f64 {
        field(&self.read("status"), "VmHWM").unwrap_or_default()
    }

    /// Bytes that it had written to disks so far.
    pub(super) fn bytes_written(self) -> f64 {
        field(&self.read("io"), "write_bytes").unwrap_or_default()
    }
}

/// What the kernel holds for everybody.
pub(super) fn kernel_memory() -> KernelMemory {
    let slab = read_to_string("/proc/meminfo").unwrap_or_default();
    let sockets = read_to_string("/proc/net/sockstat").unwrap_or_default();
    let pages = sockets
        .lines()
        .find_map(|line| {
            line.strip_prefix("TCP:")?
                .split_once(" mem ")
                .map(|(_, pages)| pages)
        })
        .and_then(number);
    KernelMemory {
        slab_kib: field(&slab, "Slab").unwrap_or_default(),
        sockets_kib: pages.unwrap_or_default() * rustix::param::page_size() as f64 / 1_024.0,
    }
}

/// What this machine is, as one line.
pub(super) fn machine() -> String {
    let processor = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let gib = field(&memory, "MemTotal").unwrap_or_default() / 1_048_576.0;
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::fs::read_dir("/sys/devices/system/cpu")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.strip_prefix("cpu").is_some_and(|rest| {
                !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
            })
        })
        .count();
    format!(
        "{processor}, {cores} cores, {gib:.0} GiB, Linux {}",
        kernel.trim()
    )
}

/// Whether other work was running at the moment: the load of the last minute.
pub(super) fn load_average() -> f64 {
    number(&read_to_string("/proc/loadavg").unwrap_or_default()).unwrap_or_default()
}

/// Bytes that a folder's files take on disk, by their blocks.
pub(super) fn bytes_on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => sum += found.blocks() * 512,
                Err(_) => {}
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::{Process, cpu_ticks, field};

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "17 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 99";
        assert_eq!(cpu_ticks(stat), Some(300.0));
        assert_eq!(cpu_ticks("nothing"), None);
    }

    #[test]
    fn fields_have_exact_names() {
        let text = "PssX: 9 kB\nRss:  12 kB\nPss:   7 kB\n";
        assert_eq!(field(text, "Pss"), Some(7.0));
        assert_eq!(field(text, "Swap"), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(Process::own().memory().rss_kib > 0.0);
    }
}
