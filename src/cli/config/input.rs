//! Flags of the group "Input", and the lists themselves.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use super::{UsageError, usage};
use crate::cli::args::{Args, InputFormat};
use crate::input::{self, Source};
use crate::util::store::StoreUrl;

/// The lists to read, in their order; standard input when none is named.
pub fn sources(args: &Args) -> Result<Vec<Source>, UsageError> {
    if args.retry_failed {
        return Ok(vec![Source::FailedOf(super::shards::existing_output(args)?)]);
    }
    if args.input.is_empty() {
        if io::stdin().is_terminal() {
            return usage(format!(
                "there is no list: name one, or pipe one in (--help tells more)\n\n{}",
                Args::usage()
            ));
        }
        return Ok(vec![Source::Stdin]);
    }
    let mut sources = Vec::with_capacity(args.input.len());
    for input in &args.input {
        let text = input.to_str().unwrap_or_default();
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        sources.push(match scheme.as_deref() {
            Some("http" | "https") => Source::Url(text.to_owned()),
            _ if text == "-" => Source::Stdin,
            _ => match StoreUrl::parse(text) {
                Some(url) => stored(text, url, &sources)?,
                None => Source::File(PathBuf::from(input)),
            },
        });
    }
    if sources.iter().filter(|source| **source == Source::Stdin).count() > 1 {
        return usage("standard input can be read once: give - only once");
    }
    Ok(sources)
}

/// A list in an object store. Those below one prefix share its connection.
fn stored(text: &str, url: Result<StoreUrl, String>, others: &[Source]) -> Result<Source, UsageError> {
    let url = url.or_else(|sentence| usage(format!("{text}: {sentence}")))?;
    let Some((mut prefix, name)) = url.split_name() else {
        return usage(format!("{text}: a bucket is no list; name an object, as in {url}/part-*.parquet"));
    };
    if prefix.path().contains(['*', '?']) {
        return usage(format!("{text}: only the last part of the path may be a pattern"));
    }
    let same = others.iter().find_map(|other| match other {
        Source::Stored(other, _) if *other == prefix => Some(other.clone()),
        _ => None,
    });
    prefix = same.unwrap_or(prefix);
    Ok(Source::Stored(prefix, name.to_owned()))
}

/// `--delimiter`.
fn delimiter(text: &str) -> Result<u8, UsageError> {
    match text {
        "comma" | "," => Ok(b','),
        "semicolon" | ";" => Ok(b';'),
        "bar" | "|" => Ok(b'|'),
        "tab" | "\t" | "\\t" => Ok(b'\t'),
        _ => usage(format!("--delimiter {text}: it is comma, semicolon, bar or tab")),
    }
}

/// `--input-encoding`.
fn encoding(name: &str) -> Result<input::TextEncoding, UsageError> {
    name.parse().or_else(|input::UnknownEncoding| {
        usage(format!(
            "--input-encoding {name}: no such encoding is known; it is utf-8, windows-1252, latin1, utf-16, shift_jis, gbk \
             or another one of the WHATWG Encoding Standard; what iconv knows: iconv -f {name} -t UTF-8 LIST | fetchimg"
        ))
    })
}

/// `--end-line`.
fn end_line(args: &Args) -> Result<Option<String>, UsageError> {
    let Some(line) = &args.end_line else { return Ok(None) };
    if line.trim().is_empty() || line.contains(['\r', '\n']) {
        return usage(format!("--end-line {line:?}: it is one line that is not blank, such as \"end of list\""));
    }
    if !sources(args)?.contains(&Source::Stdin) {
        return usage("--end-line is for a list from standard input, and there is none: name it with -");
    }
    Ok(Some(line.clone()))
}

/// `--input-format`, `--delimiter`, `--input-encoding`, `--end-line`, `--url-column`, `--checksum-column`, `--file-urls` and
/// `--store-urls`.
pub fn input_options(args: &Args) -> Result<input::Options, UsageError> {
    let format = match args.input_format {
        InputFormat::Auto => None,
        InputFormat::Text => Some(input::ListFormat::Text),
        InputFormat::Csv => Some(input::ListFormat::Csv),
        InputFormat::Tsv => Some(input::ListFormat::Tsv),
        InputFormat::Jsonl => Some(input::ListFormat::Jsonl),
        InputFormat::Parquet => Some(input::ListFormat::Parquet),
    };
    let (url_column, checksum_column) = (args.url_column.clone(), args.checksum_column.clone());
    if checksum_column.is_some() && format == Some(input::ListFormat::Text) {
        return usage(
            "--checksum-column needs a list with columns, and a text list has none; leave out one of the two",
        );
    }
    if checksum_column.as_ref() == Some(&url_column) {
        return usage(format!(
            "--checksum-column {url_column}: the URL is in that column; name the one with the digests"
        ));
    }
    let delimiter = args.delimiter.as_deref().map(delimiter).transpose()?;
    let encoding = encoding(&args.input_encoding)?;
    let (file_urls, store_urls) = (args.file_urls, args.store_urls);
    Ok(input::Options {
        format,
        url_column,
        checksum_column,
        delimiter,
        encoding,
        end_line: end_line(args)?,
        file_urls,
        store_urls,
        ..input::Options::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::tests::{assert_refused, config};

    #[test]
    fn invalid_values_are_refused_with_a_hint() {
        assert_refused(&[
            ("- -", "only once"),
            ("list --checksum-column url", "the one with the digests"),
            ("list --url-column md5 --checksum-column md5", "the one with the digests"),
            ("list --input-format text --checksum-column md5", "needs a list with columns"),
            ("s3://bucket/", "a bucket is no list"),
            ("s3://b/*/list.csv", "only the last part"),
            ("s3://key@b/list.csv", "credentials and endpoints are not part of the URL"),
            ("list --delimiter :", "comma, semicolon, bar or tab"),
            ("list --delimiter ;;", "comma, semicolon, bar or tab"),
            ("list --input-encoding utf-32", "WHATWG Encoding Standard"),
            ("list --end-line end", "for a list from standard input"),
            ("- --end-line=", "one line that is not blank"),
        ]);
    }

    #[test]
    fn inputs_are_files_urls_or_standard_input() {
        let config = config("a.txt - HTTPS://a.example/x.png ftp://b").expect("a config");
        let url = Source::Url("HTTPS://a.example/x.png".into());
        assert_eq!(
            config.run.sources,
            [Source::File("a.txt".into()), Source::Stdin, url, Source::File("ftp://b".into())]
        );
    }
}
