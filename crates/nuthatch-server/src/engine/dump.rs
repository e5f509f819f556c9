//! `lru_crawler metadump`, `lru_crawler mgdump` and `stats cachedump`: walks through the cache at
//! the pace of the client, a little at a time between what other clients ask.

use std::task::{Context, Poll};

use nuthatch_proto::{Classes, DumpFacts, Fed, Feed, Outcome, Output, Reply};
use nuthatch_store::{CrawlError, Dump, DumpItem, DumpTarget};

use super::{Engine, ItemPin};

/// How many items one turn looks at: some tens of microseconds.
const ITEMS_PER_TURN: usize = 256;

/// How many items are asked for at a time, since each may have lines of some hundred bytes that
/// all go into a turn's buffer.
const ITEMS_PER_CALL: usize = 16;

/// The most that `stats cachedump` shows, its `END` counted, in bytes: memcached's figure.
const CACHEDUMP_BYTES_MAX: usize = 2 << 20;

/// What a dump writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    Metadump,
    Mgdump,
}

impl Style {
    fn forbidden(self) -> &'static str {
        match self {
            Self::Metadump => "ERROR metadump not allowed",
            Self::Mgdump => "ERROR key dump not allowed",
        }
    }

    fn pipelined(self) -> &'static str {
        match self {
            Self::Metadump => "ERROR cannot pipeline other commands before metadump",
            Self::Mgdump => "ERROR cannot pipeline other commands before mgdump",
        }
    }
}

/// What a request for a crawl or a dump gets that was not begun.
pub(super) fn crawl_error(error: CrawlError) -> &'static str {
    match error {
        CrawlError::Disabled => "CLIENT_ERROR lru crawler disabled",
        CrawlError::Busy => "BUSY currently processing crawler request",
        CrawlError::BadClass => "BADCLASS invalid class id",
        CrawlError::NothingToCrawl => "NOTSTARTED no items to crawl",
        _ => "ERROR an unknown error happened",
    }
}

/// The numbers of the classes that a command names one by one.
pub(super) fn class_numbers(classes: Classes<'_>) -> Result<Vec<u8>, CrawlError> {
    let ids = classes.ids().ok_or(CrawlError::BadClass)?;
    Ok((1..64).filter(|id| ids & 1 << id != 0).collect())
}

impl Engine {
    pub(super) fn dump(
        &self,
        style: Style,
        classes: Classes<'_>,
        reply: &mut Reply<'_, ItemPin>,
    ) -> Outcome {
        let refusal = if !self.store.config().crawler {
            Some(crawl_error(CrawlError::Disabled))
        } else if !self.shared.options.dump_enabled {
            Some(style.forbidden())
        } else if reply.is_pipelined() {
            Some(style.pipelined())
        } else {
            None
        };
        if let Some(line) = refusal {
            reply.error(line);
            return Outcome::Done;
        }
        let target = if classes.is_all() {
            Ok(DumpTarget::All)
        } else if classes.is_hash() {
            Ok(DumpTarget::Hash)
        } else {
            class_numbers(classes).map(DumpTarget::Classes)
        };
        match target.and_then(|target| self.store.dump(target)) {
            Ok(dump) => {
                reply.line("OK");
                reply.feed(DumpFeed { dump, style })
            }
            Err(error) => {
                reply.error(crawl_error(error));
                Outcome::Done
            }
        }
    }

    /// Shows up to `limit` items of a class, all of them if it is 0.
    pub(super) fn cachedump(
        &self,
        class: u32,
        limit: u32,
        reply: &mut Reply<'_, ItemPin>,
    ) -> Outcome {
        let class = u8::try_from(class).map_err(|_| CrawlError::BadClass);
        match class.and_then(|class| self.store.dump(DumpTarget::Cold(class))) {
            Ok(dump) => {
                let left = if limit == 0 { usize::MAX } else { limit as usize };
                reply.feed(CachedumpFeed { dump, left, bytes: 0 })
            }
            // There are no items in a class that does not exist.
            Err(CrawlError::BadClass) => {
                reply.end();
                Outcome::Done
            }
            Err(error) => {
                reply.error(crawl_error(error));
                Outcome::Done
            }
        }
    }
}

fn facts<'a>(item: &DumpItem<'a>) -> DumpFacts<'a> {
    DumpFacts {
        key: item.key(),
        key_is_binary: item.key_is_binary(),
        expires_at: item.expires_at(),
        last_access: item.last_access(),
        cas: item.cas(),
        fetched: item.was_fetched(),
        class: item.class(),
        size: item.total_bytes(),
        value_len: item.len(),
        flags: item.flags(),
    }
}

struct DumpFeed {
    dump: Dump,
    style: Style,
}

impl Feed for DumpFeed {
    fn poll_feed(&mut self, _: &mut Context<'_>, out: &mut Output<'_>) -> Poll<Fed> {
        let Self { dump, style } = self;
        for _ in 0..ITEMS_PER_TURN / ITEMS_PER_CALL {
            if out.room() == 0 {
                break;
            }
            let is_more = dump.next(ITEMS_PER_CALL, |item| match style {
                Style::Metadump => out.metadump(&facts(&item)),
                Style::Mgdump => out.mgdump(&facts(&item)),
            });
            if !is_more {
                out.push(match style {
                    Style::Metadump => b"END\r\n",
                    Style::Mgdump => b"EN\r\n",
                });
                return Poll::Ready(Fed::End);
            }
        }
        Poll::Ready(Fed::More)
    }
}

struct CachedumpFeed {
    dump: Dump,
    /// Items still to be shown.
    left: usize,
    /// What has been shown.
    bytes: usize,
}

impl Feed for CachedumpFeed {
    fn poll_feed(&mut self, _: &mut Context<'_>, out: &mut Output<'_>) -> Poll<Fed> {
        const END: &[u8] = b"END\r\n";
        let Self { dump, left, bytes } = self;
        let mut line = Vec::new();
        for _ in 0..ITEMS_PER_TURN / ITEMS_PER_CALL {
            if out.room() == 0 {
                break;
            }
            let is_more = dump.next(ITEMS_PER_CALL.min(*left), |item| {
                line.clear();
                Output::new(&mut line).cachedump(&facts(&item));
                if *left == 0 || line.is_empty() {
                    return;
                }
                // memcached counts the end of its text too.
                if *bytes + line.len() + END.len() + 1 > CACHEDUMP_BYTES_MAX {
                    *left = 0;
                    return;
                }
                *bytes += line.len();
                *left -= 1;
                out.push(&line);
            });
            if !is_more || *left == 0 {
                out.push(END);
                return Poll::Ready(Fed::End);
            }
        }
        Poll::Ready(Fed::More)
    }
}
