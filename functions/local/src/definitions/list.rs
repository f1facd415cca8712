//! The connectors, as a table or as JSON.

use std::path::PathBuf;

use connectors::{Connector, Scope};
use serde::Serialize;

use crate::definitions::load::Loaded;
use crate::paint::Paint;

/// A connector as JSON: for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'c> {
    key: &'c str,
    name: &'c str,
    hub: &'c str,
    description: &'c str,
    /// `app`: one URL and one secret for all customers; `instance`: each has its own; null: there are no webhooks.
    scope: Option<&'static str>,
    /// Whether a webhook says only that something changed.
    signals: bool,
    /// How the provider proves itself; empty: it does not.
    proofs: Vec<String>,
    /// Where the secret is configured; the first present counts.
    secret_keys: &'c [String],
    /// Whether the provider hands the secret over in a handshake.
    secret_handed_over: bool,
    /// What an instance cannot do without.
    required: &'c [String],
    /// What can be polled by name, `{objectName}` standing for any; null: the provider is not polled.
    polled: Option<Vec<&'c str>>,
    /// Where it is defined; nowhere: it is built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

fn shown(loaded: &Loaded) -> Vec<Shown<'_>> {
    let connectors = loaded.catalogue.keys().filter_map(|key| loaded.catalogue.get(key));
    let shown = |connector| show(connector, loaded.files.get(Connector::key(connector)));
    connectors.map(shown).collect()
}

fn show<'c>(connector: &'c Connector, file: Option<&PathBuf>) -> Shown<'c> {
    Shown {
        key: connector.key(),
        name: connector.name(),
        hub: connector.hub(),
        description: connector.description(),
        scope: connector.scope().map(|scope| match scope {
            Scope::App => "app",
            Scope::Instance => "instance",
        }),
        signals: connector.signals(),
        proofs: connector.proofs(),
        secret_keys: connector.secret_keys(),
        secret_handed_over: connector.keeps_handshake(),
        required: connector.required(),
        polled: connector.polling().map(|polling| polling.resources.keys().map(String::as_str).collect()),
        file: file.map(|file| file.display().to_string()),
    }
}

/// As JSON.
pub(crate) fn json(loaded: &Loaded) -> String {
    // Nothing in it can fail to be written: no maps, no foreign types.
    serde_json::to_string_pretty(&shown(loaded)).unwrap_or_default()
}

/// As a table, for people: a row for each connector, and under it how it is known that the provider is who calls, and what
/// can be polled.
pub(crate) fn table(loaded: &Loaded, paint: Paint) -> String {
    let shown = shown(loaded);
    let heading = ["key", "name", "hub", "one URL per", "tells", "from"].map(str::to_owned);
    let rows: Vec<[String; 6]> = shown.iter().map(row).collect();
    let all = || rows.iter().chain([&heading]);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |row: &[String; 6]| {
        let padded: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        padded.trim_end().to_owned()
    };
    let mut text = paint.dim(&line(&heading));
    for (shown, row) in shown.iter().zip(&rows) {
        text = format!("{text}\n{}", line(row));
        for detail in [proof(shown), polled(shown)].into_iter().flatten() {
            text = format!("{text}\n{}", paint.dim(&format!("{:width$}  {detail}", "", width = widths[0])));
        }
    }
    text
}

fn row(shown: &Shown<'_>) -> [String; 6] {
    let from = shown.file.as_deref().unwrap_or("built in");
    let tells = match shown.scope {
        None => "nothing by itself",
        Some(_) if shown.signals => "that something changed",
        Some(_) => "what changed",
    };
    [shown.key, shown.name, shown.hub, shown.scope.unwrap_or("-"), tells, from].map(str::to_owned)
}

fn proof(shown: &Shown<'_>) -> Option<String> {
    shown.scope?;
    if shown.proofs.is_empty() {
        return Some("proves itself by nothing: instances need event.vendor.verification = none".into());
    }
    let handed_over = if shown.secret_handed_over { ", else handed over in a handshake" } else { "" };
    let mut text = format!("{}; secret: {}{handed_over}", shown.proofs.join(" or "), shown.secret_keys.join(", else "));
    if !shown.required.is_empty() {
        text = format!("{text}; needs {}", shown.required.join(", "));
    }
    Some(text)
}

fn polled(shown: &Shown<'_>) -> Option<String> {
    let named = shown.polled.as_ref()?.join(", ");
    Some(if named.is_empty() { "polled: what an instance configures".into() } else { format!("polled: {named}") })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::definitions::load;

    fn line(key: &str) -> (String, String) {
        let table = table(&load(None).unwrap(), Paint::plain());
        let mut lines = table.lines().skip_while(|line| line.split(' ').next() != Some(key)).map(str::to_owned);
        (lines.next().unwrap(), lines.next().unwrap())
    }

    #[test]
    fn every_connector_has_a_row_and_says_how_it_proves_itself() {
        let loaded = load(None).unwrap();
        let table = table(&loaded, Paint::plain());
        let all = || loaded.catalogue.keys().filter_map(|key| loaded.catalogue.get(key));
        let polled = all().filter(|connector| connector.polling().is_some()).count();
        let called = all().filter(|connector| connector.has_webhooks()).count();
        assert_eq!(table.lines().count(), 1 + all().count() + called + polled, "{table}");
        let (row, proof) = line("sfdc");
        assert!(row.contains("Salesforce") && row.contains("instance") && row.ends_with("built in"), "{row}");
        assert_eq!(
            proof.trim_start(),
            "secret in the URL (token); secret: webhook.secret; needs event.vendor.account, webhook.secret"
        );
        assert!(line("dropbox").0.contains("that something changed"));
        assert!(line("asana").1.contains("handed over"));
        let (row, polled) = line("http");
        assert!(row.contains(" -  ") && row.contains("nothing by itself"), "{row}");
        assert_eq!(polled.trim_start(), "polled: what an instance configures");
        assert!(line("hubspot").1.contains("x-hubspot-signature-v3 or signature in x-hubspot-signature;"));
    }

    #[test]
    fn the_same_as_json() {
        let json: Value = serde_json::from_str(&json(&load(None).unwrap())).unwrap();
        let stripe = json.as_array().unwrap().iter().find(|connector| connector["key"] == "stripe").unwrap();
        assert_eq!((&stripe["hub"], &stripe["scope"]), (&"payment".into(), &"instance".into()));
        assert_eq!((&stripe["signals"], &stripe["secretKeys"][0]), (&false.into(), &"webhook.secret".into()));
        assert_eq!(stripe["proofs"], serde_json::json!(["signature in stripe-signature"]));
        assert!(stripe.get("file").is_none() && stripe["polled"].is_null());
        let http = json.as_array().unwrap().iter().find(|connector| connector["key"] == "http").unwrap();
        assert_eq!((&http["scope"], &http["polled"]), (&Value::Null, &serde_json::json!([])));
    }
}
