//! The table of flags: one entry each, in the order in which `-h` shows them.

use std::path::PathBuf;

use nuthatch_types::limits;

use super::{
    Options, Port, Protocol, THREADS_MAX, THREADS_WARN, UsageError,
    draft::{Draft, Value, invalid},
    help, words,
};

/// One flag.
pub(super) struct Flag {
    /// The short form; none for what memcached has not.
    pub(super) letter: Option<char>,
    /// The long form without its dashes; empty where memcached has none.
    pub(super) long: &'static str,
    /// What `-h` says; a line break starts an indented line. Empty for what `-h` leaves out.
    pub(super) doc: &'static str,
    /// What the manual says instead, in sentences; a line break ends a paragraph, and backquotes
    /// stand around what is typed. Empty where it says the same.
    pub(super) more: &'static str,
    /// What `-h` shows as the default, if anything.
    pub(super) default: Option<fn(&Options) -> String>,
    pub(super) action: Action,
}

/// What a flag does.
pub(super) enum Action {
    /// Takes no value and changes the options.
    Set(fn(&mut Draft)),
    /// Takes a value, called so in `-h`, and changes the options or refuses it.
    Take(&'static str, fn(&mut Draft, &Value<'_>) -> Result<(), UsageError>),
    /// Names a file of options, which act before the command line does.
    Config(&'static str),
    /// Ends the program with a text.
    Print(fn() -> String),
    /// Is memcached's but not ours yet.
    Unsupported {
        /// Whether a value follows it.
        value: bool,
    },
}

impl Flag {
    /// Both forms, for messages.
    pub(super) fn name(&self) -> String {
        match (self.letter, self.long) {
            (Some(letter), "") => format!("-{letter}"),
            (Some(letter), long) => format!("-{letter} (--{long})"),
            (None, long) => format!("--{long}"),
        }
    }
}

pub(super) const FLAGS: &[Flag] = &[
    Flag {
        letter: Some('p'),
        long: "port",
        doc: "TCP port to listen on; 0 is none, -1 any free one",
        more: "The TCP port of every address that names none of its own. `0` is no TCP, `-1` \
               any free port (`MEMCACHED_PORT_FILENAME` tells which).",
        default: Some(|options| options.port.as_setting().to_string()),
        action: Action::Take("num", |draft, value| {
            draft.options.port = port(value)?;
            draft.port_given = true;
            Ok(())
        }),
    },
    Flag {
        letter: Some('U'),
        long: "udp-port",
        doc: "UDP port to listen on; 0 is none, -1 any free one; unless -p is given\n\
              TCP listens on the same port",
        more: "The UDP port of every address that names none of its own; off unless given. \
               `-1` is any free port. Unless `-p` is given, TCP listens on the same port. UDP cannot \
               be had together with `-Y`.",
        default: Some(|options| options.udp_port.as_setting().to_string()),
        action: Action::Take("num", |draft, value| {
            draft.options.udp_port = port(value)?;
            Ok(())
        }),
    },
    Flag {
        letter: Some('s'),
        long: "unix-socket",
        doc: "UNIX socket to listen on (disables network support)",
        more: "Listens on a Unix socket at this path, and on no network. A socket that was \
               left behind there is replaced. The file is made by the user that the server runs as.",
        default: None,
        action: Action::Take("file", |draft, value| {
            draft.options.unix_socket = Some(PathBuf::from(value.raw));
            Ok(())
        }),
    },
    Flag {
        letter: Some('a'),
        long: "unix-mask",
        doc: "access mask for UNIX socket, in octal",
        more: "The permissions of the Unix socket, in octal: who may connect.",
        default: Some(|options| format!("{:o}", options.unix_mask)),
        action: Action::Take("mask", |draft, value| {
            let text = value.text()?;
            draft.options.unix_mask = u32::from_str_radix(text, 8)
                .ok()
                .filter(|mask| *mask <= 0o777)
                .ok_or_else(|| invalid(value.flag, text))?;
            Ok(())
        }),
    },
    Flag {
        letter: Some('A'),
        long: "enable-shutdown",
        doc: "enable ascii \"shutdown\" command",
        more: "Serves the command `shutdown`, by which any client can end the server.",
        default: None,
        action: Action::Set(|draft| draft.options.shutdown_command = true),
    },
    Flag {
        letter: Some('l'),
        long: "listen",
        doc: "address to listen on (default: 127.0.0.1, this machine alone)\n\
              host[:port], [IPv6][:port] or * for all; several are separated by commas,\n\
              and the flag may be repeated\n\
              proto[ascii]: or proto[negotiating]: before an address sets what it speaks",
        more: "Where to listen: `host`, `host:port`, `[IPv6]`, `[IPv6]:port`, or `*` for \
               every address of the machine. Several are separated by commas, and the option may be \
               repeated.\n\
               Before an address, `proto[ascii]:`, `proto[binary]:` or `proto[negotiating]:` says \
               what is spoken there, and `tag[NAME]:` gives its connections a name in the logs.\n\
               Without this option the server listens at 127.0.0.1, and only this machine can \
               connect. (memcached listens everywhere then.) Whoever can connect can read, change \
               and delete everything: name other addresses behind a firewall, or with `-Y`.",
        default: None,
        action: Action::Take("addr", |draft, value| {
            let text = value.text()?;
            match &mut draft.options.listen {
                // memcached's rule: what the list so far contains, even as part of an entry, is
                // not added again.
                Some(list) if list.contains(text) => {}
                Some(list) => {
                    list.push(',');
                    list.push_str(text);
                }
                none => *none = Some(text.to_owned()),
            }
            Ok(())
        }),
    },
    Flag {
        letter: Some('d'),
        long: "daemon",
        doc: "run as a daemon",
        more: "Goes to the background. The command returns when the server serves, or with an \
               error when it does not. The working directory becomes `/` unless `-r` is given; \
               output goes nowhere unless `-v` or a log file is given.",
        default: None,
        action: Action::Set(|draft| draft.options.daemon = true),
    },
    Flag {
        letter: Some('r'),
        long: "enable-coredumps",
        doc: "maximize core file limit",
        more: "Allows core files of any size, and stays in the working directory when going \
               to the background.",
        default: None,
        action: Action::Set(|draft| draft.options.core_dumps = true),
    },
    Flag {
        letter: Some('u'),
        long: "user",
        doc: "user to run as (only when started as root)",
        more: "The user to become, by name, when started as root: its groups, too. TCP and \
               UDP ports are opened before, so that low ones need no further right; files are read \
               and written as that user. Root that names nobody becomes `nobody`.",
        default: None,
        action: Action::Take("user", |draft, value| {
            draft.options.user = Some(value.text()?.to_owned());
            Ok(())
        }),
    },
    Flag {
        letter: Some('m'),
        long: "memory-limit",
        doc: "item memory in megabytes",
        more: "How much memory items may take, in megabytes. Connections, the index (some 10 \
               bytes an item) and the program itself come on top.",
        default: Some(|options| (options.memory_limit >> 20).to_string()),
        action: Action::Take("num", |draft, value| {
            let megabytes = value.number::<usize>()?;
            draft.options.memory_limit = megabytes
                .checked_mul(1 << 20)
                .ok_or_else(|| invalid(value.flag, &megabytes.to_string()))?;
            Ok(())
        }),
    },
    Flag {
        letter: Some('M'),
        long: "disable-evictions",
        doc: "return error on memory exhausted instead of evicting",
        more: "When memory is full, answers storage commands with an error instead of \
               throwing out the items that were used longest ago.",
        default: None,
        action: Action::Set(|draft| draft.options.store.evict_to_free = false),
    },
    Flag {
        letter: Some('c'),
        long: "conn-limit",
        doc: "max simultaneous connections",
        more: "How many clients may be connected at a time. The limit on open files is raised \
               to fit, if the system allows it. Those above the limit are told so and closed, see \
               `maxconns_fast`.",
        default: Some(|options| options.conn_limit.to_string()),
        action: Action::Take("num", |draft, value| {
            const MESSAGE: &str = "Maximum connections must be greater than 0";
            draft.options.conn_limit = positive(value, MESSAGE)?;
            Ok(())
        }),
    },
    Flag {
        letter: Some('k'),
        long: "lock-memory",
        doc: "lock down all paged memory",
        more: "Keeps all memory of the process in RAM (`mlockall`). Where the system does not \
               allow that, warns and serves all the same.",
        default: None,
        action: Action::Set(|draft| draft.options.lock_memory = true),
    },
    Flag {
        letter: Some('v'),
        long: "verbose",
        doc: "say what happens on standard error; -vv also connections and commands,\n\
              without values, -vvv also when connections close",
        more: "Says on standard error what happens: once, warnings and what is going on; \
               twice, also connections and commands, with keys and without values; three times, also \
               when connections close.",
        default: None,
        action: Action::Set(|draft| {
            draft.options.verbosity = draft.options.verbosity.saturating_add(1);
        }),
    },
    Flag {
        letter: Some('h'),
        long: "help",
        doc: "print this help and exit",
        more: "Prints a short help and ends.",
        default: None,
        action: Action::Print(help::help),
    },
    Flag {
        letter: Some('i'),
        long: "license",
        doc: "print the license and exit",
        more: "Prints the licence and ends.",
        default: None,
        action: Action::Print(help::license),
    },
    Flag {
        letter: Some('V'),
        long: "version",
        doc: "print version and exit",
        more: "Prints the version and ends: first that of memcached whose protocol is spoken, \
               then this program's.",
        default: None,
        action: Action::Print(help::version),
    },
    Flag {
        letter: Some('P'),
        long: "pidfile",
        doc: "save PID in <file>",
        more: "Writes the process id to this file once the sockets are open, and removes it \
               at the end. A running process that the file names already is warned of.",
        default: None,
        action: Action::Take("file", |draft, value| {
            draft.options.pidfile = Some(PathBuf::from(value.raw));
            Ok(())
        }),
    },
    Flag {
        letter: Some('f'),
        long: "slab-growth-factor",
        doc: "chunk size growth factor",
        more: "The ratio between the sizes of neighbouring chunk classes. A smaller one \
               wastes less memory inside chunks and makes more classes.",
        default: Some(|options| format!("{:.2}", options.store.growth_factor)),
        action: Action::Take("num", |draft, value| {
            let factor = value.number::<f64>()?;
            if !(factor > 1.0 && factor.is_finite()) {
                return Err(UsageError::value("Factor must be greater than 1"));
            }
            draft.options.store.growth_factor = factor;
            draft.growth_factor_given = true;
            Ok(())
        }),
    },
    Flag {
        letter: Some('n'),
        long: "slab-min-size",
        doc: "min space used for key+value+flags",
        more: "The room for key, value and flags in the smallest chunks.",
        default: Some(|options| options.store.chunk_size_min.to_string()),
        action: Action::Take("bytes", |draft, value| {
            let bytes: u32 = positive(value, "Chunk size must be greater than 0")?;
            draft.options.store.chunk_size_min = bytes as usize;
            draft.chunk_size_min_given = true;
            Ok(())
        }),
    },
    Flag {
        letter: Some('D'),
        long: "",
        doc: "count what is done with the keys of each prefix, which ends at the first\n\
              such character, and show it in stats detail dump (default: \":\", and\n\
              nothing is counted until stats detail on)",
        more: "Ends the prefix of a key at this character, and counts from the start what is \
               done with the keys of each prefix, as after the command `stats detail on`; `stats \
               detail dump` shows it. Without this option prefixes end at `:` and nothing is counted \
               until then.",
        default: None,
        action: Action::Take("char", |draft, value| {
            let Some(first) = value.trimmed_bytes().first() else {
                return Err(UsageError::value("No delimiter specified"));
            };
            draft.options.stat_key_prefix = *first;
            draft.options.detail_enabled = true;
            Ok(())
        }),
    },
    Flag {
        letter: Some('L'),
        long: "enable-largepages",
        doc: "ask for item memory in huge pages, where the system has them",
        more: "Asks the system for huge pages for item memory, and ends with an error where \
               it gives none.",
        default: None,
        action: Action::Set(|draft| draft.options.store.huge_pages = true),
    },
    Flag {
        letter: Some('t'),
        long: "threads",
        doc: "number of threads to use",
        more: "Worker threads. There is nothing to be gained from more than the machine has \
               cores.",
        default: Some(|options| options.threads.to_string()),
        action: Action::Take("num", |draft, value| {
            let threads: u32 = positive(value, "Number of threads must be greater than 0")?;
            let threads = threads as usize;
            if threads > THREADS_MAX {
                return Err(UsageError::value(format!(
                    "Number of threads must not be greater than {THREADS_MAX}"
                )));
            }
            if threads > THREADS_WARN {
                draft.options.warnings.push(
                    "WARNING: Setting a high number of worker threads is not recommended.\n \
                     Set this value to the number of cores in your machine or less."
                        .to_owned(),
                );
            }
            draft.options.threads = threads;
            Ok(())
        }),
    },
    Flag {
        letter: Some('R'),
        long: "max-reqs-per-event",
        doc: "maximum number of requests per event: how many requests of one\n\
              connection are served before the others get their turn",
        more: "How many requests of one connection are served before the others of its worker \
               get their turn.",
        default: Some(|options| options.reqs_per_event.to_string()),
        action: Action::Take("num", |draft, value| {
            const MESSAGE: &str = "Number of requests per event must be greater than 0";
            let requests: u32 = positive(value, MESSAGE)?;
            draft.options.reqs_per_event = requests as usize;
            Ok(())
        }),
    },
    Flag {
        letter: Some('C'),
        long: "disable-cas",
        doc: "disable use of CAS",
        more: "Gives items no CAS number, which saves 8 bytes each; `gets` and `cas` have no \
               use then.",
        default: None,
        action: Action::Set(|draft| draft.options.store.use_cas = false),
    },
    Flag {
        letter: Some('b'),
        long: "listen-backlog",
        doc: "set the backlog queue limit",
        more: "How many connections the kernel holds that have not been accepted yet.",
        default: Some(|options| options.backlog.to_string()),
        action: Action::Take("num", |draft, value| {
            draft.options.backlog = value.number()?;
            Ok(())
        }),
    },
    Flag {
        letter: Some('B'),
        long: "protocol",
        doc: "protocol - one of ascii, binary, or auto (default: auto)",
        more: "What clients may speak: `ascii`, `binary`, or `auto`, by which each connection's \
               first byte decides. The default is `auto`, with `-Y` it is `ascii`.",
        default: None,
        action: Action::Take("name", |draft, value| {
            draft.protocol_given = true;
            draft.options.protocol = match value.text()? {
                "auto" => Protocol::Auto,
                "binary" => Protocol::Binary,
                "ascii" => Protocol::Ascii,
                other => {
                    return Err(UsageError::usage(format!(
                        "Invalid value for binding protocol: {other}\n \
                         -- should be one of auto, binary, or ascii"
                    )));
                }
            };
            Ok(())
        }),
    },
    Flag {
        letter: Some('I'),
        long: "max-item-size",
        doc: "largest item; k or m may follow the number\n\
              (default: 1m, min: 1k, max: 1024m)",
        more: "The largest item, with its key and header; `k` or `m` may follow the number. \
               At least 1k, at most 1024m and half of `-m`; a multiple of `slab_chunk_max`.",
        default: None,
        action: Action::Take("num", |draft, value| {
            draft.options.store.item_size_max = size(value)?;
            Ok(())
        }),
    },
    Flag {
        letter: Some('F'),
        long: "disable-flush-all",
        doc: "disable flush_all command",
        more: "Answers `flush_all` with an error.",
        default: None,
        action: Action::Set(|draft| draft.options.flush_enabled = false),
    },
    Flag {
        letter: Some('X'),
        long: "disable-dumping",
        doc: "disable stats cachedump, stats detail, and lru_crawler metadump",
        more: "Answers `stats cachedump`, `stats detail` and the dumps of `lru_crawler` with \
               an error, so that no client can list keys.",
        default: None,
        action: Action::Set(|draft| draft.options.dump_enabled = false),
    },
    Flag {
        letter: Some('W'),
        long: "disable-watch",
        doc: "disable watch commands (live logging)",
        more: "Answers `watch` with an error, so that no client can look on.",
        default: None,
        action: Action::Set(|draft| draft.options.watch_enabled = false),
    },
    Flag {
        letter: Some('Y'),
        long: "auth-file",
        doc: "users and passwords, a line \"user:password\" each; clients must then log in\n\
              before anything else is served (ascii protocol only)",
        more: "A file of users and passwords, one `user:password` a line. Before anything \
               else is served, a client must send `set KEY 0 0 LENGTH` with the value `user \
               password`, KEY being anything; the answer is `STORED` or an error. Passwords are sent \
               as they are: use it on networks that you trust, or with `-Z`. `nuthatchd passwd` makes \
               entries from which nobody can read the password.\n\
               Up to 65536 lines, names of 255 bytes, passwords of 1024; a user may have several. \
               The text protocol alone is spoken then, and there is no UDP. SIGHUP reads the file \
               again; a bad one changes nothing.",
        default: None,
        action: Action::Take("file", |draft, value| {
            draft.options.auth_file = Some(PathBuf::from(value.raw));
            Ok(())
        }),
    },
    Flag {
        letter: Some('S'),
        long: "enable-sasl",
        doc: "clients must log in by SASL before anything else is served\n\
              (binary protocol only)",
        more: "Asks for a login by SASL: the binary protocol alone is spoken then, and there is no \
               UDP. What is offered, and where the users are, stands in `memcached.conf` of \
               cyrus-sasl: in the directory that the environment variable `SASL_CONF_PATH` names, \
               else in `/etc/sasl` or `/etc/sasl2`. Of it `mech_list` (`scram-sha-256`, \
               `scram-sha-1`, `plain`, `cram-md5`), `sasldb_path` and `log_level` are heeded; what \
               asks others than the database of `saslpasswd2` (`saslauthd`, `ldapdb`, `sql`) is \
               refused. `MEMCACHED_SASL_PWDB` may name a file of lines `user@host:password` besides. \
               Both files are followed: what changes in them counts from the next login on.",
        default: None,
        action: Action::Set(|draft| draft.options.sasl = true),
    },
    Flag {
        letter: Some('N'),
        long: "napi-ids",
        doc: "number of receive queues of the network card: a connection is served\n\
              by the worker thread of its queue (default: 0, in turn)",
        more: "The number of receive queues of the network card. A connection goes to the \
               worker that its queue belongs to (`SO_INCOMING_NAPI_ID`), at most as many as there \
               are threads; by default workers get connections in turn.",
        default: None,
        action: Action::Take("num", |draft, value| {
            const MESSAGE: &str = "Maximum number of NAPI IDs must be greater than 0";
            draft.options.napi_ids = positive(value, MESSAGE)?;
            Ok(())
        }),
    },
    Flag {
        letter: Some('o'),
        long: "extended",
        doc: "comma separated list of extended options:",
        more: "A list of words, separated by commas, with or without a value: see below. The \
               option may be repeated, and words act in the order given.",
        default: None,
        action: Action::Take("list", |draft, value| words::read(draft, value.text()?)),
    },
    Flag {
        letter: Some('Z'),
        long: "enable-ssl",
        doc: "TLS on the TCP listeners; needs ssl_chain_cert",
        more: "Speaks TLS, and nothing else, on the TCP listeners; `-o ssl_chain_cert` and its like \
               say with what. In `-l`, `notls:` before an address makes it plain, `btls:` asks no \
               client for a certificate there, `mtls:` requires one of every client. Unix sockets and \
               UDP are always plain.",
        default: None,
        action: Action::Set(|draft| draft.options.tls.enabled = true),
    },
    Flag {
        letter: None,
        long: "config",
        doc: "read options from <file>, one a line, as in Debian's /etc/memcached.conf;\n\
              the command line comes after them, wherever this stands",
        more: "Reads options from a file, as Debian's scripts read `/etc/memcached.conf`: one \
               option a line, short or long, `#` before a comment, quotes around values with spaces. \
               A line `logfile PATH` says where output goes once the server serves, unless systemd's journal has it; lines that begin \
               with `-d` or `-h` are passed over. Files act before the command line, wherever this \
               stands, so that the command line has the last word; what adds up (`-l`, `-v`) adds \
               up. The option may be repeated. An error names the file and the line.",
        default: None,
        action: Action::Config("file"),
    },
    unsupported('e', "memory-file", true),
];

/// A flag of memcached's that is refused; `-h` does not show it, because programs look there for
/// what a server can do.
const fn unsupported(letter: char, long: &'static str, value: bool) -> Flag {
    Flag {
        letter: Some(letter),
        long,
        doc: "",
        more: "",
        default: None,
        action: Action::Unsupported { value },
    }
}

/// A port number, 0 for none or -1 for a free one.
fn port(value: &Value<'_>) -> Result<Port, UsageError> {
    let port = value.number::<i64>()?;
    Ok(match port {
        0 => Port::Off,
        -1 => Port::Ephemeral,
        _ => Port::At(
            u16::try_from(port)
                .map_err(|_| UsageError::usage(format!("ERROR: Invalid port number {port}.")))?,
        ),
    })
}

/// A number above 0 that fits memcached's `int`; below 1 it gets the flag's own message.
fn positive(value: &Value<'_>, message: &str) -> Result<u32, UsageError> {
    match value.number::<i32>()? {
        ..=0 => Err(UsageError::value(message)),
        number => Ok(number.unsigned_abs()),
    }
}

/// A number of bytes with `k`, `K`, `m` or `M` behind it. What no `usize` can hold is beyond every
/// limit, so it becomes the largest one and the limits answer.
fn size(value: &Value<'_>) -> Result<usize, UsageError> {
    let text = value.text()?;
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1 << 10),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 1 << 20),
            None => (text, 1),
        },
    };
    let number: u64 = digits.parse().map_err(|_| invalid(value.flag, text))?;
    let bytes = number.saturating_mul(unit).min(limits::ITEM_SIZE_MAX as u64 + 1);
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}
