//! Which adapter is taken.

use futures::executor::block_on;

use crate::error::OpenError;

/// Bytes of buffers unless told otherwise.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// How a GPU is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which adapter.
    pub adapter: Choice,
    /// Bytes that all [`crate::Buffer`]s of it together may have; 1 GiB unless told otherwise. Staging comes on top.
    pub memory_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { adapter: Choice::Fastest, memory_bytes_max: MEMORY_BYTES_MAX }
    }
}

/// Which adapter to take of several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// A card of its own before one in the processor before one in software.
    #[default]
    Fastest,
    /// One that is no program on the processor.
    Hardware,
    /// One that is: lavapipe, SwiftShader.
    Software,
    /// One whose name has these letters, in any case.
    Named(String),
}

/// An adapter: a GPU, or a program that does what one does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// As its driver calls it.
    pub name: String,
    /// The driver, with its version.
    pub driver: String,
    /// Whether it is a program on the processor.
    pub software: bool,
}

/// Lower is better.
fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::VirtualGpu => 1,
        wgpu::DeviceType::IntegratedGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

impl Choice {
    fn takes(&self, info: &wgpu::AdapterInfo) -> bool {
        let software = info.device_type == wgpu::DeviceType::Cpu;
        match self {
            Self::Fastest => true,
            Self::Hardware => !software,
            Self::Software => software,
            Self::Named(part) => info.name.to_lowercase().contains(&part.to_lowercase()),
        }
    }

    /// The best adapter that fits.
    pub(crate) fn find(&self) -> Result<(wgpu::Adapter, Adapter), OpenError> {
        // Vulkan is compiled on Linux, Windows and Android only, and an instance of nothing panics.
        if wgpu::Instance::enabled_backend_features().is_empty() {
            return Err(OpenError::NoAdapter { found: Vec::new() });
        }
        let mut settings = wgpu::InstanceDescriptor::new_without_display_handle();
        settings.backends = wgpu::Backends::VULKAN;
        let instance = wgpu::Instance::new(settings);
        let mut all = block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        all.sort_by_key(|adapter| rank(adapter.get_info().device_type));
        let Some(at) = all.iter().position(|adapter| self.takes(&adapter.get_info())) else {
            let found = all.iter().map(|adapter| adapter.get_info().name).collect();
            return Err(OpenError::NoAdapter { found });
        };
        let found = all.swap_remove(at);
        let info = found.get_info();
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        let software = info.device_type == wgpu::DeviceType::Cpu;
        Ok((found, Adapter { name: info.name, driver, software }))
    }
}
