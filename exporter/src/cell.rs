//! What rows are made of: cells of few kinds, in columns that are described once, for writers, schemas and codebook alike.

use crate::deid::Class;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number of 64 bits.
    Integer,
    /// Yes or no.
    Boolean,
    /// A point in time, to the microsecond.
    Instant,
    /// Any text.
    Text,
    /// A text that is JSON.
    Json,
}

/// One value. A text may be one of a column of texts or of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// Not known.
    Null,
    /// See [`Kind::Integer`].
    Integer(i64),
    /// See [`Kind::Boolean`].
    Boolean(bool),
    /// Microseconds since 1970, UTC.
    Instant(i64),
    /// See [`Kind::Text`].
    Text(&'a str),
}

impl<'a> Cell<'a> {
    /// A sequence or count. The log cannot reach the limit: it is 9 quintillion.
    pub(crate) fn number(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// Null where there is none.
    pub(crate) fn number_if(value: Option<u64>) -> Self {
        value.map_or(Self::Null, Self::number)
    }

    /// Null where there is none.
    pub(crate) fn text_if(value: Option<&'a str>) -> Self {
        value.map_or(Self::Null, Self::Text)
    }

    /// Null where there is none.
    pub(crate) fn instant_if(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Instant)
    }

    /// Bytes of memory that it stands for.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Null | Self::Integer(_) | Self::Boolean(_) | Self::Instant(_) => 8,
        }
    }
}

/// A column, described.
#[derive(Debug)]
pub(crate) struct Column {
    /// Its name in files.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Never null.
    pub(crate) required: bool,
    /// What becomes of it where nobody is to be told from it.
    pub(crate) class: Class,
    /// What it means, for readers of the data set.
    pub(crate) about: &'static str,
}

/// A table, described.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name, also the beginning of its file's.
    pub(crate) name: &'static str,
    /// What a row is.
    pub(crate) about: &'static str,
    /// The column that names a row.
    pub(crate) key: &'static str,
    /// Its columns, in the order of the files.
    pub(crate) columns: &'static [Column],
}

/// A row of a table.
pub(crate) trait Row {
    /// Hands its cells to `each`, in the order of the table's columns.
    fn cells(&self, each: impl FnMut(Cell<'_>));
}

/// Defines a table and how a row becomes its cells, column by column: the one place where a column is named.
macro_rules! table {
    (
        $(#[$doc:meta])* $table:ident of $row:ident, $name:literal by $key:literal: $about:literal;
        $($column:ident: $kind:ident $need:ident as $class:expr, $cell:expr, $says:literal;)+
    ) => {
        $(#[$doc])*
        pub(crate) static $table: $crate::cell::Table = $crate::cell::Table {
            name: $name,
            about: $about,
            key: $key,
            columns: &[$($crate::cell::Column {
                name: stringify!($column),
                kind: $crate::cell::Kind::$kind,
                required: $crate::cell::table!(@ $need),
                class: $class,
                about: $says,
            }),+],
        };

        impl $crate::cell::Row for $row<'_> {
            fn cells(&self, mut each: impl FnMut($crate::cell::Cell<'_>)) {
                $({
                    let cell: for<'r> fn(&'r $row<'r>) -> $crate::cell::Cell<'r> = $cell;
                    each(cell(self));
                })+
            }
        }
    };
    (@ required) => { true };
    (@ optional) => { false };
}
pub(crate) use table;
