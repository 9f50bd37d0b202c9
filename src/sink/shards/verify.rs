//! Compares a set with what it says of itself (`--verify-output`): markers, lengths, digests, the structure of tar files and
//! the number of rows.

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use parquet::file::metadata::ParquetMetaDataReader;
use sha2::{Digest as _, Sha256};

use super::OutputFormat;
use super::marker::{Marker, SUFFIX, StoredFile};
use super::set::{FILE, SetInfo};
use super::tar::{self, TarEnd};
use super::target::{read_marker, shard_names};
use super::units::Units;
use crate::record::hex;
use crate::util::human::Count;
use crate::util::location::{Location, OpenFile};
use crate::util::private_file;
use crate::util::redact::escaped;

/// What is wrong with a shard, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The shard, or the file.
    pub name: String,
    /// A sentence.
    pub what: String,
}

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Shards with a marker.
    pub shards: u64,
    /// Their rows.
    pub rows: u64,
    /// Their samples.
    pub samples: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Looks at all shards of a set.
///
/// # Errors
/// When its folder or its prefix cannot be read.
pub fn verify(root: &Location) -> io::Result<Verdict> {
    let mut verdict = Verdict::default();
    let files = root.names()?;
    let names = shard_names(&files);
    let (set, set_file) = match SetInfo::read(root) {
        Ok(Some(set)) => (Some((set.digest(), set)), None),
        Ok(None) => (None, Some("it is missing; the command that makes the set writes it anew".to_owned())),
        Err(error) => (None, Some(error.to_string())),
    };
    verdict.findings.extend(set_file.map(|what| Finding { name: FILE.to_owned(), what }));
    for name in &names {
        verdict.shards += 1;
        let mut find = |what: String| verdict.findings.push(Finding { name: name.clone(), what });
        let marker = match read_marker(root, name) {
            Ok(Some(marker)) => marker,
            Ok(None) => {
                find(format!("its marker is empty or torn, so the shard is no part of the set; {}", maker(name)));
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                find(format!("its marker is none that fetchimg wrote; {}", remedy(name)));
                continue;
            }
            Err(error) if is_of_connection(&error) => return Err(error),
            Err(error) => {
                find(format!("its marker cannot be read: {error}"));
                continue;
            }
        };
        match look_at(root, &marker) {
            Ok(None) => {}
            Ok(Some(what)) => find(format!("{what}; {}", remedy(name))),
            // Each of the others would take as long.
            Err(error) if is_of_connection(&error) => return Err(error),
            Err(error) => find(format!("it cannot be read: {error}; {}", remedy(name))),
        }
        if let Some((digest, set)) = &set {
            if set.is_outdated(&marker) && !Units::is_retry_name(name) {
                find(OUTDATED.to_owned());
            } else if marker.fetchimg.settings != *digest {
                find(of_other_options(name, &marker));
            }
        }
        verdict.rows += marker.count;
        verdict.samples += marker.successes;
    }
    let known = names.into_iter().collect::<BTreeSet<_>>();
    for name in files {
        let shard = name.strip_suffix(".tar").or_else(|| name.strip_suffix(".parquet"));
        if let Some(shard) = shard.filter(|shard| !shard.starts_with('.') && !known.contains(*shard)) {
            let what = format!("it has no marker, so it is no part of the set; {}", what_of_stray(shard));
            verdict.findings.push(Finding { name, what });
        }
    }
    let scratch = root.folder().map(|root| Location::Folder(root.join(private_file::FOLDER).join("shards")));
    for name in scratch.and_then(|scratch| scratch.names().ok()).unwrap_or_default() {
        let Some(shard) = name.strip_suffix(".jsonl").filter(|shard| !known.contains(*shard)) else { continue };
        let what = if Units::is_retry_name(shard) {
            "it is not complete; --retry-failed goes on with it"
        } else {
            "it is not complete; the same command goes on with it"
        };
        verdict.findings.push(Finding { name: shard.to_owned(), what: what.to_owned() });
    }
    Ok(verdict)
}

/// Whether a store does not answer at all, or cannot be reached.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::NotConnected)
}

/// What is said of a shard that a run was to make anew and did not come to.
const OUTDATED: &str = "it is of the set as it was before --overwrite, which has not come to its end; without --overwrite, the \
                        same command goes on";

/// What is said of a shard that was made with other options than the set says: a run that made the shards of one share anew
/// with larger ones, for instance, leaves those that it has no number for.
fn of_other_options(name: &str, marker: &Marker) -> String {
    let origin = &marker.fetchimg;
    let files = [Some(&origin.data), origin.metadata.as_ref()].into_iter().flatten();
    let files = files.map(|file| escaped(&file.name).into_owned()).collect::<Vec<_>>().join(" and ");
    let then = if Units::is_retry_name(name) {
        "--retry-failed fetches rows of the set that failed"
    } else {
        "the same command makes it anew if the list has rows for it"
    };
    format!("it was made with other options than {FILE} says; remove {name}{SUFFIX}, {files}, and {then}")
}

/// What makes a shard anew that does not exist.
fn maker(name: &str) -> &'static str {
    if Units::is_retry_name(name) {
        "--retry-failed fetches its rows again"
    } else {
        "the same command makes the shard anew"
    }
}

fn remedy(name: &str) -> String {
    format!("remove {name}{SUFFIX}, and {}", maker(name))
}

/// What to do with a data file or a table without a marker.
fn what_of_stray(shard: &str) -> &'static str {
    if Units::is_retry_name(shard) {
        "remove it: --retry-failed fetches its rows again"
    } else if shard.len() >= 5 && shard.bytes().all(|byte| byte.is_ascii_digit()) {
        "the same command makes its shard, unless the list has ended before it: then remove it"
    } else {
        "a run with --shard of its name makes its shard; if there is none, move the file away, because readers of all \
         files take it for a part"
    }
}

/// What is wrong with a shard, if something is. Each of its files is read once.
fn look_at(root: &Location, marker: &Marker) -> io::Result<Option<String>> {
    let origin = &marker.fetchimg;
    let is_tar = origin.data.name.ends_with(OutputFormat::Webdataset.names().1);
    let data = match open(root, &origin.data)? {
        Ok(file) => file,
        Err(what) => return Ok(Some(what)),
    };
    if is_tar {
        let (digest, of_tar) = look_at_tar(data, marker)?;
        // A file that is another one is no tar file that is torn, to those who look for the reason.
        if let Some(what) = differs(&origin.data, &digest) {
            return Ok(Some(what));
        }
        let Some(stored) = &origin.metadata else { return Ok(of_tar) };
        let table = match open(root, stored)? {
            Ok(file) => look_at_table(&file, stored, marker.count)?,
            Err(what) => Some(what),
        };
        return Ok(table.or(of_tar));
    }
    look_at_table(&data, &origin.data, marker.count)
}

/// Opens a file of a shard. The inner error is what is wrong with it: it is missing, or has another length.
fn open(root: &Location, stored: &StoredFile) -> io::Result<Result<OpenFile, String>> {
    let StoredFile { name, bytes, .. } = stored;
    let file = match root.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(format!("{name} is missing"))),
        opened => opened?,
    };
    let length = file.length()?;
    Ok(if length == *bytes {
        Ok(file)
    } else {
        Err(format!("{name} has {} bytes, and the marker says {}", Count(length), Count(*bytes)))
    })
}

/// What to say of a file whose digest is not that of its marker.
fn differs(stored: &StoredFile, digest: &str) -> Option<String> {
    let name = &stored.name;
    (digest != stored.sha256).then(|| format!("{name} is not what was written: its SHA-256 is another one"))
}

fn look_at_table(file: &OpenFile, stored: &StoredFile, expected: u64) -> io::Result<Option<String>> {
    // Of an object, the end is kept from here on.
    let mut whole = Digesting::new(file.another()?);
    whole.read_to_end()?;
    if let Some(what) = differs(stored, &whole.digest()) {
        return Ok(Some(what));
    }
    let Ok(found) = ParquetMetaDataReader::new().parse_and_finish(file) else {
        return Ok(Some(format!("{} is no Parquet file", stored.name)));
    };
    let rows = u64::try_from(found.file_metadata().num_rows()).unwrap_or(0);
    Ok((rows != expected)
        .then(|| format!("{} has {} rows, and the marker says {}", stored.name, Count(rows), Count(expected))))
}

/// The digest of a tar file, and what is wrong with what is in it.
fn look_at_tar(file: OpenFile, marker: &Marker) -> io::Result<(String, Option<String>)> {
    let name = &marker.fetchimg.data.name;
    let length = file.length()?;
    let (mut records, mut files) = (0, BTreeSet::new());
    let mut twice = None;
    let mut whole = Digesting::new(file);
    let end = tar::walk(&mut whole, length, |entry| {
        records += u64::from(entry.is_record());
        if !files.insert(entry.name.clone()) {
            twice.get_or_insert_with(|| entry.name.clone());
        }
    })?;
    whole.read_to_end()?;
    let what = match (end, twice) {
        (TarEnd::Torn(at), _) => Some(format!("{name} is torn at byte {}", Count(at))),
        (_, Some(twice)) => Some(format!("{name} has {twice} twice")),
        _ if records != marker.successes => {
            Some(format!("{name} has {} samples, and the marker says {}", Count(records), Count(marker.successes)))
        }
        _ => None,
    };
    Ok((whole.digest(), what))
}

/// What [`Digesting`] reads at once, in bytes.
const PIECE_BYTES: usize = 1 << 18;

/// A file that is read from its beginning to its end, with its digest. It seeks forward only, and reads what is in between.
struct Digesting {
    file: OpenFile,
    digest: Sha256,
    piece: Vec<u8>,
    /// How much of the piece is valid, and how much of that has been given out.
    filled: usize,
    taken: usize,
    /// Where the piece begins in the file.
    begin: u64,
}

impl Digesting {
    fn new(file: OpenFile) -> Self {
        Self { file, digest: Sha256::new(), piece: vec![0; PIECE_BYTES], filled: 0, taken: 0, begin: 0 }
    }

    /// Reads the next piece. False at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        self.begin += self.filled as u64;
        (self.filled, self.taken) = (0, 0);
        self.filled = self.file.read(&mut self.piece)?;
        self.digest.update(&self.piece[..self.filled]);
        Ok(self.filled > 0)
    }

    fn read_to_end(&mut self) -> io::Result<()> {
        while self.fill()? {}
        Ok(())
    }

    /// The digest of all that was read, in hexadecimal digits.
    fn digest(self) -> String {
        hex(&self.digest.finalize())
    }
}

impl io::Read for Digesting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.filled && !self.fill()? {
            return Ok(0);
        }
        let count = buffer.len().min(self.filled - self.taken);
        buffer[..count].copy_from_slice(&self.piece[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

impl io::Seek for Digesting {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let io::SeekFrom::Start(to) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        let within = |begin: u64| to.checked_sub(begin).and_then(|distance| usize::try_from(distance).ok());
        loop {
            match within(self.begin) {
                None => return Err(io::ErrorKind::Unsupported.into()),
                Some(distance) if distance < self.taken => return Err(io::ErrorKind::Unsupported.into()),
                Some(distance) if distance <= self.filled => {
                    self.taken = distance;
                    return Ok(to);
                }
                Some(_) if !self.fill()? => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom, Write as _};

    use super::*;

    #[test]
    fn what_is_passed_over_is_in_the_digest_too() {
        let bytes = (0..=250).cycle().take(3 * PIECE_BYTES + 7).collect::<Vec<_>>();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).and_then(|()| file.rewind()).expect("written");
        let mut whole = Digesting::new(OpenFile::Disk(file));
        for at in [0, 5, PIECE_BYTES - 2, PIECE_BYTES + 1, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 3] {
            let mut found = [0; 3];
            whole.seek(SeekFrom::Start(at as u64)).and_then(|_| whole.read_exact(&mut found)).expect("read");
            assert_eq!(found, bytes[at..at + 3], "{at}");
        }
        whole.seek(SeekFrom::Start(4)).expect_err("it goes forward only");
        whole.seek(SeekFrom::Start(bytes.len() as u64 + 1)).expect_err("it is not so long");
        whole.read_to_end().expect("read");
        assert_eq!(whole.digest(), hex(&Sha256::digest(&bytes)));
    }
}
