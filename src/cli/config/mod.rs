//! Turns the command line ([`Args`]) into options: parses the values, and refuses wrong or contradictory flags with a
//! sentence that says what to type instead. Each group of flags has a file.

mod http;
mod images;
mod input;
mod modes;
mod output;
mod reports;
mod units;

use std::fmt;
use std::num::NonZeroUsize;

use self::http::http_options;
use self::images::{transform_options, wanted};
use self::input::{input_options, sources};
use self::modes::{limit_rate, per_host, request_interval, sample};
use self::output::{check_template_columns, existing};
pub use self::reports::LogOptions;
use self::reports::{log_options, reports};
use self::units::{seconds, size};
use super::args::Args;
use crate::fetch;
use crate::http::retry;
use crate::journal::RowIdentity;
use crate::journal::manifest::ManifestTarget;
use crate::naming::Template;
use crate::record::{Existing, Mode};
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
        let Some(concurrency) = NonZeroUsize::new(args.concurrency) else {
            return usage("-j 0 would download nothing; the smallest is -j 1 (or --sequential)");
        };
        let template = match args.name.parse::<Template>() {
            Ok(template) => template,
            Err(error) => return usage(format!("--name {}: {error}", args.name)),
        };
        let input = input_options(&args)?;
        check_template_columns(&template, &input)?;
        let manifest = args.manifest.as_ref().map(|path| match path.to_str() {
            Some("-") => ManifestTarget::Stdout,
            _ => ManifestTarget::File(path.clone()),
        });
        if manifest == Some(ManifestTarget::Stdout) && args.json {
            return usage(
                "--manifest - and --json both want standard output; write the report to a file with --report run.json",
            );
        }
        let (modes, existing) = match (args.compare, args.sequential, args.overwrite) {
            (true, _, false) => (vec![Mode::Sequential, Mode::Concurrent], Existing::Refresh),
            (true, _, true) => (vec![Mode::Sequential, Mode::Concurrent], Existing::Replace),
            (false, true, overwrite) => (vec![Mode::Sequential], existing(overwrite)),
            (false, false, overwrite) => (vec![Mode::Concurrent], existing(overwrite)),
        };
        let chunk_size = match size("--chunk-size", &args.chunk_size)? {
            0 => return usage("--chunk-size 0 would never get to the end; the smallest is 1"),
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        let wanted = wanted(&args)?;
        let reports = reports(&args, manifest.as_ref())?;
        let log = log_options(&args);
        let mut run = run::Options {
            template,
            folder: folder::Options { fsync: args.fsync, dedupe: args.dedupe, ..folder::Options::default() },
            existing,
            row_identity: if args.keep_duplicates {
                RowIdentity::UrlAndNumber { several_passes: modes.len() > 1 }
            } else {
                RowIdentity::Url
            },
            manifest,
            modes,
            sample: args.sample.map(|rows| sample(rows, args.sample_seed)).transpose()?,
            concurrency,
            per_host: per_host(&args.per_host)?,
            pace: args.rate.map(request_interval).transpose()?,
            fetch: fetch::Options {
                wanted,
                chunk_size,
                max_bytes: size("--max-bytes", &args.max_bytes)?,
                fix_extension: args.fix_extension,
                plan: transform_options(&args)?,
                limit_rate: args.limit_rate.as_deref().map(limit_rate).transpose()?,
                is_impatient: !args.stall_timeout_is_given,
                policy: retry::Policy {
                    retries: args.retries,
                    first_wait: seconds("--retry-wait", args.retry_wait, true)?,
                },
            },
            http: http_options(&args)?,
            reports,
            sources,
            input,
            output: args.output,
        };
        run.agree();
        Ok(Self { run, dry_run: args.dry_run, log })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Source;
    use crate::run::ReportFormat;

    /// The options for a command line, without the program's name.
    pub fn config(line: &str) -> Result<Config, UsageError> {
        let words = std::iter::once("fetchimg").chain(line.split_whitespace()).map(Into::into);
        Config::try_from(Args::parse_line(words).expect("a command line"))
    }

    #[test]
    fn invalid_command_lines_are_refused_with_a_hint() {
        for (line, hint) in [
            ("list -j 0", "-j 1"),
            ("list --sample 0", "such as 200"),
            ("list --sample 100001", "100000 rows"),
            ("list --per-host 0", "smallest is 1"),
            ("list --per-host many", "auto"),
            ("list --chunk-size 0", "smallest is 1"),
            ("list --max-bytes big", "10MiB"),
            ("list --name {nmae}", "{basename}"),
            ("list --name ../{basename}", "inside the output folder"),
            ("list --accept jpeg,doc", "comma list"),
            ("list --report run.docx", ".json"),
            ("list --manifest - --json", "--report run.json"),
            ("list --resolve example.org:127.0.0.1", "HOST:PORT:ADDRESS"),
            ("list --dns-servers example.org", "127.0.0.1:5353"),
            ("list --dns-servers 127.0.0.1,", "127.0.0.1:5353"),
            ("list --dns-servers 127.0.0.1:0", "127.0.0.1:5353"),
            ("list --dns-servers 127.0.0.1:99999", "127.0.0.1:5353"),
            ("list --dns-servers [127.0.0.1]", "127.0.0.1:5353"),
            ("list -H nonsense", "Name: value"),
            ("list -b nonsense", "NAME=VALUE"),
            ("list --timeout 0", "seconds"),
            ("list --rate 0", "write 5"),
            ("list --rate=-1", "write 5"),
            ("list --rate nan", "write 5"),
            ("list --limit-rate 0", "500k"),
            ("list --limit-rate fast", "10MiB"),
            ("list --public-only -x http://p:1", "leave out --proxy"),
            ("list --retry-wait nan", "seconds"),
            ("list --retry-wait=-1", "seconds"),
            ("list --proxy ::", "--proxy"),
            ("list --proxy ftp://127.0.0.1:1", "no kind of proxy"),
            ("- -", "only once"),
            ("list --checksum-column url", "the one with the digests"),
            ("list --url-column md5 --checksum-column md5", "the one with the digests"),
            ("list --input-format text --checksum-column md5", "needs a list with columns"),
            ("list --name {col.url}.{ext}", "{basename}, {stem}"),
            ("list --url-column link --name {index}-{col.link:0:8}", "{basename}, {stem}"),
            ("list --checksum-column md5 --name {col.md5:0:2}/{basename}", "write {sha256}"),
        ] {
            let sentence = config(line).expect_err(line).to_string();
            assert!(sentence.contains(hint), "{line}: {sentence}");
        }
    }

    #[test]
    fn defaults_of_the_flags_are_those_of_the_library() {
        let config = config("list").expect("a config");
        let mut expected = run::Options { sources: vec![Source::File("list".into())], ..run::Options::default() };
        expected.agree();
        // Only the command prints a report on standard output.
        expected.reports.to_stdout = Some(ReportFormat::Text);
        assert_eq!(format!("{:#?}", config.run), format!("{expected:#?}"));
    }
}
