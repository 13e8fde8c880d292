use proptest::prelude::*;

use super::*;

const LOG: &str = "{\"timestamp\":\"2026-11-20T21:16:00Z\",\"level\":\"INFO\",\"msg\":\"hi\"}\n";

fn text(text: &str) -> Piece {
    Piece::Text { text: text.to_owned(), replaced_bytes: 0 }
}

/// What comes out of pieces that are read one after the other, and at the end.
fn sorted(reads: &[&[u8]]) -> Vec<Piece> {
    let (mut sorter, mut out) = (Sorter::default(), Vec::new());
    for read in reads {
        sorter.push(read, Instant::now(), &mut out);
    }
    sorter.finish(&mut out);
    out
}

fn joined(pieces: &[Piece]) -> String {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text { text, .. } | Piece::Log(_, text) => text.as_str(),
        })
        .collect()
}

#[test]
fn lines_that_come_one_by_one_are_one_piece_each() {
    assert_eq!(sorted(&[b"a\nb\r\n\n", b"c"]), [text("a\n"), text("b\r\n"), text("\n"), text("c")]);
}

#[test]
fn a_line_in_two_reads_is_one_piece() {
    assert_eq!(sorted(&[b"a", b"b\n"]), [text("ab\n")]);
}

#[test]
fn lines_in_bulk_share_pieces_of_a_bounded_size() {
    let lines = "0123456789abcde\n".repeat(4 * 1024);
    let pieces = sorted(&[lines.as_bytes()]);
    assert_eq!(joined(&pieces), lines);
    assert_eq!(pieces.len(), lines.len() / TEXT_BYTES_MAX);
}

#[test]
fn log_lines_are_found_between_other_lines_in_order() {
    let all = format!("a\n{LOG}b\n");
    let pieces = sorted(&[all.as_bytes()]);
    assert_eq!(pieces[0], text("a\n"));
    let Piece::Log(log, _) = &pieces[1] else { panic!("{:?}", pieces[1]) };
    assert_eq!(log.data["message"], "hi");
    assert_eq!(pieces[2], text("b\n"));
}

#[test]
fn a_mark_at_a_lines_beginning_goes_and_elsewhere_stays() {
    assert_eq!(sorted(&["🔸 hi 🔸\n🔸x\n".as_bytes()]), [text("hi 🔸\n"), text("x\n")]);
    let mark = "🔸 tok".as_bytes();
    for cut in 0..mark.len() {
        let (mut sorter, mut out) = (Sorter::default(), Vec::new());
        sorter.push(&mark[..cut], Instant::now(), &mut out);
        sorter.give_partial(&mut out);
        sorter.push(&mark[cut..], Instant::now(), &mut out);
        sorter.finish(&mut out);
        assert_eq!(joined(&out), "tok", "cut at {cut}");
    }
}

#[test]
fn a_partial_line_is_due_after_a_short_wait_and_its_rest_follows() {
    let (mut sorter, mut out) = (Sorter::default(), Vec::new());
    assert_eq!(sorter.due(), None);
    let start = Instant::now();
    sorter.push(b"50%", start, &mut out);
    sorter.push(b"\r60%", start + Duration::from_millis(20), &mut out);
    assert_eq!(sorter.due(), Some(start + PARTIAL_WAIT));
    assert!(out.is_empty());
    sorter.give_partial(&mut out);
    assert_eq!((out.as_slice(), sorter.due()), ([text("50%\r60%")].as_slice(), None));
    sorter.push(b"\n", start, &mut out);
    assert_eq!(out[1], text("\n"));
}

#[test]
fn a_partial_line_that_may_become_a_log_line_waits_longer() {
    let (mut sorter, mut out) = (Sorter::default(), Vec::new());
    let start = Instant::now();
    let (head, tail) = LOG.split_at(20);
    sorter.push(head.as_bytes(), start, &mut out);
    assert_eq!(sorter.due(), Some(start + PARTIAL_LOG_WAIT));
    sorter.push(tail.as_bytes(), start, &mut out);
    assert!(matches!(out.as_slice(), [Piece::Log(..)]));
}

#[test]
fn the_rest_of_a_line_is_never_taken_for_a_log_line_or_a_marked_one() {
    let (mut sorter, mut out) = (Sorter::default(), Vec::new());
    sorter.push(b"x", Instant::now(), &mut out);
    sorter.give_partial(&mut out);
    sorter.push(LOG.as_bytes(), Instant::now(), &mut out);
    assert_eq!(out[1], text(LOG));
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let line = "é".repeat(TEXT_BYTES_MAX * 3) + "\n";
    let bytes = line.as_bytes();
    for reads in [vec![bytes], bytes.chunks(4_099).collect()] {
        let pieces = sorted(&reads);
        assert_eq!(joined(&pieces), line);
        for piece in &pieces {
            let Piece::Text { text, replaced_bytes } = piece else { panic!("{piece:?}") };
            assert!(text.len() <= TEXT_BYTES_MAX + 4_099 && *replaced_bytes == 0);
        }
    }
}

#[test]
fn a_character_that_is_never_finished_is_replaced_and_counted() {
    let pieces = sorted(&[b"a\xf0\x9f"]);
    assert_eq!(pieces, [Piece::Text { text: "a\u{fffd}".to_owned(), replaced_bytes: 2 }]);
}

proptest! {
    #[test]
    fn the_pieces_joined_are_the_stream_however_it_was_read(
        parts in proptest::collection::vec(
            prop_oneof![Just(LOG.to_owned()), "\\PC{0,9}\n", "\\PC{0,9}", Just("{\n".to_owned())],
            0..12,
        ),
        cuts in proptest::collection::vec((0_usize..400, any::<bool>()), 0..8),
    ) {
        let stream = parts.concat().replace(MARK, "");
        let bytes = stream.as_bytes();
        let mut cuts = cuts;
        cuts.sort_unstable();
        let (mut sorter, mut out, mut from) = (Sorter::default(), Vec::new(), 0);
        for (cut, wait) in cuts {
            let to = cut.clamp(from, bytes.len());
            sorter.push(&bytes[from..to], Instant::now(), &mut out);
            if wait {
                sorter.give_partial(&mut out);
            }
            from = to;
        }
        sorter.push(&bytes[from..], Instant::now(), &mut out);
        sorter.finish(&mut out);
        prop_assert_eq!(joined(&out), stream);
    }
}
