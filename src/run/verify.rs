//! Compares an output with what it says of itself (`--verify-output`). Nothing is changed and nothing is fetched.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;

use serde::Deserialize;

use super::status::{current_records, field};
use crate::record::{Algorithm, Digester, Exit, RunError, is_plain_path};
use crate::sink::folder::FolderView;
use crate::sink::shards::{Finding, SetInfo, Verdict, verify};
use crate::util::human::Count;
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
    #[serde(default)]
    sha256: Option<String>,
}

/// Looks at all that is in an output, and prints what is wrong.
///
/// # Errors
/// When the output cannot be read, or holds neither a set nor files of fetchimg.
pub fn run(root: &Location, state: Option<&Path>) -> Result<Exit, RunError> {
    let fail = |source| RunError::List { name: root.to_string(), source };
    let set = SetInfo::read(root).map_err(fail)?;
    let (looked_at, findings) = if let Some(root) = root.folder().filter(|_| set.is_none()) {
        verify_files(root, state)?
    } else if set.is_none() {
        let sentence = "there is no set in it; name another place with -o";
        return Err(fail(io::Error::new(io::ErrorKind::NotFound, sentence)));
    } else {
        let Verdict { shards, rows, samples, findings } = verify(root).map_err(fail)?;
        let looked_at = format!("{} shards with {} samples of {} rows", Count(shards), Count(samples), Count(rows));
        (looked_at, findings)
    };
    let print = || {
        let mut out = io::stdout().lock();
        for Finding { name, what } in &findings {
            writeln!(out, "{}: {}", escaped(name), escaped(what))?;
        }
        match findings.len() {
            0 => writeln!(out, "{looked_at}: all is as the records say"),
            count => writeln!(out, "{looked_at}: {} to look at", Count(count as u64)),
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
fn verify_files(root: &Path, state: Option<&Path>) -> Result<(String, Vec<Finding>), RunError> {
    let folder = FolderView::open(root, state)?;
    let (mut files, mut findings) = (0_u64, Vec::new());
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
        let path = root.join(&name);
        let found = compare(&path, &saved).map_err(|source| RunError::Journal { path, source })?;
        findings.extend(found.map(|what| Finding { name, what: format!("{what}; the same command fetches it again") }));
        Ok(())
    })?;
    let looked_at = if files == 1 { "1 file".to_owned() } else { format!("{} files", Count(files)) };
    Ok((looked_at, findings))
}

fn compare(path: &Path, saved: &SavedFile) -> io::Result<Option<String>> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("it is missing".to_owned())),
        found => found?,
    };
    if found.len() != saved.bytes {
        return Ok(Some(format!("it has {} bytes, and its record says {}", Count(found.len()), Count(saved.bytes))));
    }
    let Some(expected) = &saved.sha256 else { return Ok(None) };
    let mut digester = Digester::new([Algorithm::Sha256]);
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
    let is_same = digester.finish().get(Algorithm::Sha256) == Some(expected);
    // It has the right length, so a run takes it for what was saved.
    Ok((!is_same).then(|| "it is not what was saved: its SHA-256 is another one; remove it".to_owned()))
}
