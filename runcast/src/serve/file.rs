//! The configuration file: what the command line of `serve` says, in TOML, and every setting by its
//! name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use runcast_server::{Origin, RetentionClass};

use super::DurabilityChoice;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a file says.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct ConfigFile {
    pub(super) listen: Option<SocketAddr>,
    pub(super) data: Option<PathBuf>,
    pub(super) redis: Option<String>,
    pub(super) redis_wait: Option<u32>,
    pub(super) redis_ca_file: Option<PathBuf>,
    pub(super) durability: Option<DurabilityChoice>,
    pub(super) sync_every_ms: Option<u64>,
    #[serde(default)]
    pub(super) allow_origin: Vec<String>,
    #[serde(default)]
    pub(super) allow_host: Vec<String>,
    pub(super) log: Option<String>,
    /// What is kept of which runs.
    #[serde(default)]
    pub(super) retention: Vec<RetentionClass>,
    /// Everything else: settings by their names.
    #[serde(flatten)]
    pub(super) settings: BTreeMap<String, toml::Value>,
}

/// The origins that texts are.
pub(super) fn origins(texts: &[String]) -> anyhow::Result<Vec<Origin>> {
    let origins = texts.iter().map(|text| text.parse().map_err(anyhow::Error::new));
    origins.collect::<anyhow::Result<_>>().context("allow_origin")
}

/// Reads a file. The error names it, and the line where it is not what it should be.
pub(super) fn read(path: &Path) -> anyhow::Result<ConfigFile> {
    let read = || -> anyhow::Result<ConfigFile> {
        let mut text = String::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        anyhow::ensure!(text.len() as u64 <= FILE_BYTES_MAX, "larger than {FILE_BYTES_MAX} bytes");
        toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text[..at].matches('\n').count() + 1;
            anyhow::anyhow!("line {line}: {}", error.message())
        })
    };
    read().with_context(|| named(path))
}

/// What an error begins with that is about a file.
pub(super) fn named(path: &Path) -> String {
    format!("the configuration file {}", path.display())
}

/// The number that a setting is given.
pub(super) fn number(name: &str, value: &toml::Value) -> anyhow::Result<f64> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "no setting is so large")]
        toml::Value::Integer(integer) => Ok(*integer as f64),
        toml::Value::Float(float) => Ok(*float),
        other => anyhow::bail!("{name} must be a number, not {}", other.type_str()),
    }
}
