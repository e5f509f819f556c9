//! Auto-discovery: `config get`, `config set` and `config delete`, and where lists come from.

use std::io::{Read, Write};

use nuthatch_testkit::Daemon;

use crate::support::{
    Client, bare, eventually, frame,
    opcode::{GET, NOOP},
    run, start,
};

/// What AWS' Java client 1.2.4 was answered, 64 bytes.
const PAYLOAD: &str = "100\nlocalhost|127.0.0.1|23260 node2.example.com|127.0.0.1|23211\n";

/// Everything that is answered to `input` before the connection ends.
#[track_caller]
fn answer(daemon: &Daemon, input: impl AsRef<[u8]>) -> String {
    let mut connection = daemon.connect().unwrap();
    connection.write_all(input.as_ref()).unwrap();
    connection.finish_writing().unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    answer.escape_ascii().to_string().replace(r"\r\n", "\n")
}

/// What is stored under `cluster`.
fn list(client: &mut Client) -> Option<String> {
    let head = client.ask("config get cluster");
    if head == "END" {
        return None;
    }
    let len = head.strip_prefix("CONFIG cluster 0 ").expect("a list").parse().unwrap();
    let payload = client.exactly(len);
    assert_eq!((client.line(), client.line()), (String::new(), "END".to_owned()));
    Some(String::from_utf8(payload).unwrap())
}

#[test]
fn frames_store_and_tell_too() {
    let daemon = start(["-o", "discovery"]);
    let mut client = Client::of(&daemon);
    let name = b"cluster";
    client.send(frame(0x60, &[], name, []));
    assert_eq!(client.exactly(24 + 9)[..8], [0x81, 0x60, 0, 0, 0, 0, 0, 1]);
    client.send(frame(0x64, &[0; 4], name, PAYLOAD.as_bytes()));
    assert_eq!(client.exactly(24)[..8], [0x81, 0x64, 0, 0, 0, 0, 0, 0]);
    // As AWS' Java client asks, and old ones by the mirror key.
    client.send(frame(0x60, &[], name, []));
    let told = client.exactly(24 + 4 + 64);
    assert_eq!(told[..12], [0x81, 0x60, 0, 0, 4, 0, 0, 0, 0, 0, 0, 68]);
    assert_eq!(told[24..28], [0; 4]);
    assert_eq!(&told[28..], PAYLOAD.as_bytes());
    client.send(frame(GET, &[], b"AmazonElastiCache:cluster", []));
    assert_eq!(&client.exactly(24 + 4 + 64)[28..], PAYLOAD.as_bytes());
    client.send(bare(0x68));
    let told = client.exactly(24 + 4 + 7 + 64 + 24);
    assert_eq!(&told[28..35], name);
    assert_eq!(told[24 + 4 + 7 + 64 + 4..][..8], [0; 8]);
}

#[test]
fn names_in_frames_are_no_lines() {
    let daemon = start(["-o", "discovery"]);
    let mut client = Client::of(&daemon);
    for name in [&b"a 0 0\r\n\r\nEND\r\nVERSION 6"[..], b"a b", b"\x7f", b"\0"] {
        client.send(frame(0x64, &[0; 4], name, b"x"));
        let head = client.exactly(24);
        assert_eq!(head[7], 4, "{}", name.escape_ascii());
        client.exactly(head[11].into());
    }
    assert_eq!(answer(&daemon, "config get\r\n"), "END\n");
}

#[test]
fn frames_are_unknown_where_it_is_off() {
    let daemon = start::<&str>([]);
    let mut client = Client::of(&daemon);
    for frame in [
        frame(0x60, &[], b"cluster", []),
        frame(0x64, &[0; 4], b"cluster", [b'x'; 100_000]),
        frame(0x66, &[], b"cluster", b"more than it takes"),
        bare(0x68),
    ] {
        client.send(&frame);
        let answer = client.exactly(24 + 15);
        assert_eq!(
            (answer[1], answer[7], &answer[24..]),
            (frame[1], 0x81, &b"Unknown command"[..])
        );
    }
}

#[test]
fn old_clients_get_the_list_by_a_key() {
    let daemon = start(["-o", "discovery"]);
    let key = "AmazonElastiCache:cluster";
    assert_eq!(answer(&daemon, format!("get {key}\r\n")), "END\n");
    answer(&daemon, "config set cluster 0 3\r\n1\n\n\r\n");
    assert_eq!(
        answer(&daemon, format!("get {key} \r\n")),
        format!("VALUE {key} 0 3\n1\\n\\n\nEND\n")
    );
    // Who may store items cannot send them elsewhere.
    let stored = format!("set {key} 0 0 1\r\nx\r\nget {key} a\r\ngats 0 {key}\r\nmg {key} v\r\n");
    assert_eq!(
        answer(&daemon, stored),
        format!(
            "STORED\nVALUE {key} 0 3\n1\\n\\n\nEND\n\
             VALUE {key} 0 3 0\n1\\n\\n\nEND\nVA 1\nx\n"
        )
    );
    let mut client = Client::of(&daemon);
    client.send(frame(0x00, &[], key.as_bytes(), []));
    assert_eq!(&client.exactly(24 + 4 + 3)[28..], b"1\n\n");
    let without = format!("config delete cluster\r\nget {key}\r\n");
    assert_eq!(answer(&daemon, without), format!("DELETED\nVALUE {key} 0 1\nx\nEND\n"));
    let daemon = start(["-o", "discovery,no_discovery_mirror"]);
    answer(&daemon, "config set cluster 0 3\r\n1\n\n\r\n");
    assert_eq!(answer(&daemon, format!("get {key}\r\n")), "END\n");
}

#[test]
fn there_are_limits() {
    let daemon = start(["-o", "discovery"]);
    let full: String = (0..16).map(|n| format!("config set c{n} 0 0\r\n\r\n")).collect();
    assert_eq!(answer(&daemon, full), "STORED\n".repeat(16));
    let more = "config set more 0 0\r\n\r\nconfig set c0 0 1\r\nx\r\n";
    assert_eq!(answer(&daemon, more), "SERVER_ERROR out of memory storing object\nSTORED\n");
    let long = |len| format!("config set c0 0 {len}\r\n{}\r\nversion\r\n", "x".repeat(len));
    assert_eq!(answer(&daemon, long(65_536)), "STORED\nVERSION 1.6.45\n");
    let refused = "SERVER_ERROR object too large for cache\nVERSION 1.6.45\n";
    assert_eq!(answer(&daemon, long(65_537)), refused);
    let mut client = Client::of(&daemon);
    for (len, status) in [(65_536, 0), (65_537, 3), (200_000, 3)] {
        client.send(frame(0x64, &[0; 4], b"c0", vec![b'x'; len]));
        let head = client.exactly(24);
        assert_eq!(head[7], status, "{len}");
        client.exactly(head[11].into());
    }
    client.send(bare(NOOP));
    assert_eq!(client.exactly(24)[1], NOOP);
}

#[test]
fn statistics_are_where_that_service_has_them() {
    let daemon = start(["-o", "discovery"]);
    answer(&daemon, "config set cluster 0 3\r\n1\n\n\r\nconfig get cluster\r\nconfig get x\r\n");
    let mut client = Client::of(&daemon);
    let lines = client.lines("stats");
    let names: Vec<_> = lines.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    let after = |name| {
        let position = names.iter().position(|other| *other == name).unwrap();
        names[position + 1..].to_vec()
    };
    assert_eq!(after("cmd_touch")[..3], ["cmd_config_get", "cmd_config_set", "cmd_meta"]);
    assert_eq!(after("hash_is_expanding")[..2], ["curr_config", "slab_reassign_rescues"]);
    assert_eq!((client.number("cmd_config_get"), client.number("cmd_config_set")), (2, 1));
    assert_eq!(client.number("curr_config"), 1);
    assert_eq!(client.lines("stats cluster"), ["STAT source none"]);
    assert_eq!(client.ask("stats reset"), "RESET");
    assert_eq!((client.number("cmd_config_get"), client.number("curr_config")), (0, 1));
}

#[test]
fn a_written_list_is_told_and_nobody_changes_it() {
    let source = "discovery_source=static:7@b:11212:3+a|10.0.0.1|11211";
    let daemon = start(["-o", source, "-v"]);
    let mut client = Client::of(&daemon);
    let expected = "7\na|10.0.0.1|11211 b||11212\n";
    eventually("the list is there", || list(&mut client).is_some());
    assert_eq!(list(&mut client).as_deref(), Some(expected));
    assert_eq!(
        answer(
            &daemon,
            "config set cluster 0 1\r\nx\r\nconfig delete cluster\r\nconfig set other 0 1\r\nx\r\n"
        ),
        "CLIENT_ERROR the list comes from its source\n\
         CLIENT_ERROR the list comes from its source\nSTORED\n"
    );
    assert_eq!(list(&mut client).as_deref(), Some(expected));
    assert_eq!(
        client.lines("stats cluster"),
        [
            "STAT source a list of 2",
            "STAT state fresh",
            "STAT version 7",
            "STAT members 2",
            "STAT changes 1",
            "STAT 0:node a|10.0.0.1|11211",
            "STAT 0:weight 1",
            "STAT 1:node b||11212",
            "STAT 1:weight 3",
        ]
    );
    assert!(daemon.stderr().contains("b||11212 weight 3 has joined"), "{}", daemon.stderr());
}

#[test]
fn strangers_cannot_change_the_list() {
    // Over UDP anybody can say to be anybody.
    let bare = crate::support::Bare::start(&[
        "-l",
        "127.0.0.1",
        "-p",
        "-1",
        "-U",
        "-1",
        "-o",
        "discovery",
    ]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let ask = b"\0\x01\0\0\0\x01\0\0config set cluster 0 1\r\nx\r\n";
    socket.send_to(ask, bare.udp_addresses()[0]).unwrap();
    let mut buffer = [0; 200];
    let n = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[8..n], b"CLIENT_ERROR permission denied\r\n");
}

#[test]
fn words_without_effect_are_refused() {
    for (words, message) in [
        ("discovery_name=x", "discovery_name needs -o discovery"),
        ("no_discovery_mirror", "no_discovery_mirror needs -o discovery"),
        ("discovery,discovery_grace=3", "discovery_grace needs -o discovery_source"),
        ("discovery_source=static:a,discovery_ttl=5,discovery_name=x", "discovery_ttl needs"),
        ("discovery_source=static:", "a list without members"),
        ("discovery_source=x", "'x': no source of members"),
        ("discovery_source", "Missing discovery_source argument"),
        ("discovery,discovery_name=a b", "discovery_name: "),
        ("discovery,discovery_allow=x", "discovery_allow: "),
    ] {
        let output = run(&["-o", words]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(message), "{words}: {text}");
    }
}

/// `cargo xtask features` runs this one.
#[cfg(not(feature = "etcd"))]
#[test]
fn without_the_feature_etcd_is_refused() {
    for source in ["etcd://127.0.0.1", "etcds://127.0.0.1/prefix"] {
        let output = run(&["-o", &format!("discovery_source={source}")]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("etcd is not built in"), "{text}");
    }
}
