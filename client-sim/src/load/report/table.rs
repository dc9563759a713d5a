//! The table on standard output.

use std::io::Write as _;

use super::job::Report;

/// A figure with as many digits as it deserves, thousands apart.
pub(in crate::load) fn thousands(value: f64) -> String {
    if value.abs() < 1_000.0 {
        let digits = match value.abs() {
            small if small < 1.0 => 3,
            middle if middle < 10.0 => 2,
            middle if middle < 100.0 => 1,
            _ => 0,
        };
        return format!("{value:.digits$}");
    }
    let whole = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 {
        text.insert(0, '-');
    }
    text
}

/// A cell that may be empty.
pub(super) fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), thousands)
}

/// Whether a target was reached, in a word.
pub(super) const fn verdict(ok: Option<bool>) -> &'static str {
    match ok {
        Some(true) => "reached",
        Some(false) => "missed",
        None => "told",
    }
}

/// Prints every job as a row.
pub(in crate::load) fn print(report: &Report) {
    let mut out = std::io::stdout().lock();
    let mut line = |cells: [&str; 8]| {
        let [title, figure, unit, baseline, ratio, target, verdict, cpu] = cells;
        // A table that nobody can read is no reason to stop.
        let _ = writeln!(
            out,
            "{title:<52} {figure:>10} {unit:<11} {baseline:>10} {ratio:>7} {target:>11} {verdict:<8} {cpu:>9}"
        );
    };
    line([
        "", "figure", "", "baseline", "ratio", "target", "", "CPU s/1k",
    ]);
    for job in &report.jobs {
        let target = job
            .target_is
            .map_or_else(|| "-".into(), |target| target.sentence(""));
        line([
            &job.title,
            &thousands(job.figure),
            &job.unit,
            &cell(job.baseline),
            &cell(job.ratio),
            target.trim_end(),
            verdict(job.ok),
            &job.relay_cpu_s_per_1k
                .map_or_else(|| "-".into(), |cpu| format!("{cpu:.4}")),
        ]);
    }
    for job in &report.jobs {
        for note in &job.notes {
            let _ = writeln!(out, "{}: {note}", job.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn figures_are_readable() {
        assert_eq!(thousands(78_123.4), "78,123");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(thousands(999.4), "999");
        assert_eq!(thousands(4.567), "4.57");
        assert_eq!(thousands(0.0721), "0.072");
        assert_eq!(thousands(-1_500.0), "-1,500");
    }
}
