//! Whole words that are one token: most words of most texts, found by one probe instead of a walk
//! through the trie.

/// Longer tokens are left to the trie.
pub(super) const MAX_BYTES: usize = 16;

/// So are those that would lie further than this from where the search for them starts: a vocabulary may
/// be made so that all of them start at one place.
const PROBES_MAX: usize = 64;

/// An open-addressing table, at most half full. A key is the word's bytes as a little-endian
/// number, padded with zeros: words contain no zero byte, so distinct words have distinct keys.
#[derive(Debug)]
pub(super) struct Words {
    keys: Vec<u128>,
    tokens: Vec<u32>,
    shift: u32,
}

/// A word as a key. `bytes` are the word's, then anything.
pub(super) fn key(bytes: &[u8; MAX_BYTES], len: usize) -> u128 {
    debug_assert!((1..=MAX_BYTES).contains(&len));
    u128::from_le_bytes(*bytes) & (u128::MAX >> (128 - 8 * len as u32))
}

impl Words {
    /// A table over distinct keys; the position of a key is its token.
    pub(super) fn new(tokens: &[&str]) -> Self {
        let size = (tokens.len() * 2).next_power_of_two().max(2);
        let shift = 64 - size.trailing_zeros();
        let mut words = Words { keys: vec![0; size], tokens: vec![0; size], shift };
        for (token, text) in tokens.iter().enumerate() {
            // No word has a zero byte, and as a key it would look like padding.
            if text.contains('\0') {
                continue;
            }
            let mut bytes = [0; MAX_BYTES];
            let Some(head) = bytes.get_mut(..text.len()) else { continue };
            head.copy_from_slice(text.as_bytes());
            let key = u128::from_le_bytes(bytes);
            let first = words.slot(key);
            let free = (first..first + PROBES_MAX).map(|slot| slot % size);
            let Some(slot) = free.into_iter().find(|slot| words.keys[*slot] == 0) else { continue };
            words.keys[slot] = key;
            words.tokens[slot] = token as u32;
        }
        words
    }

    /// Where the search for a key starts: the top bits of a product (Fibonacci hashing; Knuth, The
    /// Art of Computer Programming, volume 3, section 6.4).
    fn slot(&self, key: u128) -> usize {
        let folded = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ ((key >> 64) as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// The token with this key.
    pub(super) fn get(&self, key: u128) -> Option<u32> {
        let mut slot = self.slot(key);
        for _ in 0..PROBES_MAX {
            match self.keys[slot] {
                0 => return None,
                found if found == key => return Some(self.tokens[slot]),
                _ => slot = (slot + 1) % self.keys.len(),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(words: &Words, text: &str) -> Option<u32> {
        let mut bytes = [0xff; MAX_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        words.get(key(&bytes, text.len()))
    }

    #[test]
    fn finds_every_short_key_and_no_other() {
        let texts = ["a", "ab", "abcdefgh", "abcdefghi", "sixteen bytes ..", "é", "##a"];
        let words = Words::new(&texts);
        for (token, text) in texts.iter().enumerate() {
            assert_eq!(look(&words, text), Some(token as u32), "{text}");
        }
        for text in ["b", "abc", "abcdefg", "sixteen bytes .", "è"] {
            assert_eq!(look(&words, text), None, "{text}");
        }
        assert_eq!(look(&Words::new(&["seventeen bytes .."]), "seventeen bytes"), None);
        assert_eq!(look(&Words::new(&["a\0"]), "a"), None);
        assert_eq!(look(&Words::new(&[]), "a"), None);
    }

    /// Keys that all start at one place: the inverse of the hash, for a table of 2^k places, over words of
    /// eight bytes.
    #[test]
    fn a_vocabulary_made_to_collide_costs_no_more() {
        // Odd numbers have inverses modulo 2^64: five steps of Newton's.
        let inverse =
            |n: u64| (0..6).fold(n, |x, _| x.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(x))));
        let factor = inverse(0x9e37_79b9_7f4a_7c15);
        let texts: Vec<String> = (1u64..)
            .map(|n| n.wrapping_mul(factor).wrapping_mul(factor).to_le_bytes())
            .filter(|bytes| !bytes.contains(&0))
            .filter_map(|bytes| String::from_utf8(bytes.to_vec()).ok())
            .take(500)
            .collect();
        let tokens: Vec<&str> = texts.iter().map(String::as_str).collect();
        let words = Words::new(&tokens);
        assert_eq!(words.keys.iter().filter(|key| **key != 0).count(), PROBES_MAX);
        for (token, text) in tokens.iter().enumerate() {
            let want = (token < PROBES_MAX).then_some(token as u32);
            assert_eq!(look(&words, text), want, "{text}");
        }
    }

    #[test]
    fn chains_stay_short_with_the_builtin_vocabulary() {
        let vocabulary = include_str!("../../model/vocab.txt");
        let words = Words::new(&vocabulary.lines().collect::<Vec<_>>());
        let chains = words.keys.split(|key| *key == 0);
        let longest = chains.map(<[u128]>::len).max().unwrap();
        assert!(longest < 64, "{longest}");
    }
}
