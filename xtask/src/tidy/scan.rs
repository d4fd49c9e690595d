//! A view of Rust source that has only its code: comments, literals and test items blanked.

/// The code of `source`, line for line and column for column, with every comment, string and
/// character literal replaced by blanks.
pub(super) fn code(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !continues_word(bytes, at) => match raw_string_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match character_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        blank(&mut out, at, end);
        at = end;
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Blanks the items under `#[cfg(test)]` in what [`code`] made.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for opening in ["#[cfg(test", "#[cfg(all(test"] {
        for (start, _) in code.match_indices(opening) {
            if let Some(end) = item_end(code.as_bytes(), start) {
                blank(&mut out, start, end);
            }
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

fn blank(out: &mut [u8], start: usize, end: usize) {
    for byte in &mut out[start..end] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// Whether the byte at `at` continues an identifier, so that an `r` there opens no raw string
/// (`b` and `c` prefixes are allowed).
fn continues_word(bytes: &[u8], at: usize) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match at.checked_sub(1).map(|before| bytes[before]) {
        Some(b'b' | b'c') => at.checked_sub(2).is_some_and(|before| word(bytes[before])),
        Some(byte) => word(byte),
        None => false,
    }
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length)
}

fn block_comment_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0;
    let mut at = at;
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut closing = vec![b'"'];
    closing.resize(hashes + 1, b'#');
    let length = bytes[open + 1..].windows(closing.len()).position(|window| window == closing);
    Some(length.map_or(bytes.len(), |length| open + 1 + length + closing.len()))
}

/// The end of a character literal, or `None` where the quote starts a lifetime.
fn character_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes.get(at + 3..)?.iter().position(|byte| *byte == b'\'')?;
        return Some(at + 3 + close + 1);
    }
    // One character is at most four bytes long.
    let close = (at + 2..at + 6).find(|close| bytes.get(*close) == Some(&b'\''))?;
    let inside = std::str::from_utf8(&bytes[at + 1..close]).ok()?;
    (inside.chars().count() == 1).then_some(close + 1)
}

/// The end of the item that the attribute at `at` belongs to: its closing brace or semicolon.
fn item_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    while bytes.get(at) == Some(&b'#') {
        at = matching(bytes, at, b'[', b']')?;
        at += bytes[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    }
    let length = bytes[at..].iter().position(|byte| matches!(byte, b'{' | b';'))?;
    match bytes[at + length] {
        b'{' => matching(bytes, at + length, b'{', b'}'),
        _ => Some(at + length + 1),
    }
}

fn matching(bytes: &[u8], at: usize, open: u8, close: u8) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, byte) in bytes.iter().enumerate().skip(at) {
        if *byte == open {
            depth += 1;
        } else if *byte == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(index + 1);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        for (source, expected) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y") + g"#, "f(      ) + g"),
            ("r#\"a\"b\"#;c", "        ;c"),
            ("br\"a\";c", "b    ;c"),
            ("for\"a\"", "for   "),
            ("'a' + 'b", "    + 'b"),
            ("fn f<'a>(x: &'a u8) {}", "fn f<'a>(x: &'a u8) {}"),
            (r"'\'' x", "     x"),
            (r"'\u{1F600}' x", "            x"),
        ] {
            assert_eq!(code(source), expected, "{source}");
        }
        // A character of several bytes is blanked byte by byte.
        assert_eq!(code("'é'x").trim(), "x");
    }

    #[test]
    fn test_items_are_blanked() {
        let source =
            "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() { c() } }\nfn d() {}\n";
        let left = without_tests(&code(source));
        assert_eq!(left.split_whitespace().collect::<Vec<_>>().join(" "), "fn a() {} fn d() {}");
        assert_eq!(left.lines().count(), source.lines().count());
        assert_eq!(without_tests("#[cfg(test)]\nmod tests;\nmod b;").trim(), "mod b;");
    }
}
