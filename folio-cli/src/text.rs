//! Names from outside, made fit to be shown: a row stays one line, and nothing in a name speaks to the terminal.

use std::borrow::Cow;
use std::fmt::Write;
use unicode_width::UnicodeWidthChar;

/// The name as one line of printable text. What is not printable is written `\n`, `\xff` (a byte that is no UTF-8) or
/// `\u{202e}`; and so that this stays unambiguous, `\` is doubled (but on Windows, where it separates folders).
pub(crate) fn shown(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && !text.chars().any(needs_escape)
    {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => line.push_str("\\n"),
                '\t' => line.push_str("\\t"),
                '\r' => line.push_str("\\r"),
                '\\' if !cfg!(windows) => line.push_str("\\\\"),
                other if needs_escape(other) => line.extend(other.escape_unicode()),
                other => line.push(other),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a `String` does not fail.
            let _written = write!(line, "\\x{byte:02x}");
        }
    }
    Cow::Owned(line)
}

fn needs_escape(character: char) -> bool {
    (character == '\\' && !cfg!(windows)) || is_hostile(character)
}

/// Controls, and marks that show as nothing or turn the direction of what follows.
pub(crate) fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// At most `columns` columns of `text`: the end is kept, since it is the end that tells paths apart.
pub(crate) fn fit(text: &str, columns: usize) -> Cow<'_, str> {
    let width = |character: char| character.width().unwrap_or(0);
    let whole: usize = text.chars().map(width).sum();
    if whole <= columns {
        return Cow::Borrowed(text);
    }
    let mut left = columns.saturating_sub(1);
    let mut kept = text.len();
    for (at, character) in text.char_indices().rev() {
        match left.checked_sub(width(character)) {
            Some(rest) => left = rest,
            None => break,
        }
        kept = at;
    }
    let kept = text.get(kept..).unwrap_or_default();
    // A folder cut in two helps nobody.
    let whole = kept.find(['/', '\\']).and_then(|at| kept.get(at..)).filter(|names| names.len() > 1);
    Cow::Owned(format!("…{}", whole.unwrap_or(kept)))
}

/// Two lower-case digits a byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _written = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_printable_line() {
        for (name, expected) in [
            (&b"/usr/lib/x.so"[..], "/usr/lib/x.so"),
            (b"/a\nb\t\r", r"/a\nb\t\r"),
            (b"/a\x1b[31m\x7f", r"/a\u{1b}[31m\u{7f}"),
            (b"/\xff\xc3", r"/\xff\xc3"),
            ("/é\u{202e}\u{9b}".as_bytes(), r"/é\u{202e}\u{9b}"),
        ] {
            assert_eq!(shown(name), expected);
        }
        #[cfg(not(windows))]
        assert_eq!(shown(br"/a\nb"), r"/a\\nb");
    }

    #[test]
    fn the_end_of_a_long_name_is_kept() {
        assert_eq!(fit("/usr/lib", 8), "/usr/lib");
        assert_eq!(fit("/usr/lib", 5), "…/lib");
        assert_eq!(fit("/usr/lib", 7), "…/lib");
        assert_eq!(fit("/usr/lib/", 5), "…lib/");
        assert_eq!(fit("/日本語", 5), "…本語");
        assert_eq!(fit("/日本語", 4), "…語");
        assert_eq!(fit("abc", 0), "…");
    }
}
