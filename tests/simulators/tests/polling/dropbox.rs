//! Dropbox's cursor, which is kept between polls.

use events::EventType::{Deleted, Updated};
use polling::request::ACCESS_TOKEN;
use polling::verdict::Verdict;
use serde_json::json;
use simulators::dropbox::Dropbox;
use simulators::{Answer, Fault, RetryAfter, Simulator, When};

use crate::driver::{Poller, Told, all, at, limited, sorted};

const START: &str = "2026-05-12T15:50:38Z";

fn start() -> Simulator<Dropbox> {
    Dropbox::start(at(START))
}

async fn poller<'s>(dropbox: &'s Simulator<Dropbox>) -> Poller<'s, Dropbox> {
    Poller::connected("dropbox", dropbox, &[("event.objects", "files")], (ACCESS_TOKEN, Dropbox::connect)).await
}

fn write(dropbox: &Simulator<Dropbox>, path: &str) -> String {
    dropbox.world(|files| files.write(path))
}

fn updated(object_type: &str, ids: &[&str]) -> Vec<Told> {
    all(object_type, &ids.iter().map(ToString::to_string).collect::<Vec<_>>(), Updated)
}

fn gone(path: &str) -> Vec<Told> {
    all("paths", &[path.to_owned()], Deleted)
}

#[tokio::test]
async fn what_is_written_is_told_once_and_what_is_deleted_by_its_path() {
    let dropbox = start();
    let old = write(&dropbox, "/old.txt");
    let mut poller = poller(&dropbox).await;
    assert_eq!(poller.poll().await, [], "what was there before is not told");
    let new = write(&dropbox, "/new.txt");
    let folder = dropbox.world(|files| files.make_folder("/Folder"));
    let inside = write(&dropbox, "/Folder/in.txt");
    write(&dropbox, "/old.txt");
    let mut told = poller.poll().await;
    told.sort();
    let mut expected = [updated("files", &[&old, &new, &inside]), updated("folders", &[&folder])].concat();
    expected.sort();
    assert_eq!(told, expected);
    assert_eq!(poller.poll().await, []);
    write(&dropbox, "/old.txt");
    assert_eq!(poller.poll().await, updated("files", &[&old]), "within the second it was written in before");
    dropbox.world(|files| files.delete("/Folder"));
    assert_eq!(poller.poll().await, gone("/folder"), "with all that was in it");
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn what_is_moved_and_moved_back_is_told_where_it_is_each_time() {
    let dropbox = start();
    let id = write(&dropbox, "/a.txt");
    let mut poller = poller(&dropbox).await;
    for (from, to) in [("/a.txt", "/b.txt"), ("/b.txt", "/a.txt"), ("/a.txt", "/b.txt")] {
        dropbox.world(|files| files.rename(from, to));
        let mut told = poller.poll().await;
        told.sort();
        assert_eq!(told, [updated("files", &[&id]), gone(from)].concat());
    }
}

#[tokio::test]
async fn pages_are_read_on_while_there_is_more_also_after_empty_ones_and_in_steps() {
    let dropbox = start();
    let mut poller = poller(&dropbox).await.in_steps_of(2_500);
    let mut made: Vec<String> = (0..4_500).map(|number| write(&dropbox, &format!("/{number}"))).collect();
    dropbox.world(|files| files.empty_pages = 5);
    let extra = "/late".to_owned();
    dropbox.plan(When::path("continue").skip(6), Fault::after(move |files: &mut Dropbox| drop(files.write(&extra))));
    let told = poller.poll().await;
    let late = told.iter().map(|(_, id, _)| id).find(|id| !made.contains(id)).cloned();
    made.extend(late);
    assert_eq!((told.len(), sorted(told)), (4_501, all("files", &made, Updated)));
    assert_eq!(poller.poll().await, []);
}

#[tokio::test]
async fn a_poll_that_breaks_off_goes_on_where_it_was() {
    let dropbox = start();
    let mut poller = poller(&dropbox).await.in_steps_of(10_000);
    let made: Vec<String> = (0..4_500).map(|number| write(&dropbox, &format!("/{number}"))).collect();
    let error = |tag: &str| json!({"error_summary": format!("{tag}/.."), "error": {".tag": tag}});
    let failed = |status: u16| Verdict::Failed { reason: format!("the provider tells of an error, status {status}") };
    for (fault, expected) in [
        (Fault::too_many(RetryAfter::Seconds(30)), limited(30)),
        (Fault::broken(500), Verdict::Failed { reason: "status 500".into() }),
        (Fault::Answer(Answer::json(401, &error("missing_scope"))), failed(401)),
        (Fault::Answer(Answer::json(401, &error("user_suspended"))), failed(401)),
        (Fault::Answer(Answer::json(409, &error("path"))), Verdict::Failed { reason: "status 409".into() }),
    ] {
        dropbox.plan(When::path("continue"), fault);
        assert_eq!(poller.step(0).await.verdict, expected);
    }
    dropbox.plan(When::path("continue").skip(1), Fault::ExpireTokens);
    let polled = poller.step(0).await;
    assert_eq!((polled.verdict, polled.finished.changes.len()), (Verdict::TokenExpired, 2_000));
    assert!(poller.renewed());
    let told = poller.poll().await;
    assert_eq!(told.len(), made.len() - 2_000, "the first page was told, and its cursor kept");
}

#[tokio::test]
async fn a_dead_cursor_is_a_reset_and_polling_goes_on_from_a_new_one() {
    let dropbox = start();
    let mut poller = poller(&dropbox).await;
    write(&dropbox, "/lost.txt");
    dropbox.world(Dropbox::reset_cursors);
    let polled = poller.step(0).await;
    assert_eq!((polled.verdict, polled.finished.changes.len()), (Verdict::Reset, 0));
    assert!(!polled.finished.worth_storing, "the dead cursor stays until somebody begins anew");
    poller.begin(0).await;
    let id = write(&dropbox, "/new.txt");
    assert_eq!(poller.poll().await, updated("files", &[&id]));
}
