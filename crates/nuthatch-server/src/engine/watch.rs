//! `watch`: the connection becomes one that is told what happens.

use nuthatch_proto::{ArgError, Outcome, Reply, WatchFlags};

use super::{Engine, ItemPin};
use crate::logger::WatchError;

impl Engine {
    pub(super) fn watch(
        &self,
        kinds: Result<WatchFlags, ArgError>,
        reply: &mut Reply<'_, ItemPin>,
    ) -> Outcome {
        let refusal = if !self.shared.options.watch_enabled {
            "CLIENT_ERROR watch commands not allowed"
        } else if reply.is_pipelined() {
            "ERROR cannot pipeline other commands before watch"
        } else {
            match kinds {
                Err(error) => error.line(),
                Ok(kinds) => match self.shared.logger.watch(kinds) {
                    Ok(feed) => {
                        reply.line("OK");
                        return reply.feed(feed);
                    }
                    Err(WatchError::TooMany) => "WATCHER_TOO_MANY log watcher limit reached",
                    Err(WatchError::NoThread) => "WATCHER_FAILED failed to add log watcher",
                },
            }
        };
        reply.error(refusal);
        Outcome::Done
    }
}
