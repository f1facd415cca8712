//! Dropbox's tree by its own definition: what is gone is told by the ids of files and folders.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use egress::exchange::NoAnswer;
use events::{Event, EventId, EventType};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use platform::testing::{MemoryPlatform, Moment};
use platform::{Platform as _, Table as _};
use pollhook_poller::Slots;
use pollhook_poller::poll::{Answer, End, Fetch, Outcome, Trouble, Unpolled, Worker, poll_instance};
use polling::oauth::TokenRequest;
use polling::position::{Place, State};
use polling::request::{ACCESS_TOKEN, Credential, Request};
use records::plans;
use records::polls::{self, Advanced, Claimed};
use serde_json::json;
use simulators::dropbox::Dropbox;
use simulators::{Fault, Simulator, When};

use crate::world::{MINUTE, START, World};

const DEFINITION: &str = include_str!("../../../../shared/connectors/definitions/dropbox.yaml");

/// The definition's section, with pages of so many.
fn section(page_size: usize) -> String {
    let (_, rest) = DEFINITION.split_once("\npolling:\n").unwrap();
    let (section, _) = rest.split_once("\nexamples:").unwrap();
    let lines = section.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect::<Vec<_>>();
    lines.join("\n").replace("page_size: 2000", &format!("page_size: {page_size}"))
}

/// An account's files, and an instance that polls them.
struct Files {
    dropbox: Simulator<Dropbox>,
    world: World,
    /// How long a request takes.
    pace: Duration,
}

/// The way there, in this process.
struct Way<'a> {
    dropbox: &'a Simulator<Dropbox>,
    platform: MemoryPlatform,
    pace: Duration,
}

impl Fetch for Way<'_> {
    async fn fetch(&self, request: &Request, credential: Option<&Credential>) -> Result<Answer, Trouble> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        if let Some(Credential::Header(name, value)) = credential {
            headers
                .insert(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::try_from(value.as_str()).unwrap());
        }
        let url: url::Url = request.url.parse().unwrap();
        let body = Bytes::from(request.body.as_ref().unwrap().to_string());
        let asked =
            simulators::Request { method: Method::POST, path: url.path().into(), query: Vec::new(), headers, body };
        self.platform.act("a request").await;
        self.platform.advance(self.pace);
        let answer = self.dropbox.ask(asked).unwrap();
        let body = serde_json::from_slice(&answer.body).ok();
        Ok(Answer { status: answer.status, headers: answer.headers, body, bytes: answer.body.len() })
    }

    async fn exchange(&self, _: &TokenRequest) -> Result<Answer, NoAnswer> {
        Err(NoAnswer::Unsent("nobody gives tokens here".into()))
    }
}

/// What was told: the id, and what happened.
type Told = BTreeSet<(String, EventType)>;

impl Files {
    async fn start(seed: u64, page_size: usize) -> Self {
        let dropbox = Dropbox::start(START);
        let token = dropbox.world(|files| files.connect().access);
        let settings = [("event.objects", "files")];
        let world = World::with_secrets(seed, &section(page_size), &settings, &[(ACCESS_TOKEN, &token)]).await;
        Self { dropbox, world, pace: Duration::ZERO }
    }

    /// The same, whose files were listed.
    async fn listed(seed: u64, page_size: usize, paths: &[&str]) -> Self {
        let files = Self::start(seed, page_size).await;
        for path in paths {
            files.write(path);
        }
        assert_eq!(files.poll().await.end, End::Asked);
        assert_eq!(files.world.told().await, []);
        files
    }

    fn write(&self, path: &str) -> String {
        self.dropbox.world(|files| files.write(path))
    }

    fn delete(&self, path: &str) {
        self.dropbox.world(|files| files.delete(path));
    }

    fn rename(&self, from: &str, to: &str) {
        self.dropbox.world(|files| files.rename(from, to));
    }

    async fn poll(&self) -> Outcome {
        let platform = &self.world.platform;
        let way = Way { dropbox: &self.dropbox, platform: platform.clone(), pace: self.pace };
        let known = |_: &str| Some(&self.world.polling);
        let worker = Worker {
            platform,
            fetch: &way,
            polling: &known,
            account_key: &|_, account| account.to_owned(),
            accounts: &self.world.accounts,
            queries: &self.world.queries,
            slot: &Slots::new(1).take().await,
            asked: true,
            name: "a test",
            asks_until: self.world.now().plus(5 * MINUTE),
            claims_until: self.world.now().plus(6 * MINUTE),
        };
        poll_instance(&worker, self.world.instance).await
    }

    /// What was told from the `from`th event on.
    async fn told(&self, from: usize) -> Vec<(String, String, EventType)> {
        let told = self.world.told().await.into_iter().skip(from);
        told.map(|event| (event.object_type, event.object_id, event.event_type)).collect()
    }

    /// How many items of the index begin so.
    fn items(&self, kind: &str) -> usize {
        let items = self.world.platform.table().items("TREE#");
        items.iter().filter(|item| item.key.sort.starts_with(kind)).count()
    }

    /// A poll that dies at a step from now, and the next process.
    async fn dies(&mut self, step: usize, moment: Moment) {
        self.world.platform.crash_at(self.world.platform.steps() + step, moment);
        self.world.platform.run_until_crash(self.poll()).await.unwrap_err();
        self.world.restart();
        self.world.platform.advance(6 * MINUTE);
    }
}

fn kinds(events: &[Event]) -> Told {
    events.iter().map(|event| (event.object_id.clone(), event.event_type)).collect()
}

fn id_of(events: &[Event]) -> BTreeMap<(String, EventType), BTreeSet<EventId>> {
    let mut ids: BTreeMap<_, BTreeSet<EventId>> = BTreeMap::new();
    for event in events {
        ids.entry((event.object_id.clone(), event.event_type)).or_default().insert(event.id);
    }
    ids
}

#[tokio::test]
async fn a_large_tree_is_listed_over_several_polls_and_told_of_from_the_first_one_on() {
    let mut files = Files::start(700, 5).await;
    let ids: Vec<String> = (0..40).map(|number| files.write(&format!("/f/{number:02}"))).collect();
    files.pace = Duration::from_secs(100);
    assert_eq!(files.poll().await.end, End::More);
    files.write("/f/00");
    files.delete("/f/39");
    let new = files.write("/f/000");
    let mut polls = 1;
    while files.poll().await.end == End::More {
        polls += 1;
    }
    assert!(polls >= 3, "{polls}");
    let told = files.told(0).await;
    let expected: Vec<(String, String, EventType)> = [
        ("files", ids[0].as_str(), EventType::Updated),
        // It was not listed yet, so nobody knows of what it was.
        ("paths", "/f/39", EventType::Deleted),
        // It was listed, so nobody knows that it is new.
        ("files", new.as_str(), EventType::Updated),
    ]
    .map(|(kind, id, event_type)| (kind.to_owned(), id.to_owned(), event_type))
    .into();
    let sorted = |told: Vec<(String, String, EventType)>| told.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(sorted(told), sorted(expected));
    assert_eq!((files.items("P#"), files.items("I#"), files.items("H#")), (41, 41, 0), "39, a new one, the folder");
    files.delete("/f/07");
    files.poll().await;
    assert_eq!(files.told(3).await, [("files".to_owned(), ids[7].clone(), EventType::Deleted)]);
}

#[tokio::test]
async fn a_poll_that_finds_nothing_touches_no_index() {
    let files = Files::listed(701, 2, &["/a/x", "/a/y", "/b"]).await;
    let (acts, reads) = (files.world.platform.acts().len(), files.world.platform.table().reads());
    files.poll().await;
    assert!(files.world.platform.acts()[acts..].iter().all(|act| !act.contains("TREE#")));
    assert_eq!(files.world.platform.table().reads() - reads, 1, "what the poll begins with");
}

#[tokio::test]
async fn a_folder_that_moves_is_one_change_of_each_that_is_in_it_though_it_is_shown_on_several_pages() {
    let files = Files::listed(702, 2, &["/a/b/x", "/a/b/y", "/a/b/c/z", "/k"]).await;
    files.dropbox.world(|files| files.empty_pages = 2);
    files.rename("/a/b", "/n/m");
    files.poll().await;
    let told = files.world.told().await;
    let updated = told.iter().filter(|event| event.event_type == EventType::Updated).count();
    let created = told.iter().filter(|event| event.event_type == EventType::Created).count();
    assert_eq!((updated, created, told.len()), (5, 1, 6), "b, x, y, c, z; the folder it is in now; nothing is deleted");
    files.rename("/n/m", "/a/b");
    files.poll().await;
    let again = files.world.told().await;
    assert_eq!(again.len(), 11, "and back");
    let ids: BTreeSet<EventId> = again.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), again.len(), "each of them is another change");
}

#[tokio::test]
async fn what_takes_anothers_place_is_told_and_so_is_what_it_replaced() {
    let files = Files::listed(703, 2, &["/x", "/d/y", "/d/e/z"]).await;
    let new = files.write("/new");
    files.poll().await;
    files.rename("/new", "/x");
    files.rename("/x", "/d");
    files.poll().await;
    let told = files.told(1).await;
    let deleted = told.iter().filter(|told| told.2 == EventType::Deleted).count();
    assert_eq!((deleted, told.len()), (5, 6), "x; d with y, e and z: {told:?}");
    assert!(told.contains(&("files".into(), new, EventType::Updated)));
    assert_eq!((files.items("P#"), files.items("I#"), files.items("H#")), (1, 1, 0));
}

#[tokio::test]
async fn a_death_between_any_two_acts_tells_the_same_by_the_same_ids() {
    let changed = |seed: u64| async move {
        let files = Files::listed(seed, 2, &["/a/b/x", "/a/b/y", "/a/c/z", "/d/e", "/f", "/g"]).await;
        files.delete("/a/c");
        files.rename("/a/b", "/h");
        files.rename("/f", "/g");
        files.write("/d/new");
        files.write("/d/e");
        files
    };
    let whole = changed(704).await;
    let steps = whole.world.platform.steps();
    whole.poll().await;
    let (acts, expected) = (whole.world.platform.steps() - steps, whole.world.told().await);
    assert_eq!(kinds(&expected).len(), expected.len());
    let mut repeats = 0;
    for step in 0..acts {
        for moment in [Moment::Before, Moment::After] {
            let mut files = changed(704).await;
            files.dies(step, moment).await;
            assert_eq!(files.poll().await.end, End::Asked);
            let told = files.world.told().await;
            assert_eq!(id_of(&told), id_of(&expected), "{step} {moment:?}");
            repeats += told.len() - expected.len();
            assert_eq!(files.poll().await.told, 0);
            let index = |files: &Files| (files.items("P#"), files.items("I#"), files.items("H#"));
            assert_eq!(index(&files), index(&whole), "{step} {moment:?}");
        }
    }
    assert!(repeats > 0, "some died between telling and moving");
}

#[tokio::test]
async fn a_deleted_folder_with_thousands_in_it_goes_in_steps_and_a_death_repeats_one_of_them() {
    let mut files = Files::start(705, 2_000).await;
    let mut ids: BTreeSet<String> =
        (0..5_000).map(|number| files.write(&format!("/big/{}/{number}", number % 7))).collect();
    files.poll().await;
    files.write("/other");
    files.delete("/big");
    // The claim, the messages and the writes of the loop, of the first step of the sweep, and some of the second.
    files.dies(6_500, Moment::After).await;
    let before = files.world.told().await.len();
    assert!((2_000..4_600).contains(&before), "{before}");
    let outcome = files.poll().await;
    assert_eq!(outcome.end, End::Asked);
    let told = files.world.told().await;
    assert!((5_009..5_009 + 2_600).contains(&told.len()), "{} after {before}", told.len());
    assert!(id_of(&told).values().all(|ids| ids.len() == 1), "repeats have the same ids");
    let deleted: BTreeSet<String> = told
        .into_iter()
        .filter(|event| event.event_type == EventType::Deleted && event.object_type == "files")
        .map(|event| event.object_id)
        .collect();
    assert_eq!(deleted.len(), ids.len());
    ids.retain(|id| !deleted.contains(id));
    assert!(ids.is_empty());
    assert_eq!((files.items("P#"), files.items("I#"), files.items("H#")), (1, 1, 0));
}

#[tokio::test]
async fn after_a_cursor_died_the_difference_is_told_and_nothing_else() {
    let files = Files::listed(706, 2, &["/a/same", "/a/changes", "/moves", "/b/goes", "/b/too"]).await;
    let changed = files.write("/a/changes");
    files.rename("/moves", "/a/moved");
    files.delete("/b");
    let new = files.write("/new");
    files.dropbox.world(Dropbox::reset_cursors);
    let outcome = files.poll().await;
    assert_eq!((outcome.end, outcome.troubles.len()), (End::Asked, 0));
    let told = files.told(0).await;
    let of = |event_type: EventType| told.iter().filter(move |told| told.2 == event_type).map(|told| &told.1);
    assert_eq!(of(EventType::Created).collect::<Vec<_>>(), [&new]);
    let updated: Vec<&String> = of(EventType::Updated).collect();
    assert!(updated.len() == 2 && updated.contains(&&changed), "{told:?}");
    assert_eq!(of(EventType::Deleted).count(), 3, "b, and what was in it: {told:?}");
    assert_eq!(files.poll().await.told, 0);
}

#[tokio::test]
async fn a_listing_whose_cursor_dies_begins_again_and_tells_nothing_of_what_was_there() {
    let reset = json!({"error_summary": "reset/..", "error": {".tag": "reset"}});
    // After the cursor of now: the first page, or the second, which is asked for once more after what was read is stored.
    for page in [1, 2] {
        let files = Files::start(709, 2).await;
        let ids = ["/a", "/b", "/c"].map(|path| files.write(path));
        files.dropbox.plan(When::next().skip(page).times(page), Fault::Answer(simulators::Answer::json(409, &reset)));
        let outcome = files.poll().await;
        assert!(outcome.troubles["files"].to_string().contains("begins again"), "{outcome:?}");
        files.write("/b");
        assert_eq!(files.poll().await.end, End::Asked);
        assert_eq!(files.told(0).await, [("files".to_owned(), ids[1].clone(), EventType::Updated)]);
    }
}

#[tokio::test]
async fn who_was_polled_before_there_was_an_index_goes_on_where_it_stood() {
    let files = Files::start(707, 2).await;
    let old = files.write("/old");
    let token = files.dropbox.world(|files| files.connect().access);
    // As the version before left it.
    let body = r#"{"path":"","recursive":true}"#;
    let mut headers = HeaderMap::new();
    headers.insert(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let path = "/2/files/list_folder/get_latest_cursor".to_owned();
    let asked = simulators::Request {
        method: Method::POST,
        path,
        query: Vec::new(),
        headers,
        body: Bytes::from_static(body.as_bytes()),
    };
    let answer = files.dropbox.ask(asked).unwrap();
    let cursor =
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()["cursor"].as_str().unwrap().to_owned();
    let (platform, instance) = (&files.world.platform, files.world.instance);
    let standing = polls::read(platform, instance).await.unwrap();
    let until = files.world.now().plus(MINUTE);
    let Claimed::Ours(claim) = polls::claim(platform, &standing, "before", until).await.unwrap() else { panic!() };
    let state = State { places: [("files".to_owned(), Place::Cursor(cursor))].into() };
    assert!(matches!(polls::advance(platform, &claim, state).await.unwrap(), Advanced::Moved(_)));
    files.write("/old");
    files.poll().await;
    assert_eq!(files.told(0).await, [("files".to_owned(), old, EventType::Updated)]);
}

#[tokio::test]
async fn of_a_deleted_instance_no_index_stays_and_of_one_that_is_not_polled_for_now_it_does() {
    let files = Files::listed(708, 2, &["/a/x", "/a/y", "/b"]).await;
    let (platform, instance) = (&files.world.platform, files.world.instance);
    let read = plans::read(platform, instance).await.unwrap().unwrap();
    let standing = read.standing;
    platform.table().transact(vec![plans::delete(instance)]).await.unwrap();
    assert_eq!(files.poll().await.end, End::Unpolled(Unpolled::Deleted));
    assert!(files.items("P#") > 0, "its state is there");
    assert!(polls::forget(platform, standing.instance).await.unwrap(), "there is an index");
    assert_eq!(files.poll().await.end, End::Unpolled(Unpolled::Deleted));
    assert_eq!(platform.table().items("TREE#"), []);
}
