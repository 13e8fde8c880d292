//! The event that every row publishes: 200 bytes of JSON with the moment of publishing in it.

use crate::clock::{STAMP_DIGITS, Stamp};

/// The size of an event as it is posted, in bytes. The server adds `time` and `offset`.
pub(crate) const EVENT_BYTES: usize = 200;

/// What stands before a stamp in an event's data. Readers look for it.
pub(crate) const STAMP_MARK: &[u8] = br#""t":"#;

const BEFORE: &str = r#"{"type":"bench.tick","data":{"t":"#;
const BETWEEN: &str = r#","pad":""#;
const AFTER: &str = r#""}}"#;

/// Appends one event of [`EVENT_BYTES`] bytes, without a newline, to `out`.
pub(crate) fn write_event(out: &mut Vec<u8>, stamp: Stamp) {
    let pad = EVENT_BYTES - BEFORE.len() - STAMP_DIGITS - BETWEEN.len() - AFTER.len();
    out.extend_from_slice(BEFORE.as_bytes());
    write_decimal(out, stamp.0);
    out.extend_from_slice(BETWEEN.as_bytes());
    out.resize(out.len() + pad, b'x');
    out.extend_from_slice(AFTER.as_bytes());
}

/// Appends a number in decimal digits.
pub(crate) fn write_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The number that `text` begins with, if it begins with one.
pub(crate) fn leading_decimal(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    text[..digits]
        .iter()
        .try_fold(0_u64, |value, byte| value.checked_mul(10)?.checked_add(u64::from(byte - b'0')))
}

/// The stamp in an event's JSON, wherever it stands.
pub(crate) fn find_stamp(event: &[u8]) -> Option<Stamp> {
    let at = memchr::memmem::find(event, STAMP_MARK)?;
    leading_decimal(&event[at + STAMP_MARK.len()..]).map(Stamp)
}

/// The offsets of the events in a message or a page, in its order, each with the stamp.
pub(crate) fn events_in(text: &[u8]) -> impl Iterator<Item = (u64, Option<Stamp>)> {
    const MARK: &[u8] = br#"{"offset":"#;
    let places = memchr::memmem::find_iter(text, MARK).map(|at| &text[at + MARK.len()..]);
    places.filter_map(|event| Some((leading_decimal(event)?, find_stamp(event))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_json_of_the_promised_size() {
        let mut event = Vec::new();
        write_event(&mut event, Stamp::now());
        assert_eq!(event.len(), EVENT_BYTES);
        let value: serde_json::Value = serde_json::from_slice(&event).unwrap();
        assert_eq!(value["type"], "bench.tick");
    }

    #[test]
    fn a_stamp_is_found_again() {
        let stamp = Stamp::now();
        let mut event = Vec::new();
        write_event(&mut event, stamp);
        assert_eq!(find_stamp(&event), Some(stamp));
        assert_eq!(find_stamp(b"{\"type\":\"x\"}"), None);
    }

    #[test]
    fn decimals_are_written_and_read() {
        for value in [0, 7, 10, 4_711, u64::MAX] {
            let mut out = Vec::new();
            write_decimal(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
            assert_eq!(leading_decimal(&out), Some(value));
        }
        assert_eq!(leading_decimal(b"x"), None);
        assert_eq!(leading_decimal(b"99999999999999999999"), None);
        assert_eq!(leading_decimal(b"12.34"), Some(12));
    }
}
