//! Names any list: names must be safe, and no two URLs may share one, not even on a file system that ignores case,
//! unless the name consists of the digest of their common content.
#![no_main]

#[path = "../../tests/common/rules.rs"]
mod rules;

use std::collections::HashMap;

use arbitrary::Arbitrary;
use fetchimg::internals::record::{Format, Extra, Job, url_hash};
use fetchimg::internals::naming::{Namer, Template};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct List<'a> {
    template: Which<'a>,
    fix_extension: bool,
    rows: Vec<Row<'a>>,
}

#[derive(Arbitrary, Debug)]
struct Row<'a> {
    /// The last segment of the URL.
    segment: &'a str,
    /// Its host and folder.
    place: u8,
    /// What the column `class` holds.
    class: &'a str,
    /// The format of its content.
    format: u8,
    /// Chooses the digest of its content.
    content: u8,
}

#[derive(Arbitrary, Debug)]
enum Which<'a> {
    Usual(u8),
    Any(&'a str),
}

const USUAL: [&str; 17] = [
    "{basename}",
    "{host}/{basename}",
    "{stem}.{ext}",
    "{ext}/{stem}",
    "{stem}-{ext}-{basename}",
    "{stem}/{basename}",
    "{index:06}-{basename}",
    "e{basename}",
    "{url_hash}",
    "{url_hash:0:1}/{stem:0:2}",
    "{index/2:03}/{basename}",
    "{col.class}",
    "com{col.class:0:2}/{col.class}",
    "{sha256}",
    "{sha256:0:1}on/{stem}-{sha256}",
    "{stem}-{sha256:0:8}",
    "{index/2}-{sha256:0:2}{col.class}.{ext}",
];

/// Digests that are likely to be equal to each other, or to other digits in names.
fn digest(url: &url::Url, content: u8) -> String {
    match content % 8 {
        0 => "0".repeat(64),
        1 => "a".repeat(64),
        2 => url_hash(url),
        _ => format!("{content:02x}").repeat(32),
    }
}

fuzz_target!(|list: List| {
    let text = match list.template {
        Which::Usual(number) => USUAL[usize::from(number) % USUAL.len()],
        Which::Any(text) => text,
    };
    let Ok(template) = text.parse::<Template>() else { return };
    let mut namer = Namer::new(template.clone(), list.fix_extension);
    let mut again = Namer::new(template, list.fix_extension);
    let mut urls = HashMap::new();
    let mut given = HashMap::new();
    for (index, Row { segment, place, class, format, content }) in (0..).zip(&list.rows) {
        let host = ["a.example", "con", "[::1]", "xn--mnchen-3ya.example"][usize::from(place % 4)];
        let Ok(url) = url::Url::parse(&format!("http://{host}/{}/{segment}", place / 4)) else { continue };
        // A run never names a URL twice.
        if urls.insert(url_hash(&url), ()).is_some() {
            continue;
        }
        let job = Job { extra: Extra::new(vec![("class".into(), (*class).into())]), ..Job::new(index, url) };
        let planned = namer.reserve(&job);
        assert_eq!(again.reserve(&job), planned, "names depend on the list alone");
        let (format, sha256) = (Format::ALL.get(usize::from(*format)).copied(), digest(&job.url, *content));
        let name = planned.finish(format, list.fix_extension, Some(&sha256)).path;
        assert_eq!(rules::danger(&name), None, "{segment:?} became {name:?}");
        assert!(planned.known().is_none_or(|known| rules::danger(known).is_none()), "{planned:?}");
        if let Some((other, content)) = given.insert(rules::folded(&name), (job.url.clone(), sha256.clone())) {
            let share = planned.is_content_addressed() && content == sha256;
            assert!(share, "{other} and {} share {name:?}", job.url);
        }
    }
});
