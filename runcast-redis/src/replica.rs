//! A stream as it stands in Redis, in memory and as the fields of its hash.

use std::sync::Arc;

use redis::Value;
use runcast_event::{Epoch, Offset, ProducerId};
use runcast_log::engine::{Mark, Phase, Producers, Stream};

/// What begins the field of a producer.
const PRODUCER: &[u8] = b"p:";

/// Events that lie together count together up to so many bytes when a stream's size is asked for.
const MARK_BYTES: u64 = 64 * 1024;

/// The fields of a hash that are not producers.
pub(crate) const FIELDS: [&str; 10] =
    ["v", "h", "first", "last", "phase", "epoch", "born", "base", "bases", "bytes"];

/// One run's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) stream: Stream,
    /// Goes up with every change.
    pub(crate) version: u64,
    /// The history that it was last changed in.
    pub(crate) history: u32,
    /// All bytes of events that were ever appended to it.
    pub(crate) bytes: u64,
    /// Redis does not have it like this yet: its epoch was raised here.
    pub(crate) is_ahead: bool,
}

/// What is in a hash is not what was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Garbled(pub(crate) String);

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, Garbled> {
    text.parse().map_err(|_| Garbled(format!("its field {name} is {text:?}")))
}

fn epoch(name: &str, text: &str) -> Result<Epoch, Garbled> {
    let epoch = Epoch::new(number(name, text)?);
    epoch.ok_or_else(|| Garbled(format!("its field {name} is {text:?}")))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

impl Replica {
    /// A name that was never used.
    pub(crate) fn none(history: u32) -> Self {
        let stream = Stream { phase: Phase::Deleted, ..Stream::new(first_epoch(history)) };
        Self { stream, version: 0, history, bytes: 0, is_ahead: false }
    }

    /// Takes the answer to a command that asks for [`FIELDS`].
    pub(crate) fn from_fields(answer: &Value) -> Result<Option<Self>, Garbled> {
        let Value::Array(values) = answer else { return Err(Garbled("no list came".to_owned())) };
        if values.iter().all(|value| *value == Value::Nil) {
            return Ok(None);
        }
        let fields = FIELDS.iter().zip(values).map(|(name, value)| (*name, text(value)));
        Self::build(|wanted| fields.clone().find(|(name, _)| *name == wanted)?.1, Vec::new())
            .map(Some)
    }

    /// Takes the answer to a command that asks for the whole hash.
    pub(crate) fn from_hash(answer: Value) -> Result<Option<Self>, Garbled> {
        let pairs: Vec<(Value, Value)> = match answer {
            Value::Map(pairs) => pairs,
            Value::Array(values) => {
                let mut values = values.into_iter();
                std::iter::from_fn(|| Some((values.next()?, values.next()?))).collect()
            }
            _ => return Err(Garbled("no hash came".to_owned())),
        };
        if pairs.is_empty() {
            return Ok(None);
        }
        let mut producers = Vec::new();
        for (name, mark) in &pairs {
            if let Value::BulkString(name) = name
                && let Some(id) = name.strip_prefix(PRODUCER)
            {
                producers.push(producer(id, mark)?);
            }
        }
        producers.sort_by(|(one, _), (other, _)| one.cmp(other));
        let field = |wanted: &str| {
            pairs.iter().find(|(name, _)| text(name) == Some(wanted)).and_then(|(_, v)| text(v))
        };
        Self::build(field, producers).map(Some)
    }

    fn build<'a>(
        field: impl Fn(&'static str) -> Option<&'a str>,
        producers: Vec<(ProducerId, Mark)>,
    ) -> Result<Self, Garbled> {
        let get = |name| field(name).ok_or_else(|| Garbled(format!("its field {name} is missing")));
        let phase = match get("phase")? {
            "o" => Phase::Open,
            "c" => Phase::Closed,
            "d" => Phase::Deleted,
            other => return Err(Garbled(format!("its field phase is {other:?}"))),
        };
        let stream = Stream {
            first: Offset::new(number("first", get("first")?)?),
            has_base: get("base")? == "1",
            last: Offset::new(number("last", get("last")?)?),
            phase,
            epoch: epoch("epoch", get("epoch")?)?,
            born: epoch("born", get("born")?)?,
            epoch_bases: bases(get("bases")?)?,
            producers: Producers::stored(producers),
        };
        let (version, history) = (number("v", get("v")?)?, number("h", get("h")?)?);
        let bytes = number("bytes", get("bytes")?)?;
        Ok(Self { stream, version, history, bytes, is_ahead: false })
    }

    /// The fields that every append changes.
    pub(crate) fn moving_fields(&self) -> Vec<(String, String)> {
        let values = [("v", self.version), ("last", self.stream.last.get()), ("bytes", self.bytes)];
        values.map(|(name, value)| (name.to_owned(), value.to_string())).into()
    }

    /// What the hash has of the stream, without its producers.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let stream = &self.stream;
        let values = [
            self.version.to_string(),
            self.history.to_string(),
            stream.first.to_string(),
            stream.last.to_string(),
            phase_letter(stream.phase).to_owned(),
            stream.epoch.to_string(),
            stream.born.to_string(),
            u8::from(stream.has_base).to_string(),
            shown_bases(&stream.epoch_bases),
            self.bytes.to_string(),
        ];
        FIELDS.iter().map(|name| (*name).to_owned()).zip(values).collect()
    }

    /// The field of a producer.
    pub(crate) fn producer(&self, id: &ProducerId) -> Option<(String, String)> {
        let mark = self.stream.producers.get(id.as_str())?;
        Some((format!("p:{id}"), format!("{}:{}", mark.epoch, mark.next)))
    }

    /// What the stream is in a history of Redis: in another than it was last changed in, acknowledged
    /// events may be missing behind those that are there, so that it is in a new epoch.
    ///
    /// The same for whoever looks, until somebody changes the stream.
    pub(crate) fn in_history(mut self, history: u32) -> Self {
        if self.history < history {
            let by = history.saturating_sub(self.stream.epoch.get()).max(1);
            self.stream.begin_epoch(by);
            (self.history, self.is_ahead) = (history, true);
        }
        self
    }

    /// Takes in events and gives the marks of the size that come with them: an offset, and the bytes up
    /// to it.
    pub(crate) fn grow<'a>(
        &mut self,
        first: Offset,
        sizes: impl Iterator<Item = usize> + 'a,
    ) -> Vec<(Offset, u64)> {
        let mut marks = Vec::new();
        for (offset, size) in (first.get()..).zip(sizes) {
            let before = self.bytes;
            self.bytes += size as u64;
            if self.bytes / MARK_BYTES > before / MARK_BYTES {
                marks.push((Offset::new(offset), self.bytes));
            }
        }
        marks
    }
}

/// The epoch of a stream whose name was never used: in a history that lost something, the lost part may
/// have had it.
pub(crate) fn first_epoch(history: u32) -> Epoch {
    Epoch::new(history).unwrap_or_default()
}

pub(crate) fn phase_letter(phase: Phase) -> &'static str {
    match phase {
        Phase::Open => "o",
        Phase::Closed => "c",
        Phase::Deleted => "d",
    }
}

fn producer(id: &[u8], mark: &Value) -> Result<(ProducerId, Mark), Garbled> {
    let id = String::from_utf8_lossy(id);
    let mark = text(mark).and_then(|mark| mark.split_once(':'));
    let (Ok(id), Some((epoch, next))) = (ProducerId::new(&id), mark) else {
        return Err(Garbled(format!("its producer {id:?} is not one")));
    };
    Ok((id, Mark { epoch: number("p:", epoch)?, next: number("p:", next)? }))
}

pub(crate) fn bases(text: &str) -> Result<Arc<[(Epoch, Offset)]>, Garbled> {
    let base = |text: &str| {
        let (of, base) = text.split_once(':').unwrap_or((text, ""));
        Ok((epoch("bases", of)?, Offset::new(number("bases", base)?)))
    };
    text.split(',').filter(|text| !text.is_empty()).map(base).collect()
}

pub(crate) fn shown_bases(bases: &[(Epoch, Offset)]) -> String {
    let shown: Vec<_> = bases.iter().map(|(epoch, base)| format!("{epoch}:{base}")).collect();
    shown.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> Replica {
        let mut stream = Stream::new(Epoch::FIRST);
        stream.last = Offset::new(9);
        stream.begin_epoch(1);
        let id = ProducerId::new("p:1").unwrap();
        stream.producers = Producers::stored(vec![(id, Mark { epoch: 3, next: 7 })]);
        Replica { stream, version: 4, history: 1, bytes: 900, is_ahead: false }
    }

    fn bulk(text: String) -> Value {
        Value::BulkString(text.into_bytes())
    }

    #[test]
    fn a_stream_is_read_as_it_was_written() {
        let replica = replica();
        let mut fields = replica.fields();
        let values = fields.iter().map(|(_, value)| bulk(value.clone())).collect();
        let read = Replica::from_fields(&Value::Array(values)).unwrap().unwrap();
        let without = Stream { producers: Producers::default(), ..replica.stream.clone() };
        assert_eq!(read.stream, without);
        fields.extend(replica.producer(&ProducerId::new("p:1").unwrap()));
        let pairs = fields.into_iter().map(|(name, value)| (bulk(name), bulk(value))).collect();
        assert_eq!(Replica::from_hash(Value::Map(pairs)), Ok(Some(replica)));
    }

    #[test]
    fn in_another_history_a_stream_is_in_an_epoch_that_was_never_used() {
        let later = replica().in_history(217_000_000);
        assert_eq!(later.stream.epoch.get(), 217_000_000);
        assert_eq!(later.stream.epoch_bases.last().map(|(_, base)| base.get()), Some(9));
        assert_eq!(later.clone().in_history(217_000_000), later, "once");
        let mut closed = replica();
        closed.stream.phase = Phase::Closed;
        assert_eq!(closed.clone().in_history(2).stream, closed.stream, "an end is an end");
    }

    #[test]
    fn what_is_no_hash_of_a_stream_is_said_to_be_none() {
        let Err(Garbled(reason)) =
            Replica::from_hash(Value::Map(vec![(bulk("v".to_owned()), bulk("x".to_owned()))]))
        else {
            panic!("it was taken")
        };
        assert!(reason.contains("missing"), "{reason}");
    }
}
