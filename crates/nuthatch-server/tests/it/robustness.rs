//! Clients that misbehave: the server stays up, small, and there for everybody else.
//!
//! The long versions of these are behind `NUTHATCH_SOAK`, which `cargo xtask soak` sets.

use std::{
    env,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{
    Client, Random, address, eventually, find_python, raise_open_files, rss_kib, skip, start,
};

/// Whether the long versions are asked for.
pub(crate) fn is_soak() -> bool {
    env::var_os("NUTHATCH_SOAK").is_some()
}

/// `used_chunks` of all slab classes.
fn used_chunks(client: &mut Client) -> u64 {
    let lines = client.lines("stats slabs");
    let used = lines.iter().filter_map(|line| line.split_once(":used_chunks "));
    used.map(|(_, n)| n.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_client_that_does_not_read_costs_no_memory_and_no_service() {
    let daemon = start(["-t", "1"]);
    let mut client = Client::of(&daemon);
    let value = vec![b'v'; 900_000];
    assert_eq!(client.set("large", &value), "STORED");
    assert_eq!(client.set("small", &[b's'; 2000]), "STORED");
    // Warm: buffers, the pool, the allocator's own.
    assert_eq!(client.get("large").unwrap(), value);
    let before = rss_kib(daemon.pid());

    let mut deaf = Vec::new();
    for key in ["large", "small", "large", "small"] {
        let mut connection = TcpStream::connect(address(&daemon)).unwrap();
        connection.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        // Gigabytes of answers, asked for until the server takes no more questions.
        let questions = format!("get {key}\r\n").repeat(1000);
        let mut asked = 0;
        while asked < 5000 {
            match connection.write(questions.as_bytes()) {
                Ok(_) => asked += 1,
                Err(error) if is_timeout(&error) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(asked < 5000, "the server reads on without being read");
        deaf.push(connection);
    }
    for _ in 0..100 {
        assert_eq!(client.get("small").unwrap().len(), 2000, "others are served meanwhile");
    }
    let grown = rss_kib(daemon.pid()).saturating_sub(before);
    eprintln!("four deaf clients: {grown} KiB more");
    assert!(grown < 4 * 1024, "{grown} KiB for four clients that do not read");
    // What they hold of the value stays intact while it is replaced.
    assert_eq!(client.set("large", b"new"), "STORED");
    assert_eq!(client.get("large").unwrap(), b"new");
    drop(deaf);
    eventually("they are gone", || client.number("curr_connections") == 1);
    assert_eq!(client.number("handler_panics"), 0);
    assert_eq!(used_chunks(&mut client), 2, "what they held is given back");
}

/// A line of a retrieval may be long, and its answer a thousand times as long: neither is ever in
/// memory as a whole.
#[test]
fn a_long_retrieval_that_nobody_reads_costs_no_memory() {
    let daemon = start(["-t", "1"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("k", &[b'v'; 4000]), "STORED");
    let before = rss_kib(daemon.pid());
    let mut deaf = Client::of(&daemon);
    deaf.send(format!("get{}\r\nmn\r\n", " k".repeat(100_000)));
    eventually("the server is at it", || client.number("get_hits") > 500);
    // It stops when the socket takes no more; the hits stand still then.
    let mut hits = 0;
    eventually("the server waits", || {
        let before = std::mem::replace(&mut hits, client.number("get_hits"));
        thread::sleep(Duration::from_millis(20));
        before == hits
    });
    let grown = rss_kib(daemon.pid()).saturating_sub(before);
    eprintln!("400 MB of an answer that nobody reads: {grown} KiB more");
    assert!(hits < 50_000 && grown < 4 * 1024, "{hits} hits, {grown} KiB");
    for _ in 0..100_000 {
        assert_eq!(deaf.line(), "VALUE k 0 4000");
        assert_eq!(deaf.line().len(), 4000);
    }
    assert_eq!([deaf.line(), deaf.line()], ["END", "MN"], "all of it comes when it is read");

    let mut endless = TcpStream::connect(address(&daemon)).unwrap();
    let line = [b"get".as_slice(), &b" k".repeat(500_000)].concat();
    let refused = (0..100).any(|_| endless.write_all(&line).is_err());
    assert!(refused, "a line without end is not read for ever");
    assert!(rss_kib(daemon.pid()).saturating_sub(before) < 16 * 1024);
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[test]
fn a_half_sent_value_leaves_nothing_behind() {
    let daemon = start([""; 0]);
    let mut client = Client::of(&daemon);
    for len in [10, 5000, 100_000, 900_000] {
        assert_eq!(client.set("kept", &vec![b'k'; len]), "STORED");
        let used = used_chunks(&mut client);
        for sent in [0, 1, len / 2, len, len + 1] {
            let mut half = Client::of(&daemon);
            let head = format!("set half 0 0 {len}\r\n");
            let bytes = [head.as_bytes(), &vec![b'h'; len], b"\r\n"].concat();
            half.send(&bytes[..head.len() + sent]);
            // Let the server come to the value before the end comes.
            eventually("it was read", || client.number("curr_connections") == 2);
            drop(half);
            eventually("it is gone", || client.number("curr_connections") == 1);
            assert_eq!(used_chunks(&mut client), used, "{sent} of {len} bytes");
            assert_eq!(client.get("half"), None);
        }
        assert_eq!(client.get("kept").unwrap().len(), len);
    }
}

#[test]
fn an_announced_gibibyte_takes_nothing_and_evicts_nothing() {
    let daemon = start(["-I", "1024m", "-m", "4096"]);
    let mut client = Client::of(&daemon);
    for i in 0..100 {
        assert_eq!(client.set(&format!("k{i}"), &[b'x'; 1000]), "STORED");
    }
    let before = rss_kib(daemon.pid());
    let announced: Vec<Client> = (0..8)
        .map(|i| {
            let mut boaster = Client::of(&daemon);
            boaster.send(format!("set boast{i} 0 0 1073741000\r\nbut only so much"));
            boaster
        })
        .collect();
    eventually("all are there", || client.number("curr_connections") == 9);
    assert_eq!(client.get("k0").unwrap().len(), 1000);
    assert_eq!(client.number("curr_items"), 100);
    assert_eq!(client.number("evictions"), 0);
    let grown = rss_kib(daemon.pid()).saturating_sub(before);
    eprintln!("eight gibibytes announced: {grown} KiB more");
    assert!(grown < 16 * 1024, "{grown} KiB for eight announcements");
    drop(announced);
    eventually("all are gone", || client.number("curr_connections") == 1);
    assert_eq!(used_chunks(&mut client), 100);
}

/// When the memory is full, values that are announced take nothing from what is there until a
/// buffer of them has come.
#[test]
fn announcements_take_nothing_of_a_full_memory() {
    let daemon = start(["-m", "32", "-I", "16m"]);
    let mut client = Client::of(&daemon);
    for i in 0..80 {
        assert_eq!(client.set(&format!("k{i}"), &[b'x'; 500_000]), "STORED");
    }
    assert!(client.number("evictions") > 0, "the memory is full");
    let items = client.number("curr_items");
    let announced: Vec<Client> = (0..200)
        .map(|i| {
            let mut boaster = Client::of(&daemon);
            let len = if i % 2 == 0 { 16_000_000 } else { 400_000 };
            boaster.send(format!("set boast{i} 0 0 {len}\r\nx"));
            boaster
        })
        .collect();
    eventually("all are there", || client.number("curr_connections") == 201);
    assert_eq!(client.ask("mn"), "MN");
    assert_eq!(client.number("curr_items"), items);
    drop(announced);
}

#[test]
fn a_client_killed_under_load_leaves_the_server_serving() {
    let Some(python) = find_python() else { return skip("there is no python3") };
    let daemon = start(["-t", "2"]);
    let mut client = Client::of(&daemon);
    let script = "
import socket, sys
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
print('up', flush=True)
v = b'v' * 300000
while True:
    s.sendall(b'set a 0 0 300000\\r\\n' + v + b'\\r\\n' + b'get a\\r\\n')
    s.recv(1000)
";
    for _ in 0..3 {
        let sets = client.number("cmd_set");
        let port = daemon.port().unwrap().to_string();
        let mut load = Command::new(&python)
            .args(["-c", script, &port])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut first = [0; 2];
        load.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        eventually("it is under way", || client.number("cmd_set") > sets);
        load.kill().unwrap();
        load.wait().unwrap();
        eventually("it is gone", || client.number("curr_connections") == 1);
    }
    assert_eq!(client.set("b", b"x"), "STORED");
    assert!(used_chunks(&mut client) <= 2 + 1, "{:#?}", client.lines("stats slabs"));
    assert_eq!(client.number("handler_panics"), 0);
}

#[test]
fn a_thousand_clients_are_served() {
    many_clients(1000);
}

/// The long version opens ten thousand.
#[test]
fn soak_ten_thousand_clients_are_served() {
    if is_soak() {
        many_clients(9_900);
    }
}

fn many_clients(n: usize) {
    let room = raise_open_files();
    if room < n as u64 + 200 {
        return skip("too few open files are allowed here");
    }
    let daemon = start(["-c", "12000"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("a", b"shared by all"), "STORED");
    let before = rss_kib(daemon.pid());
    let mut clients: Vec<Client> = (0..n).map(|_| Client::of(&daemon)).collect();
    for client in &mut clients {
        client.send("get a\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.line(), "VALUE a 0 13");
        assert_eq!([client.line(), client.line()], ["shared by all", "END"]);
    }
    assert_eq!(client.number("curr_connections"), n as u64 + 1);
    let each = (rss_kib(daemon.pid()).saturating_sub(before) * 1024) / n as u64;
    eprintln!("{n} idle clients: {each} bytes of RSS each");
    assert!(each < 8 * 1024, "{each} bytes for an idle connection");
    drop(clients);
    eventually("all are gone", || client.number("curr_connections") == 1);
}

/// What is sent to confuse: lines that look like commands, with rubbish in them.
fn garbage(random: &mut Random) -> Vec<u8> {
    const WORDS: &[&[u8]] = &[
        b"get",
        b"gets",
        b"gat",
        b"set",
        b"add",
        b"cas",
        b"append",
        b"incr",
        b"decr",
        b"touch",
        b"delete",
        b"mg",
        b"ms",
        b"md",
        b"ma",
        b"me",
        b"mn",
        b"stats",
        b"verbosity",
        b"watch",
        b"lru",
        b"lru_crawler",
        b"slabs",
        b"cache_memlimit",
        b"extstore",
        b"noreply",
        b"version",
        b"a",
        b"b",
        b"0",
        b"1",
        b"-1",
        b"2",
        b"99999999999999999999",
        b"4294967295",
        b"1048576",
        b"v",
        b"q",
        b"k",
        b"b",
        b"S2",
        b"T-1",
        b"N5",
        b"I",
        b"MA",
        b"Oxyz",
        b"c",
        b"t",
        b"items",
        b"slabs",
        b"settings",
        b"reset",
        b"detail",
        b"cachedump",
        b"\0",
        b"\x80",
        b"\xff\xfe",
    ];
    const GAPS: &[&[u8]] = &[b" ", b" ", b" ", b"\r\n", b"\r\n", b"\n", b"  ", b"\t", b"\r", b""];
    match random.below(4) {
        0 => {
            let len = random.below(300);
            random.bytes(len)
        }
        _ => {
            let mut line = Vec::new();
            for _ in 0..random.below(12) {
                line.extend_from_slice(random.one_of(WORDS));
                line.extend_from_slice(random.one_of(GAPS));
            }
            line.extend_from_slice(b"\r\n");
            line
        }
    }
}

#[test]
fn no_garbage_ends_the_server() {
    let daemon = start(["-t", "2", "-m", "16"]);
    let mut client = Client::of(&daemon);
    let rounds = if is_soak() { 200_000 } else { 3000 };
    for seed in 0..rounds {
        let mut random = Random::new(seed);
        let mut connection = daemon.connect().unwrap();
        for _ in 0..random.below(8) + 1 {
            // The server may have closed; that is its right.
            if connection.write_all(&garbage(&mut random)).is_err() {
                break;
            }
        }
        if seed % 16 == 0 {
            // Leave without reading what came: the server's next write fails.
            drop(connection);
        } else {
            let _ = connection.finish_writing();
            let mut answers = [0; 512];
            // At most so much; the rest is left unread.
            let _ = connection.read(&mut answers);
        }
        if seed % 100 == 0 {
            assert_eq!(client.ask("mn"), "MN", "seed {seed}");
        }
    }
    assert_eq!(client.number("handler_panics"), 0);
    assert_eq!(client.set("after", b"all"), "STORED");
    assert_eq!(client.get("after").unwrap(), b"all");
    eventually("all are gone", || client.number("curr_connections") == 1);
}

/// What a server needs besides `-m`, when `-m` is full.
#[test]
fn a_full_memory_stays_within_its_limit() {
    let daemon = start(["-m", "64", "-t", "4"]);
    let mut client = Client::of(&daemon);
    let empty = rss_kib(daemon.pid());
    let mut random = Random::new(1);
    let mut n_sets = 0;
    while client.number("evictions") < 20_000 {
        let mut batch = Vec::new();
        for _ in 0..10_000 {
            let len = random.below(1000);
            batch.extend_from_slice(format!("set key-{n_sets} 0 0 {len} noreply\r\n").as_bytes());
            batch.extend(std::iter::repeat_n(b'v', len));
            batch.extend_from_slice(b"\r\n");
            n_sets += 1;
        }
        client.send(&batch);
        assert!(n_sets < 2_000_000, "64 MiB never fill");
    }
    let full = rss_kib(daemon.pid());
    let items = client.number("curr_items");
    let (stored, index) = (client.number("bytes") >> 10, client.number("hash_bytes") >> 10);
    eprintln!(
        "-m 64: {empty} KiB empty, {full} KiB full of {items} items ({stored} KiB of items, \
         {index} KiB of index)"
    );
    assert!(full < (64 + 24) * 1024, "{full} KiB");
    let malloced: u64 = client.stat("stats slabs", "total_malloced").parse().unwrap();
    assert!(malloced <= 64 << 20, "{malloced}");
}

/// The largest value there is goes in and comes out again.
#[test]
fn soak_a_value_of_a_gibibyte() {
    if !is_soak() {
        return;
    }
    let daemon = start(["-I", "1024m", "-m", "4096"]);
    let mut client = Client::of(&daemon);
    let len = (1 << 30) - 1024;
    let value = Random::new(7).bytes(1 << 20).repeat(1024)[..len].to_vec();
    for _ in 0..2 {
        let writer = {
            let value = value.clone();
            let connection = daemon.connect().unwrap();
            thread::spawn(move || Client::on(connection).set("huge", &value))
        };
        assert_eq!(writer.join().unwrap(), "STORED");
        assert!(client.get("huge").unwrap() == value, "what comes out is what went in");
    }
    eprintln!("a value of {len} bytes: {} KiB of RSS", rss_kib(daemon.pid()));
    assert_eq!(client.ask("delete huge"), "DELETED");
    assert_eq!(used_chunks(&mut client), 0);
}
