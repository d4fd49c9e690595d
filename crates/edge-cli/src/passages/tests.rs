use std::path::{Path, PathBuf};

use edge_base::Digest;
use edge_embed::Tokenizer;

use super::{
    Collector, Documents, TOKENS_MAX, TOKENS_MIN,
    comments::{self, Language},
    corpus::{Corpus, Package, packages_of, registry_folders},
    markdown, split,
};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn shown(blocks: Vec<super::Block>) -> Vec<(u32, String)> {
    blocks.into_iter().map(|b| (b.line, split::normalise(&b.text))).collect()
}

#[test]
fn rust_documentation_is_found_and_strings_are_not() {
    let source = r####"//! Crate words here.
//! Second line.

/// One item,
/// two lines.
fn a<'a>(x: &'a str) -> char { '"' }
//// not documentation
// nor this
/// Apart from the first.

/// Blank line above.
const S: &str = "/// in a string";
const R: &str = r##"
/// in a raw "string"#
"##;
/** Bracketed
 * with stars. */
fn b() { let _ = '\''; /* /* nested */ /// gone */ }
/*! Inner. */
/*** decoration ***/
"####;
    let expected = [
        (1, "Crate words here. Second line."),
        (4, "One item, two lines."),
        (9, "Apart from the first."),
        (11, "Blank line above."),
        (16, "Bracketed with stars."),
        (19, "Inner."),
    ];
    let expected: Vec<_> = expected.map(|(line, text)| (line, text.to_owned())).into();
    assert_eq!(shown(comments::blocks(Language::Rust, source)), expected);
}

#[test]
fn examples_lose_fences_and_hidden_lines_but_no_line_numbers() {
    let source =
        "/// Adds.\n/// ```\n/// # use hidden;\n/// add(1, 2);\n/// ```\nfn add() {}\n/// Next.\n";
    let blocks = shown(comments::blocks(Language::Rust, source));
    assert_eq!(blocks, [(1, "Adds. add(1, 2);".to_owned()), (7, "Next.".to_owned())]);
}

#[test]
fn comments_of_other_languages() {
    let c = "int x; // trailing words\n// more\nchar *s = \"// no\";\n/* block\n * two */\n";
    let expected = [(1, "trailing words more".to_owned()), (4, "block two".to_owned())];
    assert_eq!(shown(comments::blocks(Language::C, c)), expected);
    let py = "#!/usr/bin/env python3\n# one\n# two\ndef f():\n    \"\"\"Says\n    this.\"\"\"\n";
    let expected = [(5, "Says this.".to_owned()), (2, "one two".to_owned())];
    assert_eq!(shown(comments::blocks(Language::Hash, py)), expected);
}

#[test]
fn paragraphs_stand_under_their_heading() {
    let source = "[![badge](x)](y)\n# Title\n\nFirst words\ngo on.\n\n<img src=x>\n\nSecond\n------\n\
                  Under it.\n```\ncode here\n```\n[link]: https://example.org\n";
    let expected =
        [(4, "Title: First words go on."), (11, "Second: Under it."), (13, "Second: code here")];
    let expected: Vec<_> = expected.map(|(line, text)| (line, text.to_owned())).into();
    assert_eq!(shown(markdown::blocks(source)), expected);
}

#[test]
fn passages_have_5_to_512_tokens_and_long_ones_are_cut_at_sentences() {
    let tokenizer = Tokenizer::builtin();
    assert!(split::passages(tokenizer, "too short").is_empty());
    assert!(split::passages(tokenizer, " \n\t").is_empty());
    let text = "\n  This is  just\nenough. ";
    assert_eq!(split::passages(tokenizer, text), [(1, "This is just enough.".to_owned())]);
    let long: String =
        (0..200).map(|n| format!("Sentence number {n} is about apples.\n")).collect();
    let cut = split::passages(tokenizer, &long);
    assert!(cut.len() > 1);
    let mut rebuilt = Vec::new();
    for (line, text) in &cut {
        let tokens = tokenizer.count(text);
        assert!((TOKENS_MIN..=TOKENS_MAX).contains(&tokens), "{tokens}");
        assert!(text.starts_with(&format!("Sentence number {line} ")), "{line}: {text}");
        assert!(text.ends_with('.'));
        rebuilt.push(text.as_str());
    }
    assert_eq!(rebuilt.join(" "), split::normalise(&long));
    let endless = "word ".repeat(3_000);
    let cut = split::passages(tokenizer, &endless);
    assert!(cut.iter().all(|(_, text)| tokenizer.count(text) <= TOKENS_MAX));
    assert_eq!(cut.iter().map(|(_, t)| t.split(' ').count()).sum::<usize>(), 3_000);
}

#[test]
fn the_id_is_the_hash_of_the_text_and_the_smallest_stay() {
    let texts: Vec<String> =
        (0..100).map(|n| format!("the passage with the number {n} says this")).collect();
    let collect = |order: &mut dyn Iterator<Item = &String>, limit| {
        let mut collector = Collector::new(limit);
        for text in order {
            collector.take("f", vec![super::Block { line: 1, text: text.clone() }]);
        }
        collector
    };
    let all = collect(&mut texts.iter(), usize::MAX).finish();
    assert_eq!(all.len(), 100);
    assert!(all.iter().all(|p| p.id.0 == Digest::of(p.text.as_bytes())));
    let some = collect(&mut texts.iter().rev().chain(&texts), 10);
    assert_eq!(some.seen(), 200);
    let ids = |passages: &[super::Passage]| passages.iter().map(|p| p.id).collect::<Vec<_>>();
    assert_eq!(ids(&some.finish()), ids(&all[..10]));
}

#[test]
fn a_folder_of_everything() {
    let documents = Documents::read(&fixtures().join("documents"), 1_000).unwrap();
    let shown: Vec<String> =
        documents.passages.iter().map(|p| format!("{}:{} {}", p.file, p.line, p.text)).collect();
    let mut sorted = shown.clone();
    sorted.sort();
    insta::assert_snapshot!(sorted.join("\n"));
    assert_eq!(documents.other, 1);
    let skipped: Vec<&str> = documents.skipped.iter().map(|s| s.file.as_str()).collect();
    assert_eq!(skipped, ["latin1.txt", "records.jsonl:3", "records.jsonl:4"]);
    let named = documents.passages.iter().find(|p| p.key.as_deref() == Some("7")).unwrap();
    assert_eq!(named.id, edge_tasks::record_id_for_key("7"));
    assert_eq!(named.fields.as_ref().unwrap()["colour"], "red");
}

/// A line as the HTTP interface takes it is the same record here.
#[test]
fn a_payload_in_an_object_is_the_payload() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("lines.jsonl");
    let lines = [
        r#"{"text":"one","payload":{"n":1,"tag":"in"},"tag":"out"}"#,
        r#"{"text":"two","payload":7}"#,
        r#"{"id":"v","vector":[1,2]}"#,
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let documents = Documents::read(&path, 10).unwrap();
    let mut fields: Vec<String> =
        documents.passages.iter().map(|p| serde_json::to_string(&p.fields).unwrap()).collect();
    fields.sort();
    assert_eq!(fields, [r#"{"n":1,"tag":"in"}"#, r#"{"payload":7}"#]);
    assert!(documents.skipped[0].reason.contains("over HTTP"), "{}", documents.skipped[0].reason);
}

#[test]
fn rows_of_tables_are_records() {
    let temp = tempfile::tempdir().unwrap();
    let read = |name: &str, bytes: &[u8]| {
        std::fs::write(temp.path().join(name), bytes).unwrap();
        let documents = Documents::read(&temp.path().join(name), 1_000).unwrap();
        let mut passages = documents.passages;
        passages.sort_by_key(|passage| passage.line);
        let skipped = documents.skipped.into_iter().map(|s| format!("{} {}", s.file, s.reason));
        (passages, skipped.collect::<Vec<_>>())
    };
    let csv = "\u{feff}id,text,price,code,sold,note\r\n\
               7,\"a chair, made of \"\"oak\"\"\",12.5,007,true,\r\n\
               ,two\tlegs,3,x,no,\"first\nsecond\"\n\
               9,,1,1,1,1\n\
               10,short\n\
               11,a table,-4,1e3,false,1";
    let (passages, skipped) = read("shop.csv", csv.as_bytes());
    let texts: Vec<&str> = passages.iter().map(|p| p.text.as_str()).collect();
    assert_eq!(texts, ["a chair, made of \"oak\"", "two legs", "a table"]);
    let lines: Vec<u32> = passages.iter().map(|p| p.line).collect();
    assert_eq!(lines, [2, 3, 7]);
    assert_eq!(passages[0].id, edge_tasks::record_id_for_key("7"));
    assert_eq!((passages[1].key.as_deref(), passages[2].key.as_deref()), (None, Some("11")));
    let fields = |n: usize| serde_json::to_value(passages[n].fields.as_ref().unwrap()).unwrap();
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(fields(0), json(r#"{"price":12.5,"code":"007","sold":true}"#));
    assert_eq!(fields(1), json(r#"{"price":3,"code":"x","sold":"no","note":"first\nsecond"}"#));
    assert_eq!(fields(2), json(r#"{"price":-4,"code":1000.0,"sold":false,"note":1}"#));
    assert_eq!(skipped, ["shop.csv:5 no `text`", "shop.csv:6 2 columns where the header has 6",]);
    let (passages, skipped) = read("shop.tsv", b"text\tid\na lamp\t1\nan \xff\t2\na \"b\" c\t3\n");
    assert_eq!((passages.len(), skipped), (2, vec!["shop.tsv:3 not UTF-8".to_owned()]));
    let (_, skipped) = read("other.csv", b"a,b\n1,2\n");
    assert!(skipped[0].starts_with("other.csv no column `text`; there are: a, b. "), "{skipped:?}");
    // A quote that is never closed does not fill the memory.
    let mut endless = b"text\n\"".to_vec();
    endless.resize(5 << 20, b'x');
    let (passages, skipped) = read("endless.csv", &endless);
    assert_eq!(passages.len(), 0);
    let reason = "a record of more than 2 MiB; the rest of the file is not read";
    assert_eq!(skipped, [format!("endless.csv:2 {reason}")]);
    assert_eq!(read("empty.csv", b"").1, ["empty.csv it is empty"]);
    let open = b"id,text\n1,\"one row\"\n2,\"never closed\n3,another row\n";
    let (passages, skipped) = read("open.csv", open);
    assert_eq!((passages.len(), passages[0].text.as_str()), (1, "one row"));
    let reason = "a quote that is never closed: it would take the rest of the file";
    assert_eq!(skipped, [format!("open.csv:3 {reason}")]);
    assert_eq!(
        read("head.csv", b"id,\"text\n1,a").1,
        [format!("head.csv its header has {reason}")]
    );
    assert_eq!(read("last.csv", b"text\nno line feed at the end").0.len(), 1);
}

#[test]
fn too_large_and_empty_files_are_named_and_not_read() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("huge.txt");
    let file = std::fs::File::create(&path).unwrap();
    // Sparse: a gigabyte that takes no space.
    file.set_len(1 << 30).unwrap();
    std::fs::write(temp.path().join("empty.md"), "").unwrap();
    let documents = Documents::read(temp.path(), 10).unwrap();
    assert_eq!(documents.passages.len(), 0);
    let skipped: Vec<(&str, &str)> =
        documents.skipped.iter().map(|s| (s.file.as_str(), s.reason.as_str())).collect();
    let large = "1024 MiB, over the limit of 8 MiB";
    assert_eq!(skipped, [("empty.md", "it is empty"), ("huge.txt", large)]);
    assert!(Documents::read(&temp.path().join("absent"), 10).is_err());
}

#[test]
fn locked_packages_are_found_below_cargo_home() {
    let lock = std::fs::read_to_string(fixtures().join("locked.toml")).unwrap();
    let packages = packages_of(&lock);
    let package =
        |name: &str, version: &str| Package { name: name.to_owned(), version: version.to_owned() };
    assert_eq!(packages, [package("absent", "2.0.0"), package("sample", "1.2.3")]);
    let folders = registry_folders(&fixtures().join("cargo-home"));
    assert_eq!(folders.len(), 1);
    let corpus = Corpus::read(&folders, &packages, 100);
    assert_eq!((corpus.packages, corpus.missing), (1, 1));
    let mut found: Vec<_> = corpus
        .documents
        .passages
        .iter()
        .map(|p| (p.file.as_str(), p.line, p.text.as_str()))
        .collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("sample-1.2.3/README.md", 3, "Sample: A package with one paragraph of text."),
            ("sample-1.2.3/src/lib.rs", 1, "Sets the timeout of a connection."),
        ]
    );
    assert!(super::locked_packages().len() > 100, "the workspace's own lock file");
}
