//! Names the output files: renders the file name template for each job, makes the result safe for file systems, and
//! resolves collisions.
//!
//! A [`Template`] is parsed once, before the run. The [`Namer`] renders it for each job **in list order**, before
//! anything is concurrent, and resolves collisions there, so names depend on the list alone, never on timing. What is
//! unknown before the response (the extension of a URL without one, digits of the body's SHA-256) is a placeholder in
//! the [`PlannedName`]; the collision table takes such a name as one that may get any extension and any digits.

mod clean;
mod collisions;
mod digest_digits;
mod key;
mod namer;
mod planned;
mod template;

pub use self::clean::{clean_text, with_format, with_suffix};
pub use self::key::{DEFAULT_KEY, KeyTemplate, SamplePlace};
pub use self::namer::{Content, NameMatch, Namer};
pub use self::planned::{FinalName, NamePreview, PlannedName};
pub use self::template::{DEFAULT_TEMPLATE, Template, TemplateError};

/// What the tests of these files share.
#[cfg(test)]
mod example {
    use serde_json::Value;
    use url::Url;

    use super::Namer;
    use crate::record::{Extra, Format, Job};

    pub fn namer(template: &str) -> Namer {
        Namer::new(template.parse().expect("a template"), false)
    }

    pub fn job(index: u64, url: &str) -> Job {
        Job::new(index, Url::parse(url).expect("a URL"))
    }

    pub fn row(index: u64, url: &str, columns: &[(&str, Value)]) -> Job {
        let columns = columns.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        Job { extra: Extra::new(columns), ..job(index, url) }
    }

    pub fn name(template: &str, url: &str) -> String {
        namer(template).reserve(&job(16, url)).finish(Some(Format::Jpeg), false, None).path
    }
}
