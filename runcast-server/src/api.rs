//! The calls of `docs/http-api.md`: what each request means and what it is answered.
//!
//! Owns the checks of requests and the order of things. Reaches streams only through the hub and
//! writes wire bytes only through `transport`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use runcast_hub::Hub;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accept::PhaseWatch;
use crate::clock::Clock;
use crate::config::Limits;
use crate::metrics::{Exposition, Metrics};
use crate::presence::Presence;
use crate::problem::{Code, Problem};
use crate::projection::Projection;
use crate::publisher::Publisher;
use crate::ui;

mod append;
mod asking;
mod body;
mod commands;
mod create;
mod description;
mod events;
mod feed;
mod follow;
mod heartbeat;
mod inputs;
mod intake;
mod live;
mod operation;
mod pages;
mod parameters;
mod runs;
mod socket;
mod streams;

pub(crate) use append::Target;
pub(crate) use follow::{FollowRequest, Scope};
pub(crate) use parameters::{Query, Representation, without_body};

/// What every call works with.
pub(crate) struct Services {
    pub(crate) hub: Hub,
    pub(crate) projection: Projection,
    pub(crate) clock: Clock,
    pub(crate) presence: Presence,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) exposition: Exposition,
    pub(crate) limits: Limits,
    pub(crate) heartbeat: Duration,
    pub(crate) phase: PhaseWatch,
}

pub(crate) type Shared = Arc<Services>;

/// Every call, and their description. A call is in both or in none.
fn calls() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(description::base())
        .routes(routes!(create::create, runs::list))
        .routes(routes!(runs::show, runs::delete))
        .routes(routes!(append::append, events::read))
        .routes(routes!(commands::request, commands::mailbox))
        .routes(routes!(commands::acknowledge))
        .routes(routes!(inputs::answer))
        .routes(routes!(inputs::list))
        .routes(routes!(heartbeat::beat))
        .routes(routes!(socket::open))
        .routes(routes!(streams::follow))
        .routes(routes!(feed::read))
        .routes(routes!(operation::healthz))
        .routes(routes!(operation::readyz))
        .routes(routes!(operation::metrics))
        .routes(routes!(operation::openapi))
}

/// Answers requests.
pub(crate) fn router(services: Services) -> Router {
    let (router, _) = calls().split_for_parts();
    router
        .fallback(everything_else)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(Arc::new(services))
}

async fn everything_else(request: Request) -> Response {
    let path = request.uri().path();
    if let Some(file) = ui::find(path) {
        return match *request.method() {
            Method::GET | Method::HEAD => file.into_response(request.headers()),
            _ => {
                let mut response = method_not_allowed(request).await;
                let allowed = HeaderValue::from_static("GET,HEAD");
                response.headers_mut().insert(header::ALLOW, allowed);
                response
            }
        };
    }
    let detail = format!("there is nothing at {path}; the calls are listed at /openapi.json");
    Problem::new(Code::NotFound, detail).into_response()
}

async fn method_not_allowed(request: Request) -> Response {
    let detail = format!("{} does not take {}", request.uri().path(), request.method());
    Problem::new(Code::MethodNotAllowed, detail).into_response()
}

/// A response with a body of JSON, true at this moment only.
fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
