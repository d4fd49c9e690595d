//! What can go wrong.

use crate::staging;

/// Why no GPU could be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The machine has no such adapter, or no Vulkan. `found` names those there are.
    #[error(
        "no Vulkan adapter fits (found: {}): install the GPU's Vulkan driver, or for one in software Debian's \
         packages libvulkan1 and mesa-vulkan-drivers",
        if found.is_empty() { "none".to_owned() } else { found.join(", ") }
    )]
    NoAdapter {
        /// Names of the adapters that were not asked for.
        found: Vec<String>,
    },
    /// The adapter's driver gives no device.
    #[error("the driver of {adapter} gives no device: {why}")]
    Refused {
        /// The adapter's name.
        adapter: String,
        /// What the driver said.
        why: String,
    },
    /// A buffer for transfers could not be made.
    #[error("no memory for transfers")]
    Staging(#[source] GpuError),
}

/// Why a call gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The caller's: a size of a shape is 0.
    #[error("{what} is 0: there is nothing to compute")]
    Empty {
        /// Which size.
        what: &'static str,
    },
    /// The caller's: a slice or buffer is not as long as the shape says.
    #[error("{what} has {given} values, its shape needs {needed}")]
    Length {
        /// Which operand.
        what: &'static str,
        /// The values the shape needs.
        needed: usize,
        /// The values there are.
        given: usize,
    },
    /// The caller's: the result would overwrite an operand.
    #[error("the result is to be written over {what}: give it a buffer of its own")]
    Overlap {
        /// Which operand.
        what: &'static str,
    },
    /// The caller's: more than this adapter or these kernels can do at once.
    #[error("{what} is {given}, and this adapter or kernel takes {most}: split the work")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large.
        given: u64,
        /// How large it may be.
        most: u64,
    },
    /// The caller's: the buffers together would pass [`crate::Settings::memory_bytes_max`].
    #[error(
        "{needed} bytes more than the {held} held pass the limit of {most}: drop buffers, or raise it"
    )]
    Memory {
        /// Bytes asked for.
        needed: u64,
        /// Bytes that buffers hold.
        held: u64,
        /// The limit.
        most: u64,
    },
    /// The driver's: it did not finish within the time that this crate waits.
    #[error("the GPU was not done after {seconds} s: split the work, or take another adapter")]
    Late {
        /// How long was waited.
        seconds: u64,
    },
    /// The driver's: the device is gone; open another one.
    #[error("the GPU was lost, open it again: {0}")]
    Lost(String),
    /// The driver's, or ours: a kernel does not compile.
    #[error("the GPU's driver does not take the kernel {kernel}: {why}")]
    Kernel {
        /// The kernel's entry point.
        kernel: &'static str,
        /// What the compiler said.
        why: String,
    },
    /// The driver's, or ours: it refused a command.
    #[error("the GPU's driver refused: {0}")]
    Driver(String),
}

impl From<staging::Failed> for GpuError {
    fn from(failed: staging::Failed) -> Self {
        match failed {
            staging::Failed::Late => Self::Late { seconds: staging::WAIT.as_secs() },
            staging::Failed::Map(why) => Self::Driver(why),
        }
    }
}
