//! Fans streams out to their live followers.
//!
//! Owns cursors and the slow-reader policy: a follower is a cursor, never a queue. Replay and live
//! are one path: a follower reads the shared tail in memory while it keeps up, and the log in pages
//! while it does not. Never touches a disk and never makes wire bytes; it only keeps what a
//! transport encoded, so that it is encoded once.

mod batch;
mod changes;
mod damage;
mod fanout;
mod follower;
mod gate;
mod hub;
mod resume;
mod stats;
mod tail;
mod turns;
mod watch;

pub use batch::{Format, Slice};
pub use changes::{Backlog, Changes};
pub use follower::{Delivery, Follower};
pub use gate::Gate;
pub use hub::{FollowError, FollowerPlace, Hub, HubBuilder, HubConfig};
pub use resume::{Gap, GapReason, Resume, resume};
pub use stats::HubStats;
pub use tail::{Look, TailWaker};
pub use watch::{Position, Watch};
