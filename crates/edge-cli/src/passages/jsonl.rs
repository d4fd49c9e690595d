//! JSON Lines: one object a line with `text`, perhaps `id`, and whatever else belongs to it.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::{Collector, Passage, folder::Skipped, split};

/// The longest line that is read.
pub(super) const LINE_BYTES_MAX: u64 = 2 << 20;
/// The most lines named as skipped; beyond it they are only counted.
const NAMED_MAX: usize = 20;

/// Names the first lines of a file that are no records.
pub(super) struct BadLines<'a> {
    file: &'a str,
    count: usize,
    skipped: &'a mut Vec<Skipped>,
}

impl<'a> BadLines<'a> {
    pub(super) fn new(file: &'a str, skipped: &'a mut Vec<Skipped>) -> Self {
        BadLines { file, count: 0, skipped }
    }

    pub(super) fn name(&mut self, line: u32, reason: String) {
        self.count += 1;
        if self.count <= NAMED_MAX {
            self.skipped.push(Skipped { file: format!("{}:{line}", self.file), reason });
        } else if self.count == NAMED_MAX + 1 {
            let reason = "and more lines like these".to_owned();
            self.skipped.push(Skipped { file: self.file.to_owned(), reason });
        }
    }
}

/// Reads every line of a file; lines that are no record are skipped and named.
pub(crate) fn read(
    file: &str,
    mut reader: impl BufRead,
    collector: &mut Collector,
    skipped: &mut Vec<Skipped>,
) {
    let mut bad = BadLines::new(file, skipped);
    for line in 1u32.. {
        let mut bytes = Vec::new();
        let mut limited = std::io::Read::take(&mut reader, LINE_BYTES_MAX);
        match limited.read_until(b'\n', &mut bytes) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                bad.name(line, error.to_string());
                break;
            }
        }
        if bytes.last() != Some(&b'\n') && bytes.len() as u64 == LINE_BYTES_MAX {
            let reason = "a line of more than 2 MiB; the rest of the file is not read";
            bad.name(line, reason.into());
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        match record(file, line, &bytes) {
            Ok(passage) => collector.add(passage),
            Err(reason) => bad.name(line, reason),
        }
    }
}

/// One record.
fn record(file: &str, line: u32, bytes: &[u8]) -> Result<Passage, String> {
    // Some editors mark the beginning of a file.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| line == 1).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let fields =
        serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
    passage(file, line, fields)
}

/// The record of an object. It stays however short it is: somebody wrote a line for it. The model reads its
/// first 512 tokens.
pub(super) fn passage(
    file: &str,
    line: u32,
    mut fields: Map<String, Value>,
) -> Result<Passage, String> {
    let text = match fields.remove("text") {
        Some(Value::String(text)) => split::normalise(&text),
        Some(_) => return Err("`text` is not a string".to_owned()),
        None if fields.contains_key("vector") => {
            return Err(
                "a vector and no `text`: vectors of your own go in over HTTP (docs/http.md)"
                    .to_owned(),
            );
        }
        None => return Err("no `text`".to_owned()),
    };
    // As over HTTP, where every other field is in here.
    if let Some(Value::Object(payload)) = fields.get_mut("payload") {
        let payload = std::mem::take(payload);
        fields.remove("payload");
        fields.extend(payload);
    }
    let key = match fields.remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) => Some(key),
        Some(Value::Number(key)) => Some(key.to_string()),
        Some(_) => return Err("`id` is neither a string nor a number".to_owned()),
    };
    if text.is_empty() {
        return Err("`text` is empty".to_owned());
    }
    let id = match &key {
        Some(key) => edge_tasks::record_id_for_key(key),
        None => edge_tasks::record_id_for_text(&text),
    };
    let fields = (!fields.is_empty()).then_some(fields);
    Ok(Passage { id, text, file: file.to_owned(), line, fields, key })
}
