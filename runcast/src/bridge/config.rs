//! What the bridge is told: mappings of a file in TOML, or by the command line, with presets for the names
//! that existing systems use.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::template::Template;
use crate::report::UsageError;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The most mappings.
const MAPPINGS_MAX: usize = 256;
/// Entries that a stream which is published to keeps, unless it is said.
const MAXLEN_DEFAULT: u64 = 10_000;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InForm {
    /// An object whose fields say the event.
    Json,
    /// A piece of output.
    Output,
    /// A log line, as text or as an object with a level.
    Log,
    /// A word that says how the run stands, alone or as the field `status` of an object.
    Status,
}

/// What is published of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutForm {
    /// The event as readers get it, with its run.
    Event,
    /// The text of `output` and deltas, the message of `log`.
    Text,
    /// The word that says how the run stands.
    Status,
}

/// Where reading of a stream begins that was never read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum From {
    Start,
    New,
}

/// What a run is said to be when it is met first.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefineText {
    workflow: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    stages: Vec<String>,
}

/// An `[[in]]` as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct InText {
    preset: Option<String>,
    channel: Option<String>,
    stream: Option<String>,
    run: Option<String>,
    form: Option<InForm>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    #[serde(default)]
    types: BTreeMap<String, String>,
    other: Option<String>,
    data: Option<String>,
    payload: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    define: Option<DefineText>,
    from: Option<From>,
}

/// An `[[out]]` as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutText {
    preset: Option<String>,
    channel: Option<String>,
    stream: Option<String>,
    maxlen: Option<u64>,
    workflow: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    events: Vec<String>,
    form: Option<OutForm>,
    #[serde(default)]
    message: BTreeMap<String, String>,
    #[serde(default)]
    names: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    #[serde(default, rename = "in")]
    ins: Vec<InText>,
    #[serde(default, rename = "out")]
    outs: Vec<OutText>,
}

#[derive(Debug, Deserialize)]
struct Presets {
    #[serde(rename = "in")]
    ins: BTreeMap<String, InText>,
    #[serde(rename = "out")]
    outs: BTreeMap<String, OutText>,
}

/// A channel or a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Channel(Template),
    Stream(Template),
}

impl Place {
    pub(super) fn name(&self) -> &Template {
        match self {
            Self::Channel(name) | Self::Stream(name) => name,
        }
    }
}

/// What a run is said to be when it is met first.
#[derive(Debug, Clone)]
pub(super) struct Define {
    pub(super) workflow: Option<Template>,
    pub(super) tags: Vec<String>,
    pub(super) stages: Vec<String>,
}

/// How messages become events.
#[derive(Debug, Clone)]
pub(super) struct In {
    pub(super) place: Place,
    pub(super) run: Template,
    pub(super) form: InForm,
    pub(super) event_type: Template,
    pub(super) types: BTreeMap<String, String>,
    /// What is put in front of types that are not among `types` and have no dot.
    pub(super) other: Option<String>,
    /// Where in a message its data is; the whole otherwise.
    pub(super) data: Option<String>,
    /// The field of a stream's entry that is the message; all of them otherwise.
    pub(super) payload: Option<String>,
    pub(super) labels: Vec<(String, Template)>,
    pub(super) fields: Vec<(String, Template)>,
    pub(super) define: Option<Define>,
    pub(super) from: From,
}

/// How events become messages.
#[derive(Debug, Clone)]
pub(super) struct Out {
    pub(super) place: Place,
    pub(super) maxlen: u64,
    pub(super) workflow: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) events: Vec<String>,
    pub(super) form: OutForm,
    pub(super) message: Vec<(String, Template)>,
    pub(super) names: BTreeMap<String, String>,
}

/// All mappings.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    pub(super) ins: Vec<In>,
    pub(super) outs: Vec<Out>,
}

const LABELS: [&str; 5] = ["channel", "variation", "stage", "step", "agent"];

fn presets() -> Presets {
    toml::from_str(include_str!("presets.toml")).expect("the presets are read by a test")
}

/// Reads a file, and adds what the command line says.
pub(super) fn read(
    file: Option<&Path>,
    ins: &[String],
    outs: &[String],
) -> anyhow::Result<Mappings> {
    let mut text = match file {
        Some(path) => read_file(path).with_context(|| path.display().to_string())?,
        None => FileText::default(),
    };
    text.ins.extend(ins.iter().map(|said| {
        let (preset, channel) = short(said);
        InText { preset: Some(preset), channel, ..InText::default() }
    }));
    text.outs.extend(outs.iter().map(|said| {
        let (preset, channel) = short(said);
        OutText { preset: Some(preset), channel, ..OutText::default() }
    }));
    let mappings = mappings(text).map_err(UsageError)?;
    if mappings.ins.is_empty() && mappings.outs.is_empty() {
        let what = "there is nothing to bridge: say --config FILE, or --in and --out";
        return Err(UsageError(what.to_owned()).into());
    }
    Ok(mappings)
}

/// `PRESET` or `PRESET=CHANNEL`.
fn short(said: &str) -> (String, Option<String>) {
    match said.split_once('=') {
        Some((preset, channel)) => (preset.to_owned(), Some(channel.to_owned())),
        None => (said.to_owned(), None),
    }
}

fn read_file(path: &Path) -> anyhow::Result<FileText> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    anyhow::ensure!(text.len() as u64 <= FILE_BYTES_MAX, "larger than {FILE_BYTES_MAX} bytes");
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text[..at].matches('\n').count() + 1;
        anyhow::anyhow!("line {line}: {}", error.message())
    })
}

fn mappings(text: FileText) -> Result<Mappings, String> {
    if text.ins.len() + text.outs.len() > MAPPINGS_MAX {
        return Err(format!("there are more than {MAPPINGS_MAX} mappings"));
    }
    let presets = presets();
    let numbered =
        |kind: &str, number: usize, error: String| format!("[[{kind}]] {number}: {error}");
    let ins = text.ins.into_iter().zip(1..).map(|(text, number)| {
        of_preset(&presets.ins, text.preset.as_deref())
            .and_then(|preset| text.with(preset).mapping())
            .map_err(|error| numbered("in", number, error))
    });
    let outs = text.outs.into_iter().zip(1..).map(|(text, number)| {
        of_preset(&presets.outs, text.preset.as_deref())
            .and_then(|preset| text.with(preset).mapping())
            .map_err(|error| numbered("out", number, error))
    });
    Ok(Mappings { ins: ins.collect::<Result<_, _>>()?, outs: outs.collect::<Result<_, _>>()? })
}

fn of_preset<T: Clone + Default>(
    presets: &BTreeMap<String, T>,
    name: Option<&str>,
) -> Result<T, String> {
    let Some(name) = name else { return Ok(T::default()) };
    let known = || presets.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let found = presets.get(name).cloned();
    found.ok_or_else(|| format!("there is no preset {name:?}; there are {}", known()))
}

/// The one place that a mapping names.
fn place(channel: Option<String>, stream: Option<String>) -> Result<Place, String> {
    match (channel, stream) {
        (Some(channel), None) => Template::parse_pattern(&channel).map(Place::Channel),
        (None, Some(stream)) => Template::parse_pattern(&stream).map(Place::Stream),
        _ => Err("name a channel or a stream, and only one".to_owned()),
    }
}

/// Of a mapping and its preset, the place that the mapping names, or else the preset.
fn places(
    own: (Option<String>, Option<String>),
    preset: (Option<String>, Option<String>),
) -> (Option<String>, Option<String>) {
    if own == (None, None) { preset } else { own }
}

fn over<V>(mut preset: BTreeMap<String, V>, own: BTreeMap<String, V>) -> BTreeMap<String, V> {
    preset.extend(own);
    preset
}

fn templates(texts: BTreeMap<String, String>) -> Result<Vec<(String, Template)>, String> {
    texts.into_iter().map(|(name, text)| Ok((name, Template::parse(&text)?))).collect()
}

impl InText {
    fn with(self, preset: Self) -> Self {
        let (channel, stream) =
            places((self.channel, self.stream), (preset.channel, preset.stream));
        Self {
            preset: self.preset,
            channel,
            stream,
            run: self.run.or(preset.run),
            form: self.form.or(preset.form),
            event_type: self.event_type.or(preset.event_type),
            types: over(preset.types, self.types),
            other: self.other.or(preset.other),
            data: self.data.or(preset.data),
            payload: self.payload.or(preset.payload),
            labels: over(preset.labels, self.labels),
            fields: over(preset.fields, self.fields),
            define: self.define.or(preset.define),
            from: self.from.or(preset.from),
        }
    }

    fn mapping(self) -> Result<In, String> {
        if let Some(label) = self.labels.keys().find(|label| !LABELS.contains(&label.as_str())) {
            return Err(format!("{label:?} is no label; the labels are {}", LABELS.join(", ")));
        }
        let define = match self.define {
            Some(DefineText { workflow, tags, stages }) => {
                let workflow = workflow.map(|text| Template::parse(&text)).transpose()?;
                Some(Define { workflow, tags, stages })
            }
            None => None,
        };
        Ok(In {
            place: place(self.channel, self.stream)?,
            run: Template::parse(self.run.as_deref().unwrap_or("{run}"))?,
            form: self.form.unwrap_or(InForm::Json),
            event_type: Template::parse(self.event_type.as_deref().unwrap_or("{type}"))?,
            types: self.types,
            other: self.other,
            data: self.data,
            payload: self.payload,
            labels: templates(self.labels)?,
            fields: templates(self.fields)?,
            define,
            from: self.from.unwrap_or(From::Start),
        })
    }
}

impl OutText {
    fn with(self, preset: Self) -> Self {
        let (channel, stream) =
            places((self.channel, self.stream), (preset.channel, preset.stream));
        let or = |own: Vec<String>, preset| if own.is_empty() { preset } else { own };
        Self {
            preset: self.preset,
            channel,
            stream,
            maxlen: self.maxlen.or(preset.maxlen),
            workflow: self.workflow.or(preset.workflow),
            prefix: self.prefix.or(preset.prefix),
            tags: or(self.tags, preset.tags),
            events: or(self.events, preset.events),
            form: self.form.or(preset.form),
            message: over(preset.message, self.message),
            names: over(preset.names, self.names),
        }
    }

    fn mapping(self) -> Result<Out, String> {
        if self.form.is_some() && !self.message.is_empty() {
            return Err("say form or message, not both".to_owned());
        }
        let place = place(self.channel, self.stream)?;
        Ok(Out {
            place,
            maxlen: self.maxlen.unwrap_or(MAXLEN_DEFAULT).max(1),
            workflow: self.workflow,
            prefix: self.prefix,
            tags: self.tags,
            events: self.events,
            form: self.form.unwrap_or(OutForm::Event),
            message: templates(self.message)?,
            names: self.names,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Mappings, String> {
        mappings(toml::from_str(text).map_err(|error| error.message().to_owned())?)
    }

    #[test]
    fn every_preset_is_a_mapping_by_itself() {
        let Presets { ins, outs } = presets();
        let ins: Vec<String> = ins.into_keys().collect();
        let outs: Vec<String> = outs.into_keys().collect();
        let all = read(None, &ins, &outs).unwrap();
        assert_eq!((all.ins.len(), all.outs.len()), (ins.len(), outs.len()));
    }

    #[test]
    fn what_a_mapping_says_itself_goes_before_its_preset() {
        let text = r#"
            [[in]]
            preset = "run-output"
            stream = "out:{run}"
            [[in]]
            preset = "workflow-events"
            types = { stage_start = "my.stage", extra = "my.extra" }
        "#;
        let ins = of(text).unwrap().ins;
        assert!(matches!(&ins[0].place, Place::Stream(name) if name.text() == "out:{run}"));
        assert_eq!(ins[0].form, InForm::Output);
        assert_eq!(ins[1].types["stage_start"], "my.stage");
        assert_eq!(ins[1].types["task_error"], "task.failed");
        assert_eq!(ins[1].types["extra"], "my.extra");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place() {
        let wrong = [
            ("[[in]]\n", "name a channel or a stream"),
            ("[[in]]\nchannel='a'\nstream='b'\n", "only one"),
            ("[[out]]\npreset='nothing'\n", "run-status"),
            ("[[in]]\nchannel='a'\nlabels={colour='x'}\n", "variation"),
            ("[[out]]\nchannel='a'\nform='text'\nmessage={a='b'}\n", "not both"),
            ("[[in]]\nchanel='a'\n", "chanel"),
        ];
        for (text, part) in wrong {
            let error = of(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let nothing = read(None, &[], &[]).unwrap_err().to_string();
        assert!(nothing.contains("--config"), "{nothing}");
    }
}
