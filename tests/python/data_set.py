"""Reads a data set as other people's programs do.

stdin: {"folder": path, "tables": [names]}.
stdout: {"frictionless": what its validator complains of, "croissant": the same of Croissant's, and how many records it
reads, "readers": {tool: {table: {"types": {column: type}, "rows": [...]}}}}. Types and values are put in the words of the
manifest: string, integer, boolean, datetime; instants as RFC 3339 in UTC to the microsecond; null for what is not known.

Parquet files are read as they are. The others carry no types, so readers are told those of the manifest.
"""

import datetime
import json
import logging
import pathlib
import sys

import duckdb
import frictionless
import mlcroissant
import pandas
import polars
import pyarrow
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

UTC = datetime.timezone.utc


def value(one):
    """A value in the words of the manifest."""
    if one is None or one is pandas.NaT or one is pandas.NA or isinstance(one, float) and one != one:
        return None
    if isinstance(one, pandas.Timestamp):
        one = one.to_pydatetime()
    if isinstance(one, datetime.datetime):
        assert one.utcoffset() is not None, "an instant without an offset"
        return one.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(one, (bool, int, str)):
        return one
    return one.item()


def kind(text):
    """A tool's type in the words of the manifest."""
    text = str(text).lower()
    words = {
        "datetime": ["timestamp", "datetime", "time_zone"],
        "boolean": ["bool"],
        "integer": ["int", "bigint"],
        "string": ["string", "str", "varchar", "utf8", "large_string"],
    }
    for name, beginnings in words.items():
        if any(text.startswith(beginning) for beginning in beginnings):
            return name
    return text


def told(types, rows):
    return {"types": {name: kind(one) for name, one in types}, "rows": [{k: value(v) for k, v in row.items()} for row in rows]}


def by_pandas(path, fields):
    texts = {name: "string" for name, type in fields.items() if type == "string"}
    wholes = {name: "Int64" for name, type in fields.items() if type == "integer"}
    flags = {name: "boolean" for name, type in fields.items() if type == "boolean"}
    dates = [name for name, type in fields.items() if type == "datetime"]
    if path.suffix == ".parquet":
        frame = pandas.read_parquet(path, dtype_backend="numpy_nullable")
    elif path.suffix == ".csv":
        frame = pandas.read_csv(
            path, dtype=texts | wholes | flags, parse_dates=dates, keep_default_na=False, na_values=[""]
        )
    else:
        frame = pandas.read_json(path, lines=True, dtype=texts | wholes | flags, convert_dates=dates)
    for name in dates:
        frame[name] = pandas.to_datetime(frame[name], utc=True)
    return told(frame.dtypes.items(), frame.to_dict("records"))


def by_polars(path, fields):
    types = {"string": polars.String, "integer": polars.Int64, "boolean": polars.Boolean, "datetime": polars.String}
    schema = {name: types[type] for name, type in fields.items()}
    if path.suffix == ".parquet":
        frame = polars.read_parquet(path)
    elif path.suffix == ".csv":
        frame = polars.read_csv(path, schema=schema)
    else:
        frame = polars.read_ndjson(path, schema=schema)
    if path.suffix != ".parquet":
        dates = [name for name, type in fields.items() if type == "datetime"]
        frame = frame.with_columns(polars.col(dates).str.to_datetime(time_zone="UTC", time_unit="us"))
    return told(frame.schema.items(), frame.to_dicts())


def by_duckdb(path, fields):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    types = {"string": "VARCHAR", "integer": "BIGINT", "boolean": "BOOLEAN", "datetime": "TIMESTAMPTZ"}
    columns = {name: types[type] for name, type in fields.items()}
    if path.suffix == ".parquet":
        result = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
    elif path.suffix == ".csv":
        result = connection.execute(
            "SELECT * FROM read_csv(?, columns = $columns, header = true, quote = '\"', escape = '\"', "
            "strict_mode = true, max_line_size = 10000000)".replace("?", "$path"),
            {"path": str(path), "columns": columns},
        )
    else:
        result = connection.execute(
            "SELECT * FROM read_json($path, columns = $columns, format = 'newline_delimited')",
            {"path": str(path), "columns": columns},
        )
    names = [(one[0], one[1]) for one in result.description]
    # Its own rows need another package for instants.
    return told(names, result.to_arrow_table().to_pylist())


def by_pyarrow(path, fields):
    instant = pyarrow.timestamp("us", tz="UTC")
    types = {"string": pyarrow.string(), "integer": pyarrow.int64(), "boolean": pyarrow.bool_(), "datetime": instant}
    columns = {name: types[type] for name, type in fields.items()}
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
    elif path.suffix == ".csv":
        table = pyarrow.csv.read_csv(
            path,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=columns, strings_can_be_null=True, null_values=[""]),
        )
    else:
        # Its reader of JSON knows no offsets, so instants come as texts.
        texts = columns | {name: pyarrow.string() for name, type in fields.items() if type == "datetime"}
        options = pyarrow.json.ParseOptions(explicit_schema=pyarrow.schema(texts.items()))
        table = pyarrow.json.read_json(
            path, parse_options=options, read_options=pyarrow.json.ReadOptions(block_size=1 << 24)
        )
        for name in [name for name, type in fields.items() if type == "datetime"]:
            read = [one and datetime.datetime.fromisoformat(one) for one in table[name].to_pylist()]
            table = table.set_column(table.column_names.index(name), name, pyarrow.array(read, instant))
    return told([(field.name, field.type) for field in table.schema], table.to_pylist())


READERS = {"pandas": by_pandas, "polars": by_polars, "duckdb": by_duckdb, "pyarrow": by_pyarrow}


def complaints(folder):
    report = frictionless.validate(str(folder / "datapackage.json"))
    tasks = [error for task in report.tasks for error in task.errors]
    return {
        "valid": report.valid,
        "errors": [error.message for error in report.errors + tasks],
        "checked": [task.name for task in report.tasks],
    }


def croissant(folder, tables):
    data = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    issues = data.metadata.issues
    counted = {table: sum(1 for _ in data.records(record_set=table)) for table in tables}
    return {"errors": sorted(issues.errors), "warnings": sorted(issues.warnings), "records": counted}


def main():
    logging.disable(logging.CRITICAL)
    given = json.load(sys.stdin)
    folder = pathlib.Path(given["folder"])
    manifest = json.loads((folder / "datapackage.json").read_text())
    readers = {name: {} for name in READERS}
    for resource in manifest["resources"]:
        if resource["name"] not in given["tables"]:
            continue
        fields = {field["name"]: field["type"] for field in resource["schema"]["fields"]}
        for name, read in READERS.items():
            readers[name][resource["name"]] = read(folder / resource["path"], fields)
    answer = {"frictionless": complaints(folder), "croissant": croissant(folder, given["tables"]), "readers": readers}
    json.dump(answer, sys.stdout)


main()
