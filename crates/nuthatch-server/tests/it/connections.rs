//! What a server knows about its connections: `stats conns`, and who hears of them.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    num::NonZeroUsize,
    sync::Arc,
    thread,
    time::Duration,
};

use nuthatch_server::store::Store;
use nuthatch_server::transport::{BindOptions, ListenAddr, Local, Peer, bind};
use nuthatch_server::{CloseReason, Conn, ConnObserver, End, Engine, Server};
use nuthatch_testkit::Daemon;
use parking_lot::Mutex;

use crate::support::{Bare, Client, NUTHATCHD, eventually};

/// `stats conns` by number and name.
fn conns<S: Read + Write>(client: &mut Client<S>) -> BTreeMap<u32, BTreeMap<String, String>> {
    let mut all: BTreeMap<u32, BTreeMap<String, String>> = BTreeMap::new();
    for line in client.lines("stats conns") {
        let (number, stat) = line.strip_prefix("STAT ").unwrap().split_once(':').unwrap();
        let (name, value) = stat.split_once(' ').unwrap();
        let of_number = all.entry(number.parse().unwrap()).or_default();
        of_number.insert(name.to_owned(), value.to_owned());
    }
    all
}

/// The sockets of which a line says so.
fn with<'a>(
    all: &'a BTreeMap<u32, BTreeMap<String, String>>,
    name: &str,
    value: &str,
) -> Vec<&'a BTreeMap<String, String>> {
    all.values().filter(|of| of.get(name).is_some_and(|is| is == value)).collect()
}

#[test]
fn every_socket_is_shown_with_what_it_does() {
    let bare = Bare::start(&["-p", "-1", "-U", "-1", "-t", "2", "-l", "tag[red]:127.0.0.1"]);
    let address = bare.addresses()[0];
    let connect = || TcpStream::connect(address).unwrap();
    let mut asks = Client::on(connect());
    assert_eq!(asks.ask("mn"), "MN");

    let idle = connect();
    let (mut in_line, mut in_value, mut refused) = (connect(), connect(), connect());
    in_line.write_all(b"get a").unwrap();
    in_value.write_all(b"set a 0 0 6\r\nabc").unwrap();
    // Its place is asked for when a buffer of it has come.
    refused.write_all(b"set a 0 0 2000000\r\n").unwrap();
    refused.write_all(&[b'x'; 20_000]).unwrap();
    let of = |socket: &TcpStream| format!("tcp:{}", socket.local_addr().unwrap());
    let mut all = BTreeMap::new();
    eventually("all of them wait", || {
        all = conns(&mut asks);
        all.len() == 8
            && with(&all, "state", "conn_nread").len() == 1
            && with(&all, "state", "conn_swallow").len() == 1
            && with(&all, "state", "conn_new_cmd").is_empty()
    });
    for (socket, state) in [
        (&idle, "conn_read"),
        (&in_line, "conn_read"),
        (&in_value, "conn_nread"),
        (&refused, "conn_swallow"),
    ] {
        let found = with(&all, "addr", &of(socket));
        assert_eq!(found.len(), 1, "{all:#?}");
        assert_eq!(found[0]["state"], state);
        assert_eq!(found[0]["listen_addr"], format!("tcp:{address}"));
        assert_eq!(found[0]["tag"], "red");
        assert!(found[0]["secs_since_last_cmd"].parse::<u32>().is_ok());
        assert!(!found[0].contains_key("resps_waiting"));
    }
    assert_eq!(with(&all, "state", "conn_parse_cmd").len(), 1, "who asks");
    let listening = with(&all, "state", "conn_listening");
    assert_eq!(listening.len(), 1);
    assert_eq!(listening[0]["addr"], format!("tcp:{address}"));
    assert!(!listening[0].contains_key("listen_addr"));
    let udp = with(&all, "UDP", "UDP");
    assert_eq!(udp.len(), 2, "one a worker");
    for socket in udp {
        assert_eq!(socket["addr"], format!("udp:{}", bare.udp_addresses()[0]));
        assert_eq!(socket["state"], "conn_read");
        assert!(!socket.contains_key("listen_addr"));
    }

    let numbers: Vec<u32> = all.keys().copied().collect();
    drop((idle, in_line, in_value, refused));
    eventually("they are gone", || conns(&mut asks).len() == 4);
    // A number may come again, and is shown once.
    let again = connect();
    eventually("another is there", || conns(&mut asks).len() == 5);
    assert!(conns(&mut asks).keys().all(|number| numbers.contains(number)));
    drop(again);
}

#[test]
fn a_silent_client_is_silent_for_ever_longer() {
    let bare = Bare::start(&["-p", "-1"]);
    let mut asks = Client::on(TcpStream::connect(bare.addresses()[0]).unwrap());
    let silent = TcpStream::connect(bare.addresses()[0]).unwrap();
    let name = format!("tcp:{}", silent.local_addr().unwrap());
    eventually("two seconds have gone by", || {
        let all = conns(&mut asks);
        let found = with(&all, "addr", &name);
        found.len() == 1 && found[0]["secs_since_last_cmd"].parse::<u32>().unwrap() >= 2
    });
}

#[test]
fn where_a_client_came_to_is_shown() {
    // The listener stands everywhere, the connection somewhere.
    let bare = Bare::start(&["-p", "-1", "-l", "0.0.0.0"]);
    let port = bare.addresses()[0].port();
    let mut asks = Client::on(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
    let all = conns(&mut asks);
    assert_eq!(with(&all, "addr", &format!("tcp:0.0.0.0:{port}")).len(), 1);
    assert_eq!(with(&all, "listen_addr", &format!("tcp:127.0.0.1:{port}")).len(), 1);

    let daemon = Daemon::builder(NUTHATCHD).unix().start().unwrap();
    let mut asks = Client::of(&daemon);
    let all = conns(&mut asks);
    let listening = with(&all, "state", "conn_listening");
    assert!(listening[0]["addr"].starts_with("unix:/"), "{all:?}");
    let client = with(&all, "addr", "unix:");
    assert_eq!(client[0]["listen_addr"], listening[0]["addr"]);
}

#[test]
fn whoever_stops_in_a_request_is_idle_too() {
    let bare = Bare::start(&["-p", "-1", "-o", "idle_timeout=1"]);
    for begun in [
        "get a",
        "set a 0 0 5\r\nab",
        // A value that is read where it is stored, and one that is skipped.
        "set a 0 0 100000\r\nab",
        "set a 0 0 2000000\r\nab",
    ] {
        let mut socket = TcpStream::connect(bare.addresses()[0]).unwrap();
        socket.write_all(begun.as_bytes()).unwrap();
        socket.write_all(&vec![b'x'; if begun.contains("000\r") { 50_000 } else { 0 }]).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = Vec::new();
        // What it has not read may make the end an abrupt one.
        match socket.read_to_end(&mut answer) {
            Ok(_) => assert_eq!(answer, b"", "{begun}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{begun}"),
        }
    }
    let mut asks = Client::on(TcpStream::connect(bare.addresses()[0]).unwrap());
    assert_eq!(asks.number("idle_kicks"), 4);
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(SocketAddr, Option<CloseReason>)>>);

impl Heard {
    fn note(&self, conn: &Conn, reason: Option<CloseReason>) {
        let Some(Peer::Tcp(peer)) = conn.peer() else { panic!("{conn:?}") };
        self.0.lock().push((*peer, reason));
    }

    fn has(&self, socket: &TcpStream, reason: Option<CloseReason>) -> bool {
        let all = self.0.lock();
        all.contains(&(socket.local_addr().unwrap(), reason))
    }
}

impl ConnObserver for Heard {
    fn conn_new(&self, conn: &Conn) {
        assert_eq!(conn.tag(), Some("x"));
        self.note(conn, None);
    }

    fn conn_close(&self, conn: &Conn, reason: CloseReason) {
        self.note(conn, Some(reason));
    }
}

#[test]
fn observers_hear_of_every_connection_and_why_it_ended() {
    let list = ListenAddr::parse_list("tag[x]:127.0.0.1:0").unwrap();
    let bound = bind(&list, 0, BindOptions::default()).unwrap();
    let Local::Tcp(address) = *bound[0].local() else { panic!("a TCP address was asked for") };
    let heard = Arc::new(Heard::default());
    let server = Server::builder()
        .listen(bound)
        .threads(NonZeroUsize::MIN)
        .idle_timeout(Some(Duration::from_secs(1)))
        .observer(Arc::clone(&heard) as Arc<dyn ConnObserver>)
        .build();
    let stop = server.stop();
    let engine = Engine::new(Store::builder().memory_limit(8 << 20).build().unwrap());
    let thread = thread::spawn(move || server.run(move || engine.clone(), std::future::pending()));

    let connect = || {
        let socket = TcpStream::connect(address).unwrap();
        eventually("it is heard of", || heard.has(&socket, None));
        socket
    };
    let (mut quits, leaves, silent) = (connect(), connect(), connect());
    quits.write_all(b"quit\r\n").unwrap();
    leaves.shutdown(std::net::Shutdown::Write).unwrap();
    for (socket, reason) in [
        (&quits, CloseReason::Normal),
        (&leaves, CloseReason::Normal),
        (&silent, CloseReason::IdleTimeout),
    ] {
        eventually(reason.as_str(), || heard.has(socket, Some(reason)));
    }
    let stays = connect();
    stop.stop(End::AtOnce);
    thread.join().unwrap().unwrap();
    assert!(heard.has(&stays, Some(CloseReason::Shutdown)));
    let all = heard.0.lock();
    assert_eq!(all.len(), 8, "each came and went once: {all:?}");
}

#[test]
fn limited_memory_is_shared_out_between_workers() {
    // 32 KiB for each of the 32 workers: a pair of buffers, and eight answers.
    let limit = ["-p", "-1", "-t", "32", "-R", "500", "-o", "read_buf_mem_limit=1"];
    let bare = Bare::start(&limit);
    let connect = || Client::on(TcpStream::connect(bare.addresses()[0]).unwrap());
    let mut client = connect();
    const NO_MEMORY: &str = "SERVER_ERROR out of memory writing get response";
    assert_eq!(client.ask(&format!("get{}", " a".repeat(9))), NO_MEMORY);
    assert_eq!(client.ask(&format!("get{}", " a".repeat(8))), "END");
    // Longer than what is looked up at a time, and in step afterwards.
    assert_eq!(client.ask(&format!("get{}", " a".repeat(5000))), NO_MEMORY);
    client.send("mn\r\n".repeat(8));
    (0..8).for_each(|_| assert_eq!(client.line(), "MN"));
    assert_eq!(client.number("response_obj_oom"), 2);
    let mut greedy = connect();
    greedy.send("mn\r\n".repeat(9));
    assert_eq!(greedy.rest(), b"", "closed without a word");
    assert_eq!(client.number("response_obj_oom"), 3);
    assert_eq!(client.stat("stats settings", "read_buf_mem_limit"), "1048576");
    // A value does not count, however large.
    assert_eq!(client.set("a", &[b'x'; 900_000]), "STORED");
    assert_eq!(client.get("a").unwrap().len(), 900_000);
}

#[test]
fn who_sends_something_and_finds_no_buffer_is_closed() {
    let bare = Bare::start(&["-p", "-1", "-t", "16", "-o", "read_buf_mem_limit=1"]);
    let connect = || TcpStream::connect(bare.addresses()[0]).unwrap();
    // 64 KiB for each of 16 workers: two pairs of buffers. So three on each is one too many; the
    // workers take clients in turn.
    let mut idle: Vec<TcpStream> = (0..16).map(|_| connect()).collect();
    let mut half: Vec<TcpStream> = (0..48).map(|_| connect()).collect();
    half.iter_mut().for_each(|socket| socket.write_all(b"set a 0 0 2\r\n").unwrap());
    half.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
    let n_closed = |half: &mut Vec<TcpStream>| {
        let is_closed = |socket: &mut TcpStream| match socket.read(&mut [0]) {
            Ok(0) => true,
            Ok(_) => panic!("nothing was to be said"),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        half.iter_mut().map(is_closed).filter(|is_closed| *is_closed).count()
    };
    eventually("the last ones are closed", || n_closed(&mut half) >= 16);
    assert_eq!(n_closed(&mut half), 16);
    drop(half);
    // Who sent nothing meanwhile is still there.
    for socket in idle.drain(..) {
        assert_eq!(Client::on(socket).ask("mn"), "MN");
    }
    assert_eq!(Client::on(connect()).number("read_buf_oom"), 16);
}

#[test]
fn connections_without_a_queue_of_the_network_card_go_in_turn() {
    let bare = Bare::start(&["-p", "-1", "-t", "2", "-N", "2"]);
    let connect = || Client::on(TcpStream::connect(bare.addresses()[0]).unwrap());
    let (mut one, mut other) = (connect(), connect());
    assert_eq!((one.ask("mn"), other.ask("mn")), ("MN".to_owned(), "MN".to_owned()));
    // Loopback is no card.
    assert_eq!(one.number("round_robin_fallback"), 2);
    assert_eq!(one.number("unexpected_napi_ids"), 0);
}
