//! What users do all the time: tasks that read and write, each its own keys and everybody's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use nuthatch_client::types::{Stored, Ttl};
use nuthatch_client::{Error, Item};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::ledger::{Counter, Judge, Key, Place, Written, steady};
use super::watch::Watched;

/// How long calls may take by the clients' settings.
pub(super) const LIMIT: Duration = Duration::from_secs(1);

/// How much longer one may have taken on a busy machine and not be stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// How many keys a task has.
const KEYS: usize = 30;

/// What all tasks share.
pub(super) struct Common {
    pub(super) clients: Vec<Watched>,
    /// By task.
    pub(super) keys: Vec<Vec<Key>>,
    pub(super) judge: Judge,
    pub(super) n_stuck: AtomicU64,
    is_over: AtomicBool,
    /// Between calls, on the average.
    pause: Duration,
}

impl Common {
    pub(super) fn new(clients: Vec<Watched>, n_tasks: usize, pause: Duration) -> Self {
        let key = |task: usize, n: usize| Key::new(format!("key:{task}:{n}"));
        let keys = (0..n_tasks).map(|task| (0..KEYS).map(|n| key(task, n)).collect()).collect();
        Self {
            clients,
            keys,
            judge: Judge::default(),
            n_stuck: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            pause,
        }
    }
}

pub(super) struct Load {
    pub(super) common: Arc<Common>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn idle(common: Arc<Common>) -> Self {
        Self { common, tasks: Vec::new() }
    }

    pub(super) fn start(&mut self, seed: u64) {
        for task in 0..self.common.keys.len() {
            let common = Arc::clone(&self.common);
            let rng = Rng::with_seed(seed.wrapping_add(task as u64));
            let task = Task { common, task, rng, counter: Counter::default() };
            self.tasks.push(tokio::spawn(task.run()));
        }
    }

    /// Every task ends.
    pub(super) async fn end(self) -> Arc<Common> {
        self.common.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            match timeout(STUCK_AFTER * 3, task).await {
                Ok(ended) => ended.expect("no task panics"),
                Err(_) => {
                    self.common.n_stuck.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.common
    }
}

struct Task {
    common: Arc<Common>,
    task: usize,
    rng: Rng,
    counter: Counter,
}

/// What a call for one key began with.
struct Before {
    place: Option<Place>,
    home: Option<String>,
    begun: Instant,
}

impl Task {
    async fn run(mut self) {
        let common = Arc::clone(&self.common);
        while !common.is_over.load(Ordering::Relaxed) {
            let mut pause = common.pause.mul_f64(self.rng.f64() * 2.0);
            // A task that found its calls in order goes on, else it has something else to do.
            if !self.one(&common).await {
                pause += Duration::from_millis(5);
            }
            sleep(pause).await;
        }
    }

    /// Writes are by the task's own client, so that one connection keeps them in order.
    fn own<'a>(&self, common: &'a Common) -> &'a Watched {
        &common.clients[self.task % common.clients.len()]
    }

    async fn one(&mut self, common: &Common) -> bool {
        match self.rng.u8(0..100) {
            0..30 => self.get(common).await,
            30..45 => self.get_many(common).await,
            45..65 => self.set(common).await,
            65..75 => self.set_many(common).await,
            75..85 => self.cas(common).await,
            85..95 => self.count(common).await,
            _ => self.drop_one(common).await,
        }
    }

    fn any<'a>(&mut self, common: &'a Common) -> (&'a Watched, &'a Key) {
        let client = &common.clients[self.rng.usize(0..common.clients.len())];
        let keys = &common.keys[self.rng.usize(0..common.keys.len())];
        (client, &keys[self.rng.usize(0..keys.len())])
    }

    fn own_key<'a>(&mut self, common: &'a Common) -> &'a Key {
        let keys = &common.keys[self.task];
        &keys[self.rng.usize(0..keys.len())]
    }

    async fn get(&mut self, common: &Common) -> bool {
        let (on, key) = self.any(common);
        let floor = key.floor();
        let before = Before::at(on, &key.name);
        let Some(got) = within(common, on, on.client.get(&key.name)).await else { return false };
        let place = before.steady(on, &key.name);
        match got {
            Ok(item) => {
                let answer = item.as_ref().map(|item| &*item.value);
                key.judge(&common.judge, on.name, answer, &floor, place.as_ref());
                true
            }
            Err(error) => before.failed(common, on, &key.name, &error),
        }
    }

    async fn get_many(&mut self, common: &Common) -> bool {
        let (on, _) = self.any(common);
        let n = self.rng.usize(2..40);
        let keys: Vec<_> = (0..n).map(|_| self.any(common).1).collect();
        let before: Vec<_> =
            keys.iter().map(|key| (key.floor(), Before::at(on, &key.name))).collect();
        let names = keys.iter().map(|key| &key.name);
        let Some(all) = within(common, on, on.client.get_each(names)).await else { return false };
        let mut is_good = true;
        for ((key, (floor, before)), got) in keys.iter().zip(before).zip(all) {
            let place = before.steady(on, &key.name);
            match got {
                Ok(item) => {
                    let answer = item.as_ref().map(|item| &*item.value);
                    key.judge(&common.judge, on.name, answer, &floor, place.as_ref());
                }
                Err(error) => is_good = before.failed(common, on, &key.name, &error),
            }
        }
        is_good
    }

    async fn set(&mut self, common: &Common) -> bool {
        let (on, key) = (self.own(common), self.own_key(common));
        let before = Before::at(on, &key.name);
        let (version, value) = key.begin();
        let set = on.client.set(&key.name, value, Ttl::NEVER);
        let Some(stored) = within(common, on, set).await else { return false };
        key.end(version, written(&stored), before.steady(on, &key.name));
        match stored {
            Ok(stored) => is_stored(common, on, &key.name, stored),
            Err(error) => before.failed(common, on, &key.name, &error),
        }
    }

    async fn set_many(&mut self, common: &Common) -> bool {
        let on = self.own(common);
        let keys = &common.keys[self.task];
        let first = self.rng.usize(0..keys.len());
        let n = self.rng.usize(2..keys.len().min(12));
        let keys: Vec<_> = keys.iter().cycle().skip(first).take(n).collect();
        let before: Vec<_> =
            keys.iter().map(|key| (Before::at(on, &key.name), key.begin())).collect();
        let items =
            keys.iter().zip(&before).map(|(key, (_, (_, value)))| (&key.name, value.clone()));
        let Some(all) = within(common, on, on.client.set_many(items, Ttl::NEVER)).await else {
            return false;
        };
        let mut is_good = true;
        for ((key, (before, (version, _))), stored) in keys.iter().zip(before).zip(all) {
            key.end(version, written(&stored), before.steady(on, &key.name));
            is_good &= match stored {
                Ok(stored) => is_stored(common, on, &key.name, stored),
                Err(error) => before.failed(common, on, &key.name, &error),
            };
        }
        is_good
    }

    async fn cas(&mut self, common: &Common) -> bool {
        let (on, key) = (self.own(common), self.own_key(common));
        let floor = key.floor();
        let before = Before::at(on, &key.name);
        let Some(got) = within(common, on, on.client.get(&key.name)).await else { return false };
        let item: Option<Item> = match got {
            Ok(item) => item,
            Err(error) => return before.failed(common, on, &key.name, &error),
        };
        let place = before.steady(on, &key.name);
        let answer = item.as_ref().map(|item| &*item.value);
        key.judge(&common.judge, on.name, answer, &floor, place.as_ref());
        let Some(item) = item else { return true };
        let between = Before::at(on, &key.name);
        let (version, value) = key.begin();
        let cas = on.client.cas(&key.name, item.cas, value, Ttl::NEVER);
        let Some(stored) = within(common, on, cas).await else { return false };
        let place = steady(place, between.steady(on, &key.name));
        key.end(version, written(&stored), place.clone());
        match stored {
            Ok(Stored::Stored) => true,
            Ok(other) => {
                // Nobody else writes this key.
                if Key::is_strict(&floor, place.as_ref()) && !key.has_unknown() {
                    common.judge.wrong(format!("{}: cas of {}: {other:?}", on.name, key.name));
                }
                true
            }
            Err(error) => between.failed(common, on, &key.name, &error),
        }
    }

    async fn count(&mut self, common: &Common) -> bool {
        let on = self.own(common);
        let name = format!("count:{}", self.task);
        let before = Before::at(on, &name);
        self.counter.try_one();
        let Some(counted) = within(common, on, on.client.incr(&name, 1)).await else {
            return false;
        };
        let place = before.steady(on, &name);
        match counted {
            Ok(number) => {
                if !self.counter.answered(&common.judge, on.name, number, place) {
                    return true;
                }
            }
            Err(error) => {
                self.counter.failed(if error.is_unsent() {
                    Written::Unsent
                } else {
                    Written::Unknown
                });
                return before.failed(common, on, &name, &error);
            }
        }
        let before = Before::at(on, &name);
        let value = self.counter.n_tried().to_string();
        let set = on.client.set(&name, value, Ttl::NEVER);
        let Some(stored) = within(common, on, set).await else { return false };
        self.counter.begun_anew(written(&stored), before.steady(on, &name));
        match stored {
            Ok(stored) => is_stored(common, on, &name, stored),
            Err(error) => before.failed(common, on, &name, &error),
        }
    }

    /// A call that its caller loses interest in.
    async fn drop_one(&mut self, common: &Common) -> bool {
        let (on, key) = (self.own(common), self.own_key(common));
        let patience = Duration::from_micros(self.rng.u64(0..1500));
        match self.rng.u8(0..3) {
            0 => {
                let _ = timeout(patience, on.client.get(&key.name)).await;
            }
            1 => {
                let before = Before::at(on, &key.name);
                let (version, value) = key.begin();
                let stored = timeout(patience, on.client.set(&key.name, value, Ttl::NEVER)).await;
                let place = before.steady(on, &key.name);
                let written = stored.map_or(Written::Unknown, |stored| written(&stored));
                key.end(version, written, place);
            }
            _ => {
                self.counter.try_one();
                let name = format!("count:{}", self.task);
                match timeout(patience, on.client.incr(&name, 1)).await {
                    Ok(Ok(number)) => {
                        // Whether it is right is for the next to say.
                        self.counter.answered(&common.judge, on.name, number, None);
                    }
                    Ok(Err(error)) if error.is_unsent() => self.counter.failed(Written::Unsent),
                    _ => self.counter.failed(Written::Unknown),
                }
            }
        }
        true
    }
}

impl Before {
    fn at(on: &Watched, key: &str) -> Self {
        Self { home: on.home(key), place: on.place(key), begun: Instant::now() }
    }

    fn steady(&self, on: &Watched, key: &str) -> Option<Place> {
        steady(self.place.clone(), on.place(key))
    }

    /// An error is taken note of. Never good.
    fn failed(self, common: &Common, on: &Watched, key: &str, error: &Error) -> bool {
        let homes = [self.home, on.home(key)];
        if let Err(why) = on.failed(key, homes, self.begun, error) {
            common.judge.wrong(why);
        }
        false
    }
}

/// Waits for a call; `None` if it does not end.
async fn within<T>(common: &Common, on: &Watched, call: impl Future<Output = T>) -> Option<T> {
    let begun = Instant::now();
    let ended = timeout(LIMIT + STUCK_AFTER, call).await;
    let us = u64::try_from(begun.elapsed().as_micros()).unwrap();
    on.log.n_calls.fetch_add(1, Ordering::Relaxed);
    on.log.longest_us.fetch_max(us, Ordering::Relaxed);
    if ended.is_err() {
        common.n_stuck.fetch_add(1, Ordering::Relaxed);
        common.judge.wrong(format!("{}: a call does not end", on.name));
    }
    ended.ok()
}

fn written(stored: &Result<Stored, Error>) -> Written {
    match stored {
        Ok(Stored::Stored) => Written::Yes,
        Ok(_) => Written::No,
        Err(error) if error.is_ambiguous() => Written::Unknown,
        Err(_) => Written::Unsent,
    }
}

/// There is nothing that a `set` would be refused for.
fn is_stored(common: &Common, on: &Watched, key: &str, stored: Stored) -> bool {
    let is_good = stored == Stored::Stored;
    if !is_good {
        common.judge.wrong(format!("{}: set of {key}: {stored:?}", on.name));
    }
    is_good
}
