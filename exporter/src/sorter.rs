//! Sorting in bounded memory: records gather, go to temporary files as sorted runs, and come back merged.
//!
//! The files have no name, so that nothing of them is left whatever happens to the program.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::limits::{SORT_BYTES, SORT_RUNS, SPILL_BUFFER};

/// Where a record lies in the memory of the sorter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    start: usize,
    key: usize,
    end: usize,
}

/// Takes records in any order.
#[derive(Debug)]
pub(crate) struct Sorter {
    folder: PathBuf,
    most: usize,
    bytes: Vec<u8>,
    places: Vec<Place>,
    runs: Vec<File>,
}

impl Sorter {
    /// With its temporary files in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::holding(folder, SORT_BYTES)
    }

    /// That holds so many bytes in memory.
    pub(crate) fn holding(folder: &Path, most: usize) -> Self {
        Self { folder: folder.to_owned(), most, bytes: Vec::new(), places: Vec::new(), runs: Vec::new() }
    }

    /// Takes a record. Of records with equal keys, the first stays first.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.places.push(Place { start, key: start + key.len(), end: self.bytes.len() });
        if self.bytes.len() + self.places.len() * size_of::<Place>() < self.most {
            return Ok(());
        }
        self.spill()
    }

    /// Everything, in the order of the keys.
    pub(crate) fn sorted(mut self) -> io::Result<Sorted> {
        if self.runs.is_empty() {
            self.sort();
            return Ok(Sorted::Held { bytes: self.bytes, places: self.places.into_iter() });
        }
        self.spill()?;
        Merge::of(self.runs).map(Sorted::Merged)
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.places.sort_by(|a, b| bytes[a.start..a.key].cmp(&bytes[b.start..b.key]));
    }

    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let mut run = Run::create(&self.folder)?;
        for Place { start, key, end } in self.places.drain(..) {
            run.write(&self.bytes[start..key], &self.bytes[key..end])?;
        }
        self.bytes.clear();
        self.runs.push(run.finish()?);
        if self.runs.len() < SORT_RUNS {
            return Ok(());
        }
        let mut one = Run::create(&self.folder)?;
        let mut merge = Merge::of(std::mem::take(&mut self.runs))?;
        while let Some((key, value)) = merge.next()? {
            one.write(key, value)?;
        }
        self.runs.push(one.finish()?);
        Ok(())
    }
}

/// Records in order.
#[derive(Debug)]
pub(crate) enum Sorted {
    /// All of them fitted.
    Held {
        /// What the places point to.
        bytes: Vec<u8>,
        /// In order.
        places: std::vec::IntoIter<Place>,
    },
    /// From files.
    Merged(Merge),
}

impl Sorted {
    /// The next key and value.
    pub(crate) fn next(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        match self {
            Self::Held { bytes, places } => {
                Ok(places.next().map(|Place { start, key, end }| (&bytes[start..key], &bytes[key..end])))
            }
            Self::Merged(merge) => merge.next(),
        }
    }
}

/// A run that is written.
struct Run(BufWriter<File>);

impl Run {
    fn create(folder: &Path) -> io::Result<Self> {
        Ok(Self(BufWriter::with_capacity(SPILL_BUFFER, tempfile::tempfile_in(folder)?)))
    }

    fn write(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        write_part(&mut self.0, key)?;
        write_part(&mut self.0, value)
    }

    fn finish(self) -> io::Result<File> {
        let mut file = self.0.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    }
}

/// Writes bytes with their length before them.
pub(crate) fn write_part(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(bytes)
}

/// Reads them again in place of what `bytes` holds; `false` at the end.
pub(crate) fn read_part(from: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    bytes.resize(u32::from_le_bytes(length) as usize, 0);
    from.read_exact(bytes)?;
    Ok(true)
}

/// A record's key, which run it is of, and its value.
type Head = (Vec<u8>, usize, Vec<u8>);

/// Several runs read as one.
#[derive(Debug)]
pub(crate) struct Merge {
    runs: Vec<BufReader<File>>,
    /// The next record of each run. Earlier runs hold what came earlier, so they go first where keys are equal.
    heads: BinaryHeap<Reverse<Head>>,
    /// What was handed out last.
    current: Head,
}

impl Merge {
    fn of(files: Vec<File>) -> io::Result<Self> {
        let runs = files.into_iter().map(|file| BufReader::with_capacity(SPILL_BUFFER, file)).collect();
        let mut merge = Self { runs, heads: BinaryHeap::new(), current: Default::default() };
        for run in 0..merge.runs.len() {
            merge.refill(run, Vec::new(), Vec::new())?;
        }
        Ok(merge)
    }

    fn refill(&mut self, run: usize, mut key: Vec<u8>, mut value: Vec<u8>) -> io::Result<()> {
        let from = &mut self.runs[run];
        if read_part(from, &mut key)? && read_part(from, &mut value)? {
            self.heads.push(Reverse((key, run, value)));
        }
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<(&[u8], &[u8])>> {
        let Some(Reverse(head)) = self.heads.pop() else { return Ok(None) };
        let (key, _, value) = std::mem::take(&mut self.current);
        self.refill(head.1, key, value)?;
        self.current = head;
        Ok(Some((&self.current.0, &self.current.2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and values as they come out.
    fn sorted(most: usize, records: &[(u32, u32)]) -> Vec<(u32, u32)> {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::holding(folder.path(), most);
        for (key, value) in records {
            sorter.push(&key.to_be_bytes(), &value.to_be_bytes()).unwrap();
        }
        let (mut sorted, mut found) = (sorter.sorted().unwrap(), Vec::new());
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        while let Some((key, value)) = sorted.next().unwrap() {
            found.push((number(key), number(value)));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a temporary file has a name");
        found
    }

    #[test]
    fn records_come_in_order_however_few_fit_in_memory() {
        // Each key twice, and the values tell which came first.
        let records: Vec<_> = (0..5_000).map(|n: u32| (n.wrapping_mul(2_654_435_761) % 2_500, n)).collect();
        let mut expected = records.clone();
        expected.sort_by_key(|(key, _)| *key);
        // From everything at once to a run for each few records, so many that runs are merged between.
        for most in [1_000_000, 10_000, 1_000, 300] {
            assert_eq!(sorted(most, &records), expected, "{most}");
        }
        assert_eq!(sorted(100, &[]), []);
    }
}
