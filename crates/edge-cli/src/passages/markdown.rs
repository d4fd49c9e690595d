//! Paragraphs of Markdown and plain text, each under its heading.

use super::Block;

/// The paragraphs of a Markdown file. A paragraph is text between empty lines or headings, a fenced
/// block of code, or a list item with what belongs to it; its heading stands before it. Paragraphs
/// that are only badges, images, link targets or HTML tags are left out.
pub(crate) fn blocks(source: &str) -> Vec<Block> {
    let mut state = State::default();
    let mut fence: Option<&str> = None;
    let lines: Vec<&str> = source.split('\n').map(|line| line.trim_end_matches('\r')).collect();
    for (index, line) in lines.iter().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let start = line.trim_start();
        if let Some(mark) = fence {
            if start.starts_with(mark) {
                fence = None;
                state.end();
            } else {
                state.line(number, line);
            }
            continue;
        }
        if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark)) {
            fence = Some(mark);
            state.end();
        } else if let Some(heading) = heading(start) {
            state.end();
            state.heading = heading.to_owned();
        } else if is_rule(start) {
            // Under a line of text this is a heading too (CommonMark 0.31, section 4.3).
            state.underline(start);
        } else if start.is_empty() {
            state.end();
        } else {
            state.line(number, line);
        }
    }
    state.end();
    state.out
}

/// The paragraphs of a plain text file.
pub(crate) fn plain(source: &str) -> Vec<Block> {
    let mut state = State::default();
    for (number, line) in (1u32..).zip(source.split('\n')) {
        if line.trim().is_empty() {
            state.end();
        } else {
            state.line(number, line);
        }
    }
    state.end();
    state.out
}

#[derive(Default)]
struct State {
    heading: String,
    first: u32,
    lines: Vec<String>,
    out: Vec<Block>,
}

impl State {
    fn line(&mut self, number: u32, line: &str) {
        if self.lines.is_empty() {
            self.first = number;
        }
        self.lines.push(line.trim_end().to_owned());
    }

    fn underline(&mut self, rule: &str) {
        let single = self.lines.len() == 1;
        let heading = single && (rule.starts_with('=') || rule.starts_with('-'));
        if heading {
            self.heading = self.lines.remove(0).trim().to_owned();
        } else {
            self.end();
        }
    }

    fn end(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        if !lines.iter().any(|line| has_words(line)) {
            return;
        }
        let text = lines.join("\n");
        // On one line with the text, so that lines can be counted from the paragraph's first.
        let text = match self.heading.as_str() {
            "" => text,
            heading => format!("{heading}: {text}"),
        };
        self.out.push(Block { line: self.first, text });
    }
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    let is_heading = (1..=6).contains(&level) && (text.is_empty() || text.starts_with(' '));
    is_heading.then(|| text.trim().trim_end_matches('#').trim_end())
}

fn is_rule(line: &str) -> bool {
    let mark = line.chars().next().filter(|c| matches!(c, '=' | '-' | '*' | '_'));
    mark.is_some_and(|mark| line.len() >= 3 && line.trim_end().chars().all(|c| c == mark))
}

/// Whether a line says something to people: not only badges, link targets or tags.
fn has_words(line: &str) -> bool {
    let line = line.trim();
    let target = line.starts_with('[') && line.contains("]:");
    let badge = line.starts_with("[![") || line.starts_with("![");
    let tag = line.starts_with('<') && line.ends_with('>');
    !(target || badge || tag) && line.chars().any(char::is_alphabetic)
}
