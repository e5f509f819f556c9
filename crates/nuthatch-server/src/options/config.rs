//! Files of options: what `--config` reads.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    Action, UsageError,
    draft::Draft,
    getopt::{Args, Given},
};

/// The largest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// What passes over the lines of Debian's file that are for its scripts.
const FOR_SCRIPTS: [&str; 2] = ["-d", "-h"];

/// Reads a file and does what its lines say.
pub(super) fn read(draft: &mut Draft, path: &Path) -> Result<(), UsageError> {
    let unreadable = |error: io::Error| {
        UsageError::value(format!("could not read the options in {}: {error}", path.display()))
    };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    // One byte more than is allowed shows that there is more.
    file.take(FILE_LEN_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    read_text(draft, &path.display().to_string(), &text)
}

/// The same for what is in the file of that name.
pub(super) fn read_text(draft: &mut Draft, name: &str, text: &str) -> Result<(), UsageError> {
    for (number, line) in (1..).zip(text.lines()) {
        let place = format!("{name}:{number}");
        read_line(draft, &place, line).map_err(|error| error.at(&place))?;
    }
    Ok(())
}

fn read_line(draft: &mut Draft, place: &str, line: &str) -> Result<(), UsageError> {
    if FOR_SCRIPTS.iter().any(|flag| line.trim_start().starts_with(flag)) {
        return Ok(());
    }
    let words = words(line)?;
    let Some(first) = words.first() else { return Ok(()) };
    if !first.starts_with('-') {
        return directive(draft, &words);
    }
    let mut args = Args::new([place.to_owned()].into_iter().chain(words).map(OsString::from));
    while let Some(given) = args.next()? {
        let (flag, value) = match given {
            Given::Flag(flag, value) => (flag, value),
            Given::Operand(text) => {
                let text = text.to_string_lossy();
                return Err(UsageError::value(format!(
                    "\"{text}\" belongs to no option; a value with spaces has to be in quotes"
                )));
            }
        };
        match flag.action {
            Action::Set(set) => set(draft),
            Action::Take(_, take) => take(draft, &value)?,
            Action::Config(_) | Action::Print(_) => {
                return Err(UsageError::usage(format!("{} has no place in a file", flag.name())));
            }
            Action::Unsupported { .. } => return Err(UsageError::unsupported(flag.name())),
        }
    }
    Ok(())
}

/// What Debian's scripts know besides options.
fn directive(draft: &mut Draft, words: &[String]) -> Result<(), UsageError> {
    match words {
        [name, path @ ..] if name == "logfile" && !path.is_empty() => {
            // Those scripts take all of the line's rest.
            draft.options.logfile = Some(PathBuf::from(path.join(" ")));
            Ok(())
        }
        [name, ..] if name == "logfile" => Err(UsageError::value("logfile names no file")),
        [name, ..] => Err(UsageError::value(format!(
            "\"{name}\" is neither an option, which begins with \"-\", nor logfile"
        ))),
        [] => Ok(()),
    }
}

/// Cuts a line into words where white space is, up to a number sign. Quotes and backslashes keep
/// what they quote together and as it is, as in the shell.
fn words(line: &str) -> Result<Vec<String>, UsageError> {
    let mut words = Vec::new();
    // What is quoted may be an empty word.
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(mark), _) if char == mark => quote = None,
            (Some('"'), '\\') if matches!(chars.peek(), Some('"' | '\\')) => {
                word.get_or_insert_default().extend(chars.next());
            }
            (Some(_), _) => word.get_or_insert_default().push(char),
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(chars.next().unwrap_or('\\')),
            (None, '#') => break,
            (None, _) if char.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(char),
        }
    }
    if quote.is_some() {
        return Err(UsageError::value("a quotation mark has no other end"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Parsed, Port, check, parse};
    use super::*;

    fn read_all(text: &str) -> Result<Options, UsageError> {
        let mut draft = Draft::default();
        read_text(&mut draft, "conf", text)?;
        check::finish(draft)
    }

    #[track_caller]
    fn refused(text: &str, code: u8, message: &str) {
        let error = read_all(text).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (code, message), "{text}");
    }

    #[test]
    fn debian_s_own_file() {
        let options = read_all(
            "# memcached default config file\n\
             -d\n\n\
             logfile /var/log/memcached.log\n\
             # -vv\n\
             -m 64\n-p 11211\n-u memcache\n\
             -l 127.0.0.1\n  -l ::1   # both\r\n\
             -P /var/run/memcached/memcached.pid\n-h\n",
        )
        .unwrap();
        assert!(!options.daemon);
        assert_eq!((options.memory_limit, options.port), (64 << 20, Port::At(11211)));
        assert_eq!(options.listen.as_deref(), Some("127.0.0.1,::1"));
        assert_eq!(options.user.as_deref(), Some("memcache"));
        assert_eq!(options.logfile, Some("/var/log/memcached.log".into()));
        assert_eq!(options.pidfile, Some("/var/run/memcached/memcached.pid".into()));
    }

    #[test]
    fn words_are_cut_as_by_a_shell() {
        let cut = |line| words(line).unwrap();
        assert_eq!(cut(" -m  64\t-C # x"), ["-m", "64", "-C"]);
        assert_eq!(cut(r#"-s "a b"'c "d' e\ f\#"#), ["-s", "a bc \"d", "e f#"]);
        assert_eq!(cut(r#""" "\"\\\n" 'a\'"#), ["", "\"\\\\n", "a\\"]);
        assert_eq!(cut("a#b"), ["a"], "as in Debian's scripts");
        assert_eq!(cut("# a"), [""; 0]);
        assert!(words("-s 'a").is_err() && words("\"").is_err());
    }

    #[test]
    fn long_options_and_several_on_a_line() {
        let options = read_all(
            "--memory-limit=128\n--conn-limit 9 -vC\n-s \"/tmp/a b\"\nlogfile /tmp/c  d\n",
        )
        .unwrap();
        assert_eq!((options.memory_limit, options.conn_limit), (128 << 20, 9));
        assert_eq!((options.verbosity, options.store.use_cas), (1, false));
        assert_eq!(options.unix_socket, Some("/tmp/a b".into()));
        assert_eq!(options.logfile, Some("/tmp/c d".into()));
    }

    #[test]
    fn errors_name_the_line() {
        refused("-m 64\n-c 0", 1, "conf:2: Maximum connections must be greater than 0");
        refused("-e x", 64, "conf:1: -e (--memory-file) is not supported by this build yet");
        refused("\n-y", 1, "conf:2: invalid option -- 'y'\nIllegal argument \"?\"");
        refused("-m", 1, "conf:1: option requires an argument -- 'm'\nIllegal argument \"?\"");
        refused("-V", 64, "conf:1: -V (--version) has no place in a file");
        refused("--config x", 64, "conf:1: --config has no place in a file");
        refused("logfile", 1, "conf:1: logfile names no file");
        refused("-s '/a", 1, "conf:1: a quotation mark has no other end");
        refused(
            "-s /a b",
            1,
            "conf:1: \"b\" belongs to no option; a value with spaces has to be in quotes",
        );
        refused(
            "memory 64",
            1,
            "conf:1: \"memory\" is neither an option, which begins with \"-\", nor logfile",
        );
    }

    #[test]
    fn the_command_line_has_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        std::fs::write(&one, "-m 100\n-c 5\n-v\n-l 127.0.0.1\n").unwrap();
        std::fs::write(&two, "-m 200\n").unwrap();
        let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
        let run = |args: &[&str]| match parse([&["nuthatchd"], args].concat()) {
            Ok(Parsed::Run(options)) => *options,
            other => panic!("{other:?}"),
        };
        let of = |args: &[&str]| {
            let options = run(args);
            (options.memory_limit >> 20, options.conn_limit)
        };
        assert_eq!(of(&["--config", one]), (100, 5));
        assert_eq!(of(&["-m", "300", "--config", one]), (300, 5));
        assert_eq!(of(&["--config", one, &format!("--config={two}"), "-c6"]), (200, 6));
        let options = run(&["-v", "-l", "::1", "--config", one]);
        assert_eq!(options.verbosity, 2);
        assert_eq!(options.listen.as_deref(), Some("127.0.0.1,::1"));

        let error = parse(["nuthatchd", "--config", "/no/such/file"]).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains("/no/such/file"), "{error}");
        assert!(matches!(parse(["nuthatchd", "-V", "--config", "/no"]), Ok(Parsed::Print(_))));
    }
}
