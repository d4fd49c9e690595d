//! Comment blocks of source files. A scanner follows strings, characters and comments, so that a
//! `///` inside a string is no documentation.

use super::Block;

/// What kind of comments a language has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Language {
    /// `///`, `//!`, `/** */` and `/*! */`: documentation only.
    Rust,
    /// `//` and `/* */`.
    C,
    /// `#` lines and documentation strings in three quotes.
    Hash,
}

impl Language {
    /// By the end of a file's name.
    pub(crate) fn of_extension(extension: &str) -> Option<Language> {
        match extension {
            "rs" => Some(Language::Rust),
            "c" | "h" | "cc" | "cpp" | "hpp" | "cs" | "go" | "java" | "js" | "jsx" | "kt"
            | "mjs" | "php" | "scala" | "swift" | "ts" | "tsx" | "zig" => Some(Language::C),
            "py" | "rb" | "sh" => Some(Language::Hash),
            _ => None,
        }
    }
}

/// The comment blocks of a source file, in order. A block is a run of comment lines of one kind
/// with nothing but white space between them, or one bracketed comment.
pub(crate) fn blocks(language: Language, source: &str) -> Vec<Block> {
    match language {
        Language::Rust | Language::C => bracketed(language, source),
        Language::Hash => hash(source),
    }
}

/// A run of line comments being gathered.
#[derive(Default)]
struct Run {
    marker: &'static str,
    first: u32,
    last: u32,
    text: String,
}

impl Run {
    fn add(&mut self, marker: &'static str, line: u32, text: &str, out: &mut Vec<Block>) {
        let continues = self.marker == marker && self.last + 1 == line;
        if !continues {
            self.end(out);
            (self.marker, self.first) = (marker, line);
        } else {
            self.text.push('\n');
        }
        self.text.push_str(text.strip_prefix(' ').unwrap_or(text).trim_end());
        self.last = line;
    }

    fn end(&mut self, out: &mut Vec<Block>) {
        let text = std::mem::take(&mut self.text);
        if !self.marker.is_empty() && !text.trim().is_empty() {
            out.push(Block { line: self.first, text: prose(&text) });
        }
        self.marker = "";
    }
}

/// Drops what rustdoc drops: fence lines and hidden lines of examples.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut out = String::with_capacity(text.len());
    for line in text.split('\n') {
        let start = line.trim_start();
        let fence = start.starts_with("```") || start.starts_with("~~~");
        if fence {
            fenced = !fenced;
        }
        // Line ends stay, so that lines can be counted.
        if !(fence || fenced && (start == "#" || start.starts_with("# "))) {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

fn bracketed(language: Language, source: &str) -> Vec<Block> {
    let bytes = source.as_bytes();
    let mut out = Vec::new();
    let mut run = Run::default();
    let (mut at, mut line) = (0, 1u32);
    while at < bytes.len() {
        match bytes[at] {
            b'\n' => {
                line += 1;
                at += 1;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                let end = source[at..].find('\n').map_or(bytes.len(), |n| at + n);
                let comment = &source[at..end];
                if let Some((marker, text)) = line_comment(language, comment) {
                    run.add(marker, line, text, &mut out);
                }
                at = end;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end = comment_end(bytes, at, language == Language::Rust);
                let comment = &source[at..end];
                if let Some(text) = bracket_comment(language, comment) {
                    run.end(&mut out);
                    out.push(Block { line, text: prose(&text) });
                }
                line += newlines(comment);
                at = end;
            }
            b'r' | b'b' | b'c' if language == Language::Rust && raw_hashes(bytes, at).is_some() => {
                let end = raw_end(bytes, at);
                line += newlines(&source[at..end]);
                at = end;
            }
            b'"' => {
                let end = string_end(bytes, at, b'"');
                line += newlines(&source[at..end]);
                at = end;
            }
            b'`' if language == Language::C => {
                let end = string_end(bytes, at, b'`');
                line += newlines(&source[at..end]);
                at = end;
            }
            b'\'' => at = quote_end(language, source, at),
            _ => at += 1,
        }
    }
    run.end(&mut out);
    out
}

fn newlines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX)
}

/// The marker and the text of a comment line, if it counts as documentation.
fn line_comment(language: Language, comment: &str) -> Option<(&'static str, &str)> {
    match language {
        Language::Rust => {
            if comment.starts_with("////") {
                None
            } else if let Some(text) = comment.strip_prefix("///") {
                Some(("///", text))
            } else {
                comment.strip_prefix("//!").map(|text| ("//!", text))
            }
        }
        Language::C => Some(("//", comment.trim_start_matches(['/', '!']))),
        Language::Hash => None,
    }
}

/// The text of a bracketed comment without its frame of stars.
fn bracket_comment(language: Language, comment: &str) -> Option<String> {
    let inner = comment.strip_prefix("/*")?;
    let inner = inner.strip_suffix("*/").unwrap_or(inner);
    let inner = match language {
        Language::Rust => {
            if inner.starts_with("**") || inner.is_empty() {
                return None;
            }
            inner.strip_prefix('*').or_else(|| inner.strip_prefix('!'))?
        }
        Language::C | Language::Hash => inner.trim_start_matches(['*', '!']),
    };
    let cleaned = inner.split('\n').map(|line| {
        let start = line.trim_start();
        let text = start.strip_prefix("* ").or_else(|| (start == "*").then_some(""));
        text.unwrap_or(line).trim_end()
    });
    let text = cleaned.collect::<Vec<_>>().join("\n");
    (!text.trim().is_empty()).then_some(text)
}

/// One past the end of a bracketed comment; they nest in Rust. An open one ends with the file.
fn comment_end(bytes: &[u8], start: usize, nests: bool) -> usize {
    let (mut at, mut depth) = (start + 2, 1);
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'*', b'/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            (b'/', b'*') if nests => {
                depth += 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The number of `#` of a raw string that starts here: `r"`, `br#"`, `cr##"`.
fn raw_hashes(bytes: &[u8], start: usize) -> Option<usize> {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    if start > 0 && word(&bytes[start - 1]) {
        return None;
    }
    let prefix = usize::from(matches!(bytes[start], b'b' | b'c'));
    if bytes.get(start + prefix) != Some(&b'r') {
        return None;
    }
    let rest = &bytes[start + prefix + 1..];
    let hashes = rest.iter().take_while(|b| **b == b'#').count();
    (rest.get(hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_end(bytes: &[u8], start: usize) -> usize {
    let hashes = raw_hashes(bytes, start).unwrap_or(0);
    let open =
        bytes[start..].iter().position(|b| *b == b'"').map_or(bytes.len(), |n| start + n + 1);
    let mut at = open;
    while at < bytes.len() {
        if bytes[at] == b'"' {
            let tail = &bytes[at + 1..];
            if tail.len() >= hashes && tail[..hashes].iter().all(|b| *b == b'#') {
                return at + 1 + hashes;
            }
        }
        at += 1;
    }
    bytes.len()
}

/// One past a character literal; just past the quote where it is a lifetime.
fn quote_end(language: Language, source: &str, start: usize) -> usize {
    let bytes = source.as_bytes();
    if language == Language::C {
        // A string in some of these languages; it never spans lines.
        let mut at = start + 1;
        while at < bytes.len() && bytes[at] != b'\n' {
            match bytes[at] {
                b'\\' => at += 2,
                b'\'' => return at + 1,
                _ => at += 1,
            }
        }
        return start + 1;
    }
    if bytes.get(start + 1) == Some(&b'\\') {
        return string_end(bytes, start, b'\'');
    }
    let Some(character) = source[start + 1..].chars().next() else { return start + 1 };
    let close = start + 1 + character.len_utf8();
    if bytes.get(close) == Some(&b'\'') { close + 1 } else { start + 1 }
}

/// Comment lines that begin with `#`, and documentation strings.
fn hash(source: &str) -> Vec<Block> {
    let mut out = Vec::new();
    let mut run = Run::default();
    let mut string: Option<(&str, u32, String)> = None;
    for (line, text) in (1u32..).zip(source.split('\n')) {
        let start = text.trim_start();
        if let Some((quote, first, mut body)) = string.take() {
            match start.find(quote) {
                Some(end) => {
                    body.push_str(&start[..end]);
                    out.push(Block { line: first, text: body });
                }
                None => {
                    body.push_str(start);
                    body.push('\n');
                    string = Some((quote, first, body));
                }
            }
            continue;
        }
        let quote = ["\"\"\"", "'''"].into_iter().find(|quote| start.starts_with(quote));
        if let Some(quote) = quote {
            let inner = &start[3..];
            match inner.find(quote) {
                Some(end) => out.push(Block { line, text: inner[..end].to_owned() }),
                None => string = Some((quote, line, format!("{inner}\n"))),
            }
        } else if let Some(comment) = start.strip_prefix('#')
            && !(line == 1 && comment.starts_with('!'))
        {
            run.add("#", line, comment.trim_start_matches('#'), &mut out);
        }
    }
    run.end(&mut out);
    out
}
