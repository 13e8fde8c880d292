//! The calls by which a run is talked to: commands, answers, and the producer's sign of life.

use reqwest::header::CONTENT_TYPE;
use reqwest::{RequestBuilder, Url};
use runcast_event::RunId;
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::{CommandInfo, InputInfo, InputList};
use crate::api::Client;
use crate::error::ClientError;
use crate::request::{CommandOutcome, CommandRequest, InputQuery};

impl Client {
    /// Asks something of a run. A second request with the same key is the first, as is a second stop.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn command(
        &self,
        run: &RunId,
        request: &CommandRequest,
    ) -> Result<CommandInfo, ClientError> {
        let url = self.parsed(&format!("/v1/runs/{run}/commands"))?;
        self.ask_json(self.post_json(url, request)?).await
    }

    /// Says what became of a command. Saying the same again changes nothing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn acknowledge(
        &self,
        run: &RunId,
        command: &str,
        outcome: &CommandOutcome,
    ) -> Result<CommandInfo, ClientError> {
        let url = self.below(run, "commands", command)?;
        self.ask_json(self.post_json(url, outcome)?).await
    }

    /// Answers an input, if nobody has before.
    ///
    /// # Errors
    /// See [`ClientError`]; `input_closed` names who was first.
    pub async fn answer(
        &self,
        run: &RunId,
        input: &str,
        answer: &Value,
        by: Option<&str>,
    ) -> Result<InputInfo, ClientError> {
        let url = self.below(run, "inputs", input)?;
        let mut body = json!({ "answer": answer });
        if let Some(by) = by {
            body["by"] = by.into();
        }
        self.ask_json(self.post_json(url, &body)?).await
    }

    /// A page of the inputs that wait for a person, the most urgent first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn inputs(&self, query: &InputQuery) -> Result<InputList, ClientError> {
        let mut url = self.parsed("/v1/inputs")?;
        {
            let mut pairs = url.query_pairs_mut();
            for tag in &query.tags {
                pairs.append_pair("tag", tag);
            }
            if let Some(workflow) = &query.workflow {
                pairs.append_pair("workflow", workflow);
            }
            if let Some(limit) = query.limit {
                pairs.append_pair("limit", &limit.to_string());
            }
            if let Some(cursor) = &query.cursor {
                pairs.append_pair("cursor", cursor);
            }
        }
        self.ask_json(self.http.get(url)).await
    }

    /// Says that the run's producer is there.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn heartbeat(&self, run: &RunId) -> Result<(), ClientError> {
        let url = self.parsed(&format!("/v1/runs/{run}/heartbeat"))?;
        self.ask(self.http.post(url)).await.map(|_| ())
    }

    /// The address of something of a run whose id may have any character.
    fn below(&self, run: &RunId, kind: &str, id: &str) -> Result<Url, ClientError> {
        let mut url = self.parsed(&format!("/v1/runs/{run}/{kind}"))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push(id);
        }
        Ok(url)
    }

    fn post_json(&self, url: Url, body: &impl Serialize) -> Result<RequestBuilder, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.protocol(error))?;
        Ok(self.http.post(url).header(CONTENT_TYPE, "application/json").body(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_any_character_is_one_part_of_the_address() {
        let client = Client::new("http://127.0.0.1:1/below").unwrap();
        let url = client.below(&RunId::new("a").unwrap(), "inputs", "ship it/now?").unwrap();
        assert_eq!(url.path(), "/below/v1/runs/a/inputs/ship%20it%2Fnow%3F");
    }

    #[test]
    fn an_outcome_is_written_as_the_server_reads_it() {
        let written = |outcome| serde_json::to_value::<CommandOutcome>(outcome).unwrap();
        assert_eq!(written(CommandOutcome::Done), json!({"status":"done"}));
        let refused = CommandOutcome::Refused { reason: "no".to_owned() };
        assert_eq!(written(refused), json!({"status":"refused","reason":"no"}));
    }
}
