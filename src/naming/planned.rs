//! A name before and after the answer: [`Planned`] has holes for what only the bytes can tell, [`FinalName`] has none.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use super::clean::{DIGIT, HOLE, UNKNOWN, extension};
use super::template::SHA256_DIGITS;
use crate::record::Format;

/// The name reserved for a job: complete, or with holes for the extension and for digits of the body's SHA-256.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub(super) pattern: String,
    /// The digits that its holes are for, in order.
    pub(super) digits: Option<Arc<[u8]>>,
    pub(super) is_addressed_by_content: bool,
    /// The URL has no name of its own, so the server may give one.
    pub(super) asks_server: bool,
    /// An earlier run gave the name: it stays, whatever the bytes are now. Another extension might be somebody's.
    pub(super) stays: bool,
}

/// A name as far as it is known before the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// Relative to the output folder; fields of a template stand for what is not known.
    pub path: String,
    /// What the answer tells: `name`, `ext`, `sha256`.
    pub awaits: Vec<&'static str>,
}

/// A name with everything in it.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalName {
    /// Relative to the output folder, `/` between folders.
    pub path: String,
    /// The extension promises another format than the bytes are.
    pub mismatch: bool,
}

impl Planned {
    /// The name, where it is known before the answer.
    #[must_use]
    pub fn known(&self) -> Option<&str> {
        (!self.pattern.contains([HOLE, DIGIT]) && !self.asks_server).then_some(&*self.pattern)
    }

    /// The name as far as it is known before the answer.
    #[must_use]
    pub fn foreseen(&self) -> Foreseen {
        let mut path = String::with_capacity(self.pattern.len());
        let mut digits =
            self.digits.iter().flat_map(|digits| digits.iter()).map(|digit| usize::from(*digit)).peekable();
        let mut characters = self.pattern.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                HOLE => path.push_str("{ext}"),
                DIGIT => {
                    let start = digits.next().unwrap_or_default();
                    let mut end = start + 1;
                    while characters.peek() == Some(&DIGIT) && digits.next_if_eq(&end).is_some() {
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
            ("name", self.asks_server),
            ("ext", self.pattern.contains(HOLE)),
            ("sha256", self.pattern.contains(DIGIT)),
        ];
        Foreseen { path, awaits: open.into_iter().filter_map(|(what, is_open)| is_open.then_some(what)).collect() }
    }

    /// Whether a `Content-Disposition` of the answer may name the file.
    #[must_use]
    pub const fn asks_server(&self) -> bool {
        self.asks_server
    }

    /// Whether the name says which content the file has, by all 64 digits of its SHA-256.
    ///
    /// Such a name is not kept from other rows: those with the same content may come to the same name. When there is a
    /// file of that name, it has this content, unless it was changed since or somebody else gave it the name.
    #[must_use]
    pub const fn is_addressed_by_content(&self) -> bool {
        self.is_addressed_by_content
    }

    /// The name, now that the body is complete. `sha256`: its digest in 64 digits, if the template wants it
    /// ([`super::Template::wants_sha256`]).
    ///
    /// # Panics
    /// When the name holds digits of the digest, and none is given: any others would make it a wrong name.
    #[must_use]
    pub fn finish(&self, format: Option<Format>, fix_extension: bool, sha256: Option<&str>) -> FinalName {
        let pattern = self.with_digits(sha256.unwrap_or_default());
        if pattern.contains(HOLE) {
            let path = if let Some(format) = format {
                pattern.replace(HOLE, format.extension())
            } else {
                // The dot that stands before a hole at the very end was only put there for the extension. What is before it
                // must not become one: it was not reserved as that.
                let is_image = |stem: &&str| extension(stem).and_then(Format::from_extension).is_some();
                let bare = pattern.strip_suffix(".\0").filter(|stem| !is_image(stem));
                bare.unwrap_or(&pattern).replace(HOLE, UNKNOWN)
            };
            return FinalName { path, mismatch: false };
        }
        let promised = extension(&pattern).and_then(Format::from_extension);
        let mismatch = promised.is_some() && format.is_some() && promised != format;
        match (mismatch && fix_extension && !self.stays, format, pattern.rsplit_once('.')) {
            (true, Some(format), Some((stem, _))) => {
                FinalName { path: format!("{stem}.{}", format.extension()), mismatch: false }
            }
            _ => FinalName { path: pattern.into_owned(), mismatch },
        }
    }

    /// The pattern with the digits of this digest in their holes.
    fn with_digits(&self, sha256: &str) -> Cow<'_, str> {
        if !self.pattern.contains(DIGIT) {
            return Cow::Borrowed(&self.pattern);
        }
        let mut digits = self.digits.iter().flat_map(|digits| digits.iter());
        let mut digit = || sha256.as_bytes().get(usize::from(*digits.next()?)).copied();
        let filled = self.pattern.chars().map(|character| match character {
            DIGIT => digit().map_or_else(|| unreachable!("the digest that the template wants is made"), char::from),
            other => other,
        });
        Cow::Owned(filled.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{job, namer};

    #[test]
    fn what_is_not_known_stands_in_a_name_as_its_field() {
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
            let foreseen = planned.foreseen();
            assert_eq!((foreseen.path.as_str(), &*foreseen.awaits), (path, awaits), "{template} {url}");
            assert_eq!(planned.known().is_some(), awaits.is_empty(), "{template} {url}");
        }
    }
}
