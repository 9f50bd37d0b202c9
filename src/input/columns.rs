//! The columns of a list: which hold the URL and the checksum, and what the others are called.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use url::Url;

use super::Options;
use super::rows::{About, Ended};
use crate::util::redact::{escaped, redacted_text};

/// The columns that a header or a schema names.
#[derive(Debug)]
pub struct Columns {
    /// What they are called, in their order.
    pub names: Vec<Arc<str>>,
    /// Which one holds the URL. Of several with one name it is the first.
    pub url: usize,
    /// Which one holds the checksum, if one is wanted.
    pub checksum: Option<usize>,
}

impl Columns {
    /// Finds those that are asked for among the names.
    pub fn find(names: Vec<Arc<str>>, about: &About) -> Result<Self, Ended> {
        let Options { url_column, checksum_column, .. } = about.options;
        let place = |wanted: &str| names.iter().position(|name| **name == *wanted);
        let Some(url) = place(url_column) else {
            // Lists without a header are the usual reason, and their first row is no name of anything.
            let is_row = names.iter().any(|name| Url::parse(name).is_ok_and(|url| url.has_host()));
            let what = if is_row {
                format!("its first row holds a URL, and must name the columns, one of them {}", escaped(url_column))
            } else {
                let there = shown(&names);
                format!("it has no column {}, but {there}; name the one with --url-column", escaped(url_column))
            };
            return Err(about.not_a_list(what));
        };
        let checksum = match checksum_column {
            None => None,
            Some(column) => Some(place(column).ok_or_else(|| {
                let there = shown(&names);
                about
                    .not_a_list(format!("it has no column {}, as --checksum-column says, but {there}", escaped(column)))
            })?),
        };
        Ok(Self { names, url, checksum })
    }

    /// Refuses a list without a column that names hold: they would all say that there is none.
    pub fn have_those_in_names(&self, about: &About) -> Result<(), Ended> {
        let is_missing = |column: &&String| self.names.iter().all(|name| **name != **column);
        match about.options.named_columns.iter().find(is_missing) {
            None => Ok(()),
            Some(column) => {
                let (there, column) = (shown(&self.names), escaped(column));
                Err(about.not_a_list(format!("it has no column {column}, as --name says, but {there}")))
            }
        }
    }

    /// The numbers and names of all the others.
    pub fn others(&self) -> impl Iterator<Item = (usize, &Arc<str>)> {
        self.names.iter().enumerate().filter(|(column, _)| *column != self.url && Some(*column) != self.checksum)
    }
}

impl About<'_> {
    /// Refuses a text list when columns are wanted: images would be saved without their checksums being looked at, or
    /// every row fail because of a slip in a column's name. `is_told`: the user has said that it is text.
    pub fn needs_no_columns(&self, is_told: bool) -> Result<(), Ended> {
        let Options { url_column, checksum_column, .. } = self.options;
        let wanted = match checksum_column {
            Some(column) => column,
            None if is_told || *url_column == Options::default().url_column => return Ok(()),
            None => url_column,
        };
        Err(self.not_a_list(format!(
            "it was taken for text with one URL per line, which has no column {}; say what it is with --input-format",
            escaped(wanted)
        )))
    }
}

/// So many names are shown, up to so many characters of each.
const SHOWN: (usize, usize) = (20, 60);

/// Names in a sentence.
fn shown(names: &[Arc<str>]) -> String {
    let (count, length) = SHOWN;
    let shown = |name: &Arc<str>| match &**name {
        "" => "one without a name".to_owned(),
        name => escaped(&redacted_text(name).chars().take(length).collect::<String>()).into_owned(),
    };
    let mut shown = names.iter().take(count).map(shown).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => shown.push_str("none at all"),
        all if all > count => shown = format!("{shown} and {} more", all - count),
        _ => {}
    }
    shown
}

/// Names that rows share. So many are remembered; objects may have a key for each user of a site.
const MOST_NAMES: usize = 1000;

/// And longer ones are not: they name nothing that comes again.
const LONGEST_NAME: usize = 1000;

/// The keys of objects, each kept once.
#[derive(Debug, Default)]
pub struct Names(HashSet<Arc<str>, RandomState>);

impl Names {
    /// A name, as it is kept.
    pub fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(name) {
            return Arc::clone(shared);
        }
        let new = Arc::<str>::from(name);
        if self.0.len() < MOST_NAMES && name.len() <= LONGEST_NAME {
            self.0.insert(Arc::clone(&new));
        }
        new
    }
}
