//! Streams in Redis: the engine for when one machine is not enough.
//!
//! Any number of nodes append to the same streams, read and follow them. What becomes of an append is
//! decided on a node by the rules that all engines share, and carried out in Redis by a script only if the
//! stream is still as it was when it was decided on; otherwise it is decided again. Batches of followed
//! streams come by Pub/Sub; whatever does not come right behind what is known is read from the stream.
//!
//! Never parses an event, and never hears of HTTP.

mod address;
mod cluster;
mod commit;
mod decide;
mod dial;
mod duties;
mod error;
mod examine;
mod feed;
mod fit;
mod follows;
mod heard;
mod history;
mod inbox;
mod kept;
mod keys;
mod link;
mod live;
mod log;
mod message;
mod messages;
mod names;
mod node;
mod options;
mod pack;
mod queue;
mod read;
mod recent;
mod refill;
mod replica;
mod script;
mod sentinel;
mod shards;
mod signs;
mod slots;
mod wait;

pub use error::OpenError;
pub use examine::{Finding, Grade, examine};
pub use log::RedisLog;
pub use options::{OptionsError, RedisOptions};
