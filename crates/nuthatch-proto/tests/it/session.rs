//! What a client hears, command by command.

use std::task::{Context, Poll, Waker};

use nuthatch_proto::{
    Buffers, Fed, Feed, Handler, Outcome, Output, Pinned, Reply, Request, SEND_QUEUE_BYTES_MAX,
    Session, Sink, Want,
};

use crate::model::{Model, TOO_LARGE};
use crate::rig::{Cuts, answer, run, run_session};

#[test]
fn a_value_is_stored_and_fetched() {
    assert_eq!(
        answer("set a 5 0 3\r\nabc\r\nget a b\r\ngets a\r\n"),
        "STORED\r\nVALUE a 5 3\r\nabc\r\nEND\r\nVALUE a 5 3 1\r\nabc\r\nEND\r\n"
    );
}

#[test]
fn an_empty_value_is_a_value() {
    assert_eq!(answer("set a 0 0 0\r\n\r\nget a\r\n"), "STORED\r\nVALUE a 0 0\r\n\r\nEND\r\n");
}

#[test]
fn noreply_mutes_classic_answers_and_errors() {
    assert_eq!(
        answer(
            "set a 0 0 1 noreply\r\n5\r\nincr a 1 noreply\r\nincr a x noreply\r\n\
             delete b noreply\r\nset c x 0 1 noreply\r\n1\r\nbogus noreply\r\n\
             get a noreply\r\nmn\r\nset c 0 0 1 noreply\r\n123\r\nmn\r\n"
        ),
        "VALUE a 0 1\r\n6\r\nEND\r\nMN\r\n(close)"
    );
}

#[test]
fn a_value_is_never_read_as_commands() {
    let chunk = "CLIENT_ERROR bad data chunk\r\n";
    let format = "CLIENT_ERROR bad command line format\r\n";
    for (sent, expected) in [
        // Longer than announced, and shorter.
        ("set a 0 0 1\r\na\nversion\r\nversion\r\n", chunk),
        ("ms a 1 q\r\na\nversion\r\nversion\r\n", chunk),
        ("set a 0 0 9\r\nshort\r\nversion\r\nversion\r\n", chunk),
        // Of no length.
        ("set a 0 0 x\r\nversion\r\nversion\r\n", format),
        ("set a 0 0\r\nversion\r\n", format),
        ("ms a -1\r\nversion\r\n", format),
        ("config set a 0 x\r\nversion\r\n", format),
        // Its length is elsewhere: the key has a space in it.
        ("set a b 0 0 7\r\nversion\r\nversion\r\n", format),
    ] {
        assert_eq!(answer(sent), format!("{expected}(close)"), "{sent:?}");
    }
}

#[test]
fn another_command_without_a_length_is_answered() {
    let format = "CLIENT_ERROR bad command line format\r\n";
    let sent = "set a 0 0 -1\r\nset a 0 0 4294967295\r\nset a 0 0 0\r\n\r\nversion\r\n";
    assert_eq!(answer(sent), [format, format, "(close)"].concat());
}

#[test]
fn quiet_meta_commands_leave_out_what_says_nothing_new() {
    assert_eq!(
        answer(
            "mg a v q\r\nms a 1 q\r\n1\r\nma a q\r\nma a v q\r\nmd b q\r\nms b 1 MR q\r\n1\r\n\
             mg a v q k O7\r\nmd a q\r\nma a x y q\r\nmn\r\n"
        ),
        "NF\r\nNS\r\nVA 1 ka O7\r\n3\r\nCLIENT_ERROR invalid or duplicate flag\r\nMN\r\n"
    );
}

#[test]
fn return_flags_come_in_the_order_of_the_request() {
    assert_eq!(
        answer("ms a 2 s k O1 c F9\r\nab\r\nmg a t s O2 c f l h k v\r\nmg a h\r\nmg b O3 k s\r\n"),
        "HD s2 ka O1 c1\r\nVA 2 t-1 s2 O2 c1 f9 l0 h0 ka\r\nab\r\nHD h1\r\nEN O3 kb\r\n"
    );
    assert_eq!(
        answer("ms n 1 c\r\n7\r\nma n t c v k O9\r\nma n c\r\nma m c k\r\n"),
        "HD c1\r\nVA 1 t-1 c2 kn O9\r\n8\r\nHD c3\r\nNF km\r\n"
    );
}

#[test]
fn binary_keys_return_as_they_were_stored() {
    assert_eq!(
        answer("ms AAE= 1 b k\r\nx\r\nmg AAE= k b\r\nmg AAI= k b\r\nme AAE= b\r\nmd AAE= b k\r\n"),
        "HD kAAE= b\r\nHD kAAE= b\r\nEN kAAI= b\r\n\
         ME AAE= exp=-1 la=0 cas=1 fetch=yes cls=1 size=1\r\nHD kAAE= b\r\n"
    );
    assert_eq!(answer("set a 0 0 1\r\nx\r\nmg YQ== b k\r\n"), "STORED\r\nHD ka\r\n");
}

#[test]
fn a_stale_item_has_one_winner() {
    assert_eq!(
        answer("ms a 1\r\nx\r\nmd a I\r\nmg a k\r\nmg a k\r\n"),
        "HD\r\nHD\r\nHD ka X W\r\nHD ka Z X\r\n"
    );
}

#[test]
fn a_key_that_is_too_long_gets_one_line() {
    let key = "k".repeat(251);
    assert_eq!(
        answer(format!("get a {key}\r\nset {key} 0 0 1\r\n1\r\nmn\r\n")),
        "CLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\nMN\r\n"
    );
}

#[test]
fn connections_end_without_a_word() {
    assert_eq!(answer("mn\r\nquit\r\nmn\r\n"), "MN\r\n(close)");
    assert_eq!(answer("mn\r\nGET / HTTP/1.1\r\nmn\r\n"), "MN\r\n(close)");
    assert_eq!(answer("incr ".to_string() + &" ".repeat(2048)), "(close)");
    assert_eq!(answer("x".repeat(2049)), "(close)");
    assert_eq!(answer("x".repeat(2048)), "");
    assert_eq!(answer(format!("set {} 0 0 1", "k".repeat(16 << 10))), "(close)");
}

#[test]
fn a_retrieval_may_be_longer_than_the_buffer() {
    let mut line = String::from("set a 0 0 1\r\n1\r\nget");
    for idx in 0..20_000 {
        line += if idx % 1000 == 0 { " a" } else { " missing" };
    }
    let expected = "STORED\r\n".to_string() + &"VALUE a 0 1\r\n1\r\n".repeat(20) + "END\r\n";
    assert_eq!(answer(line.clone() + "\r\n"), expected);
    assert_eq!(answer(line.clone() + "  \n"), expected);
    line += &(" ".to_string() + &"k".repeat(251));
    assert_eq!(
        answer(line + "\r\nmn\r\n"),
        "STORED\r\nCLIENT_ERROR bad command line format\r\nMN\r\n"
    );
}

#[test]
fn a_retrieval_of_spaces_alone_has_no_key() {
    assert_eq!(
        answer(format!("get {}\r\n", " ".repeat(5000))),
        "CLIENT_ERROR bad command line format\r\n"
    );
    assert_eq!(answer(format!("get {} a\r\n", " ".repeat(5000))), "END\r\n");
}

#[test]
fn large_values_go_to_a_place_and_small_ones_do_not() {
    for (len, n_reserved) in [(4096, 0), (16_000, 0), (16_384, 1), (30_000, 1)] {
        let mut model = Model::default();
        let input = format!("set a 0 0 {len}\r\n{}\r\n", "x".repeat(len));
        let run = run(&mut model, input.as_bytes(), &Cuts::every(1000));
        assert_eq!(run.output, b"STORED\r\n");
        assert_eq!((model.n_reserved, model.n_committed), (n_reserved, n_reserved), "{len}");
    }
    // An announcement alone takes no place.
    let mut model = Model::default();
    let input = format!("set a 0 0 1000000\r\n{}", "x".repeat(16_000));
    run(&mut model, input.as_bytes(), &Cuts::every(1000));
    assert_eq!(model.n_reserved, 0);
    // What is there already needs no place.
    let mut model = Model::default();
    let input = format!("set a 0 0 10000\r\n{}\r\n", "x".repeat(10_000));
    run(&mut model, input.as_bytes(), &Cuts::none());
    assert_eq!(model.n_reserved, 0);
}

#[test]
fn what_is_too_large_is_swallowed_and_answered_alike_on_both_paths() {
    let body = "x".repeat(TOO_LARGE);
    let input = format!(
        "set a 0 0 {TOO_LARGE}\r\n{body}\r\nms a {TOO_LARGE} q\r\n{body}\r\nmn\r\n\
         ms a {TOO_LARGE} q\r\n{body}zz\r\nmn\r\n"
    );
    let too_large = "SERVER_ERROR object too large for cache\r\n";
    assert_eq!(answer(input), format!("{too_large}{too_large}MN\r\n{too_large}(close)"));
}

#[test]
fn a_place_may_run_out() {
    let input = format!("set runs-out 0 0 30000\r\n{}\r\nmn\r\n", "x".repeat(30_000));
    assert_eq!(answer(input), "SERVER_ERROR Out of memory during read\r\nMN\r\n");
}

#[test]
fn configurations_of_any_allowed_size_are_at_hand() {
    let payload = "p".repeat(65_536);
    let input = format!(
        "config set cluster 0 65536\r\n{payload}\r\nconfig get cluster\r\nconfig delete cluster\r\n"
    );
    let expected = format!("STORED\r\nCONFIG cluster 0 65536\r\n{payload}\r\nEND\r\nDELETED\r\n");
    assert_eq!(answer(input), expected);
}

#[test]
fn answers_that_come_late_keep_their_place() {
    let input = "set late1 0 0 1\r\n1\r\nset late2 0 0 1\r\n2\r\nget late1\r\nmg late2 v k O5\r\nmn\r\nmg late3 q\r\nversion\r\nquit\r\n";
    for late_every in 1..6 {
        let run =
            run(&mut Model::default(), input.as_bytes(), &Cuts { late_every, ..Cuts::none() });
        assert_eq!(
            String::from_utf8(run.output).unwrap(),
            "STORED\r\nSTORED\r\nVALUE late1 0 1\r\n1\r\nEND\r\nVA 1 klate2 O5\r\n2\r\nMN\r\nVERSION model\r\n"
        );
        assert_eq!(run.end, Want::Close);
    }
}

#[test]
fn the_connection_is_handed_over_when_its_answer_is_out() {
    assert_eq!(answer("watch\r\nversion\r\n"), "OK\r\n(stream)");
    assert_eq!(answer("version\r\nwatch\r\n"), "VERSION model\r\nOK\r\n(stream)");
    let mut model = Model { is_strict: true, ..Model::default() };
    let got = run(&mut model, b"version\r\nwatch\r\n", &Cuts::none());
    assert_eq!(
        String::from_utf8(got.output).unwrap(),
        "VERSION model\r\nERROR cannot pipeline other commands before watch\r\n"
    );
}

/// Puts `input` into a session in one go.
fn feed<H: Handler>(session: &mut Session<H>, input: &[u8]) {
    session.recv_space()[..input.len()].copy_from_slice(input);
    session.received(input.len());
}

#[test]
fn the_budget_bounds_a_call() {
    let (mut model, mut session) = (Model::default(), Session::new());
    feed(&mut session, &b"set a 0 0 1 noreply\r\n1\r\n".repeat(5));
    assert_eq!(session.process(&mut model, 2), Want::Yield);
    assert_eq!(session.process(&mut model, 2), Want::Yield);
    assert_eq!(session.process(&mut model, 2), Want::Read);
}

#[test]
fn a_batch_of_mn_is_one_write_and_keeps_to_the_budget() {
    let (mut model, mut session) = (Model::default(), Session::new());
    feed(&mut session, &b"mn\r\n".repeat(5));
    assert_eq!(session.process(&mut model, 2), Want::Yield);
    assert_eq!(session.process(&mut model, 2), Want::Yield);
    assert_eq!(session.process(&mut model, 2), Want::Write);
    assert_eq!(session.queued_bytes(), 5 * 4);
}

#[test]
fn a_client_that_does_not_read_is_not_served() {
    let (mut model, mut session) = (Model::default(), Session::new());
    feed(&mut session, format!("set a 0 0 15000\r\n{}\r\n", "x".repeat(15_000)).as_bytes());
    let _ = session.process(&mut model, 20);
    for _ in 0..1000 {
        let _ = session.process(&mut model, 20);
        let n = session.recv_space().len().min(7 * 10);
        feed(&mut session, &b"get a\r\n".repeat(10)[..n]);
        if n < 70 {
            break;
        }
    }
    assert!(session.queued_bytes() > SEND_QUEUE_BYTES_MAX);
    assert!(session.queued_bytes() < SEND_QUEUE_BYTES_MAX + 16_000);
}

#[test]
fn an_idle_session_is_small_and_holds_no_buffers() {
    assert!(size_of::<Session<Model>>() <= 300, "{}", size_of::<Session<Model>>());
    let (mut model, mut session) = (Model::default(), Session::new());
    assert!(session.attach(Buffers::new()).is_none());
    assert!(session.attach(Buffers::new()).is_some(), "it has buffers already");
    feed(&mut session, b"version\r\nvers");
    assert_eq!(session.process(&mut model, 20), Want::Write);
    assert!(session.detach().is_none(), "there is output");
    session.sent(session.queued_bytes());
    assert_eq!(session.process(&mut model, 20), Want::Read);
    assert!(session.detach().is_none(), "there is input");
    feed(&mut session, b"ion\r\n");
    assert_eq!(session.process(&mut model, 20), Want::Write);
    session.sent(session.queued_bytes());
    assert_eq!(session.process(&mut model, 20), Want::Read);
    assert!(session.is_idle());
    assert!(session.detach().is_some());
    assert!(session.detach().is_none(), "they are gone");
}

#[test]
fn a_refused_value_with_another_end_ends_it() {
    let too_large = "SERVER_ERROR object too large for cache\r\n";
    // Behind a line that makes the receive buffer grow, a value that would else come in pieces is
    // at hand as a whole.
    let long = format!("get {}\n", "a ".repeat(60_000));
    for (before, answered) in [("", ""), (&*long, "END\r\n")] {
        for (len, rest) in [(39_999, "\r\n\nversion\r\n"), (40_001, "\r\nversion\r\n")] {
            let input = format!("{before}set a 0 0 40000\r\n{}{rest}", "v".repeat(len));
            for n in [1, 7, 5000, usize::MAX] {
                let run = run(&mut Model::default(), input.as_bytes(), &Cuts::every(n));
                let output = String::from_utf8(run.output).unwrap();
                assert_eq!(output, format!("{answered}{too_large}"), "{} {len} {n}", before.len());
                assert_eq!(run.end, Want::Close, "{} {len} {n}", before.len());
            }
        }
    }
}

#[test]
fn a_session_knows_who_has_logged_in() {
    let (mut model, mut session) = (Model::default(), Session::with_login());
    session.attach(Buffers::new());
    let mut say = |session: &mut Session<Model>, input: &[u8]| {
        session.recv_space()[..input.len()].copy_from_slice(input);
        session.received(input.len());
        while matches!(session.process(&mut model, 20), Want::Write) {
            session.sent(session.queued_bytes());
        }
    };
    say(&mut session, b"set a 0 0 4\r\nme x\r\n");
    assert_eq!((session.user(), session.needs_login()), (None, true));
    say(&mut session, b"set a 0 0 10\r\nme se cret\r\n");
    assert_eq!((session.user(), session.needs_login()), (Some(&b"me"[..]), false));
}

#[test]
fn nothing_is_served_before_the_log_in() {
    let converse = |input: &str| {
        for n in [1, 7, usize::MAX] {
            let (mut model, cuts) = (Model::default(), Cuts::every(n));
            let run = run_session(Session::with_login(), &mut model, input.as_bytes(), &cuts);
            assert!(model.items.is_empty(), "{input}");
            if n == usize::MAX {
                let end = if run.end == Want::Close { "(close)" } else { "" };
                return String::from_utf8(run.output).unwrap() + end;
            }
        }
        unreachable!()
    };
    assert_eq!(
        converse("version\r\nset a 0 0 4\r\nme x\r\nset b x y 10\r\nme se cret\r\nversion\r\n"),
        "CLIENT_ERROR unauthenticated\r\nCLIENT_ERROR authentication failure\r\nSTORED\r\n\
         VERSION model\r\n"
    );
    assert_eq!(
        converse("set a 0 0 16385\r\nset a 0 0 3\r\nabc\r\nset a 0 0 3\r\na b.."),
        "CLIENT_ERROR auth token too long\r\n\
         CLIENT_ERROR bad authentication token format\r\n\
         CLIENT_ERROR bad command line termination\r\n"
    );
    assert_eq!(converse("ms a 4 b\r\n"), "CLIENT_ERROR unauthenticated\r\n");
    // A login that takes its time holds back what comes behind it.
    assert_eq!(
        converse(
            "set a 0 0 9\r\nlate wron\r\nversion\r\nset a 0 0 11\r\nlate secret\r\n\
             get b\r\nversion\r\n"
        ),
        "CLIENT_ERROR authentication failure\r\nCLIENT_ERROR unauthenticated\r\nSTORED\r\nEND\r\nVERSION model\r\n"
    );
    assert_eq!(converse("quit\r\n"), "(close)");
    assert_eq!(converse(&"set ".repeat(1000)), "(close)");
}

#[test]
fn what_one_long_line_took_is_given_back() {
    let (mut model, mut session) = (Model::default(), Session::new());
    assert!(session.attach(Buffers::new()).is_none());
    let line = format!("get{}\r\n", " key".repeat(100_000));
    let mut rest = line.as_bytes();
    loop {
        match session.process(&mut model, 20) {
            Want::Read if rest.is_empty() => break,
            Want::Read => {
                let space = session.recv_space();
                let n = space.len().min(rest.len());
                space[..n].copy_from_slice(&rest[..n]);
                session.received(n);
                rest = &rest[n..];
            }
            Want::Write => session.sent(session.queued_bytes()),
            Want::Yield => {}
            want => panic!("{want:?}"),
        }
    }
    let buffers = session.detach().expect("nothing is in them");
    assert!(format!("{buffers:?}").contains("recv_bytes: 16384"), "{buffers:?}");
}

/// Answers everything with `OK` and then with `tick` after `tick`.
struct Clock;

enum Nothing {}

impl Pinned for Nothing {
    fn piece(&self, _: usize) -> Option<&[u8]> {
        match *self {}
    }
}

impl Sink for Nothing {
    fn space(&mut self) -> &mut [u8] {
        match *self {}
    }

    fn filled(&mut self, _: usize) {
        match *self {}
    }
}

impl Handler for Clock {
    type Pin = Nothing;
    type Sink = Nothing;

    fn call(&mut self, _: Request<'_>, reply: &mut Reply<'_, Nothing>) -> Outcome {
        reply.line("OK");
        reply.feed(Ticks)
    }

    fn reserve(&mut self, _: &Request<'_>, _: usize) -> Result<Nothing, &'static str> {
        Err("ERROR")
    }

    fn commit(&mut self, _: Request<'_>, sink: Nothing, _: &mut Reply<'_, Nothing>) -> Outcome {
        match sink {}
    }
}

struct Ticks;

impl Feed for Ticks {
    fn poll_feed(&mut self, _: &mut Context<'_>, out: &mut Output<'_>) -> Poll<Fed> {
        out.push(b"tick\r\n");
        Poll::Ready(Fed::More)
    }
}

#[test]
fn a_feed_that_speaks_while_no_buffers_are_lent_is_heard() {
    let (mut handler, mut session) = (Clock, Session::new());
    assert!(session.attach(Buffers::new()).is_none());
    feed(&mut session, b"watch\r\n");
    assert_eq!(session.process(&mut handler, 20), Want::Write);
    session.sent(session.queued_bytes());
    assert_eq!(session.process(&mut handler, 20), Want::Stream);
    let buffers = session.detach().expect("nothing is in them");
    for _ in 0..3 {
        assert!(session.poll_feed(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(session.queued_bytes(), "tick\r\n".len());
        assert!(session.attach(Buffers::new()).is_none(), "it has nothing to read into");
        assert!(session.detach().is_none(), "something is in them");
        session.sent(session.queued_bytes());
        assert!(session.detach().is_some());
    }
    assert!(session.attach(buffers).is_none());
    assert!(session.attach(Buffers::new()).is_some(), "one pair is enough");
}

#[test]
fn a_session_says_whether_its_end_was_wanted() {
    for (sent, is_wanted) in
        [("quit\r\n", true), ("GET / HTTP/1.1\r\n", false), ("set a 0 0 x\r\nversion\r\n", false)]
    {
        let (mut model, mut session) = (Model::default(), Session::new());
        feed(&mut session, sent.as_bytes());
        while let Want::Write = session.process(&mut model, 20) {
            session.sent(session.queued_bytes());
        }
        assert_eq!(session.process(&mut model, 20), Want::Close, "{sent}");
        assert_eq!(session.is_end_wanted(), is_wanted, "{sent}");
    }
}

#[test]
fn a_limit_on_answers_fails_retrievals_and_ends_the_rest() {
    const NO_MEMORY: &str = "SERVER_ERROR out of memory writing get response\r\n";
    let limited = |input: &str, cuts: &Cuts| {
        let mut session = Session::new();
        session.set_answers_max(4);
        let run = run_session(session, &mut Model::default(), input.as_bytes(), cuts);
        (String::from_utf8(run.output).unwrap(), run.end)
    };
    let whole = Cuts::none();
    assert_eq!(limited("get a b c d\r\n", &whole), ("END\r\n".to_owned(), Want::Read));
    // The client learns of it and stays in step.
    let five = format!("{NO_MEMORY}MN\r\n");
    assert_eq!(limited("get a b c d e\r\nmn\r\n", &whole), (five, Want::Read));
    let long = format!("gets{}\r\nmn\r\n", " key".repeat(3000));
    assert_eq!(limited(&long, &whole).0, format!("{NO_MEMORY}MN\r\n"));
    assert_eq!(limited("mn\r\n".repeat(4).as_str(), &whole).1, Want::Read);
    assert_eq!(limited("mn\r\n".repeat(5).as_str(), &whole), (String::new(), Want::Close));
    assert_eq!(limited("mn\r\nget a b c d\r\n", &whole).0, format!("MN\r\n{NO_MEMORY}"));
    // What has been sent does not count.
    let one_by_one = Cuts::every(4);
    assert_eq!(limited("mn\r\n".repeat(50).as_str(), &one_by_one).0, "MN\r\n".repeat(50));
}

#[test]
fn overflows_are_counted_until_somebody_asks() {
    let mut session = Session::<Model>::new();
    session.set_answers_max(1);
    let input = b"get a b\r\n";
    session.recv_space()[..input.len()].copy_from_slice(input);
    session.received(input.len());
    assert_eq!(session.process(&mut Model::default(), 10), Want::Write);
    assert_eq!((session.take_overflows(), session.take_overflows()), (1, 0));
    assert_eq!(session.n_answers(), 1);
}
