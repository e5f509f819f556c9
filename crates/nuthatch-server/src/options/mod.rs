//! The command line: memcached's flags and `-o` words, turned into plain [`Options`].
//!
//! Every flag is one entry of a table (`flags`), every `-o` word one entry of another (`words`):
//! its names, the text for `-h`, and the function that acts on it. `-h` is printed from the same
//! tables. What this build does not do is refused by name, with exit code 64; nothing is read and
//! then ignored.
//!
//! ```
//! use nuthatch_server::options::{self, Parsed, Port};
//!
//! let Parsed::Run(options) = options::parse(["nuthatchd", "-m64", "-vvp", "0", "-o", "modern"])?
//! else {
//!     unreachable!("no -h, -i or -V given");
//! };
//! assert_eq!(options.memory_limit, 64 << 20);
//! assert_eq!((options.verbosity, options.port), (2, Port::Off));
//! # Ok::<(), options::UsageError>(())
//! ```
//!
//! Flags, defaults, messages and exit codes are those of memcached 1.6.45, with these differences:
//! without `-l` the server listens on the loopback address, where memcached serves everybody; a
//! number with text after it (`-m 64x`) is an error here, where memcached reads 64 or 0; a long
//! flag or `-o` word that takes no value refuses one; and operands, which memcached passes over in
//! silence, give a warning.
//!
//! `--config` reads options from a file in the form that Debian gives to `/etc/memcached.conf`:
//!
//! ```text
//! # An option a line; what follows a number sign is a comment.
//! -m 64
//! --listen=127.0.0.1
//! -s "/run/a path with spaces"
//! logfile /var/log/memcached.log
//! ```
//!
//! A value with spaces is quoted as for the shell, whose other arts (variables, patterns) are not
//! known here. `logfile` is where standard output and error go, unless systemd keeps them in its journal. Lines that begin with `-d` or `-h`
//! are passed over, as by Debian's scripts: whether the server goes to the background is decided by
//! who starts it. The flag may be given several times; the files act in that order, and then the
//! command line does, so that it has the last word, except that what adds up (`-l`, `-v`) adds up.
//!
//! This module reads no file but those, no environment and no clock. It knows what a flag means,
//! not how the server goes about it.

mod check;
mod config;
mod draft;
mod flags;
mod getopt;
mod help;
mod manual;
mod words;

#[cfg(test)]
mod tests;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use nuthatch_discovery::{Member, SourceSpec};
use nuthatch_store::Profile;
use nuthatch_transport::Networks;
use nuthatch_transport::tls::{ClientAuth, KeyFormat, MinVersion};
use nuthatch_types::limits;

use crate::process::exit;

use flags::{Action, Flag};

pub use manual::{man_page, reference_page};

/// What the command line asks for.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a program either runs or prints and ends")]
pub enum Parsed {
    /// Serve.
    Run(Box<Options>),
    /// Print this to standard output and end with exit code 0 (`-h`, `-i`, `-V`).
    Print(String),
}

/// Reads a command line; the first item is the program's own name.
///
/// As in memcached, `-h`, `-i` and `-V` act where they stand: an error before them is reported,
/// what follows them is not read. A file that `--config` names is read first.
///
/// # Errors
///
/// [`UsageError`] carries the message for standard error and the exit code.
pub fn parse<I>(args: I) -> Result<Parsed, UsageError>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let mut draft = draft::Draft::default();
    for path in config_files(&args) {
        config::read(&mut draft, &path)?;
    }
    let mut args = getopt::Args::new(args);
    while let Some(given) = args.next()? {
        let (flag, value) = match given {
            getopt::Given::Flag(flag, value) => (flag, value),
            getopt::Given::Operand(text) => {
                let text = text.to_string_lossy();
                draft.options.warnings.push(format!("operand \"{text}\" has no meaning here"));
                continue;
            }
        };
        match flag.action {
            Action::Set(set) => set(&mut draft),
            Action::Take(_, take) => take(&mut draft, &value)?,
            // It has been read already.
            Action::Config(_) => {}
            Action::Print(text) => return Ok(Parsed::Print(text())),
            Action::Unsupported { .. } => return Err(UsageError::unsupported(flag.name())),
        }
    }
    check::finish(draft).map(|options| Parsed::Run(Box::new(options)))
}

/// The files that `--config` names, up to where reading the command line ends.
fn config_files(args: &[OsString]) -> Vec<PathBuf> {
    let mut args = getopt::Args::new(args);
    let mut files = Vec::new();
    while let Ok(Some(given)) = args.next() {
        match given {
            getopt::Given::Flag(Flag { action: Action::Config(_), .. }, value) => {
                files.push(PathBuf::from(value.raw));
            }
            getopt::Given::Flag(Flag { action: Action::Print(_), .. }, _) => break,
            getopt::Given::Flag(..) | getopt::Given::Operand(_) => {}
        }
    }
    files
}

/// How the server is to run. [`Options::default`] is what an empty command line gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// `-p`: the TCP port of every `-l` entry that names none.
    pub port: Port,
    /// `-U`: the UDP port of every `-l` entry that names none.
    pub udp_port: Port,
    /// `-o udp_trust`: the networks whose UDP packets are believed to come from whom they say, and
    /// get answers of any length; this machine always is.
    pub udp_trust: Networks,
    /// `-s`: the path of a Unix socket; with it there is no TCP and no UDP listener.
    pub unix_socket: Option<PathBuf>,
    /// `-a`: the permission bits of the Unix socket, at most `0o777`.
    pub unix_mask: u32,
    /// `-l`: the addresses to listen on, as given, joined with `,`. `None` is this machine alone
    /// (memcached: every address), because whoever reaches the port can do everything.
    pub listen: Option<String>,
    /// `-b`: how many connections the kernel may hold that have not been accepted yet.
    pub backlog: i32,
    /// `-B`: the protocols that clients may speak.
    pub protocol: Protocol,
    /// `-c`: how many clients may be connected at a time.
    pub conn_limit: u32,
    /// `-t`: worker threads.
    pub threads: usize,
    /// `-R`: how many requests of one connection are answered before the others get their turn.
    pub reqs_per_event: usize,
    /// `-o maxconns_fast`: a client above the limit is told so and closed. Otherwise no further
    /// client is accepted until one leaves.
    pub maxconns_fast: bool,
    /// `-o idle_timeout`: how long a TCP client may be silent, in seconds; 0 is forever.
    pub idle_timeout_secs: u32,

    /// `-N`: how many receive queues the network card has. A connection goes to the worker that
    /// its queue belongs to; 0 deals connections out in turn. At most [`threads`](Self::threads).
    pub napi_ids: u32,
    /// `-o read_buf_mem_limit`: how much the buffers that requests are read into may take
    /// together, in bytes; 0 is no limit.
    pub read_buf_mem_limit: usize,
    /// `-o sock_cookie_id`: the mark that listening sockets bear, for the system's packet filter
    /// (`SO_MARK`).
    pub sock_cookie_id: Option<u32>,

    /// What the engine is told.
    pub store: StoreOptions,

    /// `-Y`: the file of users and passwords; with it a client must log in before anything else
    /// is served.
    pub auth_file: Option<PathBuf>,
    /// `-S`: clients must log in by SASL before anything else is served, and speak the binary
    /// protocol.
    pub sasl: bool,
    /// `-Z` and the `ssl_` words: TLS on the TCP listeners.
    pub tls: TlsOptions,
    /// `-o discovery` and the `discovery_` words: the lists of auto-discovery.
    pub discovery: DiscoveryOptions,
    /// `-D` sets it: the byte that ends the prefix of a key, by which `stats detail` counts.
    pub stat_key_prefix: u8,
    /// `-D` sets it: prefixes are counted from the start, as after `stats detail on`.
    pub detail_enabled: bool,
    /// `-o watcher_logbuf_size`: the lines that wait for one `watch` connection, in bytes.
    pub watcher_logbuf_bytes: usize,
    /// `-o worker_logbuf_size`: the lines of one worker that wait to be given out, in bytes.
    pub worker_logbuf_bytes: usize,

    /// `-m`: memory for items, in bytes.
    pub memory_limit: usize,
    /// `-A`: the `shutdown` command is served.
    pub shutdown_command: bool,
    /// `-F` clears it: `flush_all` is served.
    pub flush_enabled: bool,
    /// `-X` clears it: the dumping commands are served.
    pub dump_enabled: bool,
    /// `-W` clears it: `watch` is served.
    pub watch_enabled: bool,
    /// `-o relaxed_privileges`: `debugtime` and the other commands that memcached has only in its
    /// debug build are served, and its test hooks in the environment are heard
    /// ([`hooks`](crate::process::hooks)); its test suite starts every server so.
    pub debug_commands: bool,

    /// `-d`: run as a daemon.
    pub daemon: bool,
    /// `-P`: where to write the process id.
    pub pidfile: Option<PathBuf>,
    /// `logfile` in a `--config` file: where standard output and error go once the server serves.
    pub logfile: Option<PathBuf>,
    /// `-u`: the user to run as when started as root.
    pub user: Option<String>,
    /// `-k`: keep all memory of the process in RAM.
    pub lock_memory: bool,
    /// `-o drop_privileges`: once everything is set up, give up the system calls that serving
    /// does not need.
    pub drop_privileges: bool,
    /// `-r`: allow core files of any size.
    pub core_dumps: bool,
    /// `-v`, as often as it was given: 0 silent, 1 errors, 2 commands and replies, 3 states.
    pub verbosity: u8,

    /// What the administrator should be told on standard error before the server starts.
    pub warnings: Vec<String>,
}

/// The part of the options that the storage engine acts on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// `-o profile`: laid out as memcached is, or as an embedded store is.
    pub profile: Profile,
    /// `-I`: the largest item in bytes, header and key included.
    pub item_size_max: usize,
    /// `-M` clears it: when memory is full an old item makes room for the new one.
    pub evict_to_free: bool,
    /// `-f`: the ratio of one chunk size to the one before it; above 1.
    pub growth_factor: f64,
    /// `-n`: room for key, value and flags in the smallest chunk, in bytes.
    pub chunk_size_min: usize,
    /// `-o slab_chunk_max`: the largest chunk in bytes; larger items are stored in pieces. It
    /// divides [`item_size_max`](Self::item_size_max) and
    /// [`PAGE_BYTES`](nuthatch_types::limits::PAGE_BYTES).
    pub slab_chunk_max: usize,
    /// `-o slab_sizes`: the chunk sizes of all classes but the last, in bytes; empty for those that
    /// `-n` and `-f` make.
    pub slab_sizes: Vec<usize>,
    /// `-L`: item memory is asked for in huge pages.
    pub huge_pages: bool,
    /// `-C` clears it: items carry a CAS number.
    pub use_cas: bool,
    /// `-o slab_reassign`: slab pages may move from one class to another.
    pub slab_reassign: bool,
    /// `-o slab_automove`: 0 moves no page without being asked, 1 moves one now and then, 2 with
    /// every eviction too.
    pub slab_automove: u8,
    /// `-o slab_automove_ratio`: a class whose oldest items are younger than this share of
    /// another's gets a page of it; above 0, at most 1.
    pub slab_automove_ratio: f64,
    /// `-o slab_automove_window`: over how many seconds that is watched, 3 to 1800.
    pub slab_automove_window: u32,
    /// `-o hashpower`: the index is made for 2 to this power items; `None` lets it grow from
    /// small.
    pub hashpower: Option<u32>,
    /// `-o hash_algorithm`, for `stats settings`. The index has one seeded hash of its own; the
    /// name chooses nothing that a client can see.
    pub hash_algorithm: HashAlgorithm,
    /// `-o lru_maintainer`: the LRU has HOT, WARM and COLD segments and a thread that moves items
    /// between them; otherwise it is one list.
    pub lru_segmented: bool,
    /// `-o lru_crawler`: expired items are looked for in the background.
    pub lru_crawler: bool,
    /// `-o lru_crawler_sleep`: how long that rests after every 1,000 items, in microseconds, at
    /// most a second.
    pub lru_crawler_sleep_us: u32,
    /// `-o lru_crawler_tocrawl`: how many items of each list it looks at; 0 is all.
    pub lru_crawler_tocrawl: u32,
    /// `-o hot_lru_pct`: the share of a class's memory for HOT, in percent, 1 to 79.
    pub hot_lru_pct: u8,
    /// `-o warm_lru_pct`: the share of a class's memory for WARM, in percent, 1 to 79.
    pub warm_lru_pct: u8,
    /// `-o hot_max_factor`: an item leaves HOT when idle for longer than this times COLD's age.
    pub hot_max_factor: f64,
    /// `-o warm_max_factor`: an item leaves WARM when idle for longer than this times COLD's age.
    pub warm_max_factor: f64,
    /// `-o temporary_ttl`: items that live no longer than this, in seconds, have a list of their
    /// own and are never evicted; `None` is no such list.
    pub temporary_ttl_secs: Option<u32>,
    /// `-o track_sizes`: how many items there are of each size is counted, for `stats sizes`.
    pub track_sizes: bool,
}

/// The part of the options that is about TLS.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// `-Z`: TCP listeners speak TLS, unless their address says `notls:`.
    pub enabled: bool,
    /// `-o ssl_chain_cert`: the file of the server's certificates, its own first.
    pub chain_cert: Option<PathBuf>,
    /// `-o ssl_key`: the file of its key; `None` is the one of the certificates.
    pub key: Option<PathBuf>,
    /// `-o ssl_keyformat`: how that key is written.
    pub key_format: KeyFormat,
    /// `-o ssl_verify_mode`: whether clients must show certificates.
    pub verify_mode: VerifyMode,
    /// `-o ssl_ciphers`: what TLS 1.2 may use, as OpenSSL writes it.
    pub ciphers: Option<String>,
    /// `-o ssl_ca_cert`: the file of the certificates of those who sign clients' certificates.
    pub ca_cert: Option<PathBuf>,
    /// `-o ssl_wbuf_size`: how many bytes of answers a connection may have enciphered and not yet
    /// sent.
    pub wbuf_bytes: usize,
    /// `-o ssl_session_cache`: sessions are kept for clients that take no tickets.
    pub session_cache: bool,
    /// `-o ssl_min_version`: the oldest version that is spoken.
    pub min_version: MinVersion,
    /// `-o ssl_watch_certs`: the files are read again when they change.
    pub watch_certs: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            enabled: false,
            chain_cert: None,
            key: None,
            key_format: KeyFormat::Pem,
            verify_mode: VerifyMode::None,
            ciphers: None,
            ca_cert: None,
            wbuf_bytes: SSL_WBUF_BYTES_DEFAULT,
            session_cache: false,
            min_version: MinVersion::Tls12,
            watch_certs: false,
        }
    }
}

/// The part of the options that is about auto-discovery.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DiscoveryOptions {
    /// `-o discovery`: `config get`, `config set` and `config delete` are served.
    pub enabled: bool,
    /// `-o discovery_source`: where the list of members comes from; `None` is from clients.
    pub source: Option<SourceSpec>,
    /// `-o discovery_name`: the name of that list.
    pub name: String,
    /// `-o discovery_allow`: from where clients may change lists, besides this machine.
    pub allow: Networks,
    /// `-o no_discovery_mirror` clears it: the list is told under the key of old clients too.
    pub mirror: bool,
    /// `-o discovery_advertise`: what this server calls itself where members keep the list; `None`
    /// is what it finds out.
    pub advertise: Option<Member>,
    /// `-o discovery_ttl`: how long it stays in that list after it was last heard of, in seconds.
    pub ttl_secs: u32,
    /// `-o discovery_dns`: the servers that are asked, in place of the system's.
    pub name_servers: Vec<SocketAddr>,
    /// `-o discovery_login`: the file of user and password for the source.
    pub login_file: Option<PathBuf>,
    /// `-o discovery_ca`: the file of the certificates of those who sign the source's.
    pub ca_cert: Option<PathBuf>,
    /// `-o discovery_cert`: the file of the certificate that the source is shown.
    pub cert: Option<PathBuf>,
    /// `-o discovery_key`: the file of its key; `None` is the one of the certificate.
    pub key: Option<PathBuf>,
    /// `-o discovery_grace`: how long a member stays that the source no longer lists, in seconds.
    pub grace_secs: u32,
}

impl Default for DiscoveryOptions {
    fn default() -> Self {
        Self {
            enabled: false,
            source: None,
            name: DISCOVERY_NAME_DEFAULT.to_owned(),
            allow: Networks::default(),
            mirror: true,
            advertise: None,
            ttl_secs: DISCOVERY_TTL_SECS_DEFAULT,
            name_servers: Vec::new(),
            login_file: None,
            ca_cert: None,
            cert: None,
            key: None,
            grace_secs: 0,
        }
    }
}

/// Whether clients must show certificates, by memcached's numbers (`-o ssl_verify_mode`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "what the word can say")]
pub enum VerifyMode {
    /// 0: they are not asked.
    None,
    /// 1: they are asked and may decline.
    Request,
    /// 2: they must.
    Require,
    /// 3: they must, once a session. There is no second time in TLS 1.3 or without renegotiation:
    /// the same as 2.
    Once,
}

impl VerifyMode {
    const ALL: [Self; 4] = [Self::None, Self::Request, Self::Require, Self::Once];

    /// The number that `stats settings` shows: OpenSSL's bits.
    pub fn as_setting(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Request => 1,
            Self::Require => 3,
            Self::Once => 7,
        }
    }

    /// What it asks of clients.
    pub fn client_auth(self) -> ClientAuth {
        match self {
            Self::None => ClientAuth::None,
            Self::Request => ClientAuth::Request,
            Self::Require | Self::Once => ClientAuth::Require,
        }
    }
}

/// One record of TLS.
const SSL_WBUF_BYTES_DEFAULT: usize = 16 << 10;

impl Default for Options {
    fn default() -> Self {
        Self {
            port: Port::At(limits::PORT_DEFAULT),
            udp_port: Port::Off,
            udp_trust: Networks::default(),
            unix_socket: None,
            unix_mask: UNIX_MASK_DEFAULT,
            listen: None,
            backlog: BACKLOG_DEFAULT,
            protocol: Protocol::Auto,
            conn_limit: CONN_LIMIT_DEFAULT,
            threads: THREADS_DEFAULT,
            reqs_per_event: REQS_PER_EVENT_DEFAULT,
            maxconns_fast: true,
            idle_timeout_secs: 0,
            napi_ids: 0,
            read_buf_mem_limit: 0,
            sock_cookie_id: None,
            store: StoreOptions::default(),
            auth_file: None,
            sasl: false,
            tls: TlsOptions::default(),
            discovery: DiscoveryOptions::default(),
            stat_key_prefix: b':',
            detail_enabled: false,
            watcher_logbuf_bytes: WATCHER_LOGBUF_BYTES_DEFAULT,
            worker_logbuf_bytes: WORKER_LOGBUF_BYTES_DEFAULT,
            memory_limit: limits::MEMORY_DEFAULT,
            shutdown_command: false,
            flush_enabled: true,
            dump_enabled: true,
            watch_enabled: true,
            debug_commands: false,
            daemon: false,
            pidfile: None,
            logfile: None,
            user: None,
            lock_memory: false,
            drop_privileges: false,
            core_dumps: false,
            verbosity: 0,
            warnings: Vec::new(),
        }
    }
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            profile: Profile::Compat,
            item_size_max: limits::ITEM_SIZE_DEFAULT,
            evict_to_free: true,
            growth_factor: GROWTH_FACTOR_DEFAULT,
            chunk_size_min: CHUNK_SIZE_MIN_DEFAULT,
            slab_chunk_max: limits::PAGE_BYTES / 2,
            slab_sizes: Vec::new(),
            huge_pages: false,
            use_cas: true,
            slab_reassign: true,
            slab_automove: SLAB_AUTOMOVE_DEFAULT,
            slab_automove_ratio: SLAB_AUTOMOVE_RATIO_DEFAULT,
            slab_automove_window: SLAB_AUTOMOVE_WINDOW_DEFAULT,
            hashpower: None,
            hash_algorithm: HashAlgorithm::Murmur3,
            lru_segmented: true,
            lru_crawler: true,
            lru_crawler_sleep_us: LRU_CRAWLER_SLEEP_US_DEFAULT,
            lru_crawler_tocrawl: 0,
            hot_lru_pct: HOT_LRU_PCT_DEFAULT,
            warm_lru_pct: WARM_LRU_PCT_DEFAULT,
            hot_max_factor: HOT_MAX_FACTOR_DEFAULT,
            warm_max_factor: WARM_MAX_FACTOR_DEFAULT,
            temporary_ttl_secs: None,
            track_sizes: false,
        }
    }
}

/// Where TCP (`-p`) or UDP (`-U`) listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "what -p and -U can say")]
pub enum Port {
    /// Nowhere (0).
    Off,
    /// On a free port that the kernel picks (-1).
    Ephemeral,
    /// On this port; never 0.
    At(u16),
}

impl Port {
    /// The number as `-p` and `stats settings` (`tcpport`, `udpport`) write it.
    pub fn as_setting(self) -> i32 {
        match self {
            Self::Off => 0,
            Self::Ephemeral => -1,
            Self::At(port) => i32::from(port),
        }
    }

    /// The number to bind to, where there is something to bind.
    pub fn to_bind(self) -> Option<u16> {
        match self {
            Self::Off => None,
            Self::Ephemeral => Some(0),
            Self::At(port) => Some(port),
        }
    }
}

/// The protocols that a listener speaks (`-B`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "what -B can say")]
pub enum Protocol {
    /// The client's first byte decides.
    #[default]
    Auto,
    /// The text protocols, classic and meta.
    Ascii,
    /// The binary protocol alone.
    Binary,
}

impl Protocol {
    /// The name in `stats settings` (`binding_protocol`).
    pub fn as_setting(self) -> &'static str {
        match self {
            Self::Auto => "auto-negotiate",
            Self::Ascii => "ascii",
            Self::Binary => "binary",
        }
    }
}

/// The names that `-o hash_algorithm` takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "memcached's names")]
pub enum HashAlgorithm {
    /// `jenkins`, the name that `-o no_modern` sets.
    Jenkins,
    /// `murmur3`, memcached's default.
    Murmur3,
    /// `xxh3`.
    Xxh3,
}

impl HashAlgorithm {
    /// The name as `-o` and `stats settings` write it.
    pub fn as_setting(self) -> &'static str {
        match self {
            Self::Jenkins => "jenkins",
            Self::Murmur3 => "murmur3",
            Self::Xxh3 => "xxh3",
        }
    }
}

/// Why a command line cannot be used: a message for standard error and the exit code to end with.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    message: String,
    code: u8,
}

impl UsageError {
    /// The code to exit with: 1 for a bad number or `-o` word, 64 otherwise.
    pub fn exit_code(&self) -> u8 {
        self.code
    }

    /// A value that does not fit its flag.
    fn value(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: exit::FAILURE }
    }

    /// Flags that do not fit together.
    fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: exit::USAGE }
    }

    /// The same, found in a file.
    fn at(self, place: &str) -> Self {
        let message = match self.message.strip_prefix(place) {
            Some(_) => self.message,
            None => format!("{place}: {}", self.message),
        };
        Self { message, ..self }
    }

    /// Something of memcached's that is still missing here.
    fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::usage(format!("{what} is not supported by this build yet"))
    }
}

/// The version number, for constants that are made of it.
macro_rules! memcached_version {
    () => {
        "1.6.45"
    };
}

/// The memcached version whose protocol is spoken; clients compare it, so `-V` and `version` say
/// it and not ours.
pub const MEMCACHED_VERSION: &str = memcached_version!();

/// The answer to `version`.
pub(crate) const VERSION_LINE: &str = concat!("VERSION ", memcached_version!());

/// This crate's own version.
pub const NUTHATCH_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most worker threads that `-t` takes. memcached has no bound; a thousand is far beyond where
/// more threads help, and each costs a runtime.
pub const THREADS_MAX: usize = 1024;

/// Above so many threads `-t` warns, as memcached does.
const THREADS_WARN: usize = 64;

const WATCHER_LOGBUF_BYTES_DEFAULT: usize = 256 << 10;
const WORKER_LOGBUF_BYTES_DEFAULT: usize = 64 << 10;
const DISCOVERY_TTL_SECS_DEFAULT: u32 = 10;
const DISCOVERY_NAME_DEFAULT: &str = "cluster";
const UNIX_MASK_DEFAULT: u32 = 0o700;
const BACKLOG_DEFAULT: i32 = 1024;
const CONN_LIMIT_DEFAULT: u32 = 1024;
const THREADS_DEFAULT: usize = 4;
const REQS_PER_EVENT_DEFAULT: usize = 20;
const GROWTH_FACTOR_DEFAULT: f64 = 1.25;
const CHUNK_SIZE_MIN_DEFAULT: usize = 48;
const SLAB_AUTOMOVE_DEFAULT: u8 = 1;
const SLAB_AUTOMOVE_RATIO_DEFAULT: f64 = 0.8;
const SLAB_AUTOMOVE_WINDOW_DEFAULT: u32 = 10;
const LRU_CRAWLER_SLEEP_US_DEFAULT: u32 = 100;
const HOT_LRU_PCT_DEFAULT: u8 = 20;
const WARM_LRU_PCT_DEFAULT: u8 = 40;
const HOT_MAX_FACTOR_DEFAULT: f64 = 0.2;
const WARM_MAX_FACTOR_DEFAULT: f64 = 2.0;

/// `hot_lru_pct` and `warm_lru_pct` together may take so much of a class; COLD has the rest.
const HOT_WARM_PCT_MAX: u8 = 80;
