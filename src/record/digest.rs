//! Digests of bodies, computed while they stream, and the checksums that a list gives for them.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// MD5 (RFC 1321): broken, but many lists have no other digest.
    Md5,
    /// SHA-1 (FIPS 180-4): also broken.
    Sha1,
    /// SHA-256 (FIPS 180-4).
    Sha256,
    /// SHA-512 (FIPS 180-4).
    Sha512,
    /// BLAKE3 with its default output of 32 bytes.
    Blake3,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha512, Self::Blake3];

    /// The name in records and in `--hash`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }

    /// The algorithm with this name; upper and lower case are equal.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }
}

/// Computes the digests of one body by several algorithms.
#[derive(Clone, Debug, Default)]
pub struct Digester(Vec<HasherState>);

#[derive(Clone, Debug)]
enum HasherState {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
    Blake3(Box<blake3::Hasher>),
}

impl Digester {
    /// A digester that has got no bytes yet. An algorithm that is given twice is used once.
    pub fn new(algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        let mut algorithms = algorithms.into_iter().collect::<Vec<_>>();
        algorithms.sort_unstable();
        algorithms.dedup();
        let begin = |algorithm| match algorithm {
            Algorithm::Md5 => HasherState::Md5(md5::Md5::new()),
            Algorithm::Sha1 => HasherState::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => HasherState::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => HasherState::Sha512(Box::new(sha2::Sha512::new())),
            Algorithm::Blake3 => HasherState::Blake3(Box::new(blake3::Hasher::new())),
        };
        Self(algorithms.into_iter().map(begin).collect())
    }

    /// Adds the next bytes of the body.
    pub fn update(&mut self, bytes: &[u8]) {
        for state in &mut self.0 {
            match state {
                HasherState::Md5(hasher) => hasher.update(bytes),
                HasherState::Sha1(hasher) => hasher.update(bytes),
                HasherState::Sha256(hasher) => hasher.update(bytes),
                HasherState::Sha512(hasher) => hasher.update(bytes),
                HasherState::Blake3(hasher) => drop(hasher.update(bytes)),
            }
        }
    }

    /// The digests of all bytes that were added.
    #[must_use]
    pub fn finish(self) -> Digests {
        let end = |state| match state {
            HasherState::Md5(hasher) => (Algorithm::Md5, hex(&hasher.finalize())),
            HasherState::Sha1(hasher) => (Algorithm::Sha1, hex(&hasher.finalize())),
            HasherState::Sha256(hasher) => (Algorithm::Sha256, hex(&hasher.finalize())),
            HasherState::Sha512(hasher) => (Algorithm::Sha512, hex(&hasher.finalize())),
            HasherState::Blake3(hasher) => (Algorithm::Blake3, hex(hasher.finalize().as_bytes())),
        };
        Digests(self.0.into_iter().map(end).collect())
    }
}

/// Digests by algorithm, in lower-case hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests(Vec<(Algorithm, String)>);

impl Digests {
    /// The digest by this algorithm, if there is one.
    #[must_use]
    pub fn get(&self, wanted: Algorithm) -> Option<&str> {
        self.0.iter().find(|(algorithm, _)| *algorithm == wanted).map(|(_, digest)| &**digest)
    }

    /// Only the digests by these algorithms.
    #[must_use]
    pub fn only(mut self, wanted: &[Algorithm]) -> Self {
        self.0.retain(|(algorithm, _)| wanted.contains(algorithm));
        self
    }
}

impl Serialize for Digests {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(algorithm, digest)| (algorithm.name(), digest)))
    }
}

impl<'de> Deserialize<'de> for Digests {
    /// Reads the digests from a map and ignores its other entries: in records, they are fields among others.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DigestsVisitor;
        impl<'de> Visitor<'de> for DigestsVisitor {
            type Value = Digests;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("digests by algorithm")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Digests, A::Error> {
                let mut digests = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    match Algorithm::by_name(&name) {
                        Some(algorithm) => digests.push((algorithm, map.next_value()?)),
                        None => drop(map.next_value::<serde::de::IgnoredAny>()?),
                    }
                }
                Ok(Digests(digests))
            }
        }
        deserializer.deserialize_map(DigestsVisitor)
    }
}

/// The digest that a body must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The algorithm of the digest.
    pub algorithm: Algorithm,
    /// The digest in lower-case hexadecimal digits.
    pub digest: String,
}

impl std::str::FromStr for Checksum {
    type Err = String;

    /// Reads hexadecimal digits, whose number determines the algorithm. White space around them is ignored.
    ///
    /// # Errors
    /// A clause that follows the words "the checksum" and says what is wrong.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(other) = text.chars().find(|character| !character.is_ascii_hexdigit()) {
            return Err(format!("holds {other:?}, which is no hexadecimal digit"));
        }
        let algorithm = match text.len() {
            32 => Algorithm::Md5,
            40 => Algorithm::Sha1,
            64 => Algorithm::Sha256,
            128 => Algorithm::Sha512,
            digits => return Err(format!("has {digits} digits; md5 has 32, sha1 40, sha256 64, sha512 128")),
        };
        Ok(Self { algorithm, digest: text.to_ascii_lowercase() })
    }
}

/// The two lower-case hexadecimal digits of each byte value.
const HEX_DIGITS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};

/// Bytes as lower-case hexadecimal digits. Every URL hash is printed with it, so it looks up both digits of a byte at once
/// instead of appending characters one by one.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| HEX_DIGITS[usize::from(*byte)]).collect::<Vec<_>>();
    String::from_utf8(digits.into_flattened()).unwrap_or_else(|_| unreachable!("the digits are ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_equal_the_published_test_vectors() {
        let mut digester = Digester::new(Algorithm::ALL.into_iter().chain([Algorithm::Md5]));
        digester.update(b"a");
        digester.update(b"bc");
        let digests = digester.finish();
        let table = [
            (Algorithm::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (Algorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                Algorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            (Algorithm::Blake3, "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ];
        for (algorithm, digest) in table {
            assert_eq!(digests.get(algorithm), Some(digest), "{}", algorithm.name());
        }
        assert_eq!(digests.only(&[Algorithm::Sha1]), Digests(vec![(Algorithm::Sha1, table[1].1.into())]));
    }

    #[test]
    fn the_length_of_a_checksum_determines_its_algorithm() {
        for (digits, algorithm) in
            [(32, Algorithm::Md5), (40, Algorithm::Sha1), (64, Algorithm::Sha256), (128, Algorithm::Sha512)]
        {
            let checksum = format!(" {}\n", "Ab".repeat(digits / 2)).parse::<Checksum>().expect("a checksum");
            assert_eq!(checksum, Checksum { algorithm, digest: "ab".repeat(digits / 2) });
        }
        assert!("abc".parse::<Checksum>().expect_err("too short").contains("has 3 digits"));
        assert!("x".repeat(32).parse::<Checksum>().expect_err("no hex").contains("'x'"));
        assert!("ä".repeat(32).parse::<Checksum>().is_err());
    }
}
