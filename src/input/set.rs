//! What a set of shards says of itself: the records of its rows, and the rows that may be tried again.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Source;
use super::parquet::table::{self, TableRow};
use super::rows::{ListContext, RawRow, ReadError, RowSender, is_whole, missing_flag};
use crate::record::{ColumnType, ColumnValues, Extra, MadeWith, RunError};
use crate::util::human::counted;
use crate::util::location::{Location, OpenFile};
use crate::util::shell::quoted;
use crate::util::store::StoreUrl;
use crate::util::{private_file, redact};

/// The columns of a table that are not those of the list, where the table itself does not say it.
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

/// The columns with the digests of images, beside the SHA-256.
const DIGEST_COLUMNS: [&str; 5] = ["md5", "sha1", "sha512", "blake3", "phash"];

/// The column with the status in the record of a row.
const STATUS_COLUMN: &str = "record_status";

/// The columns with the key of the row that a row tries again, and with the shard of that row.
const RETRY_COLUMNS: [&str; 2] = ["retry_of", "retry_of_shard"];

/// The key under which a table notes which columns are those of the list.
const METADATA_KEY: &str = "fetchimg";

/// The columns of a table that are those of the list.
struct ListColumns {
    /// Their names in the table and in the list; `None` if the table does not say it.
    stated: Option<Vec<(String, String)>>,
}

impl ListColumns {
    fn of(table: &OpenFile) -> io::Result<Self> {
        #[derive(serde::Deserialize)]
        struct Notes {
            list_columns: Vec<(String, String)>,
        }
        let notes = table::noted(table, METADATA_KEY)?;
        let notes = notes.and_then(|text| serde_json::from_str::<Notes>(&text).ok());
        Ok(Self { stated: notes.map(|notes| notes.list_columns) })
    }

    /// What a column is called in the list, if it is one of the list.
    fn name<'a>(&'a self, column: &'a str) -> Option<&'a str> {
        if let Some(stated) = &self.stated {
            return stated.iter().find(|(name, _)| name == column).map(|(_, name)| name.as_str());
        }
        match column.trim_start_matches("list_") {
            _ if RECORD_COLUMNS.contains(&column) => None,
            plain if RECORD_COLUMNS.contains(&plain) => Some(plain),
            _ => Some(column),
        }
    }

    /// The value of a column that is not one of the list; null if there is none.
    fn get<'a>(&self, row: &'a TableRow, column: &str) -> &'a Value {
        let found = row.iter().find(|(name, _)| **name == *column).filter(|(name, _)| self.name(name).is_none());
        found.map_or(&Value::Null, |(_, value)| value)
    }

    /// The columns of the list, by the names that they have there.
    fn others<'a>(&'a self, row: &'a TableRow) -> impl Iterator<Item = (&'a str, &'a Value)> {
        row.iter().filter_map(|(column, value)| Some((self.name(column)?, value)))
    }
}

/// Parquet files in a store whose columns are looked at at the same time.
const MAX_FOOTERS_AT_ONCE: usize = 16;

/// The types of the columns of the lists, if all of them are Parquet files; otherwise none are stated.
///
/// # Errors
/// When a file cannot be read.
pub fn column_types(sources: &[Source]) -> Result<Vec<(Arc<str>, ColumnType)>, RunError> {
    let mut types = ListedColumns::new();
    for source in sources {
        match source {
            Source::Stored(prefix, pattern) => {
                let Some(found) = columns_in_store(prefix, pattern) else { return Ok(Vec::new()) };
                for (name, values) in found {
                    add(&mut types, name, values);
                }
            }
            Source::File(path) => {
                let Some(file) = parquet_file(path) else { return Ok(Vec::new()) };
                // What is wrong with the list is found again when its rows are read.
                for (name, values) in table::columns(&file).unwrap_or_default() {
                    add(&mut types, name, values);
                }
            }
            // What is tried again has the types that it has in the set.
            Source::FailedOf(set) => {
                for shard in complete_shards(set).unwrap_or_default() {
                    // What is wrong with a table is found again when its rows are read.
                    let Ok(file) = set.open(&table_of(&shard)) else { continue };
                    let Ok(columns) = ListColumns::of(&file) else { continue };
                    for (column, values) in table::columns(&file).unwrap_or_default() {
                        if let Some(name) = columns.name(&column) {
                            add(&mut types, name.into(), values);
                        }
                    }
                }
            }
            _ => return Ok(Vec::new()),
        }
    }
    Ok(types.into_iter().map(|(name, values)| (name, values.ty)).collect())
}

/// Columns by their names, and what is known of their values.
type ListedColumns = Vec<(Arc<str>, ColumnValues)>;

/// The table of a shard.
fn table_of(shard: &str) -> String {
    format!("{shard}.parquet")
}

fn add(types: &mut ListedColumns, name: Arc<str>, values: ColumnValues) {
    match types.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = known.or(values),
        None => types.push((name, values)),
    }
}

/// The columns of the Parquet files in a store, of all in turn; `None` if one of them is none. Several are asked at the same
/// time, because each takes some requests.
fn columns_in_store(prefix: &StoreUrl, pattern: &str) -> Option<ListedColumns> {
    let location = Location::Store(prefix.clone());
    let names = prefix.matching(pattern).ok()?;
    let columns_of = |name: &String| {
        let mut file = location.open(name).ok()?;
        let mut head = [0; 4];
        file.read_exact(&mut head).ok()?;
        (head == *b"PAR1").then(|| table::columns(&file).unwrap_or_default())
    };
    let mut types = Vec::new();
    for names in names.chunks(MAX_FOOTERS_AT_ONCE) {
        let found = std::thread::scope(|scope| {
            let threads = names.iter().map(|name| scope.spawn(|| columns_of(name))).collect::<Vec<_>>();
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

/// A shard whose records are read back from its table.
#[derive(Clone, Copy, Debug)]
pub struct ShardRecords<'a> {
    /// The set.
    pub set: &'a Location,
    /// The name of the shard.
    pub shard: &'a str,
    /// The number of its first row in the list.
    pub first: u64,
    /// The column of the list with the caption.
    pub caption_column: Option<&'a str>,
    /// The wishes with which the set is made, as records have them.
    pub made_with: &'a MadeWith,
}

/// The records of a shard as lines of JSON, from its table.
///
/// # Errors
/// When the table cannot be read.
pub fn record_lines(from: ShardRecords<'_>) -> Result<Vec<Vec<u8>>, RunError> {
    let mut lines = Vec::new();
    let mut read = || {
        let table = from.set.open(&table_of(from.shard))?;
        let columns = ListColumns::of(&table)?;
        let add = |row: TableRow| {
            let record = record_of(&row, &columns, (from, from.first + lines.len() as u64));
            lines.extend(redact::json(&record, false));
            true
        };
        table::read_table(table, |_| true, add)
    };
    read().map_err(|source| unreadable(from.set, from.shard, &source))?;
    Ok(lines)
}

/// A table that cannot be read, and what to do about it.
fn unreadable(set: &Location, shard: &str, source: &io::Error) -> RunError {
    let advice = format!("{source}; fetchimg --verify-output -o {} says what to do", quoted(&set.to_string()));
    RunError::Journal { path: set.path(&table_of(shard)), source: io::Error::new(source.kind(), advice) }
}

/// The record of a row of a table.
fn record_of(row: &TableRow, columns: &ListColumns, (from, index): (ShardRecords<'_>, u64)) -> Map<String, Value> {
    let get = |name: &str| columns.get(row, name);
    let mut record = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            record.insert(name.to_owned(), value);
        }
    };
    put("index", index.into());
    put("shard", from.shard.into());
    let mut take = |names: &[&str]| names.iter().for_each(|name| put(name, get(name).clone()));
    take(&["url", "url_hash", "key", "caption"]);
    match get("status").as_str() {
        Some("success") => {
            take(&["path", "bytes", "format", "width", "height", "content_type", "http_status", "final_url"]);
            take(&["attempts", "ttfb_ms", "total_ms", "sha256"]);
            take(&DIGEST_COLUMNS);
            put("status", "saved".into());
            put("resumed_from", 0.into());
            put("start_ms", 0.0.into());
            let exif = get("exif").as_str().and_then(|exif| serde_json::from_str::<Value>(exif).ok());
            put("exif", exif.unwrap_or(Value::Null));
            put(MadeWith::FIELD, serde_json::to_value(from.made_with).unwrap_or_default());
        }
        Some("skipped") => {
            put("status", "skipped".into());
            put("reason", get("error").clone());
            let path = get("error_message").as_str().and_then(|message| message.strip_prefix(SAME_AS));
            put("path", path.map_or(Value::Null, Into::into));
        }
        _ => {
            take(&["error", "http_status", "retryable", "attempts", "total_ms"]);
            take(&["bytes", "format", "width", "height"]);
            // Tables of earlier versions do not say whether it was refused. These mostly were.
            let guess = || match get("error").as_str() {
                Some("not_accepted" | "too_small") => "refused",
                _ => "failed",
            };
            put("status", get(STATUS_COLUMN).as_str().unwrap_or_else(guess).into());
            put("message", get("error_message").clone());
        }
    }
    let others = columns.others(row).map(|(name, value)| (name.to_owned(), value.clone()));
    let mut extra = others.collect::<Map<_, _>>();
    if let Some((column, caption)) = from.caption_column.zip(Some(get("caption")).filter(|caption| !caption.is_null()))
    {
        extra.insert(column.to_owned(), caption.clone());
    }
    for column in RETRY_COLUMNS {
        if !get(column).is_null() {
            extra.insert(column.to_owned(), get(column).clone());
        }
    }
    if !extra.is_empty() {
        put("extra", Value::Object(extra));
    }
    record
}

/// What the message of a row begins with whose image is that of another row.
const SAME_AS: &str = "the same as ";

/// The end of the name of a marker.
const MARKER_SUFFIX: &str = "_stats.json";

/// The journals of folders of files, that of earlier versions last.
fn journals(folder: &Path) -> [PathBuf; 2] {
    [folder.join(private_file::JOURNAL), folder.join(private_file::FOLDER).join("manifest.jsonl")]
}

/// The journal of a folder of files, if it has one.
#[must_use]
pub fn journal_of(folder: &Path) -> Option<PathBuf> {
    journals(folder).into_iter().find(|path| fs::metadata(path).is_ok_and(|found| found.len() > 0))
}

/// The names of the complete shards of a set, in order: those whose markers fetchimg wrote to their ends.
///
/// # Errors
/// When its folder or its prefix cannot be read.
pub fn complete_shards(set: &Location) -> io::Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Marker {
        #[serde(rename = "fetchimg")]
        _ours: serde::de::IgnoredAny,
    }
    let mut shards = Vec::new();
    for name in set.names()? {
        let Some(shard) = name.strip_suffix(MARKER_SUFFIX).filter(|name| !name.starts_with('.')) else { continue };
        let is_ours = |text: Vec<u8>| serde_json::from_slice::<Marker>(&text).is_ok();
        if set.read(&name)?.is_some_and(is_ours) {
            shards.push(shard.to_owned());
        }
    }
    Ok(shards)
}

/// Adds the rows of a set that failed and may succeed now. Those that were tried again by a later shard count as that
/// shard says.
pub fn read_failed(output: &Location, context: &ListContext<'_>, rows: &mut RowSender) -> Result<(), ReadError> {
    let fail = |error| context.unreadable(error);
    let shards = complete_shards(output).map_err(fail)?;
    if shards.is_empty() {
        return Err(fail(io::Error::new(io::ErrorKind::NotFound, "there is no journal and no complete shard in it")));
    }
    let mut tried = TriedRows::default();
    for shard in &shards {
        let read = output.open(&table_of(shard)).and_then(|table| tried.read(table));
        read.map_err(|error| ReadError::Failed(unreadable(output, shard, &error)))?;
    }
    let (mut without_url, mut sent) = (0, 0_u64);
    for name in &shards {
        let mut shard = FailedRows { shard: name, columns: ListColumns { stated: None }, urls: HashSet::new() };
        let mut ended = Ok(());
        let mut read = || {
            let table = output.open(&table_of(name))?;
            shard.columns = ListColumns::of(&table)?;
            table::read_table(
                table,
                |_| true,
                |row| {
                    let Some(key) = shard.key_to_try_again(&row, &tried) else { return true };
                    let url = shard.columns.get(&row, "url").as_str().unwrap_or_default();
                    let hash = shard.columns.get(&row, "url_hash");
                    if !hash.is_null() && !is_whole(url, hash.as_str().unwrap_or_default()) {
                        without_url += 1;
                        return true;
                    }
                    let extra = shard.extra(&row, &key, context.options.caption_column.as_deref());
                    rows.push(RawRow { url: url.as_bytes(), checksum: Ok(b""), extra }, context.only_row());
                    sent += 1;
                    ended = if rows.unsent().0 >= 1000 { rows.send() } else { Ok(()) };
                    ended.is_ok()
                },
            )
        };
        read().map_err(|error| ReadError::Failed(unreadable(output, name, &error)))?;
        ended?;
    }
    warn_of_checksums(sent, context);
    warn_of_secrets(without_url);
    rows.send()
}

/// The rows of a set that were tried again, by their shards and keys. Earlier versions did not note the shard.
#[derive(Default)]
struct TriedRows(HashSet<(Option<String>, String)>);

impl TriedRows {
    /// Adds what a table says of other rows.
    fn read(&mut self, table: OpenFile) -> io::Result<()> {
        let columns = ListColumns::of(&table)?;
        let add = |row: TableRow| {
            let text = |column: &str| columns.get(&row, column).as_str().map(str::to_owned);
            let [key, shard] = RETRY_COLUMNS.map(text);
            self.0.extend(key.map(|key| (shard, key)));
            true
        };
        table::read_table(table, |name| RETRY_COLUMNS.contains(&name), add)
    }

    fn has(&self, shard: &str, key: &str) -> bool {
        // Few sets are of an earlier version.
        self.0.contains(&(Some(shard.to_owned()), key.to_owned())) || self.0.contains(&(None, key.to_owned()))
    }
}

/// Finds the rows of a shard that may be tried again.
struct FailedRows<'a> {
    shard: &'a str,
    columns: ListColumns,
    /// The URLs of rows that failed.
    urls: HashSet<String>,
}

impl FailedRows<'_> {
    /// The key of the next row of the shard, if it may succeed now and was not tried again: it failed, or it has no image
    /// because it repeats one that failed.
    fn key_to_try_again(&mut self, row: &TableRow, tried: &TriedRows) -> Option<String> {
        let get = |name: &str| self.columns.get(row, name);
        let url = get("url").as_str().unwrap_or_default();
        let url = url.split('#').next().unwrap_or_default();
        let may_succeed = match get("status").as_str() {
            Some("skipped") => {
                get("error") == "duplicate_url" && get("error_message").is_null() && self.urls.contains(url)
            }
            Some(status) => status.starts_with("failed") && get("retryable") == &Value::Bool(true),
            None => false,
        };
        let key = get("key").as_str().unwrap_or_default().to_owned();
        if may_succeed {
            self.urls.insert(url.to_owned());
        }
        (may_succeed && !tried.has(self.shard, &key)).then_some(key)
    }

    /// The columns of a row that is tried again.
    fn extra(&self, row: &TableRow, key: &str, caption_column: Option<&str>) -> Extra {
        // The columns that say what is tried again have their names.
        let name = |name: &str| if RETRY_COLUMNS.contains(&name) { format!("list_{name}") } else { name.to_owned() };
        let others = self.columns.others(row).map(|(column, value)| (name(column).into(), value.clone()));
        let mut extra = others.collect::<Vec<_>>();
        extra.extend(caption_column.map(|column| (column.into(), self.columns.get(row, "caption").clone())));
        let retried = RETRY_COLUMNS.into_iter().zip([key, self.shard]);
        extra.extend(retried.map(|(column, value)| (column.into(), value.into())));
        Extra::new(extra)
    }
}

/// Adds the rows of these records. Each has the number that it has in its list, because the name of its file may depend on it.
pub fn read_records(records: &RecordFeed, context: &ListContext<'_>, rows: &mut RowSender) -> Result<(), ReadError> {
    #[derive(serde::Deserialize)]
    struct RowOfRecord {
        index: u64,
        url: String,
        #[serde(default)]
        url_hash: Option<String>,
        #[serde(default)]
        extra: Extra,
    }
    let (mut without_url, mut sent, mut ended) = (0, 0_u64, Ok(()));
    let mut add = |line: &str| {
        let Ok(RowOfRecord { index, url, url_hash, extra }) = serde_json::from_str(line) else { return true };
        if url_hash.is_some_and(|hash| !is_whole(&url, &hash)) {
            without_url += 1;
            return true;
        }
        ended = check_permission(&url, context);
        if ended.is_ok() {
            rows.set_next_index(index);
            rows.push(RawRow { url: url.as_bytes(), checksum: Ok(b""), extra }, context.only_row());
            sent += 1;
            ended = if rows.unsent().0 >= 1000 { rows.send() } else { Ok(()) };
        }
        ended.is_ok()
    };
    (records.0)(&mut add).map_err(ReadError::Failed)?;
    ended?;
    warn_of_checksums(sent, context);
    warn_of_secrets(without_url);
    rows.send()
}

/// Records of rows that are read as a list, as lines of JSON. What it holds calls what it gets for each record, from the
/// first one, until that returns false.
#[derive(Clone)]
pub struct RecordFeed(pub Arc<ReadRecords>);

/// Reads records.
pub type ReadRecords = dyn Fn(&mut dyn FnMut(&str) -> bool) -> Result<(), RunError> + Send + Sync;

impl fmt::Debug for RecordFeed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("RecordFeed")
    }
}

/// Fails where a row may only be read with a flag. Otherwise its record would say from then on that it is no URL.
fn check_permission(url: &str, context: &ListContext<'_>) -> Result<(), ReadError> {
    let Some(flag) = missing_flag(url, context.options) else { return Ok(()) };
    let sentence = format!("rows of it are read only with {flag}, which is to be given again");
    Err(context.unreadable(io::Error::new(io::ErrorKind::PermissionDenied, sentence)))
}

fn warn_of_checksums(rows: u64, context: &ListContext<'_>) {
    if rows > 0 && context.options.checksum_column.is_some() {
        tracing::warn!(
            target: "fetchimg",
            "What is tried again is not compared with the checksums of the list, because the output does not have them"
        );
    }
}

fn warn_of_secrets(rows: u64) {
    if rows > 0 {
        tracing::warn!(
            target: "fetchimg",
            "{} cannot be tried again from here, because secrets in URLs are not stored; give the list",
            counted(rows, "row")
        );
    }
}
