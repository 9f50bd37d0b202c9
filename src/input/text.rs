//! Text lists: one URL per line.

use std::io::{self, Read};

use super::{Ended, Rows};
use crate::error::RunError;

/// One read asks for so much.
const BLOCK: usize = 64 * 1024;

/// Of a longer line only the beginning is kept: enough to see that it is too long for a URL.
const LONGEST_LINE: usize = 2 * super::LONGEST_URL;

/// Reads lines until the end, and hands the rows over as often as there is nothing more to read at once.
pub fn read(mut from: impl Read, name: &str, rows: &mut Rows) -> Result<(), Ended> {
    let mut block = vec![0; BLOCK];
    let mut line = Vec::new();
    let mut number = 0;
    let mut first = true;
    loop {
        let length = match from.read(&mut block) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Ended::Failed(RunError::List { name: name.to_owned(), source })),
        };
        if length == 0 {
            number += 1;
            take(&line, name, number, rows);
            return rows.send();
        }
        let mut rest = &block[..length];
        if first {
            refuse_binary(rest, name)?;
            // A byte-order mark comes whole or the first read was shorter than three bytes, which no pipe does.
            rest = rest.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(rest);
            first = false;
        }
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            number += 1;
            if line.is_empty() {
                take(&rest[..end], name, number, rows);
            } else {
                extend(&mut line, &rest[..end]);
                take(&line, name, number, rows);
                line.clear();
            }
            rest = &rest[end + 1..];
        }
        extend(&mut line, rest);
        rows.send()?;
    }
}

fn extend(line: &mut Vec<u8>, more: &[u8]) {
    let room = LONGEST_LINE.saturating_sub(line.len());
    line.extend_from_slice(&more[..more.len().min(room)]);
}

fn take(line: &[u8], name: &str, number: u64, rows: &mut Rows) {
    // Unicode white space where the line is text; otherwise the parser will say that it is none.
    let text = std::str::from_utf8(line).map_or_else(|_| line.trim_ascii(), |text| text.trim().as_bytes());
    if !text.is_empty() && text[0] != b'#' {
        rows.push(text, name, Some(number));
    }
}

/// Better one sentence now than a failed row for each line of an archive. A list that begins as text is one, whatever
/// comes later.
fn refuse_binary(head: &[u8], name: &str) -> Result<(), Ended> {
    let first_line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let begins_as_text = std::str::from_utf8(first_line).is_ok() && !first_line.contains(&0);
    let what = if head.starts_with(b"\x1F\x8B") {
        "it is gzip-compressed; pipe it in: gzip -dc LIST | fetchimg"
    } else if head.starts_with(b"\x28\xB5\x2F\xFD") {
        "it is zstd-compressed; pipe it in: zstd -dc LIST | fetchimg"
    } else if head.starts_with(b"\xFF\xFE") || head.starts_with(b"\xFE\xFF") {
        "it is written in UTF-16; save it as UTF-8"
    } else if head.starts_with(b"PAR1") {
        "it is a Parquet file"
    } else if !begins_as_text && head.contains(&0) {
        "it is binary data; a list is text with one URL per line"
    } else {
        return Ok(());
    };
    Err(Ended::Failed(RunError::NotAList { name: name.to_owned(), what: what.to_owned() }))
}
