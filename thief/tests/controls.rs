//! The planted leaks, and that each depends on the instrument it was planted for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use kinline_thief::{CONTROLS, Canaries, Detector, Options, Report, steal};

fn run(options: &Options) -> Report {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("relay.log"),
        "INFO relay: ready, 17 mailboxes open\n",
    )
    .unwrap();
    let canaries = Canaries::from_lines(["Ottilie Brandt"]).unwrap();
    let report = steal(folder.path(), &canaries, options).unwrap();
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["relay.log"], "the loot itself is never planted in");
    report
}

#[test]
fn all_are_caught_even_where_the_loot_has_no_database() {
    let report = run(&Options::default());
    let missed: Vec<_> = report
        .controls
        .iter()
        .filter(|c| !c.caught)
        .map(|c| &c.name)
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert_eq!(
        (report.controls_planted, report.controls_caught, CONTROLS),
        (25, 25, 25)
    );
    assert!(report.ok(), "{report}");
    assert!(
        !run(&Options {
            controls: false,
            ..Options::default()
        })
        .ok()
    );
}

#[test]
fn each_is_missed_without_its_instrument() {
    let needs: [(Detector, &[usize]); 20] = [
        (Detector::Columns, &[0]),
        (Detector::Raw, &[0, 1, 2, 19]),
        (Detector::Names, &[2]),
        (Detector::Media, &[3, 4]),
        (Detector::Hashes, &[5, 6, 20]),
        (Detector::Preimages, &[7]),
        (Detector::Utf16, &[8]),
        (Detector::Gzip, &[9]),
        (Detector::Zlib, &[10]),
        (Detector::Zstd, &[11]),
        (Detector::Base64, &[12]),
        (Detector::Seeds, &[13]),
        (Detector::EnvelopeSizes, &[14]),
        (Detector::Randomness, &[15, 24]),
        (Detector::EnvelopeKeys, &[16]),
        (Detector::Addresses, &[17]),
        (Detector::PrivateKeys, &[18]),
        (Detector::Guesses, &[21]),
        (Detector::AccountIds, &[22]),
        (Detector::Links, &[23]),
    ];
    let covered: std::collections::BTreeSet<usize> =
        needs.iter().flat_map(|(_, c)| *c).copied().collect();
    assert_eq!(covered.len(), CONTROLS);
    for (detector, controls) in needs {
        // Fewer openings: without optimisation each takes 17 µs.
        let options = Options {
            openings_max: 5_000,
            guesses_max: 50_000,
            stretching: (64, 1),
            ..Options::default()
        };
        let report = run(&options.without(detector));
        assert!(!report.ok(), "{detector:?}");
        for index in controls {
            let control = &report.controls[*index];
            assert!(
                !control.caught,
                "{} was caught without {detector:?}",
                control.name
            );
        }
        let others = report.controls.iter().filter(|c| c.caught).count();
        assert!(others >= 11, "{detector:?} alone blinds too much: {report}");
    }
}
