use proptest::prelude::*;
use serde_json::json;

use super::*;

const URL: &str = "https://api.example/v3/contacts?limit=2";

fn paging(value: Value) -> Paging {
    serde_json::from_value(value).unwrap()
}

fn cursor() -> Paging {
    paging(json!({"cursor": {"from": "paging.next.after", "body": "after"}}))
}

fn progress() -> Progress {
    Progress::new(Timestamp::from_millis(1000), 50)
}

fn page(body: &Value, records: usize) -> Received<'_> {
    static NONE: std::sync::LazyLock<HeaderMap> = std::sync::LazyLock::new(HeaderMap::new);
    Received { url: URL, headers: &NONE, body, records, page_size: Some(2), last: None }
}

/// The turns that pages of so many records lead to.
fn turns(paging: &Paging, pages: &[usize]) -> Vec<Next> {
    let (mut progress, nothing) = (progress(), json!({}));
    pages.iter().map(|records| paging.next(&page(&nothing, *records), &mut progress).unwrap()).collect()
}

#[test]
fn counting_ends_with_a_page_that_is_not_full() {
    let offset = paging(json!({"offset": {"query": "offset"}}));
    assert_eq!(turns(&offset, &[2, 2, 1]), [Next::Turn(Turn::Offset(2)), Next::Turn(Turn::Offset(4)), Next::End]);
    let one_based = paging(json!({"offset": {"query": "start", "first": 1}}));
    assert_eq!(turns(&one_based, &[2, 0]), [Next::Turn(Turn::Offset(3)), Next::End]);
    let pages = paging(json!({"page": {"body": "page", "first": 1}}));
    assert_eq!(turns(&pages, &[2, 3, 0]), [Next::Turn(Turn::Page(2)), Next::Turn(Turn::Page(3)), Next::End]);
    assert!(offset.counts() && pages.counts() && !cursor().counts());
    for (stable, counts) in [(true, false), (false, true)] {
        assert_eq!(paging(json!({"link": {"stable": stable}})).counts(), counts);
        assert_eq!(paging(json!({"url": {"at": "next", "stable": stable}})).counts(), counts);
    }
    assert!(paging(json!({"link": {}})).counts(), "a link may be a page's number");
    let (mut progress, nothing) = (progress(), json!({}));
    let unsized_page = Received { page_size: None, ..page(&nothing, 1) };
    assert_eq!(
        offset.next(&unsized_page, &mut progress),
        Ok(Next::Turn(Turn::Offset(1))),
        "no page is known to be full"
    );
}

#[test]
fn a_cursor_leads_on_until_there_is_none() {
    let next = |body: &Value| cursor().next(&page(body, 2), &mut progress());
    assert_eq!(next(&json!({"paging": {"next": {"after": "400"}}})), Ok(Next::Turn(Turn::Cursor("400".into()))));
    assert_eq!(next(&json!({"paging": {"next": {"after": 400}}})), Ok(Next::Turn(Turn::Cursor("400".into()))));
    for end in [
        json!({}),
        json!({"paging": null}),
        json!({"paging": {"next": {"after": null}}}),
        json!({"paging": {"next": {"after": " "}}}),
    ] {
        assert_eq!(next(&end), Ok(Next::End), "{end}");
    }
    assert_eq!(next(&json!({"paging": {"next": {"after": [1]}}})), Err(PagingError::Unreadable));
    assert_eq!(
        next(&json!({"paging": {"next": {"after": "x".repeat(CURSOR_BYTES + 1)}}})),
        Err(PagingError::Unreadable)
    );
}

#[test]
fn what_counts_begins_again_from_the_last_date_and_counts_only_within_one() {
    let body = json!({"paging": {"next": {"after": "2"}}});
    let dated = |last: i64| Received { last: Some(Timestamp::from_millis(last)), ..page(&body, 2) };
    let since = |at: i64| Ok(Next::Turn(Turn::Since(Timestamp::from_millis(at))));
    for (paging, counted) in [
        (
            json!({"cursor": {"from": "paging.next.after", "body": "after", "from_last": true}}),
            Turn::Cursor("2".into()),
        ),
        (json!({"offset": {"query": "start", "first": 1, "from_last": true}}), Turn::Offset(3)),
    ] {
        let paging = self::paging(paging);
        assert!(paging.counts() && paging.restarts());
        let mut progress = progress();
        assert_eq!(paging.next(&dated(1000), &mut progress), Ok(Next::Turn(counted.clone())), "a page of one date");
        assert_eq!(progress.counted(), Some(Some(Timestamp::from_millis(1000))));
        assert_eq!(paging.next(&dated(3000), &mut progress), since(3000));
        assert_eq!(paging.next(&dated(5000), &mut progress), since(5000));
        assert_eq!(paging.next(&dated(5000), &mut progress), Ok(Next::Turn(counted)), "the count begins again too");
        assert_eq!(progress.counted(), Some(Some(Timestamp::from_millis(1000))), "where counting began");
        assert_eq!(paging.next(&Received { records: 0, body: &json!({}), ..dated(0) }, &mut progress), Ok(Next::End));

        let mut uncounted = self::progress();
        assert_eq!(paging.next(&dated(1001), &mut uncounted), since(1001));
        assert_eq!(uncounted.counted(), None, "nothing shifted");
    }
}

#[test]
fn where_a_cursor_always_stands_another_field_says_whether_there_is_more() {
    let dropbox = paging(
        json!({"cursor": {"from": "cursor", "more": "has_more", "body": "cursor", "alone": true, "path": "/2/files/list_folder/continue"}}),
    );
    let next = |body: Value| dropbox.next(&page(&body, 0), &mut progress());
    assert_eq!(
        next(json!({"cursor": "AAF", "has_more": true})),
        Ok(Next::Turn(Turn::Cursor("AAF".into()))),
        "an empty page leads on"
    );
    for more in [json!(false), json!("false"), json!(0), json!(null)] {
        assert_eq!(next(json!({"cursor": "AAF", "has_more": more})), Ok(Next::End));
    }
}

#[test]
fn a_link_or_a_url_is_followed_where_the_query_went() {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::LINK, "</v3/contacts?page=2>; rel=\"next\"".parse().unwrap());
    let nothing = json!([]);
    let with_header = Received { headers: &headers, ..page(&nothing, 2) };
    let expected = Ok(Next::Turn(Turn::Url("https://api.example/v3/contacts?page=2".into())));
    assert_eq!(paging(json!({"link": {}})).next(&with_header, &mut progress()), expected);
    assert_eq!(paging(json!({"link": {}})).next(&page(&nothing, 2), &mut progress()), Ok(Next::End));
    let by_url = paging(json!({"url": {"at": "nextRecordsUrl"}}));
    let next = |url: Value| by_url.next(&page(&json!({"nextRecordsUrl": url}), 2), &mut progress());
    for url in [
        "/v3/contacts?page=2",
        "?page=2",
        "https://api.example/v3/contacts?page=2",
        " HTTPS://API.example:443/v3/contacts?page=2",
    ] {
        assert_eq!(next(json!(url)), expected, "{url}");
    }
    assert_eq!(next(json!(null)), Ok(Next::End));
    assert_eq!(next(json!("")), Ok(Next::End));
    assert_eq!(next(json!({})), Err(PagingError::Unreadable));
    assert_eq!(next(json!("https://:x")), Err(PagingError::Unreadable));
}

#[test]
fn a_url_at_another_host_is_an_error_that_names_the_host() {
    let by_url = paging(json!({"url": {"at": "next"}}));
    for (url, host) in [
        ("https://evil.example/v3", "https://evil.example"),
        ("//evil.example/v3", "https://evil.example"),
        ("http://api.example/v3", "http://api.example"),
        ("https://api.example:8443/v3", "https://api.example:8443"),
        ("https://api.example@evil.example/v3", "https://evil.example"),
        ("https://user:secret@api.example/v3", "https://api.example"),
        ("https://api.example.evil.example/", "https://api.example.evil.example"),
        ("\\\\evil.example/v3", "https://evil.example"),
        ("file:///etc/passwd", "file://"),
    ] {
        let next = by_url.next(&page(&json!({"next": url}), 2), &mut progress());
        assert_eq!(next, Err(PagingError::OtherHost(host.into())), "{url}");
        assert!(!next.unwrap_err().to_string().contains("secret"));
    }
}

#[test]
fn a_page_that_was_read_before_is_an_error() {
    let mut progress = progress();
    let (one, two) = (json!({"paging": {"next": {"after": "1"}}}), json!({"paging": {"next": {"after": "2"}}}));
    assert!(cursor().next(&page(&one, 2), &mut progress).is_ok());
    assert!(cursor().next(&page(&two, 2), &mut progress).is_ok());
    assert_eq!(cursor().next(&page(&one, 2), &mut progress), Err(PagingError::Repeats(3)));
    let by_url = paging(json!({"url": {"at": "next"}}));
    let itself = json!({"next": URL});
    assert_eq!(by_url.next(&page(&itself, 2), &mut self::progress()), Err(PagingError::Repeats(1)));
}

#[test]
fn empty_pages_lead_on_for_a_while() {
    let mut progress = progress();
    for n in 1..EMPTY_PAGES {
        let body = json!({"paging": {"next": {"after": n}}});
        assert!(cursor().next(&page(&body, 0), &mut progress).is_ok());
    }
    let body = json!({"paging": {"next": {"after": "last"}}});
    assert_eq!(cursor().next(&page(&body, 0), &mut progress.clone()), Err(PagingError::Empty));
    assert!(cursor().next(&page(&body, 1), &mut progress).is_ok(), "a record in between begins the count again");
}

#[test]
fn the_budget_ends_reading_and_is_told_from_the_end() {
    let offset = paging(json!({"offset": {"query": "offset"}}));
    let (mut progress, nothing) = (Progress::new(Timestamp::from_millis(0), 2), json!({}));
    assert_eq!(offset.next(&page(&nothing, 2), &mut progress), Ok(Next::Turn(Turn::Offset(2))));
    assert_eq!(offset.next(&page(&nothing, 2), &mut progress.clone()), Ok(Next::Budget));
    assert_eq!(offset.next(&page(&nothing, 1), &mut progress), Ok(Next::End));
}

#[test]
fn a_capped_query_begins_again_from_the_last_date() {
    let capped = paging(json!({"cursor": {"from": "after", "query": "after", "restart": 5}}));
    let (mut progress, at) = (progress(), Timestamp::from_millis);
    let body = |cursor: &str| json!({"after": cursor});
    let mut next = |cursor: &str, last: i64| {
        let body = body(cursor);
        capped.next(&Received { last: Some(at(last)), ..page(&body, 2) }, &mut progress)
    };
    assert_eq!(next("2", 1500), Ok(Next::Turn(Turn::Cursor("2".into()))));
    assert_eq!(next("4", 2000), Ok(Next::Turn(Turn::Since(at(2000)))), "a third page of 2 would be beyond 5");
    assert_eq!(next("2", 2500), Ok(Next::Turn(Turn::Cursor("2".into()))), "the cursors of the new query are others");
    assert_eq!(next("4", 3000), Ok(Next::Turn(Turn::Since(at(3000)))));
    assert_eq!(next("2", 3000), Ok(Next::Turn(Turn::Cursor("2".into()))));
    assert_eq!(next("4", 3000), Err(PagingError::OneDate), "it would show the same again");
}

#[test]
fn paging_by_dates_asks_again_from_the_last() {
    let since = paging(json!({"since": {}}));
    let (mut progress, nothing) = (progress(), json!({}));
    let at = Timestamp::from_millis;
    let mut next = |records, last| since.next(&Received { last, ..page(&nothing, records) }, &mut progress);
    assert_eq!(next(2, Some(at(2000))), Ok(Next::Turn(Turn::Since(at(2000)))));
    assert_eq!(next(2, Some(at(2001))), Ok(Next::Turn(Turn::Since(at(2001)))));
    assert_eq!(next(2, Some(at(2001))), Err(PagingError::OneDate));
    assert_eq!(next(1, Some(at(2001))), Ok(Next::End));
    assert_eq!(next(2, None), Err(PagingError::OneDate));
}

proptest! {
    #[test]
    fn reading_ends_whatever_the_provider_answers(
        which in 0..8usize,
        pages in proptest::collection::vec(("[a-c/?=:.@]{0,3}", 0..3usize, 0..3000i64), 1..80),
        budget in 1..30u32,
    ) {
        let paging = paging([
            json!({"offset": {"query": "o"}}), json!({"page": {"query": "p"}}), json!({"cursor": {"from": "next"}}),
            json!({"url": {"at": "next"}}), json!({"since": {}}), json!({"cursor": {"from": "next", "restart": 3}}),
            json!({"offset": {"query": "o", "from_last": true}}), json!({"cursor": {"from": "next", "from_last": true, "restart": 3}}),
        ][which].clone());
        let mut progress = Progress::new(Timestamp::from_millis(1000), budget);
        let (mut url, mut turns) = (URL.to_owned(), Vec::new());
        for (next, records, last) in pages.iter().cycle() {
            let body = json!({ "next": next });
            let last = Some(Timestamp::from_millis(*last));
            match paging.next(&Received { url: &url, last, ..page(&body, *records) }, &mut progress) {
                Ok(Next::Turn(turn)) => {
                    prop_assert_eq!(progress.turn(), &turn);
                    if let Turn::Url(to) = &turn {
                        prop_assert!(to.starts_with("https://api.example/"), "{}", to);
                        url.clone_from(to);
                    }
                    turns.push((progress.since(), turn));
                }
                Ok(Next::End | Next::Budget) | Err(_) => break,
            }
            prop_assert!(progress.pages() < budget);
        }
        for (place, turn) in turns.iter().enumerate() {
            prop_assert!(!turns[..place].contains(turn), "{:?}", turns);
        }
    }
}
