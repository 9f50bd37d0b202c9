//! Words of a command line, as they are typed in a shell.

use std::borrow::Cow;

/// Quotes a word for a shell where that is necessary.
#[must_use]
pub fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |character: char| character.is_alphanumeric() || "-_./:=,@%+".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''")).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_shown_can_be_typed() {
        for (word, shown) in [
            ("--proxy=", "--proxy="),
            ("", "''"),
            ("Accept: a/b", "'Accept: a/b'"),
            ("{stem}", "'{stem}'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(word), shown);
        }
    }
}
