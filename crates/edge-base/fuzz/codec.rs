//! The frame, the bodies of every type this crate defines, signatures, identities and labels.

use edge_base::{
    CollectionId, Credits, Determinism, Digest, Domain, GenesisLabel, Micros, NetworkTag, NodeId,
    PiIdentity, PoolPurpose, SecretKey, Signed, SignedBody, TaskId, TaskKind, Verifier, WallTime,
    codec::{self, DecodeError},
};
use edge_fuzz::{Reached, Target};
use serde::{Deserialize, Serialize};

const KIND: u8 = 9;
const POOL: Digest = Digest([5; 32]);

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Claim {
    task: TaskId,
    kind: TaskKind,
    class: Determinism,
    amounts: Vec<Credits>,
    payload: Vec<u8>,
    note: Option<String>,
}

impl SignedBody for Claim {
    const DOMAIN: Domain = Domain("fuzz/claim");
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Message {
    Claim(Box<Signed<Claim>>),
    Peers(Vec<(NodeId, Micros, WallTime)>),
    Named { collection: CollectionId, names: Vec<String>, offset: i64 },
    Identity(Vec<u8>),
    Label(Vec<u8>),
}

fn seeds() -> Vec<Vec<u8>> {
    let key = SecretKey::from_seed([7; 32]);
    let identity = PiIdentity::new(key.node_id(), NetworkTag::of_genesis(&POOL))
        .expect("invariant: the key of a seed is usable");
    let claims = TaskKind::ALL.map(|kind| Claim {
        task: TaskId(Digest::of(kind.name().as_bytes())),
        kind,
        class: kind.determinism(),
        amounts: vec![Credits::SMALLEST, Credits::from_micro(u64::MAX)],
        payload: vec![3; 40],
        note: Some("π".into()),
    });
    let claims = claims.map(|claim| Message::Claim(Box::new(Signed::seal(claim, &key, &POOL))));
    let others = [
        Message::Peers(vec![(key.node_id(), Micros::from_secs(60), WallTime(1 << 40)); 3]),
        Message::Named {
            collection: CollectionId(POOL),
            names: vec![String::new(), "notes".into()],
            offset: i64::MIN,
        },
        Message::Identity(identity.encode().to_vec()),
        Message::Label(GenesisLabel::new(&POOL, PoolPurpose::Test).encode().to_vec()),
    ];
    claims.into_iter().chain(others).map(|m| codec::encode_frame(KIND, &m)).collect()
}

fn decode(bytes: &[u8]) -> Reached {
    let message = match codec::decode_frame::<Message>(KIND, bytes) {
        Ok(message) => message,
        Err(DecodeError::Malformed | DecodeError::Trailing(_)) => return Reached::Header,
        Err(_) => return Reached::Nothing,
    };
    let again = codec::encode_frame(KIND, &message);
    assert!(again.len() <= bytes.len(), "the canonical encoding is the shortest");
    assert_eq!(codec::decode_frame(KIND, &again).as_ref(), Ok(&message), "one value, one encoding");
    check(&message)
}

/// What a decoded message promises, whoever wrote it.
fn check(message: &Message) -> Reached {
    match message {
        Message::Claim(claim) => {
            let held = claim.open(&mut Verifier::strict(), &POOL).is_ok();
            assert!(!held || claim.signer.check().is_ok(), "an unusable key signed");
            let sum = Credits::sum(claim.body.amounts.iter().copied());
            let wide: u128 = claim.body.amounts.iter().map(|c| u128::from(c.micro())).sum();
            assert_eq!(sum.is_ok(), wide <= u128::from(u64::MAX), "a sum wrapped");
            Reached::Value
        }
        Message::Identity(bytes) => match PiIdentity::decode(bytes) {
            Ok(identity) => {
                assert_eq!(identity.encode()[..], bytes[..]);
                assert_eq!(identity.to_string().parse(), Ok(identity));
                Reached::Value
            }
            Err(_) => Reached::Header,
        },
        Message::Label(bytes) => match GenesisLabel::decode(bytes) {
            Ok(label) => {
                assert_eq!(label.encode()[..], bytes[..]);
                Reached::Value
            }
            Err(_) => Reached::Header,
        },
        Message::Peers(_) | Message::Named { .. } => Reached::Value,
    }
}

/// Hands the target to `then`.
pub(crate) fn with_target<T>(then: impl FnOnce(&Target<'_>) -> T) -> T {
    let seeds = seeds();
    then(&Target { header_bytes: codec::HEADER_BYTES, ..Target::new("codec", &seeds, &decode) })
}
