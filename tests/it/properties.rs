//! Properties that hold for all inputs, tested with generated ones.
//!
//! `PROPTEST_CASES=2000 cargo test --test it properties::` tries more damaged images and more lists than the usual 256.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use fetchimg::internals::http::disposition::filename;
use fetchimg::internals::http::retry::{Policy, retry_after};
use fetchimg::internals::image::{InspectOptions, MAX_HEAD_BYTES, Recogniser, Recognition, recognise};
use fetchimg::internals::input::{ListFormat, Options, rows_of};
use fetchimg::internals::naming::{Namer, PlannedName, clean_text};
use fetchimg::internals::record::{Extra, Format, Job, url_hash};
use fetchimg::internals::util::redact::{escaped, needs_escaping, redacted, redacted_text};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use url::Url;

use crate::inspected::inspected;
use crate::list_rows::AnyList;
use crate::rules;

const TEMPLATES: [&str; 29] = [
    "{basename}",
    "{host}/{basename}",
    "{stem}.{ext}",
    "{ext}/{stem}",
    "{stem}-{ext}",
    "{stem}/{basename}",
    "e{basename}",
    "{index}-{basename}",
    "c{index}/{stem}",
    "_{index:02}{{{ext}",
    "{index/3}/{index}",
    "{index/2:03}-{basename}",
    "{stem:1:3}/{basename}",
    "{host:0:1}{stem:0:2}.{ext}",
    "{url_hash:0:1}/{stem:0:1}",
    "{col.class}",
    "{col.class}/{col.n}",
    "{col.class:0:2}{basename}",
    "x{col.class}.{ext}",
    "com{col.n}/{col.class}-{index/4}",
    "{sha256}",
    "{stem}-{sha256}.{ext}",
    "{sha256}-{col.class}",
    "{sha256:0:1}/{basename}",
    "{sha256:0:1}on/com{sha256:1:2}",
    "{stem}-{sha256:0:8}",
    "{col.class}{sha256:0:1}{sha256:0:1}/{stem:0:1}-{sha256:0:8}x",
    "{index/2}-{sha256:0:2}{stem}.{ext}",
    "{sha256:0:2}{ext}/{stem:0:1}",
];

/// The last segment of a path: likely to be that of another URL, a device, long, hidden, cut, or different only in
/// case.
fn segment() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[a-cA-C]{1,2}",
        "(con|NUL|aux|com1|lpt9)",
        "[σςΣſsßẞıİ]{1,2}",
        "[. %/\\\\:\u{202e}\u{301}]{1,3}",
        "(é|ü| |\\.){120,160}",
        "\\PC{1,6}",
    ];
    let extension = prop_oneof!["", "\\.(png|PNG|jpg|webp|php)", "\\.[a-z]{6,9}", "\\.+ *"];
    (prop::collection::vec(word, 1..4), extension).prop_map(|(words, extension)| words.concat() + &extension)
}

fn urls() -> impl Strategy<Value = Vec<Url>> {
    let hosts = prop_oneof![Just("a.example"), Just("b.example"), Just("con"), Just("[::1]")];
    let url = (hosts, segment()).prop_filter_map("no URL", |(host, segment)| {
        Url::parse(&format!("http://{host}/{segment}")).ok().filter(|url| url.host().is_some())
    });
    prop::collection::vec(url, 1..12).prop_map(|mut urls| {
        // A run never names a URL twice.
        let mut seen = BTreeSet::new();
        urls.retain(|url| seen.insert(url_hash(url)));
        urls
    })
}

/// Rows with columns whose values are as unusual as segments, or equal.
fn rows() -> impl Strategy<Value = Vec<Job>> {
    let class = prop_oneof![
        Just(json!(null)),
        Just(json!(["a"])),
        Just(json!("../../etc")),
        "[ab]{0,2}".prop_map(Value::from),
        segment().prop_map(Value::from),
        "[\u{0}-\u{20}/.]{0,4}".prop_map(Value::from),
        prop::collection::vec("[a-z0-9 ./é-]{1,4}", 250..300).prop_map(|words| Value::from(words.concat())),
    ];
    let n = prop_oneof![
        (0..3_i32).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ];
    (urls(), prop::collection::vec((class, n), 12)).prop_map(|(urls, columns)| {
        let rows = (0..).zip(urls).zip(columns);
        rows.map(|((index, url), (class, n))| {
            let extra = Extra::new(vec![("class".into(), class), ("n".into(), n)]);
            Job { extra, ..Job::new(index, url) }
        })
        .collect()
    })
}

/// Digests that are likely to be equal to each other, or to other digits in names.
fn digest(url: &Url, kind: u8) -> String {
    match kind {
        0 => "0".repeat(64),
        1 => "a".repeat(64),
        2 => url_hash(url),
        3 => "c1ab".repeat(16),
        _ => format!("{kind:064x}"),
    }
}

/// The same cases in every run, so that no test fails by chance; the fuzz targets look further.
fn few() -> ProptestConfig {
    ProptestConfig { cases: 100, ..many() }
}

/// 256 cases, or as many as the environment variable `PROPTEST_CASES` says: with 2000 it takes a minute longer.
fn many() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn names_are_safe_and_different(
        rows in rows(),
        template in prop::sample::select(&TEMPLATES),
        fix_extension: bool,
        formats in prop::collection::vec(prop::option::of(prop::sample::select(Format::ALL)), 12),
        contents in prop::collection::vec(0..6_u8, 12),
    ) {
        let names = || {
            let mut namer = Namer::new(template.parse().expect("a template"), fix_extension);
            rows.iter().map(|row| namer.reserve(row)).collect::<Vec<_>>()
        };
        let planned = names();
        prop_assert_eq!(&planned, &names(), "names depend on the list alone");
        let mut given = BTreeMap::new();
        for (((planned, format), row), content) in planned.iter().zip(formats).zip(&rows).zip(contents) {
            let content = digest(&row.url, content);
            let name = planned.finish(format, fix_extension, Some(&content)).path;
            prop_assert_eq!(rules::danger(&name), None, "{:?} became {:?}", row, &name);
            prop_assert!(planned.known().is_none_or(|known| known == name || fix_extension), "{:?}", planned);
            let other = given.insert(rules::folded(&name), (content.clone(), &row.url));
            let is_alone = other.as_ref().is_none_or(|(same, _)| planned.is_content_addressed() && *same == content);
            prop_assert!(is_alone, "{:?} and {} share {:?}", other, row.url, &name);
        }
    }

    #[test]
    fn a_list_that_grows_names_its_beginning_as_before(rows in rows(), template in prop::sample::select(&TEMPLATES)) {
        let names = |rows: &[Job]| {
            let mut namer = Namer::new(template.parse().expect("a template"), false);
            rows.iter().map(|row| namer.reserve(row)).collect::<Vec<_>>()
        };
        let half = rows.len() / 2;
        prop_assert_eq!(&names(&rows)[..half], names(&rows[..half]));
    }

    #[test]
    fn a_later_run_leaves_the_names_of_an_earlier_one_alone(
        rows in rows(),
        [earlier, later] in prop::array::uniform2(prop::sample::select(&TEMPLATES)),
        same: bool,
        formats in prop::collection::vec(prop::option::of(prop::sample::select(Format::ALL)), 12),
        contents in prop::collection::vec(0..6_u8, 24),
    ) {
        let finish = |planned: &PlannedName, row: &Job, number: usize, shift: usize| {
            let content = digest(&row.url, contents[number + shift]);
            (planned.finish(formats[number], false, Some(&content)).path, content)
        };
        let mut namer = Namer::new(earlier.parse().expect("a template"), false);
        let half = rows.len() / 2;
        let mut kept = BTreeMap::new();
        for (number, row) in rows[..half].iter().enumerate() {
            let (name, content) = finish(&namer.reserve(row), row, number, 0);
            kept.insert(rules::folded(&name), (name, content));
        }
        let mut namer = Namer::new(if same { earlier } else { later }.parse().expect("a template"), false);
        for (name, _) in kept.values() {
            namer.mark_taken(name);
        }
        for (number, row) in rows.iter().enumerate().skip(half) {
            let planned = namer.reserve(row);
            let (name, content) = finish(&planned, row, number, 12);
            let before = kept.get(&rules::folded(&name));
            // Two rows may share a name that consists of the digest of their common content.
            let is_free = before.is_none_or(|(_, same)| planned.is_content_addressed() && *same == content);
            prop_assert!(is_free, "{:?} became {:?}, which is {:?}", row, name, before);
        }
    }

    #[test]
    fn what_a_server_calls_a_file_becomes_a_safe_name(
        name in segment(),
        form in prop::sample::select(vec!["filename=\"{}\"", "filename={}", "filename*=UTF-8''{}", "{}"]),
    ) {
        let field = format!("attachment; {}", form.replace("{}", &name));
        if let Some(sent) = filename(field.as_bytes()) {
            let cleaned = clean_text(&sent);
            prop_assert_eq!(clean_text(&cleaned), cleaned);
            let job = Job::new(0, Url::parse("http://a.example/").expect("a URL"));
            let mut namer = Namer::new("{basename}".parse().expect("a template"), false);
            if let Some(planned) = namer.reserve_from_server(&job, &sent) {
                let name = planned.finish(None, false, None).path;
                prop_assert_eq!(rules::danger(&name), None, "{:?} became {:?}", &sent, &name);
            }
        }
    }

    #[test]
    fn a_list_is_the_same_however_it_is_cut(
        lines in prop::collection::vec(line(), 0..6),
        mark in prop_oneof![3 => Just(&b""[..]), 1 => Just(&b"\xEF\xBB\xBF"[..]), 1 => Just(&b"\x1f\x8b"[..])],
        header in prop::sample::select(vec!["", "url,\"c\"\n", "c\turl\r\n", "{\"url\":\"http://a.example/\"}\n"]),
        format in prop::sample::select(vec![None, Some(ListFormat::Csv), Some(ListFormat::Tsv), Some(ListFormat::Jsonl)]),
        cuts in prop::collection::vec(1..9_usize, 1..5),
    ) {
        let bytes = [mark.to_vec(), header.into(), lines.concat()].concat();
        let pieces = InPieces { bytes: &bytes, cuts: &cuts, turn: 0 };
        let options = Options { format, ..Options::default() };
        let whole = format!("{:?}", rows_of(bytes.as_slice(), "list", &options));
        prop_assert_eq!(whole, format!("{:?}", rows_of(pieces, "list", &options)));
    }

    /// Of lines that are rows none is lost, whatever stands between them, and whatever their captions open and close.
    #[test]
    fn every_line_that_is_a_row_has_one_record(
        lines in prop::collection::vec(prop_oneof![2 => "[\"a ]{0,5}".prop_map(Ok), 1 => "[\"a ,\t]{0,6}".prop_map(Err)], 0..12),
        is_url_first in any::<bool>(),
        is_tsv in any::<bool>(),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        cuts in prop::collection::vec(1..9_usize, 1..5),
    ) {
        let (delimiter, format) = if is_tsv { ("\t", ListFormat::Tsv) } else { (",", ListFormat::Csv) };
        let fields = |url: &str, caption: &str| {
            let [one, two] = if is_url_first { [url, caption] } else { [caption, url] };
            format!("{one}{delimiter}{two}{end}")
        };
        let mut list = fields("url", "c");
        let mut expected = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            match line {
                Ok(caption) => {
                    expected.push(format!("http://a.example/{number}"));
                    list.push_str(&fields(expected.last().expect("just added"), caption));
                }
                Err(rubbish) => list.push_str(&[rubbish, end].concat()),
            }
        }
        let pieces = InPieces { bytes: list.as_bytes(), cuts: &cuts, turn: 0 };
        let rows = rows_of(pieces, "list", &Options { format: Some(format), ..Options::default() }).expect("a list");
        let urls = rows.iter().map(|row| match row {
            Ok(job) => job.url.to_string(),
            Err(record) => record.url.clone(),
        });
        let urls = urls.filter(|url| url.starts_with("http://a.example/")).collect::<Vec<_>>();
        prop_assert_eq!(urls, expected, "{}", list);
    }

    #[test]
    fn a_recognised_format_stays_the_same(
        start in prop::sample::select(STARTS),
        filling in prop::collection::vec(any::<u8>(), 0..150),
        ends in prop::collection::vec(0..=6000_usize, 2..6),
        space in prop_oneof![4 => Just(0_usize), 1 => 0..5000_usize],
    ) {
        let body = [start, &vec![b' '; space], &filling].concat();
        let ends = ends.into_iter().map(|end| end.min(body.len())).collect::<BTreeSet<_>>();
        let mut clear = None;
        for end in ends {
            match (clear, recognise(&body[..end], false)) {
                // Only a body that may be a TGA is read to its end. The third byte of a TGA is one of these.
                (None, Recognition::Unclear) => prop_assert!(end < MAX_HEAD_BYTES || matches!(body[2], 1..=3 | 9..=11)),
                (None, verdict) => clear = Some(verdict),
                (Some(Recognition::Other(_)), Recognition::Other(_)) => {}
                (Some(before), verdict) => prop_assert_eq!(before, verdict),
            }
        }
    }

    #[test]
    fn a_recogniser_says_of_pieces_what_is_said_of_the_whole(
        start in prop::sample::select(STARTS),
        filling in prop::collection::vec(any::<u8>(), 0..150),
        space in prop_oneof![4 => Just(0_usize), 1 => 0..5000_usize],
        end in prop::sample::select(vec![&b""[..], b"TRUEVISION-XFILE.\0"]),
        cuts in prop::collection::vec(1..700_usize, 1..5),
    ) {
        let body = [start, &vec![b' '; space], &filling, end].concat();
        let mut recogniser = Recogniser::default();
        let mut pieces = InPieces { bytes: &body, cuts: &cuts, turn: 0 };
        let mut piece = [0; 700];
        while let Some(length) = pieces.read(&mut piece).ok().filter(|length| *length > 0) {
            recogniser.feed(&piece[..length]);
        }
        match (recogniser.end(), recognise(&body, true)) {
            // The description of a body that is not an image may become more precise.
            (Recognition::Other(_), Recognition::Other(_)) => {}
            (in_pieces, whole) => prop_assert_eq!(in_pieces, whole),
        }
    }

    #[test]
    fn a_wait_in_seconds_is_that_wait(seconds: u64) {
        let now = SystemTime::now();
        prop_assert_eq!(retry_after(&seconds.to_string(), now), Some(Duration::from_secs(seconds)));
        prop_assert_eq!(retry_after(&format!("-{seconds}"), now), None);
        prop_assert_eq!(retry_after(&format!("{seconds}.5"), now), None);
    }

    #[test]
    fn a_wait_until_a_date_ends_then(ahead in 0..4_000_000_000_u64, now in 0..4_000_000_000_u64) {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let date = httpdate(now + ahead);
        prop_assert_eq!(retry_after(&date, at(now)), Some(Duration::from_secs(ahead)), "{}", &date);
        prop_assert_eq!(retry_after(&date, at(now + ahead + 1)), Some(Duration::ZERO), "a date that has passed");
    }

    #[test]
    fn any_wait_is_read_or_ignored(value in "\\PC{0,40}|[0-9 ]{0,60}") {
        let asked = retry_after(&value, SystemTime::now());
        let is_number = !value.trim().is_empty() && value.trim().bytes().all(|byte| byte.is_ascii_digit());
        prop_assert!(!is_number || asked.is_some(), "{}", value);
    }

    #[test]
    fn waits_stay_within_their_bounds(retries in 0..40_u32, milliseconds in 0..100_000_u64) {
        let policy = Policy { retries, first_wait: Duration::from_millis(milliseconds) };
        let longest = Duration::from_secs(30);
        let mut whole = policy.first_wait.min(longest);
        let waits = policy.waits().collect::<Vec<_>>();
        prop_assert_eq!(waits.len(), usize::try_from(retries).expect("a small number"));
        for wait in waits {
            // Rounding takes a nanosecond here and there.
            prop_assert!(wait + Duration::from_nanos(2) >= whole / 2 && wait <= whole + Duration::from_nanos(2));
            whole = (whole * 2).min(longest);
        }
    }

    #[test]
    fn no_secret_of_a_url_is_shown(
        password in SECRET,
        token in SECRET,
        parameter in prop::sample::select(PARAMETERS),
        other in "[a-z]{1,5}=[a-z0-9]{0,5}",
        first: bool,
    ) {
        let pair = format!("{parameter}={token}");
        let query = if first { format!("{pair}&{other}") } else { format!("{other}&{pair}") };
        let text = format!("http://ann:{password}@a.example/x.png?{query}");
        let shown = redacted(&Url::parse(&text).expect("a URL")).into_owned();
        prop_assert!(!shown.contains(&token) && !shown.contains(&password), "{}", shown);
        prop_assert!(shown.contains(&other), "the rest stays: {}", shown);
        prop_assert_eq!(redacted(&Url::parse(&shown).expect("a URL")).into_owned(), shown);
    }

    #[test]
    fn no_secret_of_what_is_no_url_is_shown(
        before in prop::sample::select(vec!["", "\"", "7,", "see ", "<", "url\t"]),
        slashes in prop::sample::select(vec!["://", ":/", "//", ":\\\\", ":///", ":\t//"]),
        password in SECRET,
        middle in prop::sample::select(vec!["", "/", "?", "@", ":"]),
        host in prop::sample::select(vec!["[zz", "exa mple", "a.example", "a:99999", ""]),
        token in SECRET,
        parameter in prop::sample::select(PARAMETERS),
    ) {
        let text = format!("{before}http{slashes}ann:{password}{middle}@{host}/x.png?a=1&{parameter}={token}");
        let shown = redacted_text(&text);
        prop_assert!(!shown.contains(&token) && !shown.contains(&password), "{:?} is shown as {:?}", text, shown);
        prop_assert_eq!(redacted_text(&shown), shown);
    }

    #[test]
    fn any_text_is_redacted_once(text in "([a-z@:/?&=\t\\\\ ]|token=|http:|\\PC){0,30}") {
        let shown = redacted_text(&text);
        prop_assert_eq!(redacted_text(&shown), shown);
    }

    #[test]
    fn harmless_text_moves_no_cursor_and_stays(text in ".{0,20}|[\u{0}-\u{2fff}]{0,20}") {
        let shown = escaped(&text).into_owned();
        prop_assert!(!shown.chars().any(|character| character.is_control() || needs_escaping(character)), "{:?}", shown);
        prop_assert_eq!(escaped(&shown), &*shown);
        if text.chars().all(|character| !needs_escaping(character)) {
            prop_assert_eq!(shown, text);
        }
    }
}

proptest! {
    // Damage is of many kinds.
    #![proptest_config(many())]

    /// Every line belongs to exactly one row, whatever the bytes and the cuts.
    #[test]
    fn a_list_has_as_many_records_as_rows(
        kind in 0..6_u8,
        parts in prop::collection::vec(prop_oneof![
            3 => line(),
            2 => "[c\"a ,;|\t#]{0,6}[\r\n]{0,2}".prop_map(String::into_bytes),
            1 => "[\u{feff}\u{a0}\u{200b} \t]{0,3}(#|http://a\\.example/)?[\r\n]{0,2}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..20),
            1 => prop::collection::vec(prop::sample::select(b"\"\r\n\t,;| a\0\xEF\xBB\xBF".to_vec()), 0..20),
        ], 0..12),
        blanks in prop::option::weighted(0.02, 100_000..200_000_usize),
        cuts in prop::collection::vec(1..9_usize, 1..5),
    ) {
        let mut rest = parts.concat();
        rest.extend(vec![b' '; blanks.unwrap_or(0)]);
        if blanks.is_some() {
            rest.extend(b"http://a.example/far");
        }
        let list = AnyList::new(kind, &rest);
        list.check(&rows_of(list.bytes.as_slice(), "list", &list.options).expect("a list"));
        let pieces = InPieces { bytes: &list.bytes, cuts: &cuts, turn: 0 };
        list.check(&rows_of(pieces, "list", &list.options).expect("a list"));
    }

    #[test]
    fn a_damaged_image_is_the_same_however_it_is_cut(
        sample in prop::sample::select(SAMPLES.as_slice()),
        damages in prop::collection::vec(damage(), 0..4),
        format in prop_oneof![9 => Just(None), 1 => prop::sample::select(Format::ALL).prop_map(Some)],
        structure: bool,
        exif: bool,
        cuts in prop::collection::vec(prop_oneof![1..4_usize, 1..100_usize, Just(512_usize)], 1..5),
    ) {
        let (of_sample, mut body) = sample;
        for damage in &damages {
            damage.act(&mut body);
        }
        let wanted = InspectOptions { structure, exif };
        // Sometimes the file is of another format.
        let format = format.unwrap_or(of_sample);
        let whole = inspected(format, &body, wanted, &[usize::MAX]);
        prop_assert_eq!(&inspected(format, &body, wanted, &cuts), &whole);
        prop_assert!(structure || whole.is_ok(), "its structure is not checked: {:?}", whole);
        if let Ok(found) = whole {
            prop_assert!(found.measures.width != Some(0) && found.measures.height != Some(0));
            prop_assert!(found.measures.frames.is_none_or(|frames| frames > 1));
            prop_assert!(found.measures.orientation.is_none_or(|orientation| (2..=8).contains(&orientation)));
            prop_assert!(exif || found.exif.is_empty());
        }
    }
}

/// The images of `tests/images`.
static SAMPLES: LazyLock<Vec<(Format, Vec<u8>)>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images");
    let mut paths = fs::read_dir(folder).expect("the folder").flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    paths.sort();
    let format = |path: &std::path::Path| Format::from_extension(path.extension()?.to_str()?);
    paths.iter().filter_map(|path| Some((format(path)?, fs::read(path).ok()?))).collect()
});

/// Damage to a file, at a position that is a share of its length.
#[derive(Clone, Debug)]
enum Damage {
    Replaced(f64, Vec<u8>),
    Inserted(f64, Vec<u8>),
    Removed(f64, usize),
    Cut(f64),
    FilledUp(f64),
    Lengthened(Vec<u8>),
}

impl Damage {
    fn act(&self, body: &mut Vec<u8>) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "small"
        )]
        let place = |share: f64| (body.len() as f64 * share) as usize;
        match self {
            Self::Replaced(share, bytes) => {
                let at = place(*share);
                let end = (at + bytes.len()).min(body.len());
                body.splice(at..end, bytes.iter().copied());
            }
            Self::Inserted(share, bytes) => {
                let at = place(*share);
                body.splice(at..at, bytes.iter().copied());
            }
            Self::Removed(share, length) => {
                let at = place(*share);
                body.drain(at..(at + length).min(body.len()));
            }
            Self::Cut(share) => body.truncate(place(*share)),
            Self::FilledUp(share) => {
                let at = place(*share);
                body[at..].fill(0);
            }
            Self::Lengthened(bytes) => body.extend(bytes),
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    // Most damage is at the beginning, where headers are.
    let share = || prop_oneof![0.0..1.0_f64, (0.0..1.0_f64).prop_map(|share| share * share * share)];
    let byte = || prop_oneof![any::<u8>(), prop::sample::select(vec![0, 1, 0x7F, 0x80, 0xFF])];
    let bytes = move || prop::collection::vec(byte(), 1..9);
    prop_oneof![
        4 => (share(), bytes()).prop_map(|(share, bytes)| Damage::Replaced(share, bytes)),
        1 => (share(), bytes()).prop_map(|(share, bytes)| Damage::Inserted(share, bytes)),
        1 => (share(), 1..40_usize).prop_map(|(share, length)| Damage::Removed(share, length)),
        1 => share().prop_map(Damage::Cut),
        1 => share().prop_map(Damage::FilledUp),
        1 => bytes().prop_map(Damage::Lengthened),
    ]
}

/// A text that occurs nowhere else in a URL.
const SECRET: &str = "S3CR3T[a-zA-Z0-9]{1,12}";

const PARAMETERS: &[&str] = &["sig", "Signature", "X-Amz-Signature", "token", "api_key", "s%69g", "%74oken"];

/// Beginnings of files that could be of several formats.
const STARTS: &[&[u8]] = &[
    b"",
    b"\0\0\0\x60ftypmif1\0\0\0\0mif1miaf",
    b"\0\0\0\x60ftypmp42\0\0\0\0avif",
    b"<?xml version='1.0'?>",
    b"<!-- ",
    b"<!DOCTYPE svg",
    b"<sv",
    b"<svg",
    b"\xEF\xBB\xBF<",
    b"BM",
    b"\0\0\x01\0\x01\0",
    b"RIFF",
    b"P5 ",
    b"<html",
    b"\0\0\x02\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x18\0",
    b"\x07\x01\x09\0\0\x10\0\x18\0\0\0\0\x01\0\x01\0\x08\x20",
];

/// One line of a list, good, bad or odd.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let content = prop_oneof![
        "http://a\\.example/[a-zü ]{0,5}".prop_map(String::into_bytes),
        "[ \t]*#?\\PC{0,8}".prop_map(String::into_bytes),
        "[\"a, \t]{0,6},http://a\\.example/[\"a]{0,3}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..8),
        Just(vec![b'x'; 5000]),
    ];
    (content, prop::sample::select(vec!["\n", "\r\n", ""])).prop_map(|(mut line, end)| {
        line.extend(end.bytes());
        line
    })
}

/// A reader that returns pieces of these sizes, in turn.
struct InPieces<'a> {
    bytes: &'a [u8],
    cuts: &'a [usize],
    turn: usize,
}

impl Read for InPieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.turn += 1;
        let length = self.cuts[self.turn % self.cuts.len()].min(into.len());
        self.bytes.read(&mut into[..length])
    }
}

/// A second of Unix time as HTTP says it.
fn httpdate(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}
