//! The crawler and its schedule, driven by hand.

use std::time::Duration;

use crate::types::{Clock, Key, Ttl};
use crate::{Builder, CrawlError, CrawlTarget, Maintenance, Profile, Set, Store};

const HOUR: u32 = 3600;

fn at(store: &Store, now: u32) {
    store.set_clock(Clock { now, unix_base: 1_700_000_000 });
}

fn put(store: &Store, name: &str, ttl: u32) {
    let ttl = if ttl == 0 { Ttl::NEVER } else { Ttl::secs(ttl) };
    store.set(Key::new(name).unwrap(), b"ok", Set { ttl, ..Set::default() }).unwrap();
}

fn compat() -> Builder {
    Store::builder().profile(Profile::Compat).memory_limit(32 << 20)
}

/// A store in which nothing moves or goes but by the crawler's doing.
fn flat() -> Store {
    compat().segmented(false).auto_crawl(false).build().unwrap()
}

fn crawl_to_the_end(store: &Store) -> usize {
    let mut maintenance = Maintenance::new(store);
    let mut n_steps = 0;
    while store.is_crawling() {
        maintenance.step(Duration::from_secs(1));
        store.audit(Some(0));
        n_steps += 1;
        assert!(n_steps < 1000, "a crawl ends");
    }
    n_steps
}

/// `n` items each of those that live for ever, for an hour and for a second, in that order.
fn fill(store: &Store, n: usize) {
    for (kind, ttl) in [("i", 0), ("l", HOUR), ("s", 1)] {
        (0..n).for_each(|i| put(store, &format!("{kind}foo{i}"), ttl));
    }
}

#[test]
fn a_crawl_takes_exactly_what_has_expired() {
    let store = flat();
    at(&store, 10);
    fill(&store, 30);
    at(&store, 13);
    store.crawl(CrawlTarget::Classes(vec![1])).unwrap();
    assert!(store.is_crawling() && store.stats().lru_crawler_running);
    crawl_to_the_end(&store);
    let stats = store.stats();
    assert_eq!(stats.curr_items, 60);
    assert_eq!((stats.totals.crawler_reclaimed, stats.totals.crawler_items_checked), (30, 90));
    assert_eq!((stats.totals.expired_unfetched, stats.totals.reclaimed), (30, 0));
    assert_eq!(stats.counters.lru_crawler_starts, 1);
    assert!(!stats.lru_crawler_running);
    assert_eq!(store.class_stats()[0].crawler_reclaimed, 30);
    assert!(store.get(Key::new("lfoo3").unwrap(), |_| ()).is_some());
}

#[test]
fn a_crawl_takes_what_was_flushed_and_does_not_call_it_unread() {
    let store = flat();
    at(&store, 10);
    fill(&store, 5);
    store.flush_all(None);
    put(&store, "after", 0);
    store.crawl(CrawlTarget::All).unwrap();
    crawl_to_the_end(&store);
    let stats = store.stats();
    // A store in a flat LRU looks at the tail: that is where the other five went.
    assert_eq!((stats.curr_items, stats.totals.reclaimed), (1, 5));
    assert_eq!((stats.totals.crawler_reclaimed, stats.totals.expired_unfetched), (10, 5));
}

#[test]
fn other_classes_are_left_alone() {
    let store = flat();
    at(&store, 10);
    fill(&store, 5);
    at(&store, 20);
    store.crawl(CrawlTarget::Classes(vec![2, 63])).unwrap();
    crawl_to_the_end(&store);
    assert_eq!(store.stats().totals.crawler_items_checked, 0);
    assert_eq!(store.stats().curr_items, 15);
}

#[test]
fn a_limit_ends_each_queue_early() {
    let store = flat();
    at(&store, 10);
    fill(&store, 30);
    at(&store, 20);
    store.set_crawler_limit(65);
    store.crawl(CrawlTarget::All).unwrap();
    crawl_to_the_end(&store);
    let totals = store.stats().totals;
    assert_eq!((totals.crawler_items_checked, totals.crawler_reclaimed), (65, 5));
}

#[test]
fn a_crawl_rests_after_a_thousand_items_and_keeps_its_place_meanwhile() {
    let store = flat();
    at(&store, 10);
    store.set_crawler_sleep(Duration::from_millis(7));
    fill(&store, 1000);
    at(&store, 20);
    store.crawl(CrawlTarget::All).unwrap();
    let mut maintenance = Maintenance::new(&store);
    maintenance.step(Duration::ZERO);
    let checked = store.stats().totals.crawler_items_checked;
    assert!((1000..1032).contains(&checked), "{checked}");
    assert!(maintenance.step(Duration::from_millis(6)) <= Duration::from_millis(1));
    assert_eq!(store.stats().totals.crawler_items_checked, checked);
    maintenance.step(Duration::from_millis(1));
    assert!(store.stats().totals.crawler_items_checked >= checked + 1000);
    assert!(store.is_crawling());
    // What it stands on, what is behind it and what is ahead of it goes away.
    for n in 0..1000 {
        store.delete(Key::new(&format!("ifoo{n}")).unwrap());
        store.delete(Key::new(&format!("lfoo{n}")).unwrap());
        store.audit(Some(0));
    }
    crawl_to_the_end(&store);
    let stats = store.stats();
    assert_eq!((stats.curr_items, stats.totals.crawler_reclaimed), (0, 1000));
    assert_eq!(stats.totals.expired_unfetched, 1000);
}

#[test]
fn requests_are_refused_by_their_reasons() {
    let store = flat();
    put(&store, "a", 0);
    assert_eq!(store.crawl(CrawlTarget::Classes(vec![])), Err(CrawlError::NothingToCrawl));
    assert_eq!(store.crawl(CrawlTarget::Classes(vec![1, 0])), Err(CrawlError::BadClass));
    assert_eq!(store.crawl(CrawlTarget::Classes(vec![64])), Err(CrawlError::BadClass));
    store.crawl(CrawlTarget::All).unwrap();
    assert_eq!(store.crawl(CrawlTarget::All), Err(CrawlError::Busy));
    assert!(store.set_crawler(false), "it was on");
    assert!(!store.is_crawling() && !store.config().crawler);
    assert_eq!(store.crawl(CrawlTarget::All), Err(CrawlError::Disabled));
    assert!(!store.set_crawler(false) && store.set_crawler(true));
    store.crawl(CrawlTarget::All).unwrap();
    crawl_to_the_end(&store);
    assert_eq!(store.stats().totals.crawler_items_checked, 1);
}

#[test]
fn switching_off_in_the_middle_leaves_no_place_behind() {
    let store = flat();
    at(&store, 10);
    fill(&store, 1000);
    store.crawl(CrawlTarget::All).unwrap();
    Maintenance::new(&store).step(Duration::ZERO);
    store.set_crawler(false);
    store.set_crawler(true);
    // Two places of one walker in a list would trip an assertion.
    store.crawl(CrawlTarget::All).unwrap();
    crawl_to_the_end(&store);
}

/// A store whose maintenance sends the crawler out, and its maintenance.
fn automatic() -> (Store, Maintenance) {
    let store = compat().build().unwrap();
    at(&store, 2);
    let maintenance = Maintenance::new(&store);
    (store, maintenance)
}

/// Goes on to a reading of the clock, second by second.
fn run_to(store: &Store, maintenance: &mut Maintenance, until: u32) {
    run_by(store, maintenance, until, 1);
}

fn run_by(store: &Store, maintenance: &mut Maintenance, until: u32, step: usize) {
    for now in (store.clock().now + 1..=until).step_by(step) {
        at(store, now);
        maintenance.step(Duration::from_secs(1));
        while store.is_crawling() {
            maintenance.step(Duration::from_secs(1));
        }
    }
}

#[test]
fn expired_items_go_without_being_asked_for() {
    let (store, mut maintenance) = automatic();
    // Behind an immortal item at the tail, where juggling does not see them.
    put(&store, "immortal", 0);
    (0..50).for_each(|n| put(&store, &format!("short{n}"), 100));
    run_to(&store, &mut maintenance, 600);
    let stats = store.stats();
    assert_eq!((stats.curr_items, stats.totals.crawler_reclaimed), (1, 50));
    assert!(stats.counters.lru_crawler_starts > 2);
    store.audit(Some(0));
}

#[test]
fn a_queue_without_expiring_items_is_crawled_ever_more_rarely() {
    let (store, mut maintenance) = automatic();
    put(&store, "immortal", 0);
    // A minute more each time: 1 + 2 + … + 60.
    run_by(&store, &mut maintenance, 40 * HOUR, 30);
    let early = store.stats().totals.crawler_items_checked;
    assert!((60..=75).contains(&early), "{early}");
    run_by(&store, &mut maintenance, 50 * HOUR, 30);
    let late = store.stats().totals.crawler_items_checked;
    assert!((9..=10).contains(&(late - early)), "once an hour in the end: {early} {late}");
    let reports = store.crawl_reports();
    let cold = reports.iter().find(|report| (report.class, report.queue) == (1, 2)).unwrap();
    assert_eq!((cold.low_mark, cold.next_reclaims, cold.examined), (1, 0, 1));
    assert_eq!(cold.next_run_secs, HOUR + 5);
}

#[test]
fn a_queue_with_much_to_expire_is_crawled_often() {
    let (store, mut maintenance) = automatic();
    put(&store, "immortal", 0);
    run_to(&store, &mut maintenance, 100);
    let before = store.stats().totals.crawler_items_checked;
    for round in 0..30 {
        (0..100).for_each(|n| put(&store, &format!("short{round}-{n}"), 20));
        run_to(&store, &mut maintenance, 100 + (round + 1) * 20);
    }
    assert!(store.stats().totals.crawler_reclaimed >= 2000);
    assert!(store.stats().totals.crawler_items_checked > before + 2000);
    assert!(store.stats().curr_items < 1000);
}

#[test]
fn idle_items_go_without_being_asked_for() {
    // Nobody pulls the tail of a flat LRU while nothing is stored.
    let builder = Store::builder().memory_limit(32 << 20).segmented(false);
    let store = builder.time_to_idle(Some(90)).build().unwrap();
    at(&store, 2);
    let mut maintenance = Maintenance::new(&store);
    (0..50).for_each(|n| put(&store, &format!("idle{n}"), 0));
    for now in (10..600).step_by(10) {
        run_to(&store, &mut maintenance, now);
        assert!(store.get(Key::new("idle0").unwrap(), |_| ()).is_some());
    }
    let stats = store.stats();
    assert_eq!((stats.curr_items, stats.totals.crawler_reclaimed), (1, 49));
}

#[test]
fn a_request_keeps_the_crawler_from_going_by_itself_for_a_minute() {
    let (store, mut maintenance) = automatic();
    store.crawl(CrawlTarget::All).unwrap();
    run_to(&store, &mut maintenance, 61);
    assert_eq!(store.stats().counters.lru_crawler_starts, 1);
    run_to(&store, &mut maintenance, 75);
    assert_eq!(store.stats().counters.lru_crawler_starts, 2);
}

#[test]
fn a_store_that_is_told_not_to_never_crawls_by_itself() {
    let store = flat();
    put(&store, "a", 1);
    let mut maintenance = Maintenance::new(&store);
    run_to(&store, &mut maintenance, 2 * HOUR);
    assert_eq!(store.stats().counters.lru_crawler_starts, 0);
    assert_eq!(store.stats().curr_items, 1);
    assert!(store.stats().counters.lru_maintainer_juggles >= u64::from(HOUR));
}

#[test]
fn the_threads_crawl_when_asked_and_end_when_dropped() {
    let store = compat().segmented(false).build().unwrap();
    let maintenance = store.spawn_maintenance().unwrap();
    fill(&store, 10);
    maintenance.clock().advance(60);
    store.set_clock(maintenance.clock().read());
    // One that the threads have sent out by themselves may be under way.
    while store.crawl(CrawlTarget::All).is_err() {
        std::thread::yield_now();
    }
    while store.is_crawling() {
        std::thread::yield_now();
    }
    assert_eq!((store.stats().curr_items, store.stats().totals.crawler_reclaimed), (20, 10));
    drop(maintenance);
    store.audit(Some(0));
}
