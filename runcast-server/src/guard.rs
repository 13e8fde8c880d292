//! Who may speak to the server: the names it answers to and the browser pages it answers.
//!
//! Owns the defence against pages of other sites (CORS, DNS rebinding). Says nothing about what a
//! request may do.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::Response;

use crate::config::{HttpConfig, Origin};
use crate::config::{host_of, is_loopback};
use crate::problem::{Code, Problem};

const ALLOWED_METHODS: &str = "GET, HEAD, POST, DELETE";
const ALLOWED_HEADERS: &str = "Accept, Content-Type, If-None-Match, Last-Event-ID, Producer-Epoch, \
     Producer-Id, Producer-Seq";
const EXPOSED_HEADERS: &str = "ETag, Location";
/// How long a browser may remember what it may ask, in seconds.
const PREFLIGHT_AGE_S: &str = "600";

/// The names and origins that are served.
#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Vec<String>,
    origins: Vec<Origin>,
}

/// A request that may be answered.
#[derive(Debug)]
pub(crate) enum Admission {
    /// By its handler; for a page of another allowed origin, whose name the answer must carry.
    Pass(Option<HeaderValue>),
    /// At once: a browser asks what it may ask.
    Preflight(Response),
}

impl Guard {
    pub(crate) fn new(config: &HttpConfig) -> Self {
        let hosts =
            config.allowed_hosts.iter().map(|host| host_of(host).to_ascii_lowercase()).collect();
        Self { hosts, origins: config.allowed_origins.clone() }
    }

    pub(crate) fn admit(&self, request: &Request<Body>) -> Result<Admission, Problem> {
        let page = self.check(request.uri(), request.headers())?;
        if let Some(value) = request.headers().get(header::ORIGIN)
            && is_preflight(request)
        {
            return Ok(Admission::Preflight(preflight(value)));
        }
        Ok(Admission::Pass(page))
    }

    /// Whether a request that is no preflight may be answered; if so, for which page of another
    /// origin.
    pub(crate) fn check(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<HeaderValue>, Problem> {
        for name in [header::HOST, header::ORIGIN] {
            // Whoever reads the other one would find another request.
            if headers.get_all(&name).iter().nth(1).is_some() {
                return Err(Problem::header(name.as_str(), "is there more than once"));
            }
        }
        let host = headers.get(header::HOST).map(HeaderValue::to_str);
        let host = host.transpose().map_err(|_| forbidden_host("that is not text"))?;
        // HTTP/2 and absolute targets carry the name in the target.
        let authority = uri.authority().map(axum::http::uri::Authority::as_str);
        let (Some(name), also) = (authority.or(host), host) else {
            return Err(forbidden_host("of nothing: the request names no host"));
        };
        for name in [Some(name), also].into_iter().flatten() {
            self.check_host(name)?;
        }
        let Some(value) = headers.get(header::ORIGIN) else { return Ok(None) };
        let is_same_host = self.check_origin(value, name)?;
        Ok((!is_same_host).then(|| value.clone()))
    }

    fn check_host(&self, authority: &str) -> Result<(), Problem> {
        let host = host_of(authority);
        let is_known = || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
        if is_loopback(host) || is_known() {
            return Ok(());
        }
        Err(forbidden_host(&format!("{host:?}")))
    }

    /// Whether the page came from this very server; an error if it may not use it.
    fn check_origin(&self, value: &HeaderValue, host: &str) -> Result<bool, Problem> {
        let text = String::from_utf8_lossy(value.as_bytes());
        let refused = || {
            let detail = format!(
                "pages of {text:?} may not use this server; allow the origin in its configuration"
            );
            Problem::new(Code::ForbiddenOrigin, detail)
        };
        let origin: Origin = text.parse().map_err(|_| refused())?;
        let is_same_host = origin.authority().eq_ignore_ascii_case(host);
        if is_same_host || origin.is_loopback() || self.origins.contains(&origin) {
            return Ok(is_same_host);
        }
        Err(refused())
    }
}

fn forbidden_host(name: &str) -> Problem {
    let detail = format!(
        "this server does not answer under the name {name}; use localhost or 127.0.0.1, or allow \
         the name in its configuration"
    );
    Problem::new(Code::ForbiddenHost, detail)
}

fn is_preflight(request: &Request<Body>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(origin: &HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let mut insert = |name, value| headers.insert(name, HeaderValue::from_static(value));
    insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE_S);
    allow_origin(headers, origin.clone());
    response
}

/// Lets a page of this origin read the response.
pub(crate) fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(host: Option<&str>, origin: Option<&str>) -> Result<Admission, Code> {
        let config = HttpConfig {
            allowed_hosts: vec!["Runcast.internal".into()],
            allowed_origins: vec!["https://app.example.com".parse().unwrap()],
            ..HttpConfig::default()
        };
        let mut request = Request::builder().uri("/v1/runs");
        for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(Body::empty()).unwrap();
        Guard::new(&config).admit(&request).map_err(|problem| problem.code())
    }

    #[test]
    fn a_name_that_is_not_the_servers_is_refused() {
        for host in
            ["localhost", "LOCALHOST:7070", "127.0.0.1:1", "[::1]:7070", "runcast.internal:9"]
        {
            assert!(admit(Some(host), None).is_ok(), "{host}");
        }
        for host in ["evil.com", "localhost.evil.com:7070", "", "127.0.0.1.evil.com", "[::1"] {
            assert_eq!(admit(Some(host), None).unwrap_err(), Code::ForbiddenHost, "{host}");
        }
        assert_eq!(admit(None, None).unwrap_err(), Code::ForbiddenHost);
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let host = Some("localhost:7070");
        for origin in ["http://localhost:5173", "http://127.0.0.1:80", "https://app.example.com"] {
            let passed = admit(host, Some(origin));
            assert!(matches!(passed, Ok(Admission::Pass(Some(_)))), "{origin}");
        }
        assert!(matches!(admit(host, Some("http://localhost:7070")), Ok(Admission::Pass(None))));
        for origin in [
            "https://evil.com",
            "null",
            "http://app.example.com",
            "https://app.example.com.evil.com",
        ] {
            assert_eq!(admit(host, Some(origin)).unwrap_err(), Code::ForbiddenOrigin, "{origin}");
        }
    }
}
