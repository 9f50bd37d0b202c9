//! The columns of a list: which hold the URL and the checksum, and how the others are called.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use url::Url;

use super::rows::{ListContext, ReadError};
use super::{NamedColumn, Options};
use crate::util::redact::{escaped, redacted_text};

/// The columns that a header or a schema names.
#[derive(Debug)]
pub struct ListColumns {
    /// The names of the columns, in their order.
    pub names: Vec<Arc<str>>,
    /// The number of the URL column. Of several columns with that name it is the first.
    pub url: usize,
    /// The number of the checksum column, if one is asked for.
    pub checksum: Option<usize>,
}

impl ListColumns {
    /// Finds the URL column and the checksum column by their names. Fails if one of them is missing.
    pub fn find(names: Vec<Arc<str>>, context: &ListContext) -> Result<Self, ReadError> {
        let Options { url_column, checksum_column, .. } = context.options;
        let index_of = |wanted: &str| {
            let exactly = names.iter().position(|name| **name == *wanted);
            let trimmed = || names.iter().position(|name| name.trim() == wanted.trim());
            // The case of a column that was not named by the user may differ; of two such columns the user has to choose.
            let is_alike = |name: &&Arc<str>| name.trim().eq_ignore_ascii_case(wanted.trim());
            let alone =
                || (names.iter().filter(is_alike).count() == 1).then(|| names.iter().position(|name| is_alike(&name)));
            exactly.or_else(trimmed).or_else(|| alone().flatten())
        };
        let Some(url) = index_of(url_column) else {
            // The usual reason is a list without a header. The values of its first row must not be shown as if they
            // were column names.
            let is_row = names.iter().any(|name| Url::parse(name).is_ok_and(|url| url.has_host()));
            let url_column = escaped(url_column);
            return Err(if is_row {
                let what = "has a URL in its first row, which must name the columns, one of them";
                context.lacks_column(format!("{what} {url_column}"))
            } else {
                let there = join_names(&names);
                context.lacks_column(format!("has no column {url_column}; {there}; name the one with --url-column"))
            });
        };
        let checksum = match checksum_column {
            None => None,
            Some(column) => Some(index_of(column).ok_or_else(|| {
                let there = join_names(&names);
                let column = escaped(column);
                context.lacks_column(format!("has no column {column}, which --checksum-column asks for; {there}"))
            })?),
        };
        Ok(Self { names, url, checksum })
    }

    /// The same columns, each with a name of its own: of several with one name, the first keeps it, and the later ones get
    /// numbers, as in `label_2`. Otherwise names and tables would have one of their values, and lose the others. `warns`: the
    /// user is told.
    pub fn numbered(mut self, context: &ListContext, warns: bool) -> Self {
        let mut taken = self.names.iter().cloned().collect::<HashSet<_>>();
        let mut seen = HashMap::<Arc<str>, u64>::new();
        let mut new = Vec::new();
        for column in 0..self.names.len() {
            if column == self.url || Some(column) == self.checksum {
                continue;
            }
            let name = Arc::clone(&self.names[column]);
            let Some(last) = seen.get_mut(&name) else {
                seen.insert(name, 1);
                continue;
            };
            let other = loop {
                *last += 1;
                let other = Arc::<str>::from(format!("{name}_{last}"));
                if taken.insert(Arc::clone(&other)) {
                    break other;
                }
            };
            new.push(Arc::clone(&other));
            self.names[column] = other;
        }
        if warns && !new.is_empty() {
            let (list, new) = (escaped(context.name), shown_names(&new));
            tracing::warn!(
                target: "fetchimg",
                "{list} has several columns with one name; the first keeps it, and the others are recorded as {new}"
            );
        }
        self
    }

    /// Fails if a column that the command line names is missing: every name would have `none` instead of its value, and no
    /// image would have a caption.
    pub fn require_template_columns(&self, context: &ListContext) -> Result<(), ReadError> {
        let is_missing = |column: &&NamedColumn| self.names.iter().all(|name| **name != *column.name);
        match context.options.named_columns.iter().find(is_missing) {
            None => Ok(()),
            Some(NamedColumn { name, used_for }) => {
                let (there, name, flag) = (join_names(&self.names), escaped(name), used_for.flag());
                Err(context.lacks_column(format!("has no column {name}, which {flag} asks for; {there}")))
            }
        }
    }

    /// The numbers and names of all columns but the URL and the checksum.
    pub fn others(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        self.names.iter().enumerate().filter(|(column, _)| *column != self.url && Some(*column) != self.checksum)
    }
}

impl ListContext<'_> {
    /// Fails if columns are asked for in a text list, which has none: its images would be saved without a check of
    /// their checksums, each name would have `none` in place of a column, or each row would fail because of a typo in a
    /// column's name. `is_explicit`: the user has asked for the text format.
    pub fn forbid_columns(&self, is_explicit: bool) -> Result<(), ReadError> {
        let Options { url_column, checksum_column, named_columns, .. } = self.options;
        if let Some(NamedColumn { name, used_for }) = named_columns.first() {
            return Err(self.lacks_column(format!(
                "has no column {}, which {} asks for: it was taken for text with one URL per line; if it has columns, name \
                 them in its first line, and say what it is with --input-format",
                escaped(name),
                used_for.flag()
            )));
        }
        let wanted = match checksum_column {
            Some(column) => column,
            None if is_explicit || *url_column == Options::default().url_column => return Ok(()),
            None => url_column,
        };
        Err(self.lacks_column(format!(
            "has no column {}: it was taken for text with one URL per line; say what it is with --input-format",
            escaped(wanted)
        )))
    }
}

/// The number of column names that a message lists.
const MAX_SHOWN_NAMES: usize = 20;

/// The number of characters of a column name that a message shows.
const MAX_SHOWN_NAME_CHARS: usize = 60;

/// The names of the columns, as a clause of a message.
fn join_names(names: &[Arc<str>]) -> String {
    if names.is_empty() { "it has none at all".to_owned() } else { format!("it has {}", shown_names(names)) }
}

/// The first of these names, and how many more there are.
fn shown_names(names: &[Arc<str>]) -> String {
    let shown = |name: &Arc<str>| match &**name {
        "" => "one without a name".to_owned(),
        name => escaped(&redacted_text(name).chars().take(MAX_SHOWN_NAME_CHARS).collect::<String>()).into_owned(),
    };
    let shown = names.iter().take(MAX_SHOWN_NAMES).map(shown).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(MAX_SHOWN_NAMES) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}
