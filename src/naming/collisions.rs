//! Detects collisions: which names are taken, and when two names may be the same file.

use std::hash::{BuildHasher, RandomState};

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::clean::{DIGIT_PLACEHOLDER, EXTENSION_PLACEHOLDER, UNKNOWN_EXTENSION, extension};
use crate::record::Format;
use crate::util::compact_table::CompactTable;

/// The names that are taken, in 7 bytes each: 7 bytes of its [`stem_hash`], of which one is implied by its place, and
/// one byte for its extension. If two names have the same hash, one of them gets a needless suffix, and nothing worse
/// happens.
#[derive(Clone, Debug)]
pub struct NameTable {
    pub table: CompactTable<6, 1>,
    /// Two odd numbers, random for each run, that permute the hashes. They do not change which names collide, only
    /// where a name is stored. An attacker who could predict that could craft names that all fall into one part of the
    /// table.
    secret: [u64; 2],
}

/// The number of an extension, greater than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionId(pub u8);

impl ExtensionId {
    /// Unknown yet: it may become any, or none.
    pub const ANY: Self = Self(u8::MAX);
    /// None, or not that of an image.
    pub const NONE: Self = Self(u8::MAX - 1);
}

/// The number of suffixes that were tried before the one that a name has: 0 for no suffix, 1 for the shortest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuffixLevel(pub u8);

impl NameTable {
    pub fn new() -> Self {
        let random = RandomState::new();
        Self { table: CompactTable::default(), secret: [1_u8, 2].map(|number| random.hash_one(number) | 1) }
    }

    /// The key of a hash in the table. The steps are reversible on 56 bits, so two hashes have the same key only if
    /// these bits of them are the same.
    fn permuted(&self, hash: u64) -> u64 {
        let mut bits = hash >> 8;
        for secret in self.secret {
            bits = bits.wrapping_mul(secret) << 8 >> 8;
            bits ^= bits >> 28;
        }
        bits << 8
    }

    /// Whether a name with this [`stem_hash`] and extension may become one that is taken.
    pub fn conflicts(&self, hash: u64, extension: ExtensionId) -> bool {
        let is_same = |other: ExtensionId| [extension, other].contains(&ExtensionId::ANY) || extension == other;
        self.table
            .values(self.permuted(hash))
            .any(|other| u8::try_from(other).is_ok_and(|other| is_same(ExtensionId(other))))
    }

    /// Adds the entry unless it is there.
    pub fn insert(&mut self, hash: u64, extension: ExtensionId) {
        let (hash, extension) = (self.permuted(hash), u64::from(extension.0));
        if !self.table.values(hash).any(|other| other == extension) {
            self.table.add(hash, extension);
        }
    }

    /// Whether a name with this [`masked_stem_hash`] is taken at another suffix level: its digits and its suffix could
    /// be taken for those of the new name.
    pub fn is_ambiguous(&self, masked_stem_hash: u64, suffix_level: SuffixLevel) -> bool {
        self.table.values(self.permuted(masked_stem_hash)).any(|other| other != u64::from(suffix_level.0) + 1)
    }

    /// Adds a name by its [`masked_stem_hash`].
    pub fn insert_masked(&mut self, masked_stem_hash: u64, suffix_level: SuffixLevel) {
        self.insert(masked_stem_hash, ExtensionId(suffix_level.0 + 1));
    }
}

/// The name as file systems that ignore case see it (macOS, Windows). They differ in which letters they take for the
/// same (`ς` and `σ`, `ſ` and `s`), so letters that are the same in either case are the same here.
fn case_folded(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.to_lowercase().to_uppercase().to_lowercase().nfc().collect()
}

/// The hash of a path without its extension, case-folded.
pub fn stem_hash(name: &str) -> u64 {
    let folded = case_folded(name);
    xxh3_64(&folded.as_bytes()[..stem_end(&folded)])
}

/// Like [`stem_hash`], with all hexadecimal digits replaced by zeros. Two names with SHA-256 digits at the end can
/// become the same only if this hash is the same, even where a suffix is taken for those digits, and those digits for
/// text before them.
pub fn masked_stem_hash(name: &str) -> u64 {
    let folded = case_folded(name);
    let is_digit = |byte: &u8| byte.is_ascii_hexdigit() || char::from(*byte) == DIGIT_PLACEHOLDER;
    let masked = folded.bytes().take(stem_end(&folded)).map(|byte| if is_digit(&byte) { b'0' } else { byte });
    // Another seed, so the hash does not collide with a `stem_hash`.
    xxh3_64_with_seed(&masked.collect::<Vec<_>>(), 1)
}

/// The length of a path without its extension, in bytes.
fn stem_end(folded: &str) -> usize {
    let is_image = |ext: &&str| *ext == "\0" || Format::from_extension(ext).is_some();
    extension(folded).filter(is_image).map_or(folded.len(), |ext| folded.len() - ext.len() - 1)
}

/// The hashes that a path of an earlier run occupies, its own first. `possible_patterns`: the patterns of this template
/// that may have become the path. If the extension is also a word elsewhere in the path, `{ext}` may have produced that
/// word, and with another extension it would be another word; so the path with a placeholder there is taken too. For a
/// file of unknown format that word is `bin`, and the path has no extension.
pub fn earlier_stem_hashes(path: &str, possible_patterns: impl Iterator<Item = String>) -> Vec<u64> {
    let ext = extension(path).unwrap_or_default();
    let lacks_extension = Format::from_extension(ext).is_none();
    let mut hashes = Vec::new();
    for pattern in std::iter::once(path.to_owned()).chain(possible_patterns) {
        let own = stem_hash(&pattern);
        let widened = with_placeholders(&pattern, |word| {
            (!ext.is_empty() && word == ext) || (lacks_extension && word == UNKNOWN_EXTENSION)
        });
        let without_extension = lacks_extension.then(|| stem_hash(&format!("{widened}.{EXTENSION_PLACEHOLDER}")));
        hashes.push(own);
        hashes.extend([stem_hash(&widened)].into_iter().chain(without_extension).filter(|hash| *hash != own));
    }
    hashes
}

/// The path with placeholders instead of the words that `is_placeholder` selects.
fn with_placeholders(path: &str, is_placeholder: impl Fn(&str) -> bool) -> String {
    let mut words = String::with_capacity(path.len());
    for piece in path.split_inclusive(|character: char| !character.is_alphanumeric()) {
        let word = piece.trim_end_matches(|character: char| !character.is_alphanumeric());
        if is_placeholder(word) {
            words.push(EXTENSION_PLACEHOLDER);
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
