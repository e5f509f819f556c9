//! `slabs`, `lru`, `lru_crawler`, `cache_memlimit`: what the operator changes while the server runs.

use std::time::Duration;

use nuthatch_proto::{Lru, LruCrawler, Outcome, Reassign, Reply, Slabs};
use nuthatch_store::{Automove, ConfigError, CrawlTarget, LruTuning, ReassignError};

use super::dump::{Style, class_numbers, crawl_error};
use super::{Engine, ItemPin};

/// The number of a class that no store has.
const NO_CLASS: u8 = u8::MAX;

const REASSIGN_DISABLED: &str = "CLIENT_ERROR slab reassignment disabled";

impl Engine {
    pub(super) fn slabs(&self, slabs: Slabs, reply: &mut Reply<'_, ItemPin>) {
        let changed = match slabs {
            Slabs::Reassign(_) if !self.store.config().slab_reassign => {
                return reply.error(REASSIGN_DISABLED);
            }
            Slabs::Reassign(Ok(Reassign { src, dst })) => return self.reassign(src, dst, reply),
            Slabs::Reassign(Err(error)) => return reply.error(error.line()),
            Slabs::Automove(level) => {
                self.store.set_automove(Automove::from_level(level));
                Ok(())
            }
            Slabs::AutomoveRatio(ratio) => self.store.set_automove_ratio(ratio),
            Slabs::AutomoveWindow(window) => self.store.set_automove_window(window),
            // The share of free pages is kept for external storage, which is not there.
            Slabs::AutomoveFreeratio(_) => {
                return reply.error("CLIENT_ERROR freeratio needs external storage");
            }
            // The protocol crate may learn words before this one does.
            _ => return reply.error("ERROR"),
        };
        // memcached takes any ratio and then moves all pages or none.
        answer_change(changed, reply);
    }

    fn reassign(&self, src: i32, dst: i32, reply: &mut Reply<'_, ItemPin>) {
        let class = |number: i32| u8::try_from(number).unwrap_or(NO_CLASS);
        let from = (src != -1).then(|| class(src));
        // Two numbers that are not the same are not the same class, though neither be one.
        let to = if src == dst { class(dst) } else { class(dst).min(NO_CLASS - 1) };
        match self.store.reassign(from, to) {
            Ok(()) => reply.line("OK"),
            Err(error) => reply.error(match error {
                ReassignError::Disabled => REASSIGN_DISABLED,
                ReassignError::Busy => "BUSY currently processing reassign request",
                ReassignError::BadClass => "BADCLASS invalid src or dst class id",
                ReassignError::NoSpare => "NOSPARE source class has no spare pages",
                ReassignError::Same => "SAME src and dst class are identical",
            }),
        }
    }

    pub(super) fn lru(&self, lru: Lru, reply: &mut Reply<'_, ItemPin>) {
        // What the maintainer moves items between exists only where it does.
        let is_maintained = self.is_maintained();
        let changed = match lru {
            Lru::Tune { hot_pct, warm_pct, hot_factor, warm_factor } => {
                let percent = |pct: u32| u8::try_from(pct).unwrap_or(u8::MAX);
                self.store.tune_lru(LruTuning {
                    hot_pct: percent(hot_pct),
                    warm_pct: percent(warm_pct),
                    hot_max_factor: hot_factor,
                    warm_max_factor: warm_factor,
                })
            }
            Lru::Segmented(on) if is_maintained => {
                self.store.set_lru_segmented(on);
                Ok(())
            }
            Lru::TempTtl(ttl) if is_maintained => {
                self.store.set_temporary_ttl(ttl);
                Ok(())
            }
            _ => return reply.error("ERROR"),
        };
        answer_change(changed, reply);
    }

    pub(super) fn lru_crawler(
        &self,
        command: LruCrawler<'_>,
        reply: &mut Reply<'_, ItemPin>,
    ) -> Outcome {
        match command {
            LruCrawler::Enable if !self.store.set_crawler(true) => {
                reply.error("ERROR failed to start lru crawler thread");
            }
            LruCrawler::Enable => reply.line("OK"),
            LruCrawler::Disable => {
                self.store.set_crawler(false);
                reply.line("OK");
            }
            LruCrawler::Crawl(classes) if classes.is_hash() && self.store.config().crawler => {
                // Only dumps go through the index.
                reply.error("ERROR an unknown error happened");
            }
            LruCrawler::Crawl(classes) => {
                let target = if classes.is_all() || classes.is_hash() {
                    Ok(CrawlTarget::All)
                } else {
                    class_numbers(classes).map(CrawlTarget::Classes)
                };
                // Being disabled goes before being wrong.
                let begun = match target {
                    Err(_) if !self.store.config().crawler => self.store.crawl(CrawlTarget::All),
                    target => target.and_then(|target| self.store.crawl(target)),
                };
                match begun {
                    Ok(()) => reply.line("OK"),
                    Err(error) => reply.error(crawl_error(error)),
                }
            }
            LruCrawler::Metadump(classes) => return self.dump(Style::Metadump, classes, reply),
            LruCrawler::Mgdump(classes) => return self.dump(Style::Mgdump, classes, reply),
            LruCrawler::Tocrawl(items) => {
                self.store.set_crawler_limit(items);
                reply.line("OK");
            }
            LruCrawler::Sleep(microseconds) => {
                self.store.set_crawler_sleep(Duration::from_micros(u64::from(microseconds)));
                reply.line("OK");
            }
            // The protocol crate may learn words before this one does.
            _ => reply.error("ERROR"),
        }
        Outcome::Done
    }

    /// Whether the server was started with the LRU maintainer, which memcached asks before it
    /// shows or changes what that does.
    pub(super) fn is_maintained(&self) -> bool {
        self.shared.options.store.lru_segmented
    }

    /// `mebibytes` is at most 10^9, as the protocol has checked.
    pub(super) fn cache_memlimit(&self, mebibytes: u32, reply: &mut Reply<'_, ItemPin>) {
        let bytes = usize::try_from(u64::from(mebibytes) << 20);
        let changed = bytes.is_ok_and(|bytes| self.store.set_memory_limit(bytes).is_ok());
        if changed {
            reply.line("OK");
        } else {
            reply.error("MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust");
        }
    }
}

/// The answer to a change of a setting.
fn answer_change(changed: Result<(), ConfigError>, reply: &mut Reply<'_, ItemPin>) {
    match changed {
        Ok(()) => reply.line("OK"),
        Err(error) => reply.error(&format!("CLIENT_ERROR {error}")),
    }
}
