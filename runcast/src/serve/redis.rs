//! Where Redis is, as the environment says it and as the engine wants it.

use std::path::PathBuf;

use runcast_server::RedisOptions;

use crate::report::UsageError;

/// The port of a Redis of which only the host is said.
const PORT_DEFAULT: &str = "6379";

/// The options of a Redis at a URL.
pub(crate) fn options(
    url: Option<String>,
    wait_replicas: Option<u32>,
    ca_file: Option<PathBuf>,
) -> RedisOptions {
    let default = RedisOptions::default();
    RedisOptions {
        url: url.unwrap_or(default.url),
        ca_file,
        wait_replicas: wait_replicas.unwrap_or(default.wait_replicas),
        ..default
    }
}

/// The URL that the environment says: `REDIS_URL`, or its parts, with sentinels or without.
pub(crate) fn from_environment(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, UsageError> {
    let said = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(url) = said("REDIS_URL") {
        return Ok(Some(url));
    }
    match (said("REDIS_HOST"), said("REDIS_SENTINELS"), said("REDIS_SENTINEL_MASTER")) {
        (None, None, None) => Ok(None),
        (_, Some(sentinels), Some(name)) => {
            let sentinels: Vec<&str> = sentinels.split(',').map(str::trim).collect();
            at(&said, "-sentinel", &sentinels.join(","), &format!("/{name}")).map(Some)
        }
        (Some(host), None, None) => {
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            let port = said("REDIS_PORT").unwrap_or_else(|| PORT_DEFAULT.to_owned());
            at(&said, "", &format!("{host}:{port}"), "").map(Some)
        }
        _ => {
            let reason = "REDIS_SENTINELS and REDIS_SENTINEL_MASTER go together: where the sentinels \
                          are, and what they call the primary";
            Err(UsageError(reason.to_owned()))
        }
    }
}

/// The URL of a place, with all that is said besides.
fn at(
    said: &impl Fn(&str) -> Option<String>,
    kind: &str,
    hosts: &str,
    name: &str,
) -> Result<String, UsageError> {
    let scheme = match said("REDIS_TLS").as_deref() {
        None | Some("0" | "false" | "no") => "redis",
        Some("1" | "true" | "yes") => "rediss",
        Some(other) => {
            return Err(UsageError(format!("REDIS_TLS must be true or false, not {other:?}")));
        }
    };
    let user = said("REDIS_USER").map(|user| escaped(&user)).unwrap_or_default();
    let login = match said("REDIS_PASSWORD") {
        Some(password) => format!("{user}:{}@", escaped(&password)),
        None => String::new(),
    };
    let database = said("REDIS_DB").map(|db| format!("/{db}")).unwrap_or_default();
    Ok(format!("{scheme}{kind}://{login}{hosts}{name}{database}"))
}

/// A text as a URL has it before its host.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(said: &[(&str, &str)]) -> Result<Option<String>, UsageError> {
        let find = |name: &str| said.iter().find(|(said, _)| *said == name);
        from_environment(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn redis_is_where_its_url_or_its_host_says() {
        let is = |said, expected: &str| assert_eq!(url(said).ok(), Some(Some(expected.to_owned())));
        is(&[("REDIS_URL", "redis://a:1"), ("REDIS_HOST", "b")], "redis://a:1");
        is(&[("REDIS_HOST", "b")], "redis://b:6379");
        let all = [
            ("REDIS_HOST", "b"),
            ("REDIS_PORT", "7"),
            ("REDIS_USER", "me"),
            ("REDIS_PASSWORD", "p@:/"),
            ("REDIS_DB", "3"),
            ("REDIS_TLS", "true"),
        ];
        is(&all, "rediss://me:p%40%3A%2F@b:7/3");
        is(&[("REDIS_HOST", "::1"), ("REDIS_PASSWORD", "x")], "redis://:x@[::1]:6379");
        assert!(matches!(url(&[("REDIS_URL", ""), ("REDIS_PORT", "7")]), Ok(None)));
        assert!(url(&[("REDIS_HOST", "b"), ("REDIS_TLS", "maybe")]).is_err());
        let sentinels = [
            ("REDIS_SENTINELS", "a:1, b"),
            ("REDIS_SENTINEL_MASTER", "mine"),
            ("REDIS_PASSWORD", "x"),
            ("REDIS_DB", "2"),
        ];
        is(&sentinels, "redis-sentinel://:x@a:1,b/mine/2");
        assert!(url(&sentinels[..1]).is_err(), "they do not know which primary");
    }
}
