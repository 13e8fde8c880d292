//! Requests that wait for the writer, in the order in which they were made.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use runcast_log::{EmbeddedLog, Log as _};

use crate::work::{Answer, Request};

type Answering = Pin<Box<dyn Future<Output = Answer>>>;

pub(crate) struct Asked(VecDeque<(Request, Answering)>);

impl Asked {
    /// Gives them to the log, which takes each up at once.
    pub(crate) fn new(log: &Arc<EmbeddedLog>, requests: Vec<Request>) -> Self {
        let ask = |request: Request| {
            let mut answer = answer(Arc::clone(log), request.clone());
            if poll(&mut answer).is_some() {
                panic!("{request:?} was answered before it was written");
            }
            (request, answer)
        };
        Self(requests.into_iter().map(ask).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn requests(&self) -> Vec<&Request> {
        self.0.iter().map(|(request, _)| request).collect()
    }

    /// Those at the front that are answered now, which leave.
    pub(crate) fn answered(&mut self) -> Vec<(Request, Answer)> {
        let mut answered = Vec::new();
        while let Some((_, answering)) = self.0.front_mut() {
            let Some(answer) = poll(answering) else { break };
            let (request, _) = self.0.pop_front().expect("it is the front one");
            answered.push((request, answer));
        }
        answered
    }
}

fn answer(log: Arc<EmbeddedLog>, request: Request) -> Answering {
    Box::pin(async move {
        match request {
            Request::Append(append) => Answer::Append(log.append(append).await),
            Request::Delete(run) => Answer::Delete(log.delete(&run).await),
            Request::Trim(run, trim) => Answer::Delete(log.trim(&run, trim).await),
        }
    })
}

fn poll(answering: &mut Answering) -> Option<Answer> {
    match answering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}
