//! The story that every fault is tried on.

use std::time::Duration;

use dispatcher::RetryPolicy;
use events::configuration;

use crate::{Behaviour, Reply, START, Spec, Webhook, World};

/// Seconds between attempts: a delayed message, then a bucket, then parked.
const DELAYS_S: [u64; 2] = [5, 1_200];

const SECRET: &str = "the app's secret";

/// A world in which providers tell of changes and callbacks fail in each way:
///
/// | instance | its webhooks | its callback |
/// |---|---|---|
/// | `well` | one change of today, one of 2016 | answers |
/// | `same` | the same, being of the same account | answers 500 once; the bus, which is told too, refuses each event once |
/// | `many` | 45 changes, so three notifications | fails twice: past the delayed messages, into a bucket |
/// | `undated` | a Standard Webhook without a date | times out once |
/// | `down` | one change | fails to the end; answers once its notification is parked |
pub struct Story {
    /// The world.
    pub world: World,
}

const DOWN: &str = "https://down.example/";

impl Story {
    /// The story before anything has happened. Stories of one test process need different seeds.
    pub async fn new(seed: u64) -> Self {
        let mut world = World::new(seed, RetryPolicy::new(&DELAYS_S)).await;
        let hubspot = |url, account| {
            Spec::of("hubspot").account(account).webhook_secret(SECRET).callback(url).signed("a key of our own")
        };
        let listen = |url: &str, first: &[Reply]| {
            let behaviour =
                Behaviour { key: Some("a key of our own".into()), first: first.to_vec(), then: Reply::Status(204) };
            world.callbacks.behave(url, behaviour);
        };
        listen("https://well.example/", &[]);
        listen("https://same.example/", &[Reply::Status(500)]);
        listen("https://many.example/", &[Reply::Status(302), Reply::Timeout]);
        listen("https://undated.example/", &[Reply::Timeout]);
        listen(DOWN, &[]);
        world.callbacks.then(DOWN, Reply::Status(503));
        let well = world.make(hubspot("https://well.example/", "1")).await.id;
        let same = world.make(hubspot("https://same.example/", "1").flows()).await.id;
        world.platform().refuse(same, 1, 1);
        let many = world.make(hubspot("https://many.example/", "2")).await.id;
        let down = world.make(hubspot(DOWN, "3")).await.id;
        let undated = Spec::of("standard")
            .secret(configuration::WEBHOOK_SECRET, SECRET)
            .callback("https://undated.example/")
            .signed("a key of our own");
        let undated = world.make(undated).await.id;
        let then = START.minus(Duration::from_secs(10 * 365 * 24 * 3600));
        let one = Webhook::hubspot(SECRET, &[("1", 101)], START).expect(well, [101]).expect(same, [101]);
        let old = Webhook::hubspot(SECRET, &[("1", 102)], then).expect(well, [102]).expect(same, [102]);
        let changes: Vec<(&str, u64)> = (200..245).map(|object| ("2", object)).collect();
        let several = Webhook::hubspot(SECRET, &changes, START).expect(many, 200..245);
        let body = r#"{"type":"invoice.paid","data":{"id":"in_1"}}"#;
        let dateless =
            Webhook::new("standard", SECRET, body).path(&format!("/{}", undated.to_path())).expect(undated, ["in_1"]);
        let failing = Webhook::hubspot(SECRET, &[("3", 301)], START).expect(down, [301]);
        for webhook in [one, old, several, dateless, failing] {
            world.provider_sends(webhook);
        }
        world.restart();
        Self { world }
    }

    /// The story from wherever it stands to its end, restarting whatever dies; how often it died.
    pub async fn run(&mut self) -> usize {
        let deaths = self.world.run().await;
        self.world.callbacks.then(DOWN, Reply::Status(200));
        deaths + self.world.release_all().await
    }
}
