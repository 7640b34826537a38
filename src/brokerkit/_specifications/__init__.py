"""Specifications in and compared: AsyncAPI documents, JSON Schemas and families as one form, `Specification`."""

from brokerkit._specifications._evolution import Change, changes
from brokerkit._specifications._model import Schema, Specification
from brokerkit._specifications._modules import module_text
from brokerkit._specifications._reading import read

__all__ = ["Change", "Schema", "Specification", "changes", "module_text", "read"]
