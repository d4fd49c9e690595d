//! The engine finds planted faults, replays, and reports what it did.

use std::cell::RefCell;
use std::path::Path;

use edge_fuzz::{Reached, Target, replay, run};

/// `E`, a version, a length of two bytes, then that many bytes of numbers.
fn decode(bytes: &[u8]) -> Reached {
    let Some((header, body)) = bytes.split_first_chunk::<4>() else { return Reached::Nothing };
    let length = usize::from(u16::from_le_bytes([header[2], header[3]]));
    if header[..2] != [b'E', 1] || length != body.len() {
        return Reached::Nothing;
    }
    match body.split_first() {
        Some((count, rest)) if usize::from(*count) * 2 == rest.len() => Reached::Value,
        _ => Reached::Header,
    }
}

fn repair(message: &mut [u8]) {
    if message.len() >= 4 {
        let length = (message.len() - 4) as u16;
        message[2..4].copy_from_slice(&length.to_le_bytes());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    [&[2, 1, 0, 2, 0][..], &[0], &[4, 9, 9, 8, 8, 7, 7, 6, 6]]
        .map(|body| [&[b'E', 1, body.len() as u8, 0], body].concat())
        .into()
}

fn target<'a>(seeds: &'a [Vec<u8>], decode: &'a dyn Fn(&[u8]) -> Reached) -> Target<'a> {
    Target { header_bytes: 4, repair: Some(&repair), ..Target::new("toy", seeds, decode) }
}

#[test]
fn most_inputs_pass_a_frame_that_is_spared_and_repaired() {
    let seeds = seeds();
    let report = run(&target(&seeds, &decode), &[], 20_000, 1, &mut |_, _| {});
    assert_eq!((report.runs, report.panics), (20_000, 0));
    assert!(report.accepted_header * 2 > report.runs, "{report}");
    assert!(report.accepted > 1_000 && report.accepted < report.accepted_header, "{report}");
    // Without that, a frame that states its length stops nearly everything that changes it.
    let bare = run(&Target::new("toy", &seeds, &decode), &[], 20_000, 1, &mut |_, _| {});
    assert!(bare.accepted_header < report.accepted_header / 2, "{bare}");
}

#[test]
fn equal_seeds_make_equal_inputs() {
    let seeds = seeds();
    let inputs = |seed| {
        let seen = RefCell::new(Vec::new());
        let watch = |bytes: &[u8]| {
            seen.borrow_mut().push(bytes.to_vec());
            decode(bytes)
        };
        run(&target(&seeds, &watch), &[], 500, seed, &mut |_, _| {});
        seen.into_inner()
    };
    assert_eq!(inputs(5), inputs(5));
    assert_ne!(inputs(5), inputs(6));
}

#[test]
fn planted_faults_are_found_and_shown() {
    // Each is a classic: trusting a count, adding to a length, indexing past the end.
    type Fault = fn(&[u8]) -> Reached;
    let trusting_count: Fault = |bytes| {
        let reached = decode(bytes);
        if reached == Reached::Header && bytes.len() > 4 {
            let _ = bytes[4 + usize::from(bytes[4]).min(200)];
        }
        reached
    };
    let adding: Fault = |bytes| {
        let reached = decode(bytes);
        if reached > Reached::Nothing && bytes.len() > 5 {
            assert!(bytes[5] != 0xff, "overflow");
        }
        reached
    };
    let truncated: Fault = |bytes| {
        assert!(bytes.len() != 2, "index out of bounds");
        decode(bytes)
    };
    let seeds = seeds();
    for fault in [trusting_count, adding, truncated] {
        let mut shown = Vec::new();
        let report = run(&target(&seeds, &fault), &[], 20_000, 1, &mut |number, input| {
            shown.push((number, input.to_vec()));
        });
        assert!(report.panics > 0, "{report}");
        assert_eq!(report.panics as usize, shown.len());
        let (_, input) = &shown[0];
        assert!(std::panic::catch_unwind(|| fault(input)).is_err(), "the input shown is harmless");
    }
}

#[test]
fn inputs_are_bounded() {
    let seeds = [vec![0; 100]];
    let check = |bytes: &[u8]| {
        assert!(bytes.len() <= 128);
        Reached::Value
    };
    let target = Target { bytes_max: 128, ..Target::new("bounded", &seeds, &check) };
    let report = run(&target, &[], 5_000, 3, &mut |_, _| {});
    assert_eq!((report.panics, report.accepted), (0, 5_000));
}

#[test]
fn the_report_is_one_line_of_json() {
    let seeds = [vec![1]];
    let target = Target::new("one", &seeds, &|_| Reached::Value);
    let mut report = run(&target, &[], 10, 4, &mut |_, _| {});
    report.slowest = std::time::Duration::from_micros(12);
    assert_eq!(
        report.to_string(),
        "{\"target\":\"one\",\"seed\":4,\"runs\":10,\"accepted_header\":10,\"accepted\":10,\
         \"panics\":0,\"slowest_us\":12}"
    );
}

#[test]
fn replay_reads_the_corpus_and_fails_on_what_panics() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay-corpus");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a.bin"), [b'E', 1, 1, 0, 77]).unwrap();
    let seeds = seeds();
    let report = replay(&target(&seeds, &decode), &folder);
    assert!(report.runs > 5_000, "{report}");

    // Only the file in the corpus is exactly this message.
    let fault = |bytes: &[u8]| {
        assert!(bytes != [b'E', 1, 1, 0, 77], "planted");
        decode(bytes)
    };
    let broken = target(&seeds, &fault);
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| replay(&broken, &folder)));
    assert!(result.is_err());

    let refused = target(&seeds, &|_| Reached::Header);
    let result =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| replay(&refused, &folder)));
    assert!(result.is_err(), "seeds that are refused pass");
}
