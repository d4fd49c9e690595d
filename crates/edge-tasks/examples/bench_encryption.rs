//! Speed of encryption tasks beside the cipher alone, with a nonce that is drawn.
//! `cargo xtask bench encryption`. The difference is what agreeing costs: a payload is decoded, and
//! the data is hashed once for the nonce.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark has a clock")]

use std::time::Instant;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use edge_base::{TaskKind, Work};
use edge_tasks::encryption::{
    DATA_BYTES_MAX, EncryptionKey, EncryptionPayload, Keyring, Operation, REQUEST_BYTES,
};
use edge_tasks::{Executor, TaskError};
use zeroize::Zeroizing;

const ROUNDS: usize = 9;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let secret = [5; 32];
    let key = EncryptionKey::new(Zeroizing::new(secret));
    let mut keys = Keyring::default();
    keys.insert("bench", key.clone())?;
    let executor = Executor::new().with_keys(keys);
    let run = |payload: &[u8]| -> Result<Vec<u8>, TaskError> {
        executor.execute(&Work::Run { kind: TaskKind::Encryption, payload: payload.into() })
    };
    let (cipher, nonce) = (XChaCha20Poly1305::new(&secret.into()), XNonce::from([7; 24]));
    let aad = &[1; 33][..];
    for (name, bytes) in [("1 KiB", 1 << 10), ("64 KiB", 1 << 16), ("4 MiB", DATA_BYTES_MAX)] {
        let data = vec![0x61; bytes];
        let (operation, request) = (Operation::Encrypt, [7; REQUEST_BYTES]);
        let clear = EncryptionPayload { key: key.id(), operation, request, data: data.clone() };
        let encoded = clear.encode();
        let (sealed, there) = timed(bytes, || run(&encoded))?;
        let back = EncryptionPayload { operation: Operation::Decrypt, data: sealed, ..clear };
        let encoded = back.encode();
        let (opened, again) = timed(bytes, || run(&encoded))?;
        if back.data_of(&opened) != Some(&data[..]) {
            return Err("the data did not come back".into());
        }
        let broken = |_| "the cipher alone failed";
        let payload = || Payload { msg: &data, aad };
        let (text, rival_there) =
            timed(bytes, || cipher.encrypt(&nonce, payload()).map_err(broken))?;
        let payload = || Payload { msg: &text, aad };
        let (_, rival_again) = timed(bytes, || cipher.decrypt(&nonce, payload()).map_err(broken))?;
        for (metric, ours, theirs) in
            [("encrypt", there, rival_there), ("decrypt", again, rival_again)]
        {
            print(&format!("encryption/{name}"), metric, ours, theirs);
        }
    }
    Ok(())
}

/// The result and the median MB/s of a few runs, each long enough to be measured.
fn timed<T, E>(bytes: usize, mut work: impl FnMut() -> Result<T, E>) -> Result<(T, f64), E> {
    let repeat = (4 * DATA_BYTES_MAX / bytes).clamp(1, 1_000);
    let mut result = work()?;
    let mut rates = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..repeat {
            result = work()?;
        }
        rates.push((bytes * repeat) as f64 / start.elapsed().as_secs_f64() / 1e6);
    }
    rates.sort_by(f64::total_cmp);
    Ok((result, rates[ROUNDS / 2]))
}

#[allow(clippy::print_stdout)]
fn print(bench: &str, metric: &str, ours: f64, theirs: f64) {
    let ratio = ours / theirs;
    println!(
        r#"{{"bench":"{bench}","metric":"{metric}","value":{ours:.1},"unit":"MB/s","rival":"chacha20poly1305","rival_value":{theirs:.1},"ratio":{ratio:.3}}}"#
    );
}
