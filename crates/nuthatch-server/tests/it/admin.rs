//! The operator's commands, as memcached 1.6.45 answers them.

use nuthatch_testkit::Daemon;

use crate::oracle::current_memcached;
use crate::support::{Client, eventually, start};

/// Has a conversation with a server of ours, and before that with a memcached where there is one,
/// which must say the same.
#[track_caller]
pub(crate) fn agree(args: &[&str], conversation: &[(&str, &str)]) -> Daemon {
    if let Some(path) = current_memcached() {
        let theirs = Daemon::builder(path).args(args).start().unwrap();
        play(&mut Client::of(&theirs), conversation);
    }
    let ours = start(args);
    play(&mut Client::of(&ours), conversation);
    ours
}

/// Plays a conversation: each command, and the lines that answer it.
#[track_caller]
pub(crate) fn play(client: &mut Client, conversation: &[(&str, &str)]) {
    for (command, answer) in conversation {
        client.send(format!("{command}\r\n"));
        for line in answer.split('|') {
            assert_eq!(client.line(), line, "{command}");
        }
    }
}

#[test]
fn debugging_commands_are_there_for_who_asks_for_them() {
    let plain = start(["-m", "8"]);
    play(&mut Client::of(&plain), &[("debugtime p", "ERROR"), ("debugitem ref a", "ERROR")]);
    let daemon = start(["-m", "8", "-o", "relaxed_privileges"]);
    let mut client = Client::of(&daemon);
    play(
        &mut client,
        &[
            ("debugitem", "ERROR"),
            ("debugitem ref", "ERROR"),
            ("debugitem frob a", "ERROR"),
            ("debugitem ref a", "MISS"),
            ("debugitem unref a", "MISS"),
            ("debugitem unref reffed", "MISS"),
            ("debugitem lock a", "MISS"),
            ("debugitem unlock a", "MISS"),
            ("set a 0 0 1\r\nx", "STORED"),
            ("debugitem ref a", "OK"),
            ("debugitem ref a", "OK"),
            // What is referenced can be deleted; it stays for who holds it.
            ("delete a", "DELETED"),
            ("debugitem unref a", "OK"),
            ("debugitem unref reffed", "OK"),
            ("debugitem unref reffed", "MISS"),
        ],
    );
}

#[test]
fn a_locked_item_is_waited_for() {
    // Each connection has a worker of its own: one will stand still.
    let daemon = start(["-m", "8", "-t", "2", "-o", "relaxed_privileges"]);
    let (mut operator, mut other) = (Client::of(&daemon), Client::of(&daemon));
    play(
        &mut operator,
        &[
            ("set a 0 0 1\r\nx", "STORED"),
            ("debugitem lock a", "OK"),
            ("debugitem lock a", "ERROR"),
        ],
    );
    other.send("get a\r\n");
    // Statistics do not need the item.
    assert_eq!(operator.number("curr_items"), 1);
    play(&mut operator, &[("debugitem unlock a", "OK"), ("get a", "VALUE a 0 1|x|END")]);
    for line in ["VALUE a 0 1", "x", "END"] {
        assert_eq!(other.line(), line);
    }
}

#[test]
fn slabs_answers_as_memcached_does() {
    let daemon = agree(
        &["-m", "8"],
        &[
            ("slabs", "ERROR"),
            ("slabs reassign 1", "ERROR"),
            ("slabs reassign a b", "CLIENT_ERROR bad command line format"),
            ("slabs reassign 1 1", "SAME src and dst class are identical"),
            ("slabs reassign 300 300", "SAME src and dst class are identical"),
            ("slabs reassign 1 64", "BADCLASS invalid src or dst class id"),
            ("slabs reassign -5 70", "BADCLASS invalid src or dst class id"),
            ("slabs reassign 300 400", "BADCLASS invalid src or dst class id"),
            ("slabs reassign 2 1", "NOSPARE source class has no spare pages"),
            ("slabs automove", "ERROR"),
            ("slabs automove 0", "OK"),
            ("slabs automove 2", "OK"),
            ("slabs automove 1", "OK"),
            ("slabs automove 3", "ERROR"),
            ("slabs automove x", "CLIENT_ERROR bad command line format"),
            ("slabs automove ratio 0.5", "OK"),
            ("slabs automove ratio", "ERROR"),
            ("slabs automove window 100", "OK"),
            ("slabs automove window 2", "CLIENT_ERROR automove window too low or too high"),
            ("slabs automove window x", "CLIENT_ERROR bad command line format"),
        ],
    );
    let mut client = Client::of(&daemon);
    for (name, value) in [
        ("slab_reassign", "yes"),
        ("slab_automove", "1"),
        ("slab_automove_ratio", "0.50"),
        ("slab_automove_window", "100"),
    ] {
        assert_eq!(client.stat("stats settings", name), value, "{name}");
    }
    let disabled = "CLIENT_ERROR slab reassignment disabled";
    let still = agree(
        &["-m", "8", "-o", "no_slab_reassign,slab_automove=2"],
        &[("slabs reassign 1 2", disabled), ("slabs reassign a b", disabled)],
    );
    let mut client = Client::of(&still);
    assert_eq!(client.stat("stats settings", "slab_reassign"), "no");
    assert!(client.lines("stats").iter().all(|line| !line.contains("slab_reassign")));
}

#[test]
fn a_page_moves_and_takes_its_items_along() {
    let daemon = start(["-m", "8", "-o", "no_slab_automove"]);
    let mut client = Client::of(&daemon);
    let value = vec![b'x'; 70_000];
    for i in 0..60 {
        assert_eq!(client.set(&format!("k{i}"), &value), "STORED");
    }
    let class = client
        .lines("stats slabs")
        .iter()
        .find_map(|line| {
            line.strip_prefix("STAT ")?.split_once(":chunk_size").map(|at| at.0.to_owned())
        })
        .expect("there is a class");
    for i in 30..60 {
        assert_eq!(client.ask(&format!("delete k{i}")), "DELETED");
    }
    let pages = |client: &mut Client| -> u64 {
        client.stat("stats slabs", &format!("{class}:total_pages")).parse().unwrap()
    };
    let before = pages(&mut client);
    assert_eq!(client.ask(&format!("slabs reassign {class} 0")), "OK");
    eventually("the page has moved", || client.number("slabs_moved") == 1);
    assert_eq!(pages(&mut client), before - 1);
    assert_eq!(client.number("slab_global_page_pool"), 1);
    assert_eq!(client.number("slab_reassign_running"), 0);
    for i in 0..30 {
        assert_eq!(client.get(&format!("k{i}")).as_deref(), Some(&value[..]), "k{i}");
    }
}

#[test]
fn lru_answers_as_memcached_does() {
    let daemon = agree(
        &["-m", "8"],
        &[
            ("lru", "ERROR"),
            ("lru tune 10 25 0.1 1.5", "OK"),
            ("lru tune 10 25 0.1", "ERROR"),
            ("lru tune 40 41 0.1 1", "ERROR hot and warm pcts must not exceed 80"),
            ("lru tune 10 20 0 1", "ERROR hot/warm age factors must be greater than 0"),
            ("lru tune a b c d", "ERROR"),
            ("lru mode", "ERROR"),
            ("lru mode round", "ERROR"),
            ("lru mode flat", "OK"),
            ("lru temp_ttl", "ERROR"),
            ("lru temp_ttl x", "ERROR"),
            ("lru temp_ttl 30", "OK"),
        ],
    );
    let mut client = Client::of(&daemon);
    let settings = |client: &mut Client, expected: &[(&str, &str)]| {
        for (name, value) in expected {
            assert_eq!(client.stat("stats settings", name), *value, "{name}");
        }
    };
    let changed: &[(&str, &str)] = &[
        ("hot_lru_pct", "10"),
        ("warm_lru_pct", "25"),
        ("hot_max_factor", "0.10"),
        ("warm_max_factor", "1.50"),
        ("lru_maintainer_thread", "yes"),
        ("lru_segmented", "no"),
        ("temp_lru", "yes"),
        ("temporary_ttl", "30"),
    ];
    settings(&mut client, changed);
    play(&mut client, &[("lru mode segmented", "OK"), ("lru temp_ttl -1", "OK")]);
    settings(&mut client, &[("lru_segmented", "yes"), ("temp_lru", "no")]);

    let flat = agree(
        &["-m", "8", "-o", "no_lru_maintainer"],
        &[
            ("lru mode flat", "ERROR"),
            ("lru mode segmented", "ERROR"),
            ("lru temp_ttl 30", "ERROR"),
            ("lru tune 10 20 0.1 1", "OK"),
            ("set a 0 0 1\r\nx", "STORED"),
        ],
    );
    let mut client = Client::of(&flat);
    settings(&mut client, &[("lru_maintainer_thread", "no"), ("lru_segmented", "no")]);
    let maintained = ["lru_maintainer_juggles", "moves_to_cold", "hits_to_hot", "number_hot"];
    let shown = [client.lines("stats"), client.lines("stats items")].concat();
    assert!(
        !shown.iter().any(|line| maintained.iter().any(|name| line.contains(name))),
        "{shown:?}"
    );
}

#[test]
fn lru_crawler_answers_as_memcached_does() {
    let bad = "BADCLASS invalid class id";
    let daemon = agree(
        &["-m", "8"],
        &[
            ("lru_crawler", "ERROR"),
            ("lru_crawler frob", "ERROR"),
            ("lru_crawler crawl", "ERROR"),
            ("lru_crawler enable", "ERROR failed to start lru crawler thread"),
            ("lru_crawler sleep 5", "OK"),
            ("lru_crawler sleep 1000001", "CLIENT_ERROR sleep must be one second or less"),
            ("lru_crawler sleep x", "CLIENT_ERROR bad command line format"),
            ("lru_crawler tocrawl 100", "OK"),
            ("lru_crawler tocrawl x", "CLIENT_ERROR bad command line format"),
            ("lru_crawler crawl 0", bad),
            ("lru_crawler crawl 64", bad),
            ("lru_crawler crawl 1,x", bad),
            ("lru_crawler metadump 70", bad),
            ("lru_crawler disable", "OK"),
            ("lru_crawler disable", "OK"),
            ("lru_crawler crawl 1", "CLIENT_ERROR lru crawler disabled"),
            ("lru_crawler crawl 70", "CLIENT_ERROR lru crawler disabled"),
            ("lru_crawler metadump all", "CLIENT_ERROR lru crawler disabled"),
            ("lru_crawler mgdump 70", "CLIENT_ERROR lru crawler disabled"),
        ],
    );
    let mut client = Client::of(&daemon);
    assert_eq!(client.stat("stats settings", "lru_crawler"), "no");
    assert!(client.lines("stats").iter().all(|line| !line.contains("lru_crawler")));
    play(&mut client, &[("lru_crawler enable", "OK"), ("lru_crawler metadump all", "OK|END")]);
    for (name, value) in
        [("lru_crawler", "yes"), ("lru_crawler_sleep", "5"), ("lru_crawler_tocrawl", "100")]
    {
        assert_eq!(client.stat("stats settings", name), value, "{name}");
    }
    let off = start(["-m", "8", "-o", "no_lru_crawler,lru_crawler_sleep=7,lru_crawler_tocrawl=3"]);
    let mut client = Client::of(&off);
    assert_eq!(client.ask("lru_crawler crawl all"), "CLIENT_ERROR lru crawler disabled");
    assert_eq!(client.stat("stats settings", "lru_crawler_sleep"), "7");
    assert_eq!(client.stat("stats settings", "lru_crawler_tocrawl"), "3");
    agree(
        &["-m", "8", "-X"],
        &[
            ("lru_crawler metadump all", "ERROR metadump not allowed"),
            ("lru_crawler mgdump all", "ERROR key dump not allowed"),
        ],
    );
}

#[test]
fn a_crawl_takes_what_has_expired() {
    // The clock is moved by hand; nothing but a crawl looks at the items.
    let daemon = start(["-m", "8", "-o", "no_lru_maintainer,relaxed_privileges"]);
    let mut client = Client::of(&daemon);
    for i in 0..100 {
        let expires = if i % 2 == 0 { 10 } else { 0 };
        assert_eq!(client.ask(&format!("set k{i} 0 {expires} 1\r\nx")), "STORED");
    }
    play(&mut client, &[("debugtime 60", "OK"), ("lru_crawler crawl all", "OK")]);
    eventually("the crawl is over", || client.number("lru_crawler_running") == 0);
    assert_eq!(client.number("curr_items"), 50);
    assert_eq!(client.number("crawler_reclaimed"), 50);
    assert_eq!(client.number("crawler_items_checked"), 100);
    assert_eq!(client.stat("stats items", "items:1:crawler_reclaimed"), "50");
    assert!(client.number("lru_crawler_starts") >= 1);
}

#[test]
fn dumps_show_every_item_and_go_on() {
    let daemon = start(["-m", "64"]);
    let mut client = Client::of(&daemon);
    let n_items = 5_000;
    for i in 0..n_items {
        client.send(format!("set key-{i} 0 0 2 noreply\r\nxx\r\n"));
    }
    client.send("ms YSBi 1 b T100 F5\r\nx\r\n");
    assert_eq!(client.line(), "HD");
    for target in ["all", "hash"] {
        let lines = client.lines(&format!("lru_crawler metadump {target}"));
        assert_eq!(lines[0], "OK");
        let mut keys: Vec<&str> =
            lines[1..].iter().map(|line| line.split_once(' ').unwrap().0).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), n_items + 1, "{target}");
        let odd = lines.iter().find(|line| line.starts_with("key=a%20b exp=")).unwrap();
        assert!(odd.ends_with(" flags=5 ") && odd.contains(" fetch=no cls=1 "), "{odd}");
        let plain = lines.iter().find(|line| line.starts_with("key=key-7 ")).unwrap();
        assert!(plain.starts_with("key=key-7 exp=-1 la="), "{plain}");
        // In step.
        assert_eq!(client.ask("mn"), "MN");
    }
    client.send("lru_crawler mgdump 1\r\n");
    assert_eq!(client.line(), "OK");
    // An item that moves from one list to the next meanwhile may be shown twice.
    let mut shown = std::collections::BTreeSet::new();
    loop {
        let line = client.line();
        if line == "EN" {
            break;
        }
        shown.insert(line);
    }
    assert!(shown.contains("mg YSBi b"));
    assert_eq!(shown.len(), n_items + 1);
    // Others are served while somebody does not read.
    let mut lazy = Client::of(&daemon);
    lazy.send("lru_crawler metadump all\r\n");
    assert_eq!(lazy.line(), "OK");
    for i in 0..1000 {
        assert_eq!(client.get(&format!("key-{i}")).as_deref(), Some(&b"xx"[..]));
    }
    play(
        &mut client,
        &[(
            "mn\r\nlru_crawler metadump all\r\nmn",
            "MN|ERROR cannot pipeline other commands before metadump|MN",
        )],
    );
}

#[test]
fn cachedump_shows_what_is_in_the_coldest_queue() {
    // Without the maintainer that is all there is.
    let daemon = agree(
        &["-m", "8", "-o", "no_lru_maintainer,no_lru_crawler"],
        &[
            ("stats cachedump 1 0", "END"),
            ("set a 0 0 3\r\nabc", "STORED"),
            ("set b 0 0 0\r\n", "STORED"),
            ("ms Zm9v 1 b\r\nx", "HD"),
            // The newest first; a binary key is not shown.
            ("stats cachedump 1 0", "ITEM b [0 b; 0 s]|ITEM a [3 b; 0 s]|END"),
            ("stats cachedump 1 1", "ITEM b [0 b; 0 s]|END"),
            ("mn\r\nstats cachedump 1 1\r\nmn", "MN|ITEM b [0 b; 0 s]|END|MN"),
            ("stats cachedump 0 0", "END"),
            ("stats cachedump 63 0", "END"),
            ("stats cachedump 64 0", "CLIENT_ERROR Illegal slab id"),
            ("stats cachedump 1", "CLIENT_ERROR bad command line"),
            ("stats cachedump 1 x", "CLIENT_ERROR bad command line format"),
        ],
    );
    let mut client = Client::of(&daemon);
    // What memcached's text has room for, and no more.
    for i in 0..40_000 {
        client.send(format!("set {i:0>60} 0 0 1 noreply\r\nx\r\n"));
    }
    let class = 2;
    let lines = client.lines(&format!("stats cachedump {class} 0"));
    let bytes: usize = lines.iter().map(|line| line.len() + 2).sum();
    assert!(bytes + 5 < 2 << 20, "{bytes}");
}

#[test]
fn cache_memlimit_raises_and_lowers() {
    let daemon = start(["-m", "8", "-o", "slab_automove_window=3"]);
    let mut client = Client::of(&daemon);
    play(
        &mut client,
        &[
            ("cache_memlimit", "ERROR"),
            ("cache_memlimit x", "ERROR"),
            ("cache_memlimit 7", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"),
            (
                "cache_memlimit 1000000001",
                "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes",
            ),
            (
                "cache_memlimit 999999999",
                "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust",
            ),
            ("cache_memlimit 16", "OK"),
        ],
    );
    assert_eq!(client.stat("stats settings", "maxbytes"), (16 << 20).to_string());
    assert_eq!(client.number("limit_maxbytes"), 16 << 20);
    let value = vec![b'x'; 70_000];
    for i in 0..300 {
        assert_eq!(client.set(&format!("k{i}"), &value), "STORED");
    }
    let malloced = |client: &mut Client| -> u64 {
        client.stat("stats slabs", "total_malloced").parse().unwrap()
    };
    assert_eq!(malloced(&mut client), 16 << 20);
    client.send("cache_memlimit 8 noreply\r\n");
    eventually("the memory is given back", || malloced(&mut client) == 8 << 20);
    assert_eq!(client.get("k299").as_deref(), Some(&value[..]), "the newest stays");
}
