//! Every option does what it says: seen from a client, or from the process.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
};

use nix::sys::signal::Signal;
use nuthatch_testkit::Daemon;

use crate::support::{
    Bare, Client, NUTHATCHD, eventually, is_gone, proc_status, run, signal, skip, start, told_pid,
};

/// What a store answers when there is no room.
const NO_ROOM: &str = "SERVER_ERROR out of memory storing object";

const TOO_LARGE: &str = "SERVER_ERROR object too large for cache";

#[test]
fn c_without_maxconns_fast_makes_clients_wait() {
    let daemon = start(["-c", "3", "-o", "no_maxconns_fast"]);
    let mut clients: Vec<Client> = Vec::new();
    // The connection that the daemon's start was seen by may not be gone yet.
    eventually("three are served", || {
        clients.clear();
        clients.extend((0..3).map(|_| Client::of(&daemon)));
        clients[0].number("curr_connections") == 3
    });
    let mut waiting = Client::of(&daemon);
    waiting.send("mn\r\n");
    eventually("accepting is suspended", || clients[0].number("accepting_conns") == 0);
    assert_eq!(clients[0].number("curr_connections"), 3, "the fourth is not taken up");
    assert!(clients[0].number("listen_disabled_num") > 0);
    let stats = clients[0].lines("stats");
    let is_rejecting = stats.iter().any(|line| line.starts_with("STAT rejected_connections "));
    assert!(!is_rejecting, "none is rejected, nor counted as such");
    drop(clients.pop());
    assert_eq!(waiting.line(), "MN", "it is served when another one has left");
    assert!(clients[0].number("time_in_listen_disabled_us") > 0);
    drop(clients);
    eventually("accepting goes on", || waiting.number("accepting_conns") == 1);
}

#[test]
fn m_and_big_m_bound_the_memory_and_refuse_what_is_beyond() {
    let daemon = start(["-m", "4", "-M"]);
    let mut client = Client::of(&daemon);
    let value = vec![b'x'; 100_000];
    let stored = (0..100).take_while(|i| client.set(&format!("k{i}"), &value) == "STORED").count();
    assert!((20..=42).contains(&stored), "{stored} values of 100 kB in 4 MiB");
    assert_eq!(client.set("one-more", &value), NO_ROOM);
    assert_eq!(client.number("evictions"), 0);
    assert_eq!(client.number("curr_items"), stored as u64);
    assert_eq!(client.get("k0").unwrap().len(), value.len(), "what is there stays");
    assert_eq!(client.ask("delete k0"), "DELETED");
    assert_eq!(client.set("again", &value), "STORED", "a place that is free is used");
    assert_eq!(client.stat("stats settings", "evictions"), "off");
}

#[test]
fn m_alone_evicts_the_oldest() {
    let daemon = start(["-m", "4"]);
    let mut client = Client::of(&daemon);
    let value = vec![b'x'; 100_000];
    for i in 0..100 {
        assert_eq!(client.set(&format!("k{i}"), &value), "STORED");
    }
    assert!(client.number("evictions") > 50);
    assert!(client.number("bytes") <= 4 << 20);
    assert_eq!(client.get("k0"), None);
    assert_eq!(client.get("k99").unwrap(), value);
    assert_eq!(client.number("limit_maxbytes"), 4 << 20);
}

#[test]
fn big_i_bounds_an_item() {
    let daemon = start(["-I", "2k", "-o", "slab_chunk_max=1"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("a", &[b'x'; 1500]), "STORED");
    assert_eq!(client.set("a", &[b'x'; 2048]), TOO_LARGE);
    assert_eq!(client.get("a"), None, "a failed replacement takes the old value with it");
    assert_eq!(client.ask("mn"), "MN", "the value of the refused command was skipped");
    drop(daemon);

    let daemon = start(["-I", "4m"]);
    let mut client = Client::of(&daemon);
    let value = vec![b'y'; 3 << 20];
    assert_eq!(client.set("a", &value), "STORED");
    assert_eq!(client.get("a").unwrap(), value);
    assert_eq!(client.stat("stats settings", "item_size_max"), (4 << 20).to_string());
}

#[test]
fn big_c_stores_no_cas() {
    let daemon = start(["-C"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("a", b"x"), "STORED");
    assert_eq!(client.ask("gets a"), "VALUE a 0 1 0");
    assert_eq!([client.line(), client.line()], ["x", "END"]);
    assert_eq!(client.stat("stats settings", "cas_enabled"), "no");
}

#[test]
fn big_a_allows_shutdown_and_nothing_else_does() {
    let mut daemon = start(["-A"]);
    let pidless = Client::of(&daemon);
    let mut client = Client::of(&daemon);
    client.send("shutdown\r\n");
    assert_eq!(client.rest(), b"");
    let status = daemon.wait().unwrap().expect("it ends");
    assert!(status.success(), "{status}: {}", daemon.stderr());
    assert_eq!(pidless.rest(), b"", "the others are closed");

    let daemon = start([""; 0]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.ask("shutdown"), "SERVER_ERROR: shutdown not enabled");
    assert_eq!(client.ask("mn"), "MN");
}

#[test]
fn big_f_refuses_flush_all() {
    let daemon = start(["-F"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("a", b"x"), "STORED");
    assert_eq!(client.ask("flush_all"), "CLIENT_ERROR flush_all not allowed");
    assert_eq!(client.get("a").unwrap(), b"x");
}

#[test]
fn big_w_and_big_x_refuse_watching_and_dumping() {
    let daemon = start(["-W", "-X"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.ask("watch fetchers"), "CLIENT_ERROR watch commands not allowed");
    assert_eq!(client.ask("stats cachedump 1 1"), "CLIENT_ERROR stats cachedump not allowed");
    assert_eq!(client.ask("stats detail on"), "CLIENT_ERROR stats detail not allowed");
}

#[test]
fn t_makes_threads() {
    let threads = |n: &str| {
        let daemon = start(["-t", n]);
        let mut client = Client::of(&daemon);
        assert_eq!(client.stat("stats", "threads"), n);
        assert_eq!(client.stat("stats settings", "num_threads"), n);
        proc_status(daemon.pid(), "Threads:").parse::<u32>().unwrap()
    };
    assert_eq!(threads("7") - threads("2"), 5);
}

#[test]
fn big_r_makes_long_pipelines_take_turns() {
    let yields = |budget: &str| {
        let daemon = start(["-t", "1", "-R", budget]);
        let mut client = Client::of(&daemon);
        client.send("get a\r\n".repeat(100));
        (0..100).for_each(|_| assert_eq!(client.line(), "END"));
        client.number("conn_yields")
    };
    assert_eq!(yields("1000"), 0);
    assert!(yields("10") >= 8, "a hundred commands take ten turns");
}

#[test]
fn idle_clients_are_closed_where_asked_for() {
    let daemon = start(["-o", "idle_timeout=1"]);
    let mut idle = Client::of(&daemon);
    assert_eq!(idle.ask("mn"), "MN");
    assert_eq!(idle.rest(), b"");
    assert!(Client::of(&daemon).number("idle_kicks") >= 1);
    assert_eq!(Client::of(&daemon).stat("stats settings", "idle_timeout"), "1");

    // memcached leaves Unix sockets out, and so does this.
    let unix = Daemon::builder(NUTHATCHD).args(["-o", "idle_timeout=1"]).unix().start().unwrap();
    assert_eq!(Client::of(&unix).stat("stats settings", "idle_timeout"), "1");
}

#[test]
fn f_n_and_chunk_options_shape_the_slabs() {
    let daemon = start(["-f", "2", "-n", "200"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("a", b"x"), "STORED");
    assert_eq!(client.stat("stats settings", "growth_factor"), "2.00");
    assert_eq!(client.stat("stats settings", "chunk_size"), "200");
    let smallest: u64 = client.stat("stats slabs", "1:chunk_size").parse().unwrap();
    assert!((200..=300).contains(&smallest), "{smallest}");
}

#[test]
fn a_lean_profile_serves_the_same_with_other_slabs() {
    let daemon = start(["-m", "8", "-o", "profile=lean"]);
    let mut client = Client::of(&daemon);
    assert_eq!(client.set("a", b"x"), "STORED");
    assert_eq!(client.stat("stats settings", "growth_factor"), "1.08");
    let smallest: u64 = client.stat("stats slabs", "1:chunk_size").parse().unwrap();
    assert!(smallest < 96, "{smallest}");
    let value = vec![b'x'; 70_000];
    for i in 0..200 {
        assert_eq!(client.set(&format!("k{i}"), &value), "STORED");
    }
    assert!(client.number("evictions") > 0);
    assert_eq!(client.get("k199").as_deref(), Some(&value[..]));
    assert_eq!(client.ask("lru_crawler metadump hash"), "OK");
}

#[test]
fn nothing_of_a_value_is_logged() {
    for level in ["-v", "-vv", "-vvv"] {
        let daemon = start([level]);
        let mut client = Client::of(&daemon);
        assert_eq!(client.set("the-key", b"the-secret"), "STORED");
        client.send("ms the-key 10\r\nthe-secret\r\n");
        assert_eq!(client.line(), "HD");
        // A large value takes the other way in and out.
        let large = b"the-secret".repeat(5000);
        assert_eq!(client.set("the-key", &large), "STORED");
        assert_eq!(client.get("the-key").unwrap(), large);
        // Nor is a value whose length was wrong.
        assert_eq!(client.ask("set k 0 0 x\r\nthe-secret"), "CLIENT_ERROR bad command line format");
        drop(client);
        let log = daemon.stderr();
        assert!(!log.contains("the-secret"), "{log}");
        assert_eq!(log.contains("set the-key"), level != "-v", "{level}: {log}");
        assert!(!log.contains('\0') && log.len() < 10_000, "{}", log.len());
    }
    assert!(start([""; 0]).stderr().lines().all(|line| line.starts_with("nuthatchd: ")));
}

#[test]
fn the_pid_file_goes_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pid");
    let mut daemon = start(["-P".as_ref(), path.as_os_str()]);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", daemon.pid()));
    signal(daemon.pid(), Signal::SIGTERM);
    assert!(daemon.wait().unwrap().expect("it ends").success());
    assert!(is_gone(&path));
}

#[test]
fn l_takes_several_addresses_of_both_families() {
    let daemon = Bare::start(&["-p", "-1", "-l", "127.0.0.1", "-l", "127.0.0.2:0"]);
    assert_eq!(told_pid_at(daemon.addresses()[0]), u64::from(daemon.pid()));
    assert_eq!(daemon.stderr().matches("listening on").count(), 2, "{}", daemon.stderr());

    if TcpListener::bind("[::1]:0").is_err() {
        return skip("there is no IPv6 here");
    }
    let daemon = Bare::start(&["-p", "-1", "-l", "127.0.0.1,::1"]);
    let addresses = daemon.addresses();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for address in addresses {
        assert_eq!(told_pid_at(address), u64::from(daemon.pid()), "{address}");
    }
    let daemon = Bare::start(&["-p", "-1", "-l", "::1"]);
    let addresses = daemon.addresses();
    assert!(addresses.len() == 1 && addresses[0].is_ipv6(), "{addresses:?}");
    assert_eq!(told_pid_at(addresses[0]), u64::from(daemon.pid()));
}

#[test]
fn without_l_only_this_machine_is_served_and_told_so() {
    let daemon = Bare::start(&["-p", "-1"]);
    let addresses = daemon.addresses();
    assert_eq!(addresses.len(), 1);
    assert_eq!(told_pid_at(addresses[0]), u64::from(daemon.pid()));
    assert!(daemon.stderr().contains("-l 0.0.0.0"), "{}", daemon.stderr());
    let local = format!("listening on tcp:127.0.0.1:{}", addresses[0].port());
    assert!(daemon.stderr().contains(&local), "{}", daemon.stderr());
    drop(daemon);
    assert!(!Bare::start(&["-p", "-1", "-l", "127.0.0.1"]).stderr().contains("0.0.0.0"));
}

#[track_caller]
fn told_pid_at(address: std::net::SocketAddr) -> u64 {
    told_pid(std::net::TcpStream::connect(address).unwrap())
}

#[test]
fn what_this_build_has_not_is_refused_and_not_ignored() {
    let refused: &[(&[&str], &str)] = &[
        (&["-e", "/tmp/memory"], "-e (--memory-file)"),
        (&["-o", "ext_path=/tmp/x:1m"], "-o ext_path"),
        (&["-o", "ssl_kernel_tls"], "-o ssl_kernel_tls"),
        (&["-o", "tail_repair_time=30"], "-o tail_repair_time"),
        (&["-o", "no_hashexpand"], "-o no_hashexpand"),
    ];
    for (args, name) in refused {
        let output = run(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}: {stderr}");
        assert!(stderr.contains(name) && stderr.contains("not supported"), "{args:?}: {stderr}");
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn b_chooses_the_protocol() {
    let version = [&[0x80, 0x0b][..], &[0; 22]].concat();
    let hear = |protocol: &str, list: &str| {
        let daemon = Bare::start(&["-B", protocol, "-l", list, "-p", "-1"]);
        let mut connection = std::net::TcpStream::connect(daemon.addresses()[0]).unwrap();
        connection.write_all(&version).unwrap();
        // As text it is a line that nobody knows.
        connection.write_all(b"\r\nquit\r\nand as much more as a frame has\r\n").unwrap();
        let mut heard = Vec::new();
        // The binary protocol ends at what is no frame.
        let _ = connection.read_to_end(&mut heard);
        heard
    };
    let answer = [&[0x81, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6][..], &[0; 12], b"1.6.45"].concat();
    for (protocol, list) in [
        ("auto", "127.0.0.1"),
        ("binary", "127.0.0.1"),
        ("ascii", "proto[binary]:127.0.0.1"),
        ("ascii", "proto[negotiating]:127.0.0.1"),
    ] {
        assert_eq!(hear(protocol, list), answer, "{protocol} {list}");
    }
    for (protocol, list) in [("ascii", "127.0.0.1"), ("binary", "proto[ascii]:127.0.0.1")] {
        assert_eq!(hear(protocol, list), b"ERROR\r\n", "{protocol} {list}");
    }

    let daemon = start(["-B", "auto"]);
    assert_eq!(Client::of(&daemon).ask("mn"), "MN");
    drop(daemon);

    // Text is no frame: nothing is said to it.
    let daemon = start(["-B", "binary"]);
    let mut client = Client::of(&daemon);
    client.send(b"version\r\n".repeat(3));
    assert_eq!(client.rest(), b"");
    drop(daemon);

    let daemon = start(["-B", "ascii"]);
    assert_eq!(Client::of(&daemon).ask("mn"), "MN");
    assert_eq!(Client::of(&daemon).stat("stats settings", "binding_protocol"), "ascii");
}

#[test]
fn u_gives_root_up() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can become somebody else");
    }
    let daemon = Bare::start(&["-p", "-1", "-t", "1"]);
    assert_eq!(proc_status(daemon.pid(), "Uid:"), "0\t0\t0\t0");
    drop(daemon);
    for args in [&["-p", "-1"][..], &["-p", "-1", "-u", "nobody"]] {
        let daemon = Bare::start_as(args);
        let uids = proc_status(daemon.pid(), "Uid:");
        if daemon.stderr().contains("serving as root, because") {
            skip("this root may not become anybody else");
            continue;
        }
        assert!(!uids.split_whitespace().any(|uid| uid == "0"), "{args:?}: {uids}");
        assert_eq!(told_pid_at(daemon.addresses()[0]), u64::from(daemon.pid()));
    }
    let output = run(&["-u", "no-such-user-here"]);
    assert_eq!(output.status.code(), Some(67));
}
