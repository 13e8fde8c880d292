//! The origin of a browser page: `scheme://host[:port]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An origin as a browser writes it in the `Origin` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    /// Host and port, if it is not the scheme's.
    authority: String,
}

/// A text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin: write scheme://host or scheme://host:port, such as https://example.com"
)]
pub struct OriginError(String);

impl Origin {
    /// Host and port, as they would stand in the `Host` header of a request to it.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether the page came from this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(host_of(&self.authority))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let refused = || OriginError(text.chars().take(256).collect());
        let (scheme, authority) = text.split_once("://").ok_or_else(refused)?;
        let is_scheme = matches!(scheme, "http" | "https");
        let is_authority =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if !is_scheme || host_of(authority).is_empty() || !authority.chars().all(is_authority) {
            return Err(refused());
        }
        Ok(Self { scheme: scheme.to_owned(), authority: authority.to_ascii_lowercase() })
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn host_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').map_or("", |end| &authority[..=end]);
    }
    authority.split(':').next().unwrap_or_default()
}

/// Whether a host, without a port, is a name of this machine for itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_reads_back_as_a_browser_writes_it() {
        for text in ["https://example.com", "http://localhost:5173", "http://[::1]:8080"] {
            assert_eq!(text.parse::<Origin>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_origin_is_refused() {
        for text in
            ["", "*", "null", "example.com", "ftp://a", "http://", "http://a/b", "http://a b"]
        {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn this_machine_is_known_under_its_own_names_only() {
        for origin in
            ["http://localhost", "http://127.0.0.1:1", "http://[::1]:2", "https://LOCALHOST:3"]
        {
            assert!(origin.parse::<Origin>().unwrap().is_loopback(), "{origin}");
        }
        for origin in ["http://localhost.evil.com", "http://127.0.0.1.evil.com", "http://10.0.0.1"]
        {
            assert!(!origin.parse::<Origin>().unwrap().is_loopback(), "{origin}");
        }
    }
}
