//! The index of what is at which path: ranges, order, and who may write it.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{NOW, platform};
use events::InstanceId;
use platform::Platform as _;
use platform::testing::MemoryPlatform;
use pollhook_records::polls::{self, Claim, Claimed};
use pollhook_records::tree::{self, Index};
use polling::position::{Place, State};
use polling::tree::{Edit, Held, Hold, Node, Object, Stamp, Walk};

const MINUTE: Duration = Duration::from_secs(60);

fn instance() -> InstanceId {
    InstanceId::from_random(7)
}

fn index(resource: &str) -> Index<'_> {
    Index { instance: instance(), resource }
}

async fn claim(platform: &MemoryPlatform) -> Claim {
    let standing = polls::read(platform, instance()).await.unwrap();
    match polls::claim(platform, &standing, "a test", platform.now().plus(MINUTE)).await.unwrap() {
        Claimed::Ours(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn node(path: &str, entry: u32) -> Node {
    let (id, object_type) = (format!("id of {path}"), "files".to_owned());
    Node { path: path.into(), id, folder: false, object_type, stamp: Stamp::here(entry) }
}

fn object(path: &str) -> Object {
    let (id, version) = (format!("id of {path}"), "1".to_owned());
    Object { id, path: path.into(), version, changes: 0, seeded: true, stamp: Stamp::here(1) }
}

fn hold(path: &str, entry: u32) -> Hold {
    Hold { path: path.into(), stamp: Stamp::here(entry), after: String::new(), held: Held::All { known: true } }
}

#[tokio::test]
async fn what_is_in_a_folder_is_one_range_in_pages_and_of_its_resource_alone() {
    let platform = platform(60);
    let claim = claim(&platform).await;
    let paths: Vec<String> = (0..7).map(|number| format!("/a/{number}")).collect();
    let others = ["/a", "/a/3/x", "/b/1", "/ab"].map(str::to_owned);
    let all = paths.iter().chain(&others).map(|path| Edit::Node(node(path, 1))).collect();
    assert!(index("files").write(&platform, &claim, vec![all]).await.unwrap());
    let elsewhere = vec![vec![Edit::Node(node("/a/other", 1)), Edit::Hold(hold("/a", 1))]];
    assert!(index("other").write(&platform, &claim, elsewhere).await.unwrap());
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let (nodes, next) = index("files").within(&platform, "/a", &after, 2).await.unwrap();
        found.extend(nodes.into_iter().map(|node| node.path));
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    found.sort();
    assert_eq!(found, paths);
    assert_eq!(index("files").holds(&platform, None, 10).await.unwrap(), (vec![], None));
    let nodes = index("files").nodes(&platform, &["/a/6".to_owned(), "/none".to_owned()]).await.unwrap();
    assert_eq!(nodes, [Some(Node { stamp: Stamp(claim.number(), 1), ..node("/a/6", 1) }), None]);
}

#[tokio::test]
async fn holds_come_in_the_order_of_claims_and_entries_and_go_one_by_one() {
    let platform = platform(61);
    let first = claim(&platform).await;
    let edits = [300, 20, 1].map(|entry| Edit::Hold(hold("/late", entry)));
    index("files").write(&platform, &first, vec![edits.into()]).await.unwrap();
    polls::release(&platform, &first).await.unwrap();
    let second = claim(&platform).await;
    assert!(second.number() > first.number(), "also of a claim that came to nothing");
    index("files").write(&platform, &second, vec![vec![Edit::Hold(hold("/later", 2))]]).await.unwrap();
    let (holds, _) = index("files").holds(&platform, None, 10).await.unwrap();
    let stamps: Vec<Stamp> = holds.iter().map(|hold| hold.stamp).collect();
    let (one, two) = (first.number(), second.number());
    assert_eq!(stamps, [Stamp(one, 1), Stamp(one, 20), Stamp(one, 300), Stamp(two, 2)]);
    let further = Hold { after: "somewhere".into(), ..holds[1].clone() };
    let edits = vec![vec![Edit::NoHold(holds[0].clone()), Edit::Hold(further.clone())]];
    index("files").write(&platform, &second, edits).await.unwrap();
    let (page, next) = index("files").holds(&platform, None, 2).await.unwrap();
    assert_eq!(page, [further, holds[2].clone()]);
    assert_eq!(index("files").holds(&platform, next, 2).await.unwrap().0, [holds[3].clone()]);
}

#[tokio::test]
async fn objects_and_paths_come_and_go_however_long_they_are() {
    let platform = platform(62);
    let claim = claim(&platform).await;
    let long = format!("/{}", "ä/".repeat(3_000));
    let edits = vec![vec![Edit::Node(node(&long, 1))], vec![Edit::Object(object(&long))]];
    index("files").write(&platform, &claim, edits).await.unwrap();
    let ids = [object(&long).id];
    let found = index("files").objects(&platform, &ids).await.unwrap();
    assert_eq!(found, [Some(Object { stamp: Stamp(claim.number(), 1), ..object(&long) })]);
    let edits = vec![vec![Edit::NoObject(ids[0].clone())], vec![Edit::NoNode(long)]];
    index("files").write(&platform, &claim, edits).await.unwrap();
    assert_eq!(platform.table().items("TREE#"), []);
}

#[tokio::test]
async fn nothing_is_written_once_the_claim_has_run_out() {
    let platform = platform(63);
    let claim = claim(&platform).await;
    platform.advance(MINUTE);
    let edits = vec![vec![Edit::Node(node("/a", 1))]];
    assert!(!index("files").write(&platform, &claim, edits).await.unwrap());
    assert_eq!(platform.table().items("TREE#"), []);
}

#[tokio::test]
async fn a_deleted_instance_s_index_is_cleared_in_pieces_and_no_other_s() {
    let platform = platform(64);
    let claimed = claim(&platform).await;
    let walk = Walk::begin("c".into());
    let state = State { places: [("files".to_owned(), Place::Tree(walk))].into() };
    let many = (0..1_200).map(|number| Edit::Node(node(&format!("/{number}"), 1))).collect();
    index("files").write(&platform, &claimed, vec![many]).await.unwrap();
    polls::advance(&platform, &claimed, state).await.unwrap();
    assert!(tree::clear(&platform, instance(), NOW).await.unwrap());
    assert_eq!(platform.table().items("TREE#").len(), 1_200, "it may be polled again");
    assert!(polls::forget(&platform, instance()).await.unwrap());
    let mut rounds = 1;
    while !tree::clear(&platform, instance(), NOW).await.unwrap() {
        rounds += 1;
    }
    assert!(rounds > 1 && platform.table().items("TREE#").is_empty());
    assert!(!polls::forget(&platform, instance()).await.unwrap(), "nothing is there any more");
}
