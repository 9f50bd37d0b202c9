//! Flags of the group "Output".

use super::{UsageError, usage};
use crate::input;
use crate::naming::Template;
use crate::record::Existing;

/// `--overwrite`: what to do with files that exist already.
pub const fn existing(overwrite: bool) -> Existing {
    if overwrite { Existing::Replace } else { Existing::Keep }
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
    use crate::cli::config::tests::config;

    #[test]
    fn names_may_use_any_other_column() {
        for line in ["list --name {col.md5}", "list --url-column link --name {col.url}", "list --name {col.url2}"] {
            assert!(config(line).is_ok(), "{line}");
        }
    }
}
