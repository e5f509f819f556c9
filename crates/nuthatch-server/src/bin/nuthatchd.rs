//! `nuthatchd`: memcached's command line in front of the nuthatch crates.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nuthatch_server::discovery::{Access, Joining, Limits, Member, Source, SourceSpec};
use nuthatch_server::options::{
    self, DiscoveryOptions, Options, Parsed, Port, StoreOptions, TlsOptions, VerifyMode,
};
use nuthatch_server::process::logfile::{self, LogFile};
use nuthatch_server::process::notify::Notifier;
use nuthatch_server::process::privileges::{self, Keep};
use nuthatch_server::process::{
    ProcessError, daemon, exit, hooks, limits, notify, pidfile, ports, signals, user,
};
use nuthatch_server::store::types::{Key, limits::PAGE_BYTES};
use nuthatch_server::store::{Automove, Cause, Store};
use nuthatch_server::transport::passwords::Passwords;
use nuthatch_server::transport::sasl::{Authenticator, Config, Located};
use nuthatch_server::transport::tls::ServerTls;
use nuthatch_server::transport::{
    AddrError, BindOptions, Bound, BoundUdp, Inherited, ListenAddr, ListenProtocol, Local, Place,
    bind, bind_udp, has_inherited, inherited,
};
use nuthatch_server::{
    CertWatcher, Cluster, ClusterRules, ClusterThread, End, Engine, Logger, Login, Server,
    Telemetry, advertised, log, passwd,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Where to listen without `-l`. memcached serves every address of the machine to everybody.
const LISTEN_DEFAULT: &str = "127.0.0.1";

/// Listening addresses that room is made for among the open files; `-l` rarely names more.
const LISTENERS_EXPECTED: usize = 8;

/// Names the folder with the configuration of SASL.
const SASL_CONF_VARIABLE: &str = "SASL_CONF_PATH";

/// Names a file with users besides those of the database.
const SASL_PWDB_VARIABLE: &str = "MEMCACHED_SASL_PWDB";

/// How many TLS handshakes may be under way at a time; no more than `-c`, so that it is crowded
/// before those who shake no hands have taken all of it.
const HANDSHAKES_MAX: usize = 1024;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|first| first == passwd::COMMAND) {
        return ExitCode::from(passwd::run(args));
    }
    let options = match options::parse(std::env::args_os()) {
        Ok(Parsed::Run(options)) => *options,
        Ok(Parsed::Print(text)) => {
            print!("{text}");
            return ExitCode::from(exit::OK);
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(error.exit_code());
        }
    };
    log::init(options.verbosity);
    options.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    match run(options) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Why the server did not start, or ended.
struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    fn usage(message: impl ToString) -> Self {
        Self::of(message, exit::USAGE)
    }

    fn of(message: impl ToString, code: u8) -> Self {
        Self { message: message.to_string(), code }
    }

    fn system(message: impl ToString) -> Self {
        Self::of(message, exit::OS_ERROR)
    }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        Self { message: error.to_string(), code: error.exit_code() }
    }
}

/// Sets the process up in memcached's order: limits, user, daemon, sockets, memory, pid file.
fn run(options: Options) -> Result<u8, Failure> {
    if options.store.huge_pages {
        limits::huge_pages().map_err(|message| Failure::of(message, exit::FAILURE))?;
    }
    if options.daemon && has_inherited() {
        return Err(Failure::usage(
            "-d cannot be used with sockets from a service manager: it keeps the server in the \
             background by itself",
        ));
    }
    let notifier = Notifier::from_env()
        .map_err(|error| Failure::system(format!("{}: {error}", notify::SOCKET_VARIABLE)))?;
    let detached = if options.daemon {
        match daemon::launch(options.core_dumps)? {
            daemon::Launch::Exit(code) => return Ok(code),
            daemon::Launch::Go(detached) => Some(detached),
        }
    } else {
        None
    };
    let logfile = match options.logfile.as_deref() {
        Some(path) if logfile::is_journal() => {
            eprintln!("nuthatchd: output stays in the journal, logfile {} or not", path.display());
            None
        }
        path => path.map(LogFile::open).transpose()?,
    };
    if options.core_dumps {
        limits::allow_core_dumps()?;
    }
    let udp_each = if options.udp_port == Port::Off { 0 } else { options.threads };
    let reserved = limits::files_reserved(options.threads, LISTENERS_EXPECTED * (1 + udp_each));
    limits::raise_open_files(options.conn_limit, reserved)?;
    // As root, where it is root that may read the key.
    let tls =
        if options.tls.enabled { Some(load_tls(&options.tls, options.conn_limit)?) } else { None };
    let switch = || -> Result<(), Failure> {
        if let Some(warning) = user::switch(options.user.as_deref())? {
            eprintln!("nuthatchd: {warning}");
        }
        Ok(())
    };
    let bound = if options.unix_socket.is_some() {
        // The socket's file belongs to the user who serves.
        switch()?;
        listen(&options)?
    } else {
        // TCP is opened before root is given up, so that low ports need no capability.
        listen(&options)?
    };
    // As root too, where it is root that may read passwords and keys.
    let following = match &options.discovery.source {
        Some(source) => Some(open_source(source, &options.discovery, &bound)?),
        None => None,
    };
    if options.unix_socket.is_none() {
        switch()?;
    }
    let authenticator = if options.sasl { Some(init_sasl(options.verbosity)?) } else { None };
    let passwords = match &options.auth_file {
        Some(path) => {
            Some(Passwords::open(path).map_err(|error| Failure::of(error, exit::FAILURE))?)
        }
        None => None,
    };
    // From here a signal waits until somebody listens for it, so that who was told that the server
    // is there can end it well at once. Threads inherit this; names were looked up before.
    let held = signals::hold()?;
    let logger = Logger::new(&options);
    let store = build_store(&options, &logger)?;
    if options.lock_memory
        && let Err(error) = limits::lock_memory()
    {
        eprintln!("warning: -k invalid, mlockall() failed: {error}");
    }
    let maintenance = store.spawn_maintenance().map_err(Failure::system)?;
    let idle_timeout = match options.idle_timeout_secs {
        0 => None,
        secs => Some(Duration::from_secs(u64::from(secs))),
    };
    if options.napi_ids > 0 && !bound.streams.iter().all(Bound::knows_napi_ids) {
        return Err(Failure::of("-N <num_napi_ids> option not supported", exit::FAILURE));
    }
    announce(&options, &bound);
    let places: Vec<Local> = bound.places().cloned().collect();
    let mut server = Server::builder()
        .listen(bound.streams)
        .listen_udp(bound.datagrams)
        .udp_trust(options.udp_trust.clone())
        .threads(threads(&options))
        .conn_limit(u64::from(options.conn_limit))
        .reject_above_limit(options.maxconns_fast)
        .reqs_per_event(options.reqs_per_event)
        .memory_limit(options.read_buf_mem_limit)
        .deal_by_queue(options.napi_ids > 0)
        .idle_timeout(idle_timeout)
        .protocol(options.protocol)
        .observer(Arc::new(logger.clone()))
        .login(match (&authenticator, &passwords) {
            (Some(_), _) => Login::Sasl,
            (None, Some(_)) => Login::Text,
            (None, None) => Login::None,
        });
    if let Some(tls) = &tls {
        server = server.tls(tls.clone(), options.tls.verify_mode.client_auth());
    }
    let server = server.build();
    let _watcher = match &tls {
        Some(tls) if options.tls.watch_certs => {
            Some(CertWatcher::spawn(tls, server.telemetry()).map_err(Failure::system)?)
        }
        _ => None,
    };
    let _pidfile = match &options.pidfile {
        Some(path) => write_pidfile(path),
        None => None,
    };
    if let Some(path) = std::env::var_os(ports::FILE_VARIABLE).map(PathBuf::from) {
        ports::write(&path, &places).map_err(Failure::system)?;
    }
    let keep_output = options.verbosity > 0 || logfile.is_some();
    let reads_again = passwords.is_some() || tls.is_some();
    let keep = options
        .drop_privileges
        .then(|| {
            Keep::NOTHING.reading(reads_again).following(options.sasl || options.tls.watch_certs)
        })
        .map(|keep| keep.removing(options.pidfile.is_some()));
    let discovery = options.discovery.clone();
    let mut engine = Engine::builder()
        .options(options)
        .logger(logger)
        .telemetry(server.telemetry())
        .stop(server.stop())
        .maintenance(maintenance);
    if let Some(passwords) = &passwords {
        engine = engine.passwords(passwords.clone());
    }
    if let Some(authenticator) = authenticator {
        engine = engine.sasl(authenticator);
    }
    if let Some(tls) = &tls {
        engine = engine.tls(tls.clone());
    }
    let discovery = match discovery.enabled {
        true => Some(cluster(&discovery)?),
        false => None,
    };
    let following = match (&discovery, following) {
        (Some(cluster), Some(following)) => Some(follow(cluster, following)?),
        _ => None,
    };
    if let Some(cluster) = discovery {
        engine = engine.cluster(cluster);
    }
    let reloads = Reloads { passwords, tls, telemetry: server.telemetry() };
    let engine = engine.build(store);
    let begin = || -> Result<(), Failure> {
        if let Some(keep) = keep {
            privileges::give_up(keep).map_err(|error| Failure::of(error, exit::FAILURE))?;
        }
        if let Some(logfile) = logfile {
            logfile.redirect().map_err(Failure::system)?;
        }
        // Nothing can go wrong any more: whoever waits may know.
        if let Some(detached) = detached {
            detached.ready(keep_output)?;
        }
        notifier.ready();
        Ok(())
    };
    let mut begun = Ok(());
    let stop = server.stop();
    let until = async {
        // Everything is there now: threads, listeners, and whoever catches signals.
        let caught = Signals::catch(held);
        begun = begin();
        if begun.is_err() {
            return;
        }
        match caught {
            Some(signals) => {
                let end = signals.wait(&reloads, &notifier).await;
                // Clients that are told at once go elsewhere at once.
                following.iter().for_each(ClusterThread::leave);
                stop.stop(end);
            }
            None => std::future::pending().await,
        }
    };
    server.run(move || engine.clone(), until).map_err(Failure::system)?;
    // It has left, or has had its time for that.
    drop(following);
    notifier.stopping();
    begun?;
    match stop.end() {
        Some(End::Graceful) => eprintln!("Gracefully stopping"),
        _ if log::level() > 0 => eprintln!("Exiting normally"),
        _ => {}
    }
    Ok(exit::OK)
}

/// The sockets that the server has opened.
struct Sockets {
    streams: Vec<Bound>,
    datagrams: Vec<BoundUdp>,
    /// A service manager has opened them.
    are_inherited: bool,
}

impl Sockets {
    /// Where they stand; several UDP sockets that share an address count once.
    fn places(&self) -> impl Iterator<Item = &Local> {
        let datagrams = self.datagrams.iter().map(BoundUdp::local);
        let mut last = None;
        let shared = datagrams.filter(move |local| last.replace(*local) != Some(*local));
        self.streams.iter().map(Bound::local).chain(shared)
    }
}

/// Takes the sockets that a service manager has opened, whatever the options say, or opens those
/// that the options ask for: Unix sockets alone with `-s`, else TCP and UDP, by default on loopback.
fn listen(options: &Options) -> Result<Sockets, Failure> {
    if let Some(Inherited { streams, datagrams, .. }) = inherited().map_err(Failure::system)? {
        if options.auth_file.is_some() && !datagrams.is_empty() {
            return Err(Failure::usage("Cannot use UDP with ascii authentication enabled"));
        }
        if options.sasl && !datagrams.is_empty() {
            return Err(Failure::usage(
                "ERROR: Cannot enable UDP while using binary SASL authentication.",
            ));
        }
        return Ok(Sockets { streams, datagrams, are_inherited: true });
    }
    let settings = BindOptions::default()
        .backlog(options.backlog)
        .unix_mask(options.unix_mask)
        .mark(options.sock_cookie_id);
    let list = match (&options.listen, &options.unix_socket) {
        (Some(list), _) => list,
        (None, Some(_)) => "",
        (None, None) => LISTEN_DEFAULT,
    };
    let mut addresses = ListenAddr::parse_list(list).map_err(Failure::usage)?;
    if !options.tls.enabled
        && let Some(tls) = addresses.iter().find_map(|address| address.tls)
    {
        return Err(Failure::usage(AddrError::TlsOnly { prefix: tls.prefix() }));
    }
    if options.auth_file.is_some() {
        text_only(&mut addresses)?;
    }
    if options.sasl {
        binary_only(&mut addresses)?;
    }
    if let Some(path) = &options.unix_socket {
        let n_given = addresses.len();
        addresses.retain(is_path);
        if addresses.len() < n_given {
            eprintln!("nuthatchd: with -s there is no TCP and no UDP; -l has no effect");
        }
        addresses.insert(0, ListenAddr::unix(path));
        let streams = bind(&addresses, 0, settings).map_err(|error| {
            Failure::system(format!("failed to listen on UNIX socket: {error}"))
        })?;
        return Ok(Sockets { streams, datagrams: Vec::new(), are_inherited: false });
    }
    let streams = match options.port.to_bind() {
        Some(port) => bind(&addresses, port, settings).map_err(|error| {
            Failure::system(format!("failed to listen on TCP port {port}: {error}"))
        })?,
        None => {
            // A path is no port.
            let paths: Vec<_> = addresses.iter().filter(|it| is_path(it)).cloned().collect();
            bind(&paths, 0, settings).map_err(|error| {
                Failure::system(format!("failed to listen on UNIX socket: {error}"))
            })?
        }
    };
    let datagrams = match options.udp_port.to_bind() {
        Some(port) => bind_udp(&addresses, port, threads(options), settings).map_err(|error| {
            Failure::system(format!("failed to listen on UDP port {port}: {error}"))
        })?,
        None => Vec::new(),
    };
    Ok(Sockets { streams, datagrams, are_inherited: false })
}

fn is_path(address: &ListenAddr) -> bool {
    matches!(address.place, Place::Unix(_))
}

/// Where passwords are asked for in the text protocol, no listener may speak another one.
fn text_only(addresses: &mut [ListenAddr]) -> Result<(), Failure> {
    for address in addresses {
        match address.protocol {
            Some(ListenProtocol::Binary) => {
                return Err(Failure::usage(
                    "Cannot use binary protocol when ascii authentication enabled",
                ));
            }
            Some(ListenProtocol::Negotiating) => {
                eprintln!(
                    "WARNING: negotiating ports are ascii only when ascii authentication enabled"
                );
                address.protocol = Some(ListenProtocol::Ascii);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where SASL is asked for, which is of the binary protocol, no listener may speak another one.
/// (memcached serves the text protocol there to everybody.)
fn binary_only(addresses: &mut [ListenAddr]) -> Result<(), Failure> {
    for address in addresses {
        match address.protocol {
            Some(ListenProtocol::Ascii) => {
                return Err(Failure::usage(
                    "ERROR: You cannot allow the ASCII protocol while using SASL.",
                ));
            }
            Some(ListenProtocol::Negotiating) => {
                eprintln!("WARNING: negotiating ports are binary only when SASL is enabled");
                address.protocol = Some(ListenProtocol::Binary);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Finds and reads what the operator says about SASL, and tells of it in memcached's words.
fn init_sasl(verbosity: u8) -> Result<Authenticator, Failure> {
    let say = |line: &str| {
        if verbosity > 0 {
            eprintln!("{line}");
        }
    };
    let failed = |why: String| Failure::of(format!("{why}Error initializing sasl."), exit::FAILURE);
    let pwdb = std::env::var_os(SASL_PWDB_VARIABLE).map(PathBuf::from);
    if pwdb.is_none() {
        say("INFO: MEMCACHED_SASL_PWDB not specified. Internal passwd database disabled");
    }
    let Some(located) = Located::find(std::env::var_os(SASL_CONF_VARIABLE).as_deref()) else {
        say("Failed to locate a config path");
        let why = "no memcached.conf in SASL_CONF_PATH, /etc/sasl or /etc/sasl2\n";
        return Err(failed(why.to_owned()));
    };
    say(&format!("Reading configuration from: <{}>", located.shown().display()));
    let config = Config::read(&located).map_err(|error| failed(format!("{error}\n")))?;
    if located.file().is_none() {
        eprintln!(
            "nuthatchd: SASL_CONF_PATH leads to no memcached.conf; users are those of {}",
            config.sasldb_path.display()
        );
    }
    let level = config.log_level;
    let authenticator = config.authenticator(pwdb, move |path, event| match event {
        Ok(n_users) => tracing::info!("SASL: {n_users} users in {}", path.display()),
        Err(error) if level > 0 => tracing::warn!("SASL: {error}"),
        Err(_) => {}
    });
    let authenticator = authenticator.build().map_err(|error| failed(format!("{error}\n")))?;
    say("Initialized SASL.");
    Ok(authenticator)
}

fn threads(options: &Options) -> NonZeroUsize {
    NonZeroUsize::new(options.threads).unwrap_or(NonZeroUsize::MIN)
}

fn build_store(options: &Options, logger: &Logger) -> Result<Store, Failure> {
    let StoreOptions {
        profile,
        item_size_max,
        evict_to_free,
        growth_factor,
        chunk_size_min,
        slab_chunk_max,
        use_cas,
        hashpower,
        lru_segmented,
        hot_lru_pct,
        warm_lru_pct,
        hot_max_factor,
        warm_max_factor,
        temporary_ttl_secs,
        ref slab_sizes,
        huge_pages,
        slab_reassign,
        slab_automove,
        slab_automove_ratio,
        slab_automove_window,
        lru_crawler,
        lru_crawler_sleep_us,
        lru_crawler_tocrawl,
        track_sizes,
        ..
    } = options.store;
    let memory_in_use =
        if options.debug_commands { hooks::memory_in_use().map_err(Failure::usage)? } else { 0 };
    Store::builder()
        .profile(profile)
        .page_bytes(PAGE_BYTES)
        .memory_limit(options.memory_limit)
        .memory_in_use(memory_in_use)
        .item_size_max(item_size_max)
        .evictions(evict_to_free)
        .growth_factor(growth_factor)
        .chunk_size_min(chunk_size_min)
        .slab_chunk_max(slab_chunk_max)
        .cas(use_cas)
        .expected_items(hashpower.map_or(0, |power| 1 << power))
        .segmented(lru_segmented)
        .hot_lru_pct(hot_lru_pct)
        .warm_lru_pct(warm_lru_pct)
        .hot_max_factor(hot_max_factor)
        .warm_max_factor(warm_max_factor)
        .temporary_ttl(temporary_ttl_secs)
        .slab_sizes(slab_sizes.clone())
        .huge_pages(huge_pages)
        .slab_reassign(slab_reassign)
        .automove(Automove::from_level(u32::from(slab_automove)))
        .automove_ratio(slab_automove_ratio)
        .automove_window(slab_automove_window)
        .crawler(lru_crawler)
        .auto_crawl(lru_segmented)
        .crawler_sleep(Duration::from_micros(u64::from(lru_crawler_sleep_us)))
        .crawler_limit(lru_crawler_tocrawl)
        .listener(&[Cause::Evicted], logger.evictions())
        .events(logger.maintenance())
        .track_sizes(track_sizes)
        // Address space counts as locked too.
        .fixed_limit(options.lock_memory && limits::is_locking_limited())
        .build()
        .map_err(Failure::usage)
}

/// Says where the server listens, and how to make it reachable where nobody asked for that.
fn announce(options: &Options, sockets: &Sockets) {
    for place in sockets.places() {
        eprintln!("nuthatchd: listening on {place}");
    }
    if sockets.places().next().is_none() {
        eprintln!("nuthatchd: listening on nothing: -p 0 without -U, -s or a path in -l");
    } else if options.listen.is_none() && options.unix_socket.is_none() && !sockets.are_inherited {
        eprintln!(
            "nuthatchd: only this machine can connect; to serve others, name the addresses to \
             listen on with -l (for example -l 0.0.0.0), behind a firewall"
        );
    }
    let is_open = |place: &Local| matches!(place, Local::Udp(at) if !at.ip().is_loopback());
    if options.udp_trust.is_empty() && sockets.places().any(is_open) {
        eprintln!(
            "nuthatchd: only this machine gets long answers over UDP, because the address of a \
             request may be borrowed; name the networks where it cannot be with \
             -o udp_trust (for example 10.0.0.0/8)"
        );
    }
}

/// The lists of auto-discovery, and who may change them.
fn cluster(options: &DiscoveryOptions) -> Result<Cluster, Failure> {
    let name = Key::new(&options.name).map_err(Failure::usage)?;
    let rules =
        ClusterRules::default().name(name).allow(options.allow.clone()).mirrors(options.mirror);
    Ok(Cluster::new(rules))
}

/// A source of members that is open, and how it is to be followed.
struct Followed {
    source: Box<dyn Source>,
    limits: Limits,
    joining: Option<Joining>,
}

/// Reads everything that the source needs.
fn open_source(
    spec: &SourceSpec,
    options: &DiscoveryOptions,
    bound: &Sockets,
) -> Result<Followed, Failure> {
    let mut access = Access::default()
        .name_servers(options.name_servers.clone())
        .member(spec.has_registrations());
    if let Some(file) = &options.login_file {
        access = access.login_file(file);
    }
    if let Some(file) = &options.ca_cert {
        access = access.ca(file);
    }
    if let Some(cert) = &options.cert {
        access = access.identity(cert, options.key.as_ref().unwrap_or(cert));
    }
    let joining = if spec.has_registrations() {
        let ttl = Duration::from_secs(options.ttl_secs.into());
        let member = member(options, bound)?;
        eprintln!("nuthatchd: joins {spec} as {member}");
        let is_loopback = |text: &str| text.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let (host, address) = (member.node().host(), member.node().address());
        if !spec.is_on_this_machine() && is_loopback(address.unwrap_or(host)) {
            eprintln!(
                "nuthatchd: warning: other machines cannot reach {member}: listen elsewhere (-l), \
                 or say what to call this server with discovery_advertise"
            );
        }
        Some(spec.register(&access, &member, ttl).map_err(Failure::usage)?)
    } else {
        None
    };
    let mut limits = Limits::default();
    // A few servers ask, and a list that is out of date sends clients to nodes that have gone.
    limits.pause_max = Duration::from_secs(5);
    limits.grace = Duration::from_secs(options.grace_secs.into());
    Ok(Followed { source: spec.open(&access).map_err(Failure::usage)?, limits, joining })
}

/// What this server calls itself.
fn member(options: &DiscoveryOptions, bound: &Sockets) -> Result<Member, Failure> {
    if let Some(member) = &options.advertise {
        return Ok(member.clone());
    }
    let machine = nix::unistd::gethostname().map_err(Failure::system)?;
    let places: Vec<Local> = bound.places().cloned().collect();
    let member = advertised(&places, &machine.to_string_lossy()).map_err(|error| {
        Failure::usage(format!("{error}: say what to call this server with discovery_advertise"))
    })?;
    member.ok_or_else(|| {
        Failure::usage(
            "without a TCP listener there is nothing to join with: discovery_advertise says what",
        )
    })
}

/// Begins to follow a source.
fn follow(cluster: &Cluster, followed: Followed) -> Result<ClusterThread, Failure> {
    let Followed { source, limits, joining } = followed;
    cluster.spawn_following(source, limits, joining).map_err(Failure::system)
}

/// Without its pid file a server serves all the same, as memcached does.
fn write_pidfile(path: &std::path::Path) -> Option<pidfile::PidFile> {
    match pidfile::PidFile::write(path) {
        Ok((file, warning)) => {
            if let Some(warning) = warning {
                eprintln!("{warning}");
            }
            Some(file)
        }
        Err(error) => {
            eprintln!("{error}");
            None
        }
    }
}

/// Reads certificates and key.
fn load_tls(options: &TlsOptions, conn_limit: u32) -> Result<ServerTls, Failure> {
    let Some(chain) = &options.chain_cert else {
        let message = "Error loading the certificate chain: (null) : ssl_chain_cert is not given";
        return Err(Failure::usage(message));
    };
    let mut tls = ServerTls::builder(chain)
        .key_format(options.key_format)
        .min_version(options.min_version)
        .session_cache(options.session_cache)
        .write_bytes(options.wbuf_bytes)
        .handshakes_max(HANDSHAKES_MAX.min(usize::try_from(conn_limit).unwrap_or(usize::MAX)));
    if let Some(key) = &options.key {
        tls = tls.key(key);
    }
    if let Some(authorities) = &options.ca_cert {
        tls = tls.authorities(authorities);
    } else if options.verify_mode != VerifyMode::None {
        eprintln!("nuthatchd: without -o ssl_ca_cert no client's certificate holds");
    }
    if let Some(list) = &options.ciphers {
        tls = tls.ciphers(list);
    }
    tls.load().map_err(Failure::usage)
}

/// What SIGHUP has read again.
struct Reloads {
    passwords: Option<Passwords>,
    tls: Option<ServerTls>,
    telemetry: Arc<Telemetry>,
}

impl Reloads {
    /// Reads it. What is bad stays as it was.
    fn reload(&self) {
        if self.passwords.is_none() && self.tls.is_none() {
            tracing::info!("SIGHUP: nothing to reload");
        }
        match self.passwords.as_ref().map(Passwords::reload) {
            None => {}
            Some(Ok(entries)) => tracing::info!("SIGHUP: {entries} users and passwords"),
            Some(Err(error)) => eprintln!("{error}; the passwords stay as they were"),
        }
        match self.tls.as_ref().map(ServerTls::reload) {
            None => {}
            Some(Ok(())) => {
                self.telemetry.certs_refreshed();
                tracing::info!("SIGHUP: certificates");
            }
            Some(Err(error)) => {
                eprintln!("Could not reload TLS certificates on SIGHUP: {error}");
            }
        }
    }
}

/// The signals that are acted on.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    graceful: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches them from now on; those that were held back come first. `None` where the system
    /// does not let them be caught, so that its defaults apply.
    fn catch(held: signals::Held) -> Option<Self> {
        let caught = || {
            Ok::<_, std::io::Error>(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                graceful: signal(SignalKind::user_defined1())?,
                hangup: signal(SignalKind::hangup())?,
            })
        };
        let caught = caught();
        if let Err(error) = held.release() {
            tracing::warn!("signals stay held back: {error}");
        }
        caught.inspect_err(|error| tracing::warn!("signals cannot be caught: {error}")).ok()
    }

    /// Waits for one that ends the server and says how, and reloads meanwhile what is to be
    /// reloaded.
    async fn wait(mut self, reloads: &Reloads, notifier: &Notifier) -> End {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return End::AtOnce,
                _ = self.terminate.recv() => return End::AtOnce,
                _ = self.graceful.recv() => return End::Graceful,
                _ = self.hangup.recv() => {
                    notifier.reloading();
                    reloads.reload();
                    notifier.ready();
                }
            }
        }
    }
}
