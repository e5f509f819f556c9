//! Lines from the event to the feed.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nuthatch_proto::{Feed as _, Output};

use super::*;

const GET: Event = Event::Get { status: GetStatus::Found, class: 1, conn: Some(9), len: 3 };

fn logger(worker_bytes: usize, watcher_bytes: usize) -> Logger {
    Logger::new(&Options {
        threads: 2,
        worker_logbuf_bytes: worker_bytes,
        watcher_logbuf_bytes: watcher_bytes,
        ..Options::default()
    })
}

/// Looks until it is so; the writing thread has ten seconds for what takes it one millisecond.
#[track_caller]
fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("not within ten seconds");
}

/// What a feed has, up to the first time that it has nothing.
fn read(feed: &mut WatchFeed) -> String {
    let mut all = Vec::new();
    loop {
        let mut bytes = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        if feed.poll_feed(&mut cx, &mut Output::new(&mut bytes)) == Poll::Pending {
            return String::from_utf8(all).unwrap();
        }
        all.extend(bytes);
    }
}

/// So many lines of a feed, or what there is after ten seconds.
#[track_caller]
fn read_lines(feed: &mut WatchFeed, n_lines: usize) -> Vec<String> {
    let mut text = String::new();
    eventually(|| {
        text += &read(feed);
        text.lines().count() >= n_lines
    });
    text.lines().map(str::to_owned).collect()
}

fn gid(line: &str) -> u64 {
    let at = line.find("gid=").expect("every line has a number");
    line[at + 4..].split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn lines_of_many_threads_come_in_the_order_of_their_numbers() {
    let logger = logger(8 << 20, 8 << 20);
    let mut feed = logger.watch(WatchFlags::FETCHERS).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                (0..2000).for_each(|_| logger.note(WatchFlags::FETCHERS, GET, b"key"));
            });
        }
    });
    let lines = read_lines(&mut feed, 12_000);
    assert!(lines.is_sorted_by_key(|line| gid(line)));
    assert_eq!((gid(&lines[0]), gid(&lines[11_999])), (1, 12_000));
    assert!(
        lines[0].ends_with(" gid=1 type=item_get key=key status=found clsid=1 cfd=9 size=3"),
        "{}",
        lines[0]
    );
    let stats = logger.stats();
    let expected = LoggerStats {
        worker_written: 12_000,
        watcher_sent: 12_000,
        watchers: 1,
        ..LoggerStats::default()
    };
    assert_eq!(stats, expected);
    logger.reset();
    assert_eq!(logger.stats(), LoggerStats { watchers: 1, ..LoggerStats::default() });
}

#[test]
fn a_watcher_sees_what_it_asked_for_from_then_on() {
    let logger = logger(1 << 20, 1 << 20);
    let deleted = Event::Deleted { cmd: "delete", class: 1, len: 2 };
    let mut early = logger.watch(WatchFlags::FETCHERS.union(WatchFlags::DELETIONS)).unwrap();
    logger.note(WatchFlags::FETCHERS, GET, b"a");
    let mut late = logger.watch(WatchFlags::DELETIONS).unwrap();
    logger.note(WatchFlags::FETCHERS, GET, b"b");
    logger.note(WatchFlags::DELETIONS, deleted, b"b");
    let early = read_lines(&mut early, 3);
    assert_eq!(early.iter().map(|line| gid(line)).collect::<Vec<_>>(), [1, 2, 3]);
    let late = read_lines(&mut late, 1);
    assert_eq!(late.len(), 1, "{late:?}");
    assert!(late[0].ends_with("gid=3 type=deleted key=b cmd=delete clsid=1 size=2"), "{late:?}");
}

#[test]
fn a_watcher_that_does_not_read_is_told_how_much_it_has_missed() {
    let logger = logger(1 << 20, 500);
    let mut feed = logger.watch(WatchFlags::FETCHERS).unwrap();
    (0..100).for_each(|_| logger.note(WatchFlags::FETCHERS, GET, b"key"));
    eventually(|| logger.stats().watcher_sent + logger.stats().watcher_skipped == 100);
    let n_read = read(&mut feed).lines().count() as u64;
    let n_skipped = 100 - n_read;
    assert_eq!((logger.stats().watcher_sent, logger.stats().watcher_skipped), (n_read, n_skipped));
    assert!(n_read > 0 && n_skipped > 0, "{n_read} {n_skipped}");
    logger.note(WatchFlags::FETCHERS, GET, b"next");
    let lines = read_lines(&mut feed, 2);
    assert_eq!(lines[0], format!("skipped={n_skipped}"));
    assert_eq!((gid(&lines[1]), lines.len()), (101, 2));
}

#[test]
fn what_does_not_fit_into_a_worker_s_ring_is_dropped_and_counted() {
    let logger = logger(1000, 1 << 20);
    let mut feed = logger.watch(WatchFlags::FETCHERS).unwrap();
    // More at once than there is room for, whenever the writing thread comes by.
    let long = [b'k'; 1000];
    (0..10).for_each(|_| logger.note(WatchFlags::FETCHERS, GET, &long));
    assert_eq!(logger.stats().worker_dropped, 10);
    logger.note(WatchFlags::FETCHERS, GET, b"short");
    let lines = read_lines(&mut feed, 1);
    assert_eq!((gid(&lines[0]), logger.stats().worker_written), (1, 1));
}

#[test]
fn only_so_many_may_watch() {
    let logger = logger(1 << 10, 1 << 10);
    let mut feeds: Vec<_> =
        (0..WATCHERS_MAX).map(|_| logger.watch(WatchFlags::EVICTIONS).unwrap()).collect();
    assert_eq!(logger.watch(WatchFlags::EVICTIONS).err(), Some(WatchError::TooMany));
    feeds.pop();
    feeds.push(logger.watch(WatchFlags::MUTATIONS).unwrap());
    assert_eq!(logger.stats().watchers, WATCHERS_MAX as u64);
}

#[test]
fn nothing_is_left_of_those_who_have_left() {
    let logger = logger(1 << 20, 1 << 20);
    let inner = &logger.0;
    for _ in 0..3 {
        let mut feed = logger.watch(WatchFlags::FETCHERS).unwrap();
        assert!(logger.gate().is_watched(WatchFlags::FETCHERS));
        logger.note(WatchFlags::FETCHERS, GET, b"key");
        assert_eq!(read_lines(&mut feed, 1).len(), 1);
        drop(feed);
        assert_eq!(logger.gate().load(), 0);
        eventually(|| !inner.registry.lock().is_written);
        assert_eq!(logger.stats().watchers, 0);
    }
}

#[test]
fn the_gate_has_bits_of_several_owners() {
    let gate = Gate::default();
    gate.set(Gate::DETAIL, true);
    gate.set_watched(WatchFlags::RAWCMDS);
    gate.set(Gate::VERBOSE, true);
    assert!(gate.is_watched(WatchFlags::RAWCMDS) && !gate.is_watched(WatchFlags::FETCHERS));
    assert_ne!(gate.load() & Gate::DETAIL, 0);
    gate.set(Gate::DETAIL, false);
    gate.set_watched(WatchFlags::default());
    assert_eq!(gate.load(), Gate::VERBOSE);
}
