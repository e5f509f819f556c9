//! `watch`: what a connection is told that another one does.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use nuthatch_testkit::Daemon;

use crate::support::{
    Client, eventually, frame,
    opcode::{DELETE, GET, SET},
    start,
};

/// A connection that watches.
#[track_caller]
fn watch(daemon: &Daemon, kinds: &str) -> Client {
    let mut watcher = Client::of(daemon);
    assert_eq!(watcher.ask(&format!("watch {kinds}")), "OK");
    watcher
}

/// The next line that is told, without its time and number.
#[track_caller]
fn event(watcher: &mut Client) -> String {
    let line = watcher.line();
    let (time, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (gid, event) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (secs, us) = time.strip_prefix("ts=").and_then(|time| time.split_once('.')).unwrap();
    assert!(secs.parse::<u64>().is_ok() && us.parse::<u32>().is_ok(), "{line}");
    assert!(gid.strip_prefix("gid=").is_some_and(|gid| gid.parse::<u64>().is_ok()), "{line}");
    event.to_owned()
}

/// What is told of a conversation, up to a last `get end`; the connection's number is taken out.
#[track_caller]
fn told(args: &[&str], kinds: &str, sent: &[u8]) -> Vec<String> {
    let daemon = start(args);
    let mut watcher = watch(&daemon, &format!("fetchers {kinds}"));
    let mut client = Client::of(&daemon);
    client.send([sent, b"get end\r\n"].concat());
    let mut events = Vec::new();
    loop {
        let event = event(&mut watcher);
        if event.contains(" key=end ") {
            return events;
        }
        let cfd = event.split(' ').find(|word| word.starts_with("cfd=")).map(str::to_owned);
        events.push(match cfd {
            Some(cfd) => {
                assert!(cfd["cfd=".len()..].parse::<u32>().is_ok(), "{event}");
                event.replace(&cfd, "cfd=N")
            }
            None => event,
        });
    }
}

#[track_caller]
fn check(kinds: &str, sent: impl AsRef<[u8]>, expected: &[&str]) {
    assert_eq!(told(&[], kinds, sent.as_ref()), expected);
}

#[test]
fn every_command_that_looks_a_key_up_is_told() {
    let got = |status: &str, size: u32| {
        let class = u32::from(status == "found");
        format!("type=item_get key=a status={status} clsid={class} cfd=N size={size}")
    };
    let sent = b"get a\r\nset a 0 0 2\r\n10\r\nget a\r\ngat 0 a\r\ntouch a 0\r\nincr a 1\r\n\
        mg a v\r\nme a\r\nma a\r\nappend a 0 0 1\r\n0\r\nms a 1\r\nx\r\nmd a I\r\ndelete a\r\n\
        delete a\r\nmd a\r\nmg a\r\nincr a 1\r\ntouch a 0\r\ncas a 0 0 1 1\r\nx\r\n";
    let hits = [2, 2, 2, 2, 2, 2, 2, 2, 3, 1, 1].map(|size| got("found", size));
    let misses = vec![got("not_found", 0); 6];
    let expected = [vec![got("not_found", 0); 2], hits.to_vec(), misses].concat();
    assert_eq!(told(&[], "", sent), expected);
}

#[test]
fn a_miss_is_told_with_its_reason() {
    check(
        "",
        "set a 0 -1 1\r\nx\r\nget a\r\nset b 0 0 1\r\nx\r\nflush_all\r\nget b\r\nget b\r\n",
        &[
            "type=item_get key=a status=not_found clsid=0 cfd=N size=0",
            "type=item_get key=a status=expired clsid=0 cfd=N size=0",
            "type=item_get key=b status=not_found clsid=0 cfd=N size=0",
            "type=item_get key=b status=flushed clsid=0 cfd=N size=0",
            "type=item_get key=b status=not_found clsid=0 cfd=N size=0",
        ],
    );
}

#[test]
fn stores_are_told_with_their_outcome() {
    let sent = b"set a 0 100 1\r\n1\r\nadd a 0 0 2\r\n22\r\nreplace b 0 0 3\r\n333\r\n\
        append a 0 0 1\r\n4\r\nprepend a 0 0 1\r\n5\r\ncas a 0 0 1 999\r\n6\r\n\
        cas b 0 0 1 999\r\n7\r\nms c 2 ME\r\n88\r\nms c 1 MA\r\n9\r\nms c 1 C999\r\nx\r\n\
        ma n N60 J5\r\nms d 1 MA N0\r\nx\r\nmd c x\r\nset e 0 0 2000\r\n";
    let stored = told(
        &["-I", "1024", "-o", "slab_chunk_max=1"],
        "mutations",
        &[&sent[..], &[b'x'; 2000], b"\r\n"].concat(),
    );
    let stored: Vec<_> =
        stored.iter().filter_map(|event| event.strip_prefix("type=item_store ")).collect();
    assert_eq!(
        stored,
        [
            "key=a status=stored cmd=set ttl=100 clsid=1 cfd=N size=1",
            "key=a status=not_stored cmd=add ttl=0 clsid=1 cfd=N size=2",
            "key=b status=not_stored cmd=replace ttl=0 clsid=1 cfd=N size=3",
            "key=a status=stored cmd=append ttl=100 clsid=1 cfd=N size=2",
            "key=a status=stored cmd=prepend ttl=100 clsid=1 cfd=N size=3",
            "key=a status=exists cmd=cas ttl=0 clsid=1 cfd=N size=1",
            "key=b status=not_found cmd=cas ttl=0 clsid=1 cfd=N size=1",
            "key=c status=stored cmd=add ttl=0 clsid=1 cfd=N size=2",
            "key=c status=stored cmd=append ttl=0 clsid=1 cfd=N size=3",
            "key=c status=exists cmd=cas ttl=0 clsid=1 cfd=N size=1",
            "key=n status=stored cmd=add ttl=60 clsid=1 cfd=N size=1",
            "key=d status=stored cmd=append ttl=0 clsid=1 cfd=N size=1",
            "key=c status=stored cmd=set ttl=0 clsid=1 cfd=N size=0",
            "key=e status=too_large cmd=set ttl=0 clsid=0 cfd=N size=0",
        ]
    );
}

#[test]
fn deletions_are_told_and_marks_are_not() {
    check(
        "deletions",
        "set a 0 0 3\r\nabc\r\nmd a I\r\ndelete a\r\ndelete a\r\nset a 0 0 2\r\nxy\r\nmd a\r\n",
        &[
            "type=item_get key=a status=not_found clsid=0 cfd=N size=0",
            "type=item_get key=a status=found clsid=1 cfd=N size=3",
            "type=item_get key=a status=found clsid=1 cfd=N size=3",
            "type=deleted key=a cmd=delete clsid=1 size=3",
            "type=item_get key=a status=not_found clsid=0 cfd=N size=0",
            "type=item_get key=a status=not_found clsid=0 cfd=N size=0",
            "type=item_get key=a status=found clsid=1 cfd=N size=2",
            "type=deleted key=a cmd=md clsid=1 size=2",
        ],
    );
}

#[test]
fn a_value_too_large_for_the_buffers_is_told_too() {
    let sent = [b"set a 0 0 3000000\r\n".to_vec(), vec![b'x'; 3_000_000], b"\r\n".to_vec()];
    let daemon = start(["-m", "8"]);
    let mut watcher = watch(&daemon, "mutations");
    Client::of(&daemon).send(sent.concat());
    assert_eq!(
        event(&mut watcher),
        "type=item_store key=a status=too_large cmd=set ttl=0 clsid=0 cfd=-1 size=0"
    );
}

#[test]
fn keys_are_one_word() {
    check(
        "",
        b"get a/b\x01\xff%\r\nmg IAo= b\r\n",
        &[
            "type=item_get key=a%2Fb%01%FF%25 status=not_found clsid=0 cfd=N size=0",
            "type=item_get key=%20%0A status=not_found clsid=0 cfd=N size=0",
        ],
    );
}

#[test]
fn the_binary_protocol_is_watched_like_the_other() {
    let daemon = start(["-m", "8"]);
    let mut watcher = watch(&daemon, "fetchers mutations deletions");
    let sent = [
        frame(SET, &[0; 8], "a", "12345"),
        frame(GET, &[], "a", ""),
        frame(DELETE, &[], "a", ""),
        frame(GET, &[], "a", ""),
    ];
    let mut connection = daemon.connect().unwrap();
    connection.write_all(&sent.concat()).unwrap();
    let cut = |event: String| event.split(" cfd=").next().unwrap().to_owned();
    let events = [(); 6].map(|()| cut(event(&mut watcher)));
    assert_eq!(
        events,
        [
            "type=item_get key=a status=not_found clsid=0",
            "type=item_store key=a status=stored cmd=set ttl=0 clsid=1",
            "type=item_get key=a status=found clsid=1",
            "type=item_get key=a status=found clsid=1",
            "type=deleted key=a cmd=delete clsid=1 size=5",
            "type=item_get key=a status=not_found clsid=0",
        ]
    );
}

#[test]
fn evictions_are_told_as_they_happen() {
    let daemon = start(["-m", "8", "-o", "worker_logbuf_size=4096"]);
    let mut client = Client::of(&daemon);
    let mut watcher = watch(&daemon, "evictions");
    let value = [b'x'; 20_000];
    assert_eq!(client.set("read", &value), "STORED");
    assert_eq!(client.get("read").as_deref(), Some(&value[..]));
    for n in 0..600 {
        assert_eq!(client.set(&format!("k{n}"), &value), "STORED");
    }
    let n_evicted = client.number("evictions");
    assert!(n_evicted > 100, "{n_evicted}");
    for n in 0..n_evicted {
        let event = event(&mut watcher);
        assert!(event.starts_with("type=eviction key="), "{n}: {event}");
        let is_read = event.contains(" key=read ");
        assert!(event.contains(if is_read { " fetch=yes " } else { " fetch=no " }), "{event}");
        assert!(event.contains(" ttl=-1 la=") && event.ends_with(" size=20000"), "{event}");
    }
}

#[test]
fn connections_are_told_as_they_come_and_go() {
    // With one worker, nobody who came before the watcher is told of after it.
    let daemon = start(["-m", "8", "-t", "1"]);
    let mut watcher = watch(&daemon, "connevents");
    // The connection that the daemon's start was seen by may not be gone yet.
    let next = |watcher: &mut Client, what: &str| loop {
        let event = event(watcher);
        if event.starts_with(&format!("type={what}")) {
            return event;
        }
    };
    for (sent, reason) in [("version\r\nquit\r\n", "normal"), ("GET / HTTP/1.1\r\n", "error")] {
        let mut client = Client::of(&daemon);
        let new = next(&mut watcher, "conn_new");
        assert!(new.starts_with("type=conn_new rip=127.0.0.1 rport="), "{new}");
        let (end, cfd) = new["type=conn_new ".len()..].split_once(" cfd=").unwrap();
        assert!(end.ends_with(" transport=tcp"), "{new}");
        client.send(sent);
        client.rest();
        let expected = format!("type=conn_close {end} reason={reason} cfd={cfd}");
        assert_eq!(next(&mut watcher, &format!("conn_close {end}")), expected);
    }
    // Requests are told with the same number.
    let mut client = Client::of(&daemon);
    let new = next(&mut watcher, "conn_new");
    let mut fetches = watch(&daemon, "fetchers");
    assert_eq!(client.get("a"), None);
    let cfd = new.rsplit(' ').next().unwrap();
    assert!(event(&mut fetches).contains(&format!(" {cfd} ")), "{new}");
}

#[test]
fn maintenance_is_told() {
    let daemon = start(["-m", "8", "-o", "relaxed_privileges"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("a", b"x"), "STORED");
    let mut watcher = watch(&daemon, "sysevents");
    let is_over = AtomicBool::new(false);
    let event = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Crawls come by the clock.
            while !is_over.load(Relaxed) {
                assert_eq!(client.ask("debugtime 70"), "OK");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let event = event(&mut watcher);
        is_over.store(true, Relaxed);
        event
    });
    let names: Vec<_> = event.split(' ').map(|word| word.split('=').next().unwrap()).collect();
    assert_eq!(
        names.join(" "),
        "type crawler lru low_mark next_reclaims since_run next_run elapsed examined reclaimed"
    );
    assert!(event.starts_with("type=lru_crawler crawler="), "{event}");
}

#[test]
fn not_everybody_may_watch() {
    let daemon = start(["-m", "8", "-W"]);
    let mut client = Client::of(&daemon);
    for command in ["watch", "watch mutations", "watch frob"] {
        assert_eq!(client.ask(command), "CLIENT_ERROR watch commands not allowed");
    }
    let daemon = start(["-m", "8"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.ask("watch frob"), "ERROR");
    assert_eq!(client.ask("watch fetchers frob"), "ERROR");
    client.send("version\r\nwatch\r\n");
    assert_eq!(client.line(), "VERSION 1.6.45");
    assert_eq!(client.line(), "ERROR cannot pipeline other commands before watch");
    let watchers: Vec<_> = (0..20).map(|_| watch(&daemon, "evictions")).collect();
    assert_eq!(client.ask("watch"), "WATCHER_TOO_MANY log watcher limit reached");
    assert_eq!(client.number("log_watchers"), 20);
    drop(watchers);
    eventually("they are gone", || client.number("log_watchers") == 0);
    assert_eq!(client.ask("watch"), "OK");
}

#[test]
fn words_may_be_short_and_some_have_nothing_to_tell() {
    let daemon = start(["-m", "8"]);
    // What only the proxy has is taken too.
    let mut watcher = watch(&daemon, "raw proxyreqs proxyevents proxyuser mut");
    let mut client = Client::of(&daemon);
    assert_eq!(client.get("a"), None);
    assert_eq!(client.set("a", b"x"), "STORED");
    assert!(event(&mut watcher).starts_with("type=item_store key=a "));
    // What a watcher says is not answered.
    watcher.send("version\r\n");
    assert_eq!(client.set("b", b"x"), "STORED");
    assert!(event(&mut watcher).starts_with("type=item_store key=b "));
}

#[test]
fn who_does_not_read_misses_lines_and_learns_how_many() {
    let daemon = start(["-m", "8", "-o", "watcher_logbuf_size=8,worker_logbuf_size=4096"]);
    let mut watcher = watch(&daemon, "fetchers");
    let mut client = Client::of(&daemon);
    let key = "k".repeat(200);
    let batch = format!("get {key}\r\n").repeat(1000);
    eventually("there is no room any more", || {
        client.send(&batch);
        (0..1000).for_each(|_| assert_eq!(client.line(), "END"));
        client.number("log_watcher_skipped") > 0
    });
    // Somebody else's events are not held up.
    let mut other = watch(&daemon, "mutations");
    assert_eq!(client.set("a", b"x"), "STORED");
    assert!(event(&mut other).starts_with("type=item_store key=a "));
    let mut n_lines = 0;
    let skipped = loop {
        let line = watcher.line();
        if let Some(n) = line.strip_prefix("skipped=") {
            break n.parse::<u64>().unwrap();
        }
        n_lines += 1;
        if n_lines % 50 == 0 {
            assert_eq!(client.get("next"), None);
        }
    };
    assert!(skipped > 0);
    assert!(event(&mut watcher).starts_with("type=item_get key="));
    assert_eq!(client.ask("stats reset"), "RESET");
    assert_eq!(client.number("log_watcher_skipped"), 0);
    assert_eq!(client.number("log_worker_written"), 0);
    assert_eq!(client.number("log_watchers"), 2);
}

#[test]
fn a_server_that_has_given_up_system_calls_can_still_be_watched() {
    let daemon = start(["-m", "8", "-o", "drop_privileges"]);
    let mut watcher = watch(&daemon, "");
    assert_eq!(Client::of(&daemon).get("a"), None);
    assert!(event(&mut watcher).starts_with("type=item_get key=a "));
}
