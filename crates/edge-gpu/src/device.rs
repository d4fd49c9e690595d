//! A device with its kernels, buffers in its memory, and batches of work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures::executor::block_on;

use crate::adapter::{Adapter, Settings};
use crate::error::{GpuError, OpenError};
use crate::shape::{Heads, Limits, LowRank, Product};
use crate::staging::{self, Staging};

/// The kernels' sources; a browser loads the same files.
#[derive(Clone, Copy)]
pub(crate) struct Sources {
    pub(crate) matmul: &'static str,
    pub(crate) attention: &'static str,
    pub(crate) lora: &'static str,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            matmul: include_str!("shaders/matmul.wgsl"),
            attention: include_str!("shaders/attention.wgsl"),
            lora: include_str!("shaders/lora.wgsl"),
        }
    }
}

/// Bytes of a binding that are asked of an adapter at most.
const BINDING_BYTES_MAX: u64 = 1 << 31;

/// Wide tiles from so many on: fewer leave most of a large GPU idle, and narrow ones are four times as many.
const WIDE_TILES_MIN: usize = 128;

/// What a driver said behind our back, the first of each.
#[derive(Default)]
struct Fault {
    lost: OnceLock<String>,
    refused: OnceLock<String>,
}

/// An open GPU. Calls of several threads are taken one after the other.
pub struct Gpu {
    adapter: Adapter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    limits: Limits,
    memory_bytes_max: u64,
    /// Bytes of all buffers.
    held: Arc<AtomicU64>,
    fault: Arc<Fault>,
    staging: Mutex<Staging>,
    wide: Kernel,
    narrow: Kernel,
    attention: Kernel,
    down: Kernel,
    up: Kernel,
}

/// An entry point, compiled when it is first used.
struct Kernel {
    source: &'static str,
    entry: &'static str,
    compiled: OnceLock<Result<wgpu::ComputePipeline, String>>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}

/// Values in the GPU's memory. It counts towards [`Settings::memory_bytes_max`] until it is dropped.
#[derive(Debug)]
pub struct Buffer {
    buffer: wgpu::Buffer,
    len: usize,
    held: Arc<AtomicU64>,
}

impl Buffer {
    /// How many values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a buffer has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.held.fetch_sub(self.buffer.size(), Ordering::Relaxed);
    }
}

impl Gpu {
    /// Opens an adapter. A kernel is compiled when it is first used, and kept.
    ///
    /// # Errors
    /// If there is no such adapter, or its driver does not do what Vulkan's and WebGPU's least adapter does.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        Self::with_sources(settings, Sources::default())
    }

    pub(crate) fn with_sources(settings: &Settings, sources: Sources) -> Result<Self, OpenError> {
        let (found, adapter) = settings.adapter.find()?;
        let has = found.limits();
        let least = wgpu::Limits::default();
        let binding = has.max_storage_buffer_binding_size.clamp(0, BINDING_BYTES_MAX);
        let asked = wgpu::DeviceDescriptor {
            label: Some("edge-gpu"),
            required_limits: wgpu::Limits {
                max_storage_buffer_binding_size: binding,
                max_buffer_size: has.max_buffer_size.clamp(0, BINDING_BYTES_MAX),
                ..least
            },
            ..Default::default()
        };
        let (device, queue) = block_on(found.request_device(&asked)).map_err(|error| {
            OpenError::Refused { adapter: adapter.name.clone(), why: error.to_string() }
        })?;
        let fault = Arc::new(Fault::default());
        let lost = Arc::clone(&fault);
        device.set_device_lost_callback(move |_, why| {
            let _ = lost.lost.set(why);
        });
        let refused = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let _ = refused.refused.set(error.to_string());
        }));
        let limits = Limits {
            binding_bytes: binding.min(has.max_buffer_size),
            groups: device.limits().max_compute_workgroups_per_dimension,
        };
        let kernel = |source, entry| Kernel { source, entry, compiled: OnceLock::new() };
        let gpu = Self {
            wide: kernel(sources.matmul, "wide"),
            narrow: kernel(sources.matmul, "narrow"),
            attention: kernel(sources.attention, "attention"),
            down: kernel(sources.lora, "down"),
            up: kernel(sources.lora, "up"),
            staging: Mutex::new(Staging::new(&device)),
            adapter,
            device,
            queue,
            limits,
            memory_bytes_max: settings.memory_bytes_max,
            held: Arc::default(),
            fault,
        };
        gpu.sound().map_err(OpenError::Staging)?;
        Ok(gpu)
    }

    /// What was opened.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The matrix product of a `[m, k]` and b `[k, n]`, row-major. Each result is within k u / (1 - k u) Σ|a||b| of the
    /// exact one, u = 2^-24.
    ///
    /// # Errors
    /// If lengths do not fit the shape, the shape not the adapter, or the GPU fails.
    pub fn matmul(&self, shape: Product, a: &[f32], b: &[f32]) -> Result<Vec<f32>, GpuError> {
        let result = shape.check(a.len(), b.len())?;
        self.one(result, [a, b], |batch, [a, b], result| batch.matmul(shape, a, b, result))
    }

    /// softmax(q kᵀ / sqrt(dim)) v of each head, by online softmax (Dao et al., "FlashAttention", 2022; Milakov and
    /// Gimelshein, 2018): the matrix of scores is never stored.
    ///
    /// # Errors
    /// If lengths do not fit the shape, the shape not the adapter, or the GPU fails.
    pub fn attention(
        &self,
        shape: Heads,
        q: &[f32],
        k: &[f32],
        v: &[f32],
    ) -> Result<Vec<f32>, GpuError> {
        let result = shape.check(q.len(), k.len(), v.len())?;
        let work = |batch: &mut Batch<'_>, [q, k, v]: [&Buffer; 3], result: &Buffer| {
            batch.attention(shape, q, k, v, result)
        };
        self.one(result, [q, k, v], work)
    }

    /// base + scale · (x a) b (Hu et al., "LoRA", 2021).
    ///
    /// # Errors
    /// If lengths do not fit the shape, the shape not the adapter, or the GPU fails.
    pub fn lora(
        &self,
        shape: LowRank,
        x: &[f32],
        base: &[f32],
        a: &[f32],
        b: &[f32],
    ) -> Result<Vec<f32>, GpuError> {
        let result = shape.check(x.len(), base.len(), a.len(), b.len())?;
        let between = self.allocate(shape.tokens.saturating_mul(shape.rank))?;
        let work = |batch: &mut Batch<'_>, [x, base, a, b]: [&Buffer; 4], result: &Buffer| {
            batch.lora(shape, [x, base, a, b], &between, result)
        };
        self.one(result, [x, base, a, b], work)
    }

    /// Sends the operands, does one thing with them, and fetches its result.
    fn one<const N: usize>(
        &self,
        result: usize,
        operands: [&[f32]; N],
        work: impl FnOnce(&mut Batch<'_>, [&Buffer; N], &Buffer) -> Result<(), GpuError>,
    ) -> Result<Vec<f32>, GpuError> {
        let mut sent = Vec::with_capacity(N);
        for operand in operands {
            sent.push(self.upload(operand)?);
        }
        let to = self.allocate(result)?;
        let mut batch = self.batch();
        work(&mut batch, std::array::from_fn(|at| &sent[at]), &to)?;
        batch.submit()?;
        self.download(&to)
    }

    /// A buffer of `len` values, all 0.
    ///
    /// # Errors
    /// If it is empty, larger than the adapter binds, past the limit of memory, or the GPU fails.
    pub fn allocate(&self, len: usize) -> Result<Buffer, GpuError> {
        if len == 0 {
            return Err(GpuError::Empty { what: "a buffer's length" });
        }
        let needed = self.limits.bytes("a buffer's bytes", len)?;
        let held = self.held.fetch_add(needed, Ordering::Relaxed);
        if held.saturating_add(needed) > self.memory_bytes_max {
            self.held.fetch_sub(needed, Ordering::Relaxed);
            return Err(GpuError::Memory { needed, held, most: self.memory_bytes_max });
        }
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: needed,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let buffer = Buffer { buffer, len, held: Arc::clone(&self.held) };
        self.sound()?;
        Ok(buffer)
    }

    /// A buffer with these values.
    ///
    /// # Errors
    /// Those of [`Gpu::allocate`].
    pub fn upload(&self, values: &[f32]) -> Result<Buffer, GpuError> {
        let buffer = self.allocate(values.len())?;
        let done = self.staging().upload(&self.device, &self.queue, values, &buffer.buffer);
        self.outcome(done)?;
        Ok(buffer)
    }

    /// The values of a buffer, after all that was submitted before.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn download(&self, buffer: &Buffer) -> Result<Vec<f32>, GpuError> {
        let mut values = vec![0f32; buffer.len];
        let done = self.staging().download(&self.device, &self.queue, &buffer.buffer, &mut values);
        self.outcome(done)?;
        Ok(values)
    }

    /// Work that is submitted at once.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        let encoder =
            self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        Batch { gpu: self, encoder }
    }

    /// Waits until all that was submitted is done.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.outcome(staging::wait(&self.device, None))
    }

    fn staging(&self) -> MutexGuard<'_, Staging> {
        // A call that panicked left at most a piece mapped, and the next one is told.
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a driver said comes before what a call concluded from it.
    fn outcome(&self, done: Result<(), staging::Failed>) -> Result<(), GpuError> {
        self.sound()?;
        Ok(done?)
    }

    fn sound(&self) -> Result<(), GpuError> {
        if let Some(why) = self.fault.lost.get() {
            return Err(GpuError::Lost(why.clone()));
        }
        match self.fault.refused.get() {
            Some(why) => Err(GpuError::Driver(why.clone())),
            None => Ok(()),
        }
    }

    /// The compiled kernel.
    fn compiled<'k>(&self, kernel: &'k Kernel) -> Result<&'k wgpu::ComputePipeline, GpuError> {
        let Kernel { source, entry, compiled } = kernel;
        compiled
            .get_or_init(|| compile(&self.device, source, entry))
            .as_ref()
            .map_err(|why| GpuError::Kernel { kernel: entry, why: why.clone() })
    }

    /// Makes the device what a driver's crash makes of it.
    #[cfg(test)]
    pub(crate) fn lose(&self) {
        let _ = self.wait();
        self.device.destroy();
        let _ = self.device.poll(wgpu::PollType::Poll);
    }
}

/// Work on buffers, done in order once it is submitted. Dropped before that, nothing happens.
#[derive(Debug)]
pub struct Batch<'g> {
    gpu: &'g Gpu,
    encoder: wgpu::CommandEncoder,
}

impl Batch<'_> {
    /// c = a b; see [`Gpu::matmul`].
    ///
    /// # Errors
    /// If lengths do not fit the shape, the shape not the adapter, or c is a or b.
    pub fn matmul(
        &mut self,
        shape: Product,
        a: &Buffer,
        b: &Buffer,
        c: &Buffer,
    ) -> Result<(), GpuError> {
        fits(shape.check(a.len, b.len)?, c)?;
        apart(c, &[("a", a), ("b", b)])?;
        let Product { m, k, n } = shape;
        let wide = m.div_ceil(128).saturating_mul(n.div_ceil(128)) >= WIDE_TILES_MIN;
        let (kernel, side) = if wide { (&self.gpu.wide, 128) } else { (&self.gpu.narrow, 64) };
        let limits = self.gpu.limits;
        let groups = [limits.groups("n", n.div_ceil(side))?, limits.groups("m", m.div_ceil(side))?];
        self.dispatch(kernel, [small(m), small(k), small(n), 0], 0.0, &[a, b, c], groups)
    }

    /// The attention of q, k and v into `out`; see [`Gpu::attention`].
    ///
    /// # Errors
    /// If lengths do not fit the shape, the shape not the adapter, or `out` is an operand.
    pub fn attention(
        &mut self,
        shape: Heads,
        q: &Buffer,
        k: &Buffer,
        v: &Buffer,
        out: &Buffer,
    ) -> Result<(), GpuError> {
        fits(shape.check(q.len, k.len, v.len)?, out)?;
        apart(out, &[("q", q), ("k", k), ("v", v)])?;
        let Heads { heads, tokens, dim, causal } = shape;
        let limits = self.gpu.limits;
        let groups =
            [limits.groups("tokens", tokens.div_ceil(32))?, limits.groups("heads", heads)?];
        let parameters = [small(tokens), small(dim), small(shape.parts()), u32::from(causal)];
        let scale = 1.0 / (dim as f32).sqrt();
        self.dispatch(&self.gpu.attention, parameters, scale, &[q, k, v, out], groups)
    }

    /// The LoRA of `[x, base, a, b]` into `out`; see [`Gpu::lora`]. `between`, `[tokens, rank]`, is overwritten.
    ///
    /// # Errors
    /// If lengths do not fit the shape, the shape not the adapter, or a buffer that is written is another one.
    pub fn lora(
        &mut self,
        shape: LowRank,
        [x, base, a, b]: [&Buffer; 4],
        between: &Buffer,
        out: &Buffer,
    ) -> Result<(), GpuError> {
        fits(shape.check(x.len, base.len, a.len, b.len)?, out)?;
        let LowRank { tokens, inputs, outputs, rank, scale } = shape;
        let needed = tokens.saturating_mul(rank);
        if between.len != needed {
            return Err(GpuError::Length { what: "between", needed, given: between.len });
        }
        let operands = [("x", x), ("base", base), ("a", a), ("b", b)];
        apart(between, &operands)?;
        apart(out, &operands)?;
        apart(out, &[("between", between)])?;
        let limits = self.gpu.limits;
        let rows = limits.groups("tokens", tokens)?;
        let columns = limits.groups("rank", rank.div_ceil(16))?;
        let wide = limits.groups("outputs", outputs.div_ceil(256))?;
        let parameters = [small(tokens), small(inputs), small(outputs), small(rank)];
        self.dispatch(&self.gpu.down, parameters, scale, &[x, a, between], [columns, rows])?;
        self.dispatch(&self.gpu.up, parameters, scale, &[between, b, out, base], [wide, rows])
    }

    /// Adds a dispatch: `parameters` and `scale` are binding 0, the buffers those after it.
    fn dispatch(
        &mut self,
        kernel: &Kernel,
        parameters: [u32; 4],
        scale: f32,
        buffers: &[&Buffer],
        [x, y]: [u32; 2],
    ) -> Result<(), GpuError> {
        let device = &self.gpu.device;
        let pipeline = self.gpu.compiled(kernel)?;
        let mut words = [0u32; 8];
        words[..4].copy_from_slice(&parameters);
        words[4] = scale.to_bits();
        let uniform = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: size_of_val(&words) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.gpu.queue.write_buffer(&uniform, 0, bytemuck::cast_slice(&words));
        let bound = std::iter::once(&uniform).chain(buffers.iter().map(|buffer| &buffer.buffer));
        let entries: Vec<wgpu::BindGroupEntry<'_>> = (0u32..)
            .zip(bound)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut pass = self.encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(x, y, 1);
        Ok(())
    }

    /// Sends the work; [`Gpu::download`] and [`Gpu::wait`] wait for it.
    ///
    /// # Errors
    /// If the GPU fails.
    pub fn submit(self) -> Result<(), GpuError> {
        self.gpu.queue.submit([self.encoder.finish()]);
        self.gpu.sound()
    }
}

/// A size that a buffer's limit has bounded already.
fn small(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn fits(needed: usize, result: &Buffer) -> Result<(), GpuError> {
    if result.len == needed {
        Ok(())
    } else {
        Err(GpuError::Length { what: "the result", needed, given: result.len })
    }
}

fn apart(written: &Buffer, others: &[(&'static str, &Buffer)]) -> Result<(), GpuError> {
    match others.iter().find(|(_, other)| other.buffer == written.buffer) {
        Some(&(what, _)) => Err(GpuError::Overlap { what }),
        None => Ok(()),
    }
}

/// Compiles one entry point, or says why not.
fn compile(
    device: &wgpu::Device,
    source: &str,
    entry: &str,
) -> Result<wgpu::ComputePipeline, String> {
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(entry),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(entry),
        layout: None,
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    match block_on(scope.pop()) {
        Some(error) => Err(error.to_string()),
        None => Ok(pipeline),
    }
}
