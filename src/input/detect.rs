//! Detects the format of a list by its first bytes, and refuses what is not a list.

use super::rows::begins_as_url;
use super::trim::{trim, trim_start};
use super::{ListFormat, Options, csv};

/// The number of bytes of a list that decide its format, unless its first line does. Blank lines do not count.
const MAX_HEAD_BYTES: usize = 4096;

/// The number of bytes that blank lines at the beginning may have.
const MAX_BLANK_BYTES: usize = 64 * 1024;

/// The first and the last bytes of a Parquet file.
pub const PARQUET_MAGIC: &[u8] = b"PAR1";

/// Signatures of files that are not lists as they are, and what the user can do about it.
const REFUSED_SIGNATURES: [(&[u8], &str); 11] = [
    (b"\x1F\x8B", "it is compressed twice; decompress it once"),
    (b"\x28\xB5\x2F\xFD", "it is compressed twice; decompress it once"),
    (b"\xFF\xFE", UTF_16),
    (b"\xFE\xFF", UTF_16),
    (PARQUET_MAGIC, "it is a Parquet file; read it with --input-format parquet"),
    (b"PARE", "it is an encrypted Parquet file"),
    (b"PK\x03\x04", "it is a zip archive, as spreadsheets are too; unpack it, or save it as CSV"),
    (b"7z\xBC\xAF\x27\x1C", "it is a 7z archive; unpack it"),
    (b"\xFD7zXZ\0", "it is xz-compressed; pipe it in: xz -dc LIST | fetchimg"),
    (b"BZh91AY&SY", "it is bzip2-compressed; pipe it in: bzip2 -dc LIST | fetchimg"),
    (b"\x04\x22\x4D\x18", "it is lz4-compressed; pipe it in: lz4 -dc LIST | fetchimg"),
];

/// What is said of text in UTF-16.
const UTF_16: &str = "it is written in UTF-16; read it with --input-encoding utf-16";

/// Whether these first bytes decide the format, whatever follows: if there are enough of them, or if the first line that
/// is not blank is complete and is text.
pub fn is_conclusive(head: &[u8]) -> bool {
    let text = beginning(head);
    if head.len() >= MAX_BLANK_BYTES || text.len() >= MAX_HEAD_BYTES {
        return true;
    }
    let line = first_line(text);
    // What an array holds, which may begin on a later line, tells how to make a list of it.
    let is_bracket = trim(line) == b"[" && trim_start(&text[line.len()..]).is_empty();
    line.len() < text.len() && is_text(line) && !is_bracket
}

/// Why the bytes are no list of the given format, for the user. One message at once is better than a failed row for
/// each line of an archive.
pub fn refusal(head: &[u8], format: ListFormat) -> Option<&'static str> {
    let text = beginning(head);
    let head = &head[..head.len().min(MAX_HEAD_BYTES)];
    if format == ListFormat::Parquet {
        let is_other = !head.starts_with(PARQUET_MAGIC);
        let known = REFUSED_SIGNATURES.iter().find(|(signature, _)| is_other && head.starts_with(signature));
        return known.map(|(_, what)| *what).or(is_other.then_some("it does not begin as a Parquet file does (PAR1)"));
    }
    if let Some((_, what)) = REFUSED_SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
        return Some(what);
    }
    let line = first_line(text);
    match (trim(line), text.strip_prefix(b"[").map(trim_start)) {
        (_, Some(array)) if array.starts_with(b"\"") => {
            return Some("it is a JSON array; put each URL on a line of its own: jq -r '.[]' LIST | fetchimg");
        }
        (b"[", _) => return Some(JSON_ARRAY),
        (_, Some(array)) if array.starts_with(b"{") => return Some(JSON_ARRAY),
        (b"{", _) => {
            return Some("it is JSON of several lines; put each object on a line of its own: jq -c . LIST | fetchimg");
        }
        _ => {}
    }
    if is_text(line) || !text.contains(&0) || is_text_with_nul(line) {
        return None;
    }
    if let Some(what) = utf_16_without_mark(text) {
        return Some(what);
    }
    // The magic of a tar header (POSIX.1, ustar interchange format) is at offset 257.
    let is_tar = head.get(257..262) == Some(b"ustar");
    Some(if is_tar { "it is a tar archive; unpack it" } else { "it is binary data; a list is text, or a Parquet file" })
}

/// What is said of an array of objects.
const JSON_ARRAY: &str = "it is a JSON array; put each object on a line of its own: jq -c '.[]' LIST | fetchimg";

/// The format of a list whose name does not tell it and for which the user has named none.
pub fn detect_format(head: &[u8], options: &Options) -> ListFormat {
    if head.starts_with(PARQUET_MAGIC) {
        return ListFormat::Parquet;
    }
    let text = beginning(head);
    if text.starts_with(b"{") {
        return ListFormat::Jsonl;
    }
    // A header of several lines, or one that is not complete here, cannot be told from text.
    let is_header = |delimiter| {
        let names = csv::fields(first_line(text), delimiter);
        // A URL may hold commas, and any word between two of them; but no column name is a URL.
        let is_url = names.first().is_some_and(|name| begins_as_url(name));
        // A column whose name differs in its case is not the one that is asked for, but no list of URLs begins so: it is
        // refused with the names that it has.
        let is_asked_for = |name: &Vec<u8>| trim(name).eq_ignore_ascii_case(options.url_column.as_bytes());
        names.len() > 1 && !is_url && names.iter().any(is_asked_for)
    };
    match () {
        () if is_http_data(head) => ListFormat::Tsv,
        () if csv::stated_delimiter(first_line(text)).is_some() => ListFormat::Csv,
        () if is_header(csv::COMMA) => ListFormat::Csv,
        () if is_header(csv::TAB) => ListFormat::Tsv,
        () if is_header(csv::SEMICOLON) || is_header(csv::BAR) => ListFormat::Csv,
        () if options.delimiter.is_some_and(is_header) => ListFormat::Csv,
        () => ListFormat::Text,
    }
}

/// Whether the list begins as one for Google's Storage Transfer Service does. Such a list is TSV, whatever its name says:
/// people name it `urls.txt`.
pub fn is_http_data(head: &[u8]) -> bool {
    trim(first_line(beginning(head))) == csv::HTTP_DATA
}

/// What decides the format of text, as far as it has been read: its beginning, without blank lines.
fn beginning(head: &[u8]) -> &[u8] {
    let text = trim_start(&head[..head.len().min(MAX_BLANK_BYTES)]);
    &text[..text.len().min(MAX_HEAD_BYTES)]
}

/// The first line, as far as it has been read.
fn first_line(text: &[u8]) -> &[u8] {
    text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default()
}

/// Whether the bytes are text, which may be cut within a character.
fn is_text(bytes: &[u8]) -> bool {
    let is_utf8 = std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    is_utf8 && !bytes.contains(&0)
}

/// What is said of text in UTF-16 without a byte-order mark: of its first characters, which are ASCII in any list, every
/// other byte is 0.
fn utf_16_without_mark(text: &[u8]) -> Option<&'static str> {
    let (pairs, _) = text.first_chunk::<8>()?.as_chunks::<2>();
    let is_ascii = |byte: &u8| matches!(byte, b' '..=b'~');
    if pairs.iter().all(|[low, high]| is_ascii(low) && *high == 0) {
        return Some("it is written in UTF-16; read it with --input-encoding utf-16le");
    }
    let is_big_endian = pairs.iter().all(|[high, low]| *high == 0 && is_ascii(low));
    is_big_endian.then_some("it is written in UTF-16; read it with --input-encoding utf-16be")
}

/// Whether the bytes are text but for a few NULs, as a disk that was full or a program that counts wrong leaves them.
fn is_text_with_nul(bytes: &[u8]) -> bool {
    let nuls = memchr::memchr_iter(0, bytes).count();
    let is_control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\0' | b'\t');
    nuls * 8 <= bytes.len() && std::str::from_utf8(bytes).is_ok() && !bytes.iter().any(is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_format() {
        let table: [(&[u8], ListFormat); 21] = [
            (b"", ListFormat::Text),
            (b"http://a.example/1.png\n", ListFormat::Text),
            (b"PAR1\x15\x04", ListFormat::Parquet),
            (b"{\"url\":\"http://a.example/1.png\"}\n", ListFormat::Jsonl),
            (b"\xEF\xBB\xBF\n  {\"url\"", ListFormat::Jsonl),
            (b"url,caption\n", ListFormat::Csv),
            (b"\xEF\xBB\xBFcaption,\"url\"\r\nx", ListFormat::Csv),
            (b"caption\turl", ListFormat::Tsv),
            (b"\n \r\n\xEF\xBB\xBF url,caption\n", ListFormat::Csv),
            (b"\xC2\xA0\n\ncaption\turl\n", ListFormat::Tsv),
            (b"\n\n\n{\"url\":\"http://a.example/1.png\"}\n", ListFormat::Jsonl),
            (b"url,caption\rhttp://a.example/1.png,", ListFormat::Csv),
            (b"id, url\n", ListFormat::Csv),
            (b"\n\nhttp://a.example/1.png\nurl,caption\n", ListFormat::Text),
            // A single column is a text list with an invalid first line.
            (b"url\nhttp://a.example/1.png\n", ListFormat::Text),
            // Refused later, with the names of the columns.
            (b"Url,caption\n", ListFormat::Csv),
            (b"url ,caption\n", ListFormat::Csv),
            (b"http://a.example/url,1\n", ListFormat::Text),
            (b"https://a.example/fetch,url,w_300/1.png\n", ListFormat::Text),
            (b"a;url\n", ListFormat::Csv),
            (b"[\"http://a.example/1.png\"]\n", ListFormat::Text),
        ];
        for (head, format) in table {
            assert_eq!(detect_format(head, &Options::default()), format, "{}", head.escape_ascii());
        }
        let options = Options { url_column: "image".to_owned(), ..Options::default() };
        assert_eq!(detect_format(b"image,url\n", &options), ListFormat::Csv);
        assert_eq!(detect_format(b"link,url\n", &options), ListFormat::Text);
    }

    #[test]
    fn what_is_no_list_is_refused_with_a_hint() {
        let tar = [&b"list.txt"[..], &[0; 249], b"ustar\0", &[0; 250]].concat();
        let table: [(&[u8], &str); 25] = [
            (b"\xEF\xBB\xBF[\n  {\"url\"", "jq -c '.[]'"),
            (b"[", "jq -c '.[]'"),
            (b"\n[\r\n", "jq -c '.[]'"),
            (b"[{\"url\":1}]", "jq -c '.[]'"),
            (b" [ \n\n  \"http://a.example/1.png\",\n", "jq -r '.[]'"),
            (b"[\"http://a.example/1.png\"]", "jq -r '.[]'"),
            (b"[\"http", "jq -r '.[]'"),
            (b"{\n  \"url\": ", "jq -c . "),
            (b"\n \n{ \r\n", "jq -c . "),
            (b"\x1f\x8b\x08\0\0\0\0\0", "compressed twice"),
            (b"\x28\xb5\x2f\xfd\0", "compressed twice"),
            (b"\xff\xfeh\0t\0t\0p\0", "UTF-16"),
            (b"\xfe\xff\0h\0t\0t\0p", "UTF-16"),
            (b"h\0t\0t\0p\0s\0", "utf-16le"),
            (b"\0u\0r\0l\0,\0a", "utf-16be"),
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
            for format in [ListFormat::Text, ListFormat::Csv, ListFormat::Tsv, ListFormat::Jsonl] {
                let refusal = refusal(head, format).unwrap_or_else(|| panic!("{hint}"));
                assert!(refusal.contains(hint), "{refusal}");
            }
            assert_eq!(refusal(head, ListFormat::Parquet).is_none(), head.starts_with(PARQUET_MAGIC), "{hint}");
        }
        assert_eq!(refusal(b"url,caption\n\0", ListFormat::Csv), None);
        assert_eq!(refusal(b"", ListFormat::Text), None);
        for text in [&b"http://a.example/\x001.png\n"[..], b"{\"url\":\"\x00\"}", b"[1]", b"[::1]/1.png"] {
            assert_eq!(refusal(text, ListFormat::Text), None, "{}", text.escape_ascii());
        }
        assert!(refusal(b"", ListFormat::Parquet).is_some_and(|what| what.contains("PAR1")));
    }

    #[test]
    fn the_first_line_that_is_not_blank_decides_once_it_is_whole() {
        let table: [(&[u8], bool); 15] = [
            (b"", false),
            (b"\n", false),
            (b"\r\n \n\xEF\xBB\xBF", false),
            (b"\n\n{\"url\"", false),
            (b"\n\n{\"url\"}\n", true),
            (b"url,caption\r", true),
            (b"url,capt\xC3", false),
            (b"http://a.example/1.png", false),
            (b"http://a.example/1.png\n", true),
            (b"[", false),
            (b"[\n", false),
            (b"[ \r\n \r\n", false),
            (b"[\n {", true),
            (b"[{\n", true),
            (b"\x89PNG\r\n\x1a\n", false),
        ];
        for (head, is) in table {
            assert_eq!(is_conclusive(head), is, "{}", head[..head.len().min(99)].escape_ascii());
        }
        assert!(is_conclusive(&[b'x'; MAX_HEAD_BYTES]) && is_conclusive(&vec![b'\n'; MAX_BLANK_BYTES]));
        assert!(!is_conclusive(&[&[b'\n'; 5000], &b"url,"[..]].concat()));
    }
}
