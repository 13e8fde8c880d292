//! What is in a log's files, piece by piece, in the order in which it lies there.
//!
//! Each file is read on its own, whole or not, also one that was set aside: what is damaged is told
//! as that and passed over. Events themselves are given only if they are asked for. Changes nothing;
//! memory is that of one group, or of one segment's index and a block.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use runcast_event::Offset;

use crate::embedded::directory::is_ours;
use crate::embedded::disk::{Disk as _, DiskFile};
use crate::embedded::error::OpenError;
use crate::embedded::manifest::{Manifest, ManifestFault};
use crate::embedded::read_only::ReadOnlyDisk;

mod segment;
mod wal;

/// What is to be told.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only what belongs to this run, and damage.
    pub run: Option<String>,
    /// The events too.
    pub events: bool,
}

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The file's name.
    pub file: String,
    /// Where in it the piece begins.
    pub position: u64,
    /// How long it is.
    pub bytes: u64,
    /// What it is: `wal`, `group`, `append`, `segment`, `run`, `block`, `event`, `damaged` …
    pub kind: &'static str,
    /// The run that it belongs to.
    pub run: Option<String>,
    /// What it says, by name.
    pub fields: Vec<(&'static str, Value)>,
    /// The event's bytes, of an `event`.
    pub event: Option<Bytes>,
}

/// What a field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// That it is so, or not.
    Is(bool),
}

/// Why not all was told.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A file cannot be read, or is none of a log.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// Who is told takes no more.
    #[error(transparent)]
    Output(io::Error),
}

/// Takes pieces one by one.
pub type Show<'a> = &'a mut dyn FnMut(Piece) -> io::Result<()>;

/// Tells what is in a file of a log, or in all files of a data directory, and whether any of it is
/// damaged.
///
/// # Errors
/// When a file cannot be read or is none of a log, or `show` fails.
pub fn inspect(path: &Path, selection: &Selection, show: Show<'_>) -> Result<bool, InspectError> {
    let mut is_damaged = false;
    for file in files(path)? {
        let mut telling = Telling::of(&file, selection, show);
        telling.file()?;
        is_damaged |= telling.is_damaged;
    }
    Ok(is_damaged)
}

/// The file, or the log's files in the directory.
fn files(path: &Path) -> Result<Vec<PathBuf>, OpenError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut names = ReadOnlyDisk.names(path).map_err(OpenError::io("list", path))?;
    names.retain(|name| is_ours(name));
    names.sort();
    if names.is_empty() {
        let reason = "there is no file of a log in it".to_owned();
        return Err(OpenError::Foreign { path: path.to_path_buf(), reason });
    }
    Ok(names.into_iter().map(|name| path.join(name)).collect())
}

/// Telling of one file.
struct Telling<'a, 'b> {
    path: &'a Path,
    name: String,
    selection: &'a Selection,
    show: &'a mut (dyn FnMut(Piece) -> io::Result<()> + 'b),
    is_damaged: bool,
}

type Fields = Vec<(&'static str, Value)>;

fn number(number: impl Into<u64>) -> Value {
    Value::Number(number.into())
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn hex(bytes: &[u8]) -> Value {
    Value::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Of a trim: the first event that is kept, and how large what stands for the others is, if anything
/// does.
fn fields_of_trim(before: Offset, base: &[u8]) -> Fields {
    let mut fields = vec![("before", number(before.get()))];
    if !base.is_empty() {
        fields.push(("base_bytes", number(base.len() as u64)));
    }
    fields
}

impl<'a, 'b> Telling<'a, 'b> {
    fn of(
        path: &'a Path,
        selection: &'a Selection,
        show: &'a mut (dyn FnMut(Piece) -> io::Result<()> + 'b),
    ) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let name = name.to_string_lossy().into_owned();
        Self { path, name, selection, show, is_damaged: false }
    }

    fn file(&mut self) -> Result<(), InspectError> {
        let file = ReadOnlyDisk.open(self.path).map_err(OpenError::io("open", self.path))?;
        let length = file.length().map_err(OpenError::io("look at", self.path))?;
        let mut magic = [0; 8];
        let there = length.min(magic.len() as u64) as usize;
        let read = file.read_exact_at(&mut magic[..there], 0);
        read.map_err(OpenError::io("read", self.path))?;
        match &magic {
            b"RUNCASTW" => self.wal(file),
            b"RUNCASTS" => self.segment(file),
            b"RUNCASTM" => self.manifest(&file, length),
            // By its name it is one of ours: only its beginning is damaged.
            _ if self.name.starts_with("wal-") => self.wal(file),
            _ if self.name.starts_with("seg-") => self.segment(file),
            _ if self.name.starts_with("manifest") => self.manifest(&file, length),
            _ => {
                let reason = "it does not begin as one does".to_owned();
                Err(OpenError::Foreign { path: self.path.to_path_buf(), reason }.into())
            }
        }
    }

    fn manifest(&mut self, file: &Arc<dyn DiskFile>, length: u64) -> Result<(), InspectError> {
        /// A larger one is none.
        const BYTES_MAX: u64 = 16 * 1024 * 1024;
        let mut bytes = vec![0; length.min(BYTES_MAX) as usize];
        file.read_exact_at(&mut bytes, 0).map_err(OpenError::io("read", self.path))?;
        let manifest = match Manifest::decode(&bytes) {
            Ok(manifest) => manifest,
            Err(ManifestFault::Newer(found)) => return Err(self.newer(found)),
            Err(_) => return self.damaged(0, length, "the manifest's checksum is wrong"),
        };
        let session = &manifest.session;
        self.whole(
            0,
            length,
            "manifest",
            vec![
                ("log", hex(&manifest.log_id)),
                ("wal_first", number(manifest.wal_first)),
                ("next_group", number(manifest.next_group)),
                ("next_segment", number(manifest.next_segment)),
                ("first_epoch", number(manifest.first_epoch.get())),
                ("runs", number(manifest.streams)),
                ("events", number(manifest.events)),
                ("relaxed", Value::Is(session.relaxed)),
                ("clean", Value::Is(session.clean)),
            ],
        )?;
        for listed in &manifest.segments {
            self.whole(
                0,
                length,
                "listed",
                vec![
                    ("segment", number(listed.number)),
                    ("level", number(listed.level)),
                    ("length", number(listed.length)),
                    ("erased", number(listed.erased)),
                ],
            )?;
        }
        Ok(())
    }

    fn newer(&self, found: u32) -> InspectError {
        OpenError::Newer { path: self.path.to_path_buf(), found }.into()
    }

    /// Tells a piece that belongs to no run.
    fn whole(
        &mut self,
        position: u64,
        bytes: u64,
        kind: &'static str,
        fields: Fields,
    ) -> Result<(), InspectError> {
        if self.selection.run.is_some() {
            return Ok(());
        }
        self.tell(Piece {
            file: self.name.clone(),
            position,
            bytes,
            kind,
            run: None,
            fields,
            event: None,
        })
    }

    /// Tells a piece of a run, if it is wanted.
    fn of_run(
        &mut self,
        (position, bytes): (u64, u64),
        kind: &'static str,
        run: &str,
        fields: Fields,
    ) -> Result<(), InspectError> {
        if !self.wants(run) {
            return Ok(());
        }
        let (file, run) = (self.name.clone(), Some(run.to_owned()));
        self.tell(Piece { file, position, bytes, kind, run, fields, event: None })
    }

    fn event(
        &mut self,
        (position, event): (u64, Bytes),
        run: &str,
        (offset, count): (u64, u64),
    ) -> Result<(), InspectError> {
        let mut fields = vec![("offset", Value::Number(offset))];
        if count > 1 {
            fields.push(("stands_for", Value::Number(count)));
        }
        self.tell(Piece {
            file: self.name.clone(),
            position,
            bytes: event.len() as u64,
            kind: "event",
            run: Some(run.to_owned()),
            fields,
            event: Some(event),
        })
    }

    fn damaged(&mut self, position: u64, end: u64, reason: &str) -> Result<(), InspectError> {
        self.is_damaged = true;
        let (file, bytes) = (self.name.clone(), end.saturating_sub(position));
        let fields = vec![("reason", text(reason))];
        self.tell(Piece { file, position, bytes, kind: "damaged", run: None, fields, event: None })
    }

    fn wants(&self, run: &str) -> bool {
        self.selection.run.as_ref().is_none_or(|wanted| wanted == run)
    }

    fn tell(&mut self, piece: Piece) -> Result<(), InspectError> {
        (self.show)(piece).map_err(InspectError::Output)
    }
}
