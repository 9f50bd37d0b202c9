//! Turns the command line ([`Args`]) into options: parses the values, and refuses wrong or contradictory flags with a
//! sentence that says what to type instead. Each group of flags has a file.

mod http;
mod images;
mod input;
mod modes;
mod output;
mod reports;
mod shards;
mod status;
mod units;

use std::fmt;

use self::http::http_options;
use self::images::{transform_options, wanted};
use self::input::{input_options, sources};
use self::modes::{concurrency, limit_rate, modes, per_host, request_interval, sample};
use self::output::{check_output, check_template_columns, chunk_size, existing, manifest, template};
pub use self::reports::LogOptions;
use self::reports::{allowed_share, log_options, reports};
use self::shards::set_options;
pub use self::shards::{existing_output, with_flags_of_set};
use self::status::metadata;
pub use self::status::status_options;
use self::units::{seconds, size};
use super::args::Args;
use crate::fetch;
use crate::http::retry;
use crate::input::Source;
use crate::journal::RowIdentity;
use crate::run;
use crate::sink::folder;

/// The options of the program.
#[derive(Debug)]
pub struct Config {
    /// Options of the run.
    pub run: run::Options,
    /// Report what would be done, and fetch nothing.
    pub dry_run: bool,
    /// What is logged and shown during the run.
    pub log: LogOptions,
}

/// The command line is wrong or contradicts itself (exit status 2). Its text is a sentence for the user.
#[derive(Debug)]
pub struct UsageError(String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

fn usage<T>(sentence: impl Into<String>) -> Result<T, UsageError> {
    Err(UsageError(sentence.into()))
}

impl TryFrom<Args> for Config {
    type Error = UsageError;

    fn try_from(args: Args) -> Result<Self, UsageError> {
        let sources = sources(&args)?;
        let concurrency = concurrency(args.concurrency)?;
        let template = template(&args.name)?;
        let input = input_options(&args)?;
        check_template_columns(&template, &input)?;
        let manifest = manifest(&args)?;
        let modes = modes(&args);
        let chunk_size = chunk_size(&args.chunk_size)?;
        check_output(&args)?;
        let wanted = wanted(&args)?;
        let mut reports = reports(&args, manifest.as_ref())?;
        // What came through a pipe cannot be typed again.
        reports.command = args.command.clone().filter(|_| !sources.contains(&Source::Stdin));
        let log = log_options(&args)?;
        let set = set_options(&args)?;
        let mut run = run::Options {
            template,
            folder: folder::Options { fsync: args.fsync, dedupe: args.dedupe, ..folder::Options::default() },
            existing: existing(&args)?,
            remake: args.remake,
            rename: args.rename,
            row_identity: if args.keep_duplicates {
                RowIdentity::UrlAndNumber { several_passes: modes.len() > 1 }
            } else {
                RowIdentity::Url
            },
            skip_permanent: args.skip_permanent,
            manifest,
            metadata: metadata(args.metadata.as_deref())?,
            modes,
            sample: args.sample.map(|rows| sample(rows, args.sample_seed)).transpose()?,
            concurrency,
            per_host: per_host(&args.per_host)?,
            request_interval: args.rate.map(request_interval).transpose()?,
            fetch: fetch::Options {
                wanted,
                chunk_size,
                max_bytes: size("--max-bytes", &args.max_bytes)?,
                refuses_larger: args.max_bytes_is_given,
                fix_extension: args.fix_extension,
                plan: transform_options(&args)?,
                limit_rate: args.limit_rate.as_deref().map(limit_rate).transpose()?,
                is_impatient: !args.stall_timeout_is_given,
                file_urls: args.file_urls,
                store_urls: args.store_urls,
                policy: retry::Policy {
                    retries: args.retries,
                    first_wait: seconds("--retry-wait", args.retry_wait, true)?,
                },
            },
            http: http_options(&args)?,
            reports,
            metrics: args.metrics.clone(),
            ok_if_failed_below: args.ok_if_failed_below.map(allowed_share).transpose()?,
            set,
            sources,
            input,
            output: args.output,
            state: args.state,
        };
        run.reconcile();
        run::check_distinct(&run).or_else(|error| usage(error.to_string()))?;
        Ok(Self { run, dry_run: args.dry_run, log })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::ReportFormat;

    /// The options for a command line, without the program's name.
    pub fn config(line: &str) -> Result<Config, UsageError> {
        let words = std::iter::once("fetchimg").chain(line.split_whitespace()).map(Into::into);
        Config::try_from(Args::parse_line(words).expect("a command line"))
    }

    /// Asserts that each command line is refused with a sentence that contains its hint.
    #[track_caller]
    pub fn assert_refused(cases: &[(&str, &str)]) {
        for (line, hint) in cases {
            let sentence = config(line).expect_err(line).to_string();
            assert!(sentence.contains(hint), "{line}: {sentence}");
        }
    }

    #[test]
    fn defaults_of_the_flags_are_those_of_the_library() {
        let config = config("list").expect("a config");
        let mut expected = run::Options { sources: vec![Source::File("list".into())], ..run::Options::default() };
        expected.reconcile();
        // Only the command prints a report on standard output.
        expected.reports.to_stdout = Some(ReportFormat::Text);
        expected.reports.command = Some("fetchimg list".into());
        assert_eq!(format!("{:#?}", config.run), format!("{expected:#?}"));
    }
}
