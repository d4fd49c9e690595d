//! Which models this process can run, by content hash and by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use edge_base::Digest;
use thiserror::Error;

use crate::model::Model;
use crate::static_model::StaticModel;

/// Why a model or a name cannot be registered (the caller's fault).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The name already stands for another model.
    #[error("the name {name:?} already stands for another model")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// An alias names a model that is not registered.
    #[error("no model {id} is registered")]
    UnknownModel {
        /// The content hash asked for.
        id: Digest,
    },
}

/// Models by content hash. A task pins the hash; names are for people and for clients that speak a
/// protocol with model names.
#[derive(Clone, Default)]
pub struct Registry {
    models: BTreeMap<Digest, Arc<dyn Model>>,
    names: BTreeMap<String, Digest>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.names()).finish()
    }
}

impl Registry {
    /// The model compiled in, as `static-256`, `sentence-transformer` and `default`.
    pub fn builtin() -> Self {
        let mut registry = Registry::default();
        let id = StaticModel::builtin().id();
        registry
            .insert(Arc::new(StaticModel::builtin()))
            .and_then(|()| registry.alias("sentence-transformer", id))
            .and_then(|()| registry.alias("default", id))
            .expect("invariant: an empty registry has all names free");
        registry
    }

    /// Adds a model under its own name. Adding it again changes nothing.
    ///
    /// # Errors
    /// [`RegistryError::NameTaken`]; the registry is unchanged then.
    pub fn insert(&mut self, model: Arc<dyn Model>) -> Result<(), RegistryError> {
        let id = model.id();
        self.name(model.name(), id)?;
        self.models.entry(id).or_insert(model);
        Ok(())
    }

    /// Gives a registered model another name.
    ///
    /// # Errors
    /// [`RegistryError`] if the name is taken or the model unknown; nothing changes then.
    pub fn alias(&mut self, name: &str, id: Digest) -> Result<(), RegistryError> {
        if !self.models.contains_key(&id) {
            return Err(RegistryError::UnknownModel { id });
        }
        self.name(name, id)
    }

    fn name(&mut self, name: &str, id: Digest) -> Result<(), RegistryError> {
        match self.names.get(name) {
            Some(known) if *known != id => Err(RegistryError::NameTaken { name: name.to_owned() }),
            Some(_) => Ok(()),
            None => {
                self.names.insert(name.to_owned(), id);
                Ok(())
            }
        }
    }

    /// The model with this content hash.
    pub fn get(&self, id: &Digest) -> Option<&Arc<dyn Model>> {
        self.models.get(id)
    }

    /// The model with this name or alias; names are case-sensitive.
    pub fn by_name(&self, name: &str) -> Option<&Arc<dyn Model>> {
        self.names.get(name).and_then(|id| self.models.get(id))
    }

    /// All models, by content hash ascending.
    pub fn list(&self) -> impl Iterator<Item = &Arc<dyn Model>> {
        self.models.values()
    }

    /// All names and aliases, ascending, with what they stand for.
    pub fn names(&self) -> impl Iterator<Item = (&str, Digest)> {
        self.names.iter().map(|(name, id)| (name.as_str(), *id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EmbedError;

    /// A model whose only property is who it is.
    struct Named(&'static str);

    impl Model for Named {
        fn id(&self) -> Digest {
            Digest::of(self.0.as_bytes())
        }
        fn tokenizer_id(&self) -> Digest {
            Digest::of(b"bytes")
        }
        fn name(&self) -> &str {
            self.0
        }
        fn dim(&self) -> usize {
            1
        }
        fn max_tokens(&self) -> usize {
            1
        }
        fn count_tokens(&self, text: &str) -> usize {
            text.len()
        }
        fn embed(&self, texts: &[&str], out: &mut Vec<f32>) -> Result<(), EmbedError> {
            out.clear();
            out.resize(texts.len(), 1.0);
            Ok(())
        }
    }

    #[test]
    fn finds_the_builtin_model_by_hash_name_and_alias() {
        let registry = Registry::builtin();
        let id = StaticModel::builtin().id();
        assert_eq!(registry.get(&id).unwrap().name(), "static-256");
        for name in ["static-256", "sentence-transformer", "default"] {
            assert_eq!(registry.by_name(name).unwrap().id(), id, "{name}");
        }
        assert!(registry.by_name("text-embedding-3-small").is_none());
        assert!(registry.get(&Digest::of(b"")).is_none());
        assert_eq!(registry.list().count(), 1);
        assert_eq!(registry.names().count(), 3);
    }

    #[test]
    fn a_name_stands_for_one_model() {
        let mut registry = Registry::builtin();
        registry.insert(Arc::new(Named("other"))).unwrap();
        registry.insert(Arc::new(Named("other"))).unwrap();
        assert_eq!(registry.list().count(), 2);
        let taken = RegistryError::NameTaken { name: "default".into() };
        assert_eq!(registry.insert(Arc::new(Named("default"))), Err(taken.clone()));
        assert_eq!(registry.alias("default", Digest::of(b"other")), Err(taken));
        let id = Digest::of(b"nobody");
        assert_eq!(registry.alias("x", id), Err(RegistryError::UnknownModel { id }));
        assert_eq!(registry.list().count(), 2);
        assert!(registry.by_name("x").is_none());
    }
}
