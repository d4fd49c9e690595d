//! Passages of documentation: what `collection import` and the demo index.
//!
//! A passage is one contiguous comment block of a source file, one paragraph of a Markdown or text
//! file under its heading, one line of a JSON Lines file or one row of a CSV file. Its text has white space collapsed and
//! 5-512 tokens of the built-in tokenizer; a longer one is cut at sentences, a shorter one dropped
//! and counted. Lines and rows are taken as they are.
//! Its id is the SHA-256 of that text, so the same text is one record however often it is read:
//! an import that was interrupted is simply started again. Above a limit the passages with the
//! smallest ids stay, which is an even sample over files.

mod comments;
pub(crate) mod corpus;
mod folder;
mod jsonl;
mod markdown;
mod split;
mod table;

use std::collections::BTreeMap;

use edge_base::RecordId;
use edge_embed::Tokenizer;

pub(crate) use corpus::{Corpus, locked_packages};
pub(crate) use folder::Documents;

/// A passage has at least this many tokens.
pub(crate) const TOKENS_MIN: usize = 5;
/// A passage has at most this many tokens.
pub(crate) const TOKENS_MAX: usize = 512;
/// Files larger than this are skipped and named.
pub(crate) const FILE_BYTES_MAX: u64 = 8 << 20;
/// JSON Lines and CSV files may be longer, as they are read line by line.
pub(crate) const LINES_BYTES_MAX: u64 = 4 << 30;

/// One passage with the place it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Passage {
    /// SHA-256 of the text, or of the id a JSON Lines file gives.
    pub(crate) id: RecordId,
    /// White space collapsed.
    pub(crate) text: String,
    /// The file, relative to what was asked for.
    pub(crate) file: String,
    /// Its first line there, from 1.
    pub(crate) line: u32,
    /// Further fields of a JSON Lines record, as a JSON object.
    pub(crate) fields: Option<serde_json::Map<String, serde_json::Value>>,
    /// The id that a JSON Lines record names.
    pub(crate) key: Option<String>,
}

/// A block of text before it is measured: its first line, and the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Block {
    line: u32,
    text: String,
}

/// Passages by id, at most `limit`: the smallest ids stay.
#[derive(Debug)]
pub(crate) struct Collector {
    limit: usize,
    passages: BTreeMap<RecordId, Passage>,
    seen: u64,
    short: u64,
    replaced: u64,
}

impl Collector {
    pub(crate) fn new(limit: usize) -> Self {
        Collector { limit, passages: BTreeMap::new(), seen: 0, short: 0, replaced: 0 }
    }

    /// Cuts blocks of a file into passages and keeps them.
    pub(crate) fn take(&mut self, file: &str, blocks: Vec<Block>) {
        let tokenizer = Tokenizer::builtin();
        for block in blocks {
            let passages = split::passages(tokenizer, &block.text);
            self.short += u64::from(passages.is_empty() && !block.text.trim().is_empty());
            for (offset, text) in passages {
                let passage = Passage {
                    id: edge_tasks::record_id_for_text(&text),
                    text,
                    file: file.to_owned(),
                    line: block.line + offset,
                    fields: None,
                    key: None,
                };
                self.add(passage);
            }
        }
    }

    pub(crate) fn add(&mut self, passage: Passage) {
        self.seen += 1;
        let full = self.passages.len() >= self.limit;
        if full && self.passages.last_key_value().is_none_or(|(last, _)| *last < passage.id) {
            return;
        }
        match self.passages.entry(passage.id) {
            std::collections::btree_map::Entry::Occupied(mut known) => {
                // The same text in several places: the smallest place, whatever the order. Of records
                // that somebody gave one id: the last.
                let place = |p: &Passage| (p.file.clone(), p.line);
                let smaller = place(&passage) < place(known.get());
                self.replaced += u64::from(passage.key.is_some());
                if smaller == passage.key.is_none() {
                    known.insert(passage);
                }
            }
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(passage);
                if self.passages.len() > self.limit {
                    self.passages.pop_last();
                }
            }
        }
    }

    /// Takes over what another collector found.
    pub(crate) fn merge(&mut self, other: Collector) {
        let seen = self.seen + other.seen;
        self.replaced += other.replaced;
        self.short += other.short;
        other.passages.into_values().for_each(|passage| self.add(passage));
        self.seen = seen;
    }

    /// How many passages were offered, duplicates included.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// Blocks of text that are too short for a passage.
    pub(crate) fn short(&self) -> u64 {
        self.short
    }

    /// Records in whose place a later one with the same id stays.
    pub(crate) fn replaced(&self) -> u64 {
        self.replaced
    }

    /// By id.
    pub(crate) fn finish(self) -> Vec<Passage> {
        self.passages.into_values().collect()
    }
}

#[cfg(test)]
mod tests;
