//! Explains arguments that are no files, where it can be told what was meant: an address without its scheme, or a URL of
//! another scheme.

use std::io;

use crate::record::RunError;

/// The most characters of an argument that an error repeats; a `data:` URL may have millions.
const MAX_SHOWN_CHARS: usize = 80;

/// The error of an argument that cannot be opened, if it looks like an address; otherwise the error of the system.
pub fn explained(argument: &str, error: io::Error) -> Result<RunError, io::Error> {
    let is_no_file =
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename);
    let Some(what) = meaning(argument).filter(|_| is_no_file) else { return Err(error) };
    let mut name = argument.to_owned();
    if let Some((end, _)) = name.char_indices().nth(MAX_SHOWN_CHARS) {
        name.replace_range(end.., "...");
    }
    Ok(RunError::List { name, source: io::Error::new(error.kind(), what) })
}

/// What an argument seems to be that is no file.
fn meaning(argument: &str) -> Option<String> {
    if let Some((scheme, rest)) = argument.split_once(':')
        && is_scheme(scheme)
    {
        match (&*scheme.to_ascii_lowercase(), rest.strip_prefix("//")) {
            ("data", _) => {
                return Some("a data: URL holds the image itself; put it into a list, on a line of its own".to_owned());
            }
            ("file", Some(path)) => {
                return Some(format!("there is no such file; name a list by its path, as in {path}"));
            }
            ("http" | "https", _) => return Some(format!("it is no URL; write {scheme}://HOST/PATH")),
            (_, Some(_)) => {
                return Some(format!(
                    "there is no such file, and {scheme}: URLs are not fetched; fetchimg fetches http: and https: URLs"
                ));
            }
            _ => {}
        }
    }
    looks_like_host(argument)
        .then(|| format!("there is no such file; if it is the URL of an image, write https://{argument}"))
}

/// Whether a text is the scheme of a URL (RFC 3986, section 3.1). One letter alone is a drive of another system.
fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() > 1
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Whether an argument begins with the name of a host, perhaps with a port: labels with a dot between them, and a path
/// behind. `images.txt` alone is rather the name of a file.
fn looks_like_host(argument: &str) -> bool {
    let (authority, path) = argument.split_once('/').map_or((argument, None), |(host, path)| (host, Some(path)));
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) => return false,
        None => authority,
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|letter| letter.is_alphanumeric() || letter == '-')
    };
    let labels = host.split('.').collect::<Vec<_>>();
    let is_address = host.parse::<std::net::Ipv4Addr>().is_ok();
    let has_top_level = labels.last().is_some_and(|last| last.len() > 1 && last.chars().all(char::is_alphabetic));
    let is_name = labels.len() > 1 && labels.iter().all(|label| is_label(label)) && has_top_level;
    (is_name || is_address || host == "localhost")
        && (path.is_some_and(|path| !path.is_empty()) || host.starts_with("www."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_names_of_files() {
        for (argument, part) in [
            ("example.com/a.png", Some("write https://example.com/a.png")),
            ("images.example.org:8080/x/y.jpg?w=1", Some("write https://images.example.org:8080/x/y.jpg?w=1")),
            ("www.example.com", Some("write https://www.example.com")),
            ("127.0.0.1:8000/a.png", Some("write https://")),
            ("localhost:8000/a.png", Some("write https://")),
            ("ftp://a.example/list", Some("ftp: URLs are not fetched")),
            ("S3://bucket/list", Some("S3: URLs are not fetched")),
            ("file:///home/ann/list.txt", Some("as in /home/ann/list.txt")),
            ("data:image/png;base64,AAAA", Some("holds the image itself")),
            ("https:/a.example/a.png", Some("write https://HOST/PATH")),
            ("urls.txt", None),
            ("lists/urls.txt", None),
            ("./example.com/a.png", None),
            ("../a.txt", None),
            ("/data/a.b/c.txt", None),
            ("list", None),
            ("C:\\lists\\urls.txt", None),
            ("12:30.txt", None),
            ("", None),
        ] {
            let meaning = meaning(argument);
            let is_as_expected = match (&meaning, part) {
                (Some(meaning), Some(part)) => meaning.contains(part),
                (None, None) => true,
                _ => false,
            };
            assert!(is_as_expected, "{argument}: {meaning:?}");
        }
    }

    #[test]
    fn a_long_argument_is_not_repeated_whole() {
        let argument = format!("data:image/png;base64,{}", "A".repeat(10_000));
        let error = explained(&argument, io::ErrorKind::InvalidFilename.into()).expect("it is explained");
        assert!(error.to_string().len() < 250, "{error}");
        let forbidden = explained("example.com/list.txt", io::ErrorKind::PermissionDenied.into());
        assert!(forbidden.is_err(), "it is there");
    }
}
