//! Splits a row of a CSV or TSV list into its fields, and follows quotes from line to line.

/// The fields of one row, such as a possible header. None if it goes on in the next line.
pub fn fields(line: &[u8], delimiter: u8) -> Vec<Vec<u8>> {
    let mut fields = CsvFields::default();
    match fields.split(without_end(line), delimiter) {
        None => fields.iter().map(<[u8]>::to_vec).collect(),
        Some(_) => Vec::new(),
    }
}

/// The line without the line feed or the carriage return or both that end it.
pub fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// How a line ends that began within a quoted field.
pub enum Quote {
    /// Within a quoted field, the same or another.
    Open,
    /// Outside of one.
    Closed,
    /// Behind the quote that closes the field there is more of it.
    Misplaced,
}

/// What the quotes of a line say that begins within a quoted field.
pub struct Followed {
    /// How the line ends.
    pub end: Quote,
    /// The number of fields that begin in the line.
    pub fields: usize,
    /// The number of delimiters before the first quote that closes a field: they are text if the field is sound.
    pub quoted_delimiters: usize,
}

/// Follows the quotes of a line that begins within a quoted field.
pub fn follow(line: &[u8], delimiter: u8) -> Followed {
    let quoted = closing_quote(line).map_or(line, |end| &line[..end]);
    let quoted_delimiters = memchr::memchr_iter(delimiter, quoted).count();
    let (mut rest, mut fields) = (line, 0);
    let followed = |end, fields| Followed { end, fields, quoted_delimiters };
    while let Some(end) = closing_quote(rest) {
        rest = &rest[end + 1..];
        let mut next = memchr::memchr(delimiter, rest);
        if fields == 0 && !rest[..next.unwrap_or(rest.len())].trim_ascii().is_empty() {
            return followed(Quote::Misplaced, fields);
        }
        loop {
            let Some(end) = next else { return followed(Quote::Closed, fields) };
            fields += 1;
            rest = &rest[end + 1..];
            if let Some(quoted) = rest.strip_prefix(b"\"") {
                rest = quoted;
                break;
            }
            next = memchr::memchr(delimiter, rest);
        }
    }
    followed(Quote::Open, fields)
}

/// The place of the quote that closes a field, behind the one that opens it.
fn closing_quote(quoted: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let quote = from + memchr::memchr(b'"', &quoted[from..])?;
        if quoted.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        from = quote + 2;
    }
}

/// The fields of the current row. The buffers grow and are reused.
#[derive(Default)]
pub struct CsvFields {
    /// The bytes of the fields, one after the other.
    bytes: Vec<u8>,
    /// The ends of the fields in `bytes`.
    ends: Vec<usize>,
}

impl CsvFields {
    /// Splits a row without its end. Returns the number of the field whose quote is not closed, if there is one; that
    /// quote is read as text.
    pub fn split(&mut self, mut row: &[u8], delimiter: u8) -> Option<usize> {
        self.bytes.clear();
        self.ends.clear();
        let mut open = None;
        loop {
            if let Some(quoted) = row.strip_prefix(b"\"") {
                // Once a quote has turned out to be text, a later one has to be closed in its own field. Otherwise each
                // would be looked for up to the end of the row.
                let all = quoted.len();
                let limit = open.map_or(all, |_| memchr::memchr(delimiter, quoted).unwrap_or(all));
                match closing_quote(&quoted[..limit]) {
                    Some(end) => {
                        self.push_quoted(&quoted[..end]);
                        row = &quoted[end + 1..];
                    }
                    None => open = open.or(Some(self.count())),
                }
            }
            let end = memchr::memchr(delimiter, row);
            self.bytes.extend_from_slice(&row[..end.unwrap_or(row.len())]);
            self.ends.push(self.bytes.len());
            match end {
                Some(end) => row = &row[end + 1..],
                None => return open,
            }
        }
    }

    /// Adds what stands between two quotes, in which a quote is doubled.
    fn push_quoted(&mut self, mut text: &[u8]) {
        while let Some(quote) = memchr::memchr(b'"', text) {
            self.bytes.extend_from_slice(&text[..=quote]);
            text = &text[quote + 2..];
        }
        self.bytes.extend_from_slice(text);
    }

    /// Adds empty fields at the end.
    pub fn fill_up_to(&mut self, count: usize) {
        while self.count() < count {
            self.ends.push(self.bytes.len());
        }
    }

    pub fn count(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, field: usize) -> &[u8] {
        let start = field.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[field]]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.count()).map(|field| self.get(field))
    }
}
