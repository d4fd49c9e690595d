//! WordPiece for BERT uncased: text to token ids, and back.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use edge_base::{Digest, Hasher};
use thiserror::Error;

mod rules;
mod trie;
mod words;

use rules::{Fate, Rules};
use trie::{Root, Trie};
use words::Words;

/// A word of more characters than this becomes one `[UNK]`.
const MAX_WORD_CHARS: usize = 100;
/// A token longer than this is no part of any word that is cut.
const MAX_TOKEN_BYTES: usize = 1024;
const CONTINUATION: &str = "##";
const UNKNOWN: &str = "[UNK]";
/// Tokens that stand for no text; [`Tokenizer::decode`] leaves them out.
const SPECIAL: [&str; 5] = ["[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]"];

/// Why a vocabulary cannot be used (the fault of whoever supplies it).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// A line is empty; the line number is the token id.
    #[error("vocabulary line {line} is empty")]
    EmptyToken {
        /// The line, from 0.
        line: usize,
    },
    /// A token is longer than any word: 1,024 bytes.
    #[error("vocabulary line {line} has {bytes} bytes, more than a token may have")]
    LongToken {
        /// The line, from 0.
        line: usize,
        /// Its length.
        bytes: usize,
    },
    /// Two lines hold the same token.
    #[error("vocabulary has {token:?} twice")]
    Duplicate {
        /// The token.
        token: String,
    },
    /// There is no `[UNK]`.
    #[error("vocabulary has no [UNK]")]
    NoUnknown,
}

/// An id that is not in the vocabulary (the caller's fault: ids of another tokenizer, for example).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("token id {id} is not in the vocabulary of {len} tokens")]
pub struct UnknownToken {
    /// The id.
    pub id: u32,
    /// The size of the vocabulary.
    pub len: usize,
}

/// A WordPiece tokenizer with the rules of BERT uncased (Devlin et al., arXiv 1810.04805; WordPiece
/// by greedy longest match as in Song et al., arXiv 2012.15524, section 2).
///
/// It clears control characters, sets CJK ideographs apart, strips accents by canonical
/// decomposition, lowers the case, splits at white space and around punctuation, and cuts each word
/// into the longest pieces of the vocabulary from the left; a word that cannot be cut, or has more
/// than 100 characters, is one `[UNK]`. It agrees with Hugging Face `tokenizers` on every scalar
/// value and on the golden corpus in `tests/golden`. One deviation: special tokens written out in a
/// text are text (`encode_special_tokens` there), so no text can contain a real `[SEP]`.
///
/// Time is linear in the text; memory beyond the output is constant.
#[derive(Debug)]
pub struct Tokenizer {
    tokens: Vec<String>,
    rules: &'static Rules,
    ascii: [Ascii; 128],
    words: Words,
    trie: Trie,
    start: Root,
    inside: Root,
    unknown: u32,
    id: Digest,
}

/// What becomes of an ASCII byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ascii {
    Word(u8),
    Remove,
    Space,
    Punct,
}

impl Tokenizer {
    /// The tokenizer of the built-in model: 30,522 tokens.
    pub fn builtin() -> &'static Tokenizer {
        static BUILTIN: OnceLock<Tokenizer> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            Tokenizer::new(crate::pack::files().vocabulary)
                .expect("invariant: the vocabulary of the built-in model is valid")
        })
    }

    /// A tokenizer over a vocabulary of one token a line; the line number, from 0, is the id.
    ///
    /// # Errors
    /// [`VocabularyError`] for an empty, overlong or repeated line, or when `[UNK]` is missing.
    pub fn new(vocabulary: &str) -> Result<Self, VocabularyError> {
        Tokenizer::from_tokens(&vocabulary.lines().collect::<Vec<_>>())
    }

    /// A tokenizer over tokens by id.
    ///
    /// # Errors
    /// [`VocabularyError`] for an empty, overlong or repeated token, or when `[UNK]` is missing; a token's
    /// id is called its line.
    pub fn from_tokens(keys: &[&str]) -> Result<Self, VocabularyError> {
        if let Some(line) = keys.iter().position(|key| key.is_empty()) {
            return Err(VocabularyError::EmptyToken { line });
        }
        if let Some(line) = keys.iter().position(|key| key.len() > MAX_TOKEN_BYTES) {
            return Err(VocabularyError::LongToken { line, bytes: keys[line].len() });
        }
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(VocabularyError::Duplicate { token: pair[0].to_owned() });
        }
        let unknown =
            keys.iter().position(|key| *key == UNKNOWN).ok_or(VocabularyError::NoUnknown)? as u32;
        let rules = Rules::builtin();
        let ascii = std::array::from_fn(|byte| ascii_fate(rules, byte as u8));
        let words = Words::new(keys);
        let trie = Trie::new(keys);
        let (start, inside) = (trie.root(""), trie.root(CONTINUATION));
        let mut hasher = Hasher::new("edge-embed/wordpiece/1");
        hasher.update_framed(rules::SOURCE.as_bytes());
        for key in keys {
            hasher.update_framed(key.as_bytes());
        }
        let id = hasher.finish();
        let tokens = keys.iter().map(|key| (*key).to_owned()).collect();
        Ok(Tokenizer { tokens, rules, ascii, words, trie, start, inside, unknown, id })
    }

    /// The hash of the rules and the vocabulary: equal ids give equal tokens for every text.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// How many tokens the vocabulary has; ids are below it.
    pub fn vocabulary_len(&self) -> usize {
        self.tokens.len()
    }

    /// The text of a token, `##` included.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str)
    }

    /// The id of `[UNK]`.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// Appends the first `limit` ids of `text` to `out`, without `[CLS]` and `[SEP]`, and stops
    /// reading there.
    pub fn encode(&self, text: &str, limit: usize, out: &mut Vec<u32>) {
        let end = out.len().saturating_add(limit);
        if limit == 0 {
            return;
        }
        let _ = self.each_token(text, |id| {
            out.push(id);
            if out.len() == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }

    /// How many ids the whole text has; reads all of it.
    pub fn count(&self, text: &str) -> usize {
        let mut count = 0;
        let _ = self.each_token(text, |_| {
            count += 1;
            ControlFlow::Continue(())
        });
        count
    }

    /// The text of ids: pieces joined to words, words joined by one space, special tokens
    /// (`[UNK]` among them) left out. Encoding the result gives the same ids if none was special
    /// and they came from [`Tokenizer::encode`].
    ///
    /// # Errors
    /// [`UnknownToken`] for the first id outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String, UnknownToken> {
        let mut text = String::new();
        for &id in ids {
            let token = self.token(id).ok_or(UnknownToken { id, len: self.tokens.len() })?;
            if SPECIAL.contains(&token) {
                continue;
            }
            match token.strip_prefix(CONTINUATION) {
                Some(rest) if !rest.is_empty() => text.push_str(rest),
                _ => {
                    if !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(token);
                }
            }
        }
        Ok(text)
    }

    fn each_token(
        &self,
        text: &str,
        mut emit: impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let bytes = text.as_bytes();
        let mut word = Word::new();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if byte < 0x80 {
                at += 1;
                match self.ascii[usize::from(byte)] {
                    Ascii::Word(lower) => word.push_ascii(lower),
                    Ascii::Remove => {}
                    Ascii::Space => self.flush(&mut word, &mut emit)?,
                    Ascii::Punct => {
                        self.flush(&mut word, &mut emit)?;
                        word.push_ascii(byte);
                        self.flush(&mut word, &mut emit)?;
                    }
                }
                continue;
            }
            let c = text[at..].chars().next().expect("invariant: at is a character boundary");
            at += c.len_utf8();
            match self.rules.fate(c) {
                Fate::Word => word.push(c),
                Fate::Remove => {}
                Fate::Space => self.flush(&mut word, &mut emit)?,
                Fate::Pad | Fate::Punct => self.alone(c, &mut word, &mut emit)?,
                Fate::PadFold(folded) => {
                    for c in folded.chars() {
                        self.alone(c, &mut word, &mut emit)?;
                    }
                }
                Fate::Fold(folded) => {
                    for c in folded.chars() {
                        if self.rules.fate(c) == Fate::Punct {
                            self.alone(c, &mut word, &mut emit)?;
                        } else {
                            word.push(c);
                        }
                    }
                }
                Fate::Hangul(jamo, len) => jamo[..len].iter().for_each(|c| word.push(*c)),
            }
        }
        self.flush(&mut word, &mut emit)
    }

    /// Ends the word and makes `c` a word of its own.
    fn alone(
        &self,
        c: char,
        word: &mut Word,
        emit: &mut impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.flush(word, emit)?;
        word.push(c);
        self.flush(word, emit)
    }

    /// Ends the word, if there is one, and emits its pieces.
    fn flush(
        &self,
        word: &mut Word,
        emit: &mut impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if word.chars == 0 {
            return ControlFlow::Continue(());
        }
        if let Some(token) = word.key().and_then(|key| self.words.get(key)) {
            word.clear();
            return emit(token);
        }
        self.flush_pieces(word, emit)
    }

    /// [`Tokenizer::flush`] for a word that is not one short token.
    fn flush_pieces(
        &self,
        word: &mut Word,
        emit: &mut impl FnMut(u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut pieces = [0u32; MAX_WORD_CHARS];
        let mut count = 0;
        // A word too long is unknown, however it could be cut.
        let mut rest = if word.chars > MAX_WORD_CHARS { &[] } else { word.bytes() };
        let mut root = &self.start;
        while !rest.is_empty() {
            let Some((token, length)) = self.trie.longest(root, rest) else {
                count = 0;
                break;
            };
            pieces[count] = token;
            count += 1;
            rest = &rest[length..];
            root = &self.inside;
        }
        word.clear();
        if count == 0 {
            return emit(self.unknown);
        }
        pieces[..count].iter().try_for_each(|id| emit(*id))
    }
}

fn ascii_fate(rules: &Rules, byte: u8) -> Ascii {
    match rules.fate(char::from(byte)) {
        Fate::Word => Ascii::Word(byte),
        Fate::Remove => Ascii::Remove,
        Fate::Space => Ascii::Space,
        Fate::Punct => Ascii::Punct,
        Fate::Fold(lower) if lower.len() == 1 => Ascii::Word(lower.as_bytes()[0]),
        other => unreachable!("invariant: no ASCII byte is {other:?}"),
    }
}

/// The word being read. It stops storing at the length where the word can only be `[UNK]`.
struct Word {
    buffer: [u8; MAX_WORD_CHARS * 4],
    len: usize,
    chars: usize,
}

impl Word {
    fn new() -> Self {
        Word { buffer: [0; MAX_WORD_CHARS * 4], len: 0, chars: 0 }
    }

    fn push_ascii(&mut self, byte: u8) {
        if self.chars < MAX_WORD_CHARS {
            self.buffer[self.len] = byte;
            self.len += 1;
        }
        self.chars += 1;
    }

    fn push(&mut self, c: char) {
        if self.chars < MAX_WORD_CHARS {
            self.len += c.encode_utf8(&mut self.buffer[self.len..]).len();
        }
        self.chars += 1;
    }

    /// The key of the word among whole words, if it is short enough to be there.
    fn key(&self) -> Option<u128> {
        let head = self.buffer.first_chunk::<{ words::MAX_BYTES }>()?;
        (self.len <= words::MAX_BYTES).then(|| words::key(head, self.len))
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    fn clear(&mut self) {
        self.len = 0;
        self.chars = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        Tokenizer::builtin().encode(text, usize::MAX, &mut out);
        out
    }

    fn pieces(text: &str) -> String {
        let tokens = ids(text);
        let token = |id: &u32| Tokenizer::builtin().token(*id).unwrap();
        tokens.iter().map(token).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn splits_as_bert_uncased_does() {
        let cases = [
            ("", ""),
            ("Unaffable", "una ##ffa ##ble"),
            ("Don't PANIC!", "don ' t panic !"),
            ("naïve Café", "naive cafe"),
            ("a\u{0}b\u{200b}c", "abc"),
            ("[SEP]", "[ sep ]"),
            ("你中国", "[UNK] 中 国"),
            ("😀", "[UNK]"),
            ("한국", "ᄒ ##ᅡ ##ᆫ ##ᄀ ##ᅮ ##ᆨ"),
        ];
        for (text, want) in cases {
            assert_eq!(pieces(text), want, "{text:?}");
        }
    }

    #[test]
    fn the_hundred_and_first_character_makes_a_word_unknown() {
        assert!(ids(&"a".repeat(100)).len() > 1);
        assert_eq!(ids(&"a".repeat(101)), [100]);
        // Counted after decomposition: an accent is gone before the word is measured.
        assert_eq!(ids(&"e\u{301}".repeat(100)), ids(&"e".repeat(100)));
        // Four-byte characters fill the buffer exactly.
        assert_eq!(ids(&"\u{1d400}".repeat(150)), [100]);
    }

    #[test]
    fn encode_appends_and_stops_at_the_limit() {
        let all = ids("unaffable unaffable");
        for limit in 0..=all.len() + 1 {
            let mut out = vec![7];
            Tokenizer::builtin().encode("unaffable unaffable", limit, &mut out);
            assert_eq!(out[0], 7);
            assert_eq!(out[1..], all[..limit.min(all.len())]);
        }
        assert_eq!(Tokenizer::builtin().count("unaffable unaffable"), all.len());
    }

    #[test]
    fn decode_joins_pieces_and_refuses_foreign_ids() {
        let tokenizer = Tokenizer::builtin();
        let text = "unaffable don ' t panic ! 中";
        assert_eq!(tokenizer.decode(&ids(text)).unwrap(), text);
        assert_eq!(tokenizer.decode(&[101, 7592, 100, 102, 0]).unwrap(), "hello");
        assert_eq!(tokenizer.decode(&[]).unwrap(), "");
        let error = tokenizer.decode(&[7592, 30_522]).unwrap_err();
        assert_eq!(error.to_string(), "token id 30522 is not in the vocabulary of 30522 tokens");
    }

    #[test]
    fn a_bad_vocabulary_is_named() {
        let error = |text: &str| Tokenizer::new(text).unwrap_err().to_string();
        assert_eq!(error("[UNK]\n\na"), "vocabulary line 1 is empty");
        assert_eq!(error("[UNK]\na\na"), "vocabulary has \"a\" twice");
        let long = format!("[UNK]\n{}", "a".repeat(1025));
        assert_eq!(error(&long), "vocabulary line 1 has 1025 bytes, more than a token may have");
        assert_eq!(error("a\nb"), "vocabulary has no [UNK]");
        assert_eq!(error(""), "vocabulary has no [UNK]");
    }

    #[test]
    fn the_id_depends_on_every_token_and_its_place() {
        let id = |text: &str| Tokenizer::new(text).unwrap().id();
        let base = id("[UNK]\na\nb");
        assert_eq!(base, id("[UNK]\na\nb\n"));
        for other in ["[UNK]\nb\na", "[UNK]\nab", "[UNK]\na\nb\nc"] {
            assert_ne!(base, id(other), "{other}");
        }
    }
}
