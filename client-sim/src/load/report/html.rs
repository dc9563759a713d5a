//! The page: everything in one file, light and dark, readable without a network.

use std::fmt::Write as _;

use super::job::{JobReport, Report, Target};
use super::svg::{bar, escape, plot};
use super::table::{cell, thousands, verdict};

const STYLE: &str = "
:root { color-scheme: light dark; --ink:#1d2329; --soft:#5c6670; --paper:#fbfaf7; --card:#fff; --line:#e3e0d8 }
@media (prefers-color-scheme: dark) { :root { --ink:#e8e6e1; --soft:#9aa4ad; --paper:#14181c; --card:#1c2228; --line:#323a42 } }
* { box-sizing: border-box }
body { margin: 0; font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper) }
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 80px }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -.02em } h2 { font-size: 19px; margin: 0 0 2px }
p, dd, dt { margin: 0 } .soft { color: var(--soft) } code { font: 13px ui-monospace, monospace }
.head { margin-bottom: 28px } .scroll { overflow-x: auto }
table { width: 100%; border-collapse: collapse; background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden }
th, td { padding: 9px 12px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; font-variant-numeric: tabular-nums }
th { font-weight: 600; color: var(--soft); font-size: 13px } tr:last-child td { border: 0 }
td:first-child, th:first-child { text-align: left; white-space: normal; min-width: 260px }
.v { display: inline-block; padding: 1px 9px; border-radius: 9px; font-size: 13px }
.reached { background: #3d8b5226; color: #3d8b52 } .missed { background: #b3362b26; color: #d0453a } .told { background: #5c667026; color: var(--soft) }
section { margin-top: 26px; padding: 20px 22px; background: var(--card); border: 1px solid var(--line); border-radius: 10px }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 18px; margin-top: 14px }
svg { width: 100%; height: auto } svg.bar { width: 160px; height: 14px; vertical-align: middle }
svg text { font: 12px system-ui, sans-serif } .t { fill: var(--ink); font-weight: 600 } .a { fill: var(--soft) }
.e { text-anchor: end } .m { text-anchor: middle } .g { stroke: var(--line) } .b { fill: var(--line) } .k { stroke: var(--ink); stroke-width: 2 }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 2px 26px; margin: 12px 0 0; font-size: 13px }
dl div { display: flex; justify-content: space-between; border-bottom: 1px dotted var(--line); padding: 2px 0 } dt { color: var(--soft) }
li { margin: 3px 0 } ul { margin: 10px 0 0; padding-left: 20px }
";

fn row(job: &JobReport) -> String {
    let drawn = match (job.target_is, job.ratio, job.ok) {
        (Some(Target::FigureBelow(target) | Target::FigureAtMost(target)), _, Some(ok)) => {
            bar(job.figure, target, ok)
        }
        (Some(_), Some(ratio), Some(ok)) => bar(ratio, job.target.unwrap_or(1.0), ok),
        _ => String::new(),
    };
    let target = job
        .target_is
        .map_or_else(|| "-".into(), |target| target.sentence(&job.unit));
    let word = verdict(job.ok);
    format!(
        "<tr><td><a href=\"#{0}\" style=\"color:inherit\">{1}</a></td><td>{2} {3}</td><td>{4}</td><td>{5}</td>\
         <td>{6}</td><td>{drawn}</td><td><span class=\"v {word}\">{word}</span></td><td>{7}</td><td>{8}</td></tr>",
        escape(&job.name),
        escape(&job.title),
        thousands(job.figure),
        escape(&job.unit),
        cell(job.baseline),
        cell(job.ratio),
        escape(&target),
        job.relay_cpu_s_per_1k
            .map_or_else(|| "-".into(), |cpu| format!("{cpu:.4}")),
        cell(job.generator_cores),
    )
}

fn section(job: &JobReport) -> String {
    let mut out = format!(
        "<section id=\"{}\"><h2>{}</h2><p class=\"soft\">{} {}{}</p>",
        escape(&job.name),
        escape(&job.title),
        thousands(job.figure),
        escape(&job.unit),
        job.baseline.map_or_else(String::new, |baseline| format!(
            ", beside {} of {}",
            thousands(baseline),
            escape(&job.baseline_is)
        ))
    );
    // Writing into a string can't fail.
    if !job.notes.is_empty() {
        out += "<ul>";
        for note in &job.notes {
            let _ = write!(out, "<li>{}</li>", escape(note));
        }
        out += "</ul>";
    }
    if !job.plots.is_empty() {
        out += "<div class=\"plots\">";
        for picture in &job.plots {
            out += &plot(picture);
        }
        out += "</div>";
    }
    if !job.details.is_empty() {
        out += "<dl>";
        for (name, value) in &job.details {
            let name = name.replace('_', " ");
            let _ = write!(
                out,
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escape(&name),
                thousands(*value)
            );
        }
        out += "</dl>";
    }
    out + "</section>"
}

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let reached = |ok| report.jobs.iter().filter(|job| job.ok == Some(ok)).count();
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Kinline under load</title><style>{STYLE}</style><main><div class=\"head\"><h1>Kinline under load</h1>\
         <p class=\"soft\">{} of {} targets reached · {}{}</p><p class=\"soft\">{} · load average {:.1} before, {:.1} after</p>\
         <p><code>{}</code></p></div><div class=\"scroll\"><table><tr><th>Job</th><th>figure</th><th>baseline</th><th>ratio</th><th>target</th>\
         <th></th><th></th><th>relay CPU s / 1,000</th><th>generator cores</th></tr>",
        reached(true),
        reached(true) + reached(false),
        if report.pinned {
            "relay and generator on a core each"
        } else {
            "relay and generator not pinned"
        },
        if report.optimized {
            ""
        } else {
            " · NOT an optimized build: no figure here means anything"
        },
        escape(&report.machine),
        report.load_before,
        report.load_after,
        escape(&report.command),
    );
    for job in &report.jobs {
        out += &row(job);
    }
    out += "</table></div>";
    for job in &report.jobs {
        out += &section(job);
    }
    out + "</main></html>\n"
}
