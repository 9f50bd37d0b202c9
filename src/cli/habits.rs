//! Flags that users of other programs type by habit, and the flag that does the same here.

/// What to type instead of a flag of curl, wget, aria2c, gallery-dl or img2dataset. `flag` is what was typed, with its
/// hyphens and without its value.
pub fn answer(flag: &str) -> Option<&'static str> {
    let flag = flag.trim_start_matches('-').replace('_', "-").to_ascii_lowercase();
    ANSWERS.iter().find(|(flags, _)| flags.contains(&&*flag)).map(|(_, answer)| *answer)
}

/// In lower case and with hyphens inside, as [`answer`] looks them up.
const ANSWERS: &[(&[&str], &str)] = &[
    (
        &[
            "jobs",
            "threads",
            "thread-count",
            "thread",
            "workers",
            "processes",
            "processes-count",
            "parallel",
            "parallel-max",
            "z",
            "p",
            "max-concurrent-downloads",
            "max-threads",
            "concurrent",
            "parallel-immediate",
        ],
        "many downloads at once are the default; -j N sets how many, and --per-host N how many from one host",
    ),
    (
        &[
            "split",
            "s",
            "max-connection-per-server",
            "min-split-size",
            "max-connections",
            "connections",
            "jobs-per-host",
        ],
        "--per-host N is the number of downloads at once from one host; a file is fetched over one connection",
    ),
    (
        &[
            "resume",
            "continue",
            "continue-at",
            "c",
            "incremental-mode",
            "incremental",
            "no-clobber",
            "nc",
            "always-resume",
        ],
        "leave it out: the same command again goes on where the last run ended, and --overwrite fetches anew",
    ),
    (
        &["input", "input-file", "i", "url-list", "urls", "file", "list", "url-file", "from-file", "f"],
        "name the list without a flag: fetchimg LIST",
    ),
    (&["url"], "name the URL without a flag: fetchimg URL"),
    (
        &[
            "output-folder",
            "output-dir",
            "out",
            "dir",
            "d",
            "directory",
            "directory-prefix",
            "dest",
            "destination",
            "folder",
        ],
        "-o DIR is the folder for the images",
    ),
    (
        &["remote-name", "remote-name-all", "output-document", "remote-header-name", "content-disposition", "filename"],
        "--name TEMPLATE names the files, such as '{basename}' (the default) or '{index:06}'",
    ),
    (&["location", "l", "follow", "follow-redirects"], "redirects are followed; --max-redirs N sets how many"),
    (&["retry", "tries", "t", "max-tries", "retry-count", "r"], "--retries N is the number of retries"),
    (&["retry-delay", "waitretry"], "--retry-wait S is the time before the first retry"),
    (
        &["max-time", "m", "read-timeout", "lowest-speed-limit", "speed-time"],
        "--timeout S bounds one attempt, and --stall-timeout S a silence in it",
    ),
    (&["wait", "sleep", "sleep-request", "random-wait", "delay"], "--rate N is the most requests a second to one host"),
    (
        &["max-overall-download-limit", "max-download-limit", "limit"],
        "--limit-rate SIZE is the most bytes a second, over all downloads",
    ),
    (
        &["quiet-errors", "silent", "no-verbose", "nv", "show-error", "console-log-level"],
        "-q logs only errors; --progress none shows no bar",
    ),
    (
        &["fail", "fail-with-body", "fail-early"],
        "leave it out: a row whose answer is an error fails, and the status is 1 then",
    ),
    (&["progress-bar", "no-progress-meter", "show-progress"], "--progress bar, log or none"),
    (&["image-size", "size"], "--resize N or WIDTHxHEIGHT makes images anew in that size"),
    (
        &["encode-format", "convert"],
        "--encode FORMAT stores all images as jpeg, png or webp; the list's format is --input-format",
    ),
    (&["encode-quality"], "--quality N"),
    (&["url-col"], "--url-column NAME is the column with the URL"),
    (
        &["caption-col"],
        "--caption-column NAME is the column with the caption, for --output-format webdataset or parquet",
    ),
    (&["number-sample-per-shard"], "--shard-size N is the number of rows in each shard"),
    (&["save-additional-columns"], "leave it out: each record has all columns of its row"),
    (&["min-image-size"], "--min-width N and --min-height N"),
    (&["max-image-area"], "--max-pixels N"),
    (&["max-aspect-ratio"], "--max-aspect RATIO"),
    (
        &["compute-hash", "checksum"],
        "--hash LIST records digests; --checksum-column NAME compares them with those of the list",
    ),
    (
        &["log-file", "output-file", "log"],
        "the log is standard error: 2>FILE; --report FILE writes the report, --manifest FILE the records",
    ),
    (&["no-check-certificate", "check-certificate"], "-k does not check certificates"),
    (&["user-name", "http-user", "http-passwd", "http-password", "password"], "-u USER:PASSWORD"),
    (&["cookies", "load-cookies", "cookie-jar"], "-b 'NAME=VALUE' sends cookies"),
    (&["dry", "simulate", "spider", "no-download", "get-urls", "g"], "--dry-run tells what would be fetched"),
    (
        &["force", "force-overwrites", "clobber", "allow-overwrite"],
        "--overwrite fetches again what is there, and replaces it",
    ),
    (&["all-proxy", "http-proxy", "https-proxy"], "-x URL is the proxy"),
    (&["recursive", "mirror", "page-requisites"], "a page is not searched for images; the list names them"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_other_programs_are_answered_however_they_are_written() {
        for (flag, part) in [
            ("--jobs", "-j N"),
            ("--threads", "-j N"),
            ("--thread_count", "-j N"),
            ("-Z", "-j N"),
            ("--resume", "the same command"),
            ("--continue", "the same command"),
            ("--input", "fetchimg LIST"),
            ("--quiet-errors", "-q"),
            ("--url_col", "--url-column"),
            ("-L", "--max-redirs"),
        ] {
            assert!(answer(flag).is_some_and(|text| text.contains(part)), "{flag}: {:?}", answer(flag));
        }
        assert_eq!(answer("--paralel"), None);
        for (number, (flags, _)) in ANSWERS.iter().enumerate() {
            for flag in *flags {
                let first = ANSWERS.iter().position(|(flags, _)| flags.contains(flag));
                assert_eq!(first, Some(number), "{flag} has two answers");
                assert!(!flag.contains('_') && *flag == flag.to_ascii_lowercase(), "{flag} is never found");
            }
        }
    }
}
