//! The rules for safe names, for the property tests and the fuzz targets. They are written independently of the
//! program.

/// The names that Windows keeps for devices, whatever their extension.
const DEVICES: [&str; 7] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"];

/// Why a relative path must not be written to; `None` for a safe one.
pub fn danger(path: &str) -> Option<&'static str> {
    path.split('/').find_map(danger_in)
}

/// The same for one file or folder.
fn danger_in(name: &str) -> Option<&'static str> {
    let stem = name.split('.').next().unwrap_or(name).trim_end().to_uppercase();
    let is_port = ["COM", "LPT"].iter().any(|port| {
        stem.strip_prefix(port).is_some_and(|number| number.chars().count() == 1 && "0123456789¹²³".contains(number))
    });
    Some(match name {
        "" => "an empty component",
        _ if name.len() > 255 => "more than 255 bytes",
        _ if name.starts_with('.') => "hidden, or a way out",
        _ if name.starts_with(char::is_whitespace) => "white space in front",
        _ if name.ends_with(['.', ' ']) => "a dot or space at the end",
        _ if name.contains(['\\', '<', '>', ':', '"', '|', '?', '*']) => "a character that Windows refuses",
        _ if name.chars().any(char::is_control) => "a control character",
        _ if name.contains(turns) => "a change of reading direction",
        _ if is_port || DEVICES.contains(&&*stem) => "a device",
        _ => return None,
    })
}

fn turns(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The name as a case-insensitive file system compares it.
pub fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}
