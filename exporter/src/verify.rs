//! A data set compared with what the log gives for the same arguments.

use std::collections::BTreeMap;
use std::path::Path;

use shared::log::Log;
use shared::objects::Objects;

use crate::deid::{ExportKey, Pseudonyms};
use crate::error::{ExportError, Result};
use crate::manifest::{Made, Manifest};
use crate::mapping::Mapping;
use crate::progress::Progress;
use crate::run::make;
use crate::write::digest;

/// Files that are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Their names.
    pub files: Vec<String>,
}

/// What pseudonyms are made with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys<'a> {
    /// `EXPORT_KEY`.
    pub key: Option<&'a ExportKey>,
    /// What was kept of a data set under Safe Harbor.
    pub mapping: Option<&'a Path>,
}

/// Makes the data set of a folder again, in a temporary one, and compares.
///
/// # Errors
/// [`ExportError::Differs`] names every file that is not what its manifest says, or not what the log gives; the others
/// say why nothing could be compared.
pub async fn verify(
    log: &Log,
    objects: &Objects,
    folder: &Path,
    keys: Keys<'_>,
    progress: &Progress,
) -> Result<Verified> {
    let manifest = Manifest::read(folder)?;
    let mapping = keys.mapping.map(Mapping::read).transpose()?;
    let made = &manifest.turnlog.with(mapping.as_ref())?;
    if made.epoch != log.epoch() {
        return Err(ExportError::Differs(format!(
            "the data set was made from another log (epoch {}, and this one is {})",
            made.epoch,
            log.epoch()
        )));
    }
    let end = log.extent().await?.last;
    let as_of = made.arguments.as_of;
    if as_of > end {
        return Err(ExportError::Differs(format!(
            "the log ends at sequence {end}, before the data set's {as_of}"
        )));
    }
    let names = names_for(made, mapping.map(|mapping| mapping.key()).transpose()?.as_ref().or(keys.key))?;
    let mut differences = changed_since(folder, &manifest)?;
    let scratch = tempfile::Builder::new().prefix("turnlog-verify-").tempdir()?;
    let again = scratch.path().join("again");
    Box::pin(make(log, objects, made.arguments.clone(), names, &again, progress)).await?;
    let fresh = Manifest::read(&again)?;
    let fresh: BTreeMap<_, _> = fresh.files().collect();
    for (path, hash) in manifest.files() {
        if fresh.get(path) != Some(&hash) {
            differences.push(format!("{path}: the log gives another content now"));
        }
    }
    let listed: BTreeMap<_, _> = manifest.files().collect();
    for path in fresh.keys().filter(|path| !listed.contains_key(**path)) {
        differences.push(format!("{path}: the manifest does not list it"));
    }
    if differences.is_empty() {
        return Ok(Verified { files: listed.into_keys().map(str::to_owned).collect() });
    }
    let (version, own) = (&made.program_version, env!("CARGO_PKG_VERSION"));
    if version != own {
        differences.push(format!("the data set was made by version {version}, and this is {own}"));
    }
    Err(ExportError::Differs(differences.join("; ")))
}

/// What made its pseudonyms, where it has some.
fn names_for(made: &Made, key: Option<&ExportKey>) -> Result<Option<Pseudonyms>> {
    if !made.arguments.deidentify.pseudonymize {
        return Ok(None);
    }
    let names = key.map(Pseudonyms::under);
    let theirs = made.deidentification.as_ref().and_then(|told| told.key_fingerprint.as_deref());
    let ours = names.as_ref().map(Pseudonyms::fingerprint);
    if theirs == ours.as_deref() {
        return Ok(names);
    }
    let theirs = theirs.unwrap_or("unknown");
    Err(ExportError::arguments(match ours {
        None => {
            format!("the data set has pseudonyms: set EXPORT_KEY to the key with the fingerprint {theirs}")
        }
        Some(ours) => format!(
            "the data set has pseudonyms of the key with the fingerprint {theirs}, and that of EXPORT_KEY is {ours}"
        ),
    }))
}

/// Files of the folder that are not what the manifest says.
fn changed_since(folder: &Path, manifest: &Manifest) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for (path, hash) in manifest.files() {
        // A manifest is from outside: it names files of its own folder and no others.
        if Path::new(path).components().count() != 1 || path.starts_with('.') {
            differences.push(format!("{path:?}: no name of a file of a data set"));
            continue;
        }
        let file = folder.join(path);
        if !file.exists() {
            differences.push(format!("{path}: it is missing"));
        } else if digest(&file)?.sha256 != hash {
            differences.push(format!("{path}: it was changed since it was made"));
        }
    }
    Ok(differences)
}
