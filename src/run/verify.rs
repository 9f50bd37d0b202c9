//! Compares an output with what it says of itself (`--verify-output`). Nothing is changed and nothing is fetched.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use serde::Deserialize;

use super::status::{current_records, field};
use crate::input::{complete_shards, journal_of};
use crate::record::{Algorithm, Digester, Digests, Exit, RunError, is_plain_path};
use crate::sink::folder::FolderView;
use crate::sink::shards::{Finding, SetInfo, Verdict, verify};
use crate::util::human::{Count, counted};
use crate::util::location::Location;
use crate::util::redact::escaped;

/// The fields of a record that say which file there should be.
#[derive(Deserialize)]
struct SavedFile {
    status: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    bytes: u64,
    #[serde(flatten)]
    digests: Digests,
}

impl SavedFile {
    /// The strongest digest that is recorded.
    fn digest(&self) -> Option<(Algorithm, &str)> {
        Algorithm::ALL.into_iter().rev().find_map(|algorithm| Some((algorithm, self.digests.get(algorithm)?)))
    }
}

/// Looks at all that is in an output, and prints what is wrong.
///
/// # Errors
/// When the output cannot be read, or holds neither a set nor files of fetchimg.
pub fn run(root: &Location, state: Option<&Path>) -> Result<Exit, RunError> {
    let fail = |source| RunError::Journal { path: root.root(), source };
    let is_set = match SetInfo::read(root) {
        Ok(None) => {
            root.folder().and_then(journal_of).is_none() && complete_shards(root).is_ok_and(|shards| !shards.is_empty())
        }
        // What is wrong with the file is one of the findings.
        Ok(Some(_)) => true,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => true,
        Err(error) => return Err(fail(error)),
    };
    let (looked_at, findings, proviso) = if is_set {
        let Verdict { shards, rows, samples, findings } = verify(root).map_err(fail)?;
        let looked_at =
            format!("{} with {} of {}", counted(shards, "shard"), counted(samples, "sample"), counted(rows, "row"));
        (looked_at, findings, String::new())
    } else if let Some(root) = root.folder() {
        verify_files(root, state)?
    } else {
        let sentence = "there is no set in it; name another place with -o";
        return Err(fail(io::Error::new(io::ErrorKind::NotFound, sentence)));
    };
    let print = || {
        let mut out = io::stdout().lock();
        for Finding { name, what } in &findings {
            writeln!(out, "{}: {}", escaped(name), escaped(what))?;
        }
        match findings.len() {
            0 => writeln!(out, "{looked_at}: all is as the records say{proviso}"),
            count => writeln!(out, "{looked_at}: {} to look at{proviso}", Count(count as u64)),
        }
    };
    match print() {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            Err(RunError::Output { path: "standard output".into(), source })
        }
        _ => Ok(if findings.is_empty() { Exit::Clean } else { Exit::SomeFailed }),
    }
}

/// Compares the files of a folder with its journal.
fn verify_files(root: &Path, state: Option<&Path>) -> Result<(String, Vec<Finding>, String), RunError> {
    let folder = FolderView::open(root, state)?;
    let (mut files, mut without_digest, mut findings) = (0_u64, 0_u64, Vec::new());
    current_records(&folder)?.for_each(|record| {
        // A row that repeats another one has its file, which is looked at once.
        let is_another = field(record.line, "status") == Some("skipped");
        let Ok(saved) = serde_json::from_str::<SavedFile>(record.with_file) else { return Ok(()) };
        let Some(name) =
            saved.path.clone().filter(|path| !is_another && saved.status == "saved" && is_plain_path(path))
        else {
            return Ok(());
        };
        files += 1;
        without_digest += u64::from(saved.digest().is_none());
        let path = root.join(&name);
        let found = compare(&path, &saved).map_err(|source| RunError::Journal { path, source })?;
        findings.extend(found.map(|what| Finding { name, what: format!("{what}; the same command fetches it again") }));
        Ok(())
    })?;
    let looked_at = counted(files, "file");
    let proviso = match without_digest {
        0 => String::new(),
        count => {
            let of = if count == files { "only the sizes" } else { "of some only the sizes" };
            format!(" ({of} were compared, because {} records have no digest: --hash records one)", Count(count))
        }
    };
    Ok((looked_at, findings, proviso))
}

fn compare(path: &Path, saved: &SavedFile) -> io::Result<Option<String>> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("it is missing".to_owned())),
        found => found?,
    };
    if found.len() != saved.bytes {
        return Ok(Some(format!("it has {} bytes, and its record says {}", Count(found.len()), Count(saved.bytes))));
    }
    let Some((algorithm, expected)) = saved.digest() else { return Ok(None) };
    let mut digester = Digester::new([algorithm]);
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path)?);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        digester.update(bytes);
        let count = bytes.len();
        reader.consume(count);
    }
    let is_same = digester.finish().get(algorithm) == Some(expected);
    // It has the right length, so a run takes it for what was saved.
    let name = if algorithm == Algorithm::Sha256 { "SHA-256" } else { algorithm.name() };
    Ok((!is_same).then(|| format!("it is not what was saved: its {name} is another one; remove it")))
}
