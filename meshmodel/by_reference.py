"""Many arrays handed to compiled code by one pointer; only where there is a compiler (`compiled.reference`).

numba hands an array over as seven numbers and more, so that a named tuple of ninety arrays costs hundreds of stores
each time that a function is called with it, and as many to unpack where Python calls.  A `Reference` keeps in a table
where the arrays are; compiled code is given the table's address, and reads from it what it uses.

What it reads are `Rows`: arrays whose indices are never negative.  Python's count from the end where they are, which
costs a comparison and, in arrays of records, a multiplication at every access.
"""

from __future__ import annotations

import operator
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.pythonapi import NativeValue
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, lower_builtin, lower_getattr_generic, models, register_model, unbox
from numba.np import arrayobj


class Reference:
    """The arrays of a named tuple, each C-contiguous, which must live as long as this is used."""

    def __init__(self, arrays: Any) -> None:
        self.arrays = arrays
        self.table = np.array([number for array in arrays for number in (array.ctypes.data, *array.shape, *array.strides)], np.int64)
        self.address = self.table.ctypes.data
        self._numba_type_ = _type(arrays._fields, tuple((array.dtype, array.ndim, array.flags.c_contiguous) for array in arrays))


class Rows(types.Array):
    """An array whose indices are never negative."""


register_model(Rows)(models.ArrayModel)


def _unsigned(context: Any, builder: ir.IRBuilder, kind: Any, index: ir.Value) -> tuple[types.Type, ir.Value]:
    """The index, the integers in it as ones that cannot be negative."""
    if isinstance(kind, types.BaseTuple):
        parts = zip(kind.types, cgutils.unpack_tuple(builder, index, len(kind)), strict=True)  # type: ignore[attr-defined]
        kinds, values = zip(*(_unsigned(context, builder, *part) for part in parts), strict=True)
        whole = types.Tuple(kinds)
        return whole, context.make_tuple(builder, whole, values)
    if isinstance(kind, types.Integer):
        return types.uintp, context.cast(builder, index, kind, types.uintp)
    return kind, index


@lower_builtin(operator.getitem, Rows, types.Integer)
@lower_builtin(operator.getitem, Rows, types.SliceType)
def _row(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    kind, index = _unsigned(context, builder, sig.args[1], args[1])
    return arrayobj.getitem_arraynd_intp(context, builder, sig.replace(args=(sig.args[0], kind)), (args[0], index))


@lower_builtin(operator.getitem, Rows, types.BaseTuple)
def _item(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    kind, index = _unsigned(context, builder, sig.args[1], args[1])
    return arrayobj.getitem_array_tuple(context, builder, sig.replace(args=(sig.args[0], kind)), (args[0], index))


@lower_builtin(operator.setitem, Rows, types.Any, types.Any)
def _set_item(context: Any, builder: ir.IRBuilder, sig: Any, args: Any) -> None:
    array, index, value = args
    kind, index = _unsigned(context, builder, sig.args[1], index)
    arrayobj.setitem_array(context, builder, sig.replace(args=(sig.args[0], kind, sig.args[2])), (array, index, value))


@lru_cache
def _type(names: tuple[str, ...], arrays: tuple[tuple[np.dtype, int, bool], ...]) -> ReferenceType:
    kinds = [Rows(numba.from_dtype(dtype), ndim, "C" if contiguous else "A") for dtype, ndim, contiguous in arrays]
    return ReferenceType(tuple(zip(names, kinds, strict=True)))


class ReferenceType(types.Type):
    """Its fields: (name, type of array), in the order of the table."""

    def __init__(self, fields: tuple[tuple[str, types.Array], ...]) -> None:
        self.fields = dict(fields)
        self.first, entries = {}, 0
        for name, array in fields:
            if array.layout != "C":
                raise TypeError(f"{name}: must be C-contiguous")
            self.first[name] = entries
            entries += 1 + 2 * array.ndim
        described = ", ".join(f"{name}: {array}" for name, array in fields)
        super().__init__(f"Reference({sha256(described.encode()).hexdigest()[:16]})")  # it stands in the name of every function


@register_model(ReferenceType)
class _Model(models.OpaqueModel):
    """A pointer."""


@infer_getattr
class _Fields(AttributeTemplate):
    key = ReferenceType

    def generic_resolve(self, typ: Any, attr: str) -> Any:  # type: ignore[override]
        return typ.fields.get(attr)


@lower_getattr_generic(ReferenceType)
def _field(context: Any, builder: ir.IRBuilder, typ: ReferenceType, value: ir.Value, attr: str) -> ir.Value:
    kind, whole = typ.fields[attr], context.get_value_type(types.intp)
    table = builder.bitcast(value, whole.as_pointer())

    def entry(number: int) -> ir.Value:
        loaded = builder.load(builder.gep(table, [whole(typ.first[attr] + number)]))
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))  # nobody changes the table: read once, not again
        return loaded

    array = arrayobj.make_array(kind)(context, builder)
    data = builder.inttoptr(entry(0), context.get_data_type(kind.dtype).as_pointer())
    shape = [entry(1 + axis) for axis in range(kind.ndim)]
    strides = [entry(1 + kind.ndim + axis) for axis in range(kind.ndim)]
    size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    arrayobj.populate_array(array, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()


@unbox(ReferenceType)
def _unbox(typ: ReferenceType, obj: Any, c: Any) -> NativeValue:
    number = c.pyapi.object_getattr_string(obj, "address")
    address = c.builder.inttoptr(c.pyapi.long_as_ulonglong(number), c.context.get_value_type(typ))
    c.pyapi.decref(number)
    return NativeValue(address)
