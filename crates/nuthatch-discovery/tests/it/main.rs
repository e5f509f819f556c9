//! Sources of members against the real thing: an etcd, a DNS server.

#![cfg(any(feature = "dns", feature = "etcd"))]

#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "etcd")]
mod etcd;

use std::{sync::Arc, time::Duration};

use nuthatch_discovery::{Following, Members, State, View};

/// Says that a test has nothing to do here; not an error, so that a bare machine passes.
fn skip(what: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    eprintln!("skipped: {test}: there is no {what}");
}

/// Runs a test on a runtime.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

/// Waits until what is known is so; twenty seconds are enough for anything that is going to be.
async fn until(following: &Following, what: &str, is_so: impl Fn(&View) -> bool) -> View {
    let mut views = following.watch();
    let waited = tokio::time::timeout(Duration::from_secs(20), views.wait_for(|view| is_so(view)));
    match waited.await {
        Ok(Ok(view)) => view.clone(),
        _ => panic!("not within twenty seconds: {what}; {:?}", following.view()),
    }
}

/// Waits until the list is this one, and gives it.
async fn until_listed(following: &Following, names: &[&str]) -> Arc<Members> {
    let what = format!("the list is {names:?}");
    let is_so = |view: &View| view.members.as_deref().is_some_and(|all| shown(all) == names);
    until(following, &what, is_so).await.members.unwrap()
}

fn shown(members: &Members) -> Vec<String> {
    members.members().iter().map(ToString::to_string).collect()
}

fn is_stale(view: &View) -> bool {
    matches!(view.state, State::Stale { .. })
}

fn is_fresh(view: &View) -> bool {
    view.state == State::Fresh
}
