//! Reads lines from standard input and prints the token ids of each: what
//! `oracles/tokenizer.py compare` runs against the reference.

use std::io::{self, BufWriter, Read, Write};

use edge_embed::Tokenizer;

fn main() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut ids = Vec::new();
    for line in text.split('\n') {
        ids.clear();
        Tokenizer::builtin().encode(line, usize::MAX, &mut ids);
        let words: Vec<String> = ids.iter().map(u32::to_string).collect();
        writeln!(out, "{}", words.join(" "))?;
    }
    out.flush()
}
