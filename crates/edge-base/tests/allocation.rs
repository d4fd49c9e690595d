//! A length that a peer claims takes no memory before the bytes are there.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use edge_base::codec::{self, DecodeError};

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Recorder;

// SAFETY: every call goes to the system allocator with the arguments it came with; the thread-local
// is a constant-initialised `Cell`, so recording allocates nothing.
unsafe impl GlobalAlloc for Recorder {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Recorder = Recorder;

/// The result of an operation and the largest allocation it made.
fn recorded<T>(operation: impl FnOnce() -> T) -> (T, usize) {
    LARGEST.set(0);
    let result = operation();
    (result, LARGEST.get())
}

/// A sequence that claims `length` elements and brings `tail`.
fn claim(length: u64, tail: &[u8]) -> Vec<u8> {
    let mut bytes = codec::encode(&length);
    bytes.extend_from_slice(tail);
    bytes
}

#[test]
fn the_recorder_records() {
    let (data, largest) = recorded(|| vec![1u8; 5_000_000]);
    assert_eq!((data.len(), largest), (5_000_000, 5_000_000));
}

#[test]
fn a_claimed_length_allocates_no_more_than_arrived() {
    for length in [1 << 20, 1 << 40, 1 << 60, u64::MAX] {
        let bytes = claim(length, &[1; 100]);
        let cases = [
            recorded(|| codec::decode::<Vec<u8>>(&bytes).map(|v| v.len())),
            recorded(|| codec::decode::<Vec<u64>>(&bytes).map(|v| v.len())),
            recorded(|| codec::decode::<Vec<[u8; 32]>>(&bytes).map(|v| v.len())),
            recorded(|| codec::decode::<Vec<Vec<u8>>>(&bytes).map(|v| v.len())),
            recorded(|| codec::decode::<String>(&bytes).map(|v| v.len())),
        ];
        for (result, largest) in cases {
            assert_eq!(result, Err(DecodeError::Malformed));
            assert!(largest <= 8_192, "{length} elements claimed, {largest} bytes allocated");
        }
    }
}
