//! The slots of a Cluster: of which one a key is, and which server has it.
//!
//! Pure.

use redis::Value;

/// So many there are in every Cluster.
pub(crate) const COUNT: usize = 16_384;

/// What a Cluster keeps together. A Redis that is none has all keys in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot(u16);

impl Slot {
    /// The slot of a key: of what it has in its first braces, if that is something.
    pub(crate) fn of(key: &str) -> Self {
        let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let tag = tag.map_or(key, |(tag, _)| if tag.is_empty() { key } else { tag });
        Self(crc16(tag.as_bytes()) % COUNT as u16)
    }

    pub(crate) fn new(number: u16) -> Self {
        Self(number % COUNT as u16)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The checksum that Redis finds slots by: CRC-16 as XMODEM has it.
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 256] = {
        let mut table = [0; 256];
        let mut at = 0;
        while at < 256 {
            let mut crc = (at as u16) << 8;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
                bit += 1;
            }
            table[at] = crc;
            at += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// Slots, and the primary that has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Owned {
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (self.first..=self.last).map(Slot::new)
    }
}

/// Takes the answer to CLUSTER SLOTS of a node that was reached at a host.
pub(crate) fn owned(answer: &Value, asked: &str) -> Option<Vec<Owned>> {
    let Value::Array(rows) = answer else { return None };
    rows.iter().map(|row| row_of(row, asked)).collect()
}

fn row_of(row: &Value, asked: &str) -> Option<Owned> {
    let Value::Array(row) = row else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &row[..] else {
        return None;
    };
    let [host, Value::Int(port), ..] = &primary[..] else { return None };
    // A node that does not know its own name leaves it out.
    let host = text(host).filter(|host| !matches!(*host, "" | "?")).unwrap_or(asked);
    Some(Owned {
        first: u16::try_from(*first).ok()?,
        last: u16::try_from(*last).ok().filter(|last| usize::from(*last) < COUNT)?,
        host: host.to_owned(),
        port: u16::try_from(*port).ok()?,
    })
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_slot_that_redis_says() {
        // CLUSTER KEYSLOT says so.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(Slot::of("foo"), Slot(12_182));
        assert_eq!(Slot::of(""), Slot(0));
        assert_eq!(Slot::of("rc:{foo}:{bar}"), Slot::of("foo"));
        assert_eq!(Slot::of("a{}{foo}"), Slot(crc16(b"a{}{foo}") % COUNT as u16));
    }

    #[test]
    fn who_has_which_slots_is_read_whether_the_node_knows_its_name_or_not() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let row = |first, last, host: Value, port, id: &str| {
            let primary = Value::Array(vec![host, Value::Int(port), bulk(id), Value::Map(vec![])]);
            Value::Array(vec![Value::Int(first), Value::Int(last), primary])
        };
        let answer = Value::Array(vec![
            row(0, 8_000, bulk("10.0.0.1"), 7_000, "a"),
            row(8_001, 16_383, bulk(""), 7_001, "b"),
        ]);
        let owned = owned(&answer, "me").unwrap();
        let shown: Vec<_> = owned.iter().map(|o| (o.host.as_str(), o.port, o.last)).collect();
        assert_eq!(shown, [("10.0.0.1", 7_000, 8_000), ("me", 7_001, 16_383)]);
        assert_eq!(owned[0].slots().count(), 8_001);
        let wrong = Value::Array(vec![row(0, 16_384, Value::Nil, 1, "a")]);
        assert_eq!(super::owned(&wrong, "me"), None);
    }
}
