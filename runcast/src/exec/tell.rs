//! What `exec` says itself: short lines on stderr, between the child's.

use std::io::{self, Write as _};

use runcast_client::publish::{Notice, NoticeFn};

use super::terminal::is_raw;
use crate::report::printable;

/// Says something on stderr, on one line, in one write.
pub(crate) fn tell(text: &str) {
    let end = if is_raw() { "\r\n" } else { "\n" };
    let line = format!("runcast: {}{end}", printable(text));
    // With stderr closed there is nobody to tell.
    drop(io::stderr().write_all(line.as_bytes()));
}

/// Says what the publisher notices; with `is_quiet`, and while the child may be drawing on the whole
/// terminal, only what loses events.
pub(crate) fn notice_teller(is_quiet: bool) -> NoticeFn {
    Box::new(move |notice| {
        let (text, is_problem) = match notice {
            Notice::SpoolUnusable { reason } => (
                format!("events can wait in memory only, the spool cannot be used: {reason}"),
                true,
            ),
            Notice::ServerAway { reason } => {
                (format!("{reason}; events wait and are sent when it takes them"), false)
            }
            Notice::ServerBack => ("the server takes events again".to_owned(), false),
            Notice::EventRefused { reason } => {
                let text = "the server refused an event, a gap is in its place; of others, only the \
                            number is told";
                (format!("{text}: {reason}"), true)
            }
            Notice::Replaced => {
                let text = "another process publishes this run now: events of this one are dropped, and \
                            what the run is asked is not heard here any more";
                (text.to_owned(), true)
            }
            Notice::Refused { reason } => (
                format!("the server takes no more events of this run, they are dropped: {reason}"),
                true,
            ),
        };
        if is_problem || !(is_quiet || is_raw()) {
            tell(&text);
        }
    })
}
