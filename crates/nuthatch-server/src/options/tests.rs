//! The command line, as users and memcached's own tests write it.

use super::*;

/// Splits at spaces and reads; for words with spaces in them, see the test that needs them.
fn run(line: &str) -> Result<Options, UsageError> {
    match parse(std::iter::once("nuthatchd").chain(line.split_whitespace()))? {
        Parsed::Run(options) => Ok(*options),
        Parsed::Print(text) => panic!("printed instead of running: {text}"),
    }
}

fn print(line: &str) -> String {
    match parse(std::iter::once("nuthatchd").chain(line.split_whitespace())).unwrap() {
        Parsed::Print(text) => text,
        Parsed::Run(_) => panic!("runs instead of printing"),
    }
}

#[track_caller]
fn refused(line: &str, code: u8, message: &str) {
    let error = run(line).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().as_str()), (code, message), "{line}");
}

#[test]
fn nothing_given_is_memcached_s_defaults() {
    let options = run("").unwrap();
    assert_eq!(options, Options::default());
    assert_eq!(options.port, Port::At(11211));
    assert_eq!(options.memory_limit, 64 << 20);
    assert_eq!((options.conn_limit, options.threads, options.reqs_per_event), (1024, 4, 20));
    assert_eq!((options.backlog, options.unix_mask), (1024, 0o700));
    assert!(options.maxconns_fast && options.flush_enabled && options.dump_enabled);
    let store = &options.store;
    assert_eq!((store.item_size_max, store.slab_chunk_max), (1 << 20, 512 << 10));
    assert_eq!((store.growth_factor, store.chunk_size_min), (1.25, 48));
    assert!(store.use_cas && store.lru_segmented && store.evict_to_free);
    assert_eq!((store.hot_lru_pct, store.warm_lru_pct), (20, 40));
    assert_eq!((store.hot_max_factor, store.warm_max_factor), (0.2, 2.0));
}

#[test]
fn all_ways_to_write_a_flag() {
    for line in ["-m128", "-m 128", "--memory-limit=128", "--memory-limit 128", "--memory-l=128"] {
        assert_eq!(run(line).unwrap().memory_limit, 128 << 20, "{line}");
    }
    for line in ["-vvv", "-v -v -v", "-vv --verbose", "-vAv --verb"] {
        assert_eq!(run(line).unwrap().verbosity, 3, "{line}");
    }
    // Joined flags, the last one with its value.
    let options = run("-dMCp0").unwrap();
    assert!(options.daemon && !options.store.evict_to_free && !options.store.use_cas);
    assert_eq!(options.port, Port::Off);
}

#[test]
fn an_exact_long_name_is_not_ambiguous_with_a_longer_one() {
    assert_eq!(run("--listen=::1").unwrap().listen.as_deref(), Some("::1"));
    refused(
        "--list=::1",
        1,
        "nuthatchd: option '--list' is ambiguous; possibilities: '--listen' '--listen-backlog'\n\
         Illegal argument \"?\"",
    );
}

#[test]
fn unknown_flags_and_missing_values() {
    for (line, first) in [
        ("-x", "invalid option -- 'x'"),
        ("-vx", "invalid option -- 'x'"),
        ("--frobnicate", "unrecognized option '--frobnicate'"),
        ("-m", "option requires an argument -- 'm'"),
        ("--memory-limit", "option '--memory-limit' requires an argument"),
        ("--daemon=yes", "option '--daemon' doesn't allow an argument"),
    ] {
        refused(line, 1, &format!("nuthatchd: {first}\nIllegal argument \"?\""));
    }
}

#[test]
fn operands_give_a_warning() {
    let options = run("-v start -m 5 -- -m").unwrap();
    assert_eq!(options.memory_limit, 5 << 20);
    assert_eq!(
        options.warnings,
        ["operand \"start\" has no meaning here", "operand \"-m\" has no meaning here"]
    );
}

#[test]
fn a_value_may_have_white_space_before_it() {
    let words = ["nuthatchd", "-m 64", "-c \t9", "-l ::1", "-o  modern"];
    let Parsed::Run(options) = parse(words).unwrap() else { panic!("nothing to print") };
    assert_eq!((options.memory_limit, options.conn_limit), (64 << 20, 9));
    assert_eq!(options.listen.as_deref(), Some("::1"));
}

#[test]
fn numbers_out_of_range_get_memcached_s_words() {
    for (line, message) in [
        ("-c 0", "Maximum connections must be greater than 0"),
        ("-c -1", "Maximum connections must be greater than 0"),
        ("-t 0", "Number of threads must be greater than 0"),
        ("-t -4", "Number of threads must be greater than 0"),
        ("-R 0", "Number of requests per event must be greater than 0"),
        ("-f 1", "Factor must be greater than 1"),
        ("-f nan", "Factor must be greater than 1"),
        ("-n 0", "Chunk size must be greater than 0"),
        ("-N 0", "Maximum number of NAPI IDs must be greater than 0"),
        ("-t 1025", "Number of threads must not be greater than 1024"),
        ("-m 64x", "invalid value for -m: \"64x\""),
        ("--conn-limit=many", "invalid value for --conn-limit: \"many\""),
        ("-I 1.5m", "invalid value for -I: \"1.5m\""),
        ("-I m", "invalid value for -I: \"m\""),
        ("-a 778", "invalid value for -a: \"778\""),
        ("-a 1777", "invalid value for -a: \"1777\""),
    ] {
        refused(line, 1, message);
    }
    for (line, message) in [
        ("-p 65536", "ERROR: Invalid port number 65536."),
        ("-p -2", "ERROR: Invalid port number -2."),
        ("-U 65536", "ERROR: Invalid port number 65536."),
        ("-N 5", "Number of napi_ids(5) cannot be greater than number of threads(4)"),
        (
            "-B http",
            "Invalid value for binding protocol: http\n -- should be one of auto, binary, or ascii",
        ),
        ("-I 1000", "Item max size cannot be less than 1024 bytes."),
        ("-I 256m", "Cannot set item size limit higher than 1/2 of memory max."),
        ("-I 4096m", "Cannot set item size limit higher than 1/2 of memory max."),
        ("-m 1", "Cannot set item size limit higher than 1/2 of memory max."),
        ("-m 8192 -I 1025m", "Cannot set item size limit higher than a gigabyte."),
        ("-m 8192 -I 4097m", "Cannot set item size limit higher than a gigabyte."),
    ] {
        refused(line, 64, message);
    }
}

#[test]
fn ports() {
    assert_eq!(run("-p -1").unwrap().port, Port::Ephemeral);
    assert_eq!(run("-p 0").unwrap().port, Port::Off);
    assert_eq!(run("-p 65535").unwrap().port, Port::At(65535));
    assert_eq!(Port::Ephemeral.as_setting(), -1);
    let both = |line| run(line).map(|options| (options.port, options.udp_port)).unwrap();
    assert_eq!(both("-U 5"), (Port::At(5), Port::At(5)), "TCP goes where UDP is");
    assert_eq!(both("-U 5 -p 0"), (Port::Off, Port::At(5)));
    assert_eq!(both("-p 6 -U -1"), (Port::At(6), Port::Ephemeral));
    assert_eq!(both("-U 0"), (Port::At(11211), Port::Off));
    assert_eq!((Port::Ephemeral.to_bind(), Port::Off.to_bind()), (Some(0), None));
}

#[test]
fn listen_addresses_add_up() {
    let options = run("-l 127.0.0.1,::1 -l 10.0.0.1:5 -l ::1").unwrap();
    assert_eq!(options.listen.as_deref(), Some("127.0.0.1,::1,10.0.0.1:5"));
}

#[test]
fn too_many_threads_warn() {
    assert_eq!(run("-t 64").unwrap().warnings, [""; 0]);
    let options = run("-t 65").unwrap();
    assert_eq!(options.threads, 65);
    assert!(options.warnings[0].starts_with("WARNING: Setting a high number of worker threads"));
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    for (line, name) in [
        ("-e file", "-e (--memory-file)"),
        ("-o ext_path=/f:64m", "-o ext_path"),
        ("-o slab_automove_freeratio=0.1", "-o slab_automove_freeratio"),
    ] {
        refused(line, 64, &format!("{name} is not supported by this build yet"));
    }
    assert_eq!(run("-U 0").unwrap(), Options::default());
    for name in ["tail_repair_time", "no_hashexpand"] {
        let error = run(&format!("-o no_modern,{name}=30")).unwrap_err();
        assert_eq!(error.exit_code(), 64);
        assert!(error.to_string().starts_with(&format!("-o {name} is not supported: ")), "{error}");
    }
}

#[test]
fn prefixes() {
    let options = run("-D |x").unwrap();
    assert_eq!((options.stat_key_prefix, options.detail_enabled), (b'|', true));
    let options = run("").unwrap();
    assert_eq!((options.stat_key_prefix, options.detail_enabled), (b':', false));
    let error = parse(["nuthatchd", "-D", " "]).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().as_str()), (1, "No delimiter specified"));
}

#[test]
fn sasl_is_for_the_binary_protocol_over_streams() {
    for line in ["-S", "--enable-sasl", "-S -B binary -U 0", "-B ascii -B binary -S"] {
        let options = run(line).unwrap();
        assert!(options.sasl, "{line}");
        assert_eq!(options.protocol, Protocol::Binary, "{line}");
    }
    for line in ["-S -B auto", "-B ascii -S", "-S -B binary -B ascii"] {
        refused(line, 64, "ERROR: You cannot allow the ASCII protocol while using SASL.");
    }
    refused("-S -U 11211", 64, "ERROR: Cannot enable UDP while using binary SASL authentication.");
    for line in ["-S -Y users", "-Y users -S -B binary"] {
        refused(
            line,
            64,
            "ERROR: -S is for the binary protocol and -Y for the ascii protocol: choose one.",
        );
    }
}

#[test]
fn passwords_are_for_the_text_protocol_over_streams() {
    for line in ["-Y users", "--auth-file=users", "-Y users -B ascii -U 0"] {
        let options = run(line).unwrap();
        assert_eq!(options.auth_file, Some(PathBuf::from("users")), "{line}");
        assert_eq!(options.protocol, Protocol::Ascii, "{line}");
    }
    for line in ["-Y users -B auto", "-B binary -Y users"] {
        refused(
            line,
            64,
            "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens.",
        );
    }
    refused(
        "-Y users -U 11211",
        64,
        "Cannot use UDP with ascii authentication enabled (-U 0 to disable)",
    );
}

#[test]
fn buffers_and_marks() {
    let options =
        run("-o read_buf_mem_limit=2,watcher_logbuf_size=8,worker_logbuf_size=9").unwrap();
    assert_eq!(options.read_buf_mem_limit, 2 << 20);
    assert_eq!((options.watcher_logbuf_bytes, options.worker_logbuf_bytes), (8 << 10, 9 << 10));
    let options = run("-N 2 -o track_sizes,sock_cookie_id=7").unwrap();
    assert!(options.store.track_sizes);
    assert_eq!((options.napi_ids, options.sock_cookie_id), (2, Some(7)));
    assert_eq!(run("-o sock_cookie_id=0").unwrap().sock_cookie_id, None);
}

#[test]
fn the_list_of_words() {
    for (line, message) in [
        ("-o frob", "Illegal suboption \"frob\""),
        ("-o modern,frob=3", "Illegal suboption \"frob=3\""),
        ("-o modern,,modern", "Illegal suboption \"\""),
        ("-o Modern", "Illegal suboption \"Modern\""),
        ("-o modern=1", "modern takes no value"),
        ("-o hashpower", "Missing numeric argument for hashpower"),
        ("-o hashpower=11", "Initial hashtable multiplier of 11 is too low"),
        ("-o idle_timeout", "Missing numeric argument for idle_timeout"),
        ("-o idle_timeout=soon", "invalid value for idle_timeout: \"soon\""),
        ("-o slab_chunk_max", "Missing slab_chunk_max argument"),
        ("-o slab_chunk_max=big", "could not parse argument to slab_chunk_max"),
        ("-o slab_chunk_max=0", "slab_chunk_max must be >= 0"),
        ("-o slab_chunk_max=1025", "slab_chunk_max must be specified in kilobytes."),
        ("-o slab_sizes", "Missing slab_sizes argument"),
        ("-o read_buf_mem_limit", "Missing read_buf_mem_limit argument"),
        ("-o read_buf_mem_limit=x", "could not parse argument to read_buf_mem_limit"),
        ("-o watcher_logbuf_size", "Missing watcher_logbuf_size argument"),
        ("-o watcher_logbuf_size=-1", "could not parse argument to watcher_logbuf_size"),
        ("-o worker_logbuf_size", "Missing worker_logbuf_size argument"),
        ("-o worker_logbuf_size=1k", "could not parse argument to worker_logbuf_size"),
        ("-o sock_cookie_id", "Missing sock_cookie_id argument"),
        ("-o sock_cookie_id=4294967296", "invalid value for sock_cookie_id: \"4294967296\""),
        ("-o slab_automove=3", "slab_automove must be between 0 and 2"),
        ("-o slab_automove=-1", "slab_automove must be between 0 and 2"),
        ("-o slab_automove=on", "invalid value for slab_automove: \"on\""),
        ("-o slab_automove_ratio", "Missing slab_automove_ratio argument"),
        ("-o slab_automove_ratio=0", "slab_automove_ratio must be > 0 and < 1"),
        ("-o slab_automove_ratio=1.1", "slab_automove_ratio must be > 0 and < 1"),
        ("-o slab_automove_ratio=nan", "slab_automove_ratio must be > 0 and < 1"),
        ("-o slab_automove_window", "Missing slab_automove_window argument"),
        ("-o slab_automove_window=2", "slab_automove_window must be > 2 and < 1800"),
        ("-o slab_automove_window=1801", "slab_automove_window must be > 2 and < 1800"),
        ("-o slab_reassign=1", "slab_reassign takes no value"),
        ("-o lru_crawler_sleep", "Missing lru_crawler_sleep value"),
        ("-o lru_crawler_sleep=-1", "LRU crawler sleep must be between 0 and 1 second"),
        ("-o lru_crawler_sleep=1000001", "LRU crawler sleep must be between 0 and 1 second"),
        ("-o lru_crawler_tocrawl", "Missing lru_crawler_tocrawl value"),
        ("-o lru_crawler_tocrawl=x", "lru_crawler_tocrawl takes a numeric 32bit value"),
        ("-o lru_crawler_tocrawl=4294967296", "lru_crawler_tocrawl takes a numeric 32bit value"),
        ("-o hot_lru_pct=80", "hot_lru_pct must be > 1 and < 80"),
        ("-o warm_lru_pct=0", "warm_lru_pct must be > 1 and < 80"),
        ("-o hot_max_factor=0", "hot_max_factor must be > 0"),
        ("-o warm_max_factor=-1", "warm_max_factor must be > 0"),
        ("-o hash_algorithm=md5", "Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
    ] {
        refused(line, 1, message);
    }
    let options =
        run("-o modern, -o idle_timeout=3,hashpower=20 --extended hot_lru_pct=10").unwrap();
    assert_eq!(options.idle_timeout_secs, 3);
    assert_eq!((options.store.hashpower, options.store.hot_lru_pct), (Some(20), 10));
    assert!(run("-o hashpower=33").unwrap_err().to_string().contains("too high"));
    assert!(run("-o hashpower=12").is_ok() && run("-o hashpower=32").is_ok());
}

#[test]
fn no_modern_is_the_defaults_of_1_4() {
    let options = run("-o no_modern").unwrap();
    assert!(!options.maxconns_fast && !options.store.lru_segmented);
    assert_eq!(options.store.slab_chunk_max, 1 << 20);
    assert_eq!(options.store.hash_algorithm.as_setting(), "jenkins");
    assert!(!options.store.slab_reassign && !options.store.lru_crawler);
    assert_eq!(options.store.slab_automove, 0);
    let options = run("-o no_modern,lru_crawler,slab_reassign,slab_automove").unwrap();
    assert!(options.store.slab_reassign && options.store.lru_crawler);
    assert_eq!(options.store.slab_automove, 1);
    // The chunk size given stays, whichever comes first; what comes later wins otherwise.
    for line in ["-o no_modern,slab_chunk_max=4", "-o slab_chunk_max=4,no_modern"] {
        assert_eq!(run(line).unwrap().store.slab_chunk_max, 4 << 10, "{line}");
    }
    assert!(run("-o no_modern,lru_maintainer").unwrap().store.lru_segmented);
    assert_eq!(run("-o no_modern -I 2m").unwrap().store.slab_chunk_max, 512 << 10);
}

#[test]
fn a_profile_chooses_what_nothing_else_does() {
    let shape = |line| {
        let store = run(line).unwrap().store;
        (store.growth_factor, store.chunk_size_min, store.hot_lru_pct)
    };
    assert_eq!(shape("-o profile=compat"), (1.25, 48, 20));
    assert_eq!(shape("-o profile=lean"), (1.08, 16, 10));
    assert_eq!(shape("-f 1.5 -o profile=lean,hot_lru_pct=30"), (1.5, 16, 30));
    assert_eq!(shape("-o profile=lean -n 100"), (1.08, 100, 10));
    assert_eq!(shape("-o profile=lean,profile=compat"), (1.25, 48, 20));
    refused("-o profile", 1, "Missing profile argument");
    refused("-o profile=fast", 1, "Unknown profile (compat, lean)");
}

#[test]
fn slab_sizes_ascend() {
    let sizes = |line| run(line).unwrap().store.slab_sizes;
    assert_eq!(sizes("-o slab_sizes=100-109-524288"), [100, 109, 524_288]);
    assert_eq!(sizes("-o slab_sizes=48,slab_chunk_max=1"), [48]);
    // The smallest and largest depend on flags that may follow.
    assert_eq!(sizes("-o slab_sizes=16-1048576 -n 16 -o no_chunked_items"), [16, 1 << 20]);
    for (list, message) in [
        ("40", "slab size 40 is out of valid range"),
        ("100-x", "slab size 0 is out of valid range"),
        ("100-524289", "slab size 524289 is out of valid range"),
        ("100-100", "slab size 100 cannot be lower than or equal to a previous class size"),
        ("100-90", "slab size 90 cannot be lower than or equal to a previous class size"),
        ("100-108", "slab size 108 must be at least 8 bytes larger than previous class"),
        ("", "slab_sizes names no size"),
    ] {
        refused(&format!("-o slab_sizes={list}"), 64, message);
    }
    let list = |n: usize| (0..n).map(|i| (100 + 10 * i).to_string()).collect::<Vec<_>>().join("-");
    assert_eq!(sizes(&format!("-o slab_sizes={}", list(62))).len(), 62);
    refused(&format!("-o slab_sizes={}", list(63)), 64, "too many slab classes specified");
}

#[test]
fn sizes_must_fit_one_another() {
    refused(
        "-I 1024",
        64,
        "slab_chunk_max (bytes: 524288) cannot be larger than -I (item_size_max 1024)",
    );
    refused(
        "-I 600k",
        64,
        "-I (item_size_max: 614400) must be evenly divisible by slab_chunk_max (bytes: 524288)",
    );
    refused(
        "-I 3k -o slab_chunk_max=3",
        64,
        "slab_chunk_max (bytes: 3072) must divide evenly into 1048576 (slab_page_size)",
    );
    refused(
        "-o hot_lru_pct=50,warm_lru_pct=31",
        64,
        "hot_lru_pct + warm_lru_pct cannot be more than 80% combined",
    );
    refused(
        "-o temporary_ttl=61,no_lru_maintainer",
        64,
        "temporary_ttl requires lru_maintainer to be enabled",
    );
    assert_eq!(run("-o temporary_ttl=61").unwrap().store.temporary_ttl_secs, Some(61));
}

#[test]
fn the_lines_of_memcached_s_own_tests_are_taken() {
    for line in [
        "-C",
        "-b 8675",
        "-B ascii",
        "-B auto",
        "-vv -B binary",
        "-F",
        "-m 128",
        "-m 3",
        "-I 1024 -o slab_chunk_max=1",
        "-I 2097152",
        "-I 512k -o slab_chunk_max=16",
        "-m 256 -I 32m",
        "-s /tmp/x -A",
        "-o no_modern,slab_chunk_max=4",
        "-m 32 -o no_modern",
        "-d -P /tmp/pid",
        "-M -m 2",
        "-W",
        "-X",
        "-o idle_timeout=3",
        "-R 1 -k -r",
        "-I 1024 -o slab_chunk_max=1,no_lru_crawler,no_lru_maintainer",
        "-m 3 -o modern,slab_automove_window=3",
        "-m 32 -o no_modern,lru_crawler",
        "-m 2 -o lru_maintainer,lru_crawler,temporary_ttl=61",
        "-m 60 -o slab_reassign,slab_automove,lru_crawler,lru_maintainer,slab_automove_window=3",
        "-o slab_reassign,no_slab_automove -m 8",
        "-o no_lru_crawler,slab_reassign,slab_automove=0,slab_chunk_max=16 -m 12",
    ] {
        let options = run(&format!("{line} -u root -o relaxed_privileges")).unwrap();
        assert!(options.debug_commands, "{line}");
        assert_eq!(options.user.as_deref(), Some("root"), "{line}");
    }
}

#[test]
fn texts_that_end_the_program() {
    let version = format!("memcached 1.6.45\nnuthatchd {NUTHATCH_VERSION}\n");
    assert_eq!(print("-V"), version);
    assert_eq!(print("--vers -c 0"), version, "what follows is not read");
    refused("-c 0 -V", 1, "Maximum connections must be greater than 0");
    assert!(print("-i").contains("MIT License"));
}

/// memcached's tests and other programs search `-h` for what a server can do.
#[test]
fn help_shows_what_there_is_and_nothing_else() {
    let help = print("-h");
    assert_eq!(help, print("--help"));
    for there in [
        "-s, --unix-socket=<file>",
        "-o, --extended=<list>",
        "maxconns_fast:",
        "enable-ssl",
        "sasl",
    ] {
        assert!(help.contains(there), "{there}");
    }
    for missing in ["ext_path", "proxy_config"] {
        assert!(!help.to_lowercase().contains(missing), "{missing}");
    }
    assert!(help.lines().all(|line| line.len() <= 110), "no line is too wide");
    assert!(
        help.contains("-m, --memory-limit=<num>        item memory in megabytes (default: 64)")
    );
}

#[test]
fn the_tables_hold_each_name_once() {
    let given = || flags::FLAGS.iter().filter_map(|f| f.letter);
    let letters: std::collections::BTreeSet<_> = given().collect();
    assert_eq!(letters.len(), given().count());
    let longs: std::collections::BTreeSet<_> = flags::FLAGS.iter().map(|f| f.long).collect();
    assert_eq!(longs.len(), flags::FLAGS.len());
    // memcached 1.6.45's own letters, all of them and no others.
    let all = "AaBbCcDdeFfhIiklLMmNnoPpRrSstUuVvWXYZ";
    assert_eq!(letters, all.chars().collect());
    let words: std::collections::BTreeSet<_> = words::WORDS.iter().map(|w| w.name).collect();
    assert_eq!(words.len(), words::WORDS.len());
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(b"/tmp/\xff".to_vec());
    let words = ["nuthatchd".into(), "-s".into(), odd.clone()];
    let Parsed::Run(options) = parse(words).unwrap() else { panic!("nothing to print") };
    assert_eq!(options.unix_socket, Some(PathBuf::from(odd.clone())));
    let error = parse(["nuthatchd".into(), "-m".into(), odd]).unwrap_err();
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn tls_words() {
    let options =
        run("-Z -o ssl_chain_cert=a,ssl_key=b,ssl_ca_cert=c,ssl_verify_mode=3,ssl_keyformat=2 \
         -o ssl_ciphers=HIGH,ssl_wbuf_size=64,ssl_session_cache,ssl_min_version=3,ssl_watch_certs")
        .unwrap();
    let expected = TlsOptions {
        enabled: true,
        chain_cert: Some("a".into()),
        key: Some("b".into()),
        key_format: KeyFormat::Der,
        verify_mode: VerifyMode::Once,
        ciphers: Some("HIGH".to_owned()),
        ca_cert: Some("c".into()),
        wbuf_bytes: 64 << 10,
        session_cache: true,
        min_version: MinVersion::Tls13,
        watch_certs: true,
    };
    assert_eq!(options.tls, expected);
    assert_eq!(options.tls.verify_mode.as_setting(), 7);
    let old = run("-o ssl_min_version=1").unwrap();
    assert_eq!((old.tls.min_version, old.warnings.len()), (MinVersion::Tls12, 1));
    let udp = run("-Z -U 11211").unwrap();
    assert!(udp.warnings[0].contains("-U serves datagrams in the clear"), "{:?}", udp.warnings);
    refused("-Z -p 0", 64, "ERROR: You cannot enable SSL without a TCP port.");
    refused("-o ssl_wbuf_size=0", 1, "ssl_wbuf_size must be at least 1");
    refused("-o ssl_keyformat=3", 64, "Error loading the key: bad ssl filetype");
}
