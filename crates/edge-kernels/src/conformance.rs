//! The conformance corpus of canon-1: fixed inputs from a fixed generator, and the digest of everything
//! the kernels answer to them. A build whose digest differs from [`DIGEST`] is not canon-1, whatever its
//! tests say: a node checks itself with [`is_canonical`] before it takes canonical work.
//!
//! The corpus is part of the format. A function that is added to canon-1 adds a section at the end; what a
//! section yields changes only together with [`crate::canon::VERSION`].

use crate::canon::{self, Kernels};

/// FNV-1a (64 bits) over the little-endian bytes of every word that [`visit`] yields, section by section.
pub const DIGEST: u64 = 0x1ec1_b331_14b4_d7a1;

/// The parts of the corpus, in their order.
pub const SECTIONS: [&str; 14] = [
    "sum16",
    "dot",
    "dot_many",
    "l2_squared",
    "mean_variance",
    "normalize",
    "exp",
    "softmax",
    "matmul",
    "elementwise",
    "i8",
    "top_k",
    "l2_squared_many",
    "codes",
];

/// Whether `kernels` give the canonical answers on this machine, in this thread's float environment. Takes
/// some milliseconds in a release build.
pub fn is_canonical(kernels: Kernels) -> bool {
    canon::float_environment_is_canonical() && digest(kernels) == DIGEST
}

/// The digest of the whole corpus; compare with [`DIGEST`].
pub fn digest(kernels: Kernels) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for section in SECTIONS {
        visit(kernels, section, &mut |word| {
            for byte in word.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        });
    }
    hash
}

/// Runs one of [`SECTIONS`] and passes every result to `sink`, as the bits of an `f32` (a NaN as
/// `7fc00000`) or an integer in two's complement.
///
/// # Panics
/// If there is no such section.
pub fn visit(kernels: Kernels, section: &str, sink: &mut dyn FnMut(u32)) {
    let index = SECTIONS.iter().position(|name| *name == section).expect("a section's name");
    // Each section has its own stream, so that one can be added behind the others.
    let mut run = Run { kernels, random: SplitMix64(index as u64 + 1), sink };
    match section {
        "sum16" => run.reductions(|kernels, a, _| kernels.sum16(a)),
        "dot" => run.reductions(|kernels, a, b| kernels.dot(a, b)),
        "dot_many" => run.dot_many(),
        "l2_squared" => run.reductions(|kernels, a, b| kernels.l2_squared(a, b)),
        "mean_variance" => run.reductions(|kernels, a, _| kernels.variance(a, kernels.mean(a))),
        "normalize" => run.normalize(),
        "exp" => run.exp(),
        "softmax" => run.softmax(),
        "matmul" => run.matmul(),
        "elementwise" => run.elementwise(),
        "i8" => run.i8(),
        "top_k" => run.top_k(),
        "l2_squared_many" => run.l2_squared_many(),
        _ => run.codes(),
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), and the values the corpus draws from it.
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A multiple of 2^-24 in [-.5, .5).
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / 16_777_216.0 - 0.5
    }

    /// Mostly [`Self::unit`]; of 64 values about one each is a zero of either sign, a subnormal, large
    /// (times 2^40), and small (times 2^-100).
    pub fn value(&mut self) -> f32 {
        let bits = self.next_u64();
        let unit = self.unit();
        match bits & 63 {
            0 => f32::from_bits((bits >> 32) as u32 & 0x8000_0000),
            1 => f32::from_bits((bits >> 32) as u32 & 0x807f_ffff),
            2 => unit * f32::from_bits((127 + 40) << 23),
            3 => unit * f32::from_bits((127 - 100) << 23),
            _ => unit,
        }
    }

    /// `len` of [`Self::value`].
    pub fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }

    /// `len` bytes, -128 included.
    pub fn bytes(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| (self.next_u64() >> 56) as i8).collect()
    }
}

struct Run<'a> {
    kernels: Kernels,
    random: SplitMix64,
    sink: &'a mut dyn FnMut(u32),
}

/// Every length up to 130, then around each power of two up to 4,097.
fn lengths() -> impl Iterator<Item = usize> {
    let around = [255, 256, 257, 384, 511, 512, 513, 1023, 1024, 1025, 2047, 4096, 4097];
    (0..=130).chain(around)
}

impl Run<'_> {
    fn put(&mut self, value: f32) {
        (self.sink)(if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() });
    }

    fn put_all(&mut self, values: &[f32]) {
        for value in values {
            self.put(*value);
        }
    }

    fn reductions(&mut self, f: impl Fn(Kernels, &[f32], &[f32]) -> f32) {
        for len in lengths() {
            let (a, b) = (self.random.values(len), self.random.values(len));
            self.put(f(self.kernels, &a, &b));
        }
    }

    fn dot_many(&mut self) {
        for (dim, rows) in [(0, 3), (1, 9), (15, 4), (16, 5), (64, 7), (100, 6), (256, 9), (384, 5)]
        {
            let (query, rows_data) = (self.random.values(dim), self.random.values(dim * rows));
            let mut out = vec![0f32; rows];
            self.kernels.dot_many(&query, &rows_data, dim, &mut out);
            self.put_all(&out);
        }
    }

    fn l2_squared_many(&mut self) {
        for (dim, rows) in [(0, 3), (1, 9), (15, 4), (16, 5), (100, 6), (384, 5)] {
            let (query, rows_data) = (self.random.values(dim), self.random.values(dim * rows));
            let mut out = vec![0f32; rows];
            self.kernels.l2_squared_many(&query, &rows_data, dim, &mut out);
            self.put_all(&out);
        }
    }

    fn codes(&mut self) {
        for len in lengths() {
            let (a, b) = (self.random.values(len), self.random.values(len));
            let mut codes = [&a, &b].map(|_| vec![0u64; canon::words_of_bits(len)]);
            canon::sign_bits(&a, &mut codes[0]);
            canon::sign_bits(&b, &mut codes[1]);
            for word in &codes[0] {
                (self.sink)(*word as u32);
                (self.sink)((*word >> 32) as u32);
            }
            (self.sink)(self.kernels.hamming(&codes[0], &codes[1]));
            let mut distances = [0; 2];
            self.kernels.hamming_many(&codes[0], &codes.concat(), &mut distances);
            distances.iter().for_each(|distance| (self.sink)(*distance));
            let (bytes, scale) = (self.random.bytes(len), self.random.value());
            let mut x = vec![0f32; len];
            self.kernels.dequantize_i8(&bytes, scale, &mut x);
            self.put_all(&x);
            let best = canon::top_k_scores(&a, 10).expect("invariant: corpus values are finite");
            for (score, at) in best {
                self.put(score);
                (self.sink)(at as u32);
            }
        }
    }

    fn normalize(&mut self) {
        for len in lengths() {
            let mut x = self.random.values(len);
            (self.sink)(u32::from(self.kernels.normalize(&mut x).is_ok()));
            self.put_all(&x);
        }
    }

    fn exp(&mut self) {
        let edges = [
            0.0,
            canon::EXP_LOW,
            canon::EXP_LOW.next_down(),
            canon::EXP_HIGH,
            canon::EXP_HIGH.next_up(),
            f32::MAX,
            f32::MIN,
            f32::MIN_POSITIVE,
        ];
        let mut x: Vec<f32> = (0..20_000).map(|_| self.random.unit() * 190.0).collect();
        x.extend(edges);
        self.kernels.exp_shifted(&mut x, 0.0);
        self.put_all(&x);
    }

    fn softmax(&mut self) {
        for len in lengths() {
            let mut x: Vec<f32> = (0..len).map(|_| self.random.unit() * 60.0).collect();
            if let Some(last) = x.last_mut() {
                *last = f32::MIN;
            }
            (self.sink)(u32::from(self.kernels.softmax(&mut x).is_ok()));
            self.put_all(&x);
        }
    }

    fn matmul(&mut self) {
        let shapes = [
            (1, 1, 1),
            (1, 33, 300),
            (2, 16, 0),
            (3, 5, 7),
            (6, 16, 255),
            (7, 31, 256),
            (8, 32, 257),
            (9, 33, 513),
            (17, 65, 70),
            (40, 100, 64),
        ];
        for (m, n, k) in shapes {
            let (a, b) = (self.random.values(m * k), self.random.values(k * n));
            let mut c = vec![f32::NAN; m * n];
            self.kernels.matmul(m, n, k, &a, &b, &mut c);
            self.put_all(&c);
        }
    }

    fn elementwise(&mut self) {
        for len in lengths() {
            let (mut x, y) = (self.random.values(len), self.random.values(len));
            let row = self.random.bytes(len);
            let w = self.random.value();
            self.kernels.add_scaled(&mut x, &y, w);
            self.put_all(&x);
            self.kernels.accumulate_i8(&mut x, &row, w);
            self.put_all(&x);
        }
    }

    fn i8(&mut self) {
        for len in lengths() {
            let (a, b) = (self.random.bytes(len), self.random.bytes(len));
            (self.sink)(self.kernels.dot_i8(&a, &b) as u32);
            let rows = self.random.bytes(len * 5);
            let mut out = [0i32; 5];
            self.kernels.dot_i8_many(&a, &rows, len, &mut out);
            out.iter().for_each(|v| (self.sink)(*v as u32));

            let x = self.random.values(len);
            let scale = canon::scale_i8(&x).expect("invariant: corpus values are finite");
            self.put(scale);
            let mut codes = vec![0i8; len];
            // Half of them saturate.
            let scale = if len % 2 == 0 { scale } else { scale / 4.0 };
            self.kernels
                .quantize_i8(&x, scale, &mut codes)
                .expect("invariant: corpus values are finite");
            codes.iter().for_each(|q| (self.sink)(*q as u32));
        }
    }

    fn top_k(&mut self) {
        for len in [0u32, 1, 10, 1000] {
            // Scores from a small set, so that ids decide.
            let hits: Vec<(f32, [u8; 4])> = (0..len)
                .map(|_| {
                    let score = (self.random.next_u64() % 16) as f32 / 8.0 - 1.0;
                    (score, (self.random.next_u64() as u32).to_be_bytes())
                })
                .collect();
            let best = canon::top_k(hits, 20).expect("invariant: corpus scores are finite");
            for (score, id) in best {
                self.put(score);
                (self.sink)(u32::from_be_bytes(id));
            }
        }
    }
}
