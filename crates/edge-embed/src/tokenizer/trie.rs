//! A byte trie over the vocabulary, for the greedy longest match of WordPiece.

use std::ops::Range;

/// No token ends here.
const NONE: u32 = u32::MAX;

/// Nodes are numbered level by level, so the children of a node are consecutive and the child that
/// edge `e` leads to is node `e + 1`: nine bytes a node and no pointers.
#[derive(Debug)]
pub(super) struct Trie {
    /// `first[n]..first[n + 1]` are the edges of node `n`.
    first: Vec<u32>,
    /// The byte of each edge, ascending within a node.
    labels: Vec<u8>,
    /// The token that ends at each node.
    token: Vec<u32>,
}

/// Where a match starts: a node with its edges spread out over all 256 bytes.
#[derive(Debug)]
pub(super) struct Root {
    child: Box<[u32; 256]>,
}

impl Trie {
    /// A trie over distinct, non-empty keys; the position of a key is its token.
    pub(super) fn new(keys: &[&str]) -> Self {
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.sort_unstable_by_key(|&i| keys[i as usize].as_bytes());
        let key = |at: usize| keys[order[at] as usize].as_bytes();
        let mut trie = Trie { first: vec![0], labels: Vec::new(), token: Vec::new() };
        // One entry a node: the run of sorted keys that share the node's prefix.
        let mut level: Vec<Range<usize>> = std::iter::once(0..order.len()).collect();
        let mut depth = 0;
        while !level.is_empty() {
            let mut next = Vec::new();
            for run in level {
                let mut at = run.start;
                // The shortest key sorts first; keys are distinct, so at most one ends here.
                if at < run.end && key(at).len() == depth {
                    trie.token.push(order[at]);
                    at += 1;
                } else {
                    trie.token.push(NONE);
                }
                while at < run.end {
                    let byte = key(at)[depth];
                    let start = at;
                    while at < run.end && key(at)[depth] == byte {
                        at += 1;
                    }
                    trie.labels.push(byte);
                    next.push(start..at);
                }
                trie.first.push(trie.labels.len() as u32);
            }
            level = next;
            depth += 1;
        }
        trie
    }

    fn child(&self, node: u32, byte: u8) -> Option<u32> {
        let node = node as usize;
        let (start, end) = (self.first[node] as usize, self.first[node + 1] as usize);
        let labels = &self.labels[start..end];
        // Most nodes have one or two edges; only those near the root have many.
        let at = if labels.len() <= 8 {
            labels.iter().position(|&label| label == byte)?
        } else {
            labels.binary_search(&byte).ok()?
        };
        Some((start + at) as u32 + 1)
    }

    /// The start for matches that continue after `prefix`; nothing matches if no key has it.
    pub(super) fn root(&self, prefix: &str) -> Root {
        let mut child = Box::new([NONE; 256]);
        let node = prefix.bytes().try_fold(0, |node, byte| self.child(node, byte));
        if let Some(node) = node {
            for byte in 0..=255 {
                child[usize::from(byte)] = self.child(node, byte).unwrap_or(NONE);
            }
        }
        Root { child }
    }

    /// The longest key that is `bytes[..length]` after the root's prefix, with its length (>= 1).
    pub(super) fn longest(&self, root: &Root, bytes: &[u8]) -> Option<(u32, usize)> {
        let (head, rest) = bytes.split_first()?;
        let mut node = root.child[usize::from(*head)];
        if node == NONE {
            return None;
        }
        let token = self.token[node as usize];
        let mut best = (token != NONE).then_some((token, 1));
        for (i, byte) in rest.iter().enumerate() {
            match self.child(node, *byte) {
                Some(child) => node = child,
                None => break,
            }
            let token = self.token[node as usize];
            if token != NONE {
                best = Some((token, i + 2));
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_longest_key_and_no_other() {
        let keys = ["ab", "a", "##b", "abcd", "é", "##bc"];
        let trie = Trie::new(&keys);
        let (start, inside) = (trie.root(""), trie.root("##"));
        let cases = [
            (&start, "abcd", Some((3, 4))),
            (&start, "abce", Some((0, 2))),
            (&start, "ac", Some((1, 1))),
            (&start, "b", None),
            (&start, "", None),
            (&start, "éa", Some((4, 2))),
            (&inside, "bcd", Some((5, 2))),
            (&inside, "b", Some((2, 1))),
            (&inside, "a", None),
        ];
        for (root, text, want) in cases {
            assert_eq!(trie.longest(root, text.as_bytes()), want, "{text}");
        }
        assert_eq!(trie.longest(&trie.root("zz"), b"ab"), None);
    }
}
