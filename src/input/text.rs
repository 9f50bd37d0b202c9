//! Text lists: one URL per line.

use std::io::{self, Read};

use super::{Ended, Rows};
use crate::error::RunError;

/// One read asks for so much.
const BLOCK: usize = 64 * 1024;

/// Of a longer line only the beginning is kept: enough to see that it is too long for a URL.
const LONGEST_LINE: usize = 2 * super::LONGEST_URL;

/// So much of a list decides whether it is one, unless its first line does.
const HEAD: usize = 4096;

/// Reads lines until the end, and hands the rows over as often as there is nothing more to read at once.
pub fn read(mut from: impl Read, name: &str, rows: &mut Rows) -> Result<(), Ended> {
    let mut block = vec![0; BLOCK];
    let mut lines = Lines { line: Vec::new(), number: 0, name };
    // What came before it was clear whether this is a list: a pipe may bring its first bytes one by one.
    let mut head = Some(Vec::new());
    loop {
        let length = match from.read(&mut block) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Ended::Failed(RunError::List { name: name.to_owned(), source })),
        };
        let new = &block[..length];
        if let Some(mut begun) = head.take() {
            begun.extend_from_slice(new);
            if length > 0 && !is_decisive(&begun) {
                head = Some(begun);
                continue;
            }
            refuse_binary(&begun[..begun.len().min(HEAD)], name)?;
            lines.take(begun.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&begun), rows);
        } else {
            lines.take(new, rows);
        }
        if length == 0 {
            lines.end(rows);
            return rows.send();
        }
        rows.send()?;
    }
}

/// Takes bytes, gives lines.
struct Lines<'a> {
    /// What has come of the line under way.
    line: Vec<u8>,
    /// The number of the last whole line, from 1.
    number: u64,
    name: &'a str,
}

impl Lines<'_> {
    fn take(&mut self, mut bytes: &[u8], rows: &mut Rows) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.number += 1;
            if self.line.is_empty() {
                push(&bytes[..end], self.name, self.number, rows);
            } else {
                extend(&mut self.line, &bytes[..end]);
                push(&self.line, self.name, self.number, rows);
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
        extend(&mut self.line, bytes);
    }

    /// The last line needs no line feed.
    fn end(self, rows: &mut Rows) {
        push(&self.line, self.name, self.number + 1, rows);
    }
}

fn extend(line: &mut Vec<u8>, more: &[u8]) {
    let room = LONGEST_LINE.saturating_sub(line.len());
    line.extend_from_slice(&more[..more.len().min(room)]);
}

fn push(line: &[u8], name: &str, number: u64, rows: &mut Rows) {
    let line = &line[..line.len().min(LONGEST_LINE)];
    // Unicode white space where the line is text; otherwise the parser will say that it is none.
    let text = std::str::from_utf8(line).map_or_else(|_| line.trim_ascii(), |text| text.trim().as_bytes());
    if !text.is_empty() && text[0] != b'#' {
        rows.push(text, name, Some(number));
    }
}

/// The first line, or what there is of it, as far as it decides.
fn first_line(head: &[u8]) -> &[u8] {
    head[..head.len().min(HEAD)].split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Whether the bytes are text so far; a character may be under way.
fn is_text(bytes: &[u8]) -> bool {
    let so_far = std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    so_far && !bytes.contains(&0)
}

/// Whether the beginning tells what this is, whatever comes later: a list that begins with a line of text is one.
fn is_decisive(head: &[u8]) -> bool {
    head.len() >= HEAD || (head.contains(&b'\n') && is_text(first_line(head)))
}

/// Better one sentence now than a failed row for each line of an archive.
fn refuse_binary(head: &[u8], name: &str) -> Result<(), Ended> {
    let begins_as_text = is_text(first_line(head));
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
