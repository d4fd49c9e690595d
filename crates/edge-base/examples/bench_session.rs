//! What a session costs: agreeing on one, and records of it. `cargo xtask bench session`.
//! The rival of a handshake is the same with X25519 alone, that of a record is no session: the bytes are copied.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark has a clock")]

use std::time::Instant;

use curve25519_dalek::MontgomeryPoint;
use edge_base::{
    Digest, SecretKey, Timestamp, Verifier,
    session::{
        Limits, SessionError,
        agreement::{KeyAgreement, Shared, XWing},
        handshake::{Initiator, respond_with},
    },
};
use zeroize::Zeroizing;

const ROUNDS: usize = 9;
const NOW: Timestamp = Timestamp(0);

/// X25519 alone (RFC 7748).
struct Classical;

impl KeyAgreement for Classical {
    const SUITE: u8 = 1;
    type Secret = [u8; 32];

    fn pair(entropy: Zeroizing<[u8; 32]>) -> ([u8; 32], Vec<u8>) {
        (*entropy, MontgomeryPoint::mul_base_clamped(*entropy).to_bytes().to_vec())
    }

    fn encapsulate(
        public: &[u8],
        entropy: Zeroizing<[u8; 64]>,
    ) -> Result<(Vec<u8>, Shared), SessionError> {
        let public: [u8; 32] = public.try_into().map_err(|_| SessionError::Malformed)?;
        let mut share = [0; 32];
        share.copy_from_slice(&entropy[32..]);
        let ciphertext = MontgomeryPoint::mul_base_clamped(share).to_bytes().to_vec();
        let secret = MontgomeryPoint(public).mul_clamped(share).to_bytes();
        Ok((ciphertext, Zeroizing::new(secret)))
    }

    fn decapsulate(secret: &[u8; 32], ciphertext: &[u8]) -> Result<Shared, SessionError> {
        let share: [u8; 32] = ciphertext.try_into().map_err(|_| SessionError::Malformed)?;
        Ok(Zeroizing::new(MontgomeryPoint(share).mul_clamped(*secret).to_bytes()))
    }
}

fn main() -> Result<(), SessionError> {
    let (hybrid, classical) = (handshake::<XWing>()?, handshake::<Classical>()?);
    for (metric, place) in [("begin", 0), ("respond", 1), ("finish", 2)] {
        print("session/handshake", metric, "us", hybrid[place], "x25519", classical[place], false);
    }
    let (anna, ben) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
    let (pool, limits, mut verifier) = (Digest::of(b"pool"), Limits::default(), Verifier::strict());
    let begun = Initiator::begin(&anna, &pool, ben.node_id(), [3; 32]);
    for (name, bytes) in
        [("100 B", 100), ("1 KiB", 1 << 10), ("64 KiB", 1 << 16), ("700 KiB", 700 << 10)]
    {
        let text = vec![0x61; bytes];
        let repeat = (4 << 20) / bytes.max(4 << 10);
        let (mut there, mut back, mut copied) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let entropy = [round as u8; 64];
            let (answer, mut bens) = respond_with::<XWing>(
                &ben,
                &pool,
                begun.opening(),
                &mut verifier,
                entropy,
                limits,
                NOW,
            )?;
            let mut annas = begun.finish(&answer, &pool, &mut verifier, limits, NOW)?;
            let start = Instant::now();
            let records: Vec<_> =
                (0..repeat).map(|_| annas.encrypt(NOW, text.clone())).collect::<Result<_, _>>()?;
            there.push(rate(bytes * repeat, start));
            let start = Instant::now();
            for record in &records {
                std::hint::black_box(bens.decrypt(NOW, record)?);
            }
            back.push(rate(bytes * repeat, start));
            let start = Instant::now();
            for record in &records {
                std::hint::black_box(record.bytes.clone());
            }
            copied.push(rate(bytes * repeat, start));
        }
        let [there, back, copied] = [there, back, copied].map(median);
        print(&format!("session/{name}"), "encrypt", "MB/s", there, "copy", copied, true);
        print(&format!("session/{name}"), "decrypt", "MB/s", back, "copy", copied, true);
    }
    Ok(())
}

/// Median microseconds of each of the three steps.
fn handshake<K: KeyAgreement>() -> Result<[f64; 3], SessionError> {
    let (anna, ben) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
    let (pool, limits, mut verifier) = (Digest::of(b"pool"), Limits::default(), Verifier::strict());
    let mut times = [const { Vec::new() }; 3];
    for round in 0..200u8 {
        let start = Instant::now();
        let begun = Initiator::<K>::begin_with(&anna, &pool, ben.node_id(), [round; 32]);
        times[0].push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        let (answer, _) = respond_with::<K>(
            &ben,
            &pool,
            begun.opening(),
            &mut verifier,
            [round; 64],
            limits,
            NOW,
        )?;
        times[1].push(start.elapsed().as_secs_f64() * 1e6);
        let start = Instant::now();
        begun.finish(&answer, &pool, &mut verifier, limits, NOW)?;
        times[2].push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times.map(median))
}

fn rate(bytes: usize, start: Instant) -> f64 {
    bytes as f64 / start.elapsed().as_secs_f64() / 1e6
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[allow(clippy::print_stdout)]
fn print(bench: &str, metric: &str, unit: &str, ours: f64, rival: &str, theirs: f64, more: bool) {
    let ratio = if more { ours / theirs } else { theirs / ours };
    println!(
        r#"{{"bench":"{bench}","metric":"{metric}","value":{ours:.1},"unit":"{unit}","rival":"{rival}","rival_value":{theirs:.1},"ratio":{ratio:.4}}}"#
    );
}
