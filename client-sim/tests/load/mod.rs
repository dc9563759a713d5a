//! `kinline-sim load` from outside, with counts as small as they go: whether it measures and
//! says so, never how fast anything was.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use super::PROGRAM;

fn load(arguments: &[&str], folder: &Path) -> Output {
    Command::new(PROGRAM)
        .arg("load")
        .args(arguments)
        .arg("--scratch")
        .arg(folder)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every row of every job.
const NAMES: &[&str] = &[
    "j1",
    "j1-delivered",
    "j1-acknowledged",
    "j1-many",
    "j1-open",
    "j1-open-p99",
    "j2-stored",
    "j2-drained",
    "j2-bytes",
    "j2-remains",
    "j3-memory",
    "j3-cpu",
    "j3-return",
    "j3-others",
    "scale-attach",
    "scale-send",
    "scale-drain",
    "scale-written",
    "blobs-up",
    "blobs-down",
    "blobs-memory",
    "hold-0",
    "hold-50",
    "hold-150",
    "hold-off-0",
    "hold-off-50",
    "hold-off-150",
    "hold-rate",
    "flood-contact-others",
    "flood-contact-memory",
    "flood-contact-refused",
    "flood-contact-unexplained",
    "flood-reader-others",
    "flood-reader-memory",
    "flood-reader-full",
    "flood-overload-others",
    "flood-overload-memory",
    "flood-overload-rate",
    "flood-overload-kept-back",
    "device-send",
    "device-shown",
    "device-join",
    "device-catch-up",
    "device-memory",
];

#[test]
fn all_jobs_are_measured_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("load.json");
    let file = report.to_str().unwrap();
    let output = load(
        &[
            "--all",
            "--quick",
            "--pairs",
            "2",
            "--devices",
            "6",
            "--scale",
            "300",
            "--report",
            file,
        ],
        folder.path(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = std::fs::read_to_string(&report).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let jobs = report["jobs"].as_array().unwrap();
    let names: BTreeSet<&str> = jobs
        .iter()
        .map(|job| job["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, NAMES.iter().copied().collect::<BTreeSet<_>>());
    assert_eq!(names.len(), jobs.len(), "no name stands twice");
    let table = String::from_utf8_lossy(&output.stdout);
    for job in jobs {
        let name = job["name"].as_str().unwrap();
        let keys: BTreeSet<&str> = job
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        for key in [
            "figure",
            "unit",
            "baseline",
            "ratio",
            "target",
            "ok",
            "relay_cpu_s_per_1k",
            "generator_cores",
        ] {
            assert!(keys.contains(key), "{name} has no {key}");
        }
        assert!(job["figure"].as_f64().is_some_and(f64::is_finite), "{job}");
        assert!(job["unit"].as_str().is_some_and(|unit| !unit.is_empty()));
        if let (Some(figure), Some(baseline), Some(ratio)) = (
            job["figure"].as_f64(),
            job["baseline"].as_f64(),
            job["ratio"].as_f64(),
        ) {
            assert!((figure / baseline - ratio).abs() < 1e-6, "{job}");
        }
        assert_eq!(job["lost"].as_u64().unwrap_or(0), 0, "{job}");
        assert_eq!(job["doubled"].as_u64().unwrap_or(0), 0, "{job}");
        assert_eq!(
            job["details"]["refused"].as_f64().unwrap_or(0.0),
            0.0,
            "{job}"
        );
        assert!(table.contains(job["title"].as_str().unwrap()), "{table}");
    }
    let job = |name: &str| jobs.iter().find(|job| job["name"] == name).unwrap();
    let positive = |name: &str| assert!(job(name)["figure"].as_f64().unwrap() > 0.0, "{name}");
    for name in [
        "j1",
        "j1-delivered",
        "j2-stored",
        "j2-drained",
        "j3-memory",
        "blobs-up",
        "device-send",
    ] {
        positive(name);
    }
    // What was stored was found in the files before the drain, by the search that finds none after it.
    let remains = job("j2-remains");
    assert!(remains["details"]["slots_before"].as_f64().unwrap() >= 400.0);
    assert_eq!(remains["figure"].as_f64(), Some(0.0));
    for name in [
        "hold-0",
        "hold-50",
        "hold-150",
        "hold-off-0",
        "hold-off-150",
    ] {
        let never = job(name)["figure"].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&never), "{name} {never}");
        assert!(job(name)["details"]["bytes_written_each"].as_f64().unwrap() >= 0.0);
    }
    // Whoever floods was refused, each time with a reason and a time; a mailbox takes no more than it holds.
    let contact = &job("flood-contact-unexplained")["details"];
    assert!(contact["refusals"].as_f64().unwrap() > 0.0, "{contact}");
    assert_eq!(job("flood-contact-unexplained")["figure"], 0.0);
    assert_eq!(job("flood-reader-full")["ok"], true);
    assert_eq!(job("flood-reader-full")["figure"], 600.0);
    let page = std::fs::read_to_string(folder.path().join("load.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("NaN"));
    assert!(
        !page.contains("<script") && !page.contains("http"),
        "nothing from outside"
    );
    // Relays and their folders are gone; only the two files of the report are left.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn families_with_real_engines_are_a_load_too() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("load.json");
    let file = report.to_str().unwrap();
    let output = load(
        &["--quick", "--pairs", "1", "--window", "2", "--report", file],
        folder.path(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = std::fs::read_to_string(&report).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let job = &report["jobs"][0];
    assert!(job["details"]["sent"].as_f64().unwrap() > 0.0);
    assert_eq!(job["lost"], 0);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], part: &str| {
        let output = load(arguments, folder.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            said(&output).contains(part),
            "{arguments:?}: {}",
            said(&output)
        );
    };
    refused(&["--job", "j9"], "j9");
    refused(&["--sealed", "--pairs", "0"], "0");
    refused(&["--sealed", "--window", "8", "--rate", "5"], "--rate");
    refused(&["--all", "--job", "j1"], "--job");
    refused(
        &["--quick", "--sealed", "--relay-program", "/nowhere/relay"],
        "is no program",
    );
    refused(
        &["--quick", "--sealed", "--report", "/nowhere/load.json"],
        "/nowhere/load.json",
    );
    // A program that is no relay ends, and says why.
    refused(
        &["--quick", "--sealed", "--relay-program", "/bin/false"],
        "ended at its start",
    );
}
