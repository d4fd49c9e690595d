//! Files that somebody names.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// A whole file of at most so many bytes: a device may have no end.
///
/// # Errors
/// What the system says; [`io::ErrorKind::FileTooLarge`] when there is more.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = match most >> 20 {
            0 => format!("it has more than {most} bytes"),
            mib => format!("it has more than {mib} MiB"),
        };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 100]).unwrap();
        assert_eq!(read_bounded(&path, 100).unwrap(), [7; 100]);
        assert_eq!(read_bounded(&path, 99).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        #[cfg(unix)]
        assert!(read_bounded(Path::new("/dev/zero"), 1 << 20).is_err());
    }
}
