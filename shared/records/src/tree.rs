//! The index of what is at which path, for resources that have one (see [`polling::tree`]).
//!
//! | partition | sort | what |
//! |---|---|---|
//! | `TREE#instance` | `P#resource#folder#name` | what is at a path: what is in a folder is one range |
//! | `TREE#instance` | `I#resource#id` | where an object is |
//! | `TREE#instance` | `H#resource#claim#entry#path` | what is held, the earliest first |
//!
//! Resources, paths and ids stand there as hashes, since they may be longer than a key. It is a partition of its own, so that the
//! one query of a poll does not read it. On AWS a partition takes some thousand writes a second, so a tree of a million objects
//! takes half an hour or more to be listed for the first time, over as many polls.
//!
//! *Promise:* it is written only while the claim stands, rank by rank. *Failure:* a rank of which some is written is written
//! again by whoever comes next, or is older than what that one writes.
//!
//! *When an instance is deleted* its index may be large, so a poll that finds neither plan nor state [clears](clear) it, as far
//! as there is time, and is sent on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use events::{InstanceId, Timestamp};
use platform::{Consistency, Item, Key, Platform, Query, Table as _, Write};
use polling::tree::{Edit, Hold, Node, Object, parent};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::polls::{self, Claim};
use crate::{RecordError, schema};

/// Bytes of a hash, of SHA-256: a million paths have two alike once in 10²⁴.
const HASH: usize = 15;

/// Writes between two looks at the claim: they take a second or two.
const WRITES: usize = 500;

/// Items that are removed at once of a deleted instance.
const REMOVED: usize = 500;

/// The index of a resource.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    /// The instance.
    pub instance: InstanceId,
    /// The resource's name.
    pub resource: &'a str,
}

fn partition(instance: InstanceId) -> String {
    format!("TREE#{instance}")
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(text)[..HASH])
}

fn read<T: DeserializeOwned>(item: Option<Item>) -> Result<Option<T>, RecordError> {
    item.map(|item| schema::decode(&item)).transpose()
}

impl Index<'_> {
    fn key(&self, kind: char, rest: &str) -> Key {
        let resource = hash(self.resource);
        Key::new(partition(self.instance), format!("{kind}#{resource}#{rest}"))
    }

    fn node(&self, path: &str) -> Key {
        let (folder, name) = parent(path);
        self.key('P', &format!("{}#{}", hash(folder), hash(name)))
    }

    fn object(&self, id: &str) -> Key {
        self.key('I', &hash(id))
    }

    fn hold(&self, hold: &Hold, claim: u64) -> Key {
        let stamp = hold.stamp.claimed(claim);
        let (kind, name) = hold.held.name(&hold.path);
        self.key('H', &format!("{:016x}#{:08x}#{kind}{}", stamp.0, stamp.1, hash(name)))
    }

    /// What is at paths, in their order.
    ///
    /// # Errors
    /// The table's.
    pub async fn nodes<P: Platform>(&self, platform: &P, paths: &[String]) -> Result<Vec<Option<Node>>, RecordError> {
        let keys: Vec<Key> = paths.iter().map(|path| self.node(path)).collect();
        many(platform, &keys).await
    }

    /// Where objects are, in the order of their ids.
    ///
    /// # Errors
    /// The table's.
    pub async fn objects<P: Platform>(&self, platform: &P, ids: &[String]) -> Result<Vec<Option<Object>>, RecordError> {
        let keys: Vec<Key> = ids.iter().map(|id| self.object(id)).collect();
        many(platform, &keys).await
    }

    /// The next of what is in a folder after `after` (blank: the first), and from where on there is more.
    ///
    /// # Errors
    /// The table's.
    pub async fn within<P: Platform>(
        &self,
        platform: &P,
        folder: &str,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<Node>, Option<String>), RecordError> {
        let range = self.key('P', &hash(folder));
        let query = Query {
            from: format!("{}#", range.sort),
            // The character after `#`.
            before: format!("{}$", range.sort),
            after: Some(after.to_owned()).filter(|after| !after.is_empty()),
            ..Query::partition(range.partition, limit)
        };
        page(platform, query).await
    }

    /// What is held, the earliest first, after the page before.
    ///
    /// # Errors
    /// The table's.
    pub async fn holds<P: Platform>(
        &self,
        platform: &P,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Hold>, Option<String>), RecordError> {
        let range = self.key('H', "");
        let before = format!("{}$", range.sort.trim_end_matches('#'));
        let query = Query { from: range.sort, before, after, ..Query::partition(range.partition, limit) };
        page(platform, query).await
    }

    /// Writes ranks, one after the other. `false`: the claim ran out, and some may be written.
    ///
    /// # Errors
    /// The table's: some may be written.
    pub async fn write<P: Platform>(
        &self,
        platform: &P,
        claim: &Claim,
        ranks: Vec<Vec<Edit>>,
    ) -> Result<bool, RecordError> {
        for rank in ranks {
            for some in rank.chunks(WRITES) {
                if !claim.stands(platform.now()) {
                    return Ok(false);
                }
                let writes = some.iter().map(|edit| self.edit(platform, edit, claim.number())).collect();
                platform.table().write_many(writes).await?;
            }
        }
        Ok(true)
    }

    fn edit<P: Platform>(&self, platform: &P, edit: &Edit, claim: u64) -> Write {
        let put = |key: Key, body: Vec<u8>| Write::put(key, platform.version(), body);
        match edit {
            Edit::Hold(hold) => {
                let stamped = Hold { stamp: hold.stamp.claimed(claim), ..hold.clone() };
                put(self.hold(hold, claim), schema::encode(&stamped))
            }
            Edit::Node(node) => {
                let stamped = Node { stamp: node.stamp.claimed(claim), ..node.clone() };
                put(self.node(&node.path), schema::encode(&stamped))
            }
            Edit::Object(object) => {
                let stamped = Object { stamp: object.stamp.claimed(claim), ..object.clone() };
                put(self.object(&object.id), schema::encode(&stamped))
            }
            Edit::NoHold(hold) => Write::delete(self.hold(hold, claim)),
            Edit::NoNode(path) => Write::delete(self.node(path)),
            Edit::NoObject(id) => Write::delete(self.object(id)),
        }
    }
}

/// The records at keys, read strongly: what the step before wrote counts.
async fn many<P: Platform, T: DeserializeOwned>(platform: &P, keys: &[Key]) -> Result<Vec<Option<T>>, RecordError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let items = platform.table().get_many(keys, Consistency::Strong).await?;
    items.into_iter().map(read).collect()
}

/// A page of records, and from where on there is more.
async fn page<P: Platform, T: DeserializeOwned>(
    platform: &P,
    query: Query,
) -> Result<(Vec<T>, Option<String>), RecordError> {
    let page = platform.table().query(&query).await?;
    let records = page.items.iter().map(schema::decode).collect::<Result<_, _>>()?;
    Ok((records, page.next))
}

/// Removes the indexes of an instance that has no plan, unless it has a state, until some time. `false`: there is more.
///
/// # Errors
/// The table's: some may be left.
pub async fn clear<P: Platform>(platform: &P, instance: InstanceId, until: Timestamp) -> Result<bool, RecordError> {
    // An instance that is not polled for now comes back to what its state says.
    if !polls::read(platform, instance).await?.state.places.is_empty() {
        return Ok(true);
    }
    loop {
        let page = platform.table().query(&Query::partition(partition(instance), REMOVED)).await?;
        let writes: Vec<Write> = page.items.into_iter().map(|item| Write::delete(item.key)).collect();
        let last = page.next.is_none();
        if !writes.is_empty() {
            platform.table().write_many(writes).await?;
        }
        if last {
            return Ok(true);
        }
        if platform.now() >= until {
            return Ok(false);
        }
    }
}
