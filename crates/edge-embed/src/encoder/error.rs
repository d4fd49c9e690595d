//! Why an encoder cannot be loaded.

use edge_kernels::canon::NonFinite;
use thiserror::Error;

use crate::tokenizer::VocabularyError;

/// Why files are not an encoder that this crate runs (the fault of the files, or of whoever chose them).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file that is needed was not given.
    #[error("the folder has no {file}")]
    MissingFile {
        /// Its name in a sentence-transformers folder.
        file: &'static str,
    },
    /// A file is larger than anything this crate reads.
    #[error("{file} has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Its name.
        file: &'static str,
        /// Its size.
        bytes: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A file is not what its name says.
    #[error("{file} is malformed: {why}")]
    Malformed {
        /// Its name.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A setting has a value that this crate does not run: another architecture, another activation,
    /// another kind of tokenizer, another pooling.
    #[error("{file}: {setting} is {value}; supported: {supported}")]
    Unsupported {
        /// The file that says so.
        file: &'static str,
        /// The setting.
        setting: &'static str,
        /// What it is there.
        value: String,
        /// What it may be.
        supported: &'static str,
    },
    /// A number in a configuration is zero, too large, or contradicts another one.
    #[error("{file}: {setting} is {value}, not in {least}..={most}")]
    OutOfRange {
        /// The file that says so.
        file: &'static str,
        /// The setting.
        setting: &'static str,
        /// What it is there.
        value: u64,
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
    },
    /// A tensor that the architecture needs is not in the file.
    #[error("tensor {name} is missing")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {name} has shape {found:?}, the configuration says {expected:?}")]
    WrongShape {
        /// Its name.
        name: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor holds a NaN or an infinity.
    #[error("tensor {name} holds a value that is not finite")]
    NotFinite {
        /// Its name.
        name: String,
    },
    /// The vocabulary cannot be used.
    #[error("vocabulary: {0}")]
    Vocabulary(#[from] VocabularyError),
    /// The vocabulary lacks a token that the encoder needs.
    #[error("vocabulary has no {token}")]
    MissingToken {
        /// The token.
        token: &'static str,
    },
    /// A download was made by a newer version of this program.
    #[error("the model file has version {found}, this program reads {known}; update it")]
    Newer {
        /// The version in the file.
        found: u32,
        /// The version this crate writes.
        known: u32,
    },
    /// A download is damaged: its checksum does not fit its content.
    #[error("the model file is damaged: its checksum is wrong; fetch it again")]
    Checksum,
    /// The name is not one that a model can have.
    #[error("model name {name:?}: 1 to 64 of a-z, 0-9, '.', '_' and '-'")]
    BadName {
        /// The name given.
        name: String,
    },
}

impl LoadError {
    pub(super) fn malformed(file: &'static str, why: impl ToString) -> Self {
        LoadError::Malformed { file, why: why.to_string() }
    }

    pub(super) fn not_finite(name: &str) -> impl FnOnce(NonFinite) -> Self + '_ {
        move |_| LoadError::NotFinite { name: name.to_owned() }
    }
}
