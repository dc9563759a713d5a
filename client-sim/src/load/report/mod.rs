//! What came out: a row for each job, printed as a table, written as JSON and as a page.

mod html;
mod job;
mod svg;
mod table;

pub(super) use job::{JobReport, Plot, Report, Target};
pub(super) use table::{print, thousands};

use std::path::Path;

use super::trouble::Trouble;

/// Writes the report, and a page beside it with the ending `.html`.
///
/// # Errors
/// [`Trouble`] naming the file.
pub(super) fn write(report: &Report, file: &Path) -> Result<(), Trouble> {
    let json = serde_json::to_string_pretty(report)?;
    std::fs::write(file, json + "\n").map_err(|error| Trouble::file(file, &error))?;
    let page = file.with_extension("html");
    std::fs::write(&page, html::page(report)).map_err(|error| Trouble::file(&page, &error))
}
