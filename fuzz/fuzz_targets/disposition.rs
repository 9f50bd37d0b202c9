//! Takes any `Content-Disposition`: the name that is made from it must be safe.
#![no_main]

#[path = "../../tests/common/rules.rs"]
mod rules;

use fetchimg::internals::record::{Format, Job};
use fetchimg::internals::http::disposition::filename;
use fetchimg::internals::naming::{Namer, clean_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|field: &[u8]| {
    let Some(sent) = filename(field) else { return };
    assert!(!sent.trim().is_empty());
    let cleaned = clean_text(&sent);
    assert_eq!(clean_text(&cleaned), cleaned, "cleaning leaves nothing to clean");
    let job = |index: u64| {
        let url = format!("http://a.example/{index}/");
        Job::new(index, url::Url::parse(&url).expect("a URL"))
    };
    for fix_extension in [false, true] {
        let mut namer = Namer::new("{basename}".parse().expect("a template"), fix_extension);
        let Some(planned) = namer.reserve_from_server(&job(0), &sent) else { continue };
        let again = namer.reserve_from_server(&job(1), &sent).expect("what names one file names another");
        for format in [None, Some(Format::Webp)] {
            let name = planned.finish(format, fix_extension, None).path;
            assert_eq!(rules::danger(&name), None, "{sent:?} became {name:?}");
            assert!(!name.contains('/'), "{sent:?} became {name:?}");
            let other = again.finish(format, fix_extension, None).path;
            assert_ne!(rules::folded(&other), rules::folded(&name), "{sent:?} became {name:?} and {other:?}");
        }
    }
});
