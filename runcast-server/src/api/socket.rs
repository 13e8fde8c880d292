//! Opens a WebSocket, over which a client follows and appends to many runs.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::description::ProblemBody;
use super::parameters::Query;
use crate::accept::Handover;
use crate::problem::{Code, Problem};
use crate::transport::websocket::{SUBPROTOCOL, handshake};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Open a WebSocket
///
/// Subprotocol `runcast.v1`, described in protocol/PROTOCOL.md: subscribe to many runs, publish.
#[utoipa::path(
    get, path = "/v1/ws", tag = "events",
    params(
        ("Sec-WebSocket-Protocol" = String, Header, description = "Must name `runcast.v1`"),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The request is no handshake"),
    ),
)]
pub(super) async fn open(request: Request) -> Response {
    match upgrade(request) {
        Ok(response) => response,
        Err(problem) => {
            let needs_upgrade = problem.code() == Code::UpgradeRequired;
            let mut response = problem.into_response();
            if needs_upgrade {
                response.headers_mut().insert(header::UPGRADE, WEBSOCKET);
                let version = HeaderValue::from_static("13");
                response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
            }
            response
        }
    }
}

fn upgrade(request: Request) -> Result<Response, Problem> {
    Query::parse(request.uri().query(), &[], &[])?;
    let accepted = handshake(request.method(), request.version(), request.headers())?;
    let Some(handover) = request.extensions().get::<Handover>().cloned() else {
        let detail = "this connection cannot become a WebSocket";
        return Err(Problem::new(Code::UpgradeRequired, detail));
    };
    handover.set(hyper::upgrade::on(request));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accepted.accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}
