"""Where snapshots are kept: a directory, or any file system that Arrow knows (`s3://`, `gs://`, ...).

<uri>/<app>/partition=<p>/<name>.parquet       rows; immutable, its name never used again
<uri>/<app>/partition=<p>/n=<number>.json      manifest, written when the file is complete
"""

from __future__ import annotations

import time
import uuid
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import fs

from consumer.errors import ConfigError
from consumer.masking import without_userinfo
from consumer.snapshots.manifest import Manifest, decode, encode

#: A file without a manifest is of a process that died if it is older than this: no snapshot takes as long.
ORPHAN_AGE_S: Final = 3600.0


class CountedFile:
    """A file being written that counts its bytes and their CRC-32."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream = stream
        self.bytes = self.crc32 = 0
        self.closed = False

    def write(self, data: bytes | memoryview) -> int:
        """Appends `data`."""
        self.crc32 = zlib.crc32(data, self.crc32)
        self._stream.write(data)
        self.bytes += len(data)
        return len(data)

    def tell(self) -> int:
        """Bytes written."""
        return self.bytes

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Completes the file."""
        if not self.closed:
            self.closed = True
            self._stream.close()


class SnapshotStore:
    """Files of one application under a URI. Methods raise OSError where the file system does.

    `uri` is for messages: without the credentials that it may have been given with.
    """

    def __init__(self, uri: str, app: str) -> None:
        """Raises `ConfigError` if the URI names no file system."""
        try:
            if "://" in uri:
                self._fs, root = fs.FileSystem.from_uri(uri)
            else:
                self._fs, root = fs.LocalFileSystem(), str(Path(uri).absolute())
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ConfigError(
                without_userinfo(f"snapshots.uri {uri!r} cannot be used: {error}"),
                "give a directory, or a URI such as file:///data, s3://bucket/path or gs://bucket/path",
            ) from None
        self.uri = without_userinfo(uri)
        self._root = f"{root.rstrip('/')}/{app}"
        self._is_local = isinstance(self._fs, fs.LocalFileSystem)

    def try_out(self) -> None:
        """Writes, reads and deletes a small file; folders that it made go again. Raises OSError."""
        path, content = f"{self._root}/probe-{uuid.uuid4().hex}", uuid.uuid4().bytes
        made = [p for p in Path(path).parents if not p.exists()] if self._is_local else []
        try:
            self._fs.create_dir(self._root, recursive=True)
            with self._fs.open_output_stream(path) as stream:
                stream.write(content)
            try:
                with self._fs.open_input_file(path) as file:
                    found = file.read()
            finally:
                self._fs.delete_file(path)
        finally:
            # Whoever runs this may be another user than the service, which could not write into them.
            for folder in made:
                with suppress(OSError):  # somebody else has begun to use it
                    folder.rmdir()
        if found != content:
            raise OSError(f"what was written to {path} was read back as something else")

    @property
    def place(self) -> str:
        """Where the files are, for messages: an absolute path, or the URI without credentials."""
        return self._root if self._is_local else self.uri

    def _folder(self, partition: int) -> str:
        return f"{self._root}/partition={partition}"

    def create(self, partition: int, name: str) -> CountedFile:
        """A new file of rows."""
        folder = self._folder(partition)
        self._fs.create_dir(folder, recursive=True)
        return CountedFile(self._fs.open_output_stream(f"{folder}/{name}"))

    def read(self, partition: int, name: str) -> pa.Buffer:
        """All of a file."""
        with self._fs.open_input_file(f"{self._folder(partition)}/{name}") as file:
            return file.read_buffer()

    def open(self, partition: int, name: str) -> pa.NativeFile:
        """A file to be read in pieces; whoever asks closes it."""
        return self._fs.open_input_file(f"{self._folder(partition)}/{name}")

    def partitions(self) -> list[int]:
        """Numbers of the partitions that have a folder, ascending."""
        names = [info.base_name for info in self._list(self._root, fs.FileType.Directory)]
        numbers = [name.removeprefix("partition=") for name in names]
        return sorted(int(number) for number in numbers if number.isdigit())

    def publish(self, manifest: Manifest) -> None:
        """Makes a snapshot valid; rows of one of the same commit, by a process before this one, go."""
        replaced = self._file_of(manifest.partition, manifest.n)
        path = f"{self._folder(manifest.partition)}/n={manifest.n}.json"
        # Objects appear at once; a local file is written beside its place and moved there.
        target = f"{path}.tmp" if self._is_local else path
        with self._fs.open_output_stream(target) as stream:
            stream.write(encode(manifest))
        if self._is_local:
            self._fs.move(target, path)
        if replaced is not None and replaced != manifest.file:
            self.delete(manifest.partition, replaced)

    def numbers(self, partition: int) -> list[int]:
        """Commit numbers of the snapshots of `partition`, newest first."""
        found = [
            int(info.base_name[2:-5])
            for info in self._files(partition)
            if info.base_name.startswith("n=") and info.base_name[2:-5].isdigit()
            and info.base_name.endswith(".json")
        ]  # fmt: skip
        return sorted(found, reverse=True)

    def manifest(self, partition: int, number: int) -> Manifest:
        """One manifest. Raises ValueError if it is damaged or of a later format."""
        return decode(self.read(partition, f"n={number}.json").to_pybytes())

    def delete(self, partition: int, name: str) -> None:
        """Removes a file, if it is there."""
        try:
            self._fs.delete_file(f"{self._folder(partition)}/{name}")
        except FileNotFoundError:
            return

    def prune(self, partition: int, keep: int) -> None:
        """Removes all but the newest `keep` snapshots, manifests first, and what dead processes left."""
        numbers = self.numbers(partition)
        named = {number: self._file_of(partition, number) for number in numbers}
        for number in numbers[keep:]:
            self.delete(partition, f"n={number}.json")
            if file := named[number]:
                self.delete(partition, file)
        for info in self._files(partition):
            age_s = time.time() - (info.mtime_ns or time.time_ns()) / 1e9
            is_named = info.base_name in named.values() or info.base_name.endswith(".json")
            if not is_named and age_s > ORPHAN_AGE_S:
                self.delete(partition, info.base_name)

    def _file_of(self, partition: int, number: int) -> str | None:
        try:
            return self.manifest(partition, number).file
        except (ValueError, FileNotFoundError):  # a restore passes over it
            return None

    def _files(self, partition: int) -> list[fs.FileInfo]:
        return self._list(self._folder(partition), fs.FileType.File)

    def _list(self, folder: str, kind: fs.FileType) -> list[fs.FileInfo]:
        """What of `kind` is in `folder`; nothing if it is not there. Raises OSError."""
        try:
            found = self._fs.get_file_info(fs.FileSelector(folder, allow_not_found=True))
        except FileNotFoundError:  # made by another process between Arrow's look into it and its look for it
            return []
        return [info for info in found if info.type == kind]
