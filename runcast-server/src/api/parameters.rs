//! What a request says beside its body: the run in its path, its query, its headers. All of it is
//! checked here, and what is unknown is refused by name.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use runcast_event::{Cursor, EventFilter, FILTER_FIELDS, RunId};

use crate::problem::{Code, Problem};
use crate::transport::view::View;

/// The run that the path names.
#[derive(Debug)]
pub(crate) struct RunPath(pub(crate) RunId);

impl<S: Send + Sync> FromRequestParts<S> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let not_utf8 = |_| Problem::new(Code::InvalidRunId, "the run id is not UTF-8");
        let found = RawPathParams::from_request_parts(parts, state).await.map_err(not_utf8)?;
        let text = found.iter().find(|(name, _)| *name == "run").map_or("", |(_, value)| value);
        Ok(Self(RunId::new(text)?))
    }
}

/// The run that the path names, and a part of it: a command or an input.
#[derive(Debug)]
pub(crate) struct PartPath {
    pub(crate) run: RunId,
    pub(crate) part: String,
}

impl<S: Send + Sync> FromRequestParts<S> for PartPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let RunPath(run) = RunPath::from_request_parts(parts, state).await?;
        let not_utf8 = |_| Problem::new(Code::NotFound, "the path is not UTF-8");
        let found = RawPathParams::from_request_parts(parts, state).await.map_err(not_utf8)?;
        let text = found.iter().find(|(name, _)| *name != "run").map_or("", |(_, value)| value);
        Ok(Self { run, part: text.to_owned() })
    }
}

/// The query of a call that knows its parameters.
#[derive(Debug, Default)]
pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Takes a query apart. A parameter that is not `known` is refused, and so is one that is there
    /// twice and is not `repeatable`.
    pub(crate) fn parse(
        raw: Option<&'a str>,
        known: &[&str],
        repeatable: &[&str],
    ) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            let may_repeat = repeatable.contains(&&*name);
            if !may_repeat && !known.contains(&&*name) {
                let mut names = [known, repeatable].concat();
                names.sort_unstable();
                let detail = match names.as_slice() {
                    [] => "is not known: the call takes no parameters".to_owned(),
                    names => format!("is not known here; the parameters are {}", names.join(", ")),
                };
                return Err(Problem::parameter(&shortened(&name), detail));
            }
            if !may_repeat && query.text(&name).is_some() {
                return Err(Problem::parameter(&name, "is there more than once"));
            }
            query.0.push((name, value));
        }
        Ok(query)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The parameter as what it stands for.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let refused = |error| Problem::parameter(name, format!("is not valid: {error}"));
        text.parse().map(Some).map_err(refused)
    }

    /// A whole number within bounds.
    pub(crate) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_plain && range.contains(number));
        let (start, end) = range.into_inner();
        let refused = || {
            let detail =
                format!("must be a whole number from {start} to {end}, is {:?}", shortened(text));
            Problem::parameter(name, detail)
        };
        number.map(Some).ok_or_else(refused)
    }

    /// Which events the reader wants, and whether merged: of [`FILTER_FIELDS`] and `coalesce`.
    pub(crate) fn view(&self) -> Result<View, Problem> {
        let mut filter = EventFilter::default();
        for field in FILTER_FIELDS {
            for value in self.all(field) {
                let allowed = filter.allow(field, value);
                allowed.map_err(|error| Problem::parameter(field, error.problem))?;
            }
        }
        Ok(View { filter, coalesce: self.switch("coalesce")?.unwrap_or(false) })
    }

    /// A switch: `1` and `true`, `0` and `false`.
    pub(crate) fn switch(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.text(name) {
            None => Ok(None),
            Some("1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(_) => Err(Problem::parameter(name, "must be true or false")),
        }
    }
}

/// A text from a stranger, short enough to be sent back.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A header's text, if it is there once and is text.
pub(crate) fn header_text<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::header(name.as_str(), "is there more than once"));
    }
    let not_text = |_| Problem::header(name.as_str(), "has bytes that are not printable ASCII");
    value.to_str().map(Some).map_err(not_text)
}

/// Refuses a body of a request that has no use for one.
pub(crate) fn without_body(headers: &HeaderMap) -> Result<(), Problem> {
    let is_none = |length: &HeaderValue| length == "0";
    for (name, is_body) in [
        (header::TRANSFER_ENCODING, headers.contains_key(header::TRANSFER_ENCODING)),
        (header::CONTENT_LENGTH, !headers.get_all(header::CONTENT_LENGTH).iter().all(is_none)),
    ] {
        if is_body {
            return Err(Problem::header(name.as_str(), "stands for a body; a follow has none"));
        }
    }
    Ok(())
}

/// Which body a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// One JSON text.
    Json,
    /// One JSON text a line.
    Lines,
}

impl MediaType {
    /// Reads `Content-Type`. Its parameters are passed over: JSON is always UTF-8.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            let detail = "bodies are not taken compressed: send it without Content-Encoding";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let text = header_text(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            return Ok(Self::Json);
        }
        if essence.eq_ignore_ascii_case("application/x-ndjson") {
            return Ok(Self::Lines);
        }
        let found = if essence.is_empty() {
            "there is none".into()
        } else {
            format!("it is {:?}", shortened(essence))
        };
        let detail = format!(
            "Content-Type must be application/json (curl --json sends it), or application/x-ndjson \
             for one event a line where events are appended; {found}"
        );
        Err(Problem::new(Code::UnsupportedMediaType, detail))
    }
}

/// How events are given to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Representation {
    /// A page of JSON.
    Page,
    /// Server-sent events.
    Live,
    /// One event a line.
    Lines,
}

impl Representation {
    /// What the client likes best; of what it likes equally, the one it names first.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut best: Option<(f32, Self)> = None;
        let mut is_silent = true;
        for value in headers.get_all(header::ACCEPT) {
            for range in value.to_str().unwrap_or_default().split(',') {
                is_silent = false;
                let mut parts = range.split(';').map(str::trim);
                let media = parts.next().unwrap_or_default().to_ascii_lowercase();
                let found = match media.as_str() {
                    "application/json" | "application/*" | "*/*" => Self::Page,
                    "text/event-stream" | "text/*" => Self::Live,
                    "application/x-ndjson" => Self::Lines,
                    _ => continue,
                };
                let quality = parts.find_map(|part| part.strip_prefix("q="));
                let quality = quality.map_or(1.0, |text| text.parse::<f32>().unwrap_or(0.0));
                if quality > best.map_or(0.0, |(known, _)| known) {
                    best = Some((quality, found));
                }
            }
        }
        match best {
            Some((_, found)) => Ok(found),
            None if is_silent => Ok(Self::Page),
            None => {
                let detail = "events are given as application/json, text/event-stream or \
                     application/x-ndjson; Accept names none of them";
                Err(Problem::new(Code::NotAcceptable, detail))
            }
        }
    }
}

/// Where a reader stands: by `Last-Event-ID`, which a browser sends when it resumes, else by
/// `after`.
pub(crate) fn cursor(headers: &HeaderMap, query: &Query<'_>) -> Result<Option<Cursor>, Problem> {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let after = query.parsed("after")?;
    match header_text(headers, &LAST_EVENT_ID)? {
        None | Some("") => Ok(after),
        Some(text) => {
            let refused =
                |error| Problem::header("Last-Event-ID", format!("is not valid: {error}"));
            text.parse().map(Some).map_err(refused)
        }
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {

    use super::*;

    fn accept(text: &str) -> Result<Representation, Code> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(text).unwrap());
        Representation::of(&headers).map_err(|problem| problem.code())
    }

    #[test]
    fn a_reader_gets_what_it_likes_best() {
        assert_eq!(Representation::of(&HeaderMap::new()), Ok(Representation::Page));
        assert_eq!(accept("text/event-stream"), Ok(Representation::Live));
        assert_eq!(accept("text/html, */*;q=0.8"), Ok(Representation::Page));
        assert_eq!(accept("*/*;q=0.1, application/x-ndjson;q=0.2"), Ok(Representation::Lines));
        assert_eq!(accept("application/json, text/event-stream"), Ok(Representation::Page));
        assert_eq!(accept("image/png"), Err(Code::NotAcceptable));
        assert_eq!(accept("application/json;q=0"), Err(Code::NotAcceptable));
    }

    #[test]
    fn an_unknown_or_repeated_parameter_is_refused_by_name() {
        let refused = |raw| Query::parse(Some(raw), &["after"], &["tag"]).unwrap_err();
        let unknown = refused("afer=1");
        assert_eq!(unknown.code(), Code::InvalidParameter);
        assert_eq!(serde_json::to_value(&unknown).unwrap()["parameter"], "afer");
        assert_eq!(refused("after=1&after=2").code(), Code::InvalidParameter);
        let query = Query::parse(Some("tag=a&tag=b%20c&after=7"), &["after"], &["tag"]).unwrap();
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(query.number("after", 0..=7).unwrap(), Some(7));
        assert!(query.number("after", 0..=6).is_err());
    }
}
