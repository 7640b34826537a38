"""Protobuf, by classes that protoc generated. A schema registry says which message of which file a body is."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Final

from brokerkit._errors import DecodeError, InvalidMessage

json_format: Any = import_module("google.protobuf.json_format")  # of an extra, and without types
descriptors: Any = import_module("google.protobuf.descriptor_pb2")
message: Any = import_module("google.protobuf.message")

_WORDS: Final = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[\w.]+|[{};]""", re.DOTALL)


@dataclass(slots=True, eq=False)
class _Names:
    """The messages that a file, or a message, declares, in order."""

    name: str
    inside: list[_Names] = field(default_factory=list["_Names"])


def _described(made: Any) -> _Names:
    return _Names(made.name, [_described(each) for each in made.nested_type])


@dataclass(frozen=True, slots=True, eq=False)
class ProtobufSchema:
    """What a schema of the registry says: the names of the messages in a file."""

    _file: _Names
    indexed: ClassVar[bool] = True

    @classmethod
    def of(cls, text: str, references: Sequence[str] = ()) -> ProtobufSchema:
        """Read the names in a file: its text, or its descriptor in base64, as Confluent's Python client registers it.

        Other types that it uses are of no interest.
        """
        file = _Names("")
        with suppress(ValueError, message.DecodeError):
            made = descriptors.FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
            return cls(_Names(made.package, [_described(each) for each in made.message_type]))
        open_blocks: list[_Names | None] = [file]
        words: list[str] = []
        for word in _WORDS.findall(text):
            if word.startswith(("//", "/*")):
                continue
            if word == "{":
                around = open_blocks[-1]
                block: _Names | None = None
                if len(words) > 1 and words[-2] == "message" and around is not None:
                    around.inside.append(block := _Names(words[-1]))
                open_blocks.append(block)
            elif word == "}":
                if len(open_blocks) > 1:
                    open_blocks.pop()
            elif word == ";" and len(words) > 1 and words[0] == "package":
                file.name = words[1]
            if word in ("{", "}", ";"):
                words = []
            else:
                words.append(word)
        return cls(file)

    def full_name(self, path: Sequence[int] = ()) -> str:
        """The full name of the message at a place in the file.

        Raises:
            DecodeError: the file has no such message.
        """
        names, at = [self._file.name] if self._file.name else [], self._file
        for index in path:
            if not 0 <= index < len(at.inside):
                raise DecodeError(f"the file has no message {'.'.join(map(str, path))}")
            at = at.inside[index]
            names.append(at.name)
        return ".".join(names)

    def read(self, body: bytes, path: Sequence[int], own: object = None) -> Any:
        """Read one message with its generated class.

        Raises:
            DecodeError: the settings have no class for it. What protobuf raises has other classes.
        """
        if not isinstance(own, ProtobufClass):
            raise DecodeError(f"it is a {self.full_name(path)}: name its generated class in registry.schemas")
        return as_dict(own.message.FromString(body))

    def write(self, value: bytes) -> bytes:
        """A file alone cannot be written with.

        Raises:
            InvalidMessage: always.
        """
        raise InvalidMessage("name the event's generated class in registry.schemas")


@dataclass(frozen=True, slots=True, eq=False)
class ProtobufClass:
    """A class that protoc generated.

    Attributes:
        message: the class.
        text: its file, as Confluent's registry takes it besides text.
        path: where it is in its file.
    """

    message: Any
    text: str
    path: list[int]

    @classmethod
    def of(cls, message: Any) -> ProtobufClass:
        """Describe a class."""
        descriptor: Any = message.DESCRIPTOR
        path: list[int] = []
        at: Any = descriptor
        while at is not None:
            around = at.containing_type
            beside = descriptor.file.message_types_by_name.values() if around is None else around.nested_types
            path.insert(0, [one.name for one in beside].index(at.name))
            at = around
        file = descriptors.FileDescriptorProto()
        descriptor.file.CopyToProto(file)
        return cls(message, base64.b64encode(file.SerializeToString()).decode(), path)

    def full_name(self, path: Sequence[int] = ()) -> str:
        """The full name of the message."""
        return str(self.message.DESCRIPTOR.full_name)

    def write(self, value: bytes) -> bytes:
        """Write one event, given as JSON. What protobuf raises where it does not fit has classes of its own."""
        written: bytes = json_format.Parse(value, self.message()).SerializeToString(deterministic=True)
        return written


def as_dict(message: Any) -> dict[str, Any]:
    """Return the fields of a message by their names in its file, except those that can be absent and are.

    ``json_format`` would make text of 64-bit integers and of bytes.
    """
    fields: Mapping[str, Any] = message.DESCRIPTOR.fields_by_name
    return {
        name: _value(one, getattr(message, name))
        for name, one in fields.items()
        if not one.has_presence or message.HasField(name)
    }


def _value(one: Any, value: Any) -> Any:
    kind = one.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        return {key: _single(inner, each) for key, each in value.items()}
    if one.is_repeated:
        return [_single(one, each) for each in value]
    return _single(one, value)


def _single(one: Any, value: Any) -> Any:
    if one.message_type is not None:
        if one.message_type.full_name.startswith("google.protobuf."):
            return json_format.MessageToDict(value)  # times, durations, wrappers and structures as JSON has them
        return as_dict(value)
    if one.enum_type is not None:
        known = one.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value
