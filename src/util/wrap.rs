//! Fits lines into a number of columns by breaking them at blanks.

use textwrap::{Options, WordSeparator, WordSplitter};

/// The lines of a text, none of them longer than `width` if it has a blank before that. A flag or a file name is not
/// broken. `first` begins the first line, and `indent` blanks each of the others.
#[must_use]
pub fn wrapped(text: &str, width: usize, first: &str, indent: usize) -> Vec<String> {
    let indent = " ".repeat(indent);
    let options = Options::new(width).initial_indent(first).subsequent_indent(&indent).break_words(false);
    let options = options.word_separator(WordSeparator::AsciiSpace).word_splitter(WordSplitter::NoHyphenation);
    textwrap::wrap(text, options).into_iter().map(Into::into).collect()
}

/// The same text, in which URLs that have more than `room` characters are cut in their middle: their beginning and their
/// end say most.
#[must_use]
pub fn with_short_urls(text: &str, room: usize) -> String {
    const CUT: &str = "...";
    let short = |word: &str| {
        let length = word.chars().count();
        if length <= room || !word.contains("://") || room <= CUT.len() {
            return word.to_owned();
        }
        let kept = room - CUT.len();
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let (head, tail) = (word.chars().take(head), word.chars().skip(length - tail));
        head.chain(CUT.chars()).chain(tail).collect()
    };
    text.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_alone() {
        let text = "100 dns, 20 http_status 404; --keep-duplicates saves images/a-very-long-name-of-a-file.png";
        for width in [20, 30, 40] {
            let lines = wrapped(text, width, "- ", 2);
            assert!(
                lines[0].starts_with("- 100") && lines[1..].iter().all(|line| line.starts_with("  ")),
                "{lines:#?}"
            );
            let words = lines.iter().flat_map(|line| line[2..].split(' ')).collect::<Vec<_>>();
            assert_eq!(words, text.split(' ').collect::<Vec<_>>());
            let is_long = |line: &&String| line.len() > width && line.trim().contains(' ');
            assert_eq!(lines.iter().find(is_long), None, "{lines:#?}");
        }
    }

    #[test]
    fn long_urls_are_cut_in_their_middle_and_nothing_else_is() {
        let text = "failed: http://a.example/folder/folder/0123456789.png: not-an-image-at-all-but-a-long-word";
        let short = with_short_urls(text, 24);
        assert_eq!(short, "failed: http://a.ex...56789.png: not-an-image-at-all-but-a-long-word");
        assert_eq!(with_short_urls(text, 100), text);
    }
}
