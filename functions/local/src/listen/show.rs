//! Notifications as a person reads them.

use std::fmt::Write as _;

use axum::http::StatusCode;

use crate::listen::arrival::{Arrival, Message, Told};
use crate::listen::verdict::Verdict;
use crate::paint::{Paint, legible, legible_start};

/// Indentation of all lines but the first: the width of the time before it.
const INDENT: &str = "           ";

/// An arrival in full: one line for the request, one for its ids, one for each change.
pub(crate) fn whole(arrival: &Arrival, paint: Paint) -> String {
    let (elements, standard) = (arrival.verdicts.elements, arrival.verdicts.standard);
    let signatures = format!("{} {}", signature("Elements", elements, paint), signature("Standard", standard, paint));
    let mut text = format!("{}  ", paint.dim(&clock(arrival)));
    match &arrival.notification {
        Some(notification) => {
            let message = &notification.message;
            let _ = write!(
                text,
                "{} ({})  {signatures}  {}\n{INDENT}{}  {}",
                paint.bold(&name(message)),
                message.instance_id,
                answered(arrival, paint),
                legible(&notification.topic),
                paint.dim(&legible(&arrival.id)),
            );
        }
        None => {
            let _ = write!(text, "not a notification  {signatures}  {}", answered(arrival, paint));
        }
    }
    if arrival.count > 1 {
        let _ = write!(text, "  {}", paint.bold(&format!("↻ {}", came(arrival.count))));
    }
    if let Some(refusal) = arrival.verdicts.refusal() {
        let _ = write!(text, "\n{INDENT}{}", paint.bad(&legible(&refusal)));
    }
    let events = arrival.notification.iter().flat_map(|notification| &notification.message.events);
    for event in events {
        let _ = write!(text, "\n{INDENT}{} ({})", change(event), legible(&event.date));
    }
    text
}

/// An arrival's body as it came, but for what could harm a terminal.
pub(crate) fn body(arrival: &Arrival) -> String {
    let text = String::from_utf8_lossy(&arrival.body);
    let lines: Vec<String> = text.lines().map(|line| format!("{INDENT}{}", legible_start(line, usize::MAX))).collect();
    lines.join("\n")
}

/// An arrival in one line: time, answer, instance, the first change and how many more.
pub(crate) fn line(arrival: &Arrival, width: usize, paint: Paint) -> String {
    let head = format!("{}  {}", paint.dim(&clock(arrival)), answered(arrival, paint));
    let Some(notification) = &arrival.notification else { return format!("{head}  not a notification") };
    let (message, events) = (&notification.message, &notification.message.events);
    let mut told = events.first().map(change).unwrap_or_default();
    if events.len() > 1 {
        let _ = write!(told, " {}", paint.dim(&format!("and {} more", events.len() - 1)));
    }
    let again = match (arrival.status, arrival.count) {
        (StatusCode::OK, 0 | 1) => String::new(),
        (StatusCode::OK, count) => format!("  {}", paint.bold(&format!("↻ {}", came(count)))),
        _ => format!("  {}", paint.bad("will come again")),
    };
    format!("{head}  {:<width$}  {told}{again}", name(message))
}

fn clock(arrival: &Arrival) -> String {
    arrival.at.iso_seconds().get(11..).unwrap_or_default().to_owned()
}

fn answered(arrival: &Arrival, paint: Paint) -> String {
    let code = arrival.status.as_u16().to_string();
    if arrival.status == StatusCode::OK { paint.good(&code) } else { paint.bad(&code) }
}

fn name(message: &Message) -> String {
    if message.instance_name.is_empty() { "(no name)".into() } else { legible(&message.instance_name) }
}

fn signature(which: &str, verdict: Verdict, paint: Paint) -> String {
    match verdict {
        Verdict::Good => paint.good(&format!("✓ {which}")),
        Verdict::Bad(_) => paint.bad(&format!("✗ {which}")),
        Verdict::Unchecked => paint.dim(&format!("? {which}")),
    }
}

fn change(event: &Told) -> String {
    format!("{} {} {}", legible(&event.event_type), legible(&event.object_type), legible(&event.object_id))
}

fn came(count: u32) -> String {
    match count {
        2 => "2nd time".into(),
        3 => "3rd time".into(),
        n => format!("{n}th time"),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use events::Timestamp;
    use events::signature::SignatureError;

    use super::*;
    use crate::listen::arrival::Notification;
    use crate::listen::verdict::Verdicts;

    const BODY: &[u8] = br#"{"topic":"instance-7-hubspot-events","message":{"eventId":"n1","instanceId":7,
        "instanceName":"Ac\u001b[31mme","events":[{"eventType":"CREATED","objectType":"contacts","objectId":"123",
        "date":"2024-11-14T19:22:39Z"}]}}"#;

    fn arrival(status: StatusCode, count: u32, verdict: Verdict) -> Arrival {
        Arrival {
            at: Timestamp::from_seconds(1_790_000_000),
            id: "n1".into(),
            count,
            verdicts: Verdicts { elements: verdict, standard: Verdict::Good },
            status,
            notification: Notification::read(BODY),
            body: Bytes::from_static(BODY),
        }
    }

    #[test]
    fn a_notification_shows_who_what_when_and_whether_it_is_signed() {
        let text = whole(&arrival(StatusCode::OK, 2, Verdict::Good), Paint::plain());
        assert_eq!(
            text,
            "14:13:20Z  Ac\u{fffd}[31mme (7)  ✓ Elements ✓ Standard  200\n           \
             instance-7-hubspot-events  n1  ↻ 2nd time\n           \
             CREATED contacts 123 (2024-11-14T19:22:39Z)"
        );
    }

    #[test]
    fn a_body_is_shown_whole_as_it_came_and_cannot_move_the_cursor() {
        let mut raw = arrival(StatusCode::OK, 1, Verdict::Good);
        assert_eq!(
            body(&raw).split_whitespace().collect::<String>(),
            std::str::from_utf8(BODY).unwrap().split_whitespace().collect::<String>()
        );
        raw.body = Bytes::from_static(b"a\x1b[2J\xff\nb");
        assert_eq!(body(&raw), format!("{INDENT}a\u{fffd}[2J\u{fffd}\n{INDENT}b"));
    }

    #[test]
    fn a_refused_one_says_why_also_when_it_is_no_notification() {
        let mut refused = arrival(StatusCode::UNAUTHORIZED, 0, Verdict::Bad(SignatureError::Mismatch));
        let text = whole(&refused, Paint::plain());
        assert!(text.contains("✗ Elements ✓ Standard  401") && text.contains("does not match"), "{text}");
        refused.notification = None;
        assert!(whole(&refused, Paint::plain()).contains("not a notification"));
    }

    #[test]
    fn one_line_names_the_first_change_and_counts_the_rest() {
        let mut many = arrival(StatusCode::SERVICE_UNAVAILABLE, 1, Verdict::Good);
        let notification = many.notification.as_mut().unwrap();
        notification.message.instance_name = "Acme".into();
        notification.message.events = vec![notification.message.events[0].clone(); 20];
        let text = line(&many, 6, Paint::plain());
        assert_eq!(text, "14:13:20Z  503  Acme    CREATED contacts 123 and 19 more  will come again");
    }
}
