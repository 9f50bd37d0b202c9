//! Flags of the group Output.

use super::{UsageError, usage};
use crate::input;
use crate::naming::Template;
use crate::record::Existing;

pub const fn existing(overwrite: bool) -> Existing {
    if overwrite { Existing::Replace } else { Existing::Keep }
}

/// Columns that are taken for something else are not among those that names can hold: all of them would be `none`.
pub fn only_what_is_carried(template: &Template, input: &input::Options) -> Result<(), UsageError> {
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
    fn names_may_hold_any_other_column() {
        for line in ["list --name {col.md5}", "list --url-column link --name {col.url}", "list --name {col.url2}"] {
            assert!(config(line).is_ok(), "{line}");
        }
    }
}
