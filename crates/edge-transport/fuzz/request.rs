//! Requests between connected nodes: length, session, sequence number, batch of frames.

use edge_fuzz::{Reached, Target};
use edge_transport::{BATCH_FRAMES_MAX, decode_batch, encode_batch, read_request};

const HEADER_BYTES: usize = 20;
const BATCH_BYTES_MAX: usize = 32 * 1_024;

fn request(session: u64, sequence: u64, batch: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + batch.len()).expect("a small batch");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(session.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(batch);
    bytes
}

/// Hands the target to `then`. What is read was there, and the batch splits again into frames that
/// make the same batch.
pub(crate) fn with_target<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    let batch = |frames: &[&[u8]]| encode_batch(frames.iter().copied()).expect("few frames");
    let seeds = vec![
        request(1, 1, &batch(&[b"one frame"])),
        request(u64::MAX, 2, &batch(&[b"", b"a", &[7; 300]])),
        request(3, u64::MAX, &batch(&[])),
        request(4, 4, &batch(&[[0; 9].as_slice(); 40])),
    ];
    let decode = |bytes: &[u8]| {
        let stated = bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize);
        let body = stated.and_then(|length| length.checked_sub(16));
        let header =
            body.is_some_and(|body| body <= BATCH_BYTES_MAX && bytes.len() >= HEADER_BYTES + body);
        match read_request(bytes, BATCH_BYTES_MAX) {
            Ok((session, sequence, batch)) => {
                let again = request(session, sequence, &batch);
                assert_eq!(again, bytes[..again.len()]);
                let frames = decode_batch(&batch).expect("a batch that was read splits");
                assert!(frames.len() <= BATCH_FRAMES_MAX);
                assert_eq!(encode_batch(frames).expect("as many frames"), batch);
                assert!(header);
                Reached::Value
            }
            Err(_) if header => Reached::Header,
            Err(_) => Reached::Nothing,
        }
    };
    let repair = |bytes: &mut [u8]| {
        if bytes.len() >= HEADER_BYTES {
            let length = u32::try_from(bytes.len() - 4).expect("inputs are cut");
            bytes[..4].copy_from_slice(&length.to_be_bytes());
        }
    };
    then(&Target {
        header_bytes: HEADER_BYTES,
        repair: Some(&repair),
        bytes_max: HEADER_BYTES + BATCH_BYTES_MAX,
        ..Target::new("request", &seeds, &decode)
    })
}
