//! The web UI, which is part of the binary.
//!
//! Owns which files there are and how browsers keep them. In a debug build they are read from
//! `ui/dist` at each request.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "../ui/dist"]
#[allow_missing = true]
struct Files;

/// Where Vite puts files whose name changes with their content.
const HASHED: &str = "assets/";
const FOREVER: &str = "public, max-age=31536000, immutable";
const ALWAYS_ASK: &str = "no-cache";
/// The page loads nothing from elsewhere, runs no script but its own and is in nobody's frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const NOT_BUILT: &str = "<!doctype html><meta charset=\"utf-8\"><title>Runcast</title>\
<h1>The web UI is not in this binary</h1>\
<p>Build it and then the server again: <code>npm ci &amp;&amp; npm run build --workspace ui</code>, \
then <code>cargo build --release</code>; or <code>make run</code>, which does both.</p>\
<p>The API works without it: see <a href=\"/openapi.json\">/openapi.json</a>.</p>";

/// What a browser gets at a path.
pub(crate) enum Page {
    /// A file that changes with the binary, such as the page itself.
    Fresh(&'static str, Box<EmbeddedFile>),
    /// A file whose name changes with its content.
    Hashed(Box<EmbeddedFile>),
    /// How to build the UI.
    NotBuilt,
}

/// The page or file at a path, if there is one.
pub(crate) fn find(path: &str) -> Option<Page> {
    let name = path.strip_prefix('/')?;
    if name.is_empty() || name == "inbox" || name == "runs" || name.starts_with("runs/") {
        let index = Files::get("index.html").map(Box::new);
        return Some(
            index.map_or(Page::NotBuilt, |file| Page::Fresh("text/html; charset=utf-8", file)),
        );
    }
    let file = Box::new(Files::get(name)?);
    if name.starts_with(HASHED) { Some(Page::Hashed(file)) } else { Some(Page::Fresh("", file)) }
}

impl Page {
    /// The response, or that the browser has it already.
    pub(crate) fn into_response(self, request: &HeaderMap) -> Response {
        let (media_type, file, cache_control) = match self {
            Self::NotBuilt => return not_built(),
            Self::Fresh(media_type, file) => (media_type, file, ALWAYS_ASK),
            Self::Hashed(file) => ("", file, FOREVER),
        };
        let etag = etag_of(&file);
        if request.get(header::IF_NONE_MATCH).is_some_and(|known| *known == etag) {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            response.headers_mut().insert(header::ETAG, etag);
            return response;
        }
        let media_type = if media_type.is_empty() { file.metadata.mimetype() } else { media_type };
        let media_type = HeaderValue::from_str(media_type)
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        let mut response = page(bytes, media_type);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
        headers.insert(header::ETAG, etag);
        response
    }
}

fn not_built() -> Response {
    let media_type = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = page(Bytes::from_static(NOT_BUILT.as_bytes()), media_type);
    let always_ask = HeaderValue::from_static(ALWAYS_ASK);
    response.headers_mut().insert(header::CACHE_CONTROL, always_ask);
    response
}

fn page(bytes: Bytes, media_type: HeaderValue) -> Response {
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type);
    let policy = HeaderValue::from_static(CONTENT_SECURITY_POLICY);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn etag_of(file: &EmbeddedFile) -> HeaderValue {
    let hash = file.metadata.sha256_hash();
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{digits}\"")).expect("digits in quotes are a header's text")
}
