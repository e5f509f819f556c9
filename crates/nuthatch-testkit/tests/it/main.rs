//! The shared transcripts against a real memcached: what they expect is what it answers.
//!
//! The memcached of `PATH` is asked, or the program that the environment variable `MEMCACHED`
//! names; conversations that are newer than it are left out. Where there is none, there is nothing
//! to compare with, and the test says so.

use std::{env, path::PathBuf};

use nuthatch_testkit::{Daemon, Player, Split, Transcript, find_program, version_of};

#[test]
fn memcached_answers_as_written_down() {
    let memcached =
        env::var_os("MEMCACHED").map(PathBuf::from).or_else(|| find_program("memcached"));
    let Some(memcached) = memcached else {
        eprintln!("no memcached here: nothing to compare the transcripts with");
        return;
    };
    let version = version_of(&memcached).unwrap();
    let transcripts = Transcript::shared().unwrap();
    let mut played = 0;
    for transcript in transcripts.iter().filter(|transcript| transcript.holds_for(version)) {
        for unix in [false, true] {
            for split in [Split::Whole, Split::EveryByte, Split::Random(11)] {
                let args = transcript.header("args").unwrap_or_default().split_whitespace();
                let mut builder = Daemon::builder(&memcached).args(["-t", "1"]).args(args);
                if unix {
                    builder = builder.unix();
                }
                let daemon = builder.start().unwrap();
                let mut connection = daemon.connect().unwrap();
                Player::new(transcript).split(split).play(&mut connection).unwrap();
            }
        }
        played += 1;
    }
    assert!(played > 0, "not one of {} transcripts is for {version:?}", transcripts.len());
}
