//! Transfers in pieces through buffers that are used again.

use std::sync::mpsc;
use std::time::Duration;

/// Bytes of one piece.
const PIECE: u64 = 3_840 * 1_024;

/// Bytes that transfers take beside the operands, 15.7 MB: two pieces in each direction, so that one is filled or read
/// while the other is copied.
pub const STAGING_BYTES: u64 = 4 * PIECE;

/// How long a call waits for the GPU.
pub(crate) const WAIT: Duration = Duration::from_secs(120);

/// Why a transfer ended.
#[derive(Debug)]
pub(crate) enum Failed {
    Late,
    Map(String),
}

/// A piece of staging memory, and the copy that used it last.
struct Piece {
    buffer: wgpu::Buffer,
    copied: Option<wgpu::SubmissionIndex>,
}

/// Two pieces for each direction.
pub(crate) struct Staging {
    up: [Piece; 2],
    down: [Piece; 2],
}

impl Staging {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        let piece = |usage| Piece {
            buffer: device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("staging"),
                size: PIECE,
                usage,
                mapped_at_creation: false,
            }),
            copied: None,
        };
        let up = || piece(wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::COPY_SRC);
        let down = || piece(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        Self { up: [up(), up()], down: [down(), down()] }
    }

    /// Copies `values` into `to`, which is as long.
    pub(crate) fn upload(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        values: &[f32],
        to: &wgpu::Buffer,
    ) -> Result<(), Failed> {
        let mut at = 0;
        for (number, part) in
            bytemuck::cast_slice::<f32, u8>(values).chunks(PIECE as usize).enumerate()
        {
            let piece = &mut self.up[number % 2];
            let slice = piece.buffer.slice(..part.len() as u64);
            // The copy before the last one has to be over; the last one goes on meanwhile.
            map(device, &slice, wgpu::MapMode::Write, piece.copied.take())?;
            slice
                .get_mapped_range_mut()
                .map_err(|error| Failed::Map(error.to_string()))?
                .copy_from_slice(part);
            piece.buffer.unmap();
            let mut encoder =
                device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(&piece.buffer, 0, to, at, part.len() as u64);
            piece.copied = Some(queue.submit([encoder.finish()]));
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Copies `from` into `values`, which is as long.
    pub(crate) fn download(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        from: &wgpu::Buffer,
        values: &mut [f32],
    ) -> Result<(), Failed> {
        let bytes = bytemuck::cast_slice_mut::<f32, u8>(values);
        let total = bytes.len() as u64;
        let lengths = |at: u64| PIECE.min(total - at);
        let mut asked = 0;
        let mut got = 0;
        while got < total {
            while asked < total && asked < got + 2 * PIECE {
                let piece = &mut self.down[(asked / PIECE % 2) as usize];
                let mut encoder =
                    device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                encoder.copy_buffer_to_buffer(from, asked, &piece.buffer, 0, lengths(asked));
                piece.copied = Some(queue.submit([encoder.finish()]));
                asked += lengths(asked);
            }
            let piece = &mut self.down[(got / PIECE % 2) as usize];
            let length = lengths(got);
            let slice = piece.buffer.slice(..length);
            map(device, &slice, wgpu::MapMode::Read, piece.copied.take())?;
            let view = slice.get_mapped_range().map_err(|error| Failed::Map(error.to_string()))?;
            bytes[got as usize..(got + length) as usize].copy_from_slice(&view);
            drop(view);
            piece.buffer.unmap();
            got += length;
        }
        Ok(())
    }
}

/// Waits until the processor may use a piece.
fn map(
    device: &wgpu::Device,
    slice: &wgpu::BufferSlice<'_>,
    mode: wgpu::MapMode,
    copied: Option<wgpu::SubmissionIndex>,
) -> Result<(), Failed> {
    let (said, hear) = mpsc::channel();
    slice.map_async(mode, move |result| {
        // Who does not listen any more has failed already.
        let _ = said.send(result);
    });
    wait(device, copied)?;
    match hear.try_recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failed::Map(error.to_string())),
        Err(_) => Err(Failed::Late),
    }
}

/// Waits for a submission, or for all of them.
pub(crate) fn wait(
    device: &wgpu::Device,
    submission_index: Option<wgpu::SubmissionIndex>,
) -> Result<(), Failed> {
    match device.poll(wgpu::PollType::Wait { submission_index, timeout: Some(WAIT) }) {
        Ok(_) => Ok(()),
        Err(wgpu::PollError::Timeout) => Err(Failed::Late),
        Err(error) => Err(Failed::Map(error.to_string())),
    }
}
