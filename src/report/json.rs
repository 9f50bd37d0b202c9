//! The report as JSON.

use std::io::{self, Write};

use super::Report;
use crate::util::redact;

/// Writes the report as one indented JSON object and a line feed.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    out.write_all(&redact::json(report, true)?)?;
    out.write_all(b"\n")
}
