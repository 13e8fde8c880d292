//! What a run declares that it will do: which stages, steps and variations there are to be.

use runcast_event::{Stage as Label, limits};
use serde_json::Value;

use crate::definition::Definition;
use crate::step::Step;
use crate::template;

/// The parts that a run declares, read from its definition.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Declared {
    pub(crate) stages: Stages,
    pub(crate) steps: Box<[DeclaredStep]>,
    pub(crate) variations: Box<[Box<str>]>,
}

/// A run's stages, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Stages {
    /// None are declared: whatever stage its events name is one.
    #[default]
    Any,
    BuiltIn(&'static [&'static str]),
    /// Some may have no name, and are known by their number.
    Own(Box<[Option<Box<str>>]>),
}

/// A step that is to be taken.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeclaredStep {
    step: Box<str>,
    name: Option<Box<str>>,
    stage: Option<Label>,
}

impl Declared {
    pub(crate) fn of(definition: &Definition) -> Self {
        let items = |json: &Option<crate::Json>| match json.as_ref().map(crate::Json::value) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let stages = match definition.stages.as_ref().map(crate::Json::value) {
            Some(Value::String(name)) => {
                template::built_in(&name).map_or(Stages::Any, Stages::BuiltIn)
            }
            Some(Value::Array(items)) if !items.is_empty() => {
                Stages::Own(items.iter().map(|item| name_in(item, &["name", "stage"])).collect())
            }
            _ => Stages::Any,
        };
        let mut declared = Self { stages, ..Self::default() };
        let steps = items(&definition.steps);
        declared.steps = steps.iter().filter_map(|item| declared.step(item)).collect();
        let variations = items(&definition.variations);
        let name = |item: &Value| name_in(item, &["variation", "id", "name"]);
        declared.variations = variations.iter().filter_map(name).collect();
        declared
    }

    /// Whether nothing is declared.
    pub(crate) fn is_empty(&self) -> bool {
        self.stages.len() == 0 && self.steps.is_empty()
    }

    fn step(&self, item: &Value) -> Option<DeclaredStep> {
        let step = name_in(item, &["step", "id", "name"])?;
        let label = match item.get("stage") {
            Some(Value::String(name)) => Some(Label::Name(name.clone())),
            Some(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()).map(Label::Number),
            None => None,
        };
        Some(DeclaredStep {
            name: name_in(item, &["name"]).filter(|name| *name != step),
            stage: label.map(|label| self.stages.meant_by(label)),
            step,
        })
    }
}

impl DeclaredStep {
    /// A step that has begun, with what only the declaration says of it.
    pub(crate) fn complete(&self, step: &Step) -> Step {
        let mut step = step.clone();
        step.name = step.name.or_else(|| self.name.clone());
        step.stage = step.stage.or_else(|| self.stage.clone());
        step
    }

    pub(crate) fn id(&self) -> &str {
        &self.step
    }

    /// The step before it has begun.
    pub(crate) fn pending(&self) -> Step {
        Step {
            step: self.step.clone(),
            name: self.name.clone(),
            stage: self.stage.clone(),
            ..Step::default()
        }
    }
}

impl Stages {
    /// How many are declared.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::BuiltIn(names) => names.len(),
            Self::Own(names) => names.len(),
        }
    }

    fn name(&self, at: usize) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::BuiltIn(names) => names.get(at).copied(),
            Self::Own(names) => names.get(at)?.as_deref(),
        }
    }

    /// The label of the stage at a place: its name, or its number from 1 if it has none.
    pub(crate) fn label(&self, at: usize) -> Label {
        let number = || Label::Number(u32::try_from(at + 1).unwrap_or(u32::MAX));
        self.name(at).map_or_else(number, |name| Label::Name(name.to_owned()))
    }

    /// The label of the stage that an event's label means: by name or by number. One that is not
    /// declared is taken as it is.
    pub(crate) fn meant_by(&self, label: Label) -> Label {
        self.find(&label).map_or(label, |at| self.label(at))
    }

    /// The place of a stage, from 0.
    pub(crate) fn find(&self, label: &Label) -> Option<usize> {
        let by_number = |number: u32| {
            let at = usize::try_from(number).ok()?.checked_sub(1)?;
            (at < self.len()).then_some(at)
        };
        match label {
            Label::Number(number) => by_number(*number),
            Label::Name(name) => {
                let named = |at: &usize| self.name(*at) == Some(name);
                let meant = |at: &usize| {
                    let is_built_in = matches!(self, Self::BuiltIn(_));
                    is_built_in && self.name(*at).is_some_and(|stage| template::means(name, stage))
                };
                let found = (0..self.len()).find(named).or_else(|| (0..self.len()).find(meant));
                found.or_else(|| by_number(name.parse().ok()?))
            }
        }
    }
}

/// The name of a declared thing: the item itself, or one of its fields.
fn name_in(item: &Value, fields: &[&str]) -> Option<Box<str>> {
    let named = || fields.iter().find_map(|field| item.get(field)?.as_str());
    let name = item.as_str().or_else(named)?;
    let is_name = !name.is_empty()
        && name.len() <= limits::LABEL_BYTES_MAX
        && !name.chars().any(char::is_control);
    is_name.then(|| name.into())
}
