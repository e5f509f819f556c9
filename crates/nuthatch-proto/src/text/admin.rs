//! The administrative commands.
//!
//! Sub-commands match by the beginning that was typed (`stats r` is `stats reset`), in memcached's
//! order, which decides between those that begin alike.

use nuthatch_types::{ItemFlags, Key, Ttl};

use super::{Parsed, Tokens, number};
use crate::admin::{
    Admin, Cachedump, Classes, Config, DebugItem, DebugTime, Detail, Extstore, Lru, LruCrawler,
    Reassign, ShutdownMode, Slabs, Stats, WatchFlags,
};
use crate::error::{ArgError, BAD_FORMAT, TOO_LARGE, UNKNOWN};
use crate::request::{Request, Value};

/// The end of the slab class ids.
const CLASS_END: u32 = 64;

/// The most tokens of a line that memcached looks at.
const TOKENS_INDEXED_MAX: usize = 23;

/// What a sub-command is, or the line to answer.
type Sub<T> = Result<T, &'static str>;

/// `version`; arguments are ignored.
pub(crate) const fn version() -> Parsed<'static> {
    Parsed::request(Request::Admin(Admin::Version), false)
}

/// `stats [arg …]`.
pub(crate) fn stats(mut tokens: Tokens<'_>) -> Parsed<'_> {
    let stats = match tokens.next() {
        None => Stats::General,
        Some(word) if typed(word, b"reset") => Stats::Reset,
        Some(word) if typed(word, b"detail") => Stats::Detail(detail(tokens.next())),
        Some(word) if typed(word, b"settings") => Stats::Settings,
        Some(word) if typed(word, b"cachedump") => Stats::Cachedump(cachedump(tokens)),
        Some(word) if typed(word, b"conns") => Stats::Conns,
        Some(word) if typed(word, b"extstore") => Stats::Extstore,
        Some(b"items") => Stats::Items,
        Some(b"slabs") => Stats::Slabs,
        Some(b"sizes") => Stats::Sizes,
        Some(word) => Stats::Other(word),
    };
    Parsed::request(Request::Admin(Admin::Stats(stats)), false)
}

/// `watch [what …]`.
pub(crate) fn watch(tokens: Tokens<'_>) -> Parsed<'_> {
    let wanted =
        tokens.take(TOKENS_INDEXED_MAX - 1).try_fold(WatchFlags::default(), |set, word| {
            let (_, flag) = WatchFlags::WORDS.iter().find(|(name, _)| typed(word, name))?;
            Some(set.union(*flag))
        });
    let flags = match wanted {
        None => Err(ArgError::new(UNKNOWN)),
        Some(set) if set == WatchFlags::default() => Ok(WatchFlags::FETCHERS),
        Some(set) => Ok(set),
    };
    Parsed::request(Request::Admin(Admin::Watch(flags)), false)
}

/// The commands that may have spaces before them and that heed `noreply`; `None` where `verb` is
/// not one of them.
pub(crate) fn parse<'a>(verb: &[u8], mut args: Tokens<'a>, noreply: bool) -> Option<Parsed<'a>> {
    let admin = match verb {
        b"shutdown" => Ok(Admin::Shutdown(shutdown(args))),
        b"slabs" => slabs(args).map(Admin::Slabs),
        b"cache_memlimit" => cache_memlimit(args).map(Admin::CacheMemlimit),
        b"flush_all" => Ok(Admin::FlushAll(flush_all(args, noreply))),
        b"lru_crawler" => lru_crawler(args).map(Admin::LruCrawler),
        b"verbosity" => {
            args.next().and_then(number::u32_strict).map(Admin::Verbosity).ok_or(BAD_FORMAT)
        }
        b"lru" => lru(args).map(Admin::Lru),
        b"extstore" => extstore(args).ok_or(UNKNOWN).map(Admin::Extstore),
        // Heeds no `noreply`.
        b"refresh_certs" => {
            return Some(Parsed::request(Request::Admin(Admin::RefreshCerts), false));
        }
        b"config" => return Some(config(args, noreply)),
        b"debugtime" => debug_time(args).ok_or(UNKNOWN).map(Admin::DebugTime),
        b"debugitem" => debug_item(args).ok_or(UNKNOWN),
        b"misbehave" => Ok(Admin::Misbehave),
        _ => return None,
    };
    Some(match admin {
        Ok(admin) => Parsed::request(Request::Admin(admin), noreply),
        Err(line) => Parsed::malformed(line, noreply),
    })
}

/// Whether `word` is a beginning of `name`.
fn typed(word: &[u8], name: &[u8]) -> bool {
    name.starts_with(word)
}

fn detail(word: Option<&[u8]>) -> Result<Detail, ArgError> {
    match word {
        Some(word) if typed(word, b"on") => Ok(Detail::On),
        Some(word) if typed(word, b"off") => Ok(Detail::Off),
        Some(word) if typed(word, b"dump") => Ok(Detail::Dump),
        _ => Err(ArgError::new("CLIENT_ERROR usage: stats detail on|off|dump")),
    }
}

fn cachedump(mut args: Tokens<'_>) -> Result<Cachedump, ArgError> {
    let (Some(class), Some(limit)) = (args.next(), args.next()) else {
        return Err(ArgError::new("CLIENT_ERROR bad command line"));
    };
    match (number::u32_strict(class), number::u32_strict(limit)) {
        (Some(class), Some(limit)) if class < CLASS_END => Ok(Cachedump { class, limit }),
        (Some(_), Some(_)) => Err(ArgError::new("CLIENT_ERROR Illegal slab id")),
        _ => Err(ArgError::new(BAD_FORMAT)),
    }
}

fn shutdown(mut args: Tokens<'_>) -> Result<ShutdownMode, ArgError> {
    match (args.next(), args.next()) {
        (None, _) => Ok(ShutdownMode::Now),
        (Some(word), None) if typed(word, b"graceful") => Ok(ShutdownMode::Graceful),
        _ => Err(ArgError::new("CLIENT_ERROR invalid shutdown mode")),
    }
}

fn flush_all(mut args: Tokens<'_>, noreply: bool) -> Result<Option<Ttl>, ArgError> {
    // `flush_all noreply` has no argument; with `noreply` as the first of several the word is one.
    let n_args = args.count();
    if n_args == usize::from(noreply) {
        return Ok(None);
    }
    match args.next().and_then(number::i32_strict) {
        Some(delay) => Ok((delay > 0).then(|| Ttl::from_exptime(delay))),
        None => Err(ArgError::new("CLIENT_ERROR invalid exptime argument")),
    }
}

fn cache_memlimit(mut args: Tokens<'_>) -> Sub<u32> {
    match args.next().and_then(number::u32_strict) {
        None => Err(UNKNOWN),
        Some(..8) => Err("MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"),
        Some(1_000_000_001..) => Err("MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes"),
        Some(mebibytes) => Ok(mebibytes),
    }
}

fn slabs(mut args: Tokens<'_>) -> Sub<Slabs> {
    let n_args = args.count();
    match args.next() {
        Some(word) if n_args == 3 && typed(word, b"reassign") => {
            let mut class = || args.next().and_then(number::i32_strict);
            let pages = match (class(), class()) {
                (Some(src), Some(dst)) => Ok(Reassign { src, dst }),
                _ => Err(ArgError::new(BAD_FORMAT)),
            };
            Ok(Slabs::Reassign(pages))
        }
        Some(word) if n_args >= 2 && typed(word, b"automove") => automove(args),
        _ => Err(UNKNOWN),
    }
}

fn automove(mut args: Tokens<'_>) -> Sub<Slabs> {
    let word = args.next().ok_or(BAD_FORMAT)?;
    let arg = args.next();
    if typed(word, b"ratio") {
        arg.and_then(number::float).map(Slabs::AutomoveRatio).ok_or(UNKNOWN)
    } else if typed(word, b"freeratio") {
        arg.and_then(number::float).map(Slabs::AutomoveFreeratio).ok_or(UNKNOWN)
    } else if typed(word, b"window") {
        match arg.and_then(number::u32_strict).ok_or(BAD_FORMAT)? {
            window @ 3..=1800 => Ok(Slabs::AutomoveWindow(window)),
            _ => Err("CLIENT_ERROR automove window too low or too high"),
        }
    } else {
        match number::u32_strict(word).ok_or(BAD_FORMAT)? {
            level @ 0..=2 => Ok(Slabs::Automove(level)),
            _ => Err(UNKNOWN),
        }
    }
}

fn lru(mut args: Tokens<'_>) -> Sub<Lru> {
    let n_args = args.count();
    let word = args.next().ok_or(UNKNOWN)?;
    if typed(word, b"tune") && n_args >= 5 {
        let (hot_pct, warm_pct) = (arg_u32(&mut args)?, arg_u32(&mut args)?);
        let (hot_factor, warm_factor) = (arg_float(&mut args)?, arg_float(&mut args)?);
        if hot_pct.saturating_add(warm_pct) > 80 {
            return Err("ERROR hot and warm pcts must not exceed 80");
        }
        if hot_factor <= 0.0 || warm_factor <= 0.0 {
            return Err("ERROR hot/warm age factors must be greater than 0");
        }
        return Ok(Lru::Tune { hot_pct, warm_pct, hot_factor, warm_factor });
    }
    let arg = args.next().ok_or(UNKNOWN)?;
    if typed(word, b"mode") {
        match arg {
            arg if typed(arg, b"flat") => Ok(Lru::Segmented(false)),
            arg if typed(arg, b"segmented") => Ok(Lru::Segmented(true)),
            _ => Err(UNKNOWN),
        }
    } else if typed(word, b"temp_ttl") {
        let ttl = number::i32_strict(arg).ok_or(UNKNOWN)?;
        Ok(Lru::TempTtl(u32::try_from(ttl).ok()))
    } else {
        Err(UNKNOWN)
    }
}

fn lru_crawler(mut args: Tokens<'_>) -> Sub<LruCrawler<'_>> {
    let (word, arg, more) = (args.next(), args.next(), args.next());
    match (word, arg, more) {
        (Some(word), Some(arg), None) => {
            if typed(word, b"crawl") {
                Ok(LruCrawler::Crawl(Classes(arg)))
            } else if typed(word, b"metadump") {
                Ok(LruCrawler::Metadump(Classes(arg)))
            } else if typed(word, b"mgdump") {
                Ok(LruCrawler::Mgdump(Classes(arg)))
            } else if typed(word, b"tocrawl") {
                number::u32_strict(arg).map(LruCrawler::Tocrawl).ok_or(BAD_FORMAT)
            } else if typed(word, b"sleep") {
                match number::u32_strict(arg).ok_or(BAD_FORMAT)? {
                    microseconds @ ..=1_000_000 => Ok(LruCrawler::Sleep(microseconds)),
                    _ => Err("CLIENT_ERROR sleep must be one second or less"),
                }
            } else {
                Err(UNKNOWN)
            }
        }
        (Some(word), None, _) if typed(word, b"enable") => Ok(LruCrawler::Enable),
        (Some(word), None, _) if typed(word, b"disable") => Ok(LruCrawler::Disable),
        _ => Err(UNKNOWN),
    }
}

fn extstore(mut args: Tokens<'_>) -> Option<Extstore> {
    let (word, arg) = (args.next()?, args.next()?);
    let number = || number::u32_strict(arg);
    match word {
        word if typed(word, b"free_memchunks") && args.clone().next().is_some() => {
            let limit = args.next().and_then(number::u32_strict);
            (limit.is_some() && number()? < CLASS_END).then_some(Extstore::FreeMemchunks)
        }
        word if typed(word, b"item_size") => number().map(Extstore::ItemSize),
        word if typed(word, b"item_age") => number().map(Extstore::ItemAge),
        word if typed(word, b"low_ttl") => number().map(Extstore::LowTtl),
        word if typed(word, b"recache_rate") => number().map(Extstore::RecacheRate),
        word if typed(word, b"compact_under") => number().map(Extstore::CompactUnder),
        word if typed(word, b"drop_under") => number().map(Extstore::DropUnder),
        word if typed(word, b"max_sleep") => number().map(Extstore::MaxSleep),
        word if typed(word, b"max_frag") => number::float(arg).map(Extstore::MaxFrag),
        word if typed(word, b"drop_unread") => number().map(|n| Extstore::DropUnread(n != 0)),
        _ => None,
    }
}

/// `config get [name]`, `config set name flags bytes [noreply]`, `config delete name [noreply]`.
/// Sub-commands are whole words here; this is not memcached's grammar.
fn config(mut args: Tokens<'_>, noreply: bool) -> Parsed<'_> {
    let request = |config| Parsed::request(Request::Admin(Admin::Config(config)), noreply);
    let word = args.next();
    let name = args.next();
    let key = name.map(Key::binary).transpose();
    match (word, key) {
        (Some(b"get"), Ok(key)) => request(Config::Get(key)),
        (Some(b"delete"), Ok(Some(key))) if args.count() == usize::from(noreply) => {
            request(Config::Delete(key))
        }
        (Some(b"set"), key) => {
            let (flags, len) = (args.next(), args.next());
            let Some(len) = len.and_then(super::classic::value_len) else {
                return Parsed::unbounded();
            };
            let swallow = |line| Parsed::Malformed { line, noreply, swallow: len + 2 };
            let (Ok(Some(name)), Some(flags)) = (key, flags.and_then(number::u32_strict)) else {
                return swallow(BAD_FORMAT);
            };
            if len > Config::LEN_MAX {
                return swallow(TOO_LARGE);
            }
            request(Config::Set { name, flags: ItemFlags(flags), value: Value::Reserved(len) })
        }
        (Some(b"get" | b"delete"), _) => request(Config::Unusable(ArgError::new(BAD_FORMAT))),
        _ => Parsed::malformed(UNKNOWN, noreply),
    }
}

fn debug_time(mut args: Tokens<'_>) -> Option<DebugTime> {
    match args.next()? {
        b"p" => Some(DebugTime::Pause),
        b"r" => Some(DebugTime::Resume),
        seconds => number::i64_strict(seconds).map(DebugTime::Move),
    }
}

fn debug_item(mut args: Tokens<'_>) -> Option<Admin<'_>> {
    let (word, key) = (args.next()?, args.next()?);
    let action = match word {
        word if typed(word, b"lock") => DebugItem::Lock,
        word if typed(word, b"unlock") => DebugItem::Unlock,
        word if typed(word, b"ref") => DebugItem::Ref,
        word if typed(word, b"unref") => DebugItem::Unref,
        _ => return None,
    };
    Some(Admin::DebugItem { action, key })
}

fn arg_u32(args: &mut Tokens<'_>) -> Sub<u32> {
    args.next().and_then(number::u32_strict).ok_or(UNKNOWN)
}

fn arg_float(args: &mut Tokens<'_>) -> Sub<f64> {
    args.next().and_then(number::float).ok_or(UNKNOWN)
}
