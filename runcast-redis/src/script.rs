//! The scripts that Redis runs: each is called by its hash, and sent again to a Redis that has lost it.

use redis::{Cmd, Script};

/// One script.
pub(crate) struct Lua {
    script: Script,
    source: &'static str,
}

macro_rules! scripts {
    ($($name:ident)*) => {
        /// All of them.
        pub(crate) struct Scripts { $(pub(crate) $name: Lua),* }

        impl Scripts {
            pub(crate) fn new() -> Self {
                $(const $name: &str = include_str!(concat!("scripts/", stringify!($name), ".lua"));)*
                Self { $($name: Lua { script: Script::new($name), source: $name }),* }
            }
        }
    };
}

#[expect(non_upper_case_globals, reason = "named like the files")]
mod all {
    use super::*;
    scripts! { append delete duties history intend settle sign take taken trim within }
}
pub(crate) use all::Scripts;

impl Lua {
    /// A call with these keys; the arguments are to be added.
    pub(crate) fn call(&self, keys: &[String]) -> Cmd {
        self.begin("EVALSHA", self.script.get_hash(), keys)
    }

    /// As [`Self::call`], with the script itself.
    pub(crate) fn call_in_full(&self, keys: &[String]) -> Cmd {
        self.begin("EVAL", self.source, keys)
    }

    fn begin(&self, command: &str, script: &str, keys: &[String]) -> Cmd {
        let mut cmd = redis::cmd(command);
        cmd.arg(script).arg(keys.len()).arg(keys);
        cmd
    }
}
