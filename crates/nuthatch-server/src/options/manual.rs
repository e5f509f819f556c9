//! The manual page and the reference page, from the same tables as `-h`.

use super::{
    MEMCACHED_VERSION, NUTHATCH_VERSION, Options,
    flags::{Action, FLAGS, Flag},
    words::{WORDS, Word, WordAction},
};

/// One option as a manual shows it.
struct Entry {
    /// How it is written: `-m`, `--memory-limit=`; what follows the last is the value's name.
    forms: Vec<String>,
    value: Option<&'static str>,
    /// Sentences, a paragraph each; backquotes stand around what is typed.
    text: Vec<String>,
    default: Option<String>,
}

impl Entry {
    fn of_flag(flag: &Flag, defaults: &Options) -> Self {
        let value = match flag.action {
            Action::Take(value, _) | Action::Config(value) => Some(value),
            Action::Set(_) | Action::Print(_) | Action::Unsupported { .. } => None,
        };
        let short = flag.letter.map(|letter| format!("-{letter}"));
        let long = Some(flag.long).filter(|long| !long.is_empty()).map(|long| format!("--{long}"));
        Self {
            forms: short.into_iter().chain(long).collect(),
            value,
            text: sentences(flag.doc, flag.more),
            default: flag.default.map(|default| default(defaults)),
        }
    }

    fn of_word(word: &Word, defaults: &Options) -> Self {
        let value = matches!(word.action, WordAction::Take(_)).then_some("value");
        Self {
            forms: vec![word.name.to_owned()],
            value,
            text: sentences(word.doc, word.more),
            default: word.default.map(|default| default(defaults)),
        }
    }
}

/// What a manual says: the long text, or the short one made into a sentence.
fn sentences(short: &str, long: &str) -> Vec<String> {
    if !long.is_empty() {
        return long.split('\n').map(str::to_owned).collect();
    }
    let mut chars = short.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    let text: String = first.into_iter().chain(chars).collect();
    vec![text.replace('\n', " ") + "."]
}

fn flags(defaults: &Options) -> impl Iterator<Item = Entry> {
    FLAGS.iter().filter(|it| !it.doc.is_empty()).map(|flag| Entry::of_flag(flag, defaults))
}

fn words(defaults: &Options) -> impl Iterator<Item = Entry> {
    WORDS.iter().filter(|it| !it.doc.is_empty()).map(|word| Entry::of_word(word, defaults))
}

/// The manual page of `nuthatchd`, section 1, in roff.
pub fn man_page() -> String {
    let defaults = Options::default();
    let mut page = format!(
        ".\\\" Made from the tables of options by `cargo xtask docs`.\n\
         .TH NUTHATCHD 1 \"\" \"nuthatchd {NUTHATCH_VERSION}\" \"User Commands\"\n"
    );
    section(&mut page, "NAME");
    page.push_str("nuthatchd \\- memcached server\n");
    section(&mut page, "SYNOPSIS");
    page.push_str(".B nuthatchd\n.RI [ option ]...\n");
    section(&mut page, "DESCRIPTION");
    for paragraph in DESCRIPTION {
        page.push_str(&roff(paragraph));
        page.push_str("\n.PP\n");
    }
    section(&mut page, "OPTIONS");
    for entry in flags(&defaults) {
        let forms: Vec<_> = entry
            .forms
            .iter()
            .map(|form| format!("\\fB{}\\fR", form.replace('-', "\\-")))
            .collect();
        man_entry(&mut page, &forms.join(", "), &entry);
    }
    section(&mut page, "EXTENDED OPTIONS");
    page.push_str("The words that \\fB\\-o\\fR takes.\n");
    for entry in words(&defaults) {
        let name = format!("\\fB{}\\fR", entry.forms[0]);
        man_entry(&mut page, &name, &entry);
    }
    for (title, rows) in TABLES {
        section(&mut page, &title.to_uppercase());
        for (name, text) in *rows {
            page.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", roff(name), roff(text)));
        }
    }
    section(&mut page, "SEE ALSO");
    page.push_str(".BR memcached (1),\n.BR systemd.service (5)\n");
    page
}

fn section(page: &mut String, title: &str) {
    page.push_str(&format!(".SH {title}\n"));
}

fn man_entry(page: &mut String, name: &str, entry: &Entry) {
    let value = entry.value.map(|value| format!("=\\fI{value}\\fR")).unwrap_or_default();
    page.push_str(&format!(".TP\n{name}{value}\n"));
    for (idx, paragraph) in entry.text.iter().enumerate() {
        if idx > 0 {
            page.push_str(".IP\n");
        }
        page.push_str(&roff(paragraph));
        page.push('\n');
    }
    if let Some(default) = &entry.default {
        page.push_str(&format!("Default: {}.\n", roff(&format!("`{default}`"))));
    }
}

/// Plain text for roff; what is in backquotes becomes bold.
fn roff(text: &str) -> String {
    let mut out = String::new();
    let mut is_code = false;
    for char in text.chars() {
        match char {
            '`' => {
                is_code = !is_code;
                out.push_str(if is_code { "\\fB" } else { "\\fR" });
            }
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            // At the beginning of a line these would be commands.
            '.' | '\'' if out.is_empty() => {
                out.push_str("\\&");
                out.push(char);
            }
            _ => out.push(char),
        }
    }
    out
}

/// The reference page, in Markdown.
pub fn reference_page() -> String {
    let defaults = Options::default();
    let mut page = format!(
        "<!-- Made from the tables of options by `cargo xtask docs`. -->\n\
         # The command line of nuthatchd\n\n\
         The flags are those of memcached {MEMCACHED_VERSION}, and a few more.\n\
         Where one does something else than memcached's, `compatibility.md` says so.\n\n"
    );
    for paragraph in DESCRIPTION {
        page.push_str(&format!("{}\n\n", escape(paragraph)));
    }
    page.push_str("## Flags\n");
    for entry in flags(&defaults) {
        let (last, others) = entry.forms.split_last().expect("an option has a name");
        let mut name: String = others.iter().map(|form| format!("`{form}`, ")).collect();
        let joint = if last.starts_with("--") { "=" } else { " " };
        let value = entry.value.map(|value| format!("{joint}<{value}>")).unwrap_or_default();
        name.push_str(&format!("`{last}{value}`"));
        markdown_entry(&mut page, &name, &entry);
    }
    page.push_str("\n## Words of `-o`\n");
    for entry in words(&defaults) {
        let value = entry.value.map(|value| format!("=<{value}>")).unwrap_or_default();
        let name = format!("`{}{value}`", entry.forms[0]);
        markdown_entry(&mut page, &name, &entry);
    }
    for (title, rows) in TABLES {
        page.push_str(&format!("\n## {title}\n\n| | |\n|---|---|\n"));
        for (name, text) in *rows {
            page.push_str(&format!("| `{name}` | {} |\n", escape(text).replace('\n', " ")));
        }
    }
    page
}

fn markdown_entry(page: &mut String, name: &str, entry: &Entry) {
    page.push_str(&format!("\n### {name}\n"));
    for paragraph in &entry.text {
        page.push_str(&format!("\n{}\n", escape(paragraph)));
    }
    if let Some(default) = &entry.default {
        page.push_str(&format!("\nDefault: `{default}`.\n"));
    }
}

/// Keeps what Markdown would read as its own, outside of backquotes, and begins a line with each
/// sentence.
fn escape(text: &str) -> String {
    let mut out = String::new();
    let mut is_code = false;
    for char in text.chars() {
        is_code ^= char == '`';
        if !is_code && matches!(char, '<' | '>' | '[' | ']' | '*' | '_' | '|') {
            out.push('\\');
        }
        out.push(char);
    }
    out.replace(". ", ".\n")
}

const DESCRIPTION: &[&str] = &[
    "nuthatchd keeps items in memory, by key, for programs that ask for them over TCP, UDP or a Unix \
     socket in memcached's protocols. It takes memcached's command line and can stand in its place.",
    "A value follows its option after a space, an equals sign (long options) or at once (short \
     ones); short options may be joined, long ones shortened. What this build does not do is \
     refused by name.",
];

type Table = (&'static str, &'static [(&'static str, &'static str)]);

const TABLES: &[Table] = &[
    (
        "Commands",
        &[
            (
                "nuthatchd passwd USER",
                "Prints an entry for the file of `-Y`: keys made of a password (SCRAM-SHA-256), with \
                 which nobody can log in who reads them. The password is asked for on the terminal, \
                 twice and without showing it, or is one line of standard input.",
            ),
            (
                "nuthatchd passwd -f FILE USER",
                "Puts the entry into the file, in place of the user's old ones, or beside them with \
                 `-a`. The file is replaced as a whole and keeps its owner and mode; one that is not \
                 there is made.",
            ),
            ("nuthatchd passwd -f FILE -d USER", "Takes the user's entries out of the file."),
            (
                "nuthatchd passwd --iterations=N USER",
                "Hashes the password so often, 4096 to 1000000 times, instead of 16384: what each login \
                 by password costs the server, and each guess whoever has stolen the file.",
            ),
        ],
    ),
    (
        "Signals",
        &[
            ("SIGINT", "Ends the server."),
            ("SIGTERM", "Ends the server."),
            ("SIGUSR1", "Ends the server, and says so."),
            (
                "SIGHUP",
                "Reads the password file of `-Y` and the files of TLS again; a bad one changes nothing.",
            ),
        ],
    ),
    (
        "Environment",
        &[
            (
                "MEMCACHED_PORT_FILENAME",
                "A file that gets a line such as `TCP INET: 11211` for each open socket, once all \
                 of them are open.",
            ),
            (
                "LISTEN_FDS",
                "Set by systemd (`nuthatchd.socket`): the sockets are open already, and `-l`, `-p`, \
                 `-U` and `-s` have no effect.",
            ),
            (
                "NOTIFY_SOCKET",
                "Set by systemd (`Type=notify`): is told when the server serves, reloads and stops.",
            ),
            (
                "JOURNAL_STREAM",
                "Set by systemd: where standard error is its journal, `logfile` has no effect.",
            ),
            (
                "T_MEMD_INITIAL_MALLOC",
                "With `-o relaxed_privileges`, how many bytes of `-m` count as taken.",
            ),
        ],
    ),
    (
        "Exit codes",
        &[
            ("0", "A signal or the shutdown command ended the server, or a text was printed."),
            ("1", "A value or a word of `-o` is wrong, or a file of options or passwords is."),
            ("64", "Options do not fit together, or this build does not support one."),
            ("67", "The user that `-u` names does not exist."),
            ("71", "The system refused something: an address is in use, a limit too low."),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_help_shows_is_in_both() {
        let (man, reference) = (man_page(), reference_page());
        for flag in FLAGS.iter().filter(|flag| !flag.doc.is_empty()) {
            let long = flag.long.replace('-', "\\-");
            assert!(man.contains(&format!("\\-\\-{long}")) || flag.long.is_empty(), "{long}");
            assert!(reference.contains(&format!("--{}", flag.long)), "{}", flag.long);
        }
        for word in WORDS.iter().filter(|word| !word.doc.is_empty()) {
            assert!(man.contains(&format!("\\fB{}\\fR", word.name)), "{}", word.name);
            assert!(reference.contains(&format!("### `{}", word.name)), "{}", word.name);
        }
        assert!(!man.contains('`') || man.lines().next().is_some_and(|line| line.contains('`')));
    }

    #[test]
    fn texts_are_sentences() {
        let defaults = Options::default();
        for entry in flags(&defaults).chain(words(&defaults)) {
            for text in &entry.text {
                assert!(text.ends_with(['.', ':', ')']), "{text}");
                assert!(text.matches('`').count().is_multiple_of(2), "{text}");
                assert!(
                    text.starts_with(|first: char| first == '`' || first.is_uppercase()),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_read_as_markup() {
        assert_eq!(roff(".a -b `c` \\"), "\\&.a \\-b \\fBc\\fR \\e");
        assert_eq!(escape("a_b <c> `d_<e>`"), "a\\_b \\<c\\> `d_<e>`");
        assert_eq!(escape("A. B."), "A.\nB.");
    }
}
