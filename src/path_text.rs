//! Paths and names in messages: bytes that a terminal or a log can take.

/// A path for messages: with a slash before it; control characters,
/// backslashes and bytes that are no UTF-8 as escapes.
pub fn show(path: &[u8]) -> String {
    let slash = if path.first() == Some(&b'/') { "" } else { "/" };
    format!("{slash}{}", show_relative(path))
}

/// As [`show`], without adding a slash.
pub fn show_relative(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for part in path.utf8_chunks() {
        for character in part.valid().chars() {
            if character.is_control() || character == '\\' {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in part.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(show("dir/na\u{ef}ve".as_bytes()), "/dir/na\u{ef}ve");
        assert_eq!(show(b"/a\x1b[2J\nb"), "/a\\u{1b}[2J\\nb");
        assert_eq!(show_relative(b"\xff\\"), "\\xff\\\\");
    }
}
