//! Which file a URL becomes.
//!
//! A [`Template`] is parsed once, before the run. The [`Namer`] renders it for each job **in list order**, before
//! anything is concurrent, and settles collisions there; so names depend on the list alone, never on timing. What only
//! the answer can tell (the extension of a name that has none) is a hole in the [`Planned`] name, and the collision
//! table knows that such a name may end in any extension.
//!
//! # Cleaning
//!
//! Everything that comes from outside passes [`clean_text`] and `fit_component`. Their rules:
//!
//! | what | becomes | why |
//! |---|---|---|
//! | `/` `\` and `< > : " \| ? *` | `_` | separators, and what Windows refuses |
//! | control, line-separating and direction-changing characters | `_` | terminals, and names that read as another name |
//! | bytes that are no UTF-8 after percent-decoding | `_` | |
//! | composed characters | NFC | macOS stores either form and takes them for one name |
//! | spaces at either end, dots at the end | removed | Windows drops them silently |
//! | a dot in front | `_` before it | `.`, `..`, hidden files, `.fetchimg` |
//! | `CON` `PRN` `AUX` `NUL` `COM1`… `LPT9`, with any extension | `_` before it | Windows devices |
//! | more than 255 bytes | the stem is cut between characters, the extension stays | file systems |

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use percent_encoding::percent_decode_str;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use crate::format::{Format, LONGEST_EXTENSION};
use crate::job::{Job, url_hash};
use crate::shown::is_harmful;
use crate::table::Table;

/// Stands in a planned name for the extension that only the bytes can tell. No cleaned name can hold it.
const HOLE: char = '\0';

/// The longest name of a file or folder, in bytes (`NAME_MAX` of ext4, XFS, APFS, NTFS).
const LONGEST: usize = 255;

/// The name of an image whose URL and server offer none.
const NAMELESS: &str = "image";

/// A file name template (`--name`), parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
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
struct Values<'a> {
    basename: &'a str,
    ext: &'a str,
    index: u64,
    host: &'a str,
    url_hash: &'a str,
}

impl Template {
    fn render(&self, values: &Values) -> String {
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
    fn tells_rows_apart(&self) -> bool {
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

    fn uses(&self, wanted: impl Fn(Field) -> bool) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Field(field) if wanted(*field)))
    }
}

/// The name reserved for a job: complete, or with a hole for the extension.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pattern: String,
    /// The URL has no name of its own, so the server may give one.
    asks_server: bool,
    /// An earlier run gave the name: it stays, whatever the bytes are now. Another extension might be somebody's.
    stays: bool,
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
        (!self.pattern.contains(HOLE) && !self.asks_server).then_some(&*self.pattern)
    }

    /// Whether a `Content-Disposition` of the answer may name the file.
    #[must_use]
    pub const fn asks_server(&self) -> bool {
        self.asks_server
    }

    /// The name, now that the bytes have told their format.
    #[must_use]
    pub fn finish(&self, format: Option<Format>, fix_extension: bool) -> FinalName {
        if self.pattern.contains(HOLE) {
            let path = match format {
                Some(format) => self.pattern.replace(HOLE, format.extension()),
                // The dot that stands before a hole at the very end was only put there for the extension.
                None => self.pattern.strip_suffix(".\0").unwrap_or(&self.pattern).replace(HOLE, "bin"),
            };
            return FinalName { path, mismatch: false };
        }
        let promised = extension(&self.pattern).and_then(Format::from_extension);
        let mismatch = promised.is_some() && format.is_some() && promised != format;
        match (mismatch && fix_extension && !self.stays, format, self.pattern.rsplit_once('.')) {
            (true, Some(format), Some((stem, _))) => {
                FinalName { path: format!("{stem}.{}", format.extension()), mismatch: false }
            }
            _ => FinalName { path: self.pattern.clone(), mismatch },
        }
    }
}

/// Gives out names in list order and remembers which are taken.
#[derive(Clone, Debug)]
pub struct Namer {
    template: Template,
    fix_extension: bool,
    /// The template itself keeps the names of this run apart, so only those of earlier ones are remembered.
    tells_rows_apart: bool,
    taken: Taken,
}

/// The names that are taken, in 7 bytes each: 7 bytes of the hash of its [`form`], of which one is not stored, and one
/// for its extension. Two names that share a hash cost one of them a needless suffix, nothing else.
#[derive(Clone, Debug)]
struct Taken {
    table: Table<6, 1>,
    /// Odd numbers, others in every run. Who names what depends on which names are one, never on where they are kept;
    /// and that must not be known outside, or somebody could make up names that are all kept in one place.
    secret: [u64; 2],
}

/// Which extension a name has, as a number that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extension(u8);

impl Extension {
    /// It is not known yet and may be any, or is none of an image.
    const ANY: Self = Self(u8::MAX);
}

impl Taken {
    fn new() -> Self {
        let random = RandomState::new();
        Self { table: Table::default(), secret: [1_u8, 2].map(|number| random.hash_one(number) | 1) }
    }

    /// Where a form is kept. Steps that can be undone, on 56 bits: two forms come to one place only if these bits of
    /// theirs are the same.
    fn place(&self, form: u64) -> u64 {
        let mut bits = form >> 8;
        for secret in self.secret {
            bits = bits.wrapping_mul(secret) << 8 >> 8;
            bits ^= bits >> 28;
        }
        bits << 8
    }

    /// Whether a name that has this form and this extension may be one that is taken.
    fn is_in_the_way(&self, form: u64, extension: Extension) -> bool {
        let is_same = |other: Extension| [extension, other].contains(&Extension::ANY) || extension == other;
        self.table
            .values(self.place(form))
            .any(|other| u8::try_from(other).is_ok_and(|other| is_same(Extension(other))))
    }

    /// Whether there is a name with this form and this extension.
    fn has(&self, form: u64, extension: Extension) -> bool {
        self.table.values(self.place(form)).any(|other| other == u64::from(extension.0))
    }

    fn insert(&mut self, form: u64, extension: Extension) {
        if !self.has(form, extension) {
            self.table.add(self.place(form), extension.0.into());
        }
    }

    /// Whether it was there.
    fn remove(&mut self, form: u64, extension: Extension) -> bool {
        let was_there = self.has(form, extension);
        self.table.remove(self.place(form), extension.0.into());
        was_there
    }
}

impl Namer {
    /// `fix_extension`: extensions may change when the bytes are known, so names that differ in nothing else collide.
    #[must_use]
    pub fn new(template: Template, fix_extension: bool) -> Self {
        let tells_rows_apart = template.tells_rows_apart();
        Self { template, fix_extension, tells_rows_apart, taken: Taken::new() }
    }

    /// Takes out of circulation a name that an earlier run gave.
    pub fn keep(&mut self, path: &str) {
        let extension = self.extension(path);
        for form in kept_forms(path) {
            self.taken.insert(form, extension);
        }
    }

    /// The name an earlier run or pass gave to the same row.
    pub fn again(&mut self, path: String) -> Planned {
        // Names of earlier runs are kept from the beginning; an earlier pass gave it by this very template.
        if !self.tells_rows_apart {
            self.keep(&path);
        }
        Planned { pattern: path, asks_server: false, stays: true }
    }

    /// Reserves the name of a job. To be called in list order.
    pub fn reserve(&mut self, job: &Job) -> Planned {
        let basename = url_basename(&job.url);
        let asks_server = basename.is_none() && self.template.uses(|f| matches!(f, Field::Basename | Field::Stem));
        let pattern = self.reserve_as(job, basename.as_deref().unwrap_or(NAMELESS));
        Planned { pattern, asks_server, stays: false }
    }

    /// Reserves the name of a job that has `old`, which nobody else gets as long as the run lasts.
    pub fn reserve_instead(&mut self, job: &Job, old: &str) -> Planned {
        let extension = self.extension(old);
        let mut was_taken = false;
        for form in kept_forms(old) {
            was_taken |= self.taken.remove(form, extension);
        }
        let planned = self.reserve(job);
        if was_taken || !self.tells_rows_apart {
            self.keep(old);
        }
        planned
    }

    /// Reserves the name that the server gave to a job whose URL has none. The one name that is not settled in list
    /// order, because it is known no earlier.
    pub fn reserve_from_server(&mut self, job: &Job, filename: &str) -> Option<Planned> {
        let basename = clean_text(filename.rsplit(['/', '\\']).next()?);
        (!basename.is_empty()).then(|| Planned {
            pattern: self.reserve_as(job, &basename),
            asks_server: false,
            stays: false,
        })
    }

    fn reserve_as(&mut self, job: &Job, basename: &str) -> String {
        let mut hash = String::new();
        if self.template.uses(|field| field == Field::UrlHash) {
            hash = url_hash(&job.url);
        }
        let mut host = String::new();
        if self.template.uses(|field| field == Field::Host) {
            host = clean_text(job.url.host_str().unwrap_or_default());
        }
        let render = |ext: &str| {
            let values = Values { basename, ext, index: job.index, host: &host, url_hash: &hash };
            fit(&self.template.render(&values), self.fix_extension)
        };
        let hole = HOLE.to_string();
        let plain = render(extension(basename).filter(|ext| Format::from_extension(ext).is_some()).unwrap_or(&hole));
        let open = if self.template.uses(|field| field == Field::Ext) { render(&hole) } else { plain.clone() };
        if self.take(&plain, &open) {
            return plain;
        }
        let hash = url_hash(&job.url);
        // With `--keep-duplicates`, several rows have this very URL; only their numbers differ.
        let short = format!("{}-{}", &hash[..8], job.index);
        for digits in [&hash[..8], &short, &hash[..16], &hash[..32], &hash] {
            let with = |name: &str| with_suffix(name, digits, self.fix_extension);
            let (name, open) = (with(&plain), with(&open));
            if self.take(&name, &open) {
                return name;
            }
        }
        let suffix = format!("{hash}-{}", job.index);
        let name = with_suffix(&plain, &suffix, self.fix_extension);
        self.take(&name, &with_suffix(&open, &suffix, self.fix_extension));
        name
    }

    /// Whether the name was free; it is not any more. `open`: the same name with holes for every extension in it.
    fn take(&mut self, name: &str, open: &str) -> bool {
        let (form, extension) = (form(open), self.extension(name));
        let free = !self.taken.is_in_the_way(form, extension);
        if free && !self.tells_rows_apart {
            self.taken.insert(form, extension);
        }
        free
    }

    /// The extension that the name may end in.
    fn extension(&self, name: &str) -> Extension {
        let ext = extension(name).unwrap_or_default();
        let known = Format::ALL.iter().flat_map(|format| format.extensions());
        let numbered = (1..u8::MAX).zip(known).find(|(_, known)| known.eq_ignore_ascii_case(ext));
        numbered.filter(|_| !self.fix_extension).map_or(Extension::ANY, |(number, _)| Extension(number))
    }
}

/// Whether two names may be one file on some system.
#[must_use]
pub fn may_be_one(left: &str, right: &str) -> bool {
    folded(left) == folded(right)
}

/// The name as file systems take it that tell no cases apart (macOS, Windows). Which letters are one differs between
/// them (`ς` and `σ`, `ſ` and `s`), so whatever either case makes one is one here.
fn folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.to_lowercase().to_uppercase().to_lowercase().nfc().collect()
}

/// The name without its extension, folded and hashed.
fn form(name: &str) -> u64 {
    let folded = folded(name);
    let is_image = |ext: &&str| *ext == "\0" || Format::from_extension(ext).is_some();
    let end = extension(&folded).filter(is_image).map_or(folded.len(), |ext| folded.len() - ext.len());
    xxh3_64(&folded.as_bytes()[..end])
}

/// The forms of a name that an earlier run gave. Where its extension also stands elsewhere in it as a word, it may have
/// come from `{ext}`, and another extension would stand there then.
fn kept_forms(path: &str) -> [u64; 2] {
    let ext = extension(path).unwrap_or_default();
    let mut words = String::with_capacity(path.len());
    for piece in path.split_inclusive(|character: char| !character.is_alphanumeric()) {
        let word = piece.trim_end_matches(|character: char| !character.is_alphanumeric());
        if !ext.is_empty() && word == ext {
            words.push(HOLE);
            words.push_str(&piece[word.len()..]);
        } else {
            words.push_str(piece);
        }
    }
    [form(path), form(&words)]
}

/// The last segment of the URL's path, decoded and cleaned; `None` where the path ends in `/` or nothing is left.
fn url_basename(url: &Url) -> Option<String> {
    let segment = url.path_segments()?.next_back()?;
    let name = clean_text(&percent_decode_str(segment).decode_utf8_lossy());
    (!name.is_empty()).then_some(name)
}

/// The part after the last dot of the last component.
fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, extension)| extension)
}

/// Text from outside without separators, control characters, or anything else a name must not hold.
#[must_use]
pub fn clean_text(text: &str) -> String {
    // Most names, and nothing in them to be cleaned.
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !text.ends_with('.')
    {
        return text.to_owned();
    }
    let composed = if is_nfc(text) { text.to_owned() } else { text.nfc().collect() };
    let cleaned = composed
        .chars()
        .map(|character| match character {
            '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' | char::REPLACEMENT_CHARACTER => '_',
            other if is_harmful(other) => '_',
            other => other,
        })
        .collect::<String>();
    cleaned.trim_start().trim_end_matches(|last: char| last == '.' || last.is_whitespace()).to_owned()
}

/// The rendered name with each component fit for a file system and, in the last one, an image extension or a hole.
fn fit(rendered: &str, fix_extension: bool) -> String {
    let mut path = String::with_capacity(rendered.len() + 8);
    let mut components = rendered.split('/').peekable();
    while let Some(component) = components.next() {
        if !path.is_empty() {
            path.push('/');
        }
        let is_file = components.peek().is_none();
        let complete = extension(component).is_some_and(|ext| ext == "\0" || Format::from_extension(ext).is_some());
        if is_file && !complete {
            let open = format!("{}.{HOLE}", component.trim_end_matches(['.', ' ']));
            path.push_str(&fit_component(&open, "", fix_extension));
        } else {
            path.push_str(&fit_component(component, "", fix_extension));
        }
    }
    path
}

/// One file or folder name by the rules that concern a whole name, with `suffix` put before its extension.
fn fit_component(component: &str, suffix: &str, fix_extension: bool) -> String {
    let trimmed = component.trim_start().trim_end_matches(['.', ' ']);
    let (stem, ext) = match extension(trimmed) {
        // A long "extension" is part of the name.
        Some(ext) if ext.len() <= 8 => trimmed.split_at(trimmed.len() - ext.len() - 1),
        _ => (trimmed, ""),
    };
    // A hole may stay empty, and then its dot goes.
    let stem = if ext.contains(HOLE) { stem.trim_end_matches(['.', ' ']) } else { stem };
    let ext_may_change = ext.contains(HOLE) || (fix_extension && !ext.is_empty());
    let ext_room = if ext_may_change { ext.len().max(LONGEST_EXTENSION + 1) } else { ext.len() };
    let room = LONGEST - suffix.len() - ext_room;
    let mut stem = cut(stem, room);
    let mut guard = "";
    // What is cut may become a device, and what is guarded is longer.
    if stem.is_empty() || stem.starts_with('.') || is_device(stem) {
        guard = "_";
        stem = cut(stem, room - guard.len());
    }
    format!("{guard}{stem}{suffix}{ext}")
}

/// As much of the stem of a name as there is room for, with holes filled. Where it is cut, it ends like a name.
fn cut(stem: &str, room: usize) -> &str {
    let fits = |end: usize| {
        stem.is_char_boundary(end) && end + stem[..end].matches(HOLE).count() * (LONGEST_EXTENSION - 1) <= room
    };
    if fits(stem.len()) {
        return stem;
    }
    match (0..=stem.len().min(room)).rev().find(|end| fits(*end)).unwrap_or(0) {
        end if end == stem.len() => stem,
        end => stem[..end].trim_end_matches(['.', ' ']),
    }
}

/// The longest of the names of devices, in bytes.
const LONGEST_DEVICE: usize = 7;

/// The names DOS reserved for devices. They are reserved with any extension, so the part before the first dot counts.
fn is_device(stem: &str) -> bool {
    let name = stem.split('.').next().unwrap_or(stem).trim_end();
    if name.len() > LONGEST_DEVICE {
        return false;
    }
    let name = name.to_uppercase();
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"].contains(&name.as_str()) {
        return true;
    }
    let port = name.strip_prefix("COM").or_else(|| name.strip_prefix("LPT"));
    port.is_some_and(|port| matches!(port, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³"))
}

/// The path with `-digits` before the extension of its last component.
fn with_suffix(path: &str, digits: &str, fix_extension: bool) -> String {
    let suffix = format!("-{digits}");
    match path.rsplit_once('/') {
        Some((folders, name)) => format!("{folders}/{}", fit_component(name, &suffix, fix_extension)),
        None => fit_component(path, &suffix, fix_extension),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namer(template: &str) -> Namer {
        Namer::new(template.parse().expect("a template"), false)
    }

    fn job(index: u64, url: &str) -> Job {
        Job::new(index, Url::parse(url).expect("a URL"))
    }

    fn name(template: &str, url: &str) -> String {
        namer(template).reserve(&job(16, url)).finish(Some(Format::Jpeg), false).path
    }

    #[test]
    fn nasty_names_become_safe_ones() {
        let long = "x".repeat(300);
        let long_two_bytes = "ü".repeat(200);
        let table = [
            ("cat.png", "cat.png".to_owned()),
            ("cat%20one.png", "cat one.png".into()),
            ("..%2F..%2Fetc%2Fpasswd", "_.._.._etc_passwd.jpg".into()),
            ("..%5C..%5Cwindows.png", "_.._.._windows.png".into()),
            ("%2e%2e%2fa.png", "_.._a.png".into()),
            (".htaccess", "_.htaccess.jpg".into()),
            (".png", "_.png.jpg".into()),
            (".fetchimg", "_.fetchimg.jpg".into()),
            ("con.png", "_con.png".into()),
            ("Lpt1.tar.png", "_Lpt1.tar.png".into()),
            ("com10.png", "com10.png".into()),
            ("nul", "_nul.jpg".into()),
            ("a%00b%0a.png", "a_b_.png".into()),
            ("a%1b%5B2J.png", "a_[2J.png".into()),
            ("a%e2%80%aegnp.png", "a_gnp.png".into()),
            ("%ff%fe.png", "__.png".into()),
            ("a:b%3Fc*d|e%22f%3Cg%3E.png", "a_b_c_d_e_f_g_.png".into()),
            ("trailing.png.%20.%20", "trailing.png".into()),
            ("%20%20lead.png", "lead.png".into()),
            ("e%cc%81.png", "é.png".into()),
            ("photo.php", "photo.php.jpg".into()),
            ("v1.2", "v1.2.jpg".into()),
            ("-rf.png", "-rf.png".into()),
            (long.as_str(), format!("{}.jpg", "x".repeat(249))),
            (long_two_bytes.as_str(), format!("{}.jpg", "ü".repeat(124))),
        ];
        for (segment, expected) in table {
            let url = format!("https://example.org/folder/{segment}");
            assert_eq!(name("{basename}", &url), expected, "{segment}");
        }
        let long_png = format!("https://example.org/{}.png", "y".repeat(300));
        assert_eq!(name("{basename}", &long_png).len(), 255);
        assert_eq!(name("{basename}", "https://example.org/"), "image.jpg");
        assert_eq!(name("{basename}", "https://example.org/a/?id=3#x"), "image.jpg");
        assert_eq!(name("{basename}", "https://example.org/a.png?id=3#x.gif"), "a.png");
    }

    #[test]
    fn a_template_renders_its_fields() {
        let url = "https://img.example:8443/x/cat.PNG?v=1";
        assert_eq!(name("{index:06}-{stem}.{ext}", url), "000016-cat.PNG");
        assert_eq!(name("{host}/{index}.{ext}", url), "img.example/16.PNG");
        assert_eq!(name("{index}", url), "16.jpg");
        assert_eq!(name("{ext}/{stem}", "https://img.example/cat"), "jpg/cat.jpg");
        assert_eq!(name("{url_hash}", url).len(), 64 + 4);
        assert_eq!(name("a{{b}}", url), "a{b}.jpg");
        assert_eq!(name("{host}", "http://[::1]/x"), "[__1].jpg");
    }

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
    fn the_first_in_the_list_keeps_the_plain_name() {
        let mut namer = namer("{basename}");
        let mut given = Vec::new();
        for (index, url) in
            ["https://a.example/x.png", "https://b.example/x.png", "https://a.example/X.PNG", "https://a.example/x.jpg"]
                .iter()
                .enumerate()
        {
            given.push(namer.reserve(&job(index as u64, url)).finish(Some(Format::Png), false).path);
        }
        let hash = |url: &str| url_hash(&Url::parse(url).expect("a URL"))[..8].to_owned();
        assert_eq!(given[0], "x.png");
        assert_eq!(given[1], format!("x-{}.png", hash("https://b.example/x.png")));
        assert_eq!(given[2], format!("X-{}.PNG", hash("https://a.example/X.PNG")));
        assert_eq!(given[3], "x.jpg", "another extension is another name");
    }

    #[test]
    fn a_name_that_may_get_any_extension_collides_with_all_of_them() {
        let mut first_open = namer("{basename}");
        assert_eq!(first_open.reserve(&job(0, "https://a.example/x")).finish(Some(Format::Png), false).path, "x.png");
        assert_ne!(first_open.reserve(&job(1, "https://a.example/x.png")).pattern, "x.png");
        let mut first_closed = namer("{basename}");
        first_closed.reserve(&job(0, "https://a.example/x.png"));
        let open = first_closed.reserve(&job(1, "https://a.example/x"));
        assert!(open.pattern.starts_with("x-"), "{open:?}");
    }

    #[test]
    fn an_extension_in_the_middle_of_a_name_collides_as_well() {
        for template in ["{ext}/{stem}", "{ext}/{basename}", "{stem}-{ext}", "x.{ext}/{index:0}{stem}"] {
            let template = template.replace("{index:0}", "");
            for urls in [
                ["https://a.example/cat.png", "https://a.example/cat"],
                ["https://a.example/cat", "https://a.example/cat.png"],
            ] {
                let mut namer = namer(&template);
                let given = urls.map(|url| namer.reserve(&job(0, url)).finish(Some(Format::Png), false).path);
                assert_ne!(given[0], given[1], "{template} {urls:?}");
                // Nor does a later run take a name that this one gave.
                let mut later = Namer::new(template.parse().expect("a template"), false);
                later.keep(&given[0]);
                let other = later.reserve(&job(0, urls[1])).finish(Some(Format::Png), false).path;
                assert_ne!(given[0], other, "{template} {urls:?}");
            }
        }
    }

    #[test]
    fn fixing_an_extension_can_hit_nobody() {
        let mut namer = Namer::new("{basename}".parse().expect("a template"), true);
        let first = namer.reserve(&job(0, "https://a.example/x.png")).finish(Some(Format::Jpeg), true);
        assert_eq!(first, FinalName { path: "x.jpg".into(), mismatch: false });
        let second = namer.reserve(&job(1, "https://a.example/x.jpg")).finish(Some(Format::Jpeg), true);
        assert!(second.path.starts_with("x-"), "{second:?}");
        let kept = namer.again("x.png".into()).finish(Some(Format::Jpeg), true);
        assert_eq!(kept, FinalName { path: "x.png".into(), mismatch: true });
    }

    #[test]
    fn names_of_earlier_runs_and_long_ones_are_respected() {
        let mut namer = namer("{basename}");
        namer.keep("x.png");
        assert_ne!(namer.reserve(&job(0, "https://a.example/x.png")).pattern, "x.png");
        let long = format!("https://a.example/{}.png", "z".repeat(300));
        let first = namer.reserve(&job(1, &long)).pattern;
        let second = namer.reserve(&job(2, &format!("{long}?2"))).pattern;
        assert_ne!(first, second);
        assert_eq!((first.len(), second.len()), (255, 255));
    }

    #[test]
    fn a_name_is_no_longer_than_a_file_system_takes_whatever_fills_it() {
        let long = format!("https://a.example/{}", "z".repeat(300));
        for (template, url, fix_extension) in [
            ("{basename}", format!("{long}.png"), true),
            ("{stem}-{ext}", long.clone(), false),
            ("{ext}{ext}{ext}{stem}/{stem}", long.clone(), false),
        ] {
            let mut namer = Namer::new(template.parse().expect("a template"), fix_extension);
            for index in 0..2 {
                let name =
                    namer.reserve(&job(index, &format!("{url}?{index}"))).finish(Some(Format::Webp), fix_extension);
                assert!(name.path.split('/').all(|part| part.len() <= LONGEST), "{template}: {name:?}");
            }
        }
    }

    #[test]
    fn a_name_that_is_cut_ends_like_a_name() {
        let spaces = format!("https://a.example/nul{}x/y", "%20".repeat(300));
        assert_eq!(name("{stem}/{index}", spaces.trim_end_matches("/y")), "_nul/16.jpg");
        let dots = format!("https://a.example/{}{}x", "z".repeat(200), ".".repeat(100));
        let planned = namer("{basename}").reserve(&job(0, &dots));
        assert_eq!(planned.finish(None, false).path, "z".repeat(200));
        let open = namer("{stem}.{ext}").reserve(&job(0, "https://a.example/x%20..php"));
        assert_eq!(open.finish(None, false).path, "x");
    }

    #[test]
    fn names_that_differ_in_case_only_collide_in_every_script() {
        for (one, other) in [("ΟΔΟΣ", "οδος"), ("οδος", "οδοσ"), ("ſ", "s"), ("ẞ", "ß"), ("é", "É"), ("İ", "i̇")]
        {
            let mut namer = namer("{basename}");
            namer.reserve(&job(0, &format!("https://a.example/{one}.png")));
            let second = namer.reserve(&job(1, &format!("https://a.example/{other}.png"))).pattern;
            assert!(second.contains('-'), "{one} and {other}: {second}");
        }
    }

    #[test]
    fn a_server_may_name_what_the_url_does_not() {
        let mut namer = namer("{basename}");
        let nameless = job(0, "https://a.example/?id=1");
        assert!(namer.reserve(&nameless).asks_server());
        let given = namer.reserve_from_server(&nameless, "C:\\fakepath\\cat.png").expect("a name");
        assert_eq!(given.finish(Some(Format::Png), false).path, "cat.png");
        assert_eq!(namer.reserve_from_server(&nameless, "../"), None);
        assert_eq!(clean_text(" a\u{a0}.\u{a0}. "), "a", "what is clean stays as it is");
    }

    #[test]
    fn copies_of_one_url_get_the_numbers_of_their_rows() {
        let url = "https://a.example/x.png";
        let hash = url_hash(&Url::parse(url).expect("a URL"));
        let mut namer = namer("{basename}");
        let given = [0, 4, 5, 7].map(|index| namer.reserve(&job(index, url)).pattern);
        let short = &hash[..8];
        let expected = [format!("x-{short}.png"), format!("x-{short}-5.png"), format!("x-{short}-7.png")];
        assert_eq!((&*given[0], &given[1..]), ("x.png", &expected[..]));
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

    #[test]
    fn names_that_rows_keep_apart_are_not_remembered_but_those_of_earlier_runs_are() {
        let mut namer = namer("{index:02}-{basename}");
        namer.keep("03-x.png");
        let before = format!("{:?}", namer.taken.table);
        let given = (0..5).map(|index| namer.reserve(&job(index, "https://a.example/x.png")).pattern);
        let given = given.collect::<Vec<_>>();
        assert_eq!((&*given[2], &*given[4]), ("02-x.png", "04-x.png"));
        assert!(given[3].starts_with("03-x-"), "{given:?}");
        let old = namer.reserve_instead(&job(3, "https://a.example/x.png"), "03-x.png");
        assert_eq!(old.pattern, "03-x.png");
        namer.again("04-x.png".into());
        assert_eq!(format!("{:?}", namer.taken.table), before);
    }
}
