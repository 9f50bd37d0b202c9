//! What the first bytes of a list tell: what it is, or that it is none.

use super::{Format, Options, csv};

/// So much of a list decides what it is, unless its first line does.
const HEAD: usize = 4096;

/// The mark that some editors put before text in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How a Parquet file begins and ends.
pub const PARQUET: &[u8] = b"PAR1";

/// What is no list as it stands, by its first bytes, and what to do about it.
const REFUSED: [(&[u8], &str); 11] = [
    (b"\x1F\x8B", "it is compressed twice; unpack it once"),
    (b"\x28\xB5\x2F\xFD", "it is compressed twice; unpack it once"),
    (b"\xFF\xFE", "it is written in UTF-16; save it as UTF-8"),
    (b"\xFE\xFF", "it is written in UTF-16; save it as UTF-8"),
    (PARQUET, "it is a Parquet file; read it with --input-format parquet"),
    (b"PARE", "it is an encrypted Parquet file"),
    (b"PK\x03\x04", "it is a zip archive, as spreadsheets are too; unpack it, or save it as CSV"),
    (b"7z\xBC\xAF\x27\x1C", "it is a 7z archive; unpack it"),
    (b"\xFD7zXZ\0", "it is xz-compressed; pipe it in: xz -dc LIST | fetchimg"),
    (b"BZh91AY&SY", "it is bzip2-compressed; pipe it in: bzip2 -dc LIST | fetchimg"),
    (b"\x04\x22\x4D\x18", "it is lz4-compressed; pipe it in: lz4 -dc LIST | fetchimg"),
];

/// Whether the beginning tells what this is, whatever comes later: a list that begins with a line of text is one.
pub fn is_decisive(head: &[u8]) -> bool {
    head.len() >= HEAD || (head.contains(&b'\n') && is_text(first_line(head)))
}

/// Why this is no list of the format. Better one sentence now than a failed row for each line of an archive.
pub fn refusal(head: &[u8], format: Format) -> Option<&'static str> {
    let head = &head[..head.len().min(HEAD)];
    if format == Format::Parquet {
        let is_other = !head.starts_with(PARQUET);
        let known = REFUSED.iter().find(|(signature, _)| is_other && head.starts_with(signature));
        return known.map(|(_, what)| *what).or(is_other.then_some("it does not begin as a Parquet file does (PAR1)"));
    }
    if let Some((_, what)) = REFUSED.iter().find(|(signature, _)| head.starts_with(signature)) {
        return Some(what);
    }
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
    if text.strip_prefix(b"[").is_some_and(|array| array.trim_ascii_start().starts_with(b"{")) {
        return Some("it is a JSON array; put each object on a line of its own: jq -c '.[]' LIST | fetchimg");
    }
    if is_text(first_line(head)) || !head.contains(&0) {
        return None;
    }
    // POSIX.1, the format of ustar: so stands there in every header.
    let is_tar = head.get(257..262) == Some(b"ustar");
    Some(if is_tar { "it is a tar archive; unpack it" } else { "it is binary data; a list is text, or a Parquet file" })
}

/// The format of a list that nobody has named.
pub fn recognise(head: &[u8], options: &Options) -> Format {
    if head.starts_with(PARQUET) {
        return Format::Parquet;
    }
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
    if text.trim_ascii_start().starts_with(b"{") {
        return Format::Jsonl;
    }
    // A header that is not one line, or not all here, is none that can be told from a line of text.
    let is_header = |delimiter| {
        let names = csv::fields(first_line(text), delimiter);
        // A URL may hold commas, and any word between two of them; but no column is called after a URL.
        let is_url = names.first().is_some_and(|name| name.starts_with(b"http://") || name.starts_with(b"https://"));
        names.len() > 1 && !is_url && names.iter().any(|name| name == options.url_column.as_bytes())
    };
    match () {
        () if is_header(csv::COMMA) => Format::Csv,
        () if is_header(csv::TAB) => Format::Tsv,
        () => Format::Text,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_tells_the_format() {
        let table: [(&[u8], Format); 15] = [
            (b"", Format::Text),
            (b"http://a.example/1.png\n", Format::Text),
            (b"PAR1\x15\x04", Format::Parquet),
            (b"{\"url\":\"http://a.example/1.png\"}\n", Format::Jsonl),
            (b"\xEF\xBB\xBF\n  {\"url\"", Format::Jsonl),
            (b"url,caption\n", Format::Csv),
            (b"\xEF\xBB\xBFcaption,\"url\"\r\nx", Format::Csv),
            (b"caption\turl", Format::Tsv),
            // One column is a text list with a bad line, as it always was; and a name is a name as a whole.
            (b"url\nhttp://a.example/1.png\n", Format::Text),
            (b"Url,caption\n", Format::Text),
            (b"url ,caption\n", Format::Text),
            (b"http://a.example/url,1\n", Format::Text),
            (b"https://a.example/fetch,url,w_300/1.png\n", Format::Text),
            (b"a;url\n", Format::Text),
            (b"[\"http://a.example/1.png\"]\n", Format::Text),
        ];
        for (head, format) in table {
            assert_eq!(recognise(head, &Options::default()), format, "{}", head.escape_ascii());
        }
        let options = Options { url_column: "image".to_owned(), ..Options::default() };
        assert_eq!(recognise(b"image,url\n", &options), Format::Csv);
        assert_eq!(recognise(b"link,url\n", &options), Format::Text);
    }

    #[test]
    fn what_is_no_list_is_refused_with_a_hint() {
        let tar = [&b"list.txt"[..], &[0; 249], b"ustar\0", &[0; 250]].concat();
        let table: [(&[u8], &str); 15] = [
            (b"\xEF\xBB\xBF[\n  {\"url\"", "jq -c"),
            (b"\x1f\x8b\x08\0\0\0\0\0", "compressed twice"),
            (b"\x28\xb5\x2f\xfd\0", "compressed twice"),
            (b"\xff\xfeh\0t\0t\0p\0", "UTF-16"),
            (b"\xfe\xff\0h\0t\0t\0p", "UTF-16"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
            (b"\x7fELF\0\0\0\n", "binary"),
            (b"PAR1\x15\x04", "--input-format parquet"),
            (b"PARE\x15\x04", "encrypted"),
            (b"PK\x03\x04\x14\0", "zip archive"),
            (b"7z\xBC\xAF\x27\x1C\0", "7z"),
            (b"\xFD7zXZ\0\0", "xz -dc"),
            (b"BZh91AY&SY", "bzip2 -dc"),
            (b"\x04\x22\x4D\x18", "lz4 -dc"),
            (&tar, "tar archive"),
        ];
        for (head, hint) in table {
            for format in [Format::Text, Format::Csv, Format::Tsv, Format::Jsonl] {
                let refusal = refusal(head, format).unwrap_or_else(|| panic!("{hint}"));
                assert!(refusal.contains(hint), "{refusal}");
            }
            assert_eq!(refusal(head, Format::Parquet).is_none(), head.starts_with(PARQUET), "{hint}");
        }
        assert_eq!(refusal(b"url,caption\n\0", Format::Csv), None);
        assert_eq!(refusal(b"", Format::Text), None);
        assert!(refusal(b"", Format::Parquet).is_some_and(|what| what.contains("PAR1")));
    }
}
