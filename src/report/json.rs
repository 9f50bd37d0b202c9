//! The report as JSON.

use std::io::{self, Write};

use super::Report;
use crate::shown;

/// Writes the report as one indented JSON object and a line feed.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    out.write_all(&shown::json(report, true)?)?;
    out.write_all(b"\n")
}
