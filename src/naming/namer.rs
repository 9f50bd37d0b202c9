//! Reserves the name of each job, in list order, and resolves collisions.

use percent_encoding::percent_decode_str;
use url::Url;

use super::clean::{EXTENSION_PLACEHOLDER, clean_text, extension, fit_path, with_suffix};
use super::collisions::{self, ExtensionId, NameTable, SuffixLevel, earlier_stem_hashes, masked_stem_hash};
use super::digest_digits::DigestDigits;
use super::planned::PlannedName;
use super::template::{Field, FieldValues, Template};
use crate::record::{Format, Job, url_hash};

/// The base name of an image for which neither the URL nor the server has a name.
const DEFAULT_BASENAME: &str = "image";

/// Reserves names in list order, and remembers which are taken.
#[derive(Clone, Debug)]
pub struct Namer {
    template: Template,
    fix_extension: bool,
    /// The template makes names unique by the number of the row, so only names of earlier runs are remembered.
    is_unique_per_row: bool,
    taken: NameTable,
}

/// How a name agrees with the one that the list gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameMatch {
    /// It is that name, with or without a suffix, or only the server, or a digest that is not known, tells.
    Possible,
    /// It is that name with a suffix, though the numbers of the rows make the names different without one: a file of an
    /// earlier run had the name without it when it was given.
    Suffixed,
    /// It is another name.
    Other,
}

impl Namer {
    /// `fix_extension`: extensions may change to that of the bytes, so names that differ only in their extension
    /// collide.
    #[must_use]
    pub fn new(template: Template, fix_extension: bool) -> Self {
        let is_unique_per_row = template.is_unique_per_row();
        Self { template, fix_extension, is_unique_per_row, taken: NameTable::new() }
    }

    /// The template of the names.
    #[must_use]
    pub const fn template(&self) -> &Template {
        &self.template
    }

    /// Marks as taken a name that an earlier run gave.
    pub fn mark_taken(&mut self, path: &str) {
        if self.is_content_addressed() {
            return;
        }
        let (hashes, extension) = (self.earlier_stem_hashes(path), self.extension(path));
        for hash in hashes {
            self.taken.insert(hash, extension);
        }
    }

    /// The name that an earlier run or pass gave to the same row. A content-addressed name gets the digits of the new
    /// content, because the old name may be that of several rows.
    pub fn reuse(&mut self, path: String) -> PlannedName {
        // If names are unique per row, there is nothing to mark: names of earlier runs are marked at the start, and an
        // earlier pass used this template.
        if !self.is_unique_per_row {
            self.mark_taken(&path);
        }
        let with_placeholders = self
            .template
            .digits()
            .filter(|_| self.is_content_addressed())
            .and_then(|digits| digits.with_placeholders(&path));
        match with_placeholders {
            Some(pattern) => PlannedName { is_fixed: true, ..self.planned(pattern, false) },
            None => PlannedName {
                pattern: path,
                digits: None,
                is_content_addressed: false,
                awaits_server_name: false,
                is_fixed: true,
            },
        }
    }

    /// The name of a row that is fetched again, which an earlier run or pass gave as `path`. A content-addressed name is
    /// given anew with all that it has: no other row depends on it, and the new body may have another format.
    pub fn reuse_for(&mut self, job: &Job, path: String) -> PlannedName {
        let reused = self.reuse(path);
        if reused.is_content_addressed { self.reserve(job) } else { reused }
    }

    /// Reserves the name of a job. Must be called in list order.
    pub fn reserve(&mut self, job: &Job) -> PlannedName {
        let basename = url_basename(&job.url);
        let awaits_server_name = basename.is_none() && self.asks_for_basename();
        let pattern = self.reserve_with_basename(job, basename.as_deref().unwrap_or(DEFAULT_BASENAME));
        self.planned(pattern, awaits_server_name)
    }

    /// Reserves the name that the server gave to a job whose URL has none; `None` if nothing is left of it after
    /// cleaning. This is the only name that is not reserved in list order, because it is not known earlier.
    pub fn reserve_from_server(&mut self, job: &Job, filename: &str) -> Option<PlannedName> {
        let basename = clean_text(filename.rsplit(['/', '\\']).next()?);
        if basename.is_empty() {
            return None;
        }
        let pattern = self.reserve_with_basename(job, &basename);
        Some(self.planned(pattern, false))
    }

    fn planned(&self, pattern: String, awaits_server_name: bool) -> PlannedName {
        let digits = self.template.digits().map(DigestDigits::positions);
        PlannedName {
            pattern,
            digits,
            is_content_addressed: self.is_content_addressed(),
            awaits_server_name,
            is_fixed: false,
        }
    }

    /// Whether names are determined by the content alone, so none has to be remembered.
    #[must_use]
    pub fn is_content_addressed(&self) -> bool {
        self.template.digits().is_some_and(DigestDigits::is_content_addressed)
    }

    fn earlier_stem_hashes(&self, path: &str) -> Vec<u64> {
        let possible_patterns = self.template.digits().into_iter().flat_map(|digits| digits.possible_patterns(path));
        earlier_stem_hashes(path, possible_patterns)
    }

    fn reserve_with_basename(&mut self, job: &Job, basename: &str) -> String {
        let (plain, open) = self.plain_name(job, basename);
        if self.try_reserve(&plain, &open, SuffixLevel(0)) {
            return plain;
        }
        let mut name = plain.clone();
        for (suffix_level, suffix) in (1..).zip(suffixes(job)) {
            name = with_suffix(&plain, &suffix, self.fix_extension);
            if self.try_reserve(&name, &with_suffix(&open, &suffix, self.fix_extension), SuffixLevel(suffix_level)) {
                break;
            }
        }
        name
    }

    /// The name of a job if no other row has it, and the same with a placeholder for each `{ext}` in it.
    fn plain_name(&self, job: &Job, basename: &str) -> (String, String) {
        let mut hash = String::new();
        if self.template.uses(|field| matches!(field, Field::UrlHash(_))) {
            hash = url_hash(&job.url);
        }
        let mut host = String::new();
        if self.template.uses(|field| matches!(field, Field::Host(_))) {
            host = clean_text(job.url.host_str().unwrap_or_default());
        }
        let render = |ext: &str| {
            let values =
                FieldValues { basename, ext, index: job.index, host: &host, url_hash: &hash, extra: &job.extra };
            fit_path(&self.template.render(&values), self.template.ends_in_extension(), self.fix_extension)
        };
        let placeholder = EXTENSION_PLACEHOLDER.to_string();
        let plain =
            render(extension(basename).filter(|ext| Format::from_extension(ext).is_some()).unwrap_or(&placeholder));
        let open = if self.template.uses(|f| *f == Field::Ext) { render(&placeholder) } else { plain.clone() };
        (plain, open)
    }

    /// Whether some list could give this job the name `path`, once a body of this format and digest is complete.
    #[must_use]
    pub fn match_name(&self, job: &Job, path: &str, content: Content<'_>) -> NameMatch {
        let Content { format, sha256, fix_extension } = content;
        if self.template.wants_sha256() && sha256.is_none() {
            return NameMatch::Possible;
        }
        let basename = url_basename(&job.url);
        if basename.is_none() && self.asks_for_basename() {
            return NameMatch::Possible;
        }
        let (plain, _) = self.plain_name(job, basename.as_deref().unwrap_or(DEFAULT_BASENAME));
        let is_it = |pattern: String| self.planned(pattern, false).finish(format, fix_extension, sha256).path == path;
        if is_it(plain.clone()) {
            return NameMatch::Possible;
        }
        match suffixes(job).into_iter().any(|suffix| is_it(with_suffix(&plain, &suffix, self.fix_extension))) {
            true if self.is_unique_per_row => NameMatch::Suffixed,
            true => NameMatch::Possible,
            false => NameMatch::Other,
        }
    }

    /// Whether a name that was just reserved has a suffix that [`NameMatch::Suffixed`] tells of.
    #[must_use]
    pub fn has_needless_suffix(&self, job: &Job, name: &PlannedName) -> bool {
        self.is_unique_per_row && {
            let basename = url_basename(&job.url);
            let (plain, _) = self.plain_name(job, basename.as_deref().unwrap_or(DEFAULT_BASENAME));
            name.pattern != plain
        }
    }

    /// Whether names have digits of the SHA-256 of the body.
    #[must_use]
    pub const fn wants_sha256(&self) -> bool {
        self.template.wants_sha256()
    }

    fn asks_for_basename(&self) -> bool {
        self.template.uses(|field| matches!(field, Field::Basename | Field::Stem(_)))
    }

    /// Reserves the name if it is free, and returns whether it was. `open`: the name with a placeholder for each
    /// `{ext}` in it.
    fn try_reserve(&mut self, name: &str, open: &str, suffix_level: SuffixLevel) -> bool {
        if self.is_content_addressed() {
            return true;
        }
        let (hash, extension) = (collisions::stem_hash(open), self.extension(name));
        let moved = self.template.digits().filter(|digits| digits.are_moved_by_suffixes());
        let masked = moved.map(|_| masked_stem_hash(open));
        let is_ambiguous = masked.is_some_and(|masked| self.taken.is_ambiguous(masked, suffix_level));
        // Names of earlier runs are marked as they are, with the extension in place of `{ext}`.
        let is_known = name != open && self.taken.conflicts(collisions::stem_hash(name), extension);
        let is_free = !is_ambiguous && !is_known && !self.taken.conflicts(hash, extension);
        if is_free && !self.is_unique_per_row {
            self.taken.insert(hash, extension);
            if let Some(masked) = masked {
                self.taken.insert_masked(masked, suffix_level);
            }
        }
        is_free
    }

    /// The extension that the name may end in.
    fn extension(&self, name: &str) -> ExtensionId {
        let ext = extension(name).unwrap_or_default();
        let mut known = (1..).zip(Format::ALL.iter().flat_map(|format| format.extensions()));
        match known.find(|(_, known)| known.eq_ignore_ascii_case(ext)) {
            Some((number, _)) if !self.fix_extension => ExtensionId(number),
            None if ext != "\0" => ExtensionId::NONE,
            _ => ExtensionId::ANY,
        }
    }
}

/// What is known of a complete body when it is named.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Its format, if it is known.
    pub format: Option<Format>,
    /// Its SHA-256 in 64 hexadecimal digits, if it is known.
    pub sha256: Option<&'a str>,
    /// Whether an extension that contradicts the format is replaced.
    pub fix_extension: bool,
}

/// The suffixes of a job's name, in the order in which they are tried. With `--keep-duplicates`, several rows may have
/// its URL; only their row numbers differ.
fn suffixes(job: &Job) -> [String; 6] {
    let hash = url_hash(&job.url);
    let (short, long) = (format!("{}-{}", &hash[..8], job.index), format!("{hash}-{}", job.index));
    [hash[..8].to_owned(), short, hash[..16].to_owned(), hash[..32].to_owned(), hash, long]
}

/// The last segment of the path of the URL, percent-decoded and cleaned; `None` if the path ends in `/` or nothing is
/// left.
fn url_basename(url: &Url) -> Option<String> {
    let segment = url.path_segments()?.next_back()?;
    let name = clean_text(&percent_decode_str(segment).decode_utf8_lossy());
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sha2::{Digest, Sha256};

    use super::super::example::{job, name, namer, row};
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

    /// A SHA-256 in hexadecimal that begins with these digits.
    fn sha256(beginning: &str) -> String {
        let rest = Sha256::digest(beginning).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        beginning.to_owned() + &rest[beginning.len()..]
    }

    #[test]
    fn a_template_renders_slices_columns_and_digests() {
        let url = "https://img.example:8443/x/naïve cat.PNG?v=1";
        let columns = [
            ("class", json!("dog/cat")),
            ("n", json!(-1.5)),
            ("id", json!(42)),
            ("ok", json!(true)),
            ("null", Value::Null),
            ("list", json!([1])),
            ("object", json!({"a": 1})),
            ("empty", json!("")),
            ("a:b", json!("colon")),
            ("a:0:2", json!("slices")),
            ("a", json!("naïve")),
        ];
        let hash = url_hash(&Url::parse(url).expect("a URL"));
        let content = sha256("0123");
        for (template, expected) in [
            ("{stem:0:3}-{stem:3:100}{stem:200:201}.{ext}", "naï-ve cat.PNG"),
            ("{host:0:3}/{index}", "img/123456.jpg"),
            ("{url_hash:0:2}/{url_hash:2:64}", &format!("{}/{}.jpg", &hash[..2], &hash[2..])),
            ("{index/10000}/{index}", "12/123456.jpg"),
            ("{index/10000:04}/{index:08}", "0012/00123456.jpg"),
            ("{index/1}-{index/123456}-{index/123457}", "123456-1-0.jpg"),
            ("{index/18446744073709551615}", "0.jpg"),
            ("{sha256}", &format!("{content}.jpg")),
            ("{sha256:0:2}/{sha256:2:4}/{sha256}.{ext}", &format!("01/23/{content}.PNG")),
            ("{sha256:2:4}{sha256:0:2}/{basename}", "2301/naïve cat.PNG"),
            ("{stem}-{sha256:60:64}", &format!("naïve cat-{}.jpg", &content[60..])),
            ("{col.class}/{col.id}", "dog_cat/42.jpg"),
            ("{col.n}{col.ok}", "-1.5true.jpg"),
            ("{col.null} {col.list} {col.object} {col.missing}", "none none none none.jpg"),
            ("{col.null:0:2}", "none.jpg"),
            ("x{col.empty}y", "xy.jpg"),
            ("{col.a:b}{col.a:0:2}{col.a:0:2:0:5}{col.a:2:3}", "colonnasliceï.jpg"),
            ("{col.class:0:4}{col.id:1:2}", "dog_2.jpg"),
            ("{col.id:5:7}/{stem:0:1}", "_/n.jpg"),
            ("{col.empty}.{ext}", "_.PNG"),
            ("{col.empty}", "_.jpg"),
        ] {
            let job = row(123_456, url, &columns);
            let planned = namer(template).reserve(&job);
            assert_eq!(planned.finish(Some(Format::Jpeg), false, Some(&content)).path, expected, "{template}");
            let wants = template.contains("sha256");
            assert_eq!(template.parse::<Template>().map(|template| template.wants_sha256()), Ok(wants), "{template}");
            assert_eq!(planned.known().is_none(), wants || expected.contains(".jpg"), "{template}");
        }
    }

    #[test]
    #[should_panic(expected = "the digest that the template wants is made")]
    fn a_name_is_not_made_without_its_digest() {
        let planned = namer("{sha256:0:2}/{basename}").reserve(&job(0, "https://a.example/x.png"));
        let _ = planned.finish(Some(Format::Png), false, None);
    }

    #[test]
    fn whole_digests_make_names_unique_and_slices_do_not() {
        let urls = ["https://a.example/x.png", "https://b.example/x.png", "https://c.example/X.PNG"];
        let [_, second, third] = urls.map(|url| url_hash(&Url::parse(url).expect("a URL"))[..8].to_owned());
        let content = sha256("ab");
        for (template, is_own, expected) in [
            ("{sha256}.{ext}", true, ["C.png", "C.png", "C.PNG"]),
            ("{sha256:0:2}/{sha256}", true, ["ab/C.png"; 3]),
            ("{stem}-{sha256}.png", true, ["x-C.png", "x-C.png", "X-C.png"]),
            ("{sha256:0:2}/{basename}", false, ["ab/x.png", "ab/x-2.png", "ab/X-3.PNG"]),
            ("{stem}-{sha256:0:2}", false, ["x-ab.png", "x-ab-2.png", "X-ab-3.png"]),
            ("{sha256}/x", false, ["C/x.png", "C/x-2.png", "C/x-3.png"]),
        ] {
            let mut namer = namer(template);
            let expected = expected.map(|name| name.replace('C', &content).replace("-2", &format!("-{second}")));
            for ((index, url), expected) in (0..).zip(urls).zip(expected) {
                let planned = namer.reserve(&job(index, url));
                let name = planned.finish(Some(Format::Png), false, Some(&content));
                assert_eq!(name.path, expected.replace("-3", &format!("-{third}")), "{template}");
                assert_eq!(planned.is_content_addressed(), is_own, "{template}");
            }
        }
    }

    #[test]
    fn a_later_run_takes_no_name_that_digits_may_complete() {
        let hash = sha256("");
        for (template, kept, url, is_taken) in [
            ("{sha256:0:2}/{basename}", "ab/cat.png", "cat.png", true),
            ("{sha256:0:2}/{basename}", "AB/CAT.PNG", "cat.png", true),
            ("{sha256:0:2}/{basename}", "ab/cat.jpg", "cat.png", false),
            ("{sha256:0:2}/{basename}", "ab/cat.jpg", "cat", true),
            ("{sha256:0:2}/{basename}", "ax/cat.png", "cat.png", false),
            ("{sha256:0:2}/{basename}", "abc/cat.png", "cat.png", false),
            ("{sha256:0:2}/{basename}", "cat.png", "cat.png", false),
            ("{sha256:0:2}{ext}/{stem}", "abpng/cat.png", "cat", true),
            ("{stem}-{sha256:0:8}", "cat-01234567.png", "cat", true),
            ("{stem}-{sha256:0:8}", "cat-0123456.png", "cat", false),
            ("{stem}-{sha256:0:8}", "cat-01234567-01234567.png", "cat", false),
            ("{stem}-{sha256:0:8}", "cat-01234567-01234567.png", "cat-76543210", false),
            ("{stem}-{sha256:0:8}", "cat-01234567-01234567.png", "cat-01234567", true),
            ("{sha256:0:1}on{stem}", "_con.png", "x", false),
            ("{sha256:0:1}o{stem}", "_con.png", "n", true),
            ("{sha256:0:1}o{stem}", "con.png", "n", false),
            // These are distinct by their content.
            ("{sha256}", &format!("{hash}.png"), "x", false),
            ("{stem}-{sha256}", &format!("x-{hash}.png"), "x", false),
        ] {
            let mut namer = namer(template);
            namer.mark_taken(kept);
            let planned = namer.reserve(&job(0, &format!("https://a.example/{url}"))).pattern;
            let suffix = &url_hash(&Url::parse(&format!("https://a.example/{url}")).expect("a URL"))[..8];
            assert_eq!(planned.contains(suffix), is_taken, "{template} {kept} {url}: {planned:?}");
        }
    }

    #[test]
    fn digits_at_the_end_and_a_suffix_are_not_mistaken_for_each_other() {
        let urls = ["https://a.example/cat", "https://b.example/cat", "https://a.example/cat-abcdef01"];
        let suffix = url_hash(&Url::parse(urls[1]).expect("a URL"))[..8].to_owned();
        let contents = [sha256("00"), sha256("abcdef01"), sha256(&suffix)];
        for order in [[0, 1, 2], [2, 0, 1]] {
            let mut namer = namer("{stem}-{sha256:0:8}");
            let mut given = [const { String::new() }; 3];
            for number in order {
                let planned = namer.reserve(&job(number as u64, urls[number]));
                given[number] = planned.finish(Some(Format::Png), false, Some(&contents[number])).path;
            }
            assert_eq!(given[0], format!("cat-{}.png", &contents[0][..8]));
            assert!(given[1].starts_with("cat-abcdef01-") && given[2].starts_with("cat-abcdef01-"), "{given:?}");
            assert_ne!(given[1], given[2], "{order:?}");
        }
        // Where no digits can be mistaken for a suffix, every row has the usual suffix.
        let mut namer = namer("{stem}-{sha256:0:8}");
        for (index, host) in (0..).zip(["a", "b", "c", "d"]) {
            let url = format!("https://{host}.example/cat-12");
            let planned =
                namer.reserve(&job(index, &url)).pattern.replace(crate::naming::clean::DIGIT_PLACEHOLDER, ".");
            let hash = url_hash(&Url::parse(&url).expect("a URL"));
            let expected =
                if index == 0 { "cat-12-.........\0".into() } else { format!("cat-12-........-{}.\0", &hash[..8]) };
            assert_eq!(planned, expected);
        }
    }

    #[test]
    fn long_names_keep_their_digits() {
        let long = "z".repeat(300);
        let content = sha256("");
        for (template, expected) in [
            ("{stem}-{sha256}", format!("{}-{content}.jpg", "z".repeat(184))),
            ("{stem}-{sha256:0:8}x", format!("{}-{}x.jpg", "z".repeat(239), &content[..8])),
            ("{sha256:0:8}-{stem}", format!("{}-{}.jpg", &content[..8], "z".repeat(240))),
            ("{stem}{sha256:0:8}/{index}", format!("{}{}/0.jpg", "z".repeat(247), &content[..8])),
            ("{index}-{stem}-{sha256:0:8}", format!("0-{}-{}.jpg", "z".repeat(238), &content[..8])),
        ] {
            let mut namer = namer(template);
            let planned = namer.reserve(&job(0, &format!("https://a.example/{long}")));
            assert_eq!(planned.finish(Some(Format::Jpeg), false, Some(&content)).path, expected, "{template}");
            let second = namer.reserve(&job(1, &format!("https://b.example/{long}?{long}")));
            let second = second.finish(Some(Format::Webp), false, Some(&content)).path;
            assert!(second.split('/').all(|name| name.len() <= 255) && second.contains(&content[..8]), "{second}");
        }
        // With the longest possible suffix.
        let planned = namer("{stem}-{sha256}12345678").reserve(&job(0, &format!("https://a.example/{long}")));
        let name = with_suffix(&planned.pattern, &"f".repeat(85), true);
        assert!(name.len() <= 255 && name.contains(&format!("zz-{}12345678-ff", "\u{1}".repeat(64))), "{name:?}");
    }

    #[test]
    fn a_row_that_is_fetched_again_keeps_its_name_unless_it_is_content_addressed() {
        let (before, now) = (sha256("00"), sha256("11"));
        for (template, old, expected) in [
            ("{sha256:0:2}/{basename}", "00/x.png", "00/x.png".to_owned()),
            ("{sha256:0:2}/{sha256}", &format!("00/{before}.png"), format!("11/{now}.png")),
            ("{stem}-{sha256}", &format!("other-{before}.jpg"), format!("other-{now}.jpg")),
            ("{sha256}", "x.png", "x.png".to_owned()),
        ] {
            let planned = namer(template).reuse(old.to_owned());
            let is_own = expected.contains(&now);
            assert_eq!(planned.finish(Some(Format::Png), true, Some(&now)).path, expected, "{template} {old}");
            assert_eq!((planned.is_content_addressed(), planned.known().is_none()), (is_own, is_own), "{old}");
        }
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
            given.push(namer.reserve(&job(index as u64, url)).finish(Some(Format::Png), false, None).path);
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
        assert_eq!(
            first_open.reserve(&job(0, "https://a.example/x")).finish(Some(Format::Png), false, None).path,
            "x.png"
        );
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
                let given = urls.map(|url| namer.reserve(&job(0, url)).finish(Some(Format::Png), false, None).path);
                assert_ne!(given[0], given[1], "{template} {urls:?}");
                // A later run does not take the name either.
                let mut later = Namer::new(template.parse().expect("a template"), false);
                later.mark_taken(&given[0]);
                let other = later.reserve(&job(0, urls[1])).finish(Some(Format::Png), false, None).path;
                assert_ne!(given[0], other, "{template} {urls:?}");
            }
        }
    }

    #[test]
    fn fixing_an_extension_causes_no_collision() {
        let mut namer = Namer::new("{basename}".parse().expect("a template"), true);
        let first = namer.reserve(&job(0, "https://a.example/x.png")).finish(Some(Format::Jpeg), true, None);
        assert_eq!(first, FinalName { path: "x.jpg".into(), mismatch: false });
        let second = namer.reserve(&job(1, "https://a.example/x.jpg")).finish(Some(Format::Jpeg), true, None);
        assert!(second.path.starts_with("x-"), "{second:?}");
        let kept = namer.reuse("x.png".into()).finish(Some(Format::Jpeg), true, None);
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
            namer.mark_taken(kept);
            let url = format!("https://a.example/{url}");
            let planned = namer.reserve(&job(0, &url)).pattern;
            let suffix = &url_hash(&Url::parse(&url).expect("a URL"))[..8];
            assert_eq!(planned.contains(suffix), is_taken, "{template} {kept} {url}: {planned:?}");
        }
    }

    #[test]
    fn an_unknown_format_gets_no_extension_of_another_name() {
        let mut namer = namer("{basename}");
        let given = [".png", "_.png", "x"].map(|name| namer.reserve(&job(0, &format!("https://a.example/{name}"))));
        assert_eq!(given.map(|planned| planned.finish(None, false, None).path), ["_.png.bin", "_.png", "x"]);
    }

    #[test]
    fn names_of_earlier_runs_and_long_ones_are_respected() {
        let mut namer = namer("{basename}");
        namer.mark_taken("x.png");
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
        assert!(namer.reserve(&nameless).awaits_server_name());
        let given = namer.reserve_from_server(&nameless, "C:\\fakepath\\cat.png").expect("a name");
        assert_eq!(given.finish(Some(Format::Png), false, None).path, "cat.png");
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
    fn names_that_are_unique_per_row_are_not_remembered_but_those_of_earlier_runs_are() {
        let mut namer = namer("{index:02}-{basename}");
        namer.mark_taken("03-x.png");
        let before = format!("{:?}", namer.taken.table);
        let given = (0..5).map(|index| namer.reserve(&job(index, "https://a.example/x.png")).pattern);
        let given = given.collect::<Vec<_>>();
        assert_eq!((&*given[2], &*given[4]), ("02-x.png", "04-x.png"));
        assert!(given[3].starts_with("03-x-"), "{given:?}");
        namer.reuse("04-x.png".into());
        assert_eq!(format!("{:?}", namer.taken.table), before);
    }
}
