//! The manifest: a Frictionless Data Package (v1), also the arguments to make the same data set again.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::arguments::{Arguments, Format, Part};
use crate::cell::{Column, Kind, Table};
use crate::error::{ExportError, Result};
use crate::gather::Read;
use crate::staging::{CODEBOOK, CROISSANT, MANIFEST};
use crate::write::{Written, instant_text};

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its table; none for a page.
    pub(crate) part: Option<Part>,
    /// Its name.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) written: Written,
}

/// What a data set is.
#[derive(Debug)]
pub(crate) struct Description<'a> {
    /// What was asked for.
    pub(crate) arguments: &'a Arguments,
    /// The log's epoch.
    pub(crate) epoch: &'a str,
    /// What was read.
    pub(crate) read: Read,
    /// Its files.
    pub(crate) files: &'a [Listed],
}

impl Description<'_> {
    /// A name for it: `turnlog-0000000001-0000012345`.
    pub(crate) fn name(&self) -> String {
        let (first, last) = self.arguments.range();
        format!("turnlog-{first:010}-{last:010}")
    }

    /// What it is, in a sentence.
    pub(crate) fn about(&self) -> String {
        let (first, last) = self.arguments.range();
        let as_of = self.arguments.as_of;
        format!(
            "Conversations replayed from the event log of turnlog: what changed from sequence {first} to {last}, as it \
             stood at sequence {as_of}."
        )
    }

    /// When its newest event was stored: a data set knows no other clock.
    pub(crate) fn dated(&self) -> String {
        instant_text(self.read.last_at)
    }

    /// The manifest's text.
    pub(crate) fn manifest(&self) -> Result<String> {
        let (first, last) = self.arguments.range();
        let resources: Vec<_> = self.files.iter().map(|file| resource(file, self.arguments.format)).collect();
        let manifest = json!({
            "profile": "data-package",
            "name": self.name(),
            "title": format!("turnlog, sequences {first} to {last}"),
            "description": self.about(),
            "created": self.dated(),
            "licenses": [{"name": self.arguments.licence}],
            "resources": resources,
            "turnlog": {
                "program_version": env!("CARGO_PKG_VERSION"),
                "epoch": self.epoch,
                "sequence_range": {"first": first, "last": last},
                "arguments": self.arguments,
                "events_read": self.read.events,
                "unreadable_events": self.read.unreadable,
                "files": self.files.iter().map(digest).collect::<Vec<_>>(),
            },
        });
        pretty(&manifest)
    }
}

/// JSON for people, too.
pub(crate) fn pretty(value: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(ExportError::encode)?;
    Ok(text + "\n")
}

/// What is compared. Not in the resources alone, since there the official validator takes neither of Parquet.
fn digest(file: &Listed) -> Value {
    let Listed { part, path, written: Written { rows, bytes, sha256 } } = file;
    let mut digest = json!({"path": path, "bytes": bytes, "sha256": sha256});
    if part.is_some() {
        digest["rows"] = json!(rows);
    }
    digest
}

fn resource(file: &Listed, format: Format) -> Value {
    let Listed { part, path, written: Written { rows, bytes, sha256 } } = file;
    let mut resource = json!({"name": "", "path": path});
    if let Some(part) = part {
        let table = part.table();
        resource["name"] = json!(table.name);
        resource["profile"] = json!("tabular-data-resource");
        resource["description"] = json!(table.about);
        resource["format"] = json!(format.extension());
        resource["mediatype"] = json!(media_type(format));
        if format != Format::Parquet {
            resource["encoding"] = json!("utf-8");
        }
        if format == Format::Csv {
            resource["dialect"] = json!({"delimiter": ",", "lineTerminator": "\n", "quoteChar": "\"",
                                         "doubleQuote": true, "header": true});
        }
        resource["rows"] = json!(rows);
        resource["schema"] = schema(table, format);
    } else {
        let (name, kind) = if path == CODEBOOK {
            ("codebook", "text/markdown")
        } else {
            ("croissant", "application/ld+json")
        };
        debug_assert!(name == "codebook" || path == CROISSANT);
        (resource["name"], resource["mediatype"]) = (json!(name), json!(kind));
    }
    if part.is_none() || format != Format::Parquet {
        resource["bytes"] = json!(bytes);
        resource["hash"] = json!(format!("sha256:{sha256}"));
    }
    resource
}

/// The media type of a table's file.
pub(crate) fn media_type(format: Format) -> &'static str {
    match format {
        Format::Jsonl => "application/jsonlines",
        Format::Csv => "text/csv",
        Format::Parquet => "application/x-parquet",
    }
}

fn schema(table: &Table, format: Format) -> Value {
    let fields = table.columns.iter().map(|column| {
        let mut field = field(column, table.key);
        if format == Format::Parquet && column.kind == Kind::Integer && !column.required {
            // What the official validator makes of a null among numbers.
            field["missingValues"] = json!(["", "nan"]);
        }
        field
    });
    let fields: Vec<_> = fields.collect();
    json!({"fields": fields, "primaryKey": [table.key], "missingValues": [""]})
}

fn field(column: &Column, key: &str) -> Value {
    let kind = match column.kind {
        Kind::Integer => "integer",
        Kind::Boolean => "boolean",
        Kind::Instant => "datetime",
        // JSON may be an object, an array, or any other value; all are kept as texts.
        Kind::Text | Kind::Json => "string",
    };
    let mut field = json!({"name": column.name, "type": kind, "description": column.about});
    if column.required {
        field["constraints"] = json!({"required": true});
    }
    if column.name == key {
        field["constraints"]["unique"] = json!(true);
    }
    field
}

/// What is read of a manifest to make its data set again.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    /// How it was made.
    pub(crate) turnlog: Made,
}

/// A file that a manifest lists.
#[derive(Debug, Deserialize)]
pub(crate) struct Digest {
    /// Its name.
    pub(crate) path: String,
    /// Of its bytes, hexadecimal.
    pub(crate) sha256: String,
    /// None of a page.
    pub(crate) rows: Option<u64>,
}

/// How a data set was made.
#[derive(Debug, Deserialize)]
pub(crate) struct Made {
    /// By which version.
    pub(crate) program_version: String,
    /// From which log.
    pub(crate) epoch: String,
    /// With which arguments.
    pub(crate) arguments: Arguments,
    /// Its files but the manifest.
    pub(crate) files: Vec<Digest>,
}

impl Manifest {
    /// The manifest of the data set in a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                return ExportError::file(&path)(error);
            }
            let sentence = format!("{} holds no data set: it has no {MANIFEST}", folder.display());
            ExportError::Arguments(sentence)
        })?;
        serde_json::from_str(&text).map_err(|error| {
            ExportError::arguments(format!("{} is no manifest of turnlog's: {error}", path.display()))
        })
    }

    /// Names and hashes of the files.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.turnlog.files.iter().map(|file| (file.path.as_str(), file.sha256.as_str()))
    }
}
