//! Finds the records that name certain files, and writes them anew with other names (`--overwrite`, `--rename`).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::index::{Key, Offset, RowState};
use super::line::RecordFields;
use super::{Journal, StoredFile};
use crate::record::{Job, MadeWith, RunError, recorded_url, text_hash};
use crate::util::redact;

/// A living record that names a file: the last one that says where the image of its row is.
#[derive(Clone, Debug)]
pub struct NamingRecord {
    key: Key,
    line: Vec<u8>,
    /// The hash of the URL, as 64 hexadecimal digits.
    pub url_hash: String,
}

impl NamingRecord {
    /// The record as a line of the journal, with another path.
    #[must_use]
    pub fn line_with_path(&self, path: &str) -> Vec<u8> {
        with_path(&self.line, path).unwrap_or_else(|_| unreachable!("it was read as a record before"))
    }
}

impl Journal {
    /// The offset at which the next record is appended, in bytes.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.lines.end()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end() == 0
    }

    /// The living records before an offset that name one of these files, by its path. Reads the whole journal.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub fn records_naming(
        &mut self,
        before: u64,
        paths: &HashSet<&str>,
    ) -> Result<HashMap<String, Vec<NamingRecord>>, RunError> {
        let index = &self.index;
        let mut living = HashMap::<Key, (String, NamingRecord)>::new();
        self.lines.for_each(|offset, line| {
            let Ok(record) = serde_json::from_slice::<RecordFields>(line) else { return };
            let Some(path) = record.plain_path().filter(|_| record.stored().is_some()) else { return };
            let key = index.key(record.url_identity(), record.index);
            // With `--keep-duplicates`, the index does not know of the rows that this run has saved.
            if record.is_saved() {
                living.remove(&key);
            }
            if index.says_saved(key, Offset::new(offset)) && offset < before && paths.contains(path) {
                let url_hash = record.url_hash.as_deref().filter(|hash| hash.len() == 64 && hash.is_ascii());
                let url_hash = url_hash.map_or_else(|| text_hash(record.url_identity()), str::to_owned);
                living.insert(key, (path.to_owned(), NamingRecord { key, line: line.to_vec(), url_hash }));
            }
        })?;
        let mut by_path = HashMap::<String, Vec<NamingRecord>>::new();
        for (path, record) in living.into_values() {
            by_path.entry(path).or_default().push(record);
        }
        Ok(by_path)
    }

    /// Calls `each` with the file of each living record that is that of its own row, and whose row is none of these, which
    /// are sorted. Reads the whole journal.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub fn names_of_others(&mut self, rows: &[Key], mut each: impl FnMut(&str)) -> Result<(), RunError> {
        let index = &self.index;
        self.lines.for_each(|offset, line| {
            let Ok(record) = serde_json::from_slice::<RecordFields>(line) else { return };
            let Some(path) = record.plain_path().filter(|_| record.is_saved()) else { return };
            let key = index.key(record.url_identity(), record.index);
            if index.says_saved(key, Offset::new(offset)) && rows.binary_search(&key).is_err() {
                each(path);
            }
        })
    }

    /// Calls `each` with each living record that says which file its row has: with the file, with the record as a line, and
    /// with its offset in the journal (see [`Journal::line_at`]). Reads the whole journal.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub fn each_living(&mut self, mut each: impl FnMut(&StoredFile, &[u8], u64)) -> Result<(), RunError> {
        let index = &self.index;
        self.lines.for_each(|offset, line| {
            let Ok(record) = serde_json::from_slice::<RecordFields>(line) else { return };
            let Some(file) = record.stored() else { return };
            let key = index.key(record.url_identity(), record.index);
            if index.says_saved(key, Offset::new(offset)) {
                each(&file, line, offset);
            }
        })
    }

    /// Appends a record anew, because its file has another path now.
    pub fn append_moved(&mut self, record: &NamingRecord, path: &str) {
        let offset = Offset::new(self.lines.append(&record.line_with_path(path)));
        self.index.set(record.key, RowState::SavedEarlier(offset));
    }
}

/// What changes in the record of a row whose file gets the name that the list gives now (`--rename`).
#[derive(Clone, Copy, Debug)]
pub struct NewName<'a> {
    /// The path.
    pub path: &'a str,
    /// Whether its extension stands for another format than that of the bytes.
    pub extension_mismatch: bool,
    /// The wishes that shaped the file and its name.
    pub made_with: &'a MadeWith,
}

/// The line of the record of a row, with another name of its file and the number that the row has now. `None` if it is no
/// record.
#[must_use]
pub fn renamed_line(line: &[u8], job: &Job, name: NewName<'_>) -> Option<Vec<u8>> {
    let mut fields = serde_json::from_slice::<Fields>(line).ok()?;
    fields.set("index", Some(to_raw_value(&job.index).ok()?));
    fields.set("path", Some(to_raw_value(name.path).ok()?));
    let mismatch = name.extension_mismatch.then(|| to_raw_value(&true)).transpose().ok()?;
    fields.set("extension_mismatch", mismatch);
    fields.set(MadeWith::FIELD, name.made_with.json().map(ToOwned::to_owned));
    serde_json::to_vec(&fields).ok()
}

/// What another request than that of the row has told, or another pass.
const OF_REQUEST: [&str; 6] = ["url_hash", "ttfb_ms", "waited_ms", "processor_wait_ms", "same_as", "extra"];

/// The line of the record of a row that gets a file of its own, because it had that of another row with the same content.
/// `line` is the record of the other row. `None` if it is no record.
#[must_use]
pub fn shared_line(line: &[u8], job: &Job, name: NewName<'_>) -> Option<Vec<u8>> {
    let line = renamed_line(line, job, name)?;
    let mut fields = serde_json::from_slice::<Fields>(&line).ok()?;
    for field in OF_REQUEST {
        fields.set(field, None);
    }
    let (url, url_hash) = recorded_url(&job.url);
    fields.set("final_url", Some(to_raw_value(&redact::shortened_data(&url)).ok()?));
    fields.set("url", Some(to_raw_value(&url).ok()?));
    if let Some(hash) = url_hash {
        fields.0.insert(fields.0.len().min(2), ("url_hash".into(), Cow::Owned(to_raw_value(&hash).ok()?)));
    }
    // As of an image that is made from a stored file: nothing is asked for.
    for field in ["attempts", "resumed_from", "start_ms", "total_ms"] {
        fields.set(field, Some(to_raw_value(&0).ok()?));
    }
    if !job.extra.is_empty() {
        fields.0.push(("extra".into(), Cow::Owned(to_raw_value(&job.extra).ok()?)));
    }
    redact::json(&fields, false).ok()
}

impl Journal {
    /// The record at this offset, as a line.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub fn line_at(&mut self, offset: u64) -> Result<Vec<u8>, RunError> {
        self.lines.line(offset)
    }

    /// Appends the record of a row in flight whose file has another name now: `line` is that of [`renamed_line`].
    pub fn append_renamed(&mut self, key: Key, line: &[u8]) {
        let offset = Offset::new(self.lines.append(line));
        self.index.set(key, RowState::InFlight(Some(offset)));
    }
}

/// The fields of a JSON object, in their order and as they are written.
struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl Fields<'_> {
    /// Gives a field a value, or removes it. A new one comes before the other columns of the row, which are the last field.
    fn set(&mut self, field: &'static str, value: Option<Box<RawValue>>) {
        let place = self.0.iter().position(|(name, _)| name == field);
        match (value, place) {
            (Some(value), Some(place)) => self.0[place].1 = Cow::Owned(value),
            (Some(value), None) => {
                let end = self.0.iter().position(|(name, _)| name == "extra").unwrap_or(self.0.len());
                self.0.insert(end, (field.into(), Cow::Owned(value)));
            }
            (None, Some(place)) => drop(self.0.remove(place)),
            (None, None) => {}
        }
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    fields.push((name.into(), Cow::Borrowed(value)));
                }
                Ok(Fields(fields))
            }
        }

        from.deserialize_map(Object)
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A record with another path. Everything else stays as it is written.
fn with_path(line: &[u8], path: &str) -> serde_json::Result<Vec<u8>> {
    let mut fields = serde_json::from_slice::<Fields>(line)?;
    fields.set("path", Some(to_raw_value(path)?));
    serde_json::to_vec(&fields)
}

/// A record with the number and the columns that a later record of the same row has. Everything else stays as it is written.
pub(super) fn with_row_of(line: &[u8], later: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut fields = serde_json::from_slice::<Fields>(line)?;
    let later = serde_json::from_slice::<Fields>(later)?;
    for column in ["index", "extra"] {
        let value = later.0.iter().find(|(name, _)| name == column).map(|(_, value)| value.clone());
        match (fields.0.iter().position(|(name, _)| name == column), value) {
            (Some(position), Some(value)) => fields.0[position].1 = value,
            (Some(position), None) => drop(fields.0.remove(position)),
            (None, Some(value)) => fields.0.push((column.into(), value)),
            (None, None) => {}
        }
    }
    serde_json::to_vec(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::RowIdentity;

    #[test]
    fn only_the_path_of_a_record_changes() {
        let line = br#"{"index":1,"url":"http://a/\"path\":1","status":"saved","path":"a.png","bytes":5,"total_ms":1.50,"extra":{"path":"a.png","n":1e3}}"#;
        let changed = with_path(line, "b \"c.png").expect("an object");
        let expected = String::from_utf8_lossy(line).replacen(r#""path":"a.png""#, r#""path":"b \"c.png""#, 1);
        assert_eq!(String::from_utf8_lossy(&changed), expected);
    }

    #[test]
    fn a_renamed_record_keeps_what_its_name_does_not_change() {
        let line = br#"{"index":1,"url":"http://a/1.png","status":"saved","path":"1.png","bytes":5,"extension_mismatch":true,"made_with":{"name":"{index}"},"extra":{"n":1e3}}"#;
        let job = Job::new(2, url::Url::parse("http://a/1.png").expect("a URL"));
        let wishes = crate::record::Wishes { phash: true, ..crate::record::Wishes::default() };
        let renamed = |made_with: &MadeWith| {
            let name = NewName { path: "a/2.png", extension_mismatch: false, made_with };
            String::from_utf8(renamed_line(line, &job, name).expect("a record")).expect("UTF-8")
        };
        let expected =
            r#"{"index":2,"url":"http://a/1.png","status":"saved","path":"a/2.png","bytes":5,"extra":{"n":1e3}}"#;
        assert_eq!(renamed(&MadeWith::default()), expected);
        let with_wishes = expected.replace(r#","extra""#, r#","made_with":{"phash":true},"extra""#);
        assert_eq!(renamed(&MadeWith::of(&wishes)), with_wishes);
    }

    #[test]
    fn a_row_gets_a_record_of_its_own_from_that_of_another_row() {
        let line = br#"{"index":1,"url":"http://a/1.png?sig=***","url_hash":"00","status":"saved","path":"1.png","bytes":5,"format":"png","width":3,"http_status":200,"final_url":"http://b/1.png","attempts":3,"resumed_from":2,"start_ms":1.5,"ttfb_ms":2.5,"total_ms":3.5,"sha256":"aa","same_as":"0.png","extra":{"n":1}}"#;
        let of = |url: &str| {
            let mut job = Job::new(2, url::Url::parse(url).expect("a URL"));
            job.extra = serde_json::from_str(r#"{"m":"\u001b"}"#).expect("columns");
            let name = NewName { path: "2.png", extension_mismatch: false, made_with: &MadeWith::default() };
            let line = shared_line(line, &job, name).expect("a record");
            let read = serde_json::from_slice::<crate::record::Record>(&line).expect("a whole record");
            assert_eq!(read.extra, job.extra);
            String::from_utf8(line).expect("UTF-8")
        };
        let expected = r#"{"index":2,"url":"http://a/2.png","status":"saved","path":"2.png","bytes":5,"format":"png","width":3,"http_status":200,"final_url":"http://a/2.png","attempts":0,"resumed_from":0,"start_ms":0,"total_ms":0,"sha256":"aa","extra":{"m":"\u001b"}}"#;
        assert_eq!(of("http://a/2.png"), expected);
        let secret = of("http://a/2.png?sig=secret");
        assert!(secret.starts_with(r#"{"index":2,"url":"http://a/2.png?sig=***","url_hash":""#), "{secret}");
        assert!(!secret.contains("secret"), "{secret}");
    }

    #[test]
    fn living_records_are_found_by_their_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        let line = |url: &str, rest: &str| format!("{{\"index\":0,\"url\":\"http://a/{url}\",{rest}}}\n");
        let saved = |url: &str, path: &str| line(url, &format!(r#""status":"saved","path":"{path}","bytes":5"#));
        let shares = |url: &str, path: &str| {
            line(url, &format!(r#""status":"skipped","reason":"duplicate_content","path":"{path}","bytes":5"#))
        };
        let earlier = [
            saved("1", "old.png"),
            saved("1", "a.png"),
            shares("2", "a.png"),
            saved("3", "b.png"),
            shares("3", "a.png"),
            saved("4", "a.png"),
            saved("5", "a.png"),
        ];
        let failed = line("5", r#""status":"failed","error":"dns""#);
        let later = [saved("4", "c.png"), failed, saved("6", "a.png")];
        std::fs::write(&path, earlier.concat() + &later.concat()).expect("write");
        let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
        let before = earlier.concat().len() as u64;
        let paths = ["a.png", "old.png"].into();
        let mut named = journal.records_naming(before, &paths).expect("read");
        let mut of_a = named.remove("a.png").expect("records");
        assert!(named.is_empty(), "what is superseded is dead: {named:?}");
        of_a.sort_by(|one, other| one.line.cmp(&other.line));
        let urls =
            of_a.iter().map(|record| String::from_utf8_lossy(&record.line)[27..28].to_owned()).collect::<Vec<_>>();
        assert_eq!(urls, ["1", "2", "5"]);

        for record in &of_a {
            journal.append_moved(record, "d.png");
        }
        let paths = ["d.png"].into();
        assert_eq!(journal.records_naming(u64::MAX, &paths).expect("read")["d.png"].len(), 3);
        assert_eq!(journal.end(), std::fs::metadata(&path).expect("a journal").len());
    }
}
