//! Takes secrets out of what is published: the values of variables that are named as secrets are.
//!
//! Works on a stream: a secret is found wherever reads cut it. Text that may be the beginning of a
//! secret waits until what follows says that it is none. What passes through to the terminal is
//! never changed.

use std::ffi::OsString;
use std::sync::Arc;

use memchr::memmem::Finder;

/// How the names of variables with secret values end.
const NAME_ENDINGS: [&str; 4] = ["_PASSWORD", "_SECRET", "_TOKEN", "_API_KEY"];
/// Shorter values are not secrets; taking them out would tear up every text.
const VALUE_BYTES_MIN: usize = 6;

/// What is to be taken out, and what is put in its place.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    secrets: Vec<Secret>,
}

#[derive(Debug)]
struct Secret {
    finder: Finder<'static>,
    marker: String,
}

impl Secrets {
    /// The secrets of an environment.
    pub(super) fn of(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut secrets = Self::default();
        for (name, value) in variables {
            let name = name.to_string_lossy().to_ascii_uppercase();
            if NAME_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
                secrets.add(&name, value.as_encoded_bytes());
            }
        }
        secrets
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        if value.len() < VALUE_BYTES_MIN {
            return;
        }
        let name: String = name.chars().filter(|c| c.is_ascii_graphic() && *c != '"').collect();
        let marker = format!("[redacted:{name}]").replace('\\', "");
        let as_json =
            std::str::from_utf8(value).ok().map(|text| serde_json::json!(text).to_string());
        let escaped = as_json.as_ref().map_or(value, |json| &json.as_bytes()[1..json.len() - 1]);
        if escaped != value {
            self.secrets
                .push(Secret { finder: Finder::new(escaped).into_owned(), marker: marker.clone() });
        }
        self.secrets.push(Secret { finder: Finder::new(value).into_owned(), marker });
    }

    /// Whether there is nothing to take out.
    pub(super) fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// A whole text without its secrets.
    pub(super) fn redact(self: &Arc<Self>, text: &[u8]) -> Vec<u8> {
        let mut redactor = Redactor::new(Arc::clone(self));
        let mut out = redactor.push(text);
        out.extend(redactor.finish());
        out
    }

    /// Where secrets are, sorted, overlapping ones as one.
    fn find(&self, text: &[u8]) -> Vec<Found<'_>> {
        let mut found = Vec::new();
        for Secret { finder, marker } in &self.secrets {
            let mut from = 0;
            while let Some(at) = finder.find(&text[from..]) {
                let start = from + at;
                found.push(Found { start, end: start + finder.needle().len(), marker });
                from = start + 1;
            }
        }
        found.sort_by_key(|found| found.start);
        found.dedup_by(|next, kept| {
            let overlaps = next.start < kept.end;
            if overlaps {
                kept.end = kept.end.max(next.end);
            }
            overlaps
        });
        found
    }

    /// How many bytes at the end may be the beginning of a secret.
    fn begun_bytes(&self, text: &[u8]) -> usize {
        let longest = |secret: &Secret| {
            let needle = secret.finder.needle();
            let most = text.len().min(needle.len() - 1);
            (1..=most).rev().find(|length| text.ends_with(&needle[..*length])).unwrap_or(0)
        };
        self.secrets.iter().map(longest).max().unwrap_or(0)
    }
}

struct Found<'a> {
    start: usize,
    end: usize,
    marker: &'a str,
}

/// Takes the secrets out of one stream.
#[derive(Debug)]
pub(super) struct Redactor {
    secrets: Arc<Secrets>,
    /// The end of what came, which may be the beginning of a secret; shorter than the longest one.
    held: Vec<u8>,
    /// How much of it belongs to a secret whose marker is out already.
    covered: usize,
}

impl Redactor {
    pub(super) fn new(secrets: Arc<Secrets>) -> Self {
        Self { secrets, held: Vec::new(), covered: 0 }
    }

    /// Takes bytes and gives what can be told so far.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.secrets.is_empty() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let ready = self.held.len() - self.secrets.begun_bytes(&self.held);
        self.take(ready)
    }

    /// Gives what has been held: nothing follows.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        self.take(self.held.len())
    }

    /// Gives the first `ready` bytes of what is held, without secrets.
    fn take(&mut self, ready: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(ready);
        let mut at = self.covered;
        for found in self.secrets.find(&self.held) {
            if found.start >= ready.max(self.covered) {
                break;
            }
            if found.start >= at {
                out.extend_from_slice(&self.held[at..found.start]);
                // One that overlaps what is covered belongs to the marker that is out.
                out.extend_from_slice(found.marker.as_bytes());
            }
            at = at.max(found.end);
        }
        if at < ready {
            out.extend_from_slice(&self.held[at..ready]);
            at = ready;
        }
        self.covered = at - ready;
        self.held.drain(..ready);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secrets(pairs: &[(&str, &str)]) -> Arc<Secrets> {
        Arc::new(Secrets::of(pairs.iter().map(|(name, value)| (name.into(), value.into()))))
    }

    fn in_pieces(secrets: &Arc<Secrets>, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut redactor = Redactor::new(Arc::clone(secrets));
        let (mut out, mut from) = (Vec::new(), 0);
        for cut in cuts.iter().copied().filter(|cut| *cut <= text.len()) {
            if cut >= from {
                out.extend(redactor.push(&text[from..cut]));
                from = cut;
            }
        }
        out.extend(redactor.push(&text[from..]));
        out.extend(redactor.finish());
        out
    }

    #[test]
    fn only_variables_named_as_secrets_with_six_bytes_or_more_count() {
        let found = secrets(&[
            ("OPENAI_API_KEY", "sk-123456"),
            ("DB_PASSWORD", "short"),
            ("PATH", "/usr/bin"),
            ("github_token", "ghp_abcdef"),
        ]);
        let text = found.redact(b"sk-123456 short /usr/bin ghp_abcdef");
        let expected = "[redacted:OPENAI_API_KEY] short /usr/bin [redacted:GITHUB_TOKEN]";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn a_secret_is_found_wherever_it_is_cut() {
        let secrets = secrets(&[("A_SECRET", "hunter2hunter3")]);
        let text = b"say hunter2hunter3, or hunter2hunt";
        for first in 0..text.len() {
            for second in first..text.len() {
                let out = in_pieces(&secrets, text, &[first, second]);
                assert_eq!(out, b"say [redacted:A_SECRET], or hunter2hunt");
            }
        }
    }

    #[test]
    fn a_secret_is_also_found_as_json_writes_it() {
        let secrets = secrets(&[("A_PASSWORD", "pa\"ss\\word")]);
        let json = serde_json::json!({ "message": "pa\"ss\\word" }).to_string();
        let out = secrets.redact(json.as_bytes());
        assert_eq!(out, br#"{"message":"[redacted:A_PASSWORD]"}"#);
    }

    #[test]
    fn overlapping_secrets_leave_nothing_of_either() {
        let secrets = secrets(&[("A_TOKEN", "aaabbb"), ("B_TOKEN", "bbbccc")]);
        assert_eq!(secrets.redact(b"-aaabbbccc-"), b"-[redacted:A_TOKEN]-");
        assert_eq!(in_pieces(&secrets, b"-aaabbbccc-", &[7, 8]), b"-[redacted:A_TOKEN]-");
    }

    proptest! {
        #[test]
        fn no_cut_lets_a_secret_out_and_what_is_none_is_whole(
            text in "[ab]{0,60}", cuts in proptest::collection::vec(0_usize..60, 0..6),
        ) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let secrets = secrets(&[("X_TOKEN", "abaaba"), ("Y_TOKEN", "bbbbbbb")]);
            let whole = secrets.redact(text.as_bytes());
            let cut = in_pieces(&secrets, text.as_bytes(), &cuts);
            prop_assert_eq!(String::from_utf8(whole.clone()), String::from_utf8(cut));
            let shown = String::from_utf8(whole).unwrap();
            prop_assert!(!shown.contains("abaaba") && !shown.contains("bbbbbbb"));
            if !text.contains("abaaba") && !text.contains("bbbbbbb") {
                prop_assert_eq!(shown, text);
            }
        }
    }
}
