//! The names and figures of `stats` and its relatives.

use crate::admin::{agree, play};
use crate::support::{Client, start};

/// What `stats settings` of memcached 1.6.45 shows, without the lines of external storage and
/// the proxy; and the line of ours behind them.
const SETTINGS: &str = "maxbytes maxconns tcpport udpport inter verbosity oldest evictions \
    domain_socket umask shutdown_command growth_factor chunk_size num_threads num_threads_per_udp \
    stat_key_prefix detail_enabled reqs_per_event cas_enabled tcp_backlog binding_protocol \
    auth_enabled_sasl auth_enabled_ascii item_size_max maxconns_fast hashpower_init slab_reassign \
    slab_automove slab_automove_ratio slab_automove_window slab_chunk_max lru_crawler \
    lru_crawler_sleep lru_crawler_tocrawl tail_repair_time flush_enabled dump_enabled \
    hash_algorithm lru_maintainer_thread lru_segmented hot_lru_pct warm_lru_pct hot_max_factor \
    warm_max_factor temp_lru temporary_ttl idle_timeout watcher_logbuf_size worker_logbuf_size \
    read_buf_mem_limit track_sizes inline_ascii_response drop_privileges ssl_enabled ssl_chain_cert ssl_key \
    ssl_verify_mode ssl_keyformat ssl_ciphers ssl_ca_cert ssl_wbuf_size ssl_session_cache \
    ssl_kernel_tls ssl_min_version num_napi_ids memory_file \
    client_flags_size profile";

/// What `stats` of memcached 1.6.45 shows by default, without the lines of external storage, TLS and
/// the proxy; ours are in brackets.
const STATS: &str = "pid uptime time version [nuthatch_version] libevent pointer_size rusage_user \
    rusage_system max_connections curr_connections total_connections rejected_connections \
    connection_structures response_obj_oom response_obj_count response_obj_bytes read_buf_count \
    read_buf_bytes read_buf_bytes_free read_buf_oom reserved_fds cmd_get cmd_set cmd_flush \
    cmd_touch cmd_meta get_hits get_misses get_expired get_flushed delete_misses delete_hits \
    incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits \
    touch_misses store_too_large store_no_memory auth_cmds auth_errors bytes_read bytes_written \
    limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads \
    conn_yields [handler_panics] hash_power_level hash_bytes hash_is_expanding \
    slab_reassign_rescues slab_reassign_chunk_rescues [slab_reassign_evictions_nomem] \
    slab_reassign_inline_reclaim \
    slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem \
    slab_reassign_last_busy_status slab_reassign_running slabs_moved lru_crawler_running \
    lru_crawler_starts lru_maintainer_juggles malloc_fails log_worker_dropped log_worker_written \
    log_watcher_skipped log_watcher_sent log_watchers unexpected_napi_ids round_robin_fallback \
    bytes curr_items total_items slab_global_page_pool expired_unfetched evicted_unfetched \
    evicted_active evictions reclaimed crawler_reclaimed crawler_items_checked lrutail_reflocked \
    moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped";

/// Lines that are there only with the crawler or the maintainer.
const BACKGROUND: &str = "lru_crawler_running lru_crawler_starts lru_maintainer_juggles \
    evicted_active moves_to_cold moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped";

#[test]
fn figures_are_those_of_memcached_in_its_order() {
    let daemon = start(["-m", "8"]);
    let lines = Client::of(&daemon).lines("stats");
    let all: Vec<_> = STATS.split_ascii_whitespace().collect();
    let with_ours: Vec<_> = all.iter().map(|name| name.trim_matches(['[', ']'])).collect();
    assert_eq!(names(&lines), with_ours);
    // What is not there is not shown; and none of ours where memcached's own tests are run.
    let off = "slab_chunk_max=1,no_lru_crawler,no_lru_maintainer,relaxed_privileges";
    let daemon = start(["-m", "8", "-I", "1024", "-o", off]);
    let lines = Client::of(&daemon).lines("stats");
    let background: Vec<_> = BACKGROUND.split_ascii_whitespace().collect();
    let is_shown = |name: &&str| !background.contains(name) && !name.starts_with('[');
    assert_eq!(names(&lines), all.into_iter().filter(is_shown).collect::<Vec<_>>());
    assert_eq!(lines.len(), 84);
    // An older memcached, such as the one that hosting services run, has no line that ours has not.
    let older = "slab_reassign_evictions_nomem libevent response_obj_count read_buf_oom auth_cmds \
        auth_errors malloc_fails log_watchers unexpected_napi_ids round_robin_fallback";
    assert!(older.split_ascii_whitespace().all(|name| with_ours.contains(&name)));
    let daemon = start(["-m", "8", "-o", "no_maxconns_fast,idle_timeout=9"]);
    let lines = Client::of(&daemon).lines("stats");
    assert!(!names(&lines).contains(&"rejected_connections"));
    assert!(names(&lines).contains(&"idle_kicks"));
}

#[test]
fn a_reset_leaves_what_is() {
    let daemon = start(["-m", "8"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("a", b"x"), "STORED");
    assert_eq!(client.get("a").as_deref(), Some(&b"x"[..]));
    assert_eq!(client.ask("stats reset"), "RESET");
    for (name, value) in [
        ("cmd_get", 0),
        ("get_hits", 0),
        ("cmd_set", 0),
        ("total_items", 0),
        ("curr_items", 1),
        ("limit_maxbytes", 8 << 20),
    ] {
        assert_eq!(client.number(name), value, "{name}");
    }
}

fn names(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split(' ').nth(1).expect("STAT name value")).collect()
}

#[test]
fn settings_are_those_of_memcached_in_its_order() {
    let daemon = start(["-m", "8"]);
    let lines = Client::of(&daemon).lines("stats settings");
    assert_eq!(names(&lines), SETTINGS.split_ascii_whitespace().collect::<Vec<_>>());
}

#[test]
fn settings_are_what_was_asked_for() {
    let daemon = start([
        "-m",
        "8",
        "-D",
        "/",
        "-o",
        "watcher_logbuf_size=8,worker_logbuf_size=16,profile=lean",
    ]);
    let mut client = Client::of(&daemon);
    for (name, value) in [
        ("stat_key_prefix", "/"),
        ("detail_enabled", "yes"),
        ("watcher_logbuf_size", "8192"),
        ("worker_logbuf_size", "16384"),
        ("profile", "lean"),
    ] {
        assert_eq!(client.stat("stats settings", name), value, "{name}");
    }
    assert_eq!(client.ask("stats detail off"), "OK");
    assert_eq!(client.stat("stats settings", "detail_enabled"), "no");
}

#[test]
fn prefixes_are_counted_as_memcached_counts_them() {
    let daemon = agree(
        &["-m", "8"],
        &[
            ("stats detail dump", "END"),
            ("stats detail on", "OK"),
            // Whatever becomes of them.
            ("set a:1 0 0 1\r\nx", "STORED"),
            ("add a:1 0 0 1\r\nx", "NOT_STORED"),
            ("get a:1 a:2 b", "VALUE a:1 0 1|x|END"),
            ("gat 0 a:1", "VALUE a:1 0 1|x|END"),
            ("gets a:2", "END"),
            ("delete a:2", "NOT_FOUND"),
            ("delete a:1", "DELETED"),
            // Those that count for nothing.
            ("touch a:1 0", "NOT_FOUND"),
            ("incr a:1 1", "NOT_FOUND"),
            ("mg a:1", "EN"),
            ("ms a:1 1\r\nx", "HD"),
            ("md a:1", "HD"),
            ("ma a:1", "NF"),
            ("set none 0 0 1\r\nx", "STORED"),
            ("stats detail dump", "PREFIX a get 4 hit 2 set 2 del 2|END"),
            ("stats detail off", "OK"),
            ("get a:1", "END"),
            ("stats detail dump", "PREFIX a get 4 hit 2 set 2 del 2|END"),
            ("stats reset", "RESET"),
            ("stats detail dump", "END"),
        ],
    );
    let mut client = Client::of(&daemon);
    for wrong in ["stats detail", "stats detail frob"] {
        assert_eq!(client.ask(wrong), "CLIENT_ERROR usage: stats detail on|off|dump");
    }
    assert_eq!(client.ask("stats detail on"), "OK");
    // A value that arrives in pieces is counted once.
    client.send("set big:1 0 0 100000\r\n");
    client.send([&[b'x'; 100_000][..], b"\r\n"].concat());
    assert_eq!(client.line(), "STORED");
    assert_eq!(client.lines("stats detail dump"), ["PREFIX big get 0 hit 0 set 1 del 0"]);
}

#[test]
fn a_long_list_of_prefixes_is_whole_and_in_order() {
    let daemon = start(["-m", "8", "-D", "."]);
    let mut client = Client::of(&daemon);
    let n = 3000;
    for i in 0..n {
        client.send(format!("get {i:05}.x\r\n"));
        assert_eq!(client.line(), "END");
    }
    let lines = client.lines("stats detail dump");
    let expected: Vec<_> =
        (0..n).map(|i| format!("PREFIX {i:05} get 1 hit 0 set 0 del 0")).collect();
    assert!(lines == expected, "{} lines", lines.len());
}

#[test]
fn prefixes_tell_of_keys_and_are_refused_like_dumps() {
    let refusal = "CLIENT_ERROR stats detail not allowed";
    let daemon = agree(
        &["-m", "8", "-X"],
        &[("stats detail on", refusal), ("stats detail dump", refusal), ("stats detail", refusal)],
    );
    play(&mut Client::of(&daemon), &[("version", "VERSION 1.6.45")]);
}

#[test]
fn sizes_are_counted_where_that_is_asked_for() {
    let daemon = start(["-m", "8"]);
    assert_eq!(Client::of(&daemon).lines("stats sizes"), ["STAT sizes_status disabled"]);
    let daemon = start(["-m", "8", "-o", "track_sizes"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.stat("stats settings", "track_sizes"), "yes");
    assert_eq!(client.lines("stats sizes"), [""; 0]);
    for key in ["a", "b"] {
        assert_eq!(client.set(key, b"12345"), "STORED");
    }
    assert_eq!(client.set("c", &[b'x'; 300_000]), "STORED");
    let item_size = |client: &mut Client, key: &str| -> u64 {
        let line = client.ask(&format!("me {key}"));
        line.rsplit('=').next().unwrap().parse().unwrap()
    };
    let [small, large] = ["a", "c"].map(|key| item_size(&mut client, key).next_multiple_of(32));
    let expected = [format!("STAT {small} 2"), format!("STAT {large} 1")];
    assert_eq!(client.lines("stats sizes"), expected);
    assert_eq!(client.ask("delete c"), "DELETED");
    assert_eq!(client.lines("stats sizes"), expected[..1]);
}
