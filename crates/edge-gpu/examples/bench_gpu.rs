//! Times the kernels of the fastest adapter beside this processor's on one thread, and prints one JSON object a line:
//! `cargo xtask bench gpu`, or `cargo run --release -p edge-gpu --example bench_gpu -- [--adapter NAME] [--peak TFLOPS]`.
//!
//! `metric` is the adapter's name; one in software says so, and gets smaller sizes. A figure is the median of rounds on
//! the wall's clock. Without transfers the operands are in the GPU's memory, and a round is as many dispatches as take
//! some 30 ms, so that what a submission costs is in it once; `with_transfers` is one call from slices to a result, as
//! a program makes it. Every kernel's result is compared with the processor's before it is timed. With `--peak`, the
//! adapter's greatest rate of single-precision operations by its maker, the share of it is printed too.

use std::time::Instant;

use edge_gpu::{Buffer, Choice, Gpu, GpuError, Heads, LowRank, Product, Settings};
use edge_kernels::conformance::SplitMix64;
use edge_kernels::{Rows, fast};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut settings = Settings::default();
    let mut peak = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--json" => {}
            "--adapter" => settings.adapter = Choice::Named(value()?),
            "--peak" => peak = Some(value()?.parse::<f64>()?),
            _ => return Err(format!("unknown argument {argument}").into()),
        }
    }
    let gpu = Gpu::open(&settings)?;
    let adapter = gpu.adapter();
    eprintln!("{}: {}", adapter.name, adapter.driver);
    let mut bench = Bench { gpu: &gpu, random: SplitMix64(1), peak };
    let sizes: &[usize] =
        if adapter.software { &[128, 512] } else { &[128, 512, 1024, 2048, 4096] };
    for &n in sizes {
        bench.matmul(n)?;
    }
    let tokens = if adapter.software { 512 } else { 4_096 };
    for heads in [1, 8] {
        bench.attention(Heads { heads, tokens, dim: 64, causal: false })?;
    }
    bench.attention(Heads { heads: 8, tokens, dim: 64, causal: true })?;
    for tokens in [1, 64] {
        bench.lora(LowRank { tokens, inputs: 4_096, outputs: 4_096, rank: 16, scale: 2.0 })?;
    }
    Ok(())
}

struct Bench<'g> {
    gpu: &'g Gpu,
    random: SplitMix64,
    peak: Option<f64>,
}

impl Bench<'_> {
    fn matmul(&mut self, n: usize) -> Outcome {
        let shape = Product { m: n, k: n, n };
        let (a, b) = (self.values(n * n), self.values(n * n));
        let mut expected = vec![0f32; n * n];
        let cpu = seconds(n < 2_048, || fast::matmul(n, n, n, &a, &b, &mut expected));
        let rate = 2.0 * (n as f64).powi(3) / 1e12;
        let name = format!("matmul_{n}x{n}x{n}");
        same(&name, &self.gpu.matmul(shape, &a, &b)?, &expected)?;
        let (on_a, on_b) = (self.gpu.upload(&a)?, self.gpu.upload(&b)?);
        let on_c = self.gpu.allocate(n * n)?;
        let resident = self.resident(|batch| batch.matmul(shape, &on_a, &on_b, &on_c))?;
        self.rate(&name, rate / resident, rate / cpu);
        if let Some(peak) = self.peak {
            self.print(&format!("{name}_of_peak"), rate / resident / peak, "share", None);
        }
        let whole = self.whole(|| self.gpu.matmul(shape, &a, &b))?;
        self.rate(&format!("{name}_with_transfers"), rate / whole, rate / cpu);
        Ok(())
    }

    fn attention(&mut self, shape: Heads) -> Outcome {
        let Heads { heads, tokens, dim, causal } = shape;
        let each = tokens * dim;
        let [q, k, v] = [0, 1, 2].map(|_| self.values(heads * each));
        let name =
            format!("attention_{heads}x{tokens}x{dim}{}", if causal { "_causal" } else { "" });
        // The processor's kernel has no mask: a causal one has no rival.
        let mut cpu = None;
        if !causal {
            let mut expected = vec![0f32; heads * each];
            let one = fast::Heads { heads: 1, tokens, dim };
            cpu = Some(seconds(false, || {
                for (head, out) in expected.chunks_mut(each).enumerate() {
                    let [q, k, v] =
                        [&q, &k, &v].map(|x| Rows { values: &x[head * each..], stride: dim });
                    fast::attention(one, q, k, v, out);
                }
            }));
            same(&name, &self.gpu.attention(shape, &q, &k, &v)?, &expected)?;
        }
        let [on_q, on_k, on_v] = [&q, &k, &v].map(|x| self.gpu.upload(x));
        let (on_q, on_k, on_v) = (on_q?, on_k?, on_v?);
        let out = self.gpu.allocate(heads * each)?;
        let resident = self.resident(|batch| batch.attention(shape, &on_q, &on_k, &on_v, &out))?;
        self.time(&name, resident, cpu);
        let whole = self.whole(|| self.gpu.attention(shape, &q, &k, &v))?;
        self.time(&format!("{name}_with_transfers"), whole, cpu);
        Ok(())
    }

    fn lora(&mut self, shape: LowRank) -> Outcome {
        let LowRank { tokens, inputs, outputs, rank, scale } = shape;
        let [x, base] = [tokens * inputs, tokens * outputs].map(|len| self.values(len));
        let [a, b] = [inputs * rank, rank * outputs].map(|len| self.values(len));
        let (mut low, mut expected) = (vec![0f32; tokens * rank], vec![0f32; tokens * outputs]);
        let cpu = seconds(true, || {
            fast::matmul(tokens, rank, inputs, &x, &a, &mut low);
            fast::matmul(tokens, outputs, rank, &low, &b, &mut expected);
            for (y, base) in expected.iter_mut().zip(&base) {
                *y = base + scale * *y;
            }
        });
        let name = format!("lora_{tokens}x{inputs}x{outputs}_rank_{rank}");
        same(&name, &self.gpu.lora(shape, &x, &base, &a, &b)?, &expected)?;
        let upload = |values: &[f32]| self.gpu.upload(values);
        let on: [Buffer; 4] = [upload(&x)?, upload(&base)?, upload(&a)?, upload(&b)?];
        let (between, out) =
            (self.gpu.allocate(tokens * rank)?, self.gpu.allocate(tokens * outputs)?);
        let operands = [&on[0], &on[1], &on[2], &on[3]];
        let resident = self.resident(|batch| batch.lora(shape, operands, &between, &out))?;
        self.time(&name, resident, Some(cpu));
        let whole = self.whole(|| self.gpu.lora(shape, &x, &base, &a, &b))?;
        self.time(&format!("{name}_with_transfers"), whole, Some(cpu));
        Ok(())
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.random.unit()).collect()
    }

    /// Seconds of one dispatch on operands in the GPU's memory.
    fn resident(
        &self,
        mut work: impl FnMut(&mut edge_gpu::Batch<'_>) -> Result<(), GpuError>,
    ) -> Result<f64, GpuError> {
        let mut round = |dispatches: usize| -> Result<f64, GpuError> {
            let mut batch = self.gpu.batch();
            for _ in 0..dispatches {
                work(&mut batch)?;
            }
            self.gpu.wait()?;
            let begun = Instant::now();
            batch.submit()?;
            self.gpu.wait()?;
            Ok(begun.elapsed().as_secs_f64())
        };
        let mut dispatches = 1;
        while round(dispatches)? < 0.03 && dispatches < 1_024 {
            dispatches *= 2;
        }
        let mut times = Vec::new();
        for _ in 0..7 {
            times.push(round(dispatches)? / dispatches as f64);
        }
        Ok(median(times))
    }

    /// Seconds of one call with all that it sends and fetches.
    fn whole<T>(&self, mut call: impl FnMut() -> Result<T, GpuError>) -> Result<f64, GpuError> {
        let mut times = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            std::hint::black_box(call()?);
            times.push(begun.elapsed().as_secs_f64());
        }
        Ok(median(times))
    }

    fn rate(&self, bench: &str, own: f64, rival: f64) {
        self.print(bench, own, "TFLOP/s", Some((rival, own / rival)));
    }

    fn time(&self, bench: &str, own: f64, rival: Option<f64>) {
        self.print(bench, own * 1e3, "ms", rival.map(|rival| (rival * 1e3, rival / own)));
    }

    fn print(&self, bench: &str, value: f64, unit: &str, rival: Option<(f64, f64)>) {
        let software = if self.gpu.adapter().software { " (software)" } else { "" };
        let metric = format!("{}{software}", self.gpu.adapter().name.replace('"', ""));
        let rival = rival.map_or(String::new(), |(rival, ratio)| {
            let cpu = edge_kernels::active().name();
            format!(
                ",\"rival\":\"{cpu}, 1 thread\",\"rival_value\":{rival:.6},\"ratio\":{ratio:.4}"
            )
        });
        println!(
            "{{\"bench\":\"{bench}\",\"metric\":\"{metric}\",\"value\":{value:.6},\"unit\":\"{unit}\"{rival}}}"
        );
    }
}

/// Seconds of a processor's work: the median of several times, or of one.
fn seconds(several: bool, mut work: impl FnMut()) -> f64 {
    let once = || {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    };
    median(std::iter::repeat_with(once).take(if several { 5 } else { 1 }).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Two results of single-precision arithmetic, by the length of their difference: both are within some 1e-6 of the
/// exact one.
fn same(what: &str, found: &[f32], expected: &[f32]) -> Outcome {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let of = |x: &f32| f64::from(*x);
    let apart = length(&mut found.iter().zip(expected).map(|(a, b)| of(a) - of(b)));
    let relative = apart / length(&mut expected.iter().map(of));
    // Written so that NaN does not hold.
    if found.len() == expected.len() && relative < 1e-5 {
        return Ok(());
    }
    Err(format!("{what}: the GPU's result is {relative:e} from the processor's").into())
}
