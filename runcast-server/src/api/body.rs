//! Reads the body of a request: within a limit, and only as long as it arrives.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::config::Limits;
use crate::problem::{Code, Problem};

/// A body, piece by piece.
pub(crate) struct BodyReader {
    body: Body,
    idle_timeout: Duration,
}

/// Why a body does not go on.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It stood still for too long.
    Idle(Duration),
    /// It took too long as a whole.
    Slow(Duration),
    /// The client broke it off.
    Broken(String),
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Idle(timeout) => {
                let detail =
                    format!("the body stood still for more than {} ms", timeout.as_millis());
                Self::new(Code::RequestTimeout, detail)
            }
            BodyError::Slow(timeout) => {
                let detail = format!("the body took more than {} ms", timeout.as_millis());
                Self::new(Code::RequestTimeout, detail)
            }
            BodyError::Broken(reason) => {
                Self::new(Code::InvalidBody, format!("the body broke off: {reason}"))
            }
        }
    }
}

impl BodyReader {
    pub(crate) fn new(body: Body, idle_timeout: Duration) -> Self {
        Self { body, idle_timeout }
    }

    /// The next piece, or none at the end. Can be cancelled without losing one.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(BodyError::Broken(error.to_string())),
                Some(Ok(frame)) => {
                    // Trailers say nothing here.
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The next piece, which must come before the client has been silent for too long.
    pub(crate) async fn next_in_time(&mut self) -> Result<Option<Bytes>, BodyError> {
        let timeout = self.idle_timeout;
        tokio::time::timeout(timeout, self.next()).await.unwrap_or(Err(BodyError::Idle(timeout)))
    }
}

/// Reads a whole body.
pub(crate) async fn read_whole(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    limits: &Limits,
) -> Result<Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse().ok()).is_some_and(|length: usize| length > bytes_max)
    {
        return Err(too_large(bytes_max));
    }
    let body = BodyReader::new(body, limits.body_idle_timeout);
    match tokio::time::timeout(limits.body_timeout, read_pieces(body, bytes_max)).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::Slow(limits.body_timeout).into()),
    }
}

async fn read_pieces(mut body: BodyReader, bytes_max: usize) -> Result<Bytes, Problem> {
    let Some(first) = body.next_in_time().await? else { return Ok(Bytes::new()) };
    // Nearly every body comes in one piece, which is taken as it is.
    let Some(second) = body.next_in_time().await? else { return within(first, bytes_max) };
    let mut whole = BytesMut::from(first);
    whole.extend_from_slice(&second);
    while whole.len() <= bytes_max {
        match body.next_in_time().await? {
            Some(bytes) => whole.extend_from_slice(&bytes),
            None => break,
        }
    }
    within(whole.freeze(), bytes_max)
}

fn within(bytes: Bytes, bytes_max: usize) -> Result<Bytes, Problem> {
    if bytes.len() > bytes_max { Err(too_large(bytes_max)) } else { Ok(bytes) }
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the body is larger than {bytes_max} bytes");
    Problem::new(Code::BodyTooLarge, detail).with("max", bytes_max)
}
