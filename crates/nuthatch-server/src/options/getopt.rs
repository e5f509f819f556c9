//! The shape of a command line, as `getopt_long` defines it: `-m64`, `-vvv`, `--memory-limit=64`,
//! unambiguous abbreviations of long names, and any word at all as a value (`-c -1`).
//!
//! `lexopt` splits the words; this module adds the table look-up and memcached's error texts.

use std::ffi::{OsStr, OsString};

use lexopt::Arg;

use super::{
    UsageError,
    draft::Value,
    flags::{Action, FLAGS, Flag},
};

/// A command line being read.
pub(super) struct Args {
    program: String,
    parser: lexopt::Parser,
    /// The value given last, kept here so that it can be lent.
    value: OsString,
    /// How the flag given last was written.
    written: String,
}

/// One step of a command line.
pub(super) enum Given<'a> {
    /// A flag with its value, empty where it takes none.
    Flag(&'static Flag, Value<'a>),
    /// A word that belongs to no flag.
    Operand(OsString),
}

impl Args {
    pub(super) fn new<I>(args: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let mut args = args.into_iter().map(Into::into);
        let program = args.next().unwrap_or_else(|| "nuthatchd".into());
        let mut parser = lexopt::Parser::from_args(args);
        parser.set_short_equals(false);
        Self {
            program: program.to_string_lossy().into_owned(),
            parser,
            value: OsString::new(),
            written: String::new(),
        }
    }

    /// The next flag or operand, `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Given<'_>>, UsageError> {
        let given = match self.parser.next() {
            Ok(None) => return Ok(None),
            Ok(Some(Arg::Value(operand))) => return Ok(Some(Given::Operand(operand))),
            Ok(Some(Arg::Short(letter))) => {
                by_letter(letter).map(|flag| (flag, format!("-{letter}")))
            }
            Ok(Some(Arg::Long(name))) => {
                by_name(name).map(|flag| (flag, format!("--{}", flag.long)))
            }
            // The only error of `next` is a value given to the flag before, which takes none.
            Err(_) => Err(format!("option '{}' doesn't allow an argument", self.written)),
        };
        let (flag, written) = given.map_err(|message| self.illegal(&message))?;
        self.written = written;
        self.value.clear();
        if flag.takes_value() {
            match self.parser.value() {
                Ok(value) => self.value = value,
                Err(_) => {
                    let message = if self.written.starts_with("--") {
                        format!("option '{}' requires an argument", self.written)
                    } else {
                        let letter = flag.letter.unwrap_or_default();
                        format!("option requires an argument -- '{letter}'")
                    };
                    return Err(self.illegal(&message));
                }
            }
        }
        let raw: &OsStr = &self.value;
        Ok(Some(Given::Flag(flag, Value { flag: &self.written, raw })))
    }

    /// getopt's line and memcached's under it.
    fn illegal(&self, message: &str) -> UsageError {
        UsageError::value(format!("{}: {message}\nIllegal argument \"?\"", self.program))
    }
}

fn by_letter(letter: char) -> Result<&'static Flag, String> {
    FLAGS
        .iter()
        .find(|flag| flag.letter == Some(letter))
        .ok_or_else(|| format!("invalid option -- '{letter}'"))
}

/// Finds a long name, or the one name that begins so.
fn by_name(given: &str) -> Result<&'static Flag, String> {
    if let Some(exact) = FLAGS.iter().find(|flag| !given.is_empty() && flag.long == given) {
        return Ok(exact);
    }
    // What is not memcached's must not make its abbreviations ambiguous.
    let mut matches = FLAGS
        .iter()
        .filter(|flag| flag.letter.is_some() && !flag.long.is_empty())
        .filter(|flag| flag.long.starts_with(given));
    match (matches.next(), matches.next()) {
        (None, _) => Err(format!("unrecognized option '--{given}'")),
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) => {
            let names: Vec<_> = [first, second]
                .into_iter()
                .chain(matches)
                .map(|flag| format!("'--{}'", flag.long))
                .collect();
            Err(format!("option '--{given}' is ambiguous; possibilities: {}", names.join(" ")))
        }
    }
}

impl Flag {
    /// Whether a value follows it. What is not supported takes its value too, so that the message
    /// names the flag and not its value.
    fn takes_value(&self) -> bool {
        match self.action {
            Action::Take(..) | Action::Config(_) => true,
            Action::Unsupported { value } => value,
            Action::Set(_) | Action::Print(_) => false,
        }
    }
}
