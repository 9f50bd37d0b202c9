//! What a set of shards says of itself: the records of its rows, and the rows that may be tried again.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Source;
use super::parquet::table::{self, TableRow};
use super::rows::{ListContext, RawRow, ReadError, RowSender};
use crate::record::{ColumnType, Extra, RunError};
use crate::util::human::Count;
use crate::util::location::{Location, OpenFile};
use crate::util::store::StoreUrl;
use crate::util::{private_file, redact};

/// The columns of a table that say how a row ended.
const RECORD_COLUMNS: [&str; 27] = [
    "key",
    "url",
    "caption",
    "status",
    "error_message",
    "width",
    "height",
    "original_width",
    "original_height",
    "exif",
    "sha256",
    "error",
    "http_status",
    "retryable",
    "bytes",
    "format",
    "final_url",
    "content_type",
    "attempts",
    "ttfb_ms",
    "total_ms",
    "path",
    "retry_of",
    "url_hash",
    "offset",
    "length",
    "image",
];

/// Parquet files in a store whose columns are looked at at the same time.
const MAX_FOOTERS_AT_ONCE: usize = 16;

/// The types of the columns of the lists, if all of them are Parquet files; otherwise none are stated.
///
/// # Errors
/// When a file cannot be read.
pub fn column_types(sources: &[Source]) -> Result<Vec<(Arc<str>, ColumnType)>, RunError> {
    let mut types = Vec::<(Arc<str>, ColumnType)>::new();
    for source in sources {
        if let Source::Stored(prefix, pattern) = source {
            let Some(found) = column_types_in_store(prefix, pattern) else { return Ok(Vec::new()) };
            for (name, ty) in found {
                add(&mut types, name, ty);
            }
            continue;
        }
        let file = match source {
            Source::File(path) => parquet_file(path),
            // Further shards of a set are like those that are there.
            Source::FailedOf(set) => {
                let first = complete_shards(set).ok().and_then(|shards| shards.first().cloned());
                first.and_then(|shard| set.open(&format!("{shard}.parquet")).ok())
            }
            _ => None,
        };
        let Some(file) = file else { return Ok(Vec::new()) };
        // What is wrong with the list is found again when its rows are read.
        for (name, ty) in table::column_types(&file).unwrap_or_default() {
            add(&mut types, name, ty);
        }
    }
    Ok(types)
}

fn add(types: &mut Vec<(Arc<str>, ColumnType)>, name: Arc<str>, ty: ColumnType) {
    match types.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = known.or(ty),
        None => types.push((name, ty)),
    }
}

/// The columns of the Parquet files in a store, of all in turn; `None` if one of them is none. Several are asked at the same
/// time, because each takes some requests.
fn column_types_in_store(prefix: &StoreUrl, pattern: &str) -> Option<Vec<(Arc<str>, ColumnType)>> {
    let location = Location::Store(prefix.clone());
    let names = prefix.matching(pattern).ok()?;
    let types_of = |name: &String| {
        let mut file = location.open(name).ok()?;
        let mut head = [0; 4];
        file.read_exact(&mut head).ok()?;
        (head == *b"PAR1").then(|| table::column_types(&file).unwrap_or_default())
    };
    let mut types = Vec::new();
    for names in names.chunks(MAX_FOOTERS_AT_ONCE) {
        let found = std::thread::scope(|scope| {
            let threads = names.iter().map(|name| scope.spawn(|| types_of(name))).collect::<Vec<_>>();
            threads.into_iter().map(|thread| thread.join().ok().flatten()).collect::<Option<Vec<_>>>()
        });
        types.extend(found?.into_iter().flatten());
    }
    Some(types)
}

/// The file, if it is a regular one that begins as Parquet.
fn parquet_file(path: &Path) -> Option<OpenFile> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let mut head = [0; 4];
    file.read_exact(&mut head).ok()?;
    (head == *b"PAR1").then_some(OpenFile::Disk(file))
}

/// The records of a shard as lines of JSON, from its table in a set. `first`: the number of its first row in the list.
///
/// # Errors
/// When the table cannot be read.
pub fn record_lines(
    set: &Location,
    table: &str,
    first: u64,
    caption_column: Option<&str>,
) -> Result<Vec<Vec<u8>>, RunError> {
    let mut lines = Vec::new();
    let push = |row: TableRow| {
        let record = record_of(&row, first + lines.len() as u64, caption_column);
        lines.extend(redact::json(&record, false));
        true
    };
    let read = set.open(table).and_then(|table| table::read_table(table, |_| true, push));
    read.map_err(|source| RunError::List { name: set.path(table).display().to_string(), source })?;
    Ok(lines)
}

/// The record of a row of a table.
fn record_of(row: &TableRow, index: u64, caption_column: Option<&str>) -> Map<String, Value> {
    let get = |name: &str| row.iter().find(|(column, _)| **column == *name).map_or(&Value::Null, |(_, value)| value);
    let mut record = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            record.insert(name.to_owned(), value);
        }
    };
    put("index", index.into());
    let mut take = |names: &[&str]| names.iter().for_each(|name| put(name, get(name).clone()));
    take(&["url", "url_hash", "key", "caption"]);
    match get("status").as_str() {
        Some("success") => {
            take(&[
                "path",
                "bytes",
                "format",
                "width",
                "height",
                "content_type",
                "http_status",
                "final_url",
                "attempts",
            ]);
            take(&["ttfb_ms", "total_ms", "sha256"]);
            put("status", "saved".into());
            put("resumed_from", 0.into());
            put("start_ms", 0.0.into());
            let exif = get("exif").as_str().and_then(|exif| serde_json::from_str::<Value>(exif).ok());
            put("exif", exif.unwrap_or(Value::Null));
        }
        Some("skipped") => {
            put("status", "skipped".into());
            put("reason", get("error").clone());
            let path = get("error_message").as_str().and_then(|message| message.strip_prefix("the same as "));
            put("path", path.map_or(Value::Null, Into::into));
        }
        _ => {
            take(&["error", "http_status", "retryable", "attempts", "total_ms"]);
            // The user's own wishes turn these away.
            let is_refused = matches!(get("error").as_str(), Some("not_accepted" | "too_small"));
            put("status", if is_refused { "refused" } else { "failed" }.into());
            put("message", get("error_message").clone());
        }
    }
    let mut extra = others(row);
    if let Some((column, caption)) = caption_column.zip(Some(get("caption")).filter(|caption| !caption.is_null())) {
        extra.insert(column.to_owned(), caption.clone());
    }
    if !extra.is_empty() {
        put("extra", Value::Object(extra));
    }
    record
}

/// The columns of the list, by the names that they have there.
fn others(row: &TableRow) -> Map<String, Value> {
    let is_other = |name: &str| !RECORD_COLUMNS.contains(&name);
    let name = |name: &str| match name.trim_start_matches("list_") {
        plain if RECORD_COLUMNS.contains(&plain) => plain.to_owned(),
        _ => name.to_owned(),
    };
    row.iter().filter(|(column, _)| is_other(column)).map(|(column, value)| (name(column), value.clone())).collect()
}

/// The end of the name of a marker.
const MARKER_SUFFIX: &str = "_stats.json";

/// The column of a table with the key of the sample that a row tries again.
const RETRY_COLUMN: &str = "retry_of";

/// The journals of folders of files, that of earlier versions last.
fn journals(folder: &Path) -> [PathBuf; 2] {
    [folder.join(private_file::JOURNAL), folder.join(private_file::FOLDER).join("manifest.jsonl")]
}

/// The journal of a folder of files, if it has one.
#[must_use]
pub fn journal_of(folder: &Path) -> Option<PathBuf> {
    journals(folder).into_iter().find(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0))
}

/// The names of the complete shards of a set, in order.
///
/// # Errors
/// When its folder or its prefix cannot be read.
pub fn complete_shards(set: &Location) -> io::Result<Vec<String>> {
    let files = set.names()?;
    let shards = files.iter().filter_map(|name| name.strip_suffix(MARKER_SUFFIX));
    Ok(shards.filter(|name| !name.starts_with('.')).map(str::to_owned).collect())
}

/// Adds the rows of an output that failed and may succeed now. Those that were tried again by a later shard count as that
/// shard says.
pub fn read_failed(output: &Location, context: &ListContext<'_>, rows: &mut RowSender) -> Result<(), ReadError> {
    let fail = |error| context.unreadable(error);
    if let Some(journal) = output.folder().and_then(journal_of) {
        return read_failed_of_journal(&journal, context, rows);
    }
    let shards = complete_shards(output).map_err(fail)?;
    if shards.is_empty() {
        return Err(fail(io::Error::new(io::ErrorKind::NotFound, "there is no journal and no complete shard in it")));
    }
    let table = |shard: &String| output.open(&format!("{shard}.parquet"));
    let mut tried_again = HashSet::new();
    for shard in &shards {
        let collect = |row: TableRow| {
            tried_again.extend(row.first().and_then(|(_, key)| key.as_str().map(str::to_owned)));
            true
        };
        let read = table(shard).and_then(|table| table::read_table(table, |name| name == RETRY_COLUMN, collect));
        read.map_err(fail)?;
    }
    let mut without_url = 0;
    for shard in &shards {
        let mut sent = Ok(());
        let push = |row: TableRow| {
            let get =
                |name: &str| row.iter().find(|(column, _)| **column == *name).map_or(&Value::Null, |(_, value)| value);
            let key = get("key").as_str().unwrap_or_default();
            let has_failed = get("status").as_str().is_some_and(|status| status.starts_with("failed"));
            if !has_failed || get("retryable") != &Value::Bool(true) || tried_again.contains(key) {
                return true;
            }
            if !get("url_hash").is_null() {
                without_url += 1;
                return true;
            }
            let mut extra = others(&row).into_iter().map(|(name, value)| (name.into(), value)).collect::<Vec<_>>();
            if let Some(column) = &context.options.caption_column {
                extra.push((column.as_str().into(), get("caption").clone()));
            }
            extra.push((RETRY_COLUMN.into(), key.into()));
            let url = get("url").as_str().unwrap_or_default();
            let extra = Extra::new(extra);
            rows.push(RawRow { url: url.as_bytes(), checksum: Ok(b""), extra }, context.only_row());
            sent = if rows.unsent().0 >= 1000 { rows.send() } else { Ok(()) };
            sent.is_ok()
        };
        table(shard).and_then(|table| table::read_table(table, |_| true, push)).map_err(fail)?;
        sent?;
    }
    warn_of_secrets(without_url);
    rows.send()
}

fn read_failed_of_journal(journal: &Path, context: &ListContext<'_>, rows: &mut RowSender) -> Result<(), ReadError> {
    #[derive(serde::Deserialize)]
    struct Failed {
        index: u64,
        url: String,
        #[serde(default)]
        url_hash: Option<String>,
        status: String,
        #[serde(default)]
        retryable: bool,
        #[serde(default)]
        extra: Extra,
    }
    let fail = |error| context.unreadable(error);
    let mut failed = BTreeMap::new();
    for line in BufReader::new(File::open(journal).map_err(fail)?).split(b'\n') {
        // The last line may be torn.
        let Ok(record) = serde_json::from_slice::<Failed>(&line.map_err(fail)?) else { continue };
        let row = (record.index, record.url.clone());
        if record.status == "failed" && record.retryable {
            failed.insert(row, record);
        } else {
            failed.remove(&row);
        }
    }
    let mut without_url = 0;
    for ((index, url), Failed { url_hash, extra, .. }) in failed {
        if url_hash.is_some() {
            without_url += 1;
            continue;
        }
        // The name of the file may depend on the number of the row.
        rows.set_next_index(index);
        rows.push(RawRow { url: url.as_bytes(), checksum: Ok(b""), extra }, context.only_row());
        if rows.unsent().0 >= 1000 {
            rows.send()?;
        }
    }
    warn_of_secrets(without_url);
    rows.send()
}

fn warn_of_secrets(rows: u64) {
    if rows > 0 {
        tracing::warn!(
            target: "fetchimg",
            "{} rows cannot be tried again from here, because their URLs hold secrets, which are not stored; give the list",
            Count(rows)
        );
    }
}
