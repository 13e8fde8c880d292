//! Bytes to text: nothing is lost silently, and no character is broken by where a read ended.

use std::borrow::Cow;

/// The text of some bytes, with U+FFFD for what is not UTF-8, and how many bytes that replaced.
pub(super) fn decode(bytes: &[u8]) -> (Cow<'_, str>, u64) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (Cow::Borrowed(text), 0);
    }
    let mut text = String::with_capacity(bytes.len());
    let mut replaced = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            replaced += chunk.invalid().len() as u64;
        }
    }
    (Cow::Owned(text), replaced)
}

/// How many bytes at the end are the beginning of a character whose rest is still to come.
pub(super) fn incomplete_bytes(bytes: &[u8]) -> usize {
    /// A character has at most four bytes, so that three of them may wait for the last.
    const WAITING_BYTES_MAX: usize = 3;
    for length in 1..=WAITING_BYTES_MAX.min(bytes.len()) {
        let tail = &bytes[bytes.len() - length..];
        let continues = tail[0] & 0b1100_0000 == 0b1000_0000;
        if !continues {
            let is_cut = std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none());
            return if is_cut { length } else { 0 };
        }
    }
    0
}

/// The longest beginning of at most `bytes_max` bytes that ends between two characters.
pub(super) fn whole_characters(bytes: &[u8], bytes_max: usize) -> usize {
    if bytes.len() <= bytes_max {
        return bytes.len();
    }
    bytes_max - incomplete_bytes(&bytes[..bytes_max])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_that_are_not_utf8_are_replaced_and_counted() {
        assert_eq!(decode(b"ok"), ("ok".into(), 0));
        assert_eq!(decode(b"a\xff\xfeb"), ("a\u{fffd}\u{fffd}b".into(), 2));
        assert_eq!(decode(b"\xf0\x9f\x94"), ("\u{fffd}".into(), 3));
    }

    proptest! {
        #[test]
        fn a_text_cut_anywhere_is_whole_again_when_its_incomplete_end_waits(
            text in "\\PC{0,20}", at in 0_usize..64,
        ) {
            let bytes = text.as_bytes();
            let at = at.min(bytes.len());
            let ready = at - incomplete_bytes(&bytes[..at]);
            prop_assert!(std::str::from_utf8(&bytes[..ready]).is_ok());
            prop_assert!(std::str::from_utf8(&bytes[ready..]).is_ok());
        }

        #[test]
        fn any_bytes_are_cut_within_three_bytes_of_the_bound(
            bytes in proptest::collection::vec(any::<u8>(), 8..40),
        ) {
            let cut = whole_characters(&bytes, 7);
            prop_assert!((4..=7).contains(&cut));
        }
    }
}
