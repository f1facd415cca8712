//! The first account's credentials: made on the first start, printed once, kept in a file that only its owner can read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use platform::Platform;
use records::accounts;
use secrecy::{ExposeSecret as _, SecretString};

use crate::serve::ServeError;

/// The file's name, in the data folder.
pub(crate) const FILE: &str = "credentials";

/// The value of the `Authorization` header, and whether it was made just now.
pub(crate) async fn ensure<P: Platform>(platform: &P, data: &Path) -> Result<(SecretString, bool), ServeError> {
    let path = data.join(FILE);
    let failed = |error| ServeError::Credentials { path: path.clone(), error };
    match fs::read_to_string(&path) {
        Ok(header) => return Ok((header.trim().to_owned().into(), false)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    // A crash between the two acts leaves keys that nobody knows; the next start makes others for the same account.
    let (_, credentials) = accounts::operator(platform).await?;
    let header = credentials.header();
    write(&path, header.expose_secret()).map_err(failed)?;
    Ok((header, true))
}

/// Writes the file whole or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let partial = PathBuf::from(format!("{}.new", path.display()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}
