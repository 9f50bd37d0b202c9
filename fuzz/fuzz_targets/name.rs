//! Names are safe, and no two URLs of a list share one, not even where cases are not told apart.
#![no_main]

#[path = "../../tests/common/rules.rs"]
mod rules;

use std::collections::HashMap;

use arbitrary::Arbitrary;
use fetchimg::format::Format;
use fetchimg::job::{Job, url_hash};
use fetchimg::naming::{Namer, Template};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct List<'a> {
    template: Which<'a>,
    fix_extension: bool,
    /// The last segment, the format that the bytes turn out to have, and whether there is a folder and a query before.
    rows: Vec<(&'a str, u8, u8)>,
}

#[derive(Arbitrary, Debug)]
enum Which<'a> {
    Usual(u8),
    Any(&'a str),
}

const USUAL: [&str; 9] = [
    "{basename}",
    "{host}/{basename}",
    "{stem}.{ext}",
    "{ext}/{stem}",
    "{stem}-{ext}-{basename}",
    "{stem}/{basename}",
    "{index:06}-{basename}",
    "e{basename}",
    "{url_hash}",
];

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
    for (index, (segment, format, place)) in (0..).zip(&list.rows) {
        let host = ["a.example", "con", "[::1]", "xn--mnchen-3ya.example"][usize::from(place % 4)];
        let Ok(url) = url::Url::parse(&format!("http://{host}/{}/{segment}", place / 4)) else { continue };
        // The run sees to it that no URL is named twice.
        if urls.insert(url_hash(&url), ()).is_some() {
            continue;
        }
        let job = Job::new(index, url);
        let planned = namer.reserve(&job);
        assert_eq!(again.reserve(&job), planned, "names depend on the list alone");
        let format = Format::ALL.get(usize::from(*format)).copied();
        let name = planned.finish(format, list.fix_extension).path;
        assert_eq!(rules::danger(&name), None, "{segment:?} became {name:?}");
        assert!(planned.known().is_none_or(|known| rules::danger(known).is_none()), "{planned:?}");
        if let Some(other) = given.insert(rules::folded(&name), job.url.clone()) {
            panic!("{other} and {} share {name:?}", job.url);
        }
    }
});
