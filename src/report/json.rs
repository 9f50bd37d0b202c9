//! The report as JSON.

use std::io::{self, Write};

use super::Report;

/// Writes the report as one indented JSON object and a line feed.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report)?;
    out.write_all(b"\n")
}
