//! The scripts that Redis runs: each is called by its hash, and sent again to a Redis that has lost it.
//!
//! What differs between a Redis and a Cluster stands before each of them: how the channel of a run is
//! published on, and how it is found out whether anybody hears it.

use redis::{Cmd, Script};

/// One script.
pub(crate) struct Lua {
    script: Script,
    source: String,
}

const REDIS: &str = "local PUBLISH, NUMSUB = 'PUBLISH', 'NUMSUB'\n";
const CLUSTER: &str = "local PUBLISH, NUMSUB = 'SPUBLISH', 'SHARDNUMSUB'\n";

macro_rules! scripts {
    ($($name:ident)*) => {
        /// All of them.
        pub(crate) struct Scripts { $(pub(crate) $name: Lua),* }

        impl Scripts {
            pub(crate) fn new(is_cluster: bool) -> Self {
                $(const $name: &str = include_str!(concat!("scripts/", stringify!($name), ".lua"));)*
                Self { $($name: Lua::new($name, is_cluster)),* }
            }
        }
    };
}

#[expect(non_upper_case_globals, reason = "named like the files")]
mod all {
    use super::*;
    scripts! { append delete duties forget history intend received register rights settle sign take taken trim within }
}
pub(crate) use all::Scripts;

impl Lua {
    fn new(source: &str, is_cluster: bool) -> Self {
        let source = format!("{}{source}", if is_cluster { CLUSTER } else { REDIS });
        Self { script: Script::new(&source), source }
    }

    /// A call with these keys; the arguments are to be added.
    pub(crate) fn call(&self, keys: &[String]) -> Cmd {
        self.begin("EVALSHA", self.script.get_hash(), keys)
    }

    /// As [`Self::call`], with the script itself.
    pub(crate) fn call_in_full(&self, keys: &[String]) -> Cmd {
        self.begin("EVAL", &self.source, keys)
    }

    fn begin(&self, command: &str, script: &str, keys: &[String]) -> Cmd {
        let mut cmd = redis::cmd(command);
        cmd.arg(script).arg(keys.len()).arg(keys);
        cmd
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_that_scripts_call_is_tried_at_the_start() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripts");
        let tried = include_str!("scripts/rights.lua");
        for script in std::fs::read_dir(directory).unwrap() {
            let script = std::fs::read_to_string(script.unwrap().path()).unwrap();
            for call in script.split("redis.call(").skip(1) {
                let command = call.split([',', ')']).next().unwrap();
                assert!(
                    tried.contains(&format!("try({command},"))
                        || tried.contains(&format!("try({command})")),
                    "{command}"
                );
            }
        }
    }
}
