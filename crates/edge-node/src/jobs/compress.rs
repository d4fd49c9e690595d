//! Bytes to a Zstandard frame and back.

use std::sync::Arc;

use edge_base::TaskKind;
use edge_swarm::Refusal;
use edge_tasks::{Executor, compression::CompressionPayload, compression_pin, compression_units};

use super::{Jobs, TaskCheck, TaskOptions};

/// What came out of a compression or decompression.
#[derive(Clone, Debug)]
pub struct Compressed {
    /// The bytes.
    pub data: Arc<[u8]>,
    /// The task.
    pub task: TaskCheck,
}

impl Jobs {
    /// Compresses bytes, or gives back what was compressed.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for too many bytes, for what is not in Zstandard format, and when more
    /// comes out than the payload allows; what the peer refuses.
    pub async fn compression(
        &self,
        payload: CompressionPayload,
        options: TaskOptions,
    ) -> Result<Compressed, Refusal> {
        let invalid = |error: edge_tasks::TaskError| Refusal::Invalid(error.to_string());
        payload.check().map_err(invalid)?;
        let units = compression_units(&payload);
        let (kind, pin) = (TaskKind::Compression, compression_pin());
        let bytes = payload.encode();
        match self.task(kind, pin, bytes.clone(), units, options).await {
            Ok((data, task)) => Ok(Compressed { data, task }),
            // The peer does not know whose fault it is: the payload's, if it fails here, too.
            Err(Refusal::Failed(why)) => {
                let work = edge_base::Work::Run { kind, payload: bytes.into() };
                let here = tokio::task::spawn_blocking(move || Executor::new().execute(&work));
                match here.await {
                    Ok(Err(error)) => Err(invalid(error)),
                    Ok(Ok(_)) | Err(_) => Err(Refusal::Failed(why)),
                }
            }
            Err(refusal) => Err(refusal),
        }
    }
}
