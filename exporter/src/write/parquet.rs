//! Parquet: row groups that gather in memory, column by column, and are encoded while the next one gathers.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::file::GrowingFile;
use super::stage::Stage;
use crate::cell::{Cell, Column, Kind, Row, Table};
use crate::error::{ExportError, Result};
use crate::limits::{GROUP_BYTES, GROUP_ROWS, GROUPS_AHEAD, ZSTD_LEVEL};

/// Who writes, as files say it. Never a version: the same data set has the same bytes next year.
const CREATED_BY: &str = "turnlog";

/// Rows that gather.
pub(crate) struct Group {
    table: &'static Table,
    columns: Vec<Gathered>,
    rows: usize,
    bytes: usize,
}

/// What gathers of one column.
struct Gathered {
    values: Values,
    /// 1 where there is a value, 0 where there is none; nothing in a column that is never null.
    levels: Vec<i16>,
    required: bool,
}

enum Values {
    Numbers(Vec<i64>),
    Booleans(Vec<bool>),
    Texts { bytes: Vec<u8>, ends: Vec<usize> },
}

impl Group {
    /// Empty.
    pub(crate) fn of(table: &'static Table) -> Self {
        let columns = table.columns.iter().map(|column| Gathered {
            values: match column.kind {
                Kind::Integer | Kind::Instant => Values::Numbers(Vec::new()),
                Kind::Boolean => Values::Booleans(Vec::new()),
                Kind::Text | Kind::Json => Values::Texts { bytes: Vec::new(), ends: Vec::new() },
            },
            levels: Vec::new(),
            required: column.required,
        });
        Self { table, columns: columns.collect(), rows: 0, bytes: 0 }
    }

    /// Takes a row; answers the group when it is full.
    pub(crate) fn take<R: Row>(&mut self, row: &R) -> Option<Self> {
        let (mut columns, mut bytes) = (self.columns.iter_mut(), 0);
        row.cells(|cell| {
            bytes += cell.size();
            if let Some(column) = columns.next() {
                column.take(cell);
            }
        });
        self.rows += 1;
        self.bytes += bytes;
        (self.rows == GROUP_ROWS || self.bytes >= GROUP_BYTES).then(|| self.rest())
    }

    /// What has gathered.
    pub(crate) fn rest(&mut self) -> Self {
        std::mem::replace(self, Self::of(self.table))
    }
}

impl Gathered {
    fn take(&mut self, cell: Cell<'_>) {
        if !self.required {
            self.levels.push(i16::from(cell != Cell::Null));
        }
        match (&mut self.values, cell) {
            (Values::Numbers(values), Cell::Integer(value) | Cell::Instant(value)) => values.push(value),
            (Values::Booleans(values), Cell::Boolean(value)) => values.push(value),
            (Values::Texts { bytes, ends }, Cell::Text(value)) => {
                bytes.extend_from_slice(value.as_bytes());
                ends.push(bytes.len());
            }
            (Values::Numbers(_) | Values::Booleans(_) | Values::Texts { .. }, other) => {
                debug_assert!(other == Cell::Null && !self.required, "a cell of another kind");
            }
        }
    }

    fn write(self, mut column: SerializedColumnWriter<'_>) -> parquet::errors::Result<()> {
        let levels = (!self.required).then_some(&self.levels[..]);
        match self.values {
            Values::Numbers(values) => column.typed::<Int64Type>().write_batch(&values, levels, None)?,
            Values::Booleans(values) => column.typed::<BoolType>().write_batch(&values, levels, None)?,
            Values::Texts { bytes, ends } => {
                let (whole, mut start) = (Bytes::from(bytes), 0);
                let cut = ends
                    .into_iter()
                    .map(|end| ByteArray::from(whole.slice(std::mem::replace(&mut start, end)..end)));
                let values: Vec<_> = cut.collect();
                column.typed::<ByteArrayType>().write_batch(&values, levels, None)?
            }
        };
        column.close()
    }
}

/// Encodes the groups of a table to a file, in a thread of its own.
pub(super) fn encoder(table: &'static Table, file: GrowingFile) -> Result<Stage<Group>> {
    let schema = schema(table).map_err(ExportError::encode)?;
    let properties = Arc::new(properties(table).map_err(ExportError::encode)?);
    let writer = SerializedFileWriter::new(file, schema, properties).map_err(ExportError::encode)?;
    let encode = move |groups| encode(writer, groups).map_err(ExportError::encode)?.finish();
    Ok(Stage::begin(GROUPS_AHEAD, encode))
}

/// Writes groups, nothing for one without rows, and then the end.
fn encode(
    mut file: SerializedFileWriter<GrowingFile>,
    groups: Receiver<Group>,
) -> parquet::errors::Result<GrowingFile> {
    for group in groups.into_iter().filter(|group| group.rows > 0) {
        let mut writer = file.next_row_group()?;
        for column in group.columns {
            if let Some(place) = writer.next_column()? {
                column.write(place)?;
            }
        }
        writer.close()?;
    }
    file.into_inner()
}

fn schema(table: &Table) -> parquet::errors::Result<TypePtr> {
    let fields = table.columns.iter().map(|column| field(column).map(Arc::new));
    let fields = fields.collect::<parquet::errors::Result<Vec<_>>>()?;
    Type::group_type_builder(table.name).with_fields(fields).build().map(Arc::new)
}

fn field(column: &Column) -> parquet::errors::Result<Type> {
    let (physical, logical) = match column.kind {
        Kind::Integer => (Physical::INT64, None),
        Kind::Instant => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        Kind::Boolean => (Physical::BOOLEAN, None),
        // Not as Parquet's JSON: some readers make bytes of that.
        Kind::Text | Kind::Json => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let repetition = if column.required { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    Type::primitive_type_builder(column.name, physical)
        .with_repetition(repetition)
        .with_logical_type(logical)
        .build()
}

/// Every choice that shows in the bytes is made here.
fn properties(table: &Table) -> parquet::errors::Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.into())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for column in table.columns {
        if matches!(column.kind, Kind::Integer | Kind::Instant) {
            let path = || ColumnPath::from(column.name);
            // They mostly count: differences are small, and a dictionary would hold every one.
            properties = properties
                .set_column_dictionary_enabled(path(), false)
                .set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        }
    }
    Ok(properties.build())
}
