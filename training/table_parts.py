"""A table that is written part by part, so that a run that is stopped loses nothing of what it finished."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lens_transformers.data.writing import written_whole


# Rows that are read, and written to the table, at once: so many parts of one batch each.
PARTS_AT_ONCE = 200
WRITERS: dict[str, Any] = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}


class TableParts:
    """The finished rows of a table, as small Parquet files in a hidden folder beside where the table will be.

    Args:
        target: The table, or whatever else the run makes.
        made_by: What makes the rows.

    Raises:
        ValueError: If the folder has rows that something else made.
    """

    def __init__(self, target: Path, made_by: str):
        target = target.absolute()  # "." has no name
        self.folder = target.with_name(f".{target.name}.parts")
        self.metadata = {b"made_by": made_by.encode()}
        self.paths = sorted(self.folder.glob("*.parquet"))
        if self.paths and pq.read_schema(self.paths[0]).metadata[b"made_by"] != self.metadata[b"made_by"]:
            raise ValueError(
                f"{self.folder} holds what a stopped run with other checkpoints or options finished, or with these "
                "checkpoints before they were changed. Repeat its command to go on with it, or delete that folder to "
                "begin anew."
            )

    def __len__(self) -> int:
        """The number of rows."""
        return sum(pq.read_metadata(path).num_rows for path in self.paths)

    def stamps(self) -> dict[str, Any]:
        """What `add` was told of the files that the rows were made of."""
        return {
            file: stamp
            for path in self.paths
            for file, stamp in json.loads(pq.read_schema(path).metadata[b"stamps"]).items()
        }

    def add(self, columns: Mapping[str, Sequence[Any]], stamps: Mapping[str, Any]) -> None:
        """Writes rows, all of them or none.

        Args:
            columns: The rows.
            stamps: What tells each file that they were made of from what it may become, as JSON has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{len(self.paths):07d}.parquet"
        with written_whole(path) as temporary:
            metadata = {**self.metadata, b"stamps": json.dumps(stamps).encode()}
            pq.write_table(pa.table(dict(columns)).replace_schema_metadata(metadata), temporary)
        self.paths.append(path)

    def join(self, table: Path) -> None:
        """Writes all rows as one table, `.parquet` or `.csv`, a few parts at a time."""
        with (
            written_whole(table) as temporary,
            WRITERS[table.suffix](temporary, pq.read_schema(self.paths[0]).with_metadata(self.metadata)) as writer,
        ):
            for start in range(0, len(self.paths), PARTS_AT_ONCE):
                parts = [pq.read_table(path) for path in self.paths[start : start + PARTS_AT_ONCE]]
                writer.write_table(pa.concat_tables(parts))

    def remove(self) -> None:
        """Removes the parts."""
        shutil.rmtree(self.folder)
