//! `--status` and its flags, and `--metadata`.

use std::io::{self, IsTerminal};
use std::path::Path;

use super::shards::location;
use super::{UsageError, usage};
use crate::cli::args::{Args, StatusFormat};
use crate::report::table::TableFormat;
use crate::run::metadata::Metadata;
use crate::run::status::StatusOptions;
use crate::util::location::Location;

/// What the command line with `--status` asks for.
pub fn status_options(args: &Args) -> Result<StatusOptions, UsageError> {
    if let Some(list) = args.input.first() {
        return usage(format!(
            "--status tells what the journal of the output folder knows, and reads no list; leave out {}",
            list.display()
        ));
    }
    let format = match args.format {
        None | Some(StatusFormat::Jsonl) => TableFormat::Jsonl,
        Some(StatusFormat::Csv) => TableFormat::Csv,
        Some(StatusFormat::Tsv) => TableFormat::Tsv,
        Some(StatusFormat::Parquet) => TableFormat::Parquet,
    };
    if !format.is_supported() {
        return usage("--format parquet: this fetchimg was built without Parquet; write jsonl, csv or tsv");
    }
    if format == TableFormat::Parquet && io::stdout().is_terminal() {
        return usage("--format parquet is for a file; write > status.parquet behind it");
    }
    if let Location::Store(url) = location(&args.output)? {
        return usage(format!(
            "--status -o {url}: the records of a set are in its tables; read those with any program for Parquet, or compare the set \
             with its records: fetchimg --verify-output -o {url}"
        ));
    }
    let asked = [(args.failed, "failed"), (args.saved, "saved"), (args.refused, "refused")];
    Ok(StatusOptions {
        output: args.output_is_given.then(|| args.output.clone()),
        state: args.state.clone(),
        statuses: asked.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, status)| status).collect(),
        format,
        metadata: metadata(args.metadata.as_deref())?,
        summary: !args.quiet,
    })
}

/// `--metadata`.
pub fn metadata(path: Option<&Path>) -> Result<Option<Metadata>, UsageError> {
    let Some(path) = path else { return Ok(None) };
    match TableFormat::of_file(path) {
        Some(format) if format.is_supported() => Ok(Some(Metadata { path: path.to_owned(), format })),
        Some(_) => usage(format!(
            "--metadata {}: this fetchimg was built without Parquet; the name must end in .jsonl or .csv",
            path.display()
        )),
        None => usage(format!("--metadata {}: the name must end in .jsonl, .csv or .parquet", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::tests::assert_refused;

    #[test]
    fn invalid_values_are_refused_with_a_hint() {
        assert_refused(&[("list --metadata metadata.txt", ".jsonl, .csv"), ("list --metadata metadata", ".parquet")]);
    }

    #[test]
    fn statuses_are_those_that_are_asked_for() {
        let options = |line: &str| {
            let words = std::iter::once("fetchimg").chain(line.split_whitespace()).map(Into::into);
            status_options(&Args::parse_line(words).expect("a command line"))
        };
        let found = options("--status --failed --refused --format csv -o x").expect("options");
        assert_eq!((found.statuses, found.format), (vec!["failed", "refused"], TableFormat::Csv));
        assert!(options("--status").expect("options").statuses.is_empty());
        assert!(options("list --status").expect_err("a list").to_string().contains("leave out list"));
    }
}
