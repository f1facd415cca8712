//! The open redb file, and reopening it after an I/O error.
//!
//! After a failed read, write or sync, redb answers everything with "previous I/O error" until the file is closed and
//! opened again (it then goes back to the last whole commit). The writer thread does that; a reader that meets the error
//! asks it to. Meanwhile readers get "not available" at most until the next attempt succeeds.

use std::sync::{PoisonError, RwLock};

use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageError, WriteTransaction};

/// Why redb did not do as told.
#[derive(Debug)]
pub(crate) struct Fault {
    /// What redb says; holds no data.
    pub(crate) text: String,
    /// The file must be reopened before anything else works.
    pub(crate) reopen: bool,
}

impl Fault {
    /// A value that this version did not write.
    pub(crate) fn damaged(what: &str) -> Self {
        Self { text: format!("the data file holds a damaged {what}"), reopen: false }
    }
}

macro_rules! fault_from {
    ($($error:ty),+) => { $(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                let error = redb::Error::from(error);
                let reopen = matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::Backend(_));
                Self { text: error.to_string(), reopen }
            }
        }
    )+ };
}

fault_from!(StorageError, redb::TableError, redb::TransactionError, redb::CommitError);

type Opener = dyn Fn() -> Result<Database, DatabaseError> + Send + Sync;

/// The file.
pub(crate) struct File {
    /// `None` only between a failed attempt to reopen and the next one.
    database: RwLock<Option<Database>>,
    opener: Box<Opener>,
}

impl File {
    /// Opens the file with `opener`, which is used again after an I/O error.
    pub(crate) fn open(
        opener: impl Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, DatabaseError> {
        let database = opener()?;
        Ok(Self { database: RwLock::new(Some(database)), opener: Box::new(opener) })
    }

    fn with<T, E: Into<Fault>>(&self, begin: impl FnOnce(&Database) -> Result<T, E>) -> Result<T, Fault> {
        match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => begin(database).map_err(Into::into),
            None => Err(Fault { text: "the data file could not be reopened yet".into(), reopen: true }),
        }
    }

    /// A snapshot of what is committed.
    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, Fault> {
        self.with(Database::begin_read)
    }

    /// For the writer thread alone. A commit is durable before it returns: redb's default, one `fdatasync`. (Its
    /// two-phase commit costs a second one and guards against someone who chooses the data *and* the moment of the
    /// crash *and* the order in which pages reach the disk.)
    pub(crate) fn begin_write(&self) -> Result<WriteTransaction, Fault> {
        self.with(Database::begin_write)
    }

    /// Closes and opens the file again.
    pub(crate) fn reopen(&self) -> Result<(), DatabaseError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // Closed first: the file's lock would refuse the second opening.
        drop(database.take());
        *database = Some((self.opener)()?);
        Ok(())
    }
}
