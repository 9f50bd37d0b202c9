//! Which names are taken, and when two of them are one.

use std::hash::{BuildHasher, RandomState};

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::clean::{DIGIT, HOLE, UNKNOWN, extension};
use crate::record::Format;
use crate::util::compact_table::CompactTable;

/// The names that are taken, in 7 bytes each: 7 bytes of the hash of its [`form`], of which one is not stored, and one
/// for its extension. Two names that share a hash cost one of them a needless suffix, nothing else.
#[derive(Clone, Debug)]
pub struct Taken {
    pub table: CompactTable<6, 1>,
    /// Odd numbers, others in every run. Who names what depends on which names are one, never on where they are kept;
    /// and that must not be known outside, or somebody could make up names that are all kept in one place.
    secret: [u64; 2],
}

/// Which extension a name has, as a number that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension(pub u8);

impl Extension {
    /// It is not known yet: it may be any, or none.
    pub const ANY: Self = Self(u8::MAX);
    /// There is none of an image.
    pub const NONE: Self = Self(u8::MAX - 1);
}

/// How many suffixes were tried before the one that a name has: 0 for none, 1 for the shortest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung(pub u8);

impl Taken {
    pub fn new() -> Self {
        let random = RandomState::new();
        Self { table: CompactTable::default(), secret: [1_u8, 2].map(|number| random.hash_one(number) | 1) }
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
    pub fn is_in_the_way(&self, form: u64, extension: Extension) -> bool {
        let is_same = |other: Extension| [extension, other].contains(&Extension::ANY) || extension == other;
        self.table
            .values(self.place(form))
            .any(|other| u8::try_from(other).is_ok_and(|other| is_same(Extension(other))))
    }

    /// Whether there is a name with this form and this extension.
    pub fn has(&self, form: u64, extension: Extension) -> bool {
        self.table.values(self.place(form)).any(|other| other == u64::from(extension.0))
    }

    pub fn insert(&mut self, form: u64, extension: Extension) {
        if !self.has(form, extension) {
            self.add(form, extension);
        }
    }

    /// The same, also where there is one: each has to be removed.
    pub fn add(&mut self, form: u64, extension: Extension) {
        self.table.add(self.place(form), extension.0.into());
    }

    pub fn remove(&mut self, form: u64, extension: Extension) {
        self.table.remove(self.place(form), extension.0.into());
    }

    /// Whether a name of this [`loose_form`] is taken that has no suffix, or another kind of suffix than this one.
    pub fn is_misread(&self, loose_form: u64, rung: Rung) -> bool {
        self.table.values(self.place(loose_form)).any(|other| other != u64::from(rung.0) + 1)
    }

    pub fn insert_loose(&mut self, loose_form: u64, rung: Rung) {
        self.insert(loose_form, Extension(rung.0 + 1));
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
pub fn form(name: &str) -> u64 {
    let folded = folded(name);
    xxh3_64(&folded.as_bytes()[..stem_end(&folded)])
}

/// The same with no regard to what digits there are. Names that can become one have one loose form, also where a suffix
/// is taken for digits that the template puts at the end, and those for part of what is before.
pub fn loose_form(name: &str) -> u64 {
    let folded = folded(name);
    let is_digit = |byte: &u8| byte.is_ascii_hexdigit() || char::from(*byte) == DIGIT;
    let loose = folded.bytes().take(stem_end(&folded)).map(|byte| if is_digit(&byte) { b'0' } else { byte });
    // Not where forms are kept.
    xxh3_64_with_seed(&loose.collect::<Vec<_>>(), 1)
}

fn stem_end(folded: &str) -> usize {
    let is_image = |ext: &&str| *ext == "\0" || Format::from_extension(ext).is_some();
    extension(folded).filter(is_image).map_or(folded.len(), |ext| folded.len() - ext.len() - 1)
}

/// The forms of a name that an earlier run gave, its own first. `readings`: what this template may have planned for it.
/// Where its extension also stands elsewhere in it as a word, it may have come from `{ext}`, and another extension would
/// stand there then. Of a file whose format was not known, that is `bin`, and there is no extension at the end.
pub fn kept_forms(path: &str, readings: impl Iterator<Item = String>) -> Vec<u64> {
    let ext = extension(path).unwrap_or_default();
    let is_bare = Format::from_extension(ext).is_none();
    let mut forms = Vec::new();
    for reading in std::iter::once(path.to_owned()).chain(readings) {
        let own = form(&reading);
        let open = with_holes(&reading, |word| (!ext.is_empty() && word == ext) || (is_bare && word == UNKNOWN));
        let bare = is_bare.then(|| form(&format!("{open}.{HOLE}")));
        forms.push(own);
        forms.extend([form(&open)].into_iter().chain(bare).filter(|form| *form != own));
    }
    forms
}

/// The path with holes for these words.
fn with_holes(path: &str, is_hole: impl Fn(&str) -> bool) -> String {
    let mut words = String::with_capacity(path.len());
    for piece in path.split_inclusive(|character: char| !character.is_alphanumeric()) {
        let word = piece.trim_end_matches(|character: char| !character.is_alphanumeric());
        if is_hole(word) {
            words.push(HOLE);
            words.push_str(&piece[word.len()..]);
        } else {
            words.push_str(piece);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::example::{job, namer};

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
}
