//! Pages beside the data: the codebook for people, Croissant for tools. Both from the columns' one description.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::arguments::{Format, Part};
use crate::cell::{Column, Kind};
use crate::error::Result;
use crate::manifest::{Description, Listed, media_type, pretty};

/// The names that Croissant's documents use, as its specification gives them.
const CONTEXT: &str = include_str!("describe/context.json");

/// The codebook: what rows and columns mean.
pub(crate) fn codebook(description: &Description<'_>) -> String {
    let mut page = format!("# {}\n\n{}\n", description.name(), description.about());
    page.push_str(if description.arguments.is_safe() { SAFE_NOTES } else { NOTES });
    page.push_str(if description.done.applied.redact { MASKED } else { AS_SAID });
    if description.done.applied.pseudonymize && !description.arguments.is_safe() {
        page.push_str(PSEUDONYMS);
    }
    if description.arguments.format == Format::Csv {
        page.push_str(CSV_NOTES);
    }
    for (part, file) in tables(description) {
        let table = description.arguments.table(part);
        // Into a text, which takes everything.
        let _written = write!(
            page,
            "\n## {}\n\n{} File: `{}`, {} rows. A row is named by `{}`.\n\n| column | type | meaning |\n|---|---|---|\n",
            table.name, table.about, file.path, file.written.rows, table.key
        );
        for column in table.columns {
            let kind = kind_words(column);
            let _written = writeln!(page, "| `{}` | {kind} | {} |", column.name, description.meaning(column));
        }
    }
    page
}

const NOTES: &str = "
- A sequence names an event of the log. Data sets of adjoining ranges of sequences, made as of the same sequence, have no
  row in common and none is missing between them. Of data sets made one after the other, the later row of a key replaces
  the earlier one.
- Instants are in UTC, to the microsecond. Where somebody's clock gave the time, its offset is a column of its own.
- JSON in a column is a text; `null` means not known.
";

const SAFE_NOTES: &str = "
- Made under the profile Safe Harbor. Ids are random surrogates of this data set. Rows are in the order of surrogates.
- Years are in UTC. Hours count from the beginning of a conversation and are whole.
- `null` means not known, or shared by too few: DEIDENTIFICATION.md.
";

const AS_SAID: &str =
    "- What people said is as they said it: it may look like a formula, a command or markup. Nothing was changed.
";

const MASKED: &str = "- What people said is as they said it but for marks such as `[EMAIL]`, which stand where something gave itself away by
  its form. That is best effort and no anonymity: DEIDENTIFICATION.md. It may look like a formula, a command or markup.
";

const PSEUDONYMS: &str =
    "- Ids are pseudonyms, the same in every data set of the same key: DEIDENTIFICATION.md.
";

const CSV_NOTES: &str =
    "- In CSV an empty cell is `null`; no cell holds an empty text otherwise. Cells may hold line breaks.
";

fn kind_words(column: &Column) -> String {
    let kind = match column.kind {
        Kind::Integer => "integer",
        Kind::Boolean => "boolean",
        Kind::Instant => "instant",
        Kind::Text => "text",
        Kind::Json => "text, JSON",
    };
    if column.required { kind.into() } else { format!("{kind}, or null") }
}

fn tables<'d>(description: &'d Description<'_>) -> impl Iterator<Item = (Part, &'d Listed)> {
    description.files.iter().filter_map(|file| file.part.map(|part| (part, file)))
}

/// Croissant 1.0.
pub(crate) fn croissant(description: &Description<'_>) -> Result<String> {
    let context: Value = serde_json::from_str(CONTEXT).map_err(crate::error::ExportError::encode)?;
    let format = description.arguments.format;
    let files: Vec<_> = tables(description).map(|(part, file)| json!({
        "@type": "cr:FileObject", "@id": file.path, "name": file.path, "description": description.arguments.table(part).about,
        "contentUrl": file.path, "contentSize": format!("{} B", file.written.bytes),
        "encodingFormat": media_type(format), "sha256": file.written.sha256,
    })).collect();
    let sets: Vec<_> = tables(description).map(|(part, file)| record_set(description, part, file)).collect();
    pretty(&json!({
        "@context": context,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": description.name(),
        "description": description.about(),
        "citeAs": description.name(),
        "license": description.arguments.licence,
        "version": "1.0.0",
        "datePublished": description.dated(),
        "distribution": files,
        "recordSet": sets,
    }))
}

fn record_set(description: &Description<'_>, part: Part, file: &Listed) -> Value {
    let table = description.arguments.table(part);
    let id = |column: &str| format!("{}/{column}", table.name);
    let fields = table.columns.iter().map(|column| {
        json!({
            "@type": "cr:Field", "@id": id(column.name), "name": id(column.name), "description": description.meaning(column),
            "dataType": match column.kind {
                Kind::Integer => "sc:Integer",
                Kind::Boolean => "sc:Boolean",
                Kind::Instant => "sc:DateTime",
                Kind::Text | Kind::Json => "sc:Text",
            },
            "source": {"fileObject": {"@id": file.path}, "extract": {"column": column.name}},
        })
    });
    json!({
        "@type": "cr:RecordSet", "@id": table.name, "name": table.name, "description": table.about,
        "key": {"@id": id(table.key)}, "field": fields.collect::<Vec<_>>(),
    })
}
