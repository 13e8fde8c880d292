use std::io;

use super::*;

/// Takes so many bytes a write, and is full after each as often as it is told.
struct Sink {
    taken: Vec<u8>,
    at_once: usize,
    is_full_after_each: bool,
    is_full: bool,
}

impl Sink {
    fn new(at_once: usize, is_full_after_each: bool) -> Self {
        Self { taken: Vec::new(), at_once, is_full_after_each, is_full: false }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if std::mem::take(&mut self.is_full) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut left = self.at_once;
        for slice in slices {
            let length = left.min(slice.len());
            self.taken.extend_from_slice(&slice[..length]);
            left -= length;
        }
        self.is_full = self.is_full_after_each;
        Ok(self.at_once - left)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Parts of these sizes, each of other bytes, for the offsets from 1 on.
fn parts(sizes: impl IntoIterator<Item = usize>) -> Vec<Part> {
    let part = |(at, size)| Part {
        bytes: Bytes::from(vec![at as u8; size]),
        behind: at_event(at as u64 + 2),
    };
    sizes.into_iter().enumerate().map(part).collect()
}

fn at_event(next: u64) -> Place {
    Place { epoch: Epoch::FIRST, next: Offset::new(next) }
}

/// Sends to a reader of whom nothing else is asked.
fn send(outbox: &mut Outbox, sink: &mut Sink, parts: &[Part]) -> Taken {
    outbox.send(sink, parts, &mut at_event(1)).unwrap()
}

/// Offers all parts as a shard does: from the cursor on, until the sink took all.
fn deliver(parts: &[Part], sink: &mut Sink) {
    let (mut outbox, mut place) = (Outbox::default(), at_event(1));
    loop {
        let from = place.next.get() as usize - 1;
        if outbox.send(sink, &parts[from..], &mut place).unwrap().progress == Progress::Sent {
            break;
        }
    }
    assert_eq!(place.next.get() as usize, parts.len() + 1);
    assert!(outbox.pending.is_none());
}

#[test]
fn every_byte_goes_once_and_in_order_however_little_is_taken_at_once() {
    let parts = parts([5, 0, 1, 17, 0, 0, 40, 3, 3, 3].into_iter().cycle().take(150));
    let expected: Vec<u8> = parts.iter().flat_map(|part| part.bytes.to_vec()).collect();
    for at_once in 1..=expected.len() {
        for is_full_after_each in [false, true] {
            let mut sink = Sink::new(at_once, is_full_after_each);
            deliver(&parts, &mut sink);
            assert!(sink.taken == expected, "{at_once} {is_full_after_each}");
        }
    }
}

#[test]
fn a_full_socket_leaves_one_part_and_a_cursor_behind_it() {
    let (mut outbox, mut place) = (Outbox::default(), at_event(1));
    let parts = parts([100; 62]);
    let taken = outbox.send(&mut Sink::new(250, true), &parts, &mut place).unwrap();
    assert_eq!(taken, Taken { progress: Progress::Full, bytes: 250, parts: 3 });
    assert_eq!(place.next, Offset::new(4));
    let pending = outbox.pending.as_ref().unwrap();
    assert_eq!((pending.bytes.len(), pending.taken), (100, 50));

    assert_eq!(outbox.pending_bytes(), 50);

    let taken = send(&mut outbox, &mut Sink::new(10, true), &[]);
    assert_eq!(taken, Taken { progress: Progress::Kept, bytes: 10, parts: 0 });
}

#[test]
fn what_a_view_leaves_out_moves_the_cursor_and_writes_nothing() {
    let (mut sink, mut place) = (Sink::new(100, false), at_event(1));
    let taken = Outbox::default().send(&mut sink, &parts([0, 0, 3, 0]), &mut place).unwrap();
    assert_eq!(taken, Taken { progress: Progress::Sent, bytes: 3, parts: 1 });
    assert_eq!((place.next, sink.taken), (Offset::new(5), vec![2; 3]));
}

#[test]
fn what_is_said_comes_behind_what_is_pending() {
    let (mut outbox, mut sink) = (Outbox::default(), Sink::new(2, true));
    send(&mut outbox, &mut sink, &parts([3]));
    outbox.say(Bytes::from_static(b"head "));
    outbox.say(Bytes::from_static(b"tail "));
    sink.at_once = 100;
    send(&mut outbox, &mut sink, &parts([1]));
    assert_eq!(sink.taken, b"\0\0\0head tail \0");
}
