//! Has the other servers of a shared log know which producers are there, and asks what they know, so that
//! nobody calls a producer lost that talks to somebody else.

use std::time::Duration;

use runcast_event::RunId;
use runcast_hub::Hub;
use runcast_log::ReadError;

use crate::presence::Presence;

/// How often the others are told: less than any producer may be silent.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How much later than it was told a sign may have been given.
const SLACK: Duration = Duration::from_secs(2);

/// Tells the other servers, until it is dropped; ends at once if there are none.
pub(crate) async fn tell(hub: Hub, presence: Presence) {
    if !hub.is_shared() {
        return;
    }
    let mut told_until = presence.now();
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        let now = presence.now();
        let runs = presence.heard_since(told_until);
        match hub.sign(&runs).await {
            Ok(()) => told_until = now,
            // They are told again.
            Err(error) => tracing::debug!(%error, "the other servers cannot be told who is there"),
        }
    }
}

/// Takes in what the other servers know of a run's producer.
pub(crate) async fn ask(hub: &Hub, presence: &Presence, run: &RunId) -> Result<(), ReadError> {
    if hub.is_shared()
        && let Some(ago) = hub.signed(run).await?
    {
        let ago = ago.saturating_sub(SLACK).as_micros();
        let at = presence.now().as_micros().saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX));
        presence.heard_elsewhere(run, runcast_event::Timestamp::from_micros(at));
    }
    Ok(())
}
