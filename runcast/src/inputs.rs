//! `runcast inputs` and `runcast answer`: what runs ask of people, and what people answer.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use runcast_client::{Client, InputInfo, InputQuery};
use runcast_event::{RunId, Timestamp};
use serde_json::Value;

use crate::global::{Global, block_on};
use crate::palette::{Palette, Tone};
use crate::report::{note, printable, user_name};

/// List everything that waits for a person, the most urgent first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runcast inputs
  runcast inputs --workflow nightly --json | jq -r .prompt")]
pub(crate) struct List {
    /// Only of runs of this workflow
    #[arg(long)]
    workflow: Option<String>,
    /// Only of runs with this tag; may be repeated, all of them
    #[arg(long)]
    tag: Vec<String>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// One input a line, as JSON
    #[arg(long)]
    json: bool,
}

/// Answer what a run asks; the first answer counts
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runcast answer nightly-42 deploy yes
  runcast answer nightly-42 budget --json '{\"tokens\":1000}'")]
pub(crate) struct Answer {
    /// The run
    run: RunId,
    /// The input, as \"runcast inputs\" names it
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    input: String,
    /// The answer, as text
    #[arg(required_unless_present = "json", conflicts_with = "json")]
    value: Option<String>,
    /// The answer, as JSON
    #[arg(long, value_name = "JSON", value_parser = json)]
    json: Option<Value>,
    /// Who answers [default: your user name]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    by: Option<String>,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

/// The most inputs in one page of the server's list.
const PAGE_INPUTS_MAX: u32 = 1_000;

pub(crate) fn answer(args: Answer, global: &Global) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    let answer = args.json.or(args.value.map(Value::String)).unwrap_or_default();
    let by = args.by.or_else(user_name);
    block_on(async {
        client.answer(&args.run, &args.input, &answer, by.as_deref()).await?;
        writeln!(io::stdout(), "{}: {} answered", args.run, printable(&args.input))?;
        Ok(ExitCode::SUCCESS)
    })
}

pub(crate) fn list(args: List, global: &Global) -> anyhow::Result<ExitCode> {
    let client = global.client()?;
    block_on(async {
        let is_json = args.json;
        let inputs = read(&client, args).await?;
        let mut out = io::stdout().lock();
        if is_json {
            for input in &inputs {
                writeln!(out, "{}", serde_json::to_string(input)?)?;
            }
        } else if inputs.is_empty() {
            note("nothing waits for a person");
        } else {
            write_table(&inputs, &mut out)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn read(client: &Client, args: List) -> anyhow::Result<Vec<InputInfo>> {
    let limit = args.limit as usize;
    let mut query = InputQuery { workflow: args.workflow, tags: args.tag, ..InputQuery::default() };
    let mut inputs = Vec::new();
    while inputs.len() < limit {
        let left = u32::try_from(limit - inputs.len()).unwrap_or(u32::MAX);
        query.limit = Some(left.min(PAGE_INPUTS_MAX));
        let page = client.inputs(&query).await?;
        inputs.extend(page.inputs);
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    Ok(inputs)
}

fn write_table(inputs: &[InputInfo], out: &mut impl io::Write) -> io::Result<()> {
    let palette = Palette::of(&io::stdout());
    let now = Timestamp::now();
    let run_of = |input: &InputInfo| input.run.as_ref().map_or_else(String::new, RunId::to_string);
    let rows: Vec<[String; 4]> = inputs
        .iter()
        .map(|input| {
            let left = input.expires_at.map_or_else(|| "-".to_owned(), |at| left(at, now));
            let mut question = printable(input.prompt.as_deref().unwrap_or_default());
            if let Some(choices) = &input.choices {
                question = format!("{question} [{}]", printable(&choices.join(", ")));
            }
            [run_of(input), printable(&input.input), left, question]
        })
        .collect();
    let heads = ["RUN", "INPUT", "LEFT", "QUESTION"];
    let width = |at: usize| {
        let longest = rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        longest.max(heads[at].len())
    };
    let widths = [width(0), width(1), width(2)];
    let [run, input, left] = widths;
    writeln!(out, "{:run$}  {:input$}  {:>left$}  {}", heads[0], heads[1], heads[2], heads[3])?;
    for row in &rows {
        let name = palette.paint(Tone::Strong, &format!("{:input$}", row[1]));
        writeln!(out, "{:run$}  {name}  {:>left$}  {}", row[0], row[2], row[3])?;
    }
    Ok(())
}

/// How long until then, shortly.
fn left(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.millis_since(now) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
