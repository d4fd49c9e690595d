//! Files of one kind in a data folder, each named after the thing it holds: `FOLDER/NAME.EXTENSION`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A kind of file: in which part of a data folder, and how the names end.
pub(crate) struct NamedFiles {
    pub(crate) folder: &'static str,
    pub(crate) extension: &'static str,
}

impl NamedFiles {
    /// Names and files, by name. None where there is no folder.
    pub(crate) fn list(&self, data_dir: &Path) -> Vec<(String, PathBuf)> {
        let Ok(entries) = fs::read_dir(data_dir.join(self.folder)) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        let fits =
            |path: &PathBuf| path.extension().is_some_and(|extension| extension == self.extension);
        let mut found: Vec<(String, PathBuf)> =
            paths.filter(fits).map(|path| (self.name_of(&path), path)).collect();
        found.sort();
        found
    }

    /// Where a thing of this name goes. The name is checked: it is no path.
    pub(crate) fn path(&self, data_dir: &Path, name: &str) -> PathBuf {
        data_dir.join(self.folder).join(format!("{name}.{}", self.extension))
    }

    /// The file of a name, looked for among those there are, never by a path made of the name; or what
    /// there is, as people read it.
    pub(crate) fn find(&self, data_dir: &Path, name: &str) -> Result<PathBuf, String> {
        let known = self.list(data_dir);
        if let Some((_, path)) = known.iter().find(|(other, _)| other == name) {
            return Ok(path.clone());
        }
        let known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        Err(if known.is_empty() { "none".to_owned() } else { known.join(", ") })
    }

    /// The last part of a path, without the extension.
    pub(crate) fn name_of(&self, path: &Path) -> String {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        let stem = name.strip_suffix(self.extension).and_then(|stem| stem.strip_suffix('.'));
        stem.unwrap_or(&name).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_kind_are_found_and_no_name_leaves_the_folder() {
        const KEYS: NamedFiles = NamedFiles { folder: "keys", extension: "key" };
        let temp = tempfile::tempdir().unwrap();
        assert!(KEYS.list(temp.path()).is_empty());
        assert_eq!(KEYS.find(temp.path(), "a").unwrap_err(), "none");
        fs::create_dir(temp.path().join("keys")).unwrap();
        for name in ["keys/b.key", "keys/a.key", "keys/a.new", "outside.key"] {
            fs::write(temp.path().join(name), b"").unwrap();
        }
        let names: Vec<String> = KEYS.list(temp.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(KEYS.find(temp.path(), "a").unwrap(), KEYS.path(temp.path(), "a"));
        assert_eq!(KEYS.find(temp.path(), "../outside").unwrap_err(), "a, b");
        for (path, name) in
            [("x/mine.key", "mine"), ("key", "key"), (".key", ""), ("a.keys", "a.keys")]
        {
            assert_eq!(KEYS.name_of(Path::new(path)), name);
        }
    }
}
