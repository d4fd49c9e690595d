//! The record a pool is born from.

use edge_base::{Credits, Digest, GenesisLabel, NodeId, PoolPurpose};
use serde::{Deserialize, Serialize};

use crate::{bounded, witness::WitnessSet};

/// The version of [`Genesis`] this crate understands.
pub const GENESIS_VERSION: u8 = 1;
/// Bytes of a pool's name.
pub const POOL_NAME_BYTES_MAX: usize = 64;
/// The version of the witness set that consists of the founder alone.
pub const GENESIS_SET_VERSION: u64 = 1;

/// Whether a pool's credits are meant to be kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Network {
    /// For tests, demonstrations and simulations.
    Test,
    /// For work.
    Main,
}

/// The first record of a pool: who founds it and the balance that exists from then on. Its hash
/// names the pool and is part of every signature. It also names the first witness set: the founder
/// alone, version [`GENESIS_SET_VERSION`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Genesis {
    /// [`GENESIS_VERSION`].
    pub version: u8,
    /// Test or main.
    pub network: Network,
    /// The account that holds the grant, and the only witness until a handover.
    pub founder: NodeId,
    /// Every credit there will ever be (until minting exists).
    pub grant: Credits,
    /// A name for people, at most [`POOL_NAME_BYTES_MAX`] bytes.
    #[serde(deserialize_with = "bounded::string::<_, POOL_NAME_BYTES_MAX>")]
    pub name: String,
    /// Random bytes: two pools of one founder differ.
    pub nonce: [u8; 32],
}

/// A record that founds no pool: the fault of whoever made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenesisError {
    /// Made by another version of the software.
    #[error("genesis version {0} is not {GENESIS_VERSION}")]
    Version(u8),
    /// The founder is no usable public key.
    #[error("the founder is not a usable public key")]
    Founder,
    /// The name is too long.
    #[error("a pool name has at most {POOL_NAME_BYTES_MAX} bytes, not {0}")]
    Name(usize),
}

impl Genesis {
    /// A record of the current version.
    pub fn new(
        network: Network,
        founder: NodeId,
        grant: Credits,
        name: impl Into<String>,
        nonce: [u8; 32],
    ) -> Result<Self, GenesisError> {
        let name = name.into();
        let genesis = Genesis { version: GENESIS_VERSION, network, founder, grant, name, nonce };
        genesis.validate()?;
        Ok(genesis)
    }

    /// Checks version, founder and name of a record that came from elsewhere.
    pub fn validate(&self) -> Result<(), GenesisError> {
        if self.version != GENESIS_VERSION {
            return Err(GenesisError::Version(self.version));
        }
        if self.name.len() > POOL_NAME_BYTES_MAX {
            return Err(GenesisError::Name(self.name.len()));
        }
        self.founder.check().map_err(|_| GenesisError::Founder)
    }

    /// The pool's identity.
    pub fn hash(&self) -> Digest {
        Digest::of_value("edge-net-1/genesis", self)
    }

    /// The short label of the pool, for people and file names.
    pub fn label(&self) -> GenesisLabel {
        let purpose = match self.network {
            Network::Test => PoolPurpose::Test,
            Network::Main => PoolPurpose::Main,
        };
        GenesisLabel::new(&self.hash(), purpose)
    }

    /// The witness set the pool starts with.
    pub fn witness_set(&self) -> WitnessSet {
        WitnessSet { version: GENESIS_SET_VERSION, members: vec![self.founder] }
    }
}
