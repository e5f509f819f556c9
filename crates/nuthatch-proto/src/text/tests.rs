//! The grammar of every command, and every error of it.

use nuthatch_types::{Arith, Cas, ItemFlags, StoreMode, Ttl};
use proptest::prelude::*;

use super::*;
use crate::admin::{Admin, Config, Detail, LruCrawler, Slabs, Stats, WatchFlags};

/// In place of how many bytes are skipped, where nobody knows.
const UNBOUNDED: usize = usize::MAX;

/// What a line is answered with before any handler sees it: the error, whether it is muted, and
/// how many bytes are skipped.
fn refusal(line: &str) -> Option<(&'static str, bool, usize)> {
    let mut scratch = Scratch::new();
    match parse_line(format!("{line}\r\n").as_bytes(), &mut scratch) {
        Parsed::Malformed { line, noreply, swallow } => Some((line, noreply, swallow)),
        Parsed::Unbounded { line } => Some((line, false, UNBOUNDED)),
        _ => None,
    }
}

/// Reads a line that must be a request and shows it to `check`.
fn request<T>(line: &[u8], check: impl FnOnce(Request<'_>, bool) -> T) -> T {
    let mut scratch = Scratch::new();
    match parse_line(line, &mut scratch) {
        Parsed::Request { request, noreply } => check(request, noreply),
        other => panic!("{}: {other:?}", line.escape_ascii()),
    }
}

fn long_key() -> String {
    "k".repeat(251)
}

#[test]
fn errors_are_memcacheds_own() {
    const FORMAT: &str = BAD_FORMAT;
    let long = long_key();
    let opaque = "x".repeat(32);
    // The right side was compared with what memcached 1.6.45 answers.
    let cases: &[(&str, (&str, bool, usize))] = &[
        ("", (FORMAT, false, 0)),
        ("x", (FORMAT, false, 0)),
        ("xx", (UNKNOWN, false, 0)),
        ("xx noreply", (UNKNOWN, true, 0)),
        ("noreply", (UNKNOWN, true, 0)),
        (" get a", (UNKNOWN, false, 0)),
        ("GET a", (UNKNOWN, false, 0)),
        ("HTTP/1.0", (UNKNOWN, false, 0)),
        ("get", (FORMAT, false, 0)),
        ("get ", (FORMAT, false, 0)),
        ("gat 0", (FORMAT, false, 0)),
        ("gat x a", ("CLIENT_ERROR invalid exptime argument", false, 0)),
        ("set a 0 0", (FORMAT, false, UNBOUNDED)),
        ("set a 0 0 -1", (FORMAT, false, UNBOUNDED)),
        ("set my key 0 0 5", (FORMAT, false, UNBOUNDED)),
        ("set my own key 0 0 5", (FORMAT, false, UNBOUNDED)),
        ("set one 2 0 x y z 5 noreply", (FORMAT, false, UNBOUNDED)),
        ("set a 0 0 x noreply", (FORMAT, false, UNBOUNDED)),
        ("set a 4294967296 0 1", (FORMAT, false, 3)),
        ("set a 0 0 2147483646", (FORMAT, false, UNBOUNDED)),
        ("set a x 0 5", (FORMAT, false, 7)),
        ("set a 0 x 5 noreply", (FORMAT, true, 7)),
        ("set a + 0 5", (FORMAT, false, 7)),
        ("cas a 0 0 1", (FORMAT, false, 3)),
        ("cas a 0 0 1 noreply", (FORMAT, true, 3)),
        ("cas a 0 0 1 -1", (FORMAT, false, 3)),
        ("delete", (FORMAT, false, 0)),
        ("incr a", (FORMAT, false, 0)),
        ("incr a -1", ("CLIENT_ERROR invalid numeric delta argument", false, 0)),
        ("decr a x noreply", ("CLIENT_ERROR invalid numeric delta argument", true, 0)),
        ("touch a x", ("CLIENT_ERROR invalid exptime argument", false, 0)),
        ("verbosity", (FORMAT, false, 0)),
        ("verbosity noreply", (FORMAT, true, 0)),
        ("mg", (FORMAT, false, 0)),
        ("mg a !", (FORMAT, false, 0)),
        ("mg a _", ("CLIENT_ERROR invalid flag", false, 0)),
        ("mg a 1", ("CLIENT_ERROR invalid flag", false, 0)),
        ("mg a k k", ("CLIENT_ERROR duplicate flag", false, 0)),
        ("mg a b", ("CLIENT_ERROR error decoding key", false, 0)),
        ("mg a T", ("CLIENT_ERROR bad token in command line format", false, 0)),
        ("mg a T2147483648", ("CLIENT_ERROR bad token in command line format", false, 0)),
        ("ma a b", ("CLIENT_ERROR invalid or duplicate flag", false, 0)),
        ("ma a M", ("CLIENT_ERROR invalid mode for ma M token", false, 0)),
        ("ma a Mi", ("CLIENT_ERROR invalid mode for ma M token", false, 0)),
        ("md a F q", (FORMAT, false, 0)),
        ("ms a", (FORMAT, false, 0)),
        ("ms  2", (FORMAT, false, UNBOUNDED)),
        ("set  0 0 2", (FORMAT, false, UNBOUNDED)),
        ("ms a S2", (FORMAT, false, UNBOUNDED)),
        ("ms a 2 !", (FORMAT, false, 4)),
        ("ms a 2 _", ("CLIENT_ERROR invalid flag", false, 4)),
        ("ms a 2 Fx", (FORMAT, false, 4)),
        ("ms a 2 Tx Fx", ("CLIENT_ERROR bad token in command line format", false, 4)),
        ("ms a 2 Cx Jx", ("CLIENT_ERROR invalid numeric initial value", false, 4)),
        ("ms a 2 Me", ("CLIENT_ERROR invalid mode for ms M token", false, 4)),
        ("ms a 2 b", ("CLIENT_ERROR error decoding key", false, 4)),
        ("slabs", (UNKNOWN, false, 0)),
        ("slabs automove", (UNKNOWN, false, 0)),
        ("slabs automove invalid", (FORMAT, false, 0)),
        ("slabs automove 3", (UNKNOWN, false, 0)),
        ("slabs automove window 2", ("CLIENT_ERROR automove window too low or too high", false, 0)),
        ("lru", (UNKNOWN, false, 0)),
        ("lru tune 1 2", (UNKNOWN, false, 0)),
        ("lru tune 40 41 1 1", ("ERROR hot and warm pcts must not exceed 80", false, 0)),
        ("lru tune 4 41 0 1", ("ERROR hot/warm age factors must be greater than 0", false, 0)),
        ("lru_crawler foo", (UNKNOWN, false, 0)),
        ("lru_crawler tocrawl x", (FORMAT, false, 0)),
        ("lru_crawler sleep 1000001", ("CLIENT_ERROR sleep must be one second or less", false, 0)),
        ("cache_memlimit x", (UNKNOWN, false, 0)),
        ("cache_memlimit 7", ("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m", false, 0)),
        ("extstore item_size", (UNKNOWN, false, 0)),
        ("config", (UNKNOWN, false, 0)),
        ("config add a", (UNKNOWN, false, 0)),
        ("config set a 0 x", (FORMAT, false, UNBOUNDED)),
        ("config set a 0 65537", (TOO_LARGE, false, 65539)),
    ];
    for (line, expected) in cases {
        assert_eq!(refusal(line), Some(*expected), "{line}");
    }
    for (line, expected) in [
        (format!("get a {long}"), (FORMAT, false, 0)),
        (format!("get {long} noreply"), (FORMAT, false, 0)),
        (format!("set {long} 0 0 5"), (FORMAT, false, 7)),
        (format!("delete {long}"), (FORMAT, false, 0)),
        (format!("mg {long}"), (FORMAT, false, 0)),
        (format!("ms {long} 2"), (FORMAT, false, 4)),
        (format!("me {long}"), (FORMAT, false, 0)),
        (format!("mg a O{opaque}"), ("CLIENT_ERROR opaque token too long", false, 0)),
        (format!("ms a 2 O{opaque}"), ("CLIENT_ERROR opaque token too long", false, 4)),
        (
            "mg a A B C D E F G H I J K L M N O P Q R S T".into(),
            ("CLIENT_ERROR options flags are too long", false, 0),
        ),
    ] {
        assert_eq!(refusal(&line), Some(expected), "{line}");
    }
}

const TOO_LARGE: &str = crate::error::TOO_LARGE;

#[test]
fn lines_may_end_in_a_bare_newline_if_they_are_long_enough() {
    let mut scratch = Scratch::new();
    assert!(matches!(parse_line(b"mn\r\n", &mut scratch), Parsed::Noop));
    assert!(matches!(parse_line(b"quit\n", &mut scratch), Parsed::Quit));
    assert!(matches!(parse_line(b"quit now\n", &mut scratch), Parsed::Quit));
    assert!(matches!(
        parse_line(b"mn\n", &mut scratch),
        Parsed::Malformed { line: BAD_FORMAT, .. }
    ));
}

#[test]
fn http_is_not_answered() {
    let mut scratch = Scratch::new();
    for line in ["GET / HTTP/1.0\r\n", "DELETE HTTP/1.1\r\n", "PUT /asdf/asd HTTP/1.1\n"] {
        assert!(matches!(parse_line(line.as_bytes(), &mut scratch), Parsed::Alien), "{line}");
    }
}

#[test]
fn retrievals_give_their_keys() {
    request(b"gats  -1  a\tb   c \r\n", |request, noreply| {
        let Request::Get(get) = request else { panic!("{request:?}") };
        assert!(get.with_cas && !noreply);
        assert_eq!(get.touch, Some(Ttl::PAST));
        let keys: Vec<_> = get.keys().map(|key| key.as_bytes()).collect();
        assert_eq!(keys, [&b"a\tb"[..], b"c"]);
    });
    request(b"refresh_certs noreply\r\n", |request, noreply| {
        assert!(matches!(request, Request::Admin(Admin::RefreshCerts)) && !noreply);
    });
    request(b"get a noreply\r\n", |request, noreply| {
        let Request::Get(get) = request else { panic!("{request:?}") };
        assert!(!noreply && get.keys().count() == 2, "the word is a key");
    });
}

#[test]
fn store_commands_give_their_fields() {
    request(b"cas k\x00 1 99999999999 7 18446744073709551615 noreply\n", |request, noreply| {
        let Request::Set(set) = request else { panic!("{request:?}") };
        assert!(noreply);
        assert_eq!(set.key.as_bytes(), b"k\0");
        assert_eq!(set.flags, ItemFlags(1));
        assert_eq!(set.ttl, Ttl::from_exptime(1_215_752_191), "cut to 32 bits, as in C");
        assert_eq!(set.cas, Some(Cas(u64::MAX)));
        assert_eq!(request.value_len(), Some(7));
    });
    request(b"append k 1 2 0\r\n", |request, noreply| {
        let Request::Set(set) = request else { panic!("{request:?}") };
        assert!(!noreply && set.mode == StoreMode::Append && set.cas.is_none());
    });
}

#[test]
fn old_clients_may_send_a_zero_with_delete() {
    request(b"delete k 0\r\n", |request, _| assert!(matches!(request, Request::Delete(_))));
}

#[test]
fn meta_flags_are_read() {
    let line = b"ms Zm9v 2 b T-1 F7 C18446744073709551615 E9 MA I q O12 k s c N30 Phint Lhint\r\n";
    request(line, |request, _| {
        let Request::MetaSet(set) = request else { panic!("{request:?}") };
        let flags = set.meta.flags;
        assert_eq!(set.meta.key.as_bytes(), b"foo");
        assert_eq!(set.mode, StoreMode::Append);
        assert_eq!(flags.ttl(), Some(Ttl::PAST));
        assert_eq!(flags.vivify(), Some(Ttl::secs(30)));
        assert_eq!(flags.client_flags(), ItemFlags(7));
        assert_eq!(flags.compare(), Some(Cas(u64::MAX)));
        assert_eq!(flags.explicit_cas(), Some(Cas(9)));
        assert_eq!(flags.opaque(), Some(&b"12"[..]));
        assert!(flags.is_quiet() && flags.is_invalidate() && flags.is_key_base64());
        assert_eq!(flags.recache(), None);
        assert_eq!(flags.tokens().count(), 15);
    });
    request(b"ma n D5 J0 M- v\r\n", |request, _| {
        let Request::MetaArith(meta) = request else { panic!("{request:?}") };
        assert_eq!((meta.flags.delta(), meta.flags.direction()), (5, Arith::Decr));
    });
    request(b"mg a C5 v M\r\n", |request, _| {
        let Request::MetaGet(meta) = request else { panic!("{request:?}") };
        assert!(meta.flags.wants_value_of(Cas(4)) && !meta.flags.wants_value_of(Cas(5)));
    });
}

#[test]
fn twenty_tokens_of_a_meta_command_are_not_too_many() {
    request(b"mg YWJj b c f h k l q s t u v x I L P O M T1\r\n".as_slice(), |_, _| ());
}

#[test]
fn me_takes_its_key_in_base64() {
    request(b"me Zm9v b\r\n", |request, _| {
        let Request::MetaDebug(key) = request else { panic!("{request:?}") };
        assert_eq!(key.as_bytes(), b"foo");
    });
}

/// Reads a line that must be an administrative request.
fn admin<T>(line: &str, check: impl FnOnce(Admin<'_>) -> T) -> T {
    request(format!("{line}\r\n").as_bytes(), |request, _| match request {
        Request::Admin(admin) => check(admin),
        other => panic!("{line}: {other:?}"),
    })
}

#[test]
fn sub_commands_match_by_their_beginning() {
    let stats = |line, expected| {
        admin(line, |admin| {
            assert!(matches!(admin, Admin::Stats(stats) if stats == expected), "{line}: {admin:?}");
        });
    };
    stats("stats", Stats::General);
    stats("stats r", Stats::Reset);
    stats("stats s", Stats::Settings);
    stats("stats slabs", Stats::Slabs);
    stats("stats slab", Stats::Other(b"slab"));
    stats("stats detail o", Stats::Detail(Ok(Detail::On)));
    admin("stats c 64 0", |admin| {
        let Admin::Stats(Stats::Cachedump(Err(error))) = admin else { panic!("{admin:?}") };
        assert_eq!(error.line(), "CLIENT_ERROR Illegal slab id");
    });
    admin("lru_crawler m 1,2,,63", |admin| {
        let Admin::LruCrawler(LruCrawler::Metadump(classes)) = admin else { panic!("{admin:?}") };
        assert_eq!(classes.ids(), Some(1 << 1 | 1 << 2 | 1 << 63));
    });
    admin("lru_crawler crawl 1,64", |admin| {
        let Admin::LruCrawler(LruCrawler::Crawl(classes)) = admin else { panic!("{admin:?}") };
        assert_eq!(classes.ids(), None);
    });
    admin("slabs a r 0.5", |admin| {
        assert!(matches!(admin, Admin::Slabs(Slabs::AutomoveRatio(_))), "{admin:?}");
    });
    admin("watch", |admin| {
        assert!(matches!(admin, Admin::Watch(Ok(WatchFlags::FETCHERS))), "{admin:?}");
    });
    admin("watch evictions d", |admin| {
        let Admin::Watch(Ok(flags)) = admin else { panic!("{admin:?}") };
        assert!(flags.contains(WatchFlags::EVICTIONS.union(WatchFlags::DELETIONS)));
        assert!(!flags.intersects(WatchFlags::FETCHERS));
    });
}

#[test]
fn some_commands_may_have_spaces_before_them() {
    admin("  verbosity 1", |admin| assert!(matches!(admin, Admin::Verbosity(1))));
}

#[test]
fn flush_all_tells_its_delay_from_noreply() {
    admin("flush_all", |admin| assert!(matches!(admin, Admin::FlushAll(Ok(None)))));
    admin("flush_all noreply", |admin| assert!(matches!(admin, Admin::FlushAll(Ok(None)))));
    admin("flush_all -1", |admin| assert!(matches!(admin, Admin::FlushAll(Ok(None)))));
    admin("flush_all 9 noreply", |admin| {
        assert!(matches!(admin, Admin::FlushAll(Ok(Some(ttl))) if ttl == Ttl::secs(9)));
    });
    admin("flush_all x", |admin| assert!(matches!(admin, Admin::FlushAll(Err(_)))));
}

#[test]
fn config_takes_trailing_blanks_and_a_bare_newline() {
    for line in ["config get cluster ", "config get cluster"] {
        request(format!("{line}\n").as_bytes(), |request, _| {
            let Request::Admin(Admin::Config(Config::Get(Some(name)))) = request else {
                panic!("{request:?}")
            };
            assert_eq!(name.as_bytes(), b"cluster");
        });
    }
    admin("config get ", |admin| assert!(matches!(admin, Admin::Config(Config::Get(None)))));
    for line in ["config delete", "config delete a b", "config delete a b c d e"] {
        admin(line, |admin| {
            let Admin::Config(Config::Unusable(error)) = admin else { panic!("{admin:?}") };
            assert_eq!(error.line(), BAD_FORMAT);
        });
    }
    admin("config delete a noreply", |admin| {
        assert!(matches!(admin, Admin::Config(Config::Delete(_))));
    });
    request(b"config set cluster 0 12 noreply\r\n", |request, noreply| {
        assert!(noreply && request.value_len() == Some(12));
    });
}

proptest! {
    #[test]
    fn no_line_panics(line: Vec<u8>) {
        let _ = parse_line(&line, &mut Scratch::new());
    }

    #[test]
    fn nearly_right_lines_do_not_panic(
        words in proptest::collection::vec(
            prop_oneof![
                "get|gats|set|cas|mg|ms|md|ma|me|mn|stats|slabs|lru|config|watch|flush_all|extstore",
                "[a-zA-Z][0-9]{0,3}", "[0-9-]{1,12}", "noreply", "reassign|automove|tune|crawl",
            ],
            0..9,
        ),
        end in "\r?\n",
    ) {
        let line = words.join(" ") + &end;
        if let Parsed::Request { request, .. } = parse_line(line.as_bytes(), &mut Scratch::new())
            && let Some(key) = request.key()
        {
            prop_assert!((1..=250).contains(&key.len()));
        }
    }
}
