//! Models that were added to a data folder: `models/NAME.encoder`, each an 8-bit download of an
//! [`Encoder`]. The file is the same on every machine that is given it, and so is the model's id:
//! nodes that have it execute and check each other's work with it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use edge_base::Digest;
use edge_embed::{Encoder, EncoderFiles, LoadError, Model as _, Registry, StaticModel};

use crate::{files::read_bounded, folder::write_private, named::NamedFiles};

/// Models of a folder; a node advertises two pins for each.
pub const MODELS_MAX: usize = 16;
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;
const FILES: NamedFiles = NamedFiles { folder: "models", extension: "encoder" };

/// Why a model cannot be added or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The environment's, or the caller's when there is no such file.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller's: not a model, or none of a kind that runs here.
    #[error("{path} is no model that runs here: {source}")]
    Load {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        source: LoadError,
    },
    /// The caller's: larger than any file of its kind.
    #[error("{path} has {bytes} bytes, more than {most}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        most: u64,
    },
    /// The caller's: another model than the one the built-in model was distilled from.
    #[error(
        "the vectors of {path} do not point where those of the built-in model do (mean cosine {cosine:.2} of \
         {} sentences): only all-MiniLM-L6-v2 is projected into its space", SENTENCES.len()
    )]
    NotTheTeacher {
        /// The folder.
        path: PathBuf,
        /// How near they are.
        cosine: f32,
    },
    /// The caller's.
    #[error("only a folder is projected, {0} is a file: it has been decided when it was made")]
    ProjectedFile(PathBuf),
    /// The caller's.
    #[error("a model named {0} is there already")]
    NameTaken(String),
    /// The caller's.
    #[error("there is no model {name}; there are: {known}")]
    Unknown {
        /// What was asked for, its first characters.
        name: String,
        /// What there is.
        known: String,
    },
    /// The caller's.
    #[error("there are {MODELS_MAX} models already, the most there can be; remove one")]
    TooMany,
}

/// A model in a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Added {
    /// Its name.
    pub name: String,
    /// The content hash.
    pub id: Digest,
    /// Components of a vector.
    pub dim: usize,
    /// Where it is.
    pub file: PathBuf,
    /// How large that is.
    pub bytes: u64,
}

/// The models compiled in and those of the folder, and what is wrong with files that are none.
pub fn load(data_dir: &Path) -> (Registry, Vec<String>) {
    let (mut registry, mut problems) = (Registry::builtin(), Vec::new());
    for (name, path) in FILES.list(data_dir).into_iter().take(MODELS_MAX) {
        let inserted = open(&path, &name)
            .map_err(|error| error.to_string())
            .and_then(|model| registry.insert(Arc::new(model)).map_err(|error| error.to_string()));
        if let Err(why) = inserted {
            problems.push(format!("the model {name} is left out: {why}"));
        }
    }
    (registry, problems)
}

/// Sentences about different things.
const SENTENCES: [&str; 12] = [
    "open a network connection with a timeout",
    "a recipe for bread with olives and rosemary",
    "the patient was given antibiotics for ten days",
    "sort a list of numbers in place",
    "the train to the coast leaves at half past seven",
    "parliament voted on the new budget last night",
    "tune the strings of a guitar before you play",
    "encrypt a file with a password",
    "the satellite takes pictures of forests and oceans",
    "a novel about two sisters in a small town",
    "water the plants twice a week in summer",
    "the goalkeeper saved a penalty in the last minute",
];
/// The least mean cosine of a teacher's projected vectors with the built-in model's. all-MiniLM-L6-v2 has
/// more than .8, another model about 0.
const TEACHER_COSINE: f32 = 0.6;

/// Adds a sentence-transformers folder, or a file that this made on another machine. Its name is
/// that of the folder or file unless one is given. `projected`: its vectors are brought into the space of the
/// built-in model, which must have been distilled from it.
///
/// # Errors
/// [`ModelError`]; nothing changes then.
pub fn add(
    data_dir: &Path,
    source: &Path,
    name: Option<&str>,
    projected: bool,
) -> Result<Added, ModelError> {
    let name = name.map_or_else(|| name_from(source), str::to_owned);
    let known = FILES.list(data_dir);
    if known.len() >= MODELS_MAX {
        return Err(ModelError::TooMany);
    }
    let taken = known.iter().any(|(other, _)| *other == name);
    if taken || Registry::builtin().by_name(&name).is_some() {
        return Err(ModelError::NameTaken(name));
    }
    let unfit = |error| ModelError::Load { path: source.to_owned(), source: error };
    let bytes = if source.is_dir() {
        let contents = folder_contents(source)?;
        let mut files = EncoderFiles::from_contents(&contents);
        if projected {
            files.projection = Some(StaticModel::teacher_projection());
        }
        Encoder::download(&files).map_err(unfit)?
    } else if projected {
        return Err(ModelError::ProjectedFile(source.to_owned()));
    } else {
        read(source, FILE_BYTES_MAX)?
    };
    // As it will be loaded: what cannot be is not stored.
    let model = Encoder::from_download(&name, &bytes).map_err(unfit)?;
    if projected {
        let cosine = cosine_with_builtin(&model);
        if cosine < TEACHER_COSINE {
            return Err(ModelError::NotTheTeacher { path: source.to_owned(), cosine });
        }
    }
    let file = FILES.path(data_dir, &name);
    let folder = data_dir.join(FILES.folder);
    fs::create_dir_all(&folder).map_err(io_at(&folder))?;
    let draft = file.with_extension("draft");
    write_private(&draft, &bytes).map_err(io_at(&draft))?;
    fs::rename(&draft, &file).map_err(io_at(&file))?;
    let bytes = bytes.len() as u64;
    Ok(Added { name, id: model.id(), dim: model.dim(), file, bytes })
}

/// How near the vectors of a model are to those of the built-in one, in the mean.
fn cosine_with_builtin(model: &Encoder) -> f32 {
    let (mut own, mut builtin) = (Vec::new(), Vec::new());
    let both = model
        .embed_fast(&SENTENCES, &mut own)
        .and_then(|()| StaticModel::builtin().embed(&SENTENCES, &mut builtin));
    if both.is_err() || own.len() != builtin.len() {
        return 0.0;
    }
    // All have unit length.
    let sum = own.iter().zip(&builtin).fold(0.0, |sum, (a, b)| sum + a * b);
    sum / SENTENCES.len() as f32
}

/// Removes a model's file.
///
/// # Errors
/// [`ModelError::Unknown`] and [`ModelError::Io`].
pub fn remove(data_dir: &Path, name: &str) -> Result<(), ModelError> {
    let unknown = |known| ModelError::Unknown { name: name.chars().take(80).collect(), known };
    let path = FILES.find(data_dir, name).map_err(unknown)?;
    fs::remove_file(&path).map_err(io_at(&path))
}

/// The models in a folder, by name; loads each.
///
/// # Errors
/// [`ModelError`] of the first that cannot be loaded.
pub fn list(data_dir: &Path) -> Result<Vec<Added>, ModelError> {
    let describe = |(name, file): (String, PathBuf)| {
        let model = open(&file, &name)?;
        let bytes = fs::metadata(&file).map_err(io_at(&file))?.len();
        Ok(Added { name, id: model.id(), dim: model.dim(), file, bytes })
    };
    FILES.list(data_dir).into_iter().map(describe).collect()
}

fn open(path: &Path, name: &str) -> Result<Encoder, ModelError> {
    let bytes = read(path, FILE_BYTES_MAX)?;
    Encoder::from_download(name, &bytes)
        .map_err(|source| ModelError::Load { path: path.to_owned(), source })
}

/// A name for a model made of where it comes from.
fn name_from(source: &Path) -> String {
    let source = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    FILES.name_of(&source).to_lowercase()
}

fn folder_contents(folder: &Path) -> Result<[Option<Vec<u8>>; 10], ModelError> {
    let mut contents = [const { None }; 10];
    for (place, name) in contents.iter_mut().zip(EncoderFiles::NAMES) {
        let most = EncoderFiles::bytes_max(name) as u64;
        match read(&folder.join(name), most) {
            Ok(bytes) => *place = Some(bytes),
            Err(ModelError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(contents)
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, ModelError> {
    let bytes = fs::metadata(path).map_err(io_at(path))?.len();
    if bytes > most {
        return Err(ModelError::TooLarge { path: path.to_owned(), bytes, most });
    }
    // It may grow meanwhile, and what is no file has no length.
    read_bounded(path, most).map_err(io_at(path))
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../edge-embed/tests/golden/tiny-bert")
    }

    #[test]
    fn a_folder_is_added_once_found_again_and_shared_as_a_file() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let added = add(here.path(), &tiny(), None, false).unwrap();
        assert_eq!(added.name, "tiny-bert");
        assert_eq!(list(here.path()).unwrap(), std::slice::from_ref(&added));
        let (models, problems) = load(here.path());
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(models.by_name("tiny-bert").unwrap().id(), added.id);
        assert!(matches!(add(here.path(), &tiny(), None, false), Err(ModelError::NameTaken(_))));
        assert!(matches!(
            add(here.path(), &tiny(), Some("default"), false),
            Err(ModelError::NameTaken(_))
        ));
        // The file is the model on every machine, under whatever name.
        let again = add(there.path(), &added.file, Some("other"), false).unwrap();
        assert_eq!((again.id, again.dim), (added.id, added.dim));
        remove(here.path(), "tiny-bert").unwrap();
        assert!(list(here.path()).unwrap().is_empty());
        let gone = remove(here.path(), "tiny-bert").unwrap_err().to_string();
        assert_eq!(gone, "there is no model tiny-bert; there are: none");
    }

    #[test]
    fn only_the_teacher_is_projected() {
        let temp = tempfile::tempdir().unwrap();
        let error = add(temp.path(), &tiny(), Some("other"), true).unwrap_err();
        assert!(
            matches!(error, ModelError::NotTheTeacher { cosine, .. } if cosine < 0.1),
            "{error}"
        );
        let file = add(temp.path(), &tiny(), Some("tiny"), false).unwrap().file;
        let error = add(temp.path(), &file, Some("again"), true).unwrap_err();
        assert!(matches!(error, ModelError::ProjectedFile(_)), "{error}");
        assert_eq!(list(temp.path()).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_model_is_refused_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let file = folder.path().join("notes.txt");
        fs::write(&file, "not a model").unwrap();
        for (source, name) in
            [(&file, None), (&folder.path().to_owned(), Some("x")), (&tiny(), Some("Bad Name"))]
        {
            let error = add(&data, source, name, false).unwrap_err();
            assert!(matches!(error, ModelError::Load { .. }), "{error}");
        }
        let missing = add(&data, &folder.path().join("nowhere"), None, false).unwrap_err();
        assert!(matches!(missing, ModelError::Io { .. }));
        assert!(list(&data).unwrap().is_empty());
        // A file that was damaged later is left out and named.
        let added = add(&data, &tiny(), None, false).unwrap();
        fs::write(&added.file, "damaged").unwrap();
        let (models, problems) = load(&data);
        assert!(models.by_name("tiny-bert").is_none());
        assert!(problems[0].starts_with("the model tiny-bert is left out"), "{problems:?}");
    }
}
