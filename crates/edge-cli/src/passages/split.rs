//! Cutting a block into passages of 5-512 tokens, at sentences where it can be.

use edge_embed::Tokenizer;

use super::{TOKENS_MAX, TOKENS_MIN};

/// The text with every run of white space as one space. (`edge_tasks` hashes ids over the same
/// form.)
pub(crate) fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// The passages of a block, normalised, each with the number of lines before it.
pub(crate) fn passages(tokenizer: &Tokenizer, block: &str) -> Vec<(u32, String)> {
    let whole = normalise(block);
    if whole.is_empty() {
        return Vec::new();
    }
    let tokens = tokenizer.count(&whole);
    if tokens <= TOKENS_MAX {
        let leading = lines(&block[..block.len() - block.trim_start().len()]);
        return if tokens < TOKENS_MIN { Vec::new() } else { vec![(leading, whole)] };
    }
    let mut out = Vec::new();
    let mut packer = Packer { tokenizer, text: String::new(), tokens: 0, line: 0 };
    for (line, sentence) in sentences(block) {
        let sentence = normalise(sentence);
        let tokens = tokenizer.count(&sentence);
        if tokens <= TOKENS_MAX {
            packer.push(line, &sentence, tokens, &mut out);
        } else {
            // A sentence longer than a passage: code or a table. Words then.
            for word in sentence.split(' ') {
                packer.push(line, word, tokenizer.count(word), &mut out);
            }
        }
    }
    packer.end(&mut out);
    out
}

struct Packer<'a> {
    tokenizer: &'a Tokenizer,
    text: String,
    tokens: usize,
    line: u32,
}

impl Packer<'_> {
    fn push(&mut self, line: u32, piece: &str, tokens: usize, out: &mut Vec<(u32, String)>) {
        if tokens == 0 {
            return;
        }
        // A word of more than 512 tokens is punctuation without end: nobody searches for it.
        if tokens > TOKENS_MAX {
            return;
        }
        if self.tokens + tokens > TOKENS_MAX {
            self.end(out);
        }
        if self.text.is_empty() {
            self.line = line;
        } else {
            self.text.push(' ');
        }
        self.text.push_str(piece);
        self.tokens += tokens;
    }

    fn end(&mut self, out: &mut Vec<(u32, String)>) {
        if self.tokens >= TOKENS_MIN {
            debug_assert!(self.tokenizer.count(&self.text) <= TOKENS_MAX);
            out.push((self.line, std::mem::take(&mut self.text)));
        }
        self.text.clear();
        self.tokens = 0;
    }
}

/// Sentences with the number of line ends before them: up to `.`, `!` or `?` before white space, or
/// an empty line, or a line end after a line that looks like code.
fn sentences(block: &str) -> Vec<(u32, &str)> {
    let mut out = Vec::new();
    let (mut start, mut line) = (0, 0);
    let bytes = block.as_bytes();
    let mut push = |from: usize, to: usize, line: &mut u32| {
        let piece = &block[from..to];
        if !piece.trim().is_empty() {
            let leading = piece.len() - piece.trim_start().len();
            out.push((*line + lines(&piece[..leading]), piece));
        }
        *line += lines(piece);
    };
    for at in 0..bytes.len() {
        let next = bytes.get(at + 1).copied().unwrap_or(b'\n');
        let ends = match bytes[at] {
            b'.' | b'!' | b'?' => next.is_ascii_whitespace(),
            b'\n' => {
                let before = block[start..at].trim_end();
                next == b'\n' || before.ends_with([';', '{', '}', ','])
            }
            _ => false,
        };
        if ends {
            push(start, at + 1, &mut line);
            start = at + 1;
        }
    }
    push(start, bytes.len(), &mut line);
    out
}

fn lines(text: &str) -> u32 {
    u32::try_from(text.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX)
}
