//! The texts of `-h`, `-i` and `-V`.

use std::fmt::Write;

use super::{
    MEMCACHED_VERSION, NUTHATCH_VERSION, Options,
    flags::{Action, FLAGS, Flag},
    words::WORDS,
};

/// What `-V` prints: the first line as memcached prints it, because programs parse it.
pub(super) fn version() -> String {
    format!("memcached {MEMCACHED_VERSION}\nnuthatchd {NUTHATCH_VERSION}\n")
}

/// What `-i` prints.
pub(super) fn license() -> String {
    format!("{}\n{}", version(), include_str!("../../LICENSE"))
}

/// What `-h` prints, from the tables.
///
/// Programs look here for what a server can do, memcached's own tests among them, so what is
/// refused is not shown.
pub(super) fn help() -> String {
    let defaults = Options::default();
    let mut text = version();
    for flag in FLAGS.iter().filter(|flag| !flag.doc.is_empty()) {
        let default = flag.default.map(|default| default(&defaults));
        entry(&mut text, &left(flag), FLAG_WIDTH, flag.doc, default.as_deref());
    }
    for word in WORDS.iter().filter(|word| !word.doc.is_empty()) {
        let default = word.default.map(|default| default(&defaults));
        let left = format!("   - {}:", word.name);
        entry(&mut text, &left, WORD_WIDTH, word.doc, default.as_deref());
    }
    text.push_str(COMMANDS);
    text
}

/// A flag's forms, and the name of its value.
fn left(flag: &Flag) -> String {
    let value = match flag.action {
        Action::Take(value, _) | Action::Config(value) => Some(value),
        Action::Set(_) | Action::Print(_) | Action::Unsupported { .. } => None,
    };
    match (flag.letter, flag.long, value) {
        (Some(letter), "", Some(value)) => format!("-{letter} <{value}>"),
        (Some(letter), "", None) => format!("-{letter}"),
        (Some(letter), long, Some(value)) => format!("-{letter}, --{long}=<{value}>"),
        (Some(letter), long, None) => format!("-{letter}, --{long}"),
        (None, long, Some(value)) => format!("    --{long}=<{value}>"),
        (None, long, None) => format!("    --{long}"),
    }
}

/// Writes one entry: what is named, then its text, whose further lines are indented under it.
fn entry(text: &mut String, left: &str, width: usize, doc: &str, default: Option<&str>) {
    let doc = doc.replace('\n', &format!("\n{:width$} ", ""));
    // Writing to a string cannot fail.
    let _ = write!(text, "{left:width$} {doc}");
    if let Some(default) = default {
        let _ = write!(text, " (default: {default})");
    }
    text.push('\n');
}

const COMMANDS: &str =
    "\nnuthatchd passwd USER makes an entry for -Y; nuthatchd passwd --help says more\n";
const FLAG_WIDTH: usize = 31;
const WORD_WIDTH: usize = 26;
