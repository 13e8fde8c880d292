//! Colours for people: on where a terminal shows them, off elsewhere and with `NO_COLOR`.

use std::io::IsTerminal;

/// Writes text in colours, or plainly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Palette {
    on: bool,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Beside the point: times, sources.
    Dim,
    /// A name to catch the eye.
    Strong,
    /// Under way.
    Active,
    /// Ended well.
    Good,
    /// To be looked at.
    Warning,
    /// Ended badly.
    Bad,
    /// Nothing in particular.
    Plain,
}

impl Palette {
    /// Colours if `stream` is a terminal that takes them.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { on: stream.is_terminal() && !refused && !dumb }
    }

    /// Whether there are colours.
    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    /// No colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { on: false }
    }

    /// The text in the colour of its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Dim => "2",
            Tone::Strong => "1",
            Tone::Active => "36",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Plain => return text.to_owned(),
        };
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The tone of a run's status.
pub(crate) fn status_tone(status: &str) -> Tone {
    match status {
        "completed" => Tone::Good,
        "failed" | "crashed" | "timed_out" => Tone::Bad,
        "cancelled" | "paused" | "waiting" => Tone::Warning,
        "running" => Tone::Active,
        _ => Tone::Plain,
    }
}
