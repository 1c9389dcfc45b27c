//! The repository's files as the rules of `tests/architecture.rs` read them: which words are code, where
//! a function ends, what a document links to. A scanner, no parser: it knows comments, literals and
//! braces, which is all that the rules need of Rust.

use std::fs;
use std::path::{Path, PathBuf};

/// A file, and what of it is code.
#[derive(Clone)]
pub struct Source {
    /// From the repository's root.
    pub path: String,
    pub text: String,
    /// The text with comments and literals blanked: as long as it, line for line.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Source { path: path.into(), text: text.into(), code: blanked(text) }
    }

    /// The top-level module: `learner` of `src/learner/pass.rs`, `actor` of `src/actor/mod.rs`.
    pub fn module(&self) -> &str {
        let below = self.path.trim_start_matches("src/");
        below.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// The name of a file in a folder, empty for the folder's `mod.rs` and for top-level files.
    pub fn leaf(&self) -> &str {
        let below = self.path.trim_start_matches("src/");
        let leaf = below.split_once('/').map_or("", |(_, leaf)| leaf.trim_end_matches(".rs"));
        if leaf == "mod" { "" } else { leaf }
    }

    /// The code before the file's own tests.
    pub fn production(&self) -> &str {
        self.code.split("mod tests {").next().unwrap_or_default()
    }

    /// Every word of the code with its line.
    pub fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.lines().enumerate();
        lines.flat_map(|(number, line)| {
            line.split(|c| !is_word(c)).map(move |word| (number + 1, word))
        })
    }
}

/// The word after each `prefix`, with its line; empty where something else than a word follows.
pub fn paths_after<'a>(code: &'a str, prefix: &str) -> impl Iterator<Item = (usize, &'a str)> {
    code.match_indices(prefix).filter(|(start, _)| is_word_start(code, *start)).map(
        |(start, found)| {
            let rest = &code[start + found.len()..];
            (line_of(code, start), &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())])
        },
    )
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_word_start(code: &str, at: usize) -> bool {
    !code[..at].ends_with(is_word)
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Line and length, in lines, of every function.
pub fn functions(code: &str) -> impl Iterator<Item = (usize, usize)> {
    let starts = code.match_indices("fn ").filter(|(start, _)| is_word_start(code, *start));
    starts.map(|(start, _)| (line_of(code, start), item_at(&code[start..]).lines().count()))
}

/// A function from its `fn` to its closing brace, or to the semicolon of one without a body.
pub fn item_at(code: &str) -> &str {
    let (mut parentheses, mut braces) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => parentheses += 1,
            ')' | ']' => parentheses -= 1,
            '{' => braces += 1,
            '}' => braces -= 1,
            _ => {}
        }
        if parentheses == 0 && braces == 0 && (c == ';' || c == '}') {
            return &code[..=at];
        }
    }
    code
}

/// The text with every comment and literal turned into spaces.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    while let Some(c) = text[code.len()..].chars().next() {
        let rest = &text[code.len()..];
        match comment_or_literal(rest, code.ends_with(is_word)) {
            0 => code.push(c),
            n_bytes => {
                code.extend(rest[..n_bytes].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }))
            }
        }
    }
    code
}

/// How many bytes the comment or literal at the beginning has; 0 if there is none.
fn comment_or_literal(rest: &str, in_word: bool) -> usize {
    let up_to = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        up_to("*/", 2)
    } else if !in_word && rest.starts_with("r#\"") {
        up_to("\"#", 3)
    } else if !in_word && rest.starts_with("r\"") {
        up_to("\"", 2)
    } else if let Some(string) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = string.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        end.map_or(rest.len(), |at| at + 2)
    } else if let Some(character) = rest.strip_prefix("'\\") {
        character.get(1..).and_then(|tail| tail.find('\'')).map_or(0, |at| at + 4)
    } else if let Some(character) = rest.strip_prefix('\'') {
        // Without a closing quote after one character it is a lifetime.
        let n_bytes = character.chars().next().map_or(0, char::len_utf8);
        if character[n_bytes..].starts_with('\'') { n_bytes + 2 } else { 0 }
    } else {
        0
    }
}

/// A document without its fenced blocks.
pub fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The fenced blocks of a document.
pub fn fenced(text: &str) -> String {
    text.split("```").skip(1).step_by(2).collect()
}

/// Line by line, so that one quote too many spoils one line only.
pub fn code_spans(prose: &str) -> impl Iterator<Item = &str> {
    prose.lines().flat_map(|line| between(line, "`", "`"))
}

pub fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open)?;
        let (inside, after) = after.split_once(close)?;
        rest = after;
        Some(inside)
    })
}

pub fn is_path(span: &str) -> bool {
    let folders = ["src/", "tests/", "bench/", "bin/", "docs/", "tools/"];
    folders.iter().any(|folder| span.starts_with(folder))
        && span.chars().all(|c| is_word(c) || "./-".contains(c))
}

/// Whether a document has a heading with this anchor, as GitHub makes it of the heading's words.
pub fn has_heading(document: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(document).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim().to_lowercase()).any(|heading| {
        let kept = heading.chars().filter(|c| is_word(*c) || " -".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).eq(anchor.chars())
    })
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every Rust file below a folder of the repository.
pub fn sources(folder: &str) -> Vec<Source> {
    let found = files_below(&root().join(folder), "rs");
    assert!(!found.is_empty(), "{folder} holds Rust files");
    found
}

/// The repository's own documents: those at its root and below `docs`.
pub fn documents() -> Vec<Source> {
    let mut documents = files_below(&root().join("docs"), "md");
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    documents.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "md")).map(load));
    assert!(documents.len() > 3, "there are documents");
    documents
}

pub fn files_below(folder: &Path, extension: &str) -> Vec<Source> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    // What a build below left behind is nobody's source.
    paths.retain(|path| !path.ends_with("target"));
    let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|e| e == extension));
    let deeper = folders.iter().flat_map(|folder| files_below(folder, extension));
    files.map(load).chain(deeper).collect()
}

fn load(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).unwrap();
    let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    Source::new(&path, &text)
}
