//! What is told is what happened, for each provider, over hundreds of histories; and each bug is found.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use histories::subjects::{Dropbox, Http, HubSpot, Listed, QuickBooks, Salesforce};
use histories::{Bug, Subject, connector, history, history_over_sockets};

/// As many as are run each time.
const SEEDS: Range<u64> = 0..200;

/// As many as are run over sockets too.
const SOCKETS: Range<u64> = 0..10;

/// The seeds that are asked for.
fn seeds() -> Range<u64> {
    let Ok(asked) = std::env::var("HISTORIES") else { return SEEDS };
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    match asked.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&asked)..number(&asked) + 1,
    }
}

fn is_told<S: Subject>() {
    let connector = connector::<S>(None);
    for seed in seeds() {
        if let Err(broken) = history::<S>(seed, None, &connector) {
            panic!("{} history {seed}, again by HISTORIES={seed}: {broken}", S::CONNECTOR);
        }
    }
}

fn is_told_over_sockets<S: Subject>() {
    let connector = connector::<S>(None);
    for seed in SOCKETS {
        if let Err(broken) = history_over_sockets::<S>(seed, &connector) {
            panic!("{} history {seed} over sockets: {broken}", S::CONNECTOR);
        }
    }
}

fn are_found<S: Subject>(bugs: &[Bug]) {
    for bug in bugs {
        let connector = connector::<S>(Some(*bug));
        let found = SEEDS.into_iter().find(|seed| history::<S>(*seed, Some(*bug), &connector).is_err());
        assert!(found.is_some(), "{}: {bug:?} is not found", S::CONNECTOR);
    }
}

const ALL: [Bug; 7] = [
    Bug::AsksStrictly,
    Bug::NoOverlap,
    Bug::MovesFirst,
    Bug::IdAlone,
    Bug::SkipsPage,
    Bug::ForgetsTold,
    Bug::IgnoresDeletions,
];

#[test]
fn of_salesforce_what_happened_is_told() {
    is_told::<Salesforce>();
}

#[test]
fn of_salesforce_each_bug_is_found() {
    are_found::<Salesforce>(&ALL);
    are_found::<Salesforce>(&[Bug::ForgetsTokens]);
}

#[test]
fn of_hubspot_what_happened_is_told() {
    is_told::<HubSpot>();
}

#[test]
fn of_hubspot_each_bug_is_found() {
    are_found::<HubSpot>(&ALL);
}

#[test]
fn of_quickbooks_what_happened_is_told() {
    is_told::<QuickBooks>();
}

#[test]
fn of_quickbooks_each_bug_is_found() {
    are_found::<QuickBooks>(&ALL);
    are_found::<QuickBooks>(&[Bug::ForgetsTokens]);
}

#[test]
fn of_any_api_what_happened_is_told() {
    is_told::<Http>();
}

#[test]
fn of_any_api_each_bug_is_found() {
    are_found::<Http>(&ALL);
}

#[test]
fn of_an_api_without_dates_what_happened_is_told() {
    is_told::<Listed>();
}

#[test]
fn of_an_api_without_dates_each_bug_is_found() {
    // There is no window to ask for, and what is gone is not listed.
    are_found::<Listed>(&[Bug::MovesFirst, Bug::IdAlone, Bug::SkipsPage, Bug::ForgetsTold]);
}

#[test]
fn of_dropbox_what_happened_is_told() {
    is_told::<Dropbox>();
}

#[test]
fn of_dropbox_each_bug_is_found() {
    // It knows no dates: what was told is what the cursor has passed.
    are_found::<Dropbox>(&[Bug::MovesFirst, Bug::IndexesFirst, Bug::IdAlone, Bug::SkipsPage, Bug::IgnoresDeletions]);
}

#[test]
fn over_sockets_it_is_no_other() {
    is_told_over_sockets::<Salesforce>();
    is_told_over_sockets::<HubSpot>();
    is_told_over_sockets::<QuickBooks>();
    is_told_over_sockets::<Http>();
    is_told_over_sockets::<Listed>();
    is_told_over_sockets::<Dropbox>();
}
