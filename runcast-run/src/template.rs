//! Lists of stages that are built in, so that a run need only name one.

/// The list of nine that agent pipelines go through.
pub const AGENT_PIPELINE: &str = "agent_pipeline";

/// The stages of [`AGENT_PIPELINE`].
const AGENT_PIPELINE_STAGES: [&str; 9] = [
    "task_decomposition",
    "agent_selection",
    "context_engineering",
    "agent_execution",
    "result_aggregation",
    "learning_update",
    "quality_assessment",
    "memory_storage",
    "response_generation",
];

/// The names of all built-in lists.
pub const BUILT_IN: [&str; 1] = [AGENT_PIPELINE];

/// The stages of a built-in list, in order.
#[must_use]
pub fn built_in(name: &str) -> Option<&'static [&'static str]> {
    (name == AGENT_PIPELINE).then_some(&AGENT_PIPELINE_STAGES)
}

/// Whether a text means a built-in stage: `Task Decomposition` is `task_decomposition`.
pub(crate) fn means(text: &str, stage: &str) -> bool {
    let plain = |c: char| if matches!(c, ' ' | '-') { '_' } else { c.to_ascii_lowercase() };
    text.chars().map(plain).eq(stage.chars())
}
