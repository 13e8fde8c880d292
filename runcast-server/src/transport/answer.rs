//! Answers to appends.

use std::io::Write as _;

use runcast_event::RunId;
use runcast_log::Appended;

use crate::problem::Problem;

/// What was stored, as the body of a response; `lines` for a batch of lines.
pub(crate) fn appended(run: &RunId, appended: &Appended, lines: Option<usize>) -> Vec<u8> {
    let Appended { epoch, last, stored, duplicates } = *appended;
    let mut out = Vec::with_capacity(160);
    // An id's characters need no escape.
    write!(out, "{{\"run\":\"{run}\",\"epoch\":{epoch}").expect(VEC);
    if stored == 0 {
        out.extend_from_slice(b",\"first\":null,\"last\":null");
    } else {
        let first = last.get() - stored + 1;
        write!(out, ",\"first\":{first},\"last\":{last}").expect(VEC);
    }
    write!(out, ",\"stored\":{stored},\"duplicates\":{duplicates}").expect(VEC);
    match lines {
        Some(lines) => writeln!(out, ",\"lines\":{lines}}}").expect(VEC),
        None => out.push(b'}'),
    }
    out
}

/// The last line of an answer to lines.
pub(crate) fn done(stored: u64, duplicates: u64, lines: usize) -> Vec<u8> {
    format!("{{\"done\":true,\"stored\":{stored},\"duplicates\":{duplicates},\"lines\":{lines}}}\n")
        .into_bytes()
}

/// The last line of an answer that began well.
pub(crate) fn failed(problem: &Problem) -> Vec<u8> {
    let mut out = b"{\"problem\":".to_vec();
    out.extend_from_slice(&problem.to_json());
    out.extend_from_slice(b"}\n");
    out
}

const VEC: &str = "a Vec takes every write";

#[cfg(test)]
mod tests {
    use runcast_event::{Epoch, Offset};

    use super::*;

    #[test]
    fn an_answer_names_the_offsets_of_what_it_stored() {
        let run = RunId::new("r").unwrap();
        let stored =
            Appended { epoch: Epoch::FIRST, last: Offset::new(43), stored: 3, duplicates: 0 };
        assert_eq!(
            appended(&run, &stored, None),
            br#"{"run":"r","epoch":1,"first":41,"last":43,"stored":3,"duplicates":0}"#
        );
        let repeated = Appended { stored: 0, duplicates: 3, ..stored };
        assert_eq!(
            appended(&run, &repeated, Some(9)),
            b"{\"run\":\"r\",\"epoch\":1,\"first\":null,\"last\":null,\"stored\":0,\"duplicates\":3,\"lines\":9}\n"
        );
    }
}
