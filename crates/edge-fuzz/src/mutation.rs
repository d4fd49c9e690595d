//! Ways to break a message.

/// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// True in `share` of four cases.
    pub(crate) fn quarters(&mut self, share: usize) -> bool {
        self.below(4) < share
    }
}

/// Numbers at which lengths, counts and offsets go wrong, besides their neighbours.
const EDGES: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x3fff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

/// Floats that arithmetic and comparison trip over: NaN, infinities, -0, the smallest subnormal.
const FLOAT_EDGES: &[u32] = &[0x7fc0_0000, 0x7f80_0000, 0xff80_0000, 0x8000_0000, 1, 0x7f7f_ffff];

/// Longest run of bytes that one step inserts or copies.
const RUN_BYTES_MAX: usize = 64;

/// Breaks `message` in one to four steps, none of which touches the first `spare` bytes. `other`
/// is a message to borrow bytes from.
pub(crate) fn mutate(random: &mut Random, message: &mut Vec<u8>, spare: usize, other: &[u8]) {
    for _ in 0..1 + random.below(4) {
        step(random, message, spare.min(message.len()), other);
    }
}

fn step(random: &mut Random, message: &mut Vec<u8>, spare: usize, other: &[u8]) {
    let length = message.len() - spare;
    if length == 0 {
        return insert_random(random, message, spare);
    }
    let at = spare + random.below(length);
    match random.below(12) {
        0 | 1 => message[at] ^= 1 << random.below(8),
        2 => message[at] = random.next() as u8,
        3 | 4 => write_integer(random, message, at),
        5 => write_varint(random, message, at),
        6 => {
            let edge = FLOAT_EDGES[random.below(FLOAT_EDGES.len())];
            overwrite(message, at, &edge.to_le_bytes());
        }
        7 => message.truncate(at),
        8 => insert_random(random, message, at),
        9 => {
            let end = at + 1 + random.below(RUN_BYTES_MAX.min(message.len() - at));
            message.drain(at..end.min(message.len()));
        }
        10 => {
            let end = at + 1 + random.below(RUN_BYTES_MAX.min(message.len() - at));
            let run = message[at..end.min(message.len())].to_vec();
            message.splice(at..at, run);
        }
        _ => splice(random, message, at, other),
    }
}

fn overwrite(message: &mut [u8], at: usize, bytes: &[u8]) {
    let length = bytes.len().min(message.len() - at);
    message[at..at + length].copy_from_slice(&bytes[..length]);
}

/// An extreme number, one more or one less, of 1, 2, 4 or 8 bytes in either order.
fn write_integer(random: &mut Random, message: &mut [u8], at: usize) {
    let value = EDGES[random.below(EDGES.len())].wrapping_add(random.below(3) as u64);
    let value = value.wrapping_sub(1);
    let width = 1 << random.below(4);
    let little = value.to_le_bytes();
    let mut bytes = little[..width].to_vec();
    if random.quarters(2) {
        bytes.reverse();
    }
    overwrite(message, at, &bytes);
}

/// An extreme number as a variable-length integer (LEB128), which is how our codec writes
/// lengths; sometimes longer than it has to be.
fn write_varint(random: &mut Random, message: &mut Vec<u8>, at: usize) {
    let mut value = EDGES[random.below(EDGES.len())];
    let mut bytes = Vec::with_capacity(11);
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    if random.quarters(1) {
        if let Some(last) = bytes.last_mut() {
            *last |= 0x80;
        }
        bytes.push(0);
    }
    message.splice(at..at + 1, bytes);
}

fn insert_random(random: &mut Random, message: &mut Vec<u8>, at: usize) {
    let run: Vec<u8> = (0..1 + random.below(RUN_BYTES_MAX)).map(|_| random.next() as u8).collect();
    message.splice(at..at, run);
}

/// A run of another message, in place of or between our bytes; or its whole end after ours.
fn splice(random: &mut Random, message: &mut Vec<u8>, at: usize, other: &[u8]) {
    let from = random.below(other.len());
    let rest = &other[from..];
    match random.below(3) {
        0 => {
            message.truncate(at);
            message.extend_from_slice(rest);
        }
        1 => overwrite(message, at, &rest[..rest.len().min(RUN_BYTES_MAX)]),
        _ => {
            let run = rest[..rest.len().min(RUN_BYTES_MAX)].to_vec();
            message.splice(at..at, run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_below_cover_their_range_evenly() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 5];
        for _ in 0..50_000 {
            seen[random.below(5)] += 1;
        }
        // 10,000 expected, standard deviation 89.
        assert!(seen.iter().all(|count| (9_500..10_500).contains(count)), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn spared_bytes_stay_and_the_others_do_not() {
        let message: Vec<u8> = (0..40).collect();
        let mut changed = 0;
        for seed in 0..2_000 {
            let mut mutated = message.clone();
            mutate(&mut Random::new(seed), &mut mutated, 8, &[9; 20]);
            assert_eq!(mutated[..8], message[..8], "seed {seed}");
            changed += u32::from(mutated != message);
        }
        assert!(changed > 1_900, "{changed}");
    }

    #[test]
    fn empty_messages_and_empty_partners_are_no_trouble() {
        for seed in 0..2_000 {
            let mut message = Vec::new();
            mutate(&mut Random::new(seed), &mut message, 5, &[]);
            assert!(!message.is_empty());
        }
    }

    #[test]
    fn equal_seeds_break_a_message_in_equal_ways() {
        let broken = |seed| {
            let mut message = vec![7; 100];
            mutate(&mut Random::new(seed), &mut message, 0, &[1, 2, 3]);
            message
        };
        assert_eq!(broken(3), broken(3));
        assert_ne!(broken(3), broken(4));
    }
}
