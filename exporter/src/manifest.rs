//! The manifest: a Frictionless Data Package (v1), also the arguments to make the same data set again.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::arguments::{Arguments, Deidentify, Format, Part};
use crate::cell::{Column, Kind, Table};
use crate::deid::{Done, summary};
use crate::error::{ExportError, Result};
use crate::gather::Read;
use crate::mapping::Mapping;
use crate::staging::{CODEBOOK, CROISSANT, DEIDENTIFICATION, MANIFEST};
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

/// Somebody who was erased: whoever holds an earlier data set of theirs has to take their rows out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Erased {
    /// As the tables name participants.
    pub(crate) participant_id: String,
    /// Where it stands in the log.
    pub(crate) sequence: u64,
    /// When.
    pub(crate) erased_at: DateTime<Utc>,
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
    /// Who was erased before it was made.
    pub(crate) erased: &'a [Erased],
    /// Its files.
    pub(crate) files: &'a [Listed],
    /// What was done so that it does not tell whom it is of.
    pub(crate) done: &'a Done,
}

impl Description<'_> {
    /// A name for it: `turnlog-0000000001-0000012345`.
    pub(crate) fn name(&self) -> String {
        if let Some(fingerprint) = self.done.fingerprint.as_ref().filter(|_| self.arguments.is_safe()) {
            return format!("turnlog-safe-harbor-{fingerprint}");
        }
        let (first, last) = self.arguments.range();
        format!("turnlog-{first:010}-{last:010}")
    }

    /// What it is, in a sentence.
    pub(crate) fn about(&self) -> String {
        let (first, last) = self.arguments.range();
        let as_of = self.arguments.as_of;
        if self.arguments.is_safe() {
            return SAFE.to_owned();
        }
        let done = self.done.applied;
        let told = match (done.pseudonymize, done.redact) {
            (true, true) => " Ids are pseudonyms; texts are masked, best effort: see DEIDENTIFICATION.md.",
            (true, false) => " Ids are pseudonyms; texts are as they were said: see DEIDENTIFICATION.md.",
            (false, true) => " Texts are masked, best effort; ids are in clear: see DEIDENTIFICATION.md.",
            (false, false) => "",
        };
        format!(
            "Conversations replayed from the event log of turnlog: what changed from sequence {first} to {last}, as it \
             stood at sequence {as_of}.{told}"
        )
    }

    /// What a column means in this data set.
    pub(crate) fn meaning(&self, column: &Column) -> String {
        let done = self.done.applied;
        let more = column.class.about(done.pseudonymize, done.redact);
        more.map_or(column.about.to_owned(), |more| format!("{} {more}", column.about))
    }

    /// When its newest event was stored: a data set knows no other clock.
    pub(crate) fn dated(&self) -> String {
        if self.arguments.is_safe() {
            // The year, as a date.
            return format!("{}-01-01", &instant_text(self.read.last_at)[..4]);
        }
        instant_text(self.read.last_at)
    }

    /// The manifest's text.
    pub(crate) fn manifest(&self) -> Result<String> {
        let (first, last) = self.arguments.range();
        let safe = self.arguments.is_safe();
        let resources: Vec<_> = self.files.iter().map(|file| self.resource(file)).collect();
        let mut manifest = json!({
            "profile": "data-package",
            "name": self.name(),
            "title": if safe { "turnlog, under Safe Harbor".to_owned() } else { format!("turnlog, sequences {first} to {last}") },
            "description": self.about(),
            "created": self.dated(),
            "licenses": [{"name": self.arguments.licence}],
            "resources": resources,
            "turnlog": {
                "program_version": env!("CARGO_PKG_VERSION"),
                "epoch": self.epoch,
                "sequence_range": {"first": first, "last": last},
                "arguments": self.arguments.told(),
                "events_read": self.read.events,
                "unreadable_events": self.read.unreadable,
                "erased": self.erased,
                "unknown_events": self.read.unknown,
                "files": self.files.iter().map(digest).collect::<Vec<_>>(),
            },
        });
        if let (true, Some(whole)) = (safe, manifest.as_object_mut()) {
            // What names a day or a place in the log.
            whole.remove("created");
            let made = whole.get_mut("turnlog").and_then(Value::as_object_mut);
            made.map(|made| {
                ["epoch", "sequence_range", "events_read", "unreadable_events"].map(|name| made.remove(name))
            });
        }
        if self.done.applied != Deidentify::default() {
            manifest["turnlog"]["deidentification"] = summary(self.done, self.arguments);
        }
        pretty(&manifest)
    }
}

/// What a data set under Safe Harbor is.
const SAFE: &str = "Conversations from the event log of turnlog, de-identified after HIPAA's Safe Harbor as far as a program can: \
                    random surrogates, years, whole hours, masked texts, best effort. See DEIDENTIFICATION.md.";

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

impl Description<'_> {
    fn resource(&self, file: &Listed) -> Value {
        let format = self.arguments.format;
        let Listed { part, path, written: Written { rows, bytes, sha256 } } = file;
        let mut resource = json!({"name": "", "path": path});
        if let Some(part) = part {
            let table = self.arguments.table(*part);
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
            resource["schema"] = self.schema(table);
        } else {
            let (name, kind) = match path.as_str() {
                CODEBOOK => ("codebook", "text/markdown"),
                CROISSANT => ("croissant", "application/ld+json"),
                path if path == DEIDENTIFICATION[0] => ("deidentification", "text/markdown"),
                _ => ("deidentification-counts", "application/json"),
            };
            (resource["name"], resource["mediatype"]) = (json!(name), json!(kind));
        }
        if part.is_none() || format != Format::Parquet {
            resource["bytes"] = json!(bytes);
            resource["hash"] = json!(format!("sha256:{sha256}"));
        }
        resource
    }

    fn schema(&self, table: &Table) -> Value {
        let fields = table.columns.iter().map(|column| {
            let mut field = self.field(column, table.key);
            if self.arguments.format == Format::Parquet && column.kind == Kind::Integer && !column.required {
                // What the official validator makes of a null among numbers.
                field["missingValues"] = json!(["", "nan"]);
            }
            field
        });
        let fields: Vec<_> = fields.collect();
        json!({"fields": fields, "primaryKey": [table.key], "missingValues": [""]})
    }

    fn field(&self, column: &Column, key: &str) -> Value {
        let kind = match column.kind {
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::Instant => "datetime",
            // JSON may be an object, an array, or any other value; all are kept as texts.
            Kind::Text | Kind::Json => "string",
        };
        let mut field = json!({"name": column.name, "type": kind, "description": self.meaning(column)});
        if column.required {
            field["constraints"] = json!({"required": true});
        }
        if column.name == key {
            field["constraints"]["unique"] = json!(true);
        }
        field
    }
}

/// The media type of a table's file.
pub(crate) fn media_type(format: Format) -> &'static str {
    match format {
        Format::Jsonl => "application/jsonlines",
        Format::Csv => "text/csv",
        Format::Parquet => "application/x-parquet",
    }
}

/// What is read of a manifest to make its data set again.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    /// How it was made.
    pub(crate) turnlog: Made,
}

/// A file that a manifest lists.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Digest {
    /// Its name.
    pub(crate) path: String,
    /// Of its bytes, hexadecimal.
    pub(crate) sha256: String,
    /// None of a page.
    pub(crate) rows: Option<u64>,
}

/// How a data set was made.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Made {
    /// By which version.
    pub(crate) program_version: String,
    /// From which log; a mapping tells it of a data set under Safe Harbor.
    #[serde(default)]
    pub(crate) epoch: String,
    /// With which arguments.
    pub(crate) arguments: Arguments,
    /// Its files but the manifest.
    pub(crate) files: Vec<Digest>,
    /// What was done so that it does not tell whom it is of.
    pub(crate) deidentification: Option<Deidentified>,
}

/// What is read of that.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Deidentified {
    /// Of the key.
    pub(crate) key_fingerprint: Option<String>,
}

impl Made {
    /// With what a mapping knows better.
    pub(crate) fn with(&self, mapping: Option<&Mapping>) -> Result<Self> {
        match (self.arguments.is_safe(), mapping) {
            (false, None) => Ok(self.clone()),
            (true, Some(Mapping { epoch, arguments, .. })) => {
                Ok(Self { epoch: epoch.clone(), arguments: arguments.clone(), ..self.clone() })
            }
            (true, None) => Err(ExportError::arguments(
                "the data set is one under Safe Harbor, with random surrogates: name the file of --keep-mapping with --mapping",
            )),
            (false, Some(_)) => {
                Err(ExportError::arguments("the data set has no mapping: leave --mapping out"))
            }
        }
    }
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
