//! Which file a URL becomes.
//!
//! A [`Template`] is parsed once, before the run. The [`Namer`] renders it for each job **in list order**, before
//! anything is concurrent, and settles collisions there; so names depend on the list alone, never on timing. What only
//! the answer can tell (the extension of a name that has none, digits of the body's SHA-256) is a hole in the [`Planned`]
//! name, and the collision table knows that such a name may end in any extension, and have any digits.

mod clean;
mod digits;
mod namer;
mod planned;
mod taken;
mod template;

pub use self::clean::clean_text;
pub use self::namer::Namer;
pub use self::planned::{FinalName, Foreseen, Planned};
pub use self::taken::may_be_one;
pub use self::template::{DEFAULT_TEMPLATE, Template, TemplateError};

/// What the tests of all these files begin with.
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
