//! The command line as a report shows it, so that it can be typed again.

use std::ffi::OsString;

use crate::util::redact::{needs_escaping, redacted_text};
use crate::util::shell::quoted;

/// A longer command is not shown.
const MAX_SHOWN_CHARS: usize = 300;

/// The command line as it can be typed again; `None` if it is too long, or cannot be shown as it is.
pub fn shown(words: &[OsString]) -> Option<String> {
    let mut shown = String::from("fetchimg");
    for word in words.iter().skip(1) {
        let word = word.to_str().filter(|word| !word.contains(needs_escaping))?;
        // Text that is no URL is redacted only where it may hold a password.
        if redacted_text(word) != word {
            return None;
        }
        shown.push(' ');
        shown.push_str(&quoted(word));
    }
    (shown.chars().count() <= MAX_SHOWN_CHARS).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Option<String> {
        shown(&words.iter().map(Into::into).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_is_shown_as_it_can_be_typed_unless_it_holds_a_secret() {
        let command = of(&["/usr/bin/fetchimg", "my list.txt", "-o", "photos", "--name", "{index:06}"]);
        assert_eq!(command.as_deref(), Some("fetchimg 'my list.txt' -o photos --name '{index:06}'"));
        assert_eq!(of(&["fetchimg", "https://ann:secret@a.example/x.png"]), None);
        assert_eq!(of(&["fetchimg", "https://a.example/x.png?X-Amz-Signature=abc"]), None);
        assert_eq!(of(&["fetchimg", "a\u{1b}[31m"]), None);
        assert_eq!(of(&["fetchimg", &"x".repeat(400)]), None);
    }
}
