//! The front door: every request passes here, whatever connection it came on.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use tower_service::Service as _;

use crate::accept::{Handover, Wire};
use crate::guard::{Admission, Guard, allow_origin};

/// Lets requests in, or not, and has them answered. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FrontDoor {
    guard: Arc<Guard>,
    router: Router,
    handover: Handover,
    wire: Option<Arc<Wire>>,
}

impl FrontDoor {
    pub(crate) fn new(guard: Guard, router: Router) -> Self {
        Self { guard: Arc::new(guard), router, handover: Handover::default(), wire: None }
    }

    /// The door of one connection, which may become something else than HTTP.
    pub(crate) fn for_connection(self, handover: Handover, wire: Arc<Wire>) -> Self {
        Self { handover, wire: Some(wire), ..self }
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    async fn answer(self, request: Request<Incoming>) -> Response {
        let mut request = request.map(Body::new);
        let page = match self.guard.admit(&request) {
            Err(problem) => return problem.into_response(),
            Ok(Admission::Preflight(response)) => return response,
            Ok(Admission::Pass(page)) => page,
        };
        request.extensions_mut().insert(self.handover);
        if let Some(wire) = self.wire {
            wire.mark(&mut request);
        }
        let mut router = self.router;
        let Ok(mut response) = router.call(request).await;
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(origin) = page {
            allow_origin(headers, origin);
        }
        response
    }
}

impl hyper::service::Service<Request<Incoming>> for FrontDoor {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move { Ok(door.answer(request).await) })
    }
}
