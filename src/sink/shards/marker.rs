//! The marker of a shard, `00000_stats.json`: it is written last, and a shard exists when its marker does.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::table::{Status, TableRow};

/// The end of the name of a marker.
pub const SUFFIX: &str = "_stats.json";

/// What a marker says of its shard: the keys of img2dataset, and ours below `fetchimg`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// Rows of the list.
    pub count: u64,
    /// Rows with a sample.
    pub successes: u64,
    /// Rows without an image.
    pub failed_to_download: u64,
    /// Rows with an image that is not wanted, or cannot be decoded.
    pub failed_to_resize: u64,
    /// Rows without a sample on purpose.
    pub skipped: u64,
    /// Seconds from the first row to the marker.
    pub duration: f64,
    /// When the first row began, in seconds since 1970.
    pub start_time: f64,
    /// When the shard was complete.
    pub end_time: f64,
    /// Rows by how they ended.
    pub status_dict: BTreeMap<String, u64>,
    /// What the shard was made from, and its files.
    pub fetchimg: Origin,
}

/// What a shard was made from, and its files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The version of fetchimg.
    pub version: String,
    /// The SHA-256 of the rows of the list.
    pub input: String,
    /// The SHA-256 of the options that decide what is in the shard.
    pub settings: String,
    /// The file with the images.
    pub data: StoredFile,
    /// The file with the metadata, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<StoredFile>,
}

/// A file of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

impl Marker {
    /// Reads the text of a marker. `None` if it is empty or torn, as after a loss of power: then the shard does not exist.
    ///
    /// # Errors
    /// When another program wrote it.
    pub fn parse(text: &[u8]) -> io::Result<Option<Self>> {
        match serde_json::from_slice(text) {
            Ok(marker) => Ok(Some(marker)),
            Err(_) if serde_json::from_slice::<IgnoredAny>(text).is_err() => Ok(None),
            Err(_) => {
                let sentence =
                    "it is no marker that fetchimg wrote, but one of another program; choose another folder with -o";
                Err(io::Error::new(io::ErrorKind::InvalidData, sentence))
            }
        }
    }

    /// The text of the file.
    ///
    /// # Errors
    /// When a value cannot be expressed in JSON.
    pub fn text(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Whether the files of the other shard have the same content.
    #[must_use]
    pub fn has_same_files(&self, other: &Self) -> bool {
        let (one, other) = (&self.fetchimg, &other.fetchimg);
        (&one.data, &one.metadata) == (&other.data, &other.metadata)
    }
}

/// Counts the rows of a shard.
#[derive(Debug, Default)]
pub struct Counts {
    rows: u64,
    successes: u64,
    failed_to_download: u64,
    failed_to_resize: u64,
    skipped: u64,
    by_status: BTreeMap<String, u64>,
}

impl Counts {
    /// Adds a row.
    pub fn add(&mut self, row: &TableRow) {
        self.rows += 1;
        *match row.status() {
            Status::Success => &mut self.successes,
            Status::FailedToDownload => &mut self.failed_to_download,
            Status::FailedToResize => &mut self.failed_to_resize,
            Status::Skipped => &mut self.skipped,
        } += 1;
        let name = row.counted_as();
        match self.by_status.get_mut(&*name) {
            Some(count) => *count += 1,
            None => _ = self.by_status.insert(name.into_owned(), 1),
        }
    }

    /// The marker of the shard. `began`: when its first row did.
    #[must_use]
    pub fn marker(self, began: SystemTime, fetchimg: Origin) -> Marker {
        let since_1970 = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (first, last) = (since_1970(began), since_1970(SystemTime::now()));
        Marker {
            count: self.rows,
            successes: self.successes,
            failed_to_download: self.failed_to_download,
            failed_to_resize: self.failed_to_resize,
            skipped: self.skipped,
            duration: last.saturating_sub(first).as_secs_f64(),
            start_time: first.as_secs_f64(),
            end_time: last.as_secs_f64(),
            status_dict: self.by_status,
            fetchimg,
        }
    }
}
