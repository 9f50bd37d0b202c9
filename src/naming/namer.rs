//! Gives out names, in list order, each once.

use percent_encoding::percent_decode_str;
use url::Url;

use super::clean::{HOLE, clean_text, extension, fit, with_suffix};
use super::planned::Planned;
use super::taken::{self, Extension, Taken, kept_forms};
use super::template::{Field, Template, Values};
use crate::format::Format;
use crate::job::{Job, url_hash};

/// The name of an image whose URL and server offer none.
const NAMELESS: &str = "image";

/// Gives out names in list order and remembers which are taken.
#[derive(Clone, Debug)]
pub struct Namer {
    template: Template,
    fix_extension: bool,
    /// The template itself keeps the names of this run apart, so only those of earlier ones are remembered.
    tells_rows_apart: bool,
    taken: Taken,
}

impl Namer {
    /// `fix_extension`: extensions may change when the bytes are known, so names that differ in nothing else collide.
    #[must_use]
    pub fn new(template: Template, fix_extension: bool) -> Self {
        let tells_rows_apart = template.tells_rows_apart();
        Self { template, fix_extension, tells_rows_apart, taken: Taken::new() }
    }

    /// Takes out of circulation a name that an earlier run gave.
    pub fn keep(&mut self, path: &str) {
        let extension = self.extension(path);
        for form in kept_forms(path) {
            self.taken.insert(form, extension);
        }
    }

    /// The name an earlier run or pass gave to the same row.
    pub fn again(&mut self, path: String) -> Planned {
        // Names of earlier runs are kept from the beginning; an earlier pass gave it by this very template.
        if !self.tells_rows_apart {
            self.keep(&path);
        }
        Planned { pattern: path, asks_server: false, stays: true }
    }

    /// Reserves the name of a job. To be called in list order.
    pub fn reserve(&mut self, job: &Job) -> Planned {
        let basename = url_basename(&job.url);
        let asks_server = basename.is_none() && self.template.uses(|f| matches!(f, Field::Basename | Field::Stem));
        let pattern = self.reserve_as(job, basename.as_deref().unwrap_or(NAMELESS));
        Planned { pattern, asks_server, stays: false }
    }

    /// Reserves the name of a job that has `old`, which nobody else gets as long as the run lasts.
    pub fn reserve_instead(&mut self, job: &Job, old: &str) -> Planned {
        let extension = self.extension(old);
        let mut was_taken = false;
        for form in kept_forms(old) {
            was_taken |= self.taken.remove(form, extension);
        }
        let planned = self.reserve(job);
        if was_taken || !self.tells_rows_apart {
            self.keep(old);
        }
        planned
    }

    /// Reserves the name that the server gave to a job whose URL has none. The one name that is not settled in list
    /// order, because it is known no earlier.
    pub fn reserve_from_server(&mut self, job: &Job, filename: &str) -> Option<Planned> {
        let basename = clean_text(filename.rsplit(['/', '\\']).next()?);
        (!basename.is_empty()).then(|| Planned {
            pattern: self.reserve_as(job, &basename),
            asks_server: false,
            stays: false,
        })
    }

    fn reserve_as(&mut self, job: &Job, basename: &str) -> String {
        let mut hash = String::new();
        if self.template.uses(|field| field == Field::UrlHash) {
            hash = url_hash(&job.url);
        }
        let mut host = String::new();
        if self.template.uses(|field| field == Field::Host) {
            host = clean_text(job.url.host_str().unwrap_or_default());
        }
        let render = |ext: &str| {
            let values = Values { basename, ext, index: job.index, host: &host, url_hash: &hash };
            fit(&self.template.render(&values), self.fix_extension)
        };
        let hole = HOLE.to_string();
        let plain = render(extension(basename).filter(|ext| Format::from_extension(ext).is_some()).unwrap_or(&hole));
        let open = if self.template.uses(|field| field == Field::Ext) { render(&hole) } else { plain.clone() };
        if self.take(&plain, &open) {
            return plain;
        }
        let hash = url_hash(&job.url);
        // With `--keep-duplicates`, several rows have this very URL; only their numbers differ.
        let short = format!("{}-{}", &hash[..8], job.index);
        for digits in [&hash[..8], &short, &hash[..16], &hash[..32], &hash] {
            let with = |name: &str| with_suffix(name, digits, self.fix_extension);
            let (name, open) = (with(&plain), with(&open));
            if self.take(&name, &open) {
                return name;
            }
        }
        let suffix = format!("{hash}-{}", job.index);
        let name = with_suffix(&plain, &suffix, self.fix_extension);
        self.take(&name, &with_suffix(&open, &suffix, self.fix_extension));
        name
    }

    /// Whether the name was free; it is not any more. `open`: the same name with holes for every extension in it.
    fn take(&mut self, name: &str, open: &str) -> bool {
        let (form, extension) = (taken::form(open), self.extension(name));
        // Names of earlier runs are known as they are, whatever in them came from `{ext}`.
        let is_known = name != open && self.taken.is_in_the_way(taken::form(name), extension);
        let free = !is_known && !self.taken.is_in_the_way(form, extension);
        if free && !self.tells_rows_apart {
            self.taken.insert(form, extension);
        }
        free
    }

    /// The extension that the name may end in.
    fn extension(&self, name: &str) -> Extension {
        let ext = extension(name).unwrap_or_default();
        let mut known = (1..).zip(Format::ALL.iter().flat_map(|format| format.extensions()));
        match known.find(|(_, known)| known.eq_ignore_ascii_case(ext)) {
            Some((number, _)) if !self.fix_extension => Extension(number),
            None if ext != "\0" => Extension::NONE,
            _ => Extension::ANY,
        }
    }
}

/// The last segment of the URL's path, decoded and cleaned; `None` where the path ends in `/` or nothing is left.
fn url_basename(url: &Url) -> Option<String> {
    let segment = url.path_segments()?.next_back()?;
    let name = clean_text(&percent_decode_str(segment).decode_utf8_lossy());
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::example::{job, name, namer};
    use super::super::planned::FinalName;
    use super::*;

    #[test]
    fn a_template_renders_its_fields() {
        let url = "https://img.example:8443/x/cat.PNG?v=1";
        assert_eq!(name("{index:06}-{stem}.{ext}", url), "000016-cat.PNG");
        assert_eq!(name("{host}/{index}.{ext}", url), "img.example/16.PNG");
        assert_eq!(name("{index}", url), "16.jpg");
        assert_eq!(name("{ext}/{stem}", "https://img.example/cat"), "jpg/cat.jpg");
        assert_eq!(name("{url_hash}", url).len(), 64 + 4);
        assert_eq!(name("a{{b}}", url), "a{b}.jpg");
        assert_eq!(name("{host}", "http://[::1]/x"), "[__1].jpg");
    }

    #[test]
    fn the_first_in_the_list_keeps_the_plain_name() {
        let mut namer = namer("{basename}");
        let mut given = Vec::new();
        for (index, url) in
            ["https://a.example/x.png", "https://b.example/x.png", "https://a.example/X.PNG", "https://a.example/x.jpg"]
                .iter()
                .enumerate()
        {
            given.push(namer.reserve(&job(index as u64, url)).finish(Some(Format::Png), false).path);
        }
        let hash = |url: &str| url_hash(&Url::parse(url).expect("a URL"))[..8].to_owned();
        assert_eq!(given[0], "x.png");
        assert_eq!(given[1], format!("x-{}.png", hash("https://b.example/x.png")));
        assert_eq!(given[2], format!("X-{}.PNG", hash("https://a.example/X.PNG")));
        assert_eq!(given[3], "x.jpg", "another extension is another name");
    }

    #[test]
    fn a_name_that_may_get_any_extension_collides_with_all_of_them() {
        let mut first_open = namer("{basename}");
        assert_eq!(first_open.reserve(&job(0, "https://a.example/x")).finish(Some(Format::Png), false).path, "x.png");
        assert_ne!(first_open.reserve(&job(1, "https://a.example/x.png")).pattern, "x.png");
        let mut first_closed = namer("{basename}");
        first_closed.reserve(&job(0, "https://a.example/x.png"));
        let open = first_closed.reserve(&job(1, "https://a.example/x"));
        assert!(open.pattern.starts_with("x-"), "{open:?}");
    }

    #[test]
    fn an_extension_in_the_middle_of_a_name_collides_as_well() {
        for template in ["{ext}/{stem}", "{ext}/{basename}", "{stem}-{ext}", "x.{ext}/{index:0}{stem}"] {
            let template = template.replace("{index:0}", "");
            for urls in [
                ["https://a.example/cat.png", "https://a.example/cat"],
                ["https://a.example/cat", "https://a.example/cat.png"],
            ] {
                let mut namer = namer(&template);
                let given = urls.map(|url| namer.reserve(&job(0, url)).finish(Some(Format::Png), false).path);
                assert_ne!(given[0], given[1], "{template} {urls:?}");
                // Nor does a later run take a name that this one gave.
                let mut later = Namer::new(template.parse().expect("a template"), false);
                later.keep(&given[0]);
                let other = later.reserve(&job(0, urls[1])).finish(Some(Format::Png), false).path;
                assert_ne!(given[0], other, "{template} {urls:?}");
            }
        }
    }

    #[test]
    fn fixing_an_extension_can_hit_nobody() {
        let mut namer = Namer::new("{basename}".parse().expect("a template"), true);
        let first = namer.reserve(&job(0, "https://a.example/x.png")).finish(Some(Format::Jpeg), true);
        assert_eq!(first, FinalName { path: "x.jpg".into(), mismatch: false });
        let second = namer.reserve(&job(1, "https://a.example/x.jpg")).finish(Some(Format::Jpeg), true);
        assert!(second.path.starts_with("x-"), "{second:?}");
        let kept = namer.again("x.png".into()).finish(Some(Format::Jpeg), true);
        assert_eq!(kept, FinalName { path: "x.png".into(), mismatch: true });
    }

    #[test]
    fn names_of_earlier_runs_are_known_whatever_extension_they_have() {
        for (template, kept, url, is_taken) in [
            ("{basename}", "x", "x", true),
            ("{basename}", "x", "x.png", false),
            ("{basename}", "x.php", "x.php", true),
            ("{basename}", "x", "y", false),
            ("{basename}", "_.png.bin", ".png", true),
            ("{stem}.{ext}", "x", "x", true),
            ("{ext}/{stem}", "bin/x", "x", true),
            ("{ext}/{stem}", "png/x.jpg", "x.png", true),
            ("{ext}/{stem}", "png/x.jpg", "x.gif", false),
            ("{ext}/{stem}", "png/x", "x.png", true),
        ] {
            let mut namer = namer(template);
            namer.keep(kept);
            let url = format!("https://a.example/{url}");
            let planned = namer.reserve(&job(0, &url)).pattern;
            let suffix = &url_hash(&Url::parse(&url).expect("a URL"))[..8];
            assert_eq!(planned.contains(suffix), is_taken, "{template} {kept} {url}: {planned:?}");
        }
    }

    #[test]
    fn what_is_of_no_known_format_gets_nobody_elses_extension() {
        let mut namer = namer("{basename}");
        let given = [".png", "_.png", "x"].map(|name| namer.reserve(&job(0, &format!("https://a.example/{name}"))));
        assert_eq!(given.map(|planned| planned.finish(None, false).path), ["_.png.bin", "_.png", "x"]);
    }

    #[test]
    fn names_of_earlier_runs_and_long_ones_are_respected() {
        let mut namer = namer("{basename}");
        namer.keep("x.png");
        assert_ne!(namer.reserve(&job(0, "https://a.example/x.png")).pattern, "x.png");
        let long = format!("https://a.example/{}.png", "z".repeat(300));
        let first = namer.reserve(&job(1, &long)).pattern;
        let second = namer.reserve(&job(2, &format!("{long}?2"))).pattern;
        assert_ne!(first, second);
        assert_eq!((first.len(), second.len()), (255, 255));
    }

    #[test]
    fn a_server_may_name_what_the_url_does_not() {
        let mut namer = namer("{basename}");
        let nameless = job(0, "https://a.example/?id=1");
        assert!(namer.reserve(&nameless).asks_server());
        let given = namer.reserve_from_server(&nameless, "C:\\fakepath\\cat.png").expect("a name");
        assert_eq!(given.finish(Some(Format::Png), false).path, "cat.png");
        assert_eq!(namer.reserve_from_server(&nameless, "../"), None);
        assert_eq!(clean_text(" a\u{a0}.\u{a0}. "), "a", "what is clean stays as it is");
    }

    #[test]
    fn copies_of_one_url_get_the_numbers_of_their_rows() {
        let url = "https://a.example/x.png";
        let hash = url_hash(&Url::parse(url).expect("a URL"));
        let mut namer = namer("{basename}");
        let given = [0, 4, 5, 7].map(|index| namer.reserve(&job(index, url)).pattern);
        let short = &hash[..8];
        let expected = [format!("x-{short}.png"), format!("x-{short}-5.png"), format!("x-{short}-7.png")];
        assert_eq!((&*given[0], &given[1..]), ("x.png", &expected[..]));
    }

    #[test]
    fn names_that_rows_keep_apart_are_not_remembered_but_those_of_earlier_runs_are() {
        let mut namer = namer("{index:02}-{basename}");
        namer.keep("03-x.png");
        let before = format!("{:?}", namer.taken.table);
        let given = (0..5).map(|index| namer.reserve(&job(index, "https://a.example/x.png")).pattern);
        let given = given.collect::<Vec<_>>();
        assert_eq!((&*given[2], &*given[4]), ("02-x.png", "04-x.png"));
        assert!(given[3].starts_with("03-x-"), "{given:?}");
        let old = namer.reserve_instead(&job(3, "https://a.example/x.png"), "03-x.png");
        assert_eq!(old.pattern, "03-x.png");
        namer.again("04-x.png".into());
        assert_eq!(format!("{:?}", namer.taken.table), before);
    }
}
