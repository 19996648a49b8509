//! Text from outside: how documents are decoded, and what is done to text before it reaches a terminal.

use std::borrow::Cow;

/// The text of a document, without its byte order mark. UTF-8 and, where the mark says so, UTF-16 are read.
///
/// # Errors
/// Which encoding it seems to be in, and that it must be saved as UTF-8.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    match unmarked(bytes)? {
        Cow::Borrowed(bytes) => Ok(Cow::Borrowed(utf8(bytes)?)),
        // It was UTF-16, so it is valid.
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|error| error.to_string()),
    }
}

/// The content of a file that need not be text: as it is, but for a byte order mark and what that stands for.
///
/// # Errors
/// As [`decode`].
pub fn unmarked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => Ok(Cow::Borrowed(rest)),
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => Err(not_read("UTF-32")),
        [0xFF, 0xFE, rest @ ..] => utf16("UTF-16 (little endian)", rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16("UTF-16 (big endian)", rest, u16::from_be_bytes),
        [first, 0, ..] | [0, first, ..] if *first != 0 => Err(not_read("UTF-16 without a byte order mark")),
        _ => Ok(Cow::Borrowed(bytes)),
    }
}

fn utf16<'a>(encoding: &str, bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Cow<'a, [u8]>, String> {
    let (units, rest) = bytes.as_chunks::<2>();
    let text = char::decode_utf16(units.iter().map(|pair| unit(*pair))).collect::<Result<String, _>>();
    match text {
        Ok(text) if rest.is_empty() => Ok(Cow::Owned(text.into_bytes())),
        _ => Err(format!("it begins as {encoding} and is broken; save it as UTF-8")),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        format!(
            "line {line}: the byte 0x{byte:02x} is not UTF-8 (Latin-1 or Windows-1252?); save it as UTF-8"
        )
    })
}

fn not_read(encoding: &str) -> String {
    format!("it is in {encoding}, which is not read; save it as UTF-8")
}

/// Whether a terminal takes the character for a command, or shows the text around it in another order or not at all:
/// control characters (C0, DEL, C1), marks of direction, separators of lines, tags.
pub const fn steers(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text in which nothing steers a terminal or breaks a line.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::new(), escaped))
}

/// Lines that may be coloured, in which nothing else steers a terminal: for what is put together of many texts, after
/// each was made [`printable`] by itself.
pub fn lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| steers(c) && c != '\n') {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = colour(rest) {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if matches!(c, '\n' | '\t') {
            shown.push(c);
        } else {
            shown = escaped(shown, c);
        }
        rest = &rest[c.len_utf8()..];
    }
    Cow::Owned(shown)
}

/// The length of the change of colour that the text begins with: `ESC [ 1 ; 31 m`.
fn colour(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("\u{1b}[")?;
    let end = inside.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    inside[end..].starts_with('m').then_some(2 + end + 1)
}

fn escaped(mut shown: String, c: char) -> String {
    if steers(c) {
        shown.extend(c.escape_default());
    } else {
        shown.push(c);
    }
    shown
}

/// JSON that says the same, in which nothing steers a terminal.
pub fn json(json: &str) -> Cow<'_, str> {
    // Line ends and indents stand between values; inside of texts they are escaped already.
    let wild = |c: char| steers(c) && !matches!(c, '\n' | '\t' | '\r');
    if !json.contains(wild) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if wild(c) {
            let mut units = [0; 2];
            shown.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// "{é}" in UTF-16, little endian.
    const WIDE: [u8; 6] = [b'{', 0, 0xE9, 0, b'}', 0];

    fn marked(mark: &[u8], bytes: &[u8]) -> Vec<u8> {
        [mark, bytes].concat()
    }

    #[test]
    fn a_mark_is_dropped_and_utf_16_is_read() {
        let big: Vec<u8> = WIDE.chunks(2).flat_map(|pair| [pair[1], pair[0]]).collect();
        for bytes in [
            "{é}".as_bytes().to_vec(),
            marked(b"\xef\xbb\xbf", "{é}".as_bytes()),
            marked(b"\xff\xfe", &WIDE),
            marked(b"\xfe\xff", &big),
        ] {
            assert_eq!(decode(&bytes).as_deref(), Ok("{é}"), "{bytes:?}");
        }
        assert_eq!(decode(b"").as_deref(), Ok(""));
        assert_eq!(decode(b"\xef\xbb\xbf").as_deref(), Ok(""));
    }

    #[test]
    fn what_is_not_read_is_named() {
        for (bytes, words) in [
            (&WIDE[..], "UTF-16 without"),
            (b"\0{\0}", "UTF-16 without"),
            (b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0{", "UTF-32"),
            (b"\xff\xfe{", "broken"),
            (b"\xff\xfe\0\xd8", "broken"),
            (b"{\n\"caf\xe9\"}", "line 2: the byte 0xe9"),
        ] {
            let refused = decode(bytes).unwrap_err();
            assert!(refused.contains(words) && refused.contains("UTF-8"), "{refused}");
        }
        assert_eq!(unmarked(b"#!/bin/sh\n\xff").as_deref(), Ok(&b"#!/bin/sh\n\xff"[..]));
    }

    #[test]
    fn nothing_steers_a_terminal_and_words_stay() {
        let evil = "a\u{1b}[2J\n\u{9b}31m\u{202e}txt\u{2066}\u{7f}\u{e0041}";
        assert!(!printable(evil).contains(steers));
        for text in ["Katze 🐈", "кошка", "قطة", "👩‍💻"] {
            assert_eq!(printable(text), text);
        }
        let coloured = "\u{1b}[1;31mred\u{1b}[0m\tx\n\u{1b}]0;title\u{7}";
        assert_eq!(lines(coloured), "\u{1b}[1;31mred\u{1b}[0m\tx\n\\u{1b}]0;title\\u{7}");
    }

    proptest! {
        #[test]
        fn json_keeps_its_meaning(text in any::<String>()) {
            let plain = serde_json::to_string_pretty(&[&text]).unwrap();
            let shown = json(&plain);
            prop_assert!(!shown.contains(|c| steers(c) && c != '\n'), "{}", shown);
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&shown).unwrap(), [text]);
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..16), text in any::<String>()) {
            let _ = (decode(&bytes), unmarked(&bytes));
            prop_assert!(!printable(&text).contains(steers));
            let _ = lines(&text);
        }
    }
}
