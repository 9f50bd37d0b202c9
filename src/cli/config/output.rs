//! Flags of the group "Output".

use super::shards::location;
use super::units::size;
use super::{UsageError, usage};
use crate::cli::args::{Args, OutputFormatChoice};
use crate::input;
use crate::journal::manifest::ManifestTarget;
use crate::naming::Template;
use crate::record::Existing;
use crate::util::location::Location;

/// `--overwrite` and `--compare`: what to do with files that exist already. `--remake` and `--rename` are refused beside
/// flags that fetch everything anew, or only a part.
pub fn existing(args: &Args) -> Result<Existing, UsageError> {
    for (flag, is_given) in [("--remake", args.remake), ("--rename", args.rename)] {
        if is_given && args.overwrite {
            return usage(format!("--overwrite makes every image anew under the name it gets now; leave out {flag}"));
        }
        if is_given && args.compare {
            return usage(format!("--compare fetches every image in both modes; run {flag} without it"));
        }
        if is_given && args.sample.is_some() {
            return usage(format!("--sample fetches a part of the list for a forecast; run {flag} without it"));
        }
    }
    Ok(match (args.overwrite, args.compare) {
        (true, _) => Existing::Replace,
        (false, true) => Existing::Refresh,
        (false, false) => Existing::Keep,
    })
}

/// Refuses an output on a server, and files in an object store: a folder of that name would be made.
pub fn check_output(args: &Args) -> Result<(), UsageError> {
    let output = &args.output;
    if let Location::Store(_) = location(output)? {
        return match args.output_format {
            OutputFormatChoice::Files => usage(format!(
                "-o {}: object stores are for sets of shards; add --output-format webdataset or parquet",
                output.display()
            )),
            _ => Ok(()),
        };
    }
    match output.to_str().and_then(|text| text.split_once("://")) {
        Some((scheme, _)) if !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            usage(format!(
                "-o {}: images go into a folder, and {scheme}:// is none; copy the folder there afterwards",
                output.display()
            ))
        }
        _ => Ok(()),
    }
}

/// `--manifest`.
pub fn manifest(args: &Args) -> Result<Option<ManifestTarget>, UsageError> {
    let manifest = args.manifest.as_ref().map(|path| match path.to_str() {
        Some("-") => ManifestTarget::Stdout,
        _ => ManifestTarget::File(path.clone()),
    });
    if manifest == Some(ManifestTarget::Stdout) && args.json {
        return usage(
            "--manifest - and --json both want standard output; write the report to a file with --report run.json",
        );
    }
    Ok(manifest)
}

/// `--chunk-size`, in bytes.
pub fn chunk_size(text: &str) -> Result<usize, UsageError> {
    match size("--chunk-size", text)? {
        0 => usage("--chunk-size 0 would never get to the end; the smallest is 1"),
        bytes => Ok(usize::try_from(bytes).unwrap_or(usize::MAX)),
    }
}

/// `--name`.
pub fn template(text: &str) -> Result<Template, UsageError> {
    text.parse().or_else(|error| usage(format!("--name {text}: {error}")))
}

/// Refuses a template that names the column of the URL or of the checksum. Rows do not keep these columns, so that each
/// name would get `none`.
pub fn check_template_columns(template: &Template, input: &input::Options) -> Result<(), UsageError> {
    for column in template.columns() {
        if column == input.url_column {
            return usage(format!(
                "--name {{col.{column}}}: that column holds the URL, of which names have {{basename}}, {{stem}}, {{host}} \
                 and {{url_hash}}"
            ));
        }
        if Some(column) == input.checksum_column.as_deref() {
            return usage(format!(
                "--name {{col.{column}}}: that column holds the checksum, which is compared and no part of a name; write \
                 {{sha256}}, which is made from the file"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cli::config::tests::{assert_refused, config};

    #[test]
    fn invalid_values_are_refused_with_a_hint() {
        assert_refused(&[
            ("list --chunk-size 0", "smallest is 1"),
            ("list --overwrite --remake", "leave out --remake"),
            ("list --overwrite --rename", "leave out --rename"),
            ("list --compare --remake", "run --remake without it"),
            ("list --compare --rename", "run --rename without it"),
            ("list --sample 9 --remake", "run --remake without it"),
            ("list --sample 9 --rename", "run --rename without it"),
            ("list --name {nmae}", "{basename}"),
            ("list --name ../{basename}", "inside the output folder"),
            ("list --manifest - --json", "--report run.json"),
            ("list --name {col.url}.{ext}", "{basename}, {stem}"),
            ("list --url-column link --name {index}-{col.link:0:8}", "{basename}, {stem}"),
            ("list --checksum-column md5 --name {col.md5:0:2}/{basename}", "write {sha256}"),
        ]);
    }

    #[test]
    fn names_may_use_any_other_column() {
        for line in ["list --name {col.md5}", "list --url-column link --name {col.url}", "list --name {col.url2}"] {
            assert!(config(line).is_ok(), "{line}");
        }
    }
}
