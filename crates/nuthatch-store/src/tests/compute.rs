//! Values computed once for all who ask: herds, failures, panics, cancellations.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use super::{at, key, small, value_of};
use crate::types::{ItemFlags, Key, Ttl};
use crate::{Fetched, NewItem, Origin, Set, Store};

/// A herd of threads on one key; how often it was computed, and what each got.
fn herd(
    store: &Store,
    name: &str,
    ttl: Ttl,
    len: usize,
    make: impl Fn(u32) -> Result<(), &'static str> + Sync,
) -> (u32, Vec<thread::Result<Result<Fetched, &'static str>>>) {
    const THREADS: usize = 8;
    let (turns, barrier) = (AtomicU32::new(0), Barrier::new(THREADS));
    let caller = || {
        barrier.wait();
        catch_unwind(AssertUnwindSafe(|| {
            store.get_or_insert_with(key(name), ttl, || {
                let turn = turns.fetch_add(1, SeqCst);
                make(turn)?;
                Ok(vec![b'0' + turn.to_le_bytes()[0]; len])
            })
        }))
    };
    let results = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(caller)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(store.inner.computing.len(), 0);
    (turns.into_inner(), results)
}

#[test]
fn a_herd_computes_once() {
    let store = small().build().unwrap();
    for round in 0..200 {
        let (turns, results) = herd(&store, &format!("key{round}"), Ttl::NEVER, 100, |_| Ok(()));
        assert_eq!(turns, 1);
        let fetched: Vec<_> = results.into_iter().map(|result| result.unwrap().unwrap()).collect();
        let computed = fetched.iter().filter(|value| value.origin() == Origin::Computed).count();
        assert_eq!(computed, 1);
        assert!(fetched.iter().all(|value| value.as_ref() == [b'0'; 100]));
        assert!(fetched.iter().all(|value| value.item().is_some()));
    }
    store.audit(Some(0));
    let stats = store.stats();
    let (hits, misses) = (stats.totals.get_hits(), stats.counters.get_misses);
    assert_eq!((hits + misses, stats.totals.counters.cmd_set), (8 * 200, 200));
}

#[test]
fn those_who_wait_get_what_no_lookup_finds() {
    // Dead as soon as it is stored, or never stored at all: a herd of which some wait and some
    // come later. Whoever waited has the value of the one it waited for.
    let store = small().build().unwrap();
    at(&store, 100);
    let (leading, led) = mpsc::channel();
    thread::scope(|scope| {
        for (name, ttl, len) in [("dead", Ttl::PAST, 10), ("large", Ttl::NEVER, 2 << 20)] {
            let leading = leading.clone();
            let (store, release) = (&store, Arc::new(Barrier::new(2)));
            let released = Arc::clone(&release);
            let leader = scope.spawn(move || {
                store.get_or_insert_with(key(name), ttl, || {
                    leading.send(()).unwrap();
                    released.wait();
                    Ok::<_, Infallible>(vec![b'x'; len])
                })
            });
            led.recv().unwrap();
            let fetch = store.get_or_insert_async(key(name), ttl, pending::<Result<Vec<u8>, ()>>());
            let mut fetch = pin!(fetch);
            let mut context = Context::from_waker(Waker::noop());
            assert!(fetch.as_mut().poll(&mut context).is_pending());
            release.wait();
            let computed = leader.join().unwrap().unwrap();
            let Poll::Ready(Ok(waited)) = fetch.poll(&mut context) else { panic!("it landed") };
            assert_eq!((computed.origin(), waited.origin()), (Origin::Computed, Origin::Waited));
            assert_eq!(computed.as_bytes(), vec![b'x'; len]);
            assert_eq!(computed.as_bytes(), waited.as_bytes());
            assert_eq!(computed.refusal().is_some(), name == "large");
            assert_eq!(computed.refusal(), waited.refusal());
            assert!(!store.contains(key(name)));
        }
    });
    store.audit(Some(0));
}

#[test]
fn one_of_a_herd_takes_over_from_one_that_fails() {
    let store = small().build().unwrap();
    for (round, panics) in [true, false].into_iter().enumerate() {
        let name = format!("key{round}");
        let (turns, results) = herd(&store, &name, Ttl::NEVER, 10, |turn| match turn {
            0..3 if panics => panic!("what a computation does"),
            0..3 => Err("what a computation says"),
            _ => Ok(()),
        });
        assert_eq!(turns, 4);
        let is_right = |result: &thread::Result<Result<Fetched, _>>| match result {
            Ok(Ok(fetched)) => fetched.as_bytes() == [b'3'; 10],
            _ => false,
        };
        assert_eq!(results.iter().filter(|result| is_right(result)).count(), 5);
        let n_panics = results.iter().filter(|result| result.is_err()).count();
        assert_eq!(n_panics, if panics { 3 } else { 0 });
    }
    let (turns, results) = herd(&store, "never", Ttl::NEVER, 10, |_| Err("no"));
    assert_eq!((turns, results.len()), (8, 8), "each has tried for itself");
    assert!(results.into_iter().all(|result| result.unwrap().is_err()));
    assert!(!store.contains(key("never")));
    store.audit(Some(0));
}

#[test]
fn keys_do_not_wait_for_each_other() {
    let store = small().build().unwrap();
    let names: Vec<String> = (0..100).map(|n| format!("key{n}")).collect();
    // Each computation has all those after it computed inside of it, on the same thread.
    fn nested(store: &Store, names: &[String]) -> Vec<u8> {
        let Some((name, rest)) = names.split_first() else { return b"!".to_vec() };
        let make = || Ok::<_, Infallible>(nested(store, rest));
        let fetched = store.get_or_insert_with(key(name), Ttl::NEVER, make).unwrap();
        fetched.as_bytes().to_vec()
    }
    assert_eq!(nested(&store, &names), b"!");
    assert!(names.iter().all(|name| value_of(&store, name).as_deref() == Some(b"!")));

    let mine = catch_unwind(AssertUnwindSafe(|| {
        store.get_or_insert_with(key("mine"), Ttl::NEVER, || {
            store.get_or_insert_with(key("mine"), Ttl::NEVER, || Ok::<_, Infallible>("inner"))
        })
    }));
    assert!(mine.is_err(), "it would wait for itself");
    assert_eq!(store.inner.computing.len(), 0);
}

#[test]
fn what_is_stored_meanwhile_stays() {
    let store = small().build().unwrap();
    let item = NewItem { flags: ItemFlags(3), ..NewItem::default() };
    let fetched = store.get_or_insert_with(key("a"), item, || {
        store.set(key("a"), b"newer", Set::default()).unwrap();
        Ok::<_, Infallible>("older")
    });
    assert_eq!(fetched.unwrap().as_bytes(), b"newer");
    assert_eq!(value_of(&store, "a").as_deref(), Some(&b"newer"[..]));
    let fetched = store.get_or_insert_with(key("b"), item, || Ok::<_, Infallible>("b")).unwrap();
    assert_eq!(fetched.item().unwrap().flags(), ItemFlags(3));
    store.delete(key("b"));
    assert_eq!(fetched.as_bytes(), b"b", "pinned");
    drop(fetched);
    store.audit(Some(0));
}

/// A waker that says whether it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

type Fetch<'a> = Pin<Box<dyn Future<Output = Result<Fetched, ()>> + Send + 'a>>;

struct Task<'a> {
    fetch: Fetch<'a>,
    flag: Arc<Flag>,
}

impl<'a> Task<'a> {
    fn new(
        store: &'a Store,
        make: impl Future<Output = Result<&'static str, ()>> + Send + 'a,
    ) -> Self {
        let fetch = Box::pin(store.get_or_insert_async(key("key"), Ttl::NEVER, make));
        Self { fetch, flag: Arc::default() }
    }

    fn poll(&mut self) -> Poll<Result<Fetched, ()>> {
        self.flag.0.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&self.flag));
        self.fetch.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn is_woken(&self) -> bool {
        self.flag.0.load(SeqCst)
    }

    fn value(&mut self) -> Vec<u8> {
        match self.poll() {
            Poll::Ready(Ok(fetched)) => fetched.as_bytes().to_vec(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_cancelled_computation_goes_to_one_who_waits() {
    let store = small().build().unwrap();
    let mut leader = Task::new(&store, pending());
    let mut lost = Task::new(&store, pending());
    let mut second = Task::new(&store, ready(Ok("second")));
    let mut third = Task::new(&store, ready(Ok("third")));
    for task in [&mut leader, &mut lost, &mut second, &mut third] {
        assert!(task.poll().is_pending());
    }
    drop(lost);
    assert!(!second.is_woken() && !third.is_woken());
    drop(leader);
    assert!(second.is_woken() && third.is_woken());
    // Only polled, it would block the others; dropped, it must not.
    let never_polled = Task::new(&store, pending());
    assert_eq!(third.value(), b"third");
    assert_eq!(second.value(), b"third");
    drop(never_polled);
    assert_eq!(store.inner.computing.len(), 0);
}

#[test]
fn one_who_took_over_may_be_cancelled_too() {
    let store = small().build().unwrap();
    let mut leader = Task::new(&store, pending());
    let mut second = Task::new(&store, pending());
    let mut third = Task::new(&store, ready(Err(())));
    let mut last = Task::new(&store, ready(Ok("last")));
    for task in [&mut leader, &mut second, &mut third, &mut last] {
        assert!(task.poll().is_pending());
    }
    drop(leader);
    assert!(second.poll().is_pending(), "it computes");
    assert!(third.poll().is_pending() && last.poll().is_pending(), "they wait again");
    drop(second);
    assert!(third.is_woken() && last.is_woken());
    assert!(matches!(third.poll(), Poll::Ready(Err(()))));
    assert!(last.is_woken());
    assert_eq!(last.value(), b"last");
    assert_eq!(store.inner.computing.len(), 0);

    // All of them gone, nothing is left of it.
    store.delete(key("key"));
    let mut tasks: Vec<_> = (0..5).map(|_| Task::new(&store, pending())).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    drop(tasks);
    assert_eq!(store.inner.computing.len(), 0);
}

#[test]
fn a_future_that_panics_goes_to_one_who_waits() {
    let store = small().build().unwrap();
    let mut is_first = true;
    let fails = poll_fn(move |_| {
        if std::mem::take(&mut is_first) { Poll::Pending } else { panic!("what a future does") }
    });
    let mut leader = Task::new(&store, fails);
    let mut waiter = Task::new(&store, ready(Ok("value")));
    assert!(leader.poll().is_pending() && waiter.poll().is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| leader.poll())).is_err());
    assert!(waiter.is_woken());
    assert_eq!(waiter.value(), b"value");
}

#[test]
fn threads_and_tasks_wait_for_each_other() {
    let store = small().build().unwrap();
    let (ready, is_ready) = mpsc::channel();
    let (give, given) = mpsc::channel::<&'static str>();
    let mut task = Task::new(
        &store,
        poll_fn(move |_| given.try_recv().map_or(Poll::Pending, |value| Poll::Ready(Ok(value)))),
    );
    assert!(task.poll().is_pending());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            ready.send(()).unwrap();
            let make = || -> Result<&str, ()> { panic!("the task computes") };
            store.get_or_insert_with(key("key"), Ttl::NEVER, make)
        });
        is_ready.recv().unwrap();
        give.send("value").unwrap();
        assert_eq!(task.value(), b"value");
        assert_eq!(waiter.join().unwrap().unwrap().as_bytes(), b"value");
    });
}

#[test]
fn a_fetch_can_be_sent() {
    fn check<T: Send>(_: &T) {}
    let store = small().build().unwrap();
    let name = String::from("key");
    let fetch = async {
        let key = Key::new(&name).unwrap();
        store.get_or_insert_async(key, Ttl::NEVER, ready(Ok::<_, ()>("v"))).await
    };
    check(&fetch);
}
