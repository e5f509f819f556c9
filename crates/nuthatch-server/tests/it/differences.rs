//! The rows of the compatibility page that a client can see: each where memcached would answer
//! something else, and what `nuthatchd` answers.

use std::io::{Read, Write};

use crate::support::{
    Answer, Client, bare, frame,
    opcode::{GET, NOOP, QUIT, SET, STAT, TOUCH},
    start,
};

/// Sends bytes, then `quit`, and gives all that comes back.
#[track_caller]
fn answer(args: &[&str], sent: &[u8]) -> String {
    let daemon = start(args);
    let mut connection = daemon.connect().unwrap();
    connection.write_all(sent).unwrap();
    // The server may have closed already: what it said before is still to be read.
    let _ = connection.write_all(b"quit\r\n");
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[track_caller]
fn check(sent: impl AsRef<[u8]>, expected: &str) {
    assert_eq!(answer(&[], sent.as_ref()), expected);
}

#[test]
fn a_long_line_closes_even_if_its_end_has_arrived() {
    check([&[b'x'; 2100][..], b"\r\nversion\r\n"].concat(), "");
}

#[test]
fn gat_may_be_as_long_as_get() {
    let keys = "key ".repeat(1000);
    check(format!("gat 0 {keys}\r\n"), "END\r\n");
}

#[test]
fn what_may_be_a_value_is_not_read_as_commands() {
    const FORMAT: &str = "CLIENT_ERROR bad command line format\r\n";
    const CHUNK: &str = "CLIENT_ERROR bad data chunk\r\n";
    check("set a 0 0 many\r\nversion\r\n", FORMAT);
    check("set a b 0 0 7\r\nversion\r\nversion\r\n", FORMAT);
    check("set a 0 0 2\r\nab\nversion\r\nversion\r\n", CHUNK);
    check("set a 0 0 -1\r\nset a 0 0 -1\r\nversion\r\n", &FORMAT.repeat(2));
    check("ms a 2 !\r\nab\r\nversion\r\n", &format!("{FORMAT}VERSION 1.6.45\r\n"));
}

#[test]
fn every_request_before_a_login_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, "foo:bar\n").unwrap();
    let refused = "CLIENT_ERROR unauthenticated\r\n";
    assert_eq!(
        answer(
            &["-Y", users.to_str().unwrap()],
            b"get a\r\nget b\r\nset x 0 0 7\r\nfoo bar\r\nget a\r\n"
        ),
        format!("{refused}{refused}STORED\r\nEND\r\n"),
    );
}

#[test]
fn flags_that_do_not_fit_are_refused() {
    let format = "CLIENT_ERROR bad command line format\r\n";
    check("set a 4294967296 0 1\r\nx\r\nget a\r\n", &format!("{format}END\r\n"));
}

#[test]
fn no_empty_line_follows_the_error_about_a_key() {
    let long = "k".repeat(251);
    check(
        format!("version\r\nget a {long}\r\n"),
        "VERSION 1.6.45\r\nCLIENT_ERROR bad command line format\r\n",
    );
}

#[test]
fn answers_before_an_http_request_are_sent() {
    check("version\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "VERSION 1.6.45\r\n");
}

#[test]
fn me_decodes_its_key() {
    let reply = answer(&[], b"ms Zm9v 2 b\r\nhi\r\nme Zm9v b\r\nme foo\r\n");
    assert_eq!(reply.matches("ME Zm9v exp=-1").count(), 2, "{reply}");
}

#[test]
fn a_long_opaque_is_refused_before_the_command_acts() {
    let opaque = "x".repeat(32);
    check(format!("mg a N0 O{opaque}\r\nmg a\r\n"), "CLIENT_ERROR opaque token too long\r\nEN\r\n");
}

#[test]
fn an_answer_does_not_wait_for_the_next_value() {
    let daemon = start::<&str>([]);
    let mut connection = daemon.connect().unwrap();
    connection.write_all(b"version\r\nset a 0 0 100\r\n").unwrap();
    let mut reply = [0; 16];
    connection.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"VERSION 1.6.45\r\n");
}

/// The opcodes and statuses of the answers to binary frames.
#[track_caller]
fn statuses(sent: &[Vec<u8>]) -> Vec<(u8, u16)> {
    let daemon = start::<&str>([]);
    let mut connection = daemon.connect().unwrap();
    connection.write_all(&sent.concat()).unwrap();
    let _ = connection.write_all(&bare(QUIT));
    Answer::all(connection).iter().map(|answer| (answer.opcode, answer.status)).collect()
}

#[test]
fn an_unknown_opcode_takes_its_own_body_and_no_more() {
    let noop = bare(NOOP);
    assert_eq!(
        statuses(&[frame(0x1b, &[0; 4], b"", b""), frame(0xee, b"", b"key", b"value"), noop]),
        [(0x1b, 0x81), (0xee, 0x81), (NOOP, 0), (QUIT, 0)]
    );
}

#[test]
fn a_value_where_none_belongs_is_not_read_as_a_frame() {
    let noop = bare(NOOP);
    for wrong in [frame(TOUCH, &[0; 4], b"a", &noop), frame(STAT, b"", b"items", &noop)] {
        let opcode = wrong[1];
        assert_eq!(statuses(&[noop.clone(), wrong]), [(NOOP, 0), (opcode, 4)]);
    }
}

#[test]
fn answers_before_a_bad_magic_are_sent() {
    let noop = bare(NOOP);
    let mut bad = noop.clone();
    bad[0] = 0x81;
    assert_eq!(statuses(&[noop.clone(), bad, noop]), [(NOOP, 0)]);
}

#[test]
fn a_binary_set_that_compares_and_is_too_large_leaves_the_old_value() {
    let daemon = start::<&str>([]);
    let mut connection = daemon.connect().unwrap();
    let mut ask = |frame: &[u8]| {
        connection.write_all(frame).unwrap();
        Answer::read(&mut connection).unwrap().status
    };
    assert_eq!(ask(&frame(SET, &[0; 8], b"a", b"old")), 0);
    let mut large = frame(SET, &[0; 8], b"a", b"");
    let value = vec![b'x'; 2 << 20];
    let len = u32::try_from(8 + 1 + value.len()).unwrap();
    large[8..12].copy_from_slice(&len.to_be_bytes());
    large[23] = 1;
    large.extend(value);
    assert_eq!(ask(&large), 3);
    assert_eq!(ask(&frame(GET, &[], "a", "")), 0);
    large[23] = 0;
    assert_eq!(ask(&large), 3);
    assert_eq!(ask(&frame(GET, &[], "a", "")), 1);
}

#[test]
fn items_are_smaller() {
    // memcached has 67 bytes here.
    let reply = answer(&[], b"set kZ00000 0 0 1\r\n0\r\nme kZ00000\r\n");
    assert!(reply.ends_with("cls=1 size=40\r\n"), "{reply}");
}

#[test]
fn an_item_just_gone_has_no_time_left() {
    check("mg a N-1 t\r\n", "HD t0 W\r\n");
}

#[test]
fn asking_for_cas_0_is_asking_for_none() {
    check("mg a N0 E0 c\r\nms b 1 E0 c\r\nx\r\nma n N0 E0 c\r\n", "HD c2 W\r\nHD c3\r\nHD c4\r\n");
}

#[test]
fn binary_keys_stay_binary() {
    check("mg Zm9v b N0 k\r\n", "HD kZm9v b W\r\n");
    check("ms Zm9v 2 b\r\nhi\r\nmd Zm9v b x\r\nmg Zm9v b k\r\n", "HD\r\nHD\r\nHD kZm9v b\r\n");
}

#[test]
fn a_counter_that_was_just_read_keeps_its_place_and_its_new_life_span() {
    check(
        "set n 0 0 2\r\n10\r\nget n\r\ndecr n 1\r\nma n T100 N0\r\nmg n v t\r\n",
        "STORED\r\nVALUE n 0 2\r\n10\r\nEND\r\n9\r\nHD\r\nVA 2 t100\r\n10\r\n",
    );
}

#[test]
fn a_number_that_grows_keeps_its_new_life_span() {
    check("set n 0 0 1\r\n9\r\nma n T-1 v\r\nmg n\r\n", "STORED\r\nVA 2\r\n10\r\nEN\r\n");
}

#[test]
fn a_later_flush_brings_nothing_back() {
    check(
        "set a 0 0 1\r\nx\r\nflush_all\r\nflush_all 100\r\nget a\r\n",
        "STORED\r\nOK\r\nOK\r\nEND\r\n",
    );
}

#[test]
fn stats_have_three_lines_more() {
    let reply = answer(&[], b"stats\r\n");
    assert!(reply.contains("\r\nSTAT nuthatch_version "), "{reply}");
    assert!(reply.contains("\r\nSTAT handler_panics 0\r\n"), "{reply}");
    assert!(reply.contains("\r\nSTAT slab_reassign_evictions_nomem 0\r\n"), "{reply}");
    assert!(reply.contains("\r\nSTAT hash_is_expanding 0\r\n"), "{reply}");
}

#[test]
fn external_storage_is_not_set_up_where_there_is_none() {
    for what in ["item_age 5", "max_frag 0.5", "free_memchunks 1 2"] {
        check(
            format!("extstore {what}\r\nextstore bad 1\r\n"),
            "CLIENT_ERROR external storage is not enabled\r\nERROR\r\n",
        );
    }
}

#[test]
fn a_prefix_of_control_bytes_breaks_no_line() {
    let sent = b"stats detail on\r\nget \x01:a\r\nstats detail dump\r\n";
    let reply = answer(&[], sent);
    assert_eq!(reply, "OK\r\nEND\r\nPREFIX %01 get 1 hit 0 set 0 del 0\r\nEND\r\n");
}

#[test]
fn watchers_are_told_of_what_was_done_and_no_more() {
    let daemon = start(["-m", "8"]);
    let mut watcher = Client::of(&daemon);
    assert_eq!(watcher.ask("watch fetchers mutations deletions"), "OK");
    let mut client = Client::of(&daemon);
    client.send("set a 0 -1 1\r\nx\r\nma n N0\r\nmd n x\r\n");
    for expected in [
        "type=item_get key=a status=not_found ",
        // An item that is dead when it is stored has no time left.
        "type=item_store key=a status=stored cmd=set ttl=0 ",
        "type=item_get key=n status=not_found ",
        "type=item_store key=n status=stored cmd=add ttl=0 ",
        "type=item_get key=n status=found ",
        "type=item_store key=n status=stored cmd=set ttl=0 ",
        "type=deleted key=n cmd=md ",
    ] {
        let line = watcher.line();
        assert!(line.contains(expected), "{line}: not {expected}");
    }
}

#[test]
fn lines_of_watchers_have_six_digits_of_a_second() {
    let daemon = start(["-m", "8"]);
    let mut watcher = Client::of(&daemon);
    assert_eq!(watcher.ask("watch"), "OK");
    let mut client = Client::of(&daemon);
    for _ in 0..20 {
        assert_eq!(client.ask("get a"), "END");
        let line = watcher.line();
        let time = line.split(' ').next().and_then(|time| time.split('.').nth(1));
        assert_eq!(time.map(str::len), Some(6), "{line}");
    }
}

#[test]
fn a_dump_of_nothing_has_no_consequences() {
    check(
        "lru_crawler metadump ,\r\nlru_crawler crawl all\r\nlru_crawler crawl hash\r\n",
        "NOTSTARTED no items to crawl\r\nOK\r\nERROR an unknown error happened\r\n",
    );
}

#[test]
fn automove_takes_no_ratio_that_it_cannot_use() {
    for what in ["ratio 0", "ratio 1.5", "freeratio 0.1"] {
        let reply = answer(&[], format!("slabs automove {what}\r\n").as_bytes());
        assert!(reply.starts_with("CLIENT_ERROR "), "{what}: {reply}");
    }
}

#[test]
fn discovery_has_to_be_asked_for() {
    check("config get cluster\r\nconfig delete\r\nconfig add a\r\n", "ERROR\r\nERROR\r\nERROR\r\n");
    // memcached answers the value too, as another command that it does not know.
    check("config set cluster 0 7\r\nversion\r\n", "ERROR\r\n");
    check("config set cluster 0 x\r\n", "CLIENT_ERROR bad command line format\r\n");
    let list =
        "set AmazonElastiCache:cluster 0 0 1\r\nx\r\nconfig set cluster 0 1\r\ny\r\nconfig get\r\n";
    let told = answer(&["-o", "discovery"], list.as_bytes());
    assert_eq!(told, "STORED\r\nSTORED\r\nCONFIG cluster 0 1\r\ny\r\nEND\r\n");
}
