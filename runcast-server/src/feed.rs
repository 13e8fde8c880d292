//! The feed: the life-cycle events of all runs, as one stream. What an entry says, and which entries a
//! reader wants.

mod entry;
mod filter;

pub(crate) use entry::{of_deletion, of_event};
pub(crate) use filter::{FEED_FIELDS, FeedFilter};
