//! A router behind API Gateway: an HTTP API with payload format 2.0 and the `$default` stage (another stage's name would
//! stand before every path).
//!
//! *Promise:* the router sees what it would see on a socket: the path and the query as one URI, the body's bytes, binary
//! or not. A request that would outlast the invocation is answered 503, "try again", before Lambda cuts it off.
//!
//! *Hazards.* API Gateway hands the path percent-decoded; it is encoded again, so that a `?`, `#` or `..` in it stays part
//! of it. The library would make a URL of the sender's `Host` and panic over a strange one, so it is not asked to.
//!
//! *Sizes:* the whole event has at most 6 MB, the body as base64 included; the roles' own limits (4 MB) are below that.

use std::convert::Infallible;

use ::http::{HeaderMap, Uri};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, LambdaEvent, Request, Service as _, service_fn};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tower::ServiceExt as _;

use crate::Error;
use crate::invocation::{self, Invocation};

/// What a path holds as it is: RFC 3986's `pchar` and the slash.
const OUTSIDE_PATHS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// What no URI may hold. A query comes as it was sent, and some senders sign it, so nothing else is touched.
const OUTSIDE_QUERIES: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// Serves the router until the process ends, and says of other paths that there is nothing. `after` is done after each request, before it is answered.
///
/// # Errors
/// The Runtime API's.
pub async fn serve(router: Router, after: impl AsyncFn()) -> Result<(), Error> {
    let router = router.fallback(front::nowhere);
    invocation::serve(async |event, invocation| Ok(answer(router.clone(), event, invocation).await), after).await
}

async fn answer(router: Router, mut event: LambdaRequest, invocation: Invocation) -> impl Serialize {
    let within = invocation.for_work();
    let (uri, headers) = taken_out(&mut event);
    let role = service_fn(move |request: Request| {
        let router = router.clone();
        let request = put_in(request, uri.clone(), headers.clone());
        async move { Ok::<_, Infallible>(front::within(within, respond(router, request)).await) }
    });
    match Adapter::from(role).call(LambdaEvent::new(event, invocation.context)).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

async fn respond(router: Router, request: axum::extract::Request) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The URI and the headers, of which the library is not to make anything.
fn taken_out(event: &mut LambdaRequest) -> (Uri, HeaderMap) {
    let LambdaRequest::ApiGatewayV2(event) = event else { return (Uri::default(), HeaderMap::new()) };
    let path = event.raw_path.replace("/".into()).unwrap_or_default();
    let query = event.raw_query_string.take().unwrap_or_default();
    event.request_context.domain_name = None;
    (uri(&path, &query), std::mem::take(&mut event.headers))
}

fn put_in(request: Request, uri: Uri, mut headers: HeaderMap) -> axum::extract::Request {
    let (mut parts, body) = request.into_parts();
    parts.uri = uri;
    // What the library adds itself: the cookies, which API Gateway hands apart.
    headers.extend(parts.headers);
    parts.headers = headers;
    let body = match body {
        lambda_http::Body::Text(text) => Body::from(text),
        lambda_http::Body::Binary(bytes) => Body::from(bytes),
        _ => Body::empty(),
    };
    axum::extract::Request::from_parts(parts, body)
}

/// The URI of a decoded path and a query as it was sent.
fn uri(path: &str, query: &str) -> Uri {
    let path = utf8_percent_encode(path.strip_prefix('/').unwrap_or(path), OUTSIDE_PATHS);
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/{path}{mark}{}", utf8_percent_encode(query, OUTSIDE_QUERIES)).parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_decoded_path_is_encoded_again_and_a_query_stays_as_it_was_sent() {
        for (path, query, expected) in [
            ("/elements/api-v2/events/hubspot", "", "/elements/api-v2/events/hubspot"),
            ("/a/../b", "c=%2F&d=|[]", "/a/../b?c=%2F&d=|[]"),
            ("/a b/ü?#%", "x y#<z", "/a%20b/%C3%BC%3F%23%25?x%20y%23%3Cz"),
            ("//host/a", "", "//host/a"),
            ("", "", "/"),
        ] {
            assert_eq!(uri(path, query).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_path_and_query_arrive(path in "/.{0,40}", query in ".{0,40}") {
            let uri = uri(&path, &query);
            prop_assert_eq!(percent_decode_str(uri.path()).decode_utf8().unwrap(), path);
            let arrived = uri.query().map(|q| percent_decode_str(q).decode_utf8_lossy().into_owned());
            let sent = percent_decode_str(&query).decode_utf8_lossy().into_owned();
            prop_assert_eq!(arrived.unwrap_or_default(), sent);
        }
    }
}
