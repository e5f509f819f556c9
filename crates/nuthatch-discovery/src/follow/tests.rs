//! Following scripted sources on a paused clock.

use std::collections::VecDeque;

use nuthatch_types::Node;

use super::*;
use crate::{Member, Next};

/// Answers what a test wrote down, each after a time, and then nothing more.
#[derive(Debug)]
struct Script(VecDeque<(u64, Result<Members, SourceError>)>);

impl Source for Script {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async {
            let Some((ms, answer)) = self.0.pop_front() else { std::future::pending().await };
            tokio::time::sleep(Duration::from_millis(ms)).await;
            answer
        })
    }

    fn describe(&self) -> String {
        "a script".to_owned()
    }
}

fn list(version: u64, hosts: &str) -> Result<Members, SourceError> {
    let member = |host| Member::new(Node::new(host, "", 1).unwrap());
    Ok(Members::new(version, hosts.split_whitespace().map(member).collect()))
}

fn away() -> Result<Members, SourceError> {
    Err(SourceError::Unreachable("away".to_owned()))
}

/// Plays a script and writes down what came in force when, in ms.
async fn played<const N: usize>(
    limits: Limits,
    script: [(u64, Result<Members, SourceError>); N],
) -> Vec<(u64, String)> {
    let start = Instant::now();
    let following = follow(Box::new(Script(script.into())), limits);
    let mut views = following.watch();
    let mut seen = Vec::new();
    let watched = async {
        while views.changed().await.is_ok() {
            let view = views.borrow_and_update().clone();
            let hosts = view.members.map_or_else(String::new, |members| {
                let hosts: Vec<_> = members.members().iter().map(|m| m.identity().0).collect();
                format!("{} {}", members.version(), hosts.join(" "))
            });
            let state = match view.state {
                State::Waiting => "waiting".to_owned(),
                State::Fresh => "fresh".to_owned(),
                State::Stale { since, error } => {
                    format!("stale since {}: {error}", (since - start).as_millis())
                }
            };
            seen.push((
                u64::try_from(start.elapsed().as_millis()).unwrap(),
                format!("{hosts}, {state}"),
            ));
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(3600), watched).await;
    seen
}

fn lines(seen: &[(u64, String)]) -> Vec<&str> {
    seen.iter().map(|(_, line)| &**line).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_list_is_in_force_at_once_and_changes_are_gathered() {
    let seen = played(
        Limits::default(),
        [
            (10, list(1, "a")),
            (1000, list(2, "a b")),
            (100, list(3, "a b c")),
            (150, list(4, "a b")),
        ],
    )
    .await;
    assert_eq!(
        seen,
        [
            (10, "1 a, fresh".to_owned()),
            (1210, "3 a b c, fresh".to_owned()),
            (1460, "4 a b, fresh".to_owned()),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_leaves_the_list() {
    let seen = played(
        Limits::default(),
        [(0, list(5, "a")), (10, away()), (10, away()), (10, list(0, "")), (10, list(6, "a b"))],
    )
    .await;
    assert_eq!(
        lines(&seen),
        [
            "5 a, fresh",
            "5 a, stale since 10: cannot be reached: away",
            "5 a, stale since 10: gives an empty list",
            "5 a, fresh",
            "6 a b, fresh",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn versions_never_go_back() {
    let seen = played(
        Limits::default(),
        [
            (0, list(5, "a b")),
            (10, list(4, "a")),
            (10, list(5, "a")),
            (10, list(5, "b a")),
            (10, list(7, "a")),
            // The list that is still held counts too.
            (10, list(6, "a b")),
        ],
    )
    .await;
    assert_eq!(
        lines(&seen),
        [
            "5 a b, fresh",
            "5 a b, stale since 10: gives version 4 of the list after version 5",
            "5 a b, stale since 10: gives version 5 of the list after version 5",
            "5 a b, fresh",
            &format!(
                "5 a b, stale since {}: gives version 6 of the list after version 7",
                seen[4].0
            ),
            &format!("7 a, stale since {}: gives version 6 of the list after version 7", seen[4].0),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_in_time_has_not_left() {
    let limits = Limits { grace: Duration::from_secs(10), ..Limits::default() };
    let seen = played(
        limits,
        [
            (0, list(1, "a b")),
            (1000, list(2, "a")),
            (5000, list(3, "a b c")),
            (60_000, list(4, "a b")),
        ],
    )
    .await;
    assert_eq!(
        seen,
        [
            (0, "1 a b, fresh".to_owned()),
            // Nobody is missing any more, and the changes have been gathered for long enough.
            (6000, "3 a b c, fresh".to_owned()),
            (76_000, "4 a b, fresh".to_owned()),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn who_leaves_later_has_its_own_time() {
    let limits = Limits { grace: Duration::from_secs(10), ..Limits::default() };
    let seen = played(
        limits,
        [
            (0, list(1, "a b c")),
            (1000, list(2, "a c")),
            // b is back, and c has gone.
            (5000, list(3, "a b")),
        ],
    )
    .await;
    assert_eq!(seen, [(0, "1 a b c, fresh".to_owned()), (16_000, "3 a b, fresh".to_owned())]);
}

/// Panics at once, and then when it is waited for, and then has a list.
#[derive(Debug)]
struct Buggy(u32);

impl Source for Buggy {
    fn next(&mut self) -> Next<'_> {
        self.0 += 1;
        assert!(self.0 != 1, "a bug");
        Box::pin(async {
            tokio::task::yield_now().await;
            assert!(self.0 != 2, "another bug");
            list(self.0.into(), "a")
        })
    }

    fn describe(&self) -> String {
        "a bug".to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_has_failed() {
    let following = follow(Box::new(Buggy(0)), Limits::default());
    let mut views = following.watch();
    let stale =
        |view: &View| matches!(&view.state, State::Stale { error: SourceError::Panicked, .. });
    views.wait_for(stale).await.unwrap();
    let view = views.wait_for(|view| view.members.is_some()).await.unwrap().clone();
    assert_eq!((view.members.unwrap().version(), view.state), (3, State::Fresh));
}

/// Where there was no list nobody has left it: whoever leaves the first one leaves at once.
#[tokio::test(start_paused = true)]
async fn a_list_that_begins_empty_is_believed() {
    let seen = played(
        Limits::default(),
        [(0, list(0, "")), (1000, list(3, "a b c")), (1000, list(4, "a b"))],
    )
    .await;
    assert_eq!(lines(&seen)[1..], ["3 a b c, fresh", "4 a b, fresh"]);
    assert_eq!(seen[2].0 - seen[1].0, 1200, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn most_of_the_nodes_do_not_leave_at_once() {
    let seen = played(
        Limits::default(),
        [
            (0, list(1, "a b c")),
            // All leases have ended, one after the other, and are taken again.
            (1000, list(2, "a b")),
            (10, list(3, "a")),
            (1000, list(4, "a b")),
            (1000, list(5, "a b c")),
            // This time they are gone.
            (1000, list(6, "c")),
        ],
    )
    .await;
    assert_eq!(
        seen,
        [
            (0, "1 a b c, fresh".to_owned()),
            (3010, "5 a b c, fresh".to_owned()),
            (14_010, "6 c, fresh".to_owned()),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_left_on_the_way_to_nobody_is_no_list() {
    let seen = played(
        Limits::default(),
        [
            (0, list(1, "a b")),
            (1000, list(2, "a")),
            (10, list(2, "")),
            (1000, list(3, "b")),
            (2000, list(4, "a b")),
            // Now one has left, and later the other one.
            (1000, list(5, "b")),
            (1000, list(6, "")),
        ],
    )
    .await;
    assert_eq!(
        lines(&seen),
        [
            "1 a b, fresh",
            "1 a b, stale since 1010: gives an empty list",
            "1 a b, fresh",
            "4 a b, fresh",
            "5 b, fresh",
            &format!("5 b, stale since {}: gives an empty list", seen[5].0),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn lists_have_a_limit() {
    let limits = Limits { members_max: 2, ..Limits::default() };
    let seen = played(limits, [(0, list(1, "a b c"))]).await;
    assert_eq!(lines(&seen), [", stale since 0: gives 3 members, more than 2"]);
}

#[tokio::test(start_paused = true)]
async fn pauses_grow_to_their_limit() {
    let limits = Limits::default();
    let (sender, _views) = watch::channel(View { members: None, state: State::Waiting });
    let mut follower = Follower { limits, sender, held: None, most_left: None, failures: 0 };
    for whole in [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000] {
        follower.failures += 1;
        let pause = follower.pause().as_millis();
        assert!((whole / 2..=whole).contains(&pause), "{pause} of {whole}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_list_can_be_waited_for() {
    let following = follow(Box::new(Script([(50, away())].into())), Limits::default());
    let error = following.first(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error, SourceError::Unreachable("away".to_owned()));
    let following = follow(Box::new(Script([(50, list(1, "a"))].into())), Limits::default());
    assert_eq!(following.first(Duration::from_secs(1)).await.unwrap().version(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_not_followed() {
    let following = follow(Box::new(Script([(0, list(1, "a"))].into())), Limits::default());
    let mut views = following.watch();
    drop(following);
    while views.changed().await.is_ok() {}
}
