//! CSV and TSV (RFC 4180): a header, then a record a row; the columns `text` and perhaps `id`, and
//! whatever else belongs to it.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

use serde_json::{Map, Value};

use super::{
    Collector,
    folder::Skipped,
    jsonl::{BadLines, LINE_BYTES_MAX, passage},
};

/// A last line that no file has. It comes back as a row of its own, or a quote before it was never closed
/// and it is in that field.
const END: &str = "\n\0edge-net: end of file\0\n";
const UNCLOSED: &str = "a quote that is never closed: it would take the rest of the file";

/// Gives at most so many bytes for one record: a quote that is never closed must not fill the memory.
struct Bounded<R> {
    reader: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            let text = "a record of more than 2 MiB; the rest of the file is not read";
            return Err(io::Error::other(text));
        }
        let read = self.reader.read(buffer)?;
        self.left.set(self.left.get().saturating_sub(read as u64));
        Ok(read)
    }
}

/// Reads every row of a file; rows that are no record are skipped and named.
pub(crate) fn read(
    file: &str,
    delimiter: u8,
    reader: impl Read,
    collector: &mut Collector,
    skipped: &mut Vec<Skipped>,
) {
    let left = Rc::new(Cell::new(LINE_BYTES_MAX));
    let reader = Bounded { reader: reader.chain(END.as_bytes()), left: Rc::clone(&left) };
    // Lines are numbered by the line feeds; with carriage returns as ends, too, the numbers would be wrong.
    let mut rows = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .terminator(csv::Terminator::Any(b'\n'))
        .flexible(true)
        .from_reader(reader);
    let columns: Vec<String> = match rows.headers() {
        Ok(header) => {
            let name = |name: &str| name.trim_start_matches('\u{feff}').trim().to_owned();
            header.iter().map(name).collect()
        }
        Err(error) => {
            let reason = format!("its header cannot be read: {}", said(&error));
            return skipped.push(Skipped { file: file.to_owned(), reason });
        }
    };
    if !columns.iter().any(|column| column == "text") {
        let unclosed = columns.iter().any(|column| column.contains(END.trim()));
        let reason = match columns.as_slice() {
            [] => "it is empty".to_owned(),
            [one] if one == END.trim() => "it is empty".to_owned(),
            _ if unclosed => format!("its header has {UNCLOSED}"),
            _ => format!(
                "no column `text`; there are: {}. A header names it, in small letters, between commas (tabs \
                 in a .tsv)",
                columns.join(", ")
            ),
        };
        return skipped.push(Skipped { file: file.to_owned(), reason });
    }
    let mut bad = BadLines::new(file, skipped);
    let mut row = csv::StringRecord::new();
    loop {
        left.set(LINE_BYTES_MAX);
        let line = u32::try_from(rows.position().line()).unwrap_or(u32::MAX);
        match rows.read_record(&mut row) {
            Ok(true) => {
                let start = row.position().map_or(u64::from(line), csv::Position::line);
                let line = u32::try_from(start).unwrap_or(u32::MAX);
                if row.len() == 1 && &row[0] == END.trim() {
                    break;
                }
                if row.iter().any(|field| field.contains(END.trim())) {
                    bad.name(line, UNCLOSED.to_owned());
                    break;
                }
                if row.len() == 1 && row[0].trim().is_empty() {
                    continue;
                }
                if row.len() != columns.len() {
                    let (is, wanted) = (row.len(), columns.len());
                    bad.name(line, format!("{is} columns where the header has {wanted}"));
                    continue;
                }
                match passage(file, line, fields(&columns, &row)) {
                    Ok(passage) => collector.add(passage),
                    Err(reason) => bad.name(line, reason),
                }
            }
            Ok(false) => break,
            Err(error) => {
                let ends = matches!(error.kind(), csv::ErrorKind::Io(_));
                bad.name(line, said(&error));
                if ends {
                    break;
                }
            }
        }
    }
}

fn said(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::Utf8 { .. } => "not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

/// A row as an object. Text and id stay as they are written; of the others, what JSON would read as a number
/// or a truth value is one (`007` is none), and what is empty is absent.
fn fields(columns: &[String], row: &csv::StringRecord) -> Map<String, Value> {
    let mut fields = Map::new();
    for (column, value) in columns.iter().zip(row) {
        let value = value.strip_suffix('\r').unwrap_or(value);
        let value = match (column.as_str(), value) {
            (_, "") => continue,
            ("text" | "id", value) => Value::String(value.to_owned()),
            (_, value) => match serde_json::from_str::<Value>(value) {
                Ok(simple @ (Value::Number(_) | Value::Bool(_))) => simple,
                _ => Value::String(value.to_owned()),
            },
        };
        fields.insert(column.clone(), value);
    }
    fields
}
