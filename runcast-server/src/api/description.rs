//! The forms of requests and answers, for `/openapi.json`.
//!
//! Nothing is made from these: the wire is written by `transport` and `runcast-run`. A test holds
//! them against real answers.

use utoipa::ToSchema;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};

/// The description before any call is in it.
pub(super) fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Runcast")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Durable, ordered, live event streams for agent and workflow runs."))
        .build();
    OpenApiBuilder::new().info(info).build()
}

macro_rules! forms {
    ($($(#[$doc:meta])* $name:ident as $public:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(ToSchema)]
            #[schema(as = $public)]
            #[expect(dead_code, reason = "describes a form and is never made")]
            pub(super) struct $name { $($(#[$field_doc])* $field: $type,)* }
        )*
    };
}

forms! {
    /// An event as it is sent and as it is read. Typed events have rules for their data.
    EventBody as Event {
        /// Its place in the run: 1, 2, 3 … Given by the server, never sent.
        #[schema(read_only)]
        offset: Option<u64>,
        /// A typed event, or any other dotted name.
        r#type: String,
        /// When it happened, as RFC 3339 writes it; the server's time if it is not sent.
        #[schema(format = DateTime)]
        time: Option<String>,
        /// `output`, `logs`, `status`, `control`, or another name.
        channel: Option<String>,
        /// Which of a run's parallel attempts.
        variation: Option<String>,
        /// Which stage: its name, or its number from 1.
        #[schema(value_type = Option<Object>)]
        stage: Option<String>,
        /// Which step.
        step: Option<String>,
        /// Which agent.
        agent: Option<String>,
        /// What it says: any JSON.
        #[schema(value_type = Option<Object>)]
        data: Option<String>,
    }

    /// What was stored, and is durable.
    AppendedBody as Appended {
        run: String,
        epoch: u32,
        /// The offset of the first event stored; null when all were stored before.
        first: Option<u64>,
        /// The offset of the last event stored; null when all were stored before.
        last: Option<u64>,
        stored: u64,
        duplicates: u64,
    }

    /// What a run is. All fields are optional.
    CreateBody as NewRun {
        /// The run's id; the server makes one if there is none.
        id: Option<String>,
        /// The name that runs of one kind share.
        workflow: Option<String>,
        /// A name for people.
        name: Option<String>,
        tags: Option<Vec<String>>,
        /// An array of names or of objects with a `name`, or `agent_pipeline`, a built-in list.
        #[schema(value_type = Option<Object>)]
        stages: Option<Vec<String>>,
        #[schema(value_type = Option<Vec<Object>>)]
        steps: Option<Vec<String>>,
        #[schema(value_type = Option<Vec<Object>>)]
        variations: Option<Vec<String>>,
        #[schema(value_type = Option<Object>)]
        metadata: Option<String>,
        #[schema(value_type = Option<Object>)]
        retention: Option<String>,
        #[schema(format = DateTime)]
        deadline: Option<String>,
        /// After how many milliseconds of silence its producer counts as lost.
        lost_after_ms: Option<u64>,
    }

    /// How many events a run has.
    CountsBody as EventCounts {
        total: u64,
        output: u64,
        log: u64,
        /// Those among all that cannot be read any more.
        damaged: u64,
    }

    /// How much of a run is done.
    ProgressBody as Progress {
        /// From 0 to 1.
        fraction: f64,
        /// When all is done if it goes on as it did.
        #[schema(format = DateTime)]
        eta_at: Option<String>,
    }

    /// A run in a list.
    SummaryBody as RunSummary {
        id: String,
        workflow: Option<String>,
        name: Option<String>,
        tags: Vec<String>,
        #[schema(value_type = Object)]
        metadata: String,
        #[schema(format = DateTime)]
        deadline: Option<String>,
        /// `queued`, `running`, `paused`, `input_required`, `cancelling`, `completed`, `failed`,
        /// `cancelled`, `timed_out` or `crashed`.
        status: String,
        status_reason: Option<String>,
        is_terminal: bool,
        exit_code: Option<i64>,
        signal: Option<String>,
        /// A text or an object.
        #[schema(value_type = Option<Object>)]
        error: Option<String>,
        /// How much is done, where that can be said.
        progress: Option<ProgressBody>,
        /// Inputs that wait for an answer.
        open_inputs: u64,
        #[schema(format = DateTime)]
        created_at: String,
        #[schema(format = DateTime)]
        started_at: Option<String>,
        #[schema(format = DateTime)]
        ended_at: Option<String>,
        #[schema(format = DateTime)]
        updated_at: String,
        duration_ms: Option<u64>,
        events: CountsBody,
        epoch: u32,
        offset: u64,
        /// `offset` as a cursor: `events?after=<cursor>` goes on where this state ends.
        cursor: String,
        first_offset: u64,
    }

    /// A run's state, true at `offset`: what a list says of it, and what it did. The parts are
    /// described in docs/run-state.md.
    RunBody as Run {
        id: String,
        workflow: Option<String>,
        name: Option<String>,
        tags: Vec<String>,
        #[schema(value_type = Object)]
        metadata: String,
        #[schema(format = DateTime)]
        deadline: Option<String>,
        /// `queued`, `running`, `paused`, `input_required`, `cancelling`, `completed`, `failed`,
        /// `cancelled`, `timed_out` or `crashed`.
        status: String,
        status_reason: Option<String>,
        is_terminal: bool,
        exit_code: Option<i64>,
        signal: Option<String>,
        /// A text or an object.
        #[schema(value_type = Option<Object>)]
        error: Option<String>,
        /// How much is done, where that can be said.
        progress: Option<ProgressBody>,
        /// Inputs that wait for an answer.
        open_inputs: u64,
        #[schema(format = DateTime)]
        created_at: String,
        #[schema(format = DateTime)]
        started_at: Option<String>,
        #[schema(format = DateTime)]
        ended_at: Option<String>,
        #[schema(format = DateTime)]
        updated_at: String,
        duration_ms: Option<u64>,
        events: CountsBody,
        epoch: u32,
        offset: u64,
        /// `offset` as a cursor: `events?after=<cursor>` goes on where this state ends.
        cursor: String,
        first_offset: u64,
        /// The stage that it is in: its name, or its number.
        #[schema(value_type = Option<Object>)]
        current_stage: Option<String>,
        /// The step that it is at, from 0.
        current_step: Option<u64>,
        /// What came of each step that has ended.
        #[schema(value_type = Vec<Object>)]
        step_results: Vec<String>,
        /// What came of the run: any JSON.
        #[schema(value_type = Option<Object>)]
        output_data: Option<String>,
        #[schema(value_type = Vec<Object>)]
        stages: Vec<String>,
        #[schema(value_type = Vec<Object>)]
        steps: Vec<String>,
        #[schema(value_type = Vec<Object>)]
        variations: Vec<String>,
        #[schema(value_type = Vec<Object>)]
        agents: Vec<String>,
        #[schema(value_type = Vec<Object>)]
        tasks: Vec<String>,
        #[schema(value_type = Vec<Object>)]
        messages: Vec<String>,
        #[schema(value_type = Vec<Object>)]
        tool_calls: Vec<String>,
        #[schema(value_type = Vec<Object>)]
        inputs: Vec<String>,
        #[schema(value_type = Vec<Object>)]
        commands: Vec<String>,
        /// Tokens and cost.
        #[schema(value_type = Object)]
        usage: String,
        /// What is left out of the state by its limits, counted by kind.
        #[schema(value_type = Object)]
        omitted: String,
        /// The events that cannot be read any more: this is the state of all others.
        damaged: Vec<DamagedBody>,
    }

    /// Events of a run that cannot be read any more.
    DamagedBody as Damaged {
        from: u64,
        to: u64,
    }

    /// Runs, newest first.
    RunsBody as RunList {
        runs: Vec<SummaryBody>,
        /// The `cursor` of the next list; null at the end.
        next: Option<String>,
        /// The feed's cursor: `/v1/feed?after=<feed>` tells of everything that this list has not.
        feed: String,
        /// With `counts`: how many runs there are by status.
        #[schema(value_type = Option<Object>)]
        counts: Option<String>,
    }

    /// Events that were asked for and cannot be had.
    GapBody as Gap {
        from: u64,
        to: u64,
        /// `trimmed`, `epoch_changed` or `damaged`.
        reason: String,
        /// The epoch that the stream goes on in, when it changed.
        epoch: Option<u32>,
    }

    /// A page of events.
    PageBody as Page {
        run: String,
        epoch: u32,
        events: Vec<EventBody>,
        /// Where the next page begins.
        next: String,
        /// The oldest event that is kept.
        first: u64,
        /// The newest event.
        last: u64,
        /// Whether the run has ended.
        closed: bool,
        gap: Option<GapBody>,
    }

    /// A life-cycle event of a run, in the feed.
    EntryBody as FeedEntry {
        /// Its place in the feed: 1, 2, 3 …
        offset: u64,
        /// `run.queued` and the other types of runs' events; `run.created` for a run that begins
        /// with another event; `run.deleted`.
        r#type: String,
        #[schema(format = DateTime)]
        time: String,
        run: String,
        data: EntryDataBody,
    }

    /// What the run is, as of that event.
    EntryDataBody as FeedEntryData {
        workflow: Option<String>,
        name: Option<String>,
        tags: Vec<String>,
        status: Option<String>,
        /// The epoch and the offset of the event in its run; not of a deletion.
        epoch: Option<u32>,
        offset: Option<u64>,
        exit_code: Option<i64>,
        signal: Option<String>,
    }

    /// A page of the feed.
    FeedPageBody as FeedPage {
        epoch: u32,
        events: Vec<EntryBody>,
        /// Where the next page begins.
        next: String,
        first: u64,
        last: u64,
        closed: bool,
        gap: Option<GapBody>,
    }

    /// What a run is asked.
    WantedBody as NewCommand {
        /// `pause`, `resume`, `stop`, `set`, or a name of the run's own.
        name: String,
        #[schema(value_type = Option<Object>)]
        args: Option<String>,
        /// Asking again with it is the same command.
        key: Option<String>,
        by: Option<String>,
        reason: Option<String>,
        /// After how many milliseconds it expires if nobody carried it out.
        timeout_ms: Option<u64>,
    }

    /// A command, and what became of it.
    CommandBody as Command {
        command: String,
        name: String,
        /// `requested`, `delivered`, `done`, `refused`, `expired` or `closed`.
        status: String,
        #[schema(value_type = Option<Object>)]
        args: Option<String>,
        key: Option<String>,
        by: Option<String>,
        reason: Option<String>,
        #[schema(format = DateTime)]
        requested_at: String,
        #[schema(format = DateTime)]
        delivered_at: Option<String>,
        #[schema(format = DateTime)]
        ended_at: Option<String>,
        #[schema(format = DateTime)]
        expires_at: Option<String>,
    }

    /// What a run says of a command.
    AcknowledgeBody as CommandOutcome {
        /// `delivered`, `done` or `refused`.
        status: String,
        /// Why it is refused.
        reason: Option<String>,
        #[schema(value_type = Option<Object>)]
        result: Option<String>,
        by: Option<String>,
    }

    /// An answer to an input.
    AnswerBody as NewAnswer {
        /// Any JSON that the input's schema or choices allow.
        #[schema(value_type = Object)]
        answer: String,
        by: Option<String>,
    }

    /// An input: what a run asks.
    InputBody as Input {
        input: String,
        /// `open`, `answered`, `timed_out` or `closed`.
        status: String,
        /// What is asked, in Markdown.
        prompt: Option<String>,
        choices: Option<Vec<String>>,
        #[schema(value_type = Option<Object>)]
        schema: Option<String>,
        #[schema(value_type = Option<Object>)]
        default: Option<String>,
        #[schema(format = DateTime)]
        requested_at: String,
        #[schema(format = DateTime)]
        expires_at: Option<String>,
        #[schema(value_type = Option<Object>)]
        answer: Option<String>,
        answered_by: Option<String>,
        #[schema(format = DateTime)]
        ended_at: Option<String>,
        variation: Option<String>,
        step: Option<String>,
        agent: Option<String>,
    }

    /// Open inputs, the one asked first at the top. Each says which run asks: `run`, `run_name`,
    /// `workflow`.
    InputsBody as InputList {
        inputs: Vec<InputBody>,
        /// The `cursor` of the next list; null at the end.
        next: Option<String>,
    }

    /// An error, as RFC 9457 has it. Further members name the thing.
    ProblemBody as Problem {
        r#type: String,
        title: String,
        status: u16,
        detail: String,
        /// What is wrong, as a name that does not change.
        code: String,
    }

    /// How the server is.
    StatusBody as Status {
        status: String,
    }
}
