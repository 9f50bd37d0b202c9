//! Records as short texts, for comparisons in tests.

use serde_json::Value;

use super::Run;

impl Run {
    /// The last record of each row in list order: `saved a.png`, `failed bad_url`, `failed http_status 404`,
    /// `refused too_small`, `skipped duplicate_url a.png`. A row without a record fails the test.
    #[track_caller]
    pub fn outcomes(&self) -> Vec<String> {
        let last = self.records().iter().filter_map(|record| record["index"].as_u64()).max();
        last.map_or_else(Vec::new, |last| (0..=last).map(|index| outcome(&self.record(index))).collect())
    }
}

/// The outcome of a record as a short text.
pub fn outcome(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let status = text("status");
    let details = match status.as_str() {
        "saved" => vec![text("path")],
        "refused" => vec![text("error")],
        "failed" => {
            vec![text("error"), record["http_status"].as_u64().map_or_else(String::new, |code| code.to_string())]
        }
        _ => vec![text("reason"), text("path")],
    };
    let words = std::iter::once(status).chain(details).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The records of a manifest, which must hold nothing else.
#[track_caller]
pub fn manifest(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("a manifest is text");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))).collect()
}
