//! Sentences about URLs that seem to be mistakes of the list, and about wishes that were not met: each is told once, with
//! its number of rows, and with what to do about it.

use super::advice::{percent, share};
use super::words::counted;
use super::{Summary, SuspiciousKind};
use crate::util::redact::escaped;

/// The most characters of a URL that is shown as an example.
const MAX_EXAMPLE_CHARS: usize = 100;

/// The sentences for a pass.
pub fn sentences(summary: &Summary) -> Vec<String> {
    let mut sentences = summary.suspicious_urls.iter().map(suspicious).collect::<Vec<_>>();
    if summary.extension_mismatches > 0 {
        let (count, share) = (summary.extension_mismatches, share(summary.extension_mismatches, summary.saved));
        sentences.push(format!(
            "{} of the files ({count}) hold another format than their names say; --fix-extension names them by content.",
            percent(share)
        ));
    }
    if summary.smaller_than_box > 0 && !summary.enlarges {
        let images = counted(summary.smaller_than_box, "image");
        sentences.push(format!("{images} had fewer pixels than --resize asks for; --enlarge scales them up."));
    }
    for (column, count) in &summary.empty_columns {
        sentences.push(empty_column(column, *count));
    }
    for (column, count) in &summary.relabelled_duplicates {
        let (column, have) = (escaped(column), if *count == 1 { "has" } else { "have" });
        sentences.push(format!(
            "{} {have} the URL of an earlier row and another {column}, and no file; --keep-duplicates gives each row its own.",
            counted(*count, "row")
        ));
    }
    sentences
}

/// What is told of a column of the names that is empty in some rows.
pub fn empty_column(column: &str, count: u64) -> String {
    let (column, rows) = (escaped(column), counted(count, "row"));
    let their = if count == 1 { "its name has" } else { "their names have" };
    format!(
        "The column {column} is empty in {rows}: {their} none, _ or nothing in its place; fill it in, or leave such rows out."
    )
}

fn suspicious(kind: &SuspiciousKind) -> String {
    let (what, remedy) = kind.words();
    let have = if kind.count == 1 { "has" } else { "have" };
    let mut example = escaped(&kind.example).into_owned();
    if let Some((end, _)) = example.char_indices().nth(MAX_EXAMPLE_CHARS) {
        example.replace_range(end.., "...");
    }
    format!("{} {have} {what}; {remedy}. An example: {example}", counted(kind.count, "row"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::record::Mode;
    use crate::report::Tally;

    #[test]
    fn each_shortfall_has_a_sentence_with_its_count_and_what_to_do() {
        let mut summary = Tally::new(Mode::Sequential).summary(Duration::from_secs(1), 1);
        assert!(sentences(&summary).is_empty());
        let example = format!("http://a.example/{}\u{1b}", "x".repeat(200));
        summary.suspicious_urls = vec![SuspiciousKind { kind: "html", count: 2, example }];
        (summary.saved, summary.extension_mismatches, summary.smaller_than_box) = (4, 1, 1);
        summary.empty_columns = BTreeMap::from([("caption".into(), 3)]);
        summary.relabelled_duplicates = BTreeMap::from([("label".into(), 1)]);
        let told = sentences(&summary);
        assert_eq!(
            told[0],
            format!(
                "2 rows have &amp; in the URL, which is & in HTML; write & in the list. An example: http://a.example/{}...",
                "x".repeat(83)
            )
        );
        assert_eq!(
            told[1..],
            [
                "25 % of the files (1) hold another format than their names say; --fix-extension names them by content.",
                "1 image had fewer pixels than --resize asks for; --enlarge scales them up.",
                "The column caption is empty in 3 rows: their names have none, _ or nothing in its place; fill it in, or leave \
                 such rows out.",
                "1 row has the URL of an earlier row and another label, and no file; --keep-duplicates gives each row its own.",
            ]
        );
        summary.enlarges = true;
        assert_eq!(sentences(&summary).len(), 4, "they were enlarged");
    }
}
