//! Opening a data directory: who may, with which key, in which format.
//!
//! Order matters. The data file is opened, and so locked, before the key file is looked at: two processes starting at
//! once would otherwise each make a key, and one would seal with a key that is gone. The key is durable before the
//! format number is written, so a data file with a format and without a key has lost its key, and is refused.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use platform::Random;
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageError};
use zeroize::Zeroizing;

use crate::file::{Fault, File};
use crate::layout::{DEAD, FINGERPRINT_KEY, FORMAT, FORMAT_KEY, ITEMS, META};
use crate::vault::KEY_BYTES;
use crate::vault::fingerprint;

/// The data file in the data directory.
pub const DATA_FILE: &str = "pollhook.redb";
/// The key file beside it.
pub(crate) const KEY_FILE: &str = "vault.key";

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it cannot be used.
    #[error("cannot {what} {}: {source}; check that the path is right and that this user may read and write it", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process has the data file open.
    #[error("another pollhook is using {}: stop it, or give this one another data directory", .0.display())]
    InUse(PathBuf),
    /// The data was written by a newer version.
    #[error("{} has format {found}, and this version of pollhook knows up to format {known}: run the version that wrote it, or a newer one", path.display())]
    NewerFormat {
        /// The data file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// The data file is not pollhook's.
    #[error("{} is not a data file of pollhook: give another data directory, or move that file away", .0.display())]
    Foreign(PathBuf),
    /// The data file cannot be read.
    #[error("{} is damaged or cannot be read: {reason}; restore it from a backup", path.display())]
    Damaged {
        /// The data file.
        path: PathBuf,
        /// What redb says.
        reason: String,
    },
    /// The key file is missing beside an existing data file.
    #[error(
        "the key file {} is missing, and without it no secret in the data can be opened: restore it from a backup; or, to start anew without that data, move {DATA_FILE} away",
        .0.display()
    )]
    KeyMissing(PathBuf),
    /// The key file holds another key.
    #[error("the key file {} is not the one that this data was sealed with: put back the file from the data's own backup", .0.display())]
    KeyWrong(PathBuf),
    /// Others may read the key file.
    #[error(
        "the key file {} is open to other users (mode {mode:03o}): run `chmod 600` on it, and if another may have read it, replace the secrets it protects",
        path.display()
    )]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file does not hold a key.
    #[error("the key file {} holds {found} bytes instead of {KEY_BYTES}: restore it from a backup", path.display())]
    KeyDamaged {
        /// The key file.
        path: PathBuf,
        /// Its length.
        found: usize,
    },
    /// A queue's name is not usable.
    #[error("{0:?} is not a queue's name: 1 to 64 lower-case letters, digits and hyphens")]
    QueueName(String),
    /// The operating system gave no thread.
    #[error("cannot start the writer thread: {0}")]
    Thread(io::Error),
}

impl OpenError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    fn database(path: &Path, error: DatabaseError) -> Self {
        let path = path.to_owned();
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse(path),
            DatabaseError::Storage(StorageError::Io(source)) if source.kind() == io::ErrorKind::InvalidData => {
                Self::Foreign(path)
            }
            DatabaseError::Storage(StorageError::Io(source)) => Self::Io { what: "open", path, source },
            other => Self::Damaged { path, reason: other.to_string() },
        }
    }

    pub(crate) fn fault(path: &Path, fault: Fault) -> Self {
        Self::Damaged { path: path.to_owned(), reason: fault.text }
    }
}

/// What a data directory holds, opened.
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    pub(crate) key: Zeroizing<[u8; KEY_BYTES]>,
}

/// Opens `dir`, making it when it is absent.
pub(crate) fn open(dir: &Path, cache_bytes: usize, random: &dyn Random) -> Result<Opened, OpenError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(OpenError::io("create the directory", dir))?;
    let path = dir.join(DATA_FILE);
    let opener = {
        let path = path.clone();
        move || open_database(&path, cache_bytes)
    };
    let file = File::open(opener).map_err(|e| OpenError::database(&path, e))?;
    let key_path = dir.join(KEY_FILE);
    let key = match format_of(&file, &path)? {
        Some(FORMAT) => {
            let Some(key) = read_key(&key_path)? else { return Err(OpenError::KeyMissing(key_path)) };
            if fingerprint_of(&file).map_err(|e| OpenError::fault(&path, e))?.is_some_and(|f| f != fingerprint(&key)) {
                return Err(OpenError::KeyWrong(key_path));
            }
            key
        }
        Some(found) if found > FORMAT => return Err(OpenError::NewerFormat { path, found, known: FORMAT }),
        Some(_) => return Err(OpenError::Foreign(path)),
        None => {
            let key = match read_key(&key_path)? {
                Some(key) => key,
                None => make_key(dir, &key_path, random)?,
            };
            write_format(&file, fingerprint(&key)).map_err(|e| OpenError::fault(&path, e))?;
            sync_names(dir).map_err(OpenError::io("make durable the names in", dir))?;
            key
        }
    };
    Ok(Opened { file, path, key })
}

fn open_database(path: &Path, cache_bytes: usize) -> Result<Database, DatabaseError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    Builder::new().set_cache_size(cache_bytes).create_with_backend(FileBackend::new(file)?)
}

/// The data file's format; `None` for a new one.
fn format_of(file: &File, path: &Path) -> Result<Option<u64>, OpenError> {
    let read = || -> Result<(Option<u64>, bool), Fault> {
        let snapshot = file.begin_read()?;
        let empty = snapshot.list_tables()?.next().is_none() && snapshot.list_multimap_tables()?.next().is_none();
        let format = match snapshot.open_table(META) {
            Ok(meta) => meta.get(FORMAT_KEY)?.map(|v| v.value()),
            // No such table, or one of other types: not ours.
            Err(redb::TableError::Storage(error)) => return Err(error.into()),
            Err(_) => None,
        };
        Ok((format, empty))
    };
    match read().map_err(|e| OpenError::fault(path, e))? {
        (Some(format), _) => Ok(Some(format)),
        (None, true) => Ok(None),
        (None, false) => Err(OpenError::Foreign(path.to_owned())),
    }
}

fn fingerprint_of(file: &File) -> Result<Option<u64>, Fault> {
    Ok(file.begin_read()?.open_table(META)?.get(FINGERPRINT_KEY)?.map(|fingerprint| fingerprint.value()))
}

fn write_format(file: &File, fingerprint: u64) -> Result<(), Fault> {
    let transaction = file.begin_write()?;
    transaction.open_table(META)?.insert(FINGERPRINT_KEY, fingerprint)?;
    transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    transaction.open_table(ITEMS)?;
    transaction.open_table(DEAD)?;
    Ok(transaction.commit()?)
}

/// Makes durable that the files, and the directory itself, exist at all.
fn sync_names(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()?;
    if let Some(parent) = dir.canonicalize()?.parent()
        && let Ok(parent) = fs::File::open(parent)
    {
        // A parent that this user may pass but not read cannot be synced, and was not made by this user either.
        parent.sync_all()?;
    }
    Ok(())
}

/// The key; `None` when there is no key file.
fn read_key(path: &Path) -> Result<Option<Zeroizing<[u8; KEY_BYTES]>>, OpenError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(OpenError::io("read the key file", path)(e)),
    };
    let mode = file.metadata().map_err(OpenError::io("read the mode of", path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OpenError::KeyExposed { path: path.to_owned(), mode });
    }
    // One byte more than a key, so that a longer file is noticed; reserved at once, so that no copy is left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * KEY_BYTES));
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(OpenError::io("read the key file", path))?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if bytes.len() != KEY_BYTES {
        return Err(OpenError::KeyDamaged { path: path.to_owned(), found: bytes.len() });
    }
    key.copy_from_slice(&bytes);
    Ok(Some(key))
}

/// Makes a key and its file; whole or not at all, so a crash leaves no half key.
fn make_key(dir: &Path, path: &Path, random: &dyn Random) -> Result<Zeroizing<[u8; KEY_BYTES]>, OpenError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    random.fill(&mut *key);
    let unfinished = path.with_extension("key.new");
    let write = || -> io::Result<()> {
        match fs::remove_file(&unfinished) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(&*key)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        fs::File::open(dir)?.sync_all()
    };
    write().map_err(OpenError::io("make the key file", path))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use platform::OsRandom;

    use super::*;

    #[test]
    fn a_newer_format_is_refused_naming_both() {
        let dir = tempfile::tempdir().unwrap();
        let opened = open(dir.path(), 1 << 20, &OsRandom).unwrap();
        let transaction = opened.file.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 41).unwrap();
        transaction.commit().unwrap();
        drop(opened);
        let error = open(dir.path(), 1 << 20, &OsRandom).err().unwrap();
        assert!(matches!(error, OpenError::NewerFormat { found: 42, known: 1, .. }), "{error}");
        assert!(error.to_string().contains("format 42") && error.to_string().contains("format 1"), "{error}");
    }

    #[test]
    fn another_key_than_the_data_s_own_is_refused_at_once_not_at_the_first_secret() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), 1 << 20, &OsRandom).unwrap());
        drop(open(dir.path(), 1 << 20, &OsRandom).unwrap());
        fs::write(dir.path().join(KEY_FILE), [7; KEY_BYTES]).unwrap();
        assert!(matches!(open(dir.path(), 1 << 20, &OsRandom), Err(OpenError::KeyWrong(_))));
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DATA_FILE), "no database at all, but long enough to have a header").unwrap();
        assert!(matches!(open(dir.path(), 1 << 20, &OsRandom), Err(OpenError::Foreign(_))));
        let dir = tempfile::tempdir().unwrap();
        let other = Database::create(dir.path().join(DATA_FILE)).unwrap();
        let transaction = other.begin_write().unwrap();
        transaction.open_table(ITEMS).unwrap();
        transaction.commit().unwrap();
        drop(other);
        assert!(matches!(open(dir.path(), 1 << 20, &OsRandom), Err(OpenError::Foreign(_))));
    }
}
