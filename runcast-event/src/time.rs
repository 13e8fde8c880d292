//! A moment, to the microsecond, as RFC 3339 in UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00Z; written `2026-11-20T21:16:00.123456Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment this many microseconds after the start of 1970, held within the years that
    /// RFC 3339 can write: 0 to 9999.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        /// 0000-01-01T00:00:00Z.
        const MIN_MICROS: i64 = -62_167_219_200_000_000;
        /// 9999-12-30T00:00:00Z.
        const MAX_MICROS: i64 = 253_402_128_000_000_000;
        Self(micros.clamp(MIN_MICROS, MAX_MICROS))
    }

    /// Microseconds since the start of 1970.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The moment that the system's clock shows.
    #[must_use]
    pub fn now() -> Self {
        Self::from_micros(jiff::Timestamp::now().as_microsecond())
    }

    /// The moment so many milliseconds later, held within the years that RFC 3339 can write.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        let micros = i64::try_from(millis.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// Milliseconds from an earlier moment to this one; 0 when it is not earlier.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from((self.0 - earlier.0) / 1_000).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::Timestamp::from_microsecond(self.0).unwrap_or_default();
        write!(f, "{moment:.6}")
    }
}

impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let moment: jiff::Timestamp = text.parse().map_err(|_| {
            "must be a time as RFC 3339 writes it, such as 2026-11-20T21:16:00.123456Z".to_owned()
        })?;
        Ok(Self::from_micros(moment.as_microsecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_utc_with_six_digits() {
        let time: Timestamp = "2026-11-20T23:16:00.123456789+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-20T21:16:00.123456Z");
        assert_eq!(time.plus_millis(1_500).to_string(), "2026-11-20T21:16:01.623456Z");
        assert_eq!(time.plus_millis(u64::MAX), Timestamp::from_micros(i64::MAX));
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-30T00:00:00.000000Z");
    }

    #[test]
    fn a_text_that_is_no_time_is_refused() {
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!("2026-11-20T21:16:00".parse::<Timestamp>().is_err());
    }
}
