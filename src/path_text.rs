//! Paths and names in messages and traces: bytes that a terminal, a log or a
//! line can take.

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

/// The bytes of what [`show`] or [`show_relative`] wrote; none for an escape
/// that they do not write.
pub fn read(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let kind = escaped.chars().next()?;
        rest = escaped.get(kind.len_utf8()..)?;
        match kind {
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            '\\' => bytes.push(b'\\'),
            'x' => {
                bytes.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
                rest = rest.get(2..)?;
            }
            'u' => {
                let (number, behind) = rest.strip_prefix('{')?.split_once('}')?;
                let character = char::from_u32(u32::from_str_radix(number, 16).ok()?)?;
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = behind;
            }
            _ => return None,
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        let odd = ["a\u{2028}\u{85}b\\x41".as_bytes(), b"", b"\\", &all];
        for bytes in odd {
            assert_eq!(read(&show_relative(bytes)).as_deref(), Some(bytes));
        }
        for wrong in [
            "\\",
            "\\q",
            "\\x4",
            "\\x\u{e4}1",
            "\\u41",
            "\\u{110000}",
            "\\u{41",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(show("dir/na\u{ef}ve".as_bytes()), "/dir/na\u{ef}ve");
        assert_eq!(show(b"/a\x1b[2J\nb"), "/a\\u{1b}[2J\\nb");
        assert_eq!(show_relative(b"\xff\\"), "\\xff\\\\");
    }
}
