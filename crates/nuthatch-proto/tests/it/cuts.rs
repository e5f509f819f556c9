//! The answers depend on the bytes and not on how they are cut.

use proptest::prelude::*;

use nuthatch_proto::{Session, Want};

use crate::frames::{Ask, get, readable};
use crate::model::Model;
use crate::rig::{Cuts, run, run_session};

/// Sizes of reads or writes, small ones mostly.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![3 => 1usize..20, 1 => 1usize..9000], 1..20)
}

fn cuts() -> impl Strategy<Value = Cuts> {
    (sizes(), sizes(), 1usize..6, 1usize..5, 1usize..9).prop_map(
        |(reads, writes, n_slices, budget, late_every)| Cuts {
            reads,
            writes,
            n_slices,
            budget,
            late_every,
        },
    )
}

/// Keys from a small set, so that commands meet.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[abc]",
        1 => Just("late1".to_string()),
        1 => Just("late2".to_string()),
        1 => Just("k".repeat(251)),
    ]
}

/// Lengths around the edges: what is copied and pinned, waits and gets a place, fits and does not.
fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0usize..9,
        2 => 90usize..110,
        1 => 4090usize..4100,
        1 => 16_300usize..16_400,
        1 => 39_990usize..40_010,
    ]
}

fn store() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        ("set|add|replace|append|prepend", key(), "( noreply)?")
            .prop_map(|(verb, key, noreply)| { (format!("{verb} {key} 1 0 "), noreply) }),
        (key(), "[ 0-9x]{0,3}")
            .prop_map(|(key, cas)| (format!("cas {key} 1 0 "), format!(" {cas}"))),
        (key(), "( q)?( k)?( O123)?( c s)?( ME| MA| MX| b| F1| Fx| C1| T0)?")
            .prop_map(|(key, flags)| (format!("ms {key} "), flags)),
    ];
    // Mostly the value is as long as announced and ends as it must.
    (line, len(), -2i32..40, "[0-9\n ]").prop_map(|((start, rest), len, slip, fill)| {
        let mut bytes = format!("{start}{len}{rest}\r\n").into_bytes();
        let slip = if slip > 2 { 0 } else { slip };
        let written = len.saturating_add_signed(isize::try_from(slip).unwrap());
        bytes.extend(fill.as_bytes().iter().cycle().take(written));
        bytes.extend_from_slice(b"\r\n");
        bytes
    })
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        ("gets?", proptest::collection::vec(key(), 0..5))
            .prop_map(|(verb, keys)| format!("{verb} {}", keys.join(" "))),
        (key(), 500usize..4000).prop_map(|(key, n)| "get ".to_string() + &(key + "  z ").repeat(n)),
        ("delete|touch|incr|decr", key(), "[ 0-9]{0,3}", "( noreply)?")
            .prop_map(|(verb, key, arg, noreply)| format!("{verb} {key} {arg}{noreply}")),
        ("mg|md|ma", key(), "( q)?( k)?( O123)?( v)?( c)?( t s)?( I| N9| b| C1| x| D5)?")
            .prop_map(|(verb, key, flags)| format!("{verb} {key}{flags}")),
        "mn|version|stats|watch|me a|config get cluster|verbosity 1|bogus|flush_all|[a-z ]{0,9}",
    ];
    prop_oneof![
        5 => (line, "\r?\n").prop_map(|(line, end)| (line + &end).into_bytes()),
        4 => store(),
        1 => Just(b"config set cluster 0 9000\r\n".iter().copied().chain([b'p'; 9000]).chain(*b"\r\n").collect()),
    ]
}

/// What clients of a server do that asks for logins.
#[derive(Clone, Copy, Debug)]
enum Login {
    List,
    /// Answered late, with yes or no.
    Late(bool),
    /// Answered by a challenge.
    Begin,
    Step(bool),
    /// By a mechanism whose name is too long, and with data that are.
    Long,
    Large,
    Version,
    /// What only who has logged in may ask.
    Noop,
}

fn login() -> impl Strategy<Value = Login> {
    prop_oneof![
        1 => Just(Login::List),
        3 => any::<bool>().prop_map(Login::Late),
        1 => Just(Login::Begin),
        1 => any::<bool>().prop_map(Login::Step),
        1 => Just(Login::Long),
        1 => Just(Login::Large),
        1 => Just(Login::Version),
        6 => Just(Login::Noop),
    ]
}

impl Login {
    fn ask(self) -> Ask {
        let word = |is_right| if is_right { "secret" } else { "wrong" };
        match self {
            Self::List => Ask::new(0x20),
            Self::Late(is_right) => get(0x21, "LATE").value(word(is_right)),
            Self::Begin => get(0x21, "SHARED").value("who"),
            Self::Step(is_right) => get(0x22, "SHARED").value(word(is_right)),
            Self::Long => get(0x21, &"L".repeat(33)).value("secret"),
            Self::Large => get(0x21, "LATE").value("d".repeat(17_000)),
            Self::Version => Ask::new(0x0b),
            Self::Noop => Ask::new(0x0a),
        }
    }

    /// What must be answered, and whether the client has logged in after it.
    fn answer(self, is_in: bool) -> (&'static str, bool) {
        match self {
            Self::List => ("20 0 'SHARED'", false),
            Self::Late(true) => ("21 0 'Authenticated'", true),
            Self::Late(false) => ("21 20 'Auth failure.'", false),
            Self::Begin => ("21 21 'what?'", false),
            Self::Step(true) => ("22 0 'Authenticated'", true),
            Self::Step(false) => ("22 20 'Auth failure.'", false),
            Self::Long => ("21 4 'Invalid arguments'", is_in),
            Self::Large => ("21 82 'Out of memory'", is_in),
            Self::Version => ("0b 0 'model'", is_in),
            Self::Noop if is_in => ("0a 0", true),
            Self::Noop => ("0a 20 'Auth failure.'", false),
        }
    }
}

/// A binary request, mostly with the extras that its opcode has.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![12 => 0u8..0x26, 1 => any::<u8>()];
    let cas = prop_oneof![6 => Just(0u64), 1 => 1u64..9];
    let slip = prop_oneof![30 => Just(0i32), 1 => -9i32..30];
    (opcode, key(), len(), cas, any::<bool>(), slip).prop_map(
        |(opcode, key, len, cas, creates, slip)| {
            let (extras, has_key, len) = match opcode {
                0x01..=0x03 | 0x11..=0x13 => (8, true, len),
                0x05 | 0x06 | 0x15 | 0x16 => (20, true, 0),
                0x1c..=0x1e | 0x23 | 0x24 => (4, true, 0),
                0x0e | 0x0f | 0x19 | 0x1a | 0x21 | 0x22 => (0, true, len),
                0x08 | 0x18 => (4, false, 0),
                0x07 | 0x0a | 0x0b | 0x10 | 0x17 | 0x20 => (0, false, 0),
                _ => (0, true, 0),
            };
            let ask = Ask {
                opcode,
                extras: vec![if creates { 0 } else { 0xff }; extras],
                key: if has_key { key.into_bytes() } else { Vec::new() },
                value: vec![b'7'; len],
                cas,
                opaque: u32::from(opcode) << 8,
            };
            let mut bytes = ask.bytes();
            // Now and then the body is of another length than it says.
            let body_len = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
            bytes[8..12].copy_from_slice(&body_len.saturating_add_signed(slip).to_be_bytes());
            bytes
        },
    )
}

/// Compares the answers to input in one piece and in these; the models that gave them.
fn answered_alike(input: &[u8], cuts: &Cuts) -> Result<(Model, Model), TestCaseError> {
    let (mut whole, mut cut) = (Model::default(), Model::default());
    let expected = run(&mut whole, input, &Cuts::none());
    let got = run(&mut cut, input, cuts);
    prop_assert_eq!(
        got.output.escape_ascii().to_string(),
        expected.output.escape_ascii().to_string()
    );
    prop_assert_eq!(got.end, expected.end);
    Ok((whole, cut))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn cuts_do_not_show(
        commands in proptest::collection::vec(command(), 1..25),
        cuts in cuts(),
        end in "(quit\r\nmn\r\n)?",
    ) {
        let input = [commands.concat(), end.into_bytes()].concat();
        let (whole, cut) = answered_alike(&input, &cuts)?;
        let values = |model: &Model| {
            let mut items: Vec<_> =
                model.items.iter().map(|(key, item)| (key.clone(), format!("{item:?}"))).collect();
            items.sort();
            items
        };
        prop_assert_eq!(values(&cut), values(&whole));
    }

    #[test]
    fn cuts_do_not_show_in_frames(
        frames in proptest::collection::vec(frame(), 1..25),
        cuts in cuts(),
    ) {
        answered_alike(&frames.concat(), &cuts)?;
    }

    #[test]
    fn who_has_not_logged_in_is_not_served(
        asked in proptest::collection::vec(login(), 1..30),
        cuts in cuts(),
    ) {
        let (mut expected, mut is_in, mut end) = (Vec::new(), false, Want::Read);
        for one in &asked {
            let (answer, is_in_now) = one.answer(is_in);
            expected.push(answer);
            if matches!(one, Login::Noop) && !is_in {
                end = Want::Close;
                break;
            }
            is_in = is_in_now;
        }
        let input: Vec<u8> = asked.iter().flat_map(|one| one.ask().bytes()).collect();
        let got = run_session(Session::with_login(), &mut Model::default(), &input, &cuts);
        prop_assert_eq!(readable(&got.output), expected);
        prop_assert_eq!(got.end, end);
    }

    #[test]
    fn any_bytes_do_not_panic(input: Vec<u8>, cuts in cuts()) {
        let expected = run(&mut Model::default(), &input, &Cuts::none());
        prop_assert_eq!(run(&mut Model::default(), &input, &cuts), expected);
        let input = [&[0x80], &input[..]].concat();
        let expected = run(&mut Model::default(), &input, &Cuts::none());
        prop_assert_eq!(run(&mut Model::default(), &input, &cuts), expected);
    }
}
