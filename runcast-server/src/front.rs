//! The front door: every request passes here, whatever connection it came on.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use tower_service::Service as _;

use crate::accept::Wire;
use crate::guard::{Admission, Guard, allow_origin};

/// Lets requests in, or not, and has them answered. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FrontDoor {
    guard: Arc<Guard>,
    router: Router,
}

impl FrontDoor {
    pub(crate) fn new(guard: Guard, router: Router) -> Self {
        Self { guard: Arc::new(guard), router }
    }

    /// The door for what comes on one connection.
    pub(crate) fn on(&self, wire: Arc<Wire>) -> Door {
        Door { front: self.clone(), wire }
    }

    async fn answer(self, request: Request<Body>) -> Response {
        let page = match self.guard.admit(&request) {
            Err(problem) => return problem.into_response(),
            Ok(Admission::Preflight(response)) => return response,
            Ok(Admission::Pass(page)) => page,
        };
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

/// The front door, for one connection.
#[derive(Clone)]
pub(crate) struct Door {
    front: FrontDoor,
    wire: Arc<Wire>,
}

impl hyper::service::Service<Request<Incoming>> for Door {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let front = self.front.clone();
        let mut request = request.map(Body::new);
        // Only these can become follows, which say what became of their connection.
        if request.method() == Method::GET {
            Arc::clone(&self.wire).mark(&mut request);
        }
        Box::pin(async move { Ok(front.answer(request).await) })
    }
}
