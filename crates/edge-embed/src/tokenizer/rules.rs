//! What BERT uncased does to each Unicode scalar value, from a pinned table.
//!
//! The table answers for the reference's own Unicode version, whatever the compiler's is: two nodes
//! built by different compilers must give one text the same ids.

use std::sync::OnceLock;

/// The answers, as ranges of scalar values; made by `oracles/tokenizer.py rules`.
pub(super) const SOURCE: &str = include_str!("rules.txt");

const WORD: u16 = 0;
const REMOVE: u16 = 1;
const SPACE: u16 = 2;
const PAD: u16 = 3;
const PUNCT: u16 = 4;
const HANGUL: u16 = 5;
/// Values from here on are 6 + the index of a fold.
const FOLD: u16 = 6;

const PAGE: usize = 256;
const PAGES: usize = 0x11_0000 / PAGE;

/// The first Hangul syllable, and the counts of its parts (Unicode 16, section 3.12).
const HANGUL_FIRST: u32 = 0xAC00;
const HANGUL_LAST: u32 = 0xD7A3;
const VOWELS: u32 = 21;
const TAILS: u32 = 28;

/// What becomes of one scalar value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    /// Part of a word, as it is.
    Word,
    /// Dropped: control, format, private-use characters and accents.
    Remove,
    /// Ends a word.
    Space,
    /// A word of its own, as it is: CJK ideographs.
    Pad,
    /// A word of its own, as it is: punctuation.
    Punct,
    /// Part of a word, as these characters (punctuation among them still stands alone): lower
    /// case, canonical decomposition without accents.
    Fold(&'a str),
    /// A word of its own, as this character: CJK compatibility ideographs.
    PadFold(&'a str),
    /// A Hangul syllable: part of a word as its two or three jamo.
    Hangul([char; 3], usize),
}

#[derive(Debug)]
pub(super) struct Rules {
    /// The page of each block of 256 scalar values; equal pages are shared.
    pages: Vec<u16>,
    cells: Vec<u16>,
    folds: Vec<(u32, u32, bool)>,
    text: String,
}

impl Rules {
    /// The table compiled in, shared by all tokenizers.
    pub(super) fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Rules> = OnceLock::new();
        BUILTIN.get_or_init(|| {
            Rules::parse(SOURCE).expect("invariant: the table compiled in is well formed")
        })
    }

    fn parse(source: &str) -> Option<Self> {
        let mut flat = vec![WORD; 0x11_0000];
        flat[HANGUL_FIRST as usize..=HANGUL_LAST as usize].fill(HANGUL);
        let (mut folds, mut text) = (Vec::new(), String::new());
        for line in source.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split(' ');
            let kind = fields.next()?;
            let mut number = || u32::from_str_radix(fields.next()?, 16).ok();
            let first = number()?;
            if kind == "fold" {
                let start = text.len() as u32;
                while let Some(c) = number() {
                    text.push(char::from_u32(c)?);
                }
                let cell = flat.get_mut(first as usize)?;
                folds.push((start, text.len() as u32, *cell == PAD));
                *cell = FOLD + u16::try_from(folds.len() - 1).ok()?;
                continue;
            }
            let value = match kind {
                "remove" => REMOVE,
                "space" => SPACE,
                "pad" => PAD,
                "punct" => PUNCT,
                _ => return None,
            };
            let last = number().filter(|last| first <= *last)?;
            flat.get_mut(first as usize..=last as usize)?.fill(value);
        }
        let mut rules = Rules { pages: Vec::with_capacity(PAGES), cells: Vec::new(), folds, text };
        // Most of Unicode is a handful of uniform pages: look among those before adding one.
        let mut uniform: Vec<(u16, u16)> = Vec::new();
        for page in flat.chunks_exact(PAGE) {
            let same = page.iter().all(|cell| *cell == page[0]);
            let known = uniform.iter().find(|(cell, _)| same && *cell == page[0]);
            let index = match known {
                Some((_, index)) => *index,
                None => {
                    let index = u16::try_from(rules.cells.len() / PAGE).ok()?;
                    rules.cells.extend_from_slice(page);
                    if same {
                        uniform.push((page[0], index));
                    }
                    index
                }
            };
            rules.pages.push(index);
        }
        Some(rules)
    }

    /// What becomes of `c`.
    pub(super) fn fate(&self, c: char) -> Fate<'_> {
        let c = c as usize;
        match self.cells[usize::from(self.pages[c / PAGE]) * PAGE + c % PAGE] {
            WORD => Fate::Word,
            REMOVE => Fate::Remove,
            SPACE => Fate::Space,
            PAD => Fate::Pad,
            PUNCT => Fate::Punct,
            HANGUL => hangul(c as u32),
            fold => {
                let (start, end, pad) = self.folds[usize::from(fold - FOLD)];
                let text = &self.text[start as usize..end as usize];
                if pad { Fate::PadFold(text) } else { Fate::Fold(text) }
            }
        }
    }
}

/// The canonical decomposition of a Hangul syllable.
fn hangul(c: u32) -> Fate<'static> {
    let index = c - HANGUL_FIRST;
    let jamo =
        |base: u32, i: u32| char::from_u32(base + i).expect("invariant: jamo are scalar values");
    let lead = jamo(0x1100, index / (VOWELS * TAILS));
    let vowel = jamo(0x1161, index % (VOWELS * TAILS) / TAILS);
    let tail = index % TAILS;
    Fate::Hangul([lead, vowel, jamo(0x11A7, tail)], if tail == 0 { 2 } else { 3 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates() {
        let rules = Rules::builtin();
        let cases = [
            ('a', Fate::Word),
            ('A', Fate::Fold("a")),
            ('É', Fate::Fold("e")),
            ('İ', Fate::Fold("i")),
            ('ß', Fate::Word),
            ('\u{301}', Fate::Remove),
            ('\u{0}', Fate::Remove),
            ('\u{fffd}', Fate::Remove),
            ('\t', Fate::Space),
            ('\u{3000}', Fate::Space),
            ('$', Fate::Punct),
            ('«', Fate::Punct),
            ('\u{37e}', Fate::Fold(";")),
            ('中', Fate::Pad),
            ('\u{f900}', Fate::PadFold("豈")),
            ('가', Fate::Hangul(['ᄀ', 'ᅡ', '\u{11a7}'], 2)),
            ('힣', Fate::Hangul(['ᄒ', 'ᅵ', 'ᇂ'], 3)),
            ('\u{10ffff}', Fate::Word),
        ];
        for (c, want) in cases {
            assert_eq!(rules.fate(c), want, "{c:?}");
        }
    }

    #[test]
    fn a_malformed_table_is_refused() {
        for bad in ["paint 0 1", "space", "space 0", "space 0 zz", "space 0 110000", "space 5 4"] {
            assert!(Rules::parse(bad).is_none(), "{bad}");
        }
    }
}
