//! Names before and after the response: a [`PlannedName`] has placeholders for what only the response tells, a
//! [`FinalName`] has none.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use super::clean::{DIGIT_PLACEHOLDER, EXTENSION_PLACEHOLDER, UNKNOWN_EXTENSION, extension};
use super::template::SHA256_DIGITS;
use crate::record::Format;

/// The name that is reserved for a job. It may have placeholders for the extension and for digits of the body's
/// SHA-256.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedName {
    /// The path, relative to the output folder, with placeholders.
    pub(super) pattern: String,
    /// For each placeholder of a digit, in order: the position of the digit in the SHA-256.
    pub(super) digits: Option<Arc<[u8]>>,
    /// The file name has all digits of the SHA-256.
    pub(super) is_content_addressed: bool,
    /// The URL has no file name, so the response may give one.
    pub(super) awaits_server_name: bool,
    /// An earlier run gave this name, so it does not change with the format of the body: with another extension it
    /// might be the name of another row.
    pub(super) is_fixed: bool,
}

/// A name as far as it is known before the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePreview {
    /// The path relative to the output folder. Template fields stand for what is unknown.
    pub path: String,
    /// What the response will tell: `name`, `ext`, `sha256`.
    pub awaits: Vec<&'static str>,
}

/// A name without placeholders.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalName {
    /// The path relative to the output folder, with `/` between folders.
    pub path: String,
    /// Whether the extension stands for another format than that of the bytes.
    pub mismatch: bool,
}

impl PlannedName {
    /// The name, if it is known before the response.
    #[must_use]
    pub fn known(&self) -> Option<&str> {
        (!self.pattern.contains([EXTENSION_PLACEHOLDER, DIGIT_PLACEHOLDER]) && !self.awaits_server_name)
            .then_some(&*self.pattern)
    }

    /// The name as far as it is known before the response, for a dry run.
    #[must_use]
    pub fn preview(&self) -> NamePreview {
        let mut path = String::with_capacity(self.pattern.len());
        let mut digits =
            self.digits.iter().flat_map(|digits| digits.iter()).map(|digit| usize::from(*digit)).peekable();
        let mut characters = self.pattern.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                EXTENSION_PLACEHOLDER => path.push_str("{ext}"),
                DIGIT_PLACEHOLDER => {
                    let start = digits.next().unwrap_or_default();
                    let mut end = start + 1;
                    while characters.peek() == Some(&DIGIT_PLACEHOLDER) && digits.next_if_eq(&end).is_some() {
                        characters.next();
                        end += 1;
                    }
                    // Writing to a String cannot fail.
                    let _ = match (start, end) {
                        (0, SHA256_DIGITS) => path.write_str("{sha256}"),
                        _ => write!(path, "{{sha256:{start}:{end}}}"),
                    };
                }
                other => path.push(other),
            }
        }
        let open = [
            ("name", self.awaits_server_name),
            ("ext", self.pattern.contains(EXTENSION_PLACEHOLDER)),
            ("sha256", self.pattern.contains(DIGIT_PLACEHOLDER)),
        ];
        NamePreview { path, awaits: open.into_iter().filter_map(|(what, is_open)| is_open.then_some(what)).collect() }
    }

    /// Whether the `Content-Disposition` of the response may name the file.
    #[must_use]
    pub const fn awaits_server_name(&self) -> bool {
        self.awaits_server_name
    }

    /// Whether the name is determined by the content, because it has all 64 digits of its SHA-256.
    ///
    /// Such a name is not reserved: rows with the same content may get the same name. A file with that name has this
    /// content, unless it has been changed or was not written by fetchimg.
    #[must_use]
    pub const fn is_content_addressed(&self) -> bool {
        self.is_content_addressed
    }

    /// The name, once the body is complete. `sha256`: its digest in 64 hexadecimal digits, if the template needs it
    /// ([`super::Template::wants_sha256`]). `fix_extension`: the extension becomes that of `format`.
    ///
    /// # Panics
    /// When the name needs digits of the digest, and none is given: any others would make a wrong name.
    #[must_use]
    pub fn finish(&self, format: Option<Format>, fix_extension: bool, sha256: Option<&str>) -> FinalName {
        let pattern = self.with_digits(sha256.unwrap_or_default());
        if pattern.contains(EXTENSION_PLACEHOLDER) {
            let path = if let Some(format) = format {
                pattern.replace(EXTENSION_PLACEHOLDER, format.extension())
            } else {
                // A final dot before the placeholder was only added for the extension, so it is removed. What is before
                // it must not become an extension, because it was not reserved as one.
                let is_image = |stem: &&str| extension(stem).and_then(Format::from_extension).is_some();
                let bare = pattern.strip_suffix(".\0").filter(|stem| !is_image(stem));
                bare.unwrap_or(&pattern).replace(EXTENSION_PLACEHOLDER, UNKNOWN_EXTENSION)
            };
            return FinalName { path, mismatch: false };
        }
        let promised = extension(&pattern).and_then(Format::from_extension);
        let mismatch = promised.is_some() && format.is_some() && promised != format;
        match (mismatch && fix_extension && !self.is_fixed, format, pattern.rsplit_once('.')) {
            (true, Some(format), Some((stem, _))) => {
                FinalName { path: format!("{stem}.{}", format.extension()), mismatch: false }
            }
            _ => FinalName { path: pattern.into_owned(), mismatch },
        }
    }

    /// The pattern with the digits of `sha256` in their places.
    fn with_digits(&self, sha256: &str) -> Cow<'_, str> {
        if !self.pattern.contains(DIGIT_PLACEHOLDER) {
            return Cow::Borrowed(&self.pattern);
        }
        let mut digits = self.digits.iter().flat_map(|digits| digits.iter());
        let mut digit = || sha256.as_bytes().get(usize::from(*digits.next()?)).copied();
        let filled = self.pattern.chars().map(|character| match character {
            DIGIT_PLACEHOLDER => {
                digit().map_or_else(|| unreachable!("the digest that the template wants is made"), char::from)
            }
            other => other,
        });
        Cow::Owned(filled.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{job, namer};

    #[test]
    fn unknown_parts_of_a_name_are_shown_as_fields() {
        for (template, url, path, awaits) in [
            ("{basename}", "x.png", "x.png", &[][..]),
            ("{basename}", "x", "x.{ext}", &["ext"]),
            ("{basename}", "", "image.{ext}", &["name", "ext"]),
            ("{sha256}", "x.png", "{sha256}.{ext}", &["ext", "sha256"]),
            ("{sha256:0:2}/{basename}", "x.png", "{sha256:0:2}/x.png", &["sha256"]),
            (
                "{sha256:2:4}{sha256:0:2}/{sha256:4:8}.{ext}",
                "x",
                "{sha256:2:4}{sha256:0:2}/{sha256:4:8}.{ext}",
                &["ext", "sha256"],
            ),
            ("{sha256:0:1}{sha256:1:3}/{index}.{ext}", "x.gif", "{sha256:0:3}/7.gif", &["sha256"]),
        ] {
            let planned = namer(template).reserve(&job(7, &format!("https://a.example/{url}")));
            let preview = planned.preview();
            assert_eq!((preview.path.as_str(), &*preview.awaits), (path, awaits), "{template} {url}");
            assert_eq!(planned.known().is_some(), awaits.is_empty(), "{template} {url}");
        }
    }
}
