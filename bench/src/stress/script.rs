//! What a producer says: its n-th event is always the same, so that nobody has to remember it.

use fastrand::Rng;
use serde_json::{Value, json};

use super::world::mix;

/// Events of one kind come in bursts of this many, so that there are deltas to merge.
const BURST: u64 = 9;

/// Pieces of text that are hard to write, to cut or to merge.
const PIECES: [&str; 12] = [
    "a",
    "the quick brown fox ",
    "\n",
    "\r\n\r\n",
    "\"",
    "\\",
    "\u{0}\u{1}\u{1f}\u{7f}",
    "\u{2028}\u{2029}\u{85}",
    "ü",
    "\u{1f538}",
    "\n\nevent: end\ndata: {}\n\nid: 1\n",
    "</script>",
];

/// What stands before and behind an event's name in a text.
const NAME_MARKS: (char, char) = ('⟦', '⟧');

/// One producer's part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Script {
    pub(super) seed: u64,
    pub(super) run: usize,
    pub(super) producer: usize,
}

impl Script {
    /// The event with a number, as it is sent.
    pub(super) fn draft(self, number: u64) -> Value {
        let Self { seed, run, producer } = self;
        let of = [seed, run as u64, producer as u64];
        let kind = Rng::with_seed(mix(&[of[0], of[1], of[2], number / BURST, 1])).u8(0..10);
        let mut rng = Rng::with_seed(mix(&[of[0], of[1], of[2], number, 2]));
        let name = json!({"producer": producer, "number": number});
        let text = {
            let (before, after) = NAME_MARKS;
            let pieces = (0..rng.usize(0..6)).map(|_| PIECES[rng.usize(..PIECES.len())]);
            format!("{before}{producer}.{number}{after}{}", pieces.collect::<String>())
        };
        match kind {
            0..=3 => {
                let message = format!("m{producer}");
                json!({"type": "message.delta", "data": {"message": message, "text": text}})
            }
            4 => json!({"type": "tool.args", "agent": "a1", "data": {"call": "c", "text": text}}),
            5 | 6 => {
                let stream = if rng.u8(0..8) == 0 { "stderr" } else { "stdout" };
                let step = format!("s{}", number / BURST % 3);
                json!({"type": "output", "step": step, "data": {"stream": stream, "text": text}})
            }
            7 => {
                let event = ["step.started", "step.failed"][rng.usize(..2)];
                let step = format!("s{}", rng.u8(0..4));
                json!({"type": event, "step": step, "stage": rng.u32(1..4), "data": {"output": name}})
            }
            _ => {
                let pad_max = if rng.u8(0..20) == 0 { 20_000 } else { 300 };
                let pad = "x".repeat(rng.usize(0..pad_max));
                let (agent, variation) = (rng.u8(0..3), rng.u8(0..3));
                json!({"type": "test.event", "agent": format!("a{agent}"), "stage": "build",
                    "variation": format!("v{variation}"), "data": {"name": name, "pad": pad}})
            }
        }
    }
}

/// Which producer an event is from, and which of its events it is.
pub(super) fn name_of(event: &Value) -> Option<(usize, u64)> {
    let data = &event["data"];
    if let Some(text) = data["text"].as_str() {
        let (name, _) = text.strip_prefix(NAME_MARKS.0)?.split_once(NAME_MARKS.1)?;
        let (producer, number) = name.split_once('.')?;
        return Some((producer.parse().ok()?, number.parse().ok()?));
    }
    let name = if data["name"].is_object() { &data["name"] } else { &data["output"] };
    Some((usize::try_from(name["producer"].as_u64()?).ok()?, name["number"].as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_always_the_same_and_says_who_it_is() {
        let script = Script { seed: 7, run: 1, producer: 2 };
        for number in 0..500 {
            let draft = script.draft(number);
            assert_eq!(draft, script.draft(number));
            assert_eq!(name_of(&draft), Some((2, number)), "{draft}");
        }
    }
}
