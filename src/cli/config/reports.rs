//! Flags of the group "Output and logging".

use std::time::Duration;

use super::shards::takes_stdout;
use super::units::seconds;
use super::{UsageError, usage};
use crate::cli::args::{Args, LogFormat, ProgressChoice};
use crate::journal::manifest::ManifestTarget;
use crate::progress::ProgressMode;
use crate::run::{ReportFormat, Reports};

/// What is logged and shown during the run.
#[derive(Debug)]
pub struct LogOptions {
    /// Level of detail of the log: -1 for errors only, 0 for the usual log, 1 for details, 2 and more for everything.
    pub verbosity: i8,
    /// Format of the log lines.
    pub format: LogFormat,
    /// How progress is shown.
    pub progress: ProgressMode,
    /// The silence after which a line says that the run goes on.
    pub heartbeat: Option<Duration>,
}

/// `--report`, `--json` and `--quiet`: where the report goes. `--manifest -` takes standard output from it.
pub fn reports(args: &Args, manifest: Option<&ManifestTarget>) -> Result<Reports, UsageError> {
    let mut files = Vec::with_capacity(args.report.len());
    for path in &args.report {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => ReportFormat::Json,
            Some("txt") => ReportFormat::Text,
            Some("html" | "htm") => ReportFormat::Html,
            Some("md") => ReportFormat::Markdown,
            _ => {
                return usage(format!("--report {}: the name must end in .html, .md, .json or .txt", path.display()));
            }
        };
        files.push((format, path.clone()));
    }
    let streams_images = takes_stdout(args);
    if streams_images && args.json {
        return usage("-o - and --json both want standard output; write the report to a file with --report run.json");
    }
    if streams_images && manifest == Some(&ManifestTarget::Stdout) {
        return usage("-o - and --manifest - both want standard output; write the records to a file");
    }
    let stdout_taken = streams_images || manifest == Some(&ManifestTarget::Stdout);
    Ok(Reports {
        files,
        to_stdout: match (stdout_taken, args.json, args.quiet) {
            (true, _, _) | (false, false, true) => None,
            (false, true, _) => Some(ReportFormat::Json),
            (false, false, false) => Some(ReportFormat::Text),
        },
        to_stderr: (stdout_taken && !args.quiet).then_some(ReportFormat::Text),
        command: None,
    })
}

/// `--progress`, `--quiet`, `--verbose`, `--log-format` and `--heartbeat`.
pub fn log_options(args: &Args) -> Result<LogOptions, UsageError> {
    let progress = match args.progress {
        _ if args.quiet => ProgressMode::Off,
        ProgressChoice::Auto => ProgressMode::auto(),
        ProgressChoice::Bar => ProgressMode::Bar,
        ProgressChoice::Log => ProgressMode::Log,
        ProgressChoice::None => ProgressMode::Off,
    };
    let verbosity = if args.quiet { -1 } else { i8::try_from(args.verbose).unwrap_or(i8::MAX) };
    let silence = seconds("--heartbeat", args.heartbeat, true)?;
    let heartbeat = Some(silence).filter(|silence| !args.quiet && !silence.is_zero());
    Ok(LogOptions { verbosity, format: args.log_format, progress, heartbeat })
}

/// `--ok-if-failed-below`.
pub fn allowed_share(share: f64) -> Result<f64, UsageError> {
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    usage(format!("--ok-if-failed-below {share}: it is a share from 0 to 1, such as 0.05 for 5 %"))
}

#[cfg(test)]
mod tests {
    use crate::cli::config::tests::assert_refused;

    #[test]
    fn invalid_values_are_refused_with_a_hint() {
        assert_refused(&[("list --report run.docx", ".json")]);
    }
}
