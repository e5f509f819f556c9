//! Clients that others wrote, over TLS: what the announcement of a hosted memcached shows its users
//! doing, and what their applications do then.

use std::{path::Path, process::Command};

use nuthatch_testkit::find_program;

use crate::{
    guests::{guest, typed},
    oracle::current_memcached,
    support::skip,
    tls::Identity,
};

/// What `stats` of memcached 1.6.12 shows over TLS, in its order, as the hosted node of that
/// announcement does, apart from what that adds for the discovery of nodes.
const STATS_OF_1_6_12: &str = "pid uptime time version libevent pointer_size rusage_user \
    rusage_system max_connections curr_connections total_connections rejected_connections \
    connection_structures response_obj_oom response_obj_count response_obj_bytes read_buf_count \
    read_buf_bytes read_buf_bytes_free read_buf_oom reserved_fds cmd_get cmd_set cmd_flush \
    cmd_touch cmd_meta get_hits get_misses get_expired get_flushed delete_misses delete_hits \
    incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits \
    touch_misses auth_cmds auth_errors bytes_read bytes_written limit_maxbytes accepting_conns \
    listen_disabled_num time_in_listen_disabled_us threads conn_yields hash_power_level \
    hash_bytes hash_is_expanding slab_reassign_rescues slab_reassign_chunk_rescues \
    slab_reassign_evictions_nomem slab_reassign_inline_reclaim slab_reassign_busy_items \
    slab_reassign_busy_deletes slab_reassign_running slabs_moved lru_crawler_running \
    lru_crawler_starts lru_maintainer_juggles malloc_fails log_worker_dropped log_worker_written \
    log_watcher_skipped log_watcher_sent log_watchers ssl_handshake_errors \
    time_since_server_cert_refresh unexpected_napi_ids round_robin_fallback bytes curr_items \
    total_items slab_global_page_pool expired_unfetched evicted_unfetched evicted_active \
    evictions reclaimed crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold \
    moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped";

/// Lines of ours that such a node does not show: those of later versions of memcached, and our own.
const LATER: &str = "nuthatch_version store_too_large store_no_memory handler_panics \
    slab_reassign_busy_nomem slab_reassign_last_busy_status ssl_proto_errors";

fn names(stats: &str) -> Vec<&str> {
    stats
        .lines()
        .filter_map(|line| line.strip_prefix("STAT "))
        .map(|line| line.split(' ').next().unwrap())
        .collect()
}

#[test]
fn openssl_shows_every_figure_that_a_hosted_node_shows() {
    let Some(openssl) = find_program("openssl") else { return skip("there is no openssl") };
    let identity = Identity::new();
    let daemon = identity.start(&[]);
    let at = format!("127.0.0.1:{}", daemon.port().unwrap());
    let ca = identity.path("cert.pem");
    let mut s_client = Command::new(openssl);
    s_client.args(["s_client", "-quiet", "-verify_return_error", "-verify_ip", "127.0.0.1"]);
    s_client.args(["-connect", &at, "-CAfile"]).arg(&ca);
    let heard = typed(&mut s_client, "stats\r\nquit\r\n");
    assert!(heard.contains("\nEND\r\n"), "{heard}");
    let later: Vec<_> = LATER.split_ascii_whitespace().collect();
    let shown: Vec<_> = names(&heard).into_iter().filter(|name| !later.contains(name)).collect();
    let expected: Vec<_> = STATS_OF_1_6_12.split_ascii_whitespace().collect();
    assert_eq!(shown, expected, "in this order");
    assert_eq!(expected.len(), 92);
}

/// What is done here shows in these figures and no others.
const SESSION: &[&str] = &[
    "set a 0 0 1\r\nx",
    "set n 0 0 2\r\n10",
    "set dead 0 -1 1\r\nx",
    "get a",
    "get none a",
    "get dead",
    "delete none",
    "set gone 0 0 1\r\nx",
    "delete gone",
    "incr none 1",
    "incr n 1",
    "decr none 1",
    "decr n 1",
    "ms c 1 E77\r\nx",
    "cas none 0 0 1 1\r\nx",
    "cas c 0 0 1 76\r\nx",
    "cas c 0 0 1 77\r\nx",
    "touch a 100",
    "touch none 1",
    "gat 100 a",
    "mg a v",
    "me a",
    "mn",
    "flush_all 100",
    "stats",
    "quit",
];

const FIGURES: &[(&str, u64)] = &[
    ("cmd_get", 5),
    ("cmd_set", 8),
    ("cmd_flush", 1),
    ("cmd_touch", 3),
    ("cmd_meta", 1),
    ("get_hits", 3),
    ("get_misses", 2),
    ("get_expired", 1),
    ("get_flushed", 0),
    ("delete_misses", 1),
    ("delete_hits", 1),
    ("incr_misses", 1),
    ("incr_hits", 1),
    ("decr_misses", 1),
    ("decr_hits", 1),
    ("cas_misses", 1),
    ("cas_hits", 1),
    ("cas_badval", 1),
    ("touch_hits", 2),
    ("touch_misses", 1),
    ("auth_cmds", 0),
    ("auth_errors", 0),
    ("limit_maxbytes", 64 << 20),
    ("accepting_conns", 1),
    ("threads", 4),
    ("log_watchers", 0),
    ("ssl_proto_errors", 0),
    ("curr_items", 3),
    ("total_items", 6),
    ("evictions", 0),
];

#[test]
fn its_figures_are_true() {
    let identity = Identity::new();
    let words = identity.words();
    let said = SESSION.iter().map(|line| format!("{line}\r\n")).collect::<String>();
    let check = |daemon: &nuthatch_testkit::Daemon| {
        let heard = identity.text(daemon.port().unwrap(), &said);
        let figure = |name: &str| -> u64 {
            let prefix = format!("STAT {name} ");
            let line = heard.lines().find_map(|line| line.strip_prefix(&prefix));
            line.unwrap_or_else(|| panic!("no {name} in {heard}")).trim().parse().unwrap()
        };
        let shown: Vec<_> = FIGURES.iter().map(|(name, _)| (*name, figure(name))).collect();
        assert_eq!(shown, FIGURES, "{heard}");
        assert_eq!(figure("bytes_read"), said.len() as u64);
        assert!(figure("rejected_connections") == 0 && figure("total_connections") >= 1);
        assert!(figure("time_since_server_cert_refresh") <= figure("uptime") + 60);
    };
    check(&identity.start(&[]));
    let Some(memcached) = current_memcached() else {
        return skip("there is no memcached of this version to compare with");
    };
    let args = ["-Z", "-o", &words];
    check(&nuthatch_testkit::Daemon::builder(memcached).args(args).start().unwrap());
}

#[test]
fn gnutls_works() {
    let Some(gnutls) = find_program("gnutls-cli") else { return skip("there is no gnutls-cli") };
    let identity = Identity::new();
    let daemon = identity.start(&[]);
    for version in ["TLS1.2", "TLS1.3"] {
        let mut cli = Command::new(&gnutls);
        cli.arg("--x509cafile").arg(identity.path("cert.pem"));
        cli.args(["--priority", &format!("NORMAL:-VERS-ALL:+VERS-{version}")]);
        cli.args(["-p", &daemon.port().unwrap().to_string(), "127.0.0.1"]);
        let heard = typed(&mut cli, "stats settings\r\nquit\r\n");
        assert!(heard.contains("The certificate is trusted"), "{heard}");
        assert!(heard.contains(&format!("Description: ({version}")), "{heard}");
        assert!(heard.contains("STAT ssl_enabled yes") && heard.contains("END"), "{heard}");
    }
}

#[test]
fn pymemcache_works_over_tls() {
    let identity = Identity::new();
    let ca = identity.path("cert.pem");
    for version in ["1.2", "1.3"] {
        let daemon = identity.start(&[]);
        guest("use_pymemcache.py").tls(&ca).tls_version(version).run(&daemon);
    }
}

#[test]
fn clients_of_other_languages_work_over_tls() {
    let identity = Identity::new();
    let ca = identity.path("cert.pem");
    for script in ["use_aiomcache.py", "use_bmemcached.py", "use_dalli.rb", "use_emcache.py"] {
        guest(script).tls(&ca).run(&identity.start(&[]));
    }
}

/// The announcement's Java client: its builder is given an `SSLContext`, and stores a value for an
/// hour. Debian's spymemcached knows no TLS; the cluster client made of it does.
#[test]
fn java_stores_a_value_for_an_hour_over_tls() {
    let identity = Identity::new();
    let ca = identity.path("cert.pem");
    let daemon = identity.start(&[]);
    for version in ["1.2", "1.3"] {
        if !guest("UseSpymemcached.java").tls(&ca).tls_version(version).run(&daemon) {
            return;
        }
        let heard = identity.text(daemon.port().unwrap(), "mg hour t v\r\nquit\r\n");
        let (head, value) = heard.split_once("\r\n").unwrap();
        let seconds: u32 = head.rsplit_once('t').unwrap().1.parse().unwrap();
        assert!((3000..=3600).contains(&seconds), "{head}");
        assert_eq!(value, "a value for an hour\r\n");
    }
}

/// Nobody who mistrusts the certificate is served, and nobody who asks for another host.
#[test]
fn clients_that_do_not_believe_the_certificate_leave() {
    let Some(openssl) = find_program("openssl") else { return skip("there is no openssl") };
    let identity = Identity::new();
    let daemon = identity.start(&[]);
    let at = format!("127.0.0.1:{}", daemon.port().unwrap());
    let stranger = Identity::new();
    let say = |ca: &Path, host: &str| {
        let mut s_client = Command::new(&openssl);
        s_client.args(["s_client", "-quiet", "-verify_return_error", "-connect", &at]);
        s_client.args(["-verify_hostname", host, "-CAfile"]).arg(ca);
        typed(&mut s_client, "version\r\nquit\r\n")
    };
    let ca = identity.path("cert.pem");
    assert!(say(&ca, "cache.example").contains("VERSION 1.6.45"));
    for heard in [say(&ca, "other.example"), say(&stranger.path("cert.pem"), "cache.example")] {
        assert!(heard.contains("verify error") && !heard.contains("VERSION"), "{heard}");
    }
}
