//! Compares a set with what it says of itself (`--verify-output`): markers, lengths, digests, the structure of tar files and
//! the number of rows.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read as _};

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
use crate::util::location::Location;
use crate::util::private_file;

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
    let set_file = match SetInfo::read(root) {
        Ok(Some(_)) => None,
        Ok(None) => Some("it is missing; the command that makes the set writes it anew".to_owned()),
        Err(error) => Some(error.to_string()),
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
            Err(error) => {
                find(format!("its marker cannot be read: {error}"));
                continue;
            }
        };
        match look_at(root, &marker) {
            Ok(None) => {}
            Ok(Some(what)) => find(format!("{what}; {}", remedy(name))),
            Err(error) => find(format!("it cannot be read: {error}; {}", remedy(name))),
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

/// What is wrong with a shard, if something is.
fn look_at(root: &Location, marker: &Marker) -> io::Result<Option<String>> {
    let origin = &marker.fetchimg;
    for stored in [Some(&origin.data), origin.metadata.as_ref()].into_iter().flatten() {
        if let Some(what) = compare(root, stored)? {
            return Ok(Some(what));
        }
    }
    let table = origin.metadata.as_ref().unwrap_or(&origin.data);
    let file = root.open(&table.name)?;
    let Ok(rows) = ParquetMetaDataReader::new().parse_and_finish(&file) else {
        return Ok(Some(format!("{} is no Parquet file", table.name)));
    };
    let rows = u64::try_from(rows.file_metadata().num_rows()).unwrap_or(0);
    if rows != marker.count {
        return Ok(Some(format!(
            "{} has {} rows, and the marker says {}",
            table.name,
            Count(rows),
            Count(marker.count)
        )));
    }
    if origin.data.name.ends_with(OutputFormat::Webdataset.names().1) {
        return look_at_tar(root, marker);
    }
    Ok(None)
}

fn look_at_tar(root: &Location, marker: &Marker) -> io::Result<Option<String>> {
    let name = &marker.fetchimg.data.name;
    let file = root.open(name)?;
    let length = file.length()?;
    let (mut records, mut files) = (0, BTreeSet::new());
    let mut twice = None;
    let end = tar::walk(&mut BufReader::new(file), length, |entry| {
        records += u64::from(entry.is_record());
        if !files.insert(entry.name.clone()) {
            twice.get_or_insert_with(|| entry.name.clone());
        }
    })?;
    Ok(match (end, twice) {
        (TarEnd::Torn(at), _) => Some(format!("{name} is torn at byte {}", Count(at))),
        (_, Some(twice)) => Some(format!("{name} has {twice} twice")),
        _ if records != marker.successes => {
            Some(format!("{name} has {} samples, and the marker says {}", Count(records), Count(marker.successes)))
        }
        _ => None,
    })
}

/// Compares a file with what its marker says.
fn compare(root: &Location, stored: &StoredFile) -> io::Result<Option<String>> {
    let StoredFile { name, bytes, sha256 } = stored;
    let mut file = match root.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(format!("{name} is missing"))),
        opened => opened?,
    };
    let length = file.length()?;
    if length != *bytes {
        return Ok(Some(format!("{name} has {} bytes, and the marker says {}", Count(length), Count(*bytes))));
    }
    let mut digest = Sha256::new();
    let mut piece = vec![0; 1 << 18];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => digest.update(&piece[..count]),
        }
    }
    let is_same = hex(&digest.finalize()) == *sha256;
    Ok((!is_same).then(|| format!("{name} is not what was written: its SHA-256 is another one")))
}
