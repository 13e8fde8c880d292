//! How much of a run is done, reckoned from what is.
//!
//! What the producer says counts before anything reckoned. Else each declared stage counts the same,
//! and in it each of its steps; without stages, each declared step does. Of work that nobody declared
//! no total is known, and so no fraction is told.

use std::collections::HashMap;

use runcast_event::Stage as Label;

use crate::progress::rounded;
use crate::stage::StageState;
use crate::state::RunState;
use crate::status::{Status, WorkStatus};

/// A mean in the making.
#[derive(Default, Clone, Copy)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

impl RunState {
    /// How much of the run is done, from 0 to 1.
    pub(crate) fn fraction(&self) -> Option<f64> {
        if self.status() == Status::Completed {
            return Some(1.0);
        }
        if let Some(said) = self.kept().and_then(|work| work.pace.said()) {
            return Some(said);
        }
        let mut all = Mean::default();
        if self.declared.stages.len() > 0 {
            let mut stages: HashMap<u32, Mean> = HashMap::new();
            for stage in self.stages() {
                let Some(number) = stage.number else { continue };
                stages.entry(number).or_default().add(stage.progress.unwrap_or(0.0));
            }
            let declared = u32::try_from(self.declared.stages.len()).unwrap_or(u32::MAX);
            for number in 1..=declared {
                all.add(stages.get(&number).and_then(|mean| mean.value()).unwrap_or(0.0));
            }
        } else if !self.declared.steps.is_empty() {
            self.steps().iter().for_each(|step| all.add(step.fraction()));
        }
        all.value().map(rounded)
    }

    /// Says of each stage how much of it is done.
    pub(crate) fn measure_stages(&self, stages: &mut [StageState]) {
        let mut steps: HashMap<(Label, Option<Box<str>>), Mean> = HashMap::new();
        let is_open = |stage: &StageState| !stage.status.is_over() && stage.attempt > 0;
        if stages.iter().any(is_open) {
            for step in self.steps() {
                let Some(stage) = step.stage.clone() else { continue };
                steps.entry((stage, step.variation.clone())).or_default().add(step.fraction());
            }
        }
        for stage in stages {
            stage.progress = match stage.status {
                WorkStatus::Pending => Some(0.0),
                WorkStatus::Completed | WorkStatus::Skipped => Some(1.0),
                _ => {
                    let named = stage.name.clone().map(Label::Name);
                    let label = named.or(stage.number.map(Label::Number));
                    let key =
                        label.map(|label| (label, stage.variation.as_deref().map(Into::into)));
                    key.and_then(|key| steps.get(&key)).and_then(|mean| mean.value()).map(rounded)
                }
            };
        }
    }
}
