//! `nuthatchd passwd`: makes entries for the file that `-Y` names.
//!
//! ```text
//!  nuthatchd passwd sammy             prints an entry
//!  nuthatchd passwd -f FILE sammy     puts it into the file, in place of sammy's old ones
//!  nuthatchd passwd -f FILE -d sammy  takes sammy out of it
//! ```
//!
//! An entry is [keys](ScramKeys) made of the password, never the password itself: whoever reads the
//! file cannot log in with what it says. The password is asked for on the terminal, twice and
//! without showing it, or read from standard input where that is no terminal; it is never an
//! argument, which others could see.
//!
//! This module knows the command line and the words; `ask` knows the terminal, `file` how a file is
//! changed under a server that may read it at any moment.

mod ask;
mod file;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use lexopt::prelude::*;
use nuthatch_transport::passwords::USER_LEN_MAX;
use nuthatch_transport::sasl::{
    ITERATIONS_DEFAULT, ITERATIONS_MAX, ITERATIONS_MIN, ScramHash, ScramKeys,
};

use crate::process::exit;

use file::{Change, Done};

/// The first argument that stands for this command.
pub const COMMAND: &str = "passwd";

/// What the command line asks for.
#[derive(Debug, Eq, PartialEq)]
enum Asked {
    /// Make an entry, or remove one.
    Entry(Entry),
    /// Say how it is used.
    Help,
}

#[derive(Debug, Eq, PartialEq)]
struct Entry {
    user: String,
    file: Option<PathBuf>,
    change: Change,
    iterations: u32,
}

/// Why nothing was done: a message and the code to exit with.
#[derive(Debug, Eq, PartialEq)]
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn usage(message: impl Display) -> Self {
        let message = format!("{message}; nuthatchd passwd --help says how it is used");
        Self { message, code: exit::USAGE }
    }

    fn of(message: impl Display) -> Self {
        Self { message: message.to_string(), code: exit::FAILURE }
    }
}

/// Does what the arguments after `passwd` say, and gives the code to exit with: 0, 1 for what went
/// wrong, 64 for arguments that make no sense. What is asked and told goes to standard error; an
/// entry for which no file is named, to standard output.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let done = parse(args).and_then(|asked| match asked {
        Asked::Help => print(HELP),
        Asked::Entry(entry) => act(&entry),
    });
    match done {
        Ok(()) => exit::OK,
        Err(failure) => {
            eprintln!("nuthatchd passwd: {}", failure.message);
            failure.code
        }
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, Failure> {
    let mut args = lexopt::Parser::from_args(args);
    let (mut user, mut file, mut iterations) = (None, None, None);
    let (mut add, mut delete) = (false, false);
    while let Some(arg) = args.next().map_err(Failure::usage)? {
        match arg {
            Short('f') | Long("file") => {
                file = Some(PathBuf::from(args.value().map_err(Failure::usage)?));
            }
            Short('a') | Long("add") => add = true,
            Short('d') | Long("delete") => delete = true,
            Long("iterations") => {
                let text = args.value().map_err(Failure::usage)?;
                iterations = Some(read_iterations(&text.to_string_lossy())?);
            }
            Short('h') | Long("help") => return Ok(Asked::Help),
            Value(name) if user.is_none() => user = Some(read_user(name)?),
            other => return Err(Failure::usage(other.unexpected())),
        }
    }
    let user = user.ok_or_else(|| Failure::usage("no user is named"))?;
    let change = match (add, delete) {
        (false, false) => Change::Replace,
        (true, false) => Change::Add,
        (false, true) => Change::Remove,
        (true, true) => return Err(Failure::usage("-a and -d do not go together")),
    };
    if change != Change::Replace && file.is_none() {
        return Err(Failure::usage("-a and -d need a file (-f)"));
    }
    if change == Change::Remove && iterations.is_some() {
        return Err(Failure::usage("--iterations and -d do not go together"));
    }
    let iterations = iterations.unwrap_or(ITERATIONS_DEFAULT);
    Ok(Asked::Entry(Entry { user, file, change, iterations }))
}

/// A name that every protocol here can send: the text protocol's login ends it at a space, the file
/// at a colon.
fn read_user(name: OsString) -> Result<String, Failure> {
    let refused = |why: &str| Failure::usage(format_args!("a user's name {why}"));
    let name = name.into_string().map_err(|_| refused("is UTF-8"))?;
    if name.is_empty() {
        return Err(refused("is not empty"));
    }
    if name.len() > USER_LEN_MAX {
        return Err(refused(&format!("has at most {USER_LEN_MAX} bytes")));
    }
    if name.contains(|char: char| char == ':' || char.is_whitespace() || char.is_control()) {
        return Err(refused("has no colon, no space and no control character"));
    }
    Ok(name)
}

fn read_iterations(text: &str) -> Result<u32, Failure> {
    let number = text.parse().ok();
    number.filter(|number| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(number)).ok_or_else(|| {
        Failure::usage(format_args!(
            "--iterations takes a number from {ITERATIONS_MIN} to {ITERATIONS_MAX}"
        ))
    })
}

fn act(entry: &Entry) -> Result<(), Failure> {
    let Entry { user, file, change, iterations } = entry;
    let line = match change {
        Change::Remove => String::new(),
        Change::Replace | Change::Add => {
            let password = ask::password(user).map_err(Failure::of)?;
            let keys = ScramKeys::make(ScramHash::Sha256, &password, *iterations);
            format!("{user}:{}\n", keys.map_err(Failure::of)?)
        }
    };
    let Some(file) = file else { return print(&line) };
    let done = file::change(file, user, *change, &line).map_err(Failure::of)?;
    let what = match done {
        Done::Made => {
            "the file is new, and only its owner may read it: the server's user must, too"
        }
        Done::Added => "added",
        Done::Replaced => "replaced",
        Done::Removed => "removed; those who are logged in stay so",
    };
    eprintln!("{user}: {what}. A server that runs reads {} at SIGHUP.", file.display());
    Ok(())
}

/// To standard output, which may be gone.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::of)
}

const HELP: &str = "\
nuthatchd passwd [options] USER      make an entry for the file that -Y names

The password is asked for twice on the terminal, or is one line of standard input where that is no
terminal. The entry is keys made of it (SCRAM-SHA-256), with which nobody can log in who reads them.

-f, --file=<file>    put the entry into this file, in place of the user's old ones; without this
                     option it is printed. A file that is not there is made.
-a, --add            with -f, beside the user's old ones: each password counts then
-d, --delete         with -f, take the user's entries out; asks no password
    --iterations=<n> hash the password so often: what a login costs the server that is sent one,
                     and whoever has stolen the file and guesses (default: 16384, 4096 to 1000000)
-h, --help           print this help and exit

  nuthatchd passwd -f /etc/nuthatchd.users sammy && systemctl reload nuthatchd
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Asked, Failure> {
        parse(args.iter().map(OsString::from))
    }

    fn entry(args: &[&str]) -> Entry {
        match parsed(args) {
            Ok(Asked::Entry(entry)) => entry,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn arguments_may_stand_anywhere() {
        let plain = entry(&["sammy"]);
        assert_eq!((plain.file, plain.change), (None, Change::Replace));
        assert_eq!(plain.iterations, ITERATIONS_DEFAULT);
        for args in [&["-f", "x", "-a", "sammy"][..], &["sammy", "--add", "--file=x"]] {
            let entry = entry(args);
            assert_eq!((entry.file, entry.change), (Some(PathBuf::from("x")), Change::Add));
        }
        assert_eq!(entry(&["-df", "x", "eve@realm"]).change, Change::Remove);
        assert_eq!(entry(&["--iterations", "4096", "--", "-f"]).iterations, 4096);
        assert_eq!(parsed(&["-h"]), Ok(Asked::Help));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let long = "u".repeat(USER_LEN_MAX + 1);
        for args in [
            &[][..],
            &["sammy", "eve"],
            &["-x", "sammy"],
            &["-d", "sammy"],
            &["-a", "sammy"],
            &["-f", "x", "-a", "-d", "sammy"],
            &["-f", "x", "-d", "--iterations=5000", "sammy"],
            &["-f"],
            &["--iterations=4095", "sammy"],
            &["--iterations=many", "sammy"],
            &[""],
            &["a:b"],
            &["a b"],
            &["a\nb"],
            &[&long],
        ] {
            let failure = parsed(args).unwrap_err();
            assert_eq!(failure.code, exit::USAGE, "{args:?}: {}", failure.message);
        }
    }

    #[test]
    fn the_help_has_the_limits_there_are() {
        let limits =
            format!("(default: {ITERATIONS_DEFAULT}, {ITERATIONS_MIN} to {ITERATIONS_MAX})");
        assert!(HELP.contains(&limits), "{limits}");
    }
}
