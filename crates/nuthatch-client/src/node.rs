//! One node of the cluster: its links, and how calls go over them.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio::time;

use crate::call::{Answered, Ask, Call, Reply};
use crate::dial::{DialOptions, Dialer, Target};
use crate::error::{Cause, Error, Kind, Stage};
use crate::event::{Events, NodeStatus};
use crate::health::Health;
use crate::link::{Link, LinkState, Phase};
use crate::options::Ejection;
use crate::seat::NO_TURN;
use crate::time::Deadline;

/// How nodes are connected to; the same for all.
#[derive(Clone, Debug)]
pub(crate) struct NodeOptions {
    pub(crate) dial: DialOptions,
    /// What a call's time limit is usually.
    pub(crate) timeout: Duration,
    pub(crate) ejection: Ejection,
    pub(crate) queue_len: usize,
    pub(crate) n_connections: usize,
}

/// A node. Its connections end when nobody holds it any more; who calls does so until the answer is
/// there, so that a node which has left the cluster is drained.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: Arc<str>,
    dialer: Arc<Dialer>,
    pub(crate) health: Arc<Health>,
    links: Box<[Link]>,
    /// The link for the next call, if there are several; modulo their number.
    next: AtomicUsize,
}

/// A call in the queue or on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    answer: oneshot::Receiver<Answered>,
    link: Arc<LinkState>,
    /// Its turn to go on with the connection, if it has one.
    turn: u64,
}

impl Drop for Sent {
    fn drop(&mut self) {
        if self.turn != NO_TURN {
            self.link.leave(self.turn);
        }
    }
}

impl Node {
    /// Begins to connect.
    pub(crate) fn spawn(
        name: Arc<str>,
        target: Target,
        options: &NodeOptions,
        events: &Events,
    ) -> Self {
        let health = Health::new(Arc::clone(&name), options.ejection, events.clone());
        let health = Arc::new(health);
        let dialer = Arc::new(Dialer::new(target, options.dial.clone()));
        let link = |_| {
            Link::spawn(
                Arc::clone(&dialer),
                Arc::clone(&health),
                Arc::clone(&name),
                events.clone(),
                options,
            )
        };
        let links = (0..options.n_connections.max(1)).map(link).collect();
        Self { name, dialer, health, links, next: AtomicUsize::new(0) }
    }

    /// Waits for the first attempts to connect.
    ///
    /// # Errors
    ///
    /// None has succeeded.
    pub(crate) async fn tried(&self) -> Result<(), Error> {
        let all = join_all(self.links.iter().map(|link| link.state.tried())).await;
        let failures = all.iter().filter(|tried| tried.is_err()).count();
        if failures < all.len() { Ok(()) } else { all.into_iter().collect() }
    }

    /// Where it is. Connections that lead elsewhere are made anew when what is under way on them is
    /// answered, or when nothing of it is answered for the time that calls usually have.
    pub(crate) fn retarget(&self, target: Target) {
        if self.dialer.retarget(target) {
            for link in &self.links {
                link.state.renew();
            }
        }
    }

    /// Puts a call in a queue and waits for its answer, until a moment has come.
    pub(crate) async fn call(&self, ask: &Arc<Ask>, deadline: Deadline) -> Result<Reply, Error> {
        let sent = self.enqueue_until(ask, deadline).await?;
        self.answer_until(sent, deadline).await
    }

    /// Sends a call that is alone with a connection; puts others in a queue, when there is a place.
    pub(crate) async fn enqueue_until(
        &self,
        ask: &Arc<Ask>,
        deadline: Deadline,
    ) -> Result<Sent, Error> {
        let too_late = || Error::from(Kind::Timeout(Stage::Queue)).at(&self.name);
        if deadline.is_over() {
            return Err(too_late());
        }
        let link = self.link();
        let (sender, answer) = oneshot::channel();
        let mut sent = Sent { answer, link: Arc::clone(&link.state), turn: NO_TURN };
        let mut call = Some(Call { ask: Arc::clone(ask), answer: sender });
        if link.n_queued() == 0 {
            let begin = |cx: &mut Context<'_>| {
                match call.take().map(|call| link.state.begin(call, deadline.at, cx)) {
                    Some(Ok(turn)) => sent.turn = turn,
                    Some(Err(back)) => call = Some(back),
                    None => {}
                }
                Poll::Ready(())
            };
            poll_fn(begin).await;
        }
        let Some(call) = call else { return Ok(sent) };
        let call = match link.calls.try_send(call) {
            Ok(()) => return Ok(sent),
            Err(TrySendError::Closed(_)) => return Err(runtime_gone(true).at(&self.name)),
            Err(TrySendError::Full(call)) => call,
        };
        match time::timeout_at(deadline.at, link.calls.send(call)).await {
            Ok(Ok(())) => Ok(sent),
            Ok(Err(_)) => Err(runtime_gone(true).at(&self.name)),
            Err(_) => Err(too_late()),
        }
    }

    pub(crate) async fn answer_until(
        &self,
        mut sent: Sent,
        deadline: Deadline,
    ) -> Result<Reply, Error> {
        if sent.turn != NO_TURN {
            let Sent { answer, link, turn } = &mut sent;
            if let Some(answered) = poll_fn(|cx| link.poll_turn(*turn, answer, cx)).await {
                *turn = NO_TURN;
                return answered.map_err(|error| error.at(&self.name));
            }
        }
        match time::timeout_at(deadline.at, &mut sent.answer).await {
            Ok(Ok(answer)) => answer.map_err(|error| error.at(&self.name)),
            // The task tells everybody before it ends, unless it was ended with its runtime.
            Ok(Err(_)) => Err(runtime_gone(false).at(&self.name)),
            Err(_) => {
                sent.link.timed_out(deadline.is_short);
                Err(Error::from(Kind::Timeout(Stage::Answer)).at(&self.name))
            }
        }
    }

    /// Whether any connection is there.
    pub(crate) fn is_connected(&self) -> bool {
        self.links.iter().any(Link::is_up)
    }

    pub(crate) fn status(&self) -> NodeStatus {
        let error = self.links.iter().find_map(|link| match link.state.phase() {
            Phase::Down(error) => Some(error),
            Phase::Connecting | Phase::Up => None,
        });
        NodeStatus {
            name: Arc::clone(&self.name),
            is_ejected: self.health.is_ejected(),
            n_connections: self.links.len(),
            n_connected: self.links.iter().filter(|link| link.is_up()).count(),
            n_queued: self.links.iter().map(Link::n_queued).sum(),
            error,
        }
    }

    /// The link for a call: the one with the fewest before it, so that a large value holds up no
    /// call that another link can carry; equal ones in turn. Those without a connection are left
    /// out if there are others.
    fn link(&self) -> &Link {
        let n_links = self.links.len();
        if n_links == 1 {
            return &self.links[0];
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = |n: usize| &self.links[first.wrapping_add(n) % n_links];
        let up = (0..n_links).map(in_turn).filter(|link| link.is_up());
        up.min_by_key(|link| link.n_before()).unwrap_or_else(|| in_turn(0))
    }
}

impl Link {
    fn is_up(&self) -> bool {
        matches!(self.state.phase(), Phase::Up)
    }
}

fn runtime_gone(is_unsent: bool) -> Error {
    Error::closed(&Arc::new(Cause::Runtime), is_unsent)
}
