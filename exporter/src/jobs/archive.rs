//! A data set as one archive: a ZIP in which every file lies as it is, so that one of them is a range of it. The same data
//! set gives the same bytes: names, times and modes are fixed.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use super::record::{Made, MadeFile};
use crate::arguments::Arguments;
use crate::error::{ExportError, Result};
use crate::manifest::{Manifest, media_type};
use crate::staging::{CODEBOOK, CROISSANT, MANIFEST};
use crate::write::digest;

/// Bytes from which a file needs the fields of ZIP64.
const LARGE: u64 = u32::MAX as u64;

/// Packs the data set of a folder.
pub(crate) fn pack(arguments: &Arguments, folder: &Path, archive: &Path) -> Result<Made> {
    let manifest = Manifest::read(folder)?;
    let mut files: Vec<_> =
        manifest.turnlog.files.iter().map(|file| (file.path.as_str(), file.rows)).collect();
    // Whoever unpacks it has the manifest last, as whoever makes it.
    files.push((MANIFEST, None));
    let file = File::create(archive).map_err(ExportError::file(archive))?;
    let mut writer = ZipWriter::new(BufWriter::new(file));
    let mut made = Vec::new();
    for (path, rows) in files {
        let from = folder.join(path);
        let whole = digest(&from)?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .unix_permissions(0o644)
            .large_file(whole.bytes >= LARGE);
        writer.start_file(path, options).map_err(ExportError::encode)?;
        let mut content = File::open(&from).map_err(ExportError::file(&from))?;
        std::io::copy(&mut content, &mut writer).map_err(ExportError::file(archive))?;
        made.push(MadeFile {
            path: path.to_owned(),
            offset: 0,
            bytes: whole.bytes,
            sha256: whole.sha256,
            rows,
            media_type: type_of(arguments, path).to_owned(),
        });
    }
    let mut buffer = writer.finish().map_err(ExportError::encode)?;
    buffer.flush().map_err(ExportError::file(archive))?;
    drop(buffer);
    locate(archive, &mut made)?;
    let whole = digest(archive)?;
    let (first, last) = arguments.range();
    let name = format!("turnlog-{first:010}-{last:010}.zip");
    Ok(Made { name, bytes: whole.bytes, sha256: whole.sha256, files: made })
}

/// Finds where each file begins.
fn locate(archive: &Path, files: &mut [MadeFile]) -> Result<()> {
    let reader = BufReader::new(File::open(archive).map_err(ExportError::file(archive))?);
    let mut packed = ZipArchive::new(reader).map_err(ExportError::encode)?;
    for file in files {
        let found = packed.by_name(&file.path).map_err(ExportError::encode)?;
        let nowhere = || ExportError::encode("an archive does not tell where a file of it begins");
        file.offset = found.data_start().ok_or_else(nowhere)?;
    }
    Ok(())
}

fn type_of(arguments: &Arguments, path: &str) -> &'static str {
    match path {
        MANIFEST => "application/json",
        CROISSANT => "application/ld+json",
        CODEBOOK => "text/markdown; charset=utf-8",
        _ => media_type(arguments.format),
    }
}
