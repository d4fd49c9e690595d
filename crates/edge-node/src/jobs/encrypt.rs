//! Bytes to authenticated ciphertext and back, on the nodes that are named for the key.

use std::sync::Arc;

use edge_base::{Digest, TaskKind};
use edge_swarm::Refusal;
use edge_tasks::encryption::{EncryptionPayload, Operation, REQUEST_BYTES};
use edge_tasks::{Executor, encryption_pin, encryption_units};

use super::{Jobs, TaskCheck, TaskOptions};
use crate::{folder::entropy, keys::Keys};

/// What came out of an encryption or decryption.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// The key's id.
    pub key: Digest,
    /// The bytes.
    pub data: Arc<[u8]>,
    /// The task.
    pub task: TaskCheck,
}

/// What is wrong with a payload, if it is the payload; of data of another key that is here, which.
fn explain(keys: &Keys, payload: EncryptionPayload) -> Option<String> {
    let executor = Executor::new().with_keys(keys.ring().clone());
    let run = |payload: &EncryptionPayload| {
        let kind = TaskKind::Encryption;
        executor.execute(&edge_base::Work::Run { kind, payload: payload.encode().into() })
    };
    let error = run(&payload).err()?;
    let mut other = payload.clone();
    let others = keys.list().filter(|key| key.id != payload.key);
    let fits = |name: String| format!("it was encrypted with the key {name}");
    let of_other = others
        .filter(|_| payload.operation == Operation::Decrypt)
        .find(|key| {
            other.key = key.id;
            run(&other).is_ok()
        })
        .map(|key| fits(key.name));
    Some(of_other.unwrap_or_else(|| error.to_string()))
}

impl Jobs {
    /// Encrypts bytes with a key of this node, or gives back what was encrypted. The key is named by its name or its
    /// id. Nobody but the nodes that are named for the key has a part in it.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] names the keys there are; [`Refusal::Invalid`] for too many bytes and for what was not
    /// encrypted with the key; what the peer refuses.
    pub async fn encryption(
        &self,
        key: &str,
        operation: Operation,
        data: Vec<u8>,
        options: TaskOptions,
    ) -> Result<Encrypted, Refusal> {
        let keys = self.node.keys();
        let key = keys.find(key).ok_or_else(|| self.no_key(key))?;
        let mut request = [0; REQUEST_BYTES];
        let drawn = entropy().map_err(|error| Refusal::Failed(error.to_string()))?;
        request.copy_from_slice(&drawn[..REQUEST_BYTES]);
        let payload = EncryptionPayload { key, operation, request, data };
        let invalid = |error: edge_tasks::TaskError| Refusal::Invalid(error.to_string());
        payload.check().map_err(invalid)?;
        let (kind, pin) = (TaskKind::Encryption, encryption_pin(&key));
        let among = Some(keys.nodes_of(&key).to_vec());
        let (bytes, units) = (payload.encode(), encryption_units(&payload));
        match self.task_among(kind, pin, bytes, units, options, among).await {
            Ok((result, task)) => match payload.data_of(&result) {
                Some(data) => Ok(Encrypted { key, data: data.into(), task }),
                None => Err(Refusal::Failed("the checked result has another form".into())),
            },
            // The peer does not know whose fault it is: the payload's, if it fails here, too.
            Err(Refusal::Failed(why)) => {
                match tokio::task::spawn_blocking(move || explain(&keys, payload)).await {
                    Ok(Some(reason)) => Err(Refusal::Invalid(reason)),
                    Ok(None) | Err(_) => Err(Refusal::Failed(why)),
                }
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn no_key(&self, name: &str) -> Refusal {
        let name: String = name.chars().take(80).collect();
        let known: Vec<String> = self.node.keys().list().map(|key| key.name).collect();
        Refusal::NotFound(match known.as_slice() {
            [] => format!(
                "this node has no key {name:?}, and no other one: a key that was made while it ran is there after \
                 `edge-net stop` and `edge-net start`"
            ),
            known => {
                format!("there is no key {name:?} at this node; there are: {}", known.join(", "))
            }
        })
    }
}
