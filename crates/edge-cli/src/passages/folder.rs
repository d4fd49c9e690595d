//! Reading a folder or a file of documents.

use std::{
    fs::File,
    io::{BufReader, Read as _},
    path::{Path, PathBuf},
};

use super::{
    Collector, FILE_BYTES_MAX, LINES_BYTES_MAX, Passage,
    comments::{self, Language},
    jsonl, markdown, table,
};

/// Folders nested deeper than this are not entered.
const DEPTH_MAX: usize = 32;
/// The most files of unknown kinds that are named; all are counted.
const OTHER_NAMED: usize = 20;
/// The most files of one folder tree.
const FILES_MAX: usize = 200_000;

/// A file that gave nothing, and why.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(crate) struct Skipped {
    /// The file, perhaps with a line.
    pub(crate) file: String,
    /// Why.
    pub(crate) reason: String,
}

/// How a file is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Source(Language),
    Markdown,
    Plain,
    Lines,
    /// Columns between these.
    Table(u8),
}

/// A file to read and the name it gets in passages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What people see.
    pub(crate) name: String,
}

/// What a folder held.
#[derive(Debug)]
pub(crate) struct Documents {
    /// By id, the smallest ids.
    pub(crate) passages: Vec<Passage>,
    /// How many there were before the limit, duplicates included.
    pub(crate) seen: u64,
    /// Records in whose place a later one with the same id stays.
    pub(crate) replaced: u64,
    /// Blocks of text that are too short for a passage.
    pub(crate) short: u64,
    /// Files read.
    pub(crate) files: usize,
    /// Files that could not be read.
    pub(crate) skipped: Vec<Skipped>,
    /// Files of kinds that are not read.
    pub(crate) other: usize,
    /// The first of them by name.
    pub(crate) other_names: Vec<String>,
    /// The kind a single file of no known kind was taken for.
    pub(crate) taken_for: Option<&'static str>,
}

impl Documents {
    /// Reads a file or every file below a folder.
    ///
    /// # Errors
    /// When the path itself cannot be read.
    pub(crate) fn read(path: &Path, limit: usize) -> std::io::Result<Documents> {
        let meta = std::fs::metadata(path)?;
        let mut skipped = Vec::new();
        let sources = if meta.is_dir() {
            std::fs::read_dir(path)?;
            let mut found = Vec::new();
            walk(path, path, 0, &mut found, &mut skipped);
            found.sort_by(|a: &Source, b: &Source| a.name.cmp(&b.name));
            found
        } else if !meta.is_file() {
            // A pipe or a device may never end, or never begin.
            let (file, reason) = (path.display().to_string(), "neither a file nor a folder".into());
            skipped.push(Skipped { file, reason });
            Vec::new()
        } else {
            File::open(path)?;
            let name = path.file_name().unwrap_or(path.as_os_str());
            vec![Source { path: path.to_owned(), name: name.to_string_lossy().into_owned() }]
        };
        let one = !meta.is_dir();
        Ok(Documents::of_sources(sources, limit, one, skipped))
    }

    /// Reads these files, on as many threads as there are cores.
    pub(crate) fn of_sources(
        sources: Vec<Source>,
        limit: usize,
        any_format: bool,
        skipped: Vec<Skipped>,
    ) -> Documents {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let next = std::sync::atomic::AtomicUsize::new(0);
        let parts: Vec<Part> = std::thread::scope(|scope| {
            let work = || {
                let mut part = Part::new(limit);
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(source) = sources.get(at) else { return part };
                    part.read(source, any_format);
                }
            };
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles
                .into_iter()
                .map(|handle| {
                    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let mut whole = Part::new(limit);
        whole.skipped = skipped;
        for part in parts {
            whole.collector.merge(part.collector);
            whole.skipped.extend(part.skipped);
            whole.files += part.files;
            whole.other += part.other;
            whole.other_names.extend(part.other_names);
            whole.taken_for = whole.taken_for.or(part.taken_for);
        }
        whole.skipped.sort_by(|a, b| a.file.cmp(&b.file));
        whole.other_names.sort();
        whole.other_names.truncate(OTHER_NAMED);
        Documents {
            seen: whole.collector.seen(),
            replaced: whole.collector.replaced(),
            short: whole.collector.short(),
            passages: whole.collector.finish(),
            files: whole.files,
            skipped: whole.skipped,
            other: whole.other,
            other_names: whole.other_names,
            taken_for: whole.taken_for,
        }
    }
}

struct Part {
    collector: Collector,
    skipped: Vec<Skipped>,
    files: usize,
    other: usize,
    other_names: Vec<String>,
    taken_for: Option<&'static str>,
}

impl Part {
    fn new(limit: usize) -> Self {
        Part {
            collector: Collector::new(limit),
            skipped: Vec::new(),
            files: 0,
            other: 0,
            other_names: Vec::new(),
            taken_for: None,
        }
    }

    fn read(&mut self, source: &Source, any_format: bool) {
        let format = match format_of(&source.path) {
            Some(format) => format,
            // Named by hand: taken for text.
            None if any_format => {
                self.taken_for = Some("plain text in paragraphs");
                Format::Plain
            }
            None => {
                self.other += 1;
                // Every thread meets its files in order, so the first of all are among these.
                if self.other_names.len() < OTHER_NAMED {
                    self.other_names.push(source.name.clone());
                }
                return;
            }
        };
        let skip = |reason: String| Skipped { file: source.name.clone(), reason };
        match text(source, format) {
            Err(reason) => self.skipped.push(skip(reason)),
            Ok(Content::Lines(reader)) => {
                self.files += 1;
                let (collector, skipped) = (&mut self.collector, &mut self.skipped);
                match format {
                    Format::Table(delimiter) => {
                        table::read(&source.name, delimiter, reader, collector, skipped);
                    }
                    _ => jsonl::read(&source.name, reader, collector, skipped),
                }
            }
            // An empty source file is nothing unusual, an empty document is.
            Ok(Content::Text(text))
                if text.trim().is_empty() && !matches!(format, Format::Source(_)) =>
            {
                self.skipped.push(skip("it is empty".into()));
            }
            Ok(Content::Text(text)) => {
                self.files += 1;
                let blocks = match format {
                    Format::Source(language) => comments::blocks(language, &text),
                    Format::Markdown => markdown::blocks(&text),
                    Format::Plain | Format::Lines | Format::Table(_) => markdown::plain(&text),
                };
                self.collector.take(&source.name, blocks);
            }
        }
    }
}

enum Content {
    Text(String),
    Lines(BufReader<File>),
}

fn text(source: &Source, format: Format) -> Result<Content, String> {
    let file = File::open(&source.path).map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let by_line = matches!(format, Format::Lines | Format::Table(_));
    let limit = if by_line { LINES_BYTES_MAX } else { FILE_BYTES_MAX };
    if size > limit {
        return Err(format!("{} MiB, over the limit of {} MiB", size >> 20, limit >> 20));
    }
    if by_line {
        return Ok(Content::Lines(BufReader::new(file)));
    }
    let mut bytes = Vec::new();
    // A file may grow while it is read.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("over the limit of {} MiB", limit >> 20));
    }
    String::from_utf8(bytes)
        .map(Content::Text)
        .map_err(|error| format!("not UTF-8 (byte {})", error.utf8_error().valid_up_to()))
}

fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?;
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("md" | "markdown" | "mdx") => Some(Format::Markdown),
        Some("txt" | "text" | "rst" | "adoc" | "org" | "tex") => Some(Format::Plain),
        Some("jsonl" | "ndjson") => Some(Format::Lines),
        Some("csv") => Some(Format::Table(b',')),
        Some("tsv") => Some(Format::Table(b'\t')),
        Some(extension) => Language::of_extension(extension).map(Format::Source),
        None => name.to_ascii_lowercase().starts_with("readme").then_some(Format::Markdown),
    }
}

/// Every file below a folder; hidden names, links to folders and links out of the folder are not
/// followed.
pub(crate) fn walk(
    root: &Path,
    folder: &Path,
    depth: usize,
    found: &mut Vec<Source>,
    skipped: &mut Vec<Skipped>,
) {
    let name = |path: &Path| {
        let relative = path.strip_prefix(root).unwrap_or(path);
        relative.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    };
    let skip = |path: &Path, reason: String| Skipped { file: name(path), reason };
    if depth > DEPTH_MAX {
        return skipped.push(skip(folder, format!("deeper than {DEPTH_MAX} folders")));
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return skipped.push(skip(folder, error.to_string())),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let Ok(kind) = entry.file_type() else { continue };
        if hidden {
            continue;
        }
        if kind.is_dir() {
            walk(root, &path, depth + 1, found, skipped);
        } else if found.len() < FILES_MAX {
            let file = kind.is_file() || kind.is_symlink() && path.is_file();
            if kind.is_symlink() && file && format_of(&path).is_some() && !inside(root, &path) {
                skipped.push(skip(&path, "a link to a file outside the folder".to_owned()));
            } else if file {
                found.push(Source { name: name(&path), path });
            } else if format_of(&path).is_some() {
                skipped.push(skip(&path, "not a file".to_owned()));
            }
        }
    }
}

/// Whether what a path leads to lies in a folder.
fn inside(root: &Path, path: &Path) -> bool {
    let (root, target) = (root.canonicalize(), path.canonicalize());
    matches!((root, target), (Ok(root), Ok(target)) if target.starts_with(&root))
}
