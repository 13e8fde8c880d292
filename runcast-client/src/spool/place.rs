//! Where spools are kept.

use std::env;
use std::path::PathBuf;

/// The directory of all spools: `$XDG_STATE_HOME/runcast/spool`, else
/// `~/.local/state/runcast/spool`, else a directory of this user's own beside the temporary files.
#[must_use]
pub fn default_root() -> PathBuf {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    match state {
        Some(state) => state.join("runcast/spool"),
        None => {
            let user = rustix::process::geteuid().as_raw();
            env::temp_dir().join(format!("runcast-{user}/spool"))
        }
    }
}
