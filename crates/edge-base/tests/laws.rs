//! Laws of the codec, of credits and of the generator.

use edge_base::{
    CollectionId, Credits, CreditsError, Determinism, Digest, Micros, NodeId, Rng, TaskKind,
    Timestamp, WallTime,
    codec::{self, DecodeError},
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Everything {
    node: NodeId,
    digest: Digest,
    collection: CollectionId,
    credits: Credits,
    micros: Micros,
    wall: WallTime,
    kind: TaskKind,
    class: Determinism,
    bytes: Vec<u8>,
    names: Vec<String>,
    signed: i64,
    flag: Option<bool>,
}

fn everything() -> impl Strategy<Value = Everything> {
    let fixed = (any::<[u8; 32]>(), any::<u64>(), 0..TaskKind::ALL.len());
    let varied = (any::<Vec<u8>>(), any::<Vec<String>>(), any::<i64>(), any::<Option<bool>>());
    (fixed, varied).prop_map(|((id, number, kind), (bytes, names, signed, flag))| Everything {
        node: NodeId(id),
        digest: Digest::of(&id),
        collection: CollectionId(Digest(id)),
        credits: Credits::from_micro(number),
        micros: Micros(number / 3),
        wall: WallTime(number / 7),
        kind: TaskKind::ALL[kind],
        class: TaskKind::ALL[kind].determinism(),
        bytes,
        names,
        signed,
        flag,
    })
}

proptest! {
    #[test]
    fn values_travel(value in everything(), kind: u8) {
        let frame = codec::encode_frame(kind, &value);
        prop_assert_eq!(codec::decode_frame::<Everything>(kind, &frame), Ok(value.clone()));
        prop_assert_eq!(codec::encode(&value), &frame[codec::HEADER_BYTES..]);
        let expected = kind.wrapping_add(1);
        let refused = codec::decode_frame::<Everything>(expected, &frame);
        prop_assert_eq!(refused, Err(DecodeError::Kind { got: kind, expected }));
    }

    #[test]
    fn keys_are_in_the_order_of_their_bytes(one: [u8; 32], mut other: [u8; 32], same in 0usize..33) {
        other[..same].copy_from_slice(&one[..same]);
        prop_assert_eq!(NodeId(one).cmp(&NodeId(other)), one.cmp(&other));
        prop_assert_eq!(Digest(one).partial_cmp(&Digest(other)), one.partial_cmp(&other));
    }

    #[test]
    fn a_digest_of_a_value_is_that_of_its_encoding(value in everything()) {
        let mut hasher = edge_base::Hasher::new("law");
        hasher.update(&codec::encode(&value));
        prop_assert_eq!(Digest::of_value("law", &value), hasher.finish());
    }

    #[test]
    fn every_truncation_and_every_extra_byte_is_refused(value in everything(), extra in 1usize..9) {
        let bytes = codec::encode(&value);
        for length in 0..bytes.len() {
            let refused = codec::decode::<Everything>(&bytes[..length]);
            prop_assert_eq!(refused, Err(DecodeError::Malformed), "{} bytes", length);
        }
        let longer = [bytes, vec![0; extra]].concat();
        prop_assert_eq!(codec::decode::<Everything>(&longer), Err(DecodeError::Trailing(extra)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, framed: bool) {
        if framed {
            bytes.splice(..0, *b"EN\x01\x05");
        }
        // What decodes at all has one encoding, whatever the bytes it was read from.
        if let Ok(value) = codec::decode_frame::<(Vec<u64>, Option<Credits>)>(5, &bytes) {
            let again = codec::encode_frame(5, &value);
            prop_assert_eq!(codec::decode_frame(5, &again), Ok(value));
            prop_assert!(again.len() <= bytes.len());
        }
        let _ = codec::decode::<Everything>(&bytes);
    }

    #[test]
    fn credits_read_what_they_print(micro: u64) {
        let amount = Credits::from_micro(micro);
        prop_assert_eq!(amount.to_string().parse(), Ok(amount));
    }

    #[test]
    fn credits_never_wrap(a: u64, b: u64) {
        let (x, y) = (Credits::from_micro(a), Credits::from_micro(b));
        let wide = u128::from(a) + u128::from(b);
        prop_assert_eq!(x.plus(y).ok().map(|c| u128::from(c.micro())),
            (wide <= u128::from(u64::MAX)).then_some(wide));
        prop_assert_eq!(x.minus(y), if a >= b { Ok(Credits::from_micro(a - b)) }
            else { Err(CreditsError::Negative) });
        let product = u128::from(a) * u128::from(b);
        prop_assert_eq!(x.times(b).ok().map(|c| u128::from(c.micro())),
            (product <= u128::from(u64::MAX)).then_some(product));
        if let Ok(sum) = x.plus(y) {
            prop_assert_eq!(sum.minus(y), Ok(x));
            prop_assert_eq!(Credits::sum([x, y]), Ok(sum));
        }
    }

    #[test]
    fn hexadecimal_reads_what_it_prints(bytes: [u8; 32], at in 0usize..64, wrong in "[^0-9a-fA-F]") {
        let digest = Digest(bytes);
        prop_assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        prop_assert_eq!(Digest::from_hex(&digest.to_hex().to_uppercase()), Some(digest));
        prop_assert_eq!(NodeId::from_hex(&NodeId(bytes).to_hex()), Some(NodeId(bytes)));
        let mut text = digest.to_hex();
        prop_assert_eq!(Digest::from_hex(&text[1..]), None);
        text.replace_range(at..at + 1, &wrong);
        prop_assert_eq!(Digest::from_hex(&text), None);
    }

    #[test]
    fn time_saturates(now: u64, d: u64) {
        let (now, d) = (Timestamp(now), Micros(d));
        prop_assert_eq!((now + d).since(now), Micros(d.0.min(u64::MAX - now.0)));
        prop_assert_eq!((now - d).since(now), Micros(0));
        prop_assert_eq!(now.since(now - d), Micros(d.0.min(now.0)));
        let small = Micros(d.0 >> 32);
        prop_assert_eq!(small.times(1_000).as_millis(), small.0);
        prop_assert_eq!(d.times(u64::MAX).0, d.0.saturating_mul(u64::MAX));
    }

    #[test]
    fn a_shuffle_loses_nothing(seed: u64, mut items: Vec<u16>) {
        let mut shuffled = items.clone();
        Rng::derive(seed, "shuffle").shuffle(&mut shuffled);
        shuffled.sort_unstable();
        items.sort_unstable();
        prop_assert_eq!(shuffled, items);
    }

    #[test]
    fn below_stays_below(seed: u64, n: u64) {
        let mut rng = Rng::derive(seed, "below");
        for n in [n, n >> 32, n >> 56] {
            let drawn = rng.below(n);
            prop_assert!(drawn < n.max(1), "{} of {}", drawn, n);
        }
    }
}

#[test]
fn frames_are_refused_for_their_own_reasons() {
    let frame = codec::encode_frame(7, &5u8);
    let read = |bytes: &[u8]| codec::decode_frame::<u8>(7, bytes);
    assert_eq!(read(&frame), Ok(5));
    let mut other = frame.clone();
    other[2] = 2;
    assert_eq!(read(&other), Err(DecodeError::Version(2)));
    for at in 0..2 {
        let mut other = frame.clone();
        other[at] ^= 0x20;
        assert_eq!(read(&other), Err(DecodeError::NotAFrame));
    }
    for length in 0..codec::HEADER_BYTES {
        assert_eq!(read(&frame[..length]), Err(DecodeError::NotAFrame));
    }
    let bytes = codec::FRAME_BYTES_MAX + 1;
    let large = codec::encode_frame(7, &vec![0u8; bytes - codec::HEADER_BYTES - 3]);
    assert_eq!(large.len(), bytes);
    let refused = DecodeError::TooLarge { bytes, limit: codec::FRAME_BYTES_MAX };
    assert_eq!(codec::decode_frame::<Vec<u8>>(7, &large), Err(refused));
    assert_eq!(codec::open_frame(&large, bytes).map(|(kind, _)| kind), Ok(7));
}

#[test]
fn a_longer_way_to_write_a_number_changes_no_hash() {
    // postcard reads 0x80 0x00 as zero; what is hashed is the encoding of the value read.
    let value: u64 = codec::decode(&[0x80, 0x00]).unwrap();
    assert_eq!((value, codec::encode(&value)), (0, vec![0]));
    let overflow = [0xff; 10];
    assert_eq!(codec::decode::<u64>(&overflow), Err(DecodeError::Malformed));
}

#[test]
fn enumerations_refuse_numbers_nobody_has_given() {
    for (number, kind) in TaskKind::ALL.into_iter().enumerate() {
        assert_eq!(codec::encode(&kind), [number as u8]);
        assert_eq!(TaskKind::from_name(kind.name()), Some(kind));
    }
    let unknown = codec::decode::<TaskKind>(&[TaskKind::ALL.len() as u8]);
    assert_eq!(unknown, Err(DecodeError::Malformed));
    assert_eq!(TaskKind::from_name("Embedding"), None);
}

#[test]
fn amounts_are_read_and_refused() {
    let good = [
        ("0", 0),
        ("1", 1_000_000),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("0.000001", 1),
        ("00012.340", 12_340_000),
        ("18446744073709.551615", u64::MAX),
    ];
    for (text, micro) in good {
        assert_eq!(text.parse(), Ok(Credits::from_micro(micro)), "{text}");
    }
    for text in ["", ".", "-1", "+1", "1e3", "1.0000001", "1.2.3", " 1", "1 ", "1,5", "٣", "NaN"] {
        assert_eq!(text.parse::<Credits>(), Err(CreditsError::Malformed), "{text:?}");
    }
    for text in ["18446744073709.551616", "18446744073710", "99999999999999999999999"] {
        assert_eq!(text.parse::<Credits>(), Err(CreditsError::Overflow), "{text}");
    }
    assert_eq!(Credits::from_whole(18_446_744_073_710), None);
    assert_eq!(
        Credits::sum([Credits::from_micro(u64::MAX), Credits::SMALLEST]),
        Err(CreditsError::Overflow)
    );
    assert_eq!(Credits::from_micro(1_230_000).to_string(), "1.23");
}

/// Pearson's statistic of `draws` draws below `n`, with n - 1 degrees of freedom.
fn chi_square(rng: &mut Rng, n: u64, draws: u64) -> f64 {
    let mut counts = vec![0u64; n as usize];
    (0..draws).for_each(|_| counts[rng.below(n) as usize] += 1);
    let expected = draws as f64 / n as f64;
    counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
}

#[test]
fn below_is_uniform() {
    for n in [2u64, 3, 7, 10, 100, 1_000] {
        let mut rng = Rng::derive(n, "chi-square");
        let (statistic, freedom) = (chi_square(&mut rng, n, 200 * n.max(100)), (n - 1) as f64);
        // Wilson and Hilferty (1931): the cube root is close to normal. Four standard deviations.
        let (mean, deviation) = (1.0 - 2.0 / (9.0 * freedom), (2.0 / (9.0 * freedom)).sqrt());
        let z = ((statistic / freedom).cbrt() - mean) / deviation;
        assert!(z.abs() < 4.0, "n = {n}: chi-square {statistic:.1}, z = {z:.2}");
    }
}

#[test]
fn below_has_no_bias_where_rejection_matters() {
    // With n = 3 * 2^62, plain multiplication would give every third number twice: the multiples
    // of three would have probability 1/2 instead of 1/3, forty standard deviations away.
    let (n, draws) = (3u64 << 62, 30_000u64);
    let mut rng = Rng::derive(1, "rejection");
    let thirds = (0..draws).filter(|_| rng.below(n).is_multiple_of(3)).count() as f64;
    let (mean, deviation) = (draws as f64 / 3.0, (draws as f64 * 2.0 / 9.0).sqrt());
    assert!((thirds - mean).abs() < 4.0 * deviation, "{thirds} of {draws}");
}

#[test]
fn edge_cases_of_the_generator() {
    let mut rng = Rng::derive(1, "edges");
    assert_eq!((rng.below(0), rng.below(1)), (0, 0));
    assert_eq!(rng.pick::<u8>(&[]), None);
    assert_eq!(rng.pick(&[5]), Some(&5));
    assert!((0..64).all(|_| rng.chance(1, 1) && !rng.chance(0, 1)));
    let (mut same, mut other) = (Rng::derive(1, "edges"), Rng::derive(1, "edge"));
    let mut again = Rng::derive(1, "edges");
    assert_eq!(same.bytes::<64>(), again.bytes::<64>());
    assert_ne!(same.bytes::<64>(), other.bytes::<64>());
}
