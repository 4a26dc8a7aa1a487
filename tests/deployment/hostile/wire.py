"""Flower's objects as they travel, for a sender who writes them byte by byte."""

import hashlib
import io
import json
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from flwr.proto.message_pb2 import Message as Envelope
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_object_body


@dataclass(frozen=True)
class Piece:
    """An object: its kind, its body, and the objects that its head names."""

    kind: str
    body: bytes
    children: tuple["Piece", ...] = ()

    @cached_property
    def content(self):
        """The bytes that are uploaded."""
        names = ",".join(dict.fromkeys(child.id for child in self.children))
        return f"{self.kind} {names} {len(self.body)}".encode() + b"\0" + self.body

    @cached_property
    def id(self):
        """What others name it by, and what the SuperLink checks."""
        return hashlib.sha256(self.content).hexdigest()

    def tree(self):
        """The announcement of an upload."""
        return ObjectTree(object_id=self.id, children=[child.tree() for child in self.children])

    def contents(self):
        """Object id -> bytes, of the piece and all below it."""
        below = {key: content for child in self.children for key, content in child.contents().items()}
        return {**below, self.id: self.content}


def piece(found):
    """An object of Flower's as a piece."""
    children = tuple(piece(child) for child in (found.children or {}).values())
    return Piece(type(found).__qualname__, get_object_body(found.deflate(), type(found)), children)


def swap(top, kind, change):
    """The same piece with each one of a kind below it changed; those who name it name the new one."""
    if top.kind == kind:
        return change(top)
    children, body = tuple(swap(child, kind, change) for child in top.children), top.body
    for old, new in zip(top.children, children, strict=True):
        body = body.replace(old.id.encode(), new.id.encode())
    return Piece(top.kind, body, children)


def with_body(body):
    """A change of a piece: another body under the same head."""
    return lambda found: replace(found, body=body)


def with_data(data, chunks=(0,)):
    """A change of an Array: other bytes, and other references to its one chunk."""

    def change(array):
        described = json.loads(array.body) | {"arraychunk_ids": list(chunks)}
        return Piece("Array", json.dumps(described).encode(), (Piece("ArrayChunk", data),))

    return change


def saved(values):
    """An array in NumPy's format."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def header(shape, descr="'<f4'", data=bytes(8)):
    """NumPy's format with this text for the shape."""
    text = b"{'descr': %s, 'fortran_order': False, 'shape': %s}\n" % (descr.encode(), shape.encode())
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + data


def envelope(metadata, *children, error=None):
    """A message with these metadata around one piece, several or none."""
    sealed = Envelope(metadata=metadata, error=error)
    sealed.metadata.message_id = ""
    return Piece("Message", sealed.SerializeToString(deterministic=True), children)
