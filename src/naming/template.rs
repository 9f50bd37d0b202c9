//! The grammar of names: text with fields in braces, parsed once, before the run.

use std::fmt;

use crate::shown::is_harmful;

/// A file name template (`--name`), parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field {
    Basename,
    Stem,
    Ext,
    Index { width: usize },
    Host,
    UrlHash,
}

/// Why a template is none, and where.
#[derive(Debug, PartialEq)]
pub struct TemplateError {
    /// The number of the character, from 1.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at character {})", self.what, self.at)
    }
}

impl std::error::Error for TemplateError {}

impl std::str::FromStr for Template {
    type Err = TemplateError;

    /// Text with fields in braces; `{{` and `}}` are the braces themselves.
    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let fail = |at: usize, what: String| Err(TemplateError { at, what });
        if text.is_empty() {
            return fail(1, "the template is empty".into());
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut characters = text.chars().enumerate().map(|(index, character)| (index + 1, character)).peekable();
        while let Some((at, character)) = characters.next() {
            match character {
                '{' | '}' if characters.next_if(|(_, next)| *next == character).is_some() => plain.push(character),
                '}' => return fail(at, "a } without its {".into()),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match characters.next() {
                            Some((_, '}')) => break,
                            Some((_, inner)) => name.push(inner),
                            None => return fail(at, "a { without its }".into()),
                        }
                    }
                    let Some(field) = Field::parse(&name) else {
                        let known = "{basename} {stem} {ext} {index} {index:06} {host} {url_hash}";
                        return fail(at, format!("there is no field {{{name}}}; there are {known}"));
                    };
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Field(field));
                }
                '\\' => return fail(at, "folders are separated by /".into()),
                '<' | '>' | ':' | '"' | '|' | '?' | '*' => {
                    return fail(at, format!("{character} is refused in names by Windows"));
                }
                other if is_harmful(other) => return fail(at, "a control character".into()),
                other => plain.push(other),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        let template = Self(parts);
        // With harmless values in its fields, every folder must be a plain name of its own.
        let sample = template.render(&Values { basename: "a.png", ext: "png", index: 0, host: "h", url_hash: "0" });
        for component in sample.split('/') {
            if component.is_empty() || component.starts_with('.') {
                return fail(1, "the name must stay inside the output folder and show no hidden or empty part".into());
            }
        }
        Ok(template)
    }
}

impl Field {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "basename" => Self::Basename,
            "stem" => Self::Stem,
            "ext" => Self::Ext,
            "index" => Self::Index { width: 0 },
            "host" => Self::Host,
            "url_hash" => Self::UrlHash,
            other => {
                let width = other.strip_prefix("index:0")?.parse().ok()?;
                (width <= 20).then_some(Self::Index { width })?
            }
        })
    }
}

/// What the fields of a template stand for in one name.
pub(super) struct Values<'a> {
    pub basename: &'a str,
    pub ext: &'a str,
    pub index: u64,
    pub host: &'a str,
    pub url_hash: &'a str,
}

impl Template {
    pub(super) fn render(&self, values: &Values) -> String {
        use fmt::Write as _;
        let mut name = String::new();
        for part in &self.0 {
            // Writing to a String cannot fail.
            let _ = match part {
                Part::Text(text) => name.write_str(text),
                Part::Field(Field::Basename) => name.write_str(values.basename),
                Part::Field(Field::Stem) => {
                    name.write_str(values.basename.rsplit_once('.').map_or(values.basename, |(stem, _)| stem))
                }
                Part::Field(Field::Ext) => name.write_str(values.ext),
                Part::Field(Field::Index { width }) => write!(name, "{:0width$}", values.index),
                Part::Field(Field::Host) => name.write_str(values.host),
                Part::Field(Field::UrlHash) => name.write_str(values.url_hash),
            };
        }
        name
    }

    /// Whether names are distinct for distinct rows, whatever else is in them.
    ///
    /// So it is where a folder or the file begins with a few plain letters and `{index}`, and something that is no digit
    /// comes then, or the end. What stands before is the same in all names, so they differ where the numbers do: with
    /// as many zeros in front as are asked for, no number is the beginning of another one followed by what is no digit.
    /// No rule about whole names touches that: an underscore may be put before (`com1` is a device and `com10` is none;
    /// then it stands where others have a letter or a digit), and what is too long is cut at its end, far behind the
    /// number. A dot before the number is not allowed, because suffixes are put before an extension, and the number must
    /// not be taken for one.
    pub(super) fn tells_rows_apart(&self) -> bool {
        /// A name has 255 bytes, of which a suffix takes 87 at most, an extension 9, and a number 20.
        const LONGEST_BEFORE: usize = 64;
        let mut begun = true;
        let mut before = 0;
        for (position, part) in self.0.iter().enumerate() {
            match part {
                Part::Text(text) => {
                    let last = text.rsplit('/').next().unwrap_or(text);
                    if last.len() < text.len() {
                        (begun, before) = (true, 0);
                    }
                    before += last.len();
                    begun &= before <= LONGEST_BEFORE && last.bytes().all(|byte| byte.is_ascii() && byte != b'.');
                }
                Part::Field(Field::Index { .. }) if begun => {
                    let ends = match self.0.get(position + 1) {
                        None => true,
                        Some(Part::Text(next)) => {
                            next.bytes().next().is_some_and(|b| b.is_ascii() && !b.is_ascii_digit())
                        }
                        Some(Part::Field(_)) => false,
                    };
                    if ends {
                        return true;
                    }
                    begun = false;
                }
                Part::Field(_) => begun = false,
            }
        }
        false
    }

    pub(super) fn uses(&self, wanted: impl Fn(Field) -> bool) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Field(field) if wanted(*field)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_template_says_where() {
        let at = |text: &str| text.parse::<Template>().expect_err(text).at;
        assert_eq!(at("{index}-{nmae}"), 9);
        assert_eq!(at("ab{index"), 3);
        assert_eq!(at("a}"), 2);
        assert_eq!(at("a\\b"), 2);
        assert_eq!(at("{index}:{basename}"), 8);
        for outside in ["../{basename}", "/{basename}", "a//{basename}", "{basename}/", ".hidden/{basename}", ""] {
            assert!(outside.parse::<Template>().is_err(), "{outside}");
        }
    }

    #[test]
    fn only_templates_that_keep_rows_apart_are_taken_for_such() {
        for (template, apart) in [
            ("{index}", true),
            ("{index:08}", true),
            ("{index:08}.png", true),
            ("img_{index:06}-{basename}", true),
            ("{index} {host}", true),
            ("{host}/{index}.{ext}", true),
            ("{index}/{basename}", true),
            ("com{index}", true),
            ("7{index}", true),
            ("{stem}-{index}", false),
            ("{index}{stem}", false),
            ("{index}7", false),
            ("{index}{index}", false),
            ("{index}{ext}", false),
            ("{index}\u{301}", false),
            ("é{index}", false),
            ("a.jp{index}", false),
            ("{host}{index}", false),
            ("{basename}", false),
            ("{index:04}{stem}/{basename}", false),
        ] {
            assert_eq!(template.parse::<Template>().expect(template).tells_rows_apart(), apart, "{template}");
        }
        let long = |count| format!("{}{{index}}", "x".repeat(count)).parse::<Template>().expect("a template");
        assert!(long(64).tells_rows_apart() && !long(65).tells_rows_apart());
    }
}
