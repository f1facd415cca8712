//! A second opinion: the same scenarios against another emulator of AWS, written by other people.
//!
//! ```text
//! cargo test -p pollhook-cloud-tests --features moto --test moto
//! ```
//!
//! Each file of scenarios is run once more with `POLLHOOK_EMULATOR=moto`. What fails there must be in [`WRONG`], with the
//! reason; what is listed and does not fail is an error too, so the list stays true. Nothing is skipped: every scenario
//! runs.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;

use pollhook_cloud_tests::emulator::VARIABLE;

/// DynamoDB counts bytes: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>.
const COUNTS_BASE64: &str = "counts a binary value by its text in base64, a third longer";
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>
const KNOWS_NO_TOKEN: &str =
    "ignores ClientRequestToken: a transaction repeated after a lost answer is another one to it";

/// Where moto 5.2.5 is not as AWS: file, scenario, and what it does.
const WRONG: [(&str, &str, &str); 4] = [
    ("table", "conformance::a_transaction_of_the_largest_size_is_taken_and_no_larger", COUNTS_BASE64),
    ("table", "conformance::an_item_of_the_largest_size_is_held_and_no_larger", COUNTS_BASE64),
    ("table", "conformance::large_items_are_all_read", COUNTS_BASE64),
    ("table", "fault_conformance::a_transaction_of_deletes_whose_answer_was_lost_is_never_denied", KNOWS_NO_TOKEN),
];

/// All scenarios of a file, and those that failed.
fn run(file: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let output = Command::new(env!("CARGO"))
        .args(["test", "-p", env!("CARGO_PKG_NAME"), "--features", "moto", "--test", file])
        .env(VARIABLE, "moto")
        .env_remove("RUST_TEST_THREADS")
        .output()
        .expect("cargo, which runs this test");
    let text = String::from_utf8_lossy(&output.stdout);
    let results: Vec<(&str, &str)> = (text.lines())
        .filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "))
        .filter(|(name, _)| *name != "result:")
        .collect();
    let all = results.iter().map(|(name, _)| (*name).to_owned()).collect();
    let failed = results.iter().filter(|(_, result)| *result == "FAILED").map(|(name, _)| (*name).to_owned()).collect();
    let complete = text.contains("test result: ");
    assert!(complete, "{file} did not run to its end:\n{}", String::from_utf8_lossy(&output.stderr));
    (all, failed)
}

#[test]
fn moto_agrees_but_for_what_it_gets_wrong() {
    for file in ["table", "queue", "bus", "vault"] {
        let (all, failed) = run(file);
        assert!(all.len() > 10, "{file} has only {all:?}");
        let wrong = WRONG.iter().filter(|(of, _, _)| *of == file).map(|(_, name, _)| (*name).to_owned()).collect();
        let unexpected: Vec<_> = failed.difference(&wrong).collect();
        assert!(unexpected.is_empty(), "{file}: these fail and are not listed: {unexpected:#?}");
        let right: Vec<_> = wrong.difference(&failed).collect();
        assert!(right.is_empty(), "{file}: these are listed and do not fail: {right:#?}");
    }
}
