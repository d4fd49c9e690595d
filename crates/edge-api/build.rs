//! Lists the files that `cargo xtask web` made, so that the node can serve them. Without them the program is
//! built all the same, and `/join` says what to do.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../js/dist");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    list(&folder, "", &mut files)?;
    files.sort();
    let mut source = String::from("&[\n");
    for (name, path) in files {
        writeln!(source, "    ({name:?}, include_bytes!({path:?})),")?;
    }
    source.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("web.rs"), source)?;
    Ok(())
}

fn list(
    folder: &Path,
    under: &str,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| "a file name is not UTF-8")?;
        let path = entry.path();
        if path.is_dir() {
            list(&path, &format!("{under}{name}/"), files)?;
        } else if [".html", ".css", ".js", ".wasm", ".wgsl"].iter().any(|end| name.ends_with(end)) {
            files.push((format!("{under}{name}"), path.canonicalize()?));
        }
    }
    Ok(())
}
