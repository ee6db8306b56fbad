"""A GPU that is not there: tensors that say they are on cuda or mps, held on the CPU.

Within ``pretended("cuda:0")`` ``device="cuda:0"`` works without a GPU. All is computed
on the CPU and equals what the CPU gives, but the rules of the device hold: tensors of
two devices do not mix, generators are of the device, mps has no float64. Kernels,
waits of the host, copies to and from it and the bytes that live on the device are
counted.

With ``real=False`` nothing is computed at all (meta tensors): counts and memory of
large planes in seconds; scalars that are read are then 0.5.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from napari_zssr.imaging.degrade import degradation
from napari_zssr.imaging.resample import resize_operator, sampling_operator
from napari_zssr.zssr import device as devices

# Operators that only name memory in another way, or take it.
NO_KERNEL = {
    f"aten::{name}"
    for name in [
        "detach",
        "alias",
        "lift_fresh",
        "_unsafe_view",
        "empty",
        "empty_like",
        "new_empty",
        "empty_strided",
        "new_empty_strided",
        "set_",
        "resize_",
        "record_stream",
        "is_same_size",
        "scalar_tensor",
        "_has_compatible_shallow_copy_type",
        "sym_size",
        "is_pinned",
        "_pin_memory",
        "equal",
    ]
}
# Kernels of operators that launch more than one on CUDA (cuDNN, float32, NCHW: forward
# and bias; gradients of data and weights with a zeroed workspace, and bias).
KERNELS = {
    "aten::convolution": 2,
    "aten::convolution_backward": 4,
    "aten::sort": 4,
    "aten::median": 3,
    "aten::linalg_inv_ex": 3,
    "aten::_fft_r2c": 2,
    "aten::_fft_c2r": 2,
}
# The host waits for these, since a size or a value is data.
WAITING = {
    f"aten::{name}"
    for name in [
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "equal",
        "_unique2",
        "is_nonzero",
        "linalg_inv_ex",
        "linalg_solve_ex",
    ]
}
# A CPU tensor is allowed as an index, and copied, for which the host waits.
INDEXING = {
    "aten::index",
    "aten::index_put_",
    "aten::index_put",
    "aten::_index_put_impl_",
}
COPYING = {"aten::_to_copy", "aten::copy_", "aten::copy", "aten::_foreach_copy_"}
# torch's allocator hands out blocks of so many bytes.
BLOCK_BYTES = 512
NO_FLOAT64 = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support "
    "float64."
)


@dataclass
class Counts:
    """What was done on a device, and for it.

    Attributes
    ----------
    kernels : launches
    waits : times that the host waited, of all kinds together
    uploads, downloads : copies to and from the device
    host_operators : operators on tensors of the host meanwhile
    flops : of convolutions and matrix products
    live_bytes, peak_bytes : of memory on the device
    """

    kernels: int = 0
    waits: int = 0
    uploads: int = 0
    downloads: int = 0
    host_operators: int = 0
    flops: int = 0
    live_bytes: int = 0
    peak_bytes: int = 0
    names: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def copy(self) -> Counts:
        """These counts as they are now."""
        now = {f.name: getattr(self, f.name) for f in fields(self)}
        return Counts(**{k: v.copy() if k in LISTS else v for k, v in now.items()})

    def since(self, before: Counts) -> Counts:
        """What was added since; memory as it is now."""
        now = self.copy()
        for name in ("kernels", "waits", "uploads", "downloads", "host_operators"):
            setattr(now, name, getattr(self, name) - getattr(before, name))
        now.flops -= before.flops
        now.names -= before.names
        now.reasons -= before.reasons
        return now

    def wait(self, reason: str) -> None:
        """Count one wait of the host."""
        self.waits += 1
        self.reasons[reason] += 1


LISTS = ("names", "reasons")


class Allocation:
    """Stands for memory as long as any tensor uses it."""


class DeviceTensor(torch.Tensor):
    """A tensor that says it is on another device; `inner` holds its values."""

    inner: torch.Tensor
    pretended_device: torch.device
    allocation: Allocation

    @staticmethod
    def __new__(cls: Any, inner: torch.Tensor, device: torch.device) -> DeviceTensor:
        # To torch's own C++ it is on meta, the one other device that autograd knows.
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            dtype=inner.dtype,
            storage_offset=inner.storage_offset(),
            device="meta",
            requires_grad=False,
            layout=inner.layout,
        )
        tensor.inner, tensor.pretended_device = inner, device
        return tensor  # type: ignore[no-any-return]

    @property
    def device(self) -> Any:
        return self.pretended_device

    @property
    def is_cuda(self) -> Any:
        return self.pretended_device.type == "cuda"

    @property
    def is_cpu(self) -> Any:
        return False

    @property
    def is_meta(self) -> Any:
        return False

    def __deepcopy__(self, memo: Any) -> Any:
        copied: Any = self.detach().clone()
        if getattr(self, "_is_param", False):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype}, {self.device})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # Only met outside the mode, as when a finalizer runs.
        raise RuntimeError(f"{func} outside of pretended()")


class DeviceMode(TorchDispatchMode):
    """Computes on the CPU, by the rules of a device."""

    scalar = 0.5

    def __init__(self, device: str, real: bool) -> None:
        super().__init__()
        self.pretended = torch.device(device if ":" in device else f"{device}:0")
        self.real = real
        self.counts = Counts()
        self._allocations: dict[int, weakref.ref[Allocation]] = {}

    def wrap(self, value: Any) -> Any:
        """A tensor of the CPU as one of the device; anything else as it is."""
        if not isinstance(value, torch.Tensor) or isinstance(value, DeviceTensor):
            return value
        wide = (torch.float64, torch.complex128)
        if self.pretended.type == "mps" and value.dtype in wide:
            raise TypeError(NO_FLOAT64)
        tensor = DeviceTensor(value, self.pretended)
        tensor.allocation = self._allocation(value)
        return tensor

    def _allocation(self, inner: torch.Tensor) -> Allocation:
        """The memory that a tensor and all that share it hold."""
        storage = inner.untyped_storage()
        known = self._allocations.get(storage._cdata)
        held = known() if known is not None else None
        if held is not None:
            return held
        size = -(-storage.nbytes() // BLOCK_BYTES) * BLOCK_BYTES
        held, counts = Allocation(), self.counts
        counts.live_bytes += size
        counts.peak_bytes = max(counts.peak_bytes, counts.live_bytes)
        self._allocations[storage._cdata] = weakref.ref(held)

        def free() -> None:
            counts.live_bytes -= size

        weakref.finalize(held, free)
        return held

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        flat, _ = tree_flatten((args, kwargs))
        name = func._schema.name
        on_device = [a for a in flat if isinstance(a, DeviceTensor)]
        on_host = [
            a
            for a in flat
            if isinstance(a, torch.Tensor) and not isinstance(a, DeviceTensor)
        ]
        target = kwargs.get("device")
        wanted = torch.device(target) if target is not None else None
        if name in COPYING:
            return self._copied(func, args, kwargs, wanted)
        if not on_device:
            if wanted is not None and self._is_here(wanted):
                return self._created(func, args, kwargs)
            self.counts.host_operators += 1
            return func(*args, **kwargs)
        self._check(func, name, on_device, on_host, kwargs)
        if name == "aten::_local_scalar_dense":
            return self._scalar(func, on_device[0])
        if wanted is not None:
            if wanted.type == "cpu":
                raise RuntimeError(f"{func} from {self.pretended} to cpu")
            kwargs.pop("device")
        return self._computed(func, name, args, kwargs)

    def _computed(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Do an operator on tensors of the device."""
        if name in WAITING:
            self.counts.wait(name)
        launches = name not in NO_KERNEL and not _is_view(func)
        if launches:
            self.counts.names[name] += 1
            self.counts.kernels += KERNELS.get(name, 1)
        inner_args = tree_map(self._open, args)
        inner_kwargs = tree_map(self._open, kwargs)
        if name in INDEXING and not self.real:
            inner_args = tree_map(_on_meta, inner_args)
        out = func(*inner_args, **inner_kwargs)
        if launches:
            self.counts.flops += _flops(name, inner_args, out)
        return return_and_correct_aliasing(func, args, kwargs, tree_map(self.wrap, out))

    def _scalar(self, func: Any, tensor: DeviceTensor) -> Any:
        self.counts.wait("aten::_local_scalar_dense")
        self.counts.downloads += 1
        if self.real:
            return func(tensor.inner)
        if tensor.dtype == torch.bool:
            return True
        return self.scalar if tensor.dtype.is_floating_point else 1

    def _open(self, value: Any) -> Any:
        if isinstance(value, DeviceTensor):
            return value.inner
        if isinstance(value, torch.Tensor) and not self.real and value.dim() == 0:
            return value.to("meta")
        if isinstance(value, torch.device) and value.type == self.pretended.type:
            return torch.device("cpu" if self.real else "meta")
        return value

    def _is_here(self, device: torch.device) -> bool:
        """Whether torch's C++ means this device; meta tensors proper are let be."""
        if device.type == self.pretended.type:
            return True
        return device.type == "meta" and torch._C._get_default_device() != "meta"

    def _check(
        self, func: Any, name: str, on_device: Any, on_host: Any, kwargs: Any
    ) -> None:
        """Refuse what the device would refuse."""
        self._check_generator(func, kwargs)
        for tensor in on_host:
            if tensor.is_meta and self.real:
                raise NotImplementedError(f"{func}: torch's C++ made a tensor on meta")
            if name in INDEXING and tensor.dtype in INDEX_TYPES:
                self.counts.uploads += 1
                self.counts.wait("index from the host")
            elif name.startswith(("aten::_foreach", "aten::_fused")):
                continue
            elif tensor.dim() > 0 or not _is_pointwise(func):
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least "
                    f"two devices, {self.pretended} and cpu! ({func})"
                )
        if name in INDEXING:
            for index in on_device:
                if index.dtype in (torch.bool, torch.uint8):
                    self.counts.wait("index by a mask")

    def _check_generator(self, func: Any, kwargs: Any) -> None:
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != self.pretended.type:
            raise RuntimeError(
                f"Expected a '{self.pretended.type}' device type for generator but "
                f"found '{generator.device.type}' ({func})"
            )

    def _created(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A new tensor on the device."""
        self._check_generator(func, kwargs)
        kwargs = kwargs | {"device": torch.device("cpu" if self.real else "meta")}
        kwargs.pop("pin_memory", None)
        if func._schema.name not in NO_KERNEL:
            self.counts.names[func._schema.name] += 1
            self.counts.kernels += 1
        return self.wrap(func(*args, **kwargs))

    def _copied(self, func: Any, args: Any, kwargs: Any, wanted: Any) -> Any:
        name = func._schema.name
        if name == "aten::_to_copy":
            return self._copied_to(func, args[0], kwargs, wanted or args[0].device)
        if name == "aten::copy_":
            return self._copied_into(func, *args[:2])
        self.counts.names[name] += 1
        self.counts.kernels += 1
        return func(*tree_map(self._open, args), **tree_map(self._open, kwargs))

    def _copied_to(self, func: Any, source: Any, kwargs: Any, goal: Any) -> Any:
        """A copy on a device, in perhaps another type."""
        kwargs = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory")}
        kwargs.pop("non_blocking", None)
        from_device = isinstance(source, DeviceTensor)
        inner = source.inner if from_device else source
        if self._is_here(goal):
            if from_device:
                self.counts.names["aten::_to_copy"] += 1
                self.counts.kernels += 1
            else:
                self.counts.uploads += 1
                self.counts.wait("copy to the device")
                inner = inner if self.real else inner.to("meta")
            out = func(inner, **kwargs)
            shared = out.untyped_storage()._cdata == inner.untyped_storage()._cdata
            return self.wrap(out.clone() if shared else out)
        if from_device:
            self.counts.downloads += 1
            self.counts.wait("copy to the host")
            return func(inner if self.real else self._values(inner), **kwargs).clone()
        self.counts.host_operators += 1
        return func(source, device=goal, **kwargs)

    def _copied_into(self, func: Any, into: Any, source: Any) -> Any:
        """Values copied into a tensor that is there."""
        inner = source.inner if isinstance(source, DeviceTensor) else source
        if isinstance(into, DeviceTensor):
            if isinstance(source, DeviceTensor):
                self.counts.names["aten::copy_"] += 1
                self.counts.kernels += 1
            else:
                self.counts.uploads += 1
                self.counts.wait("copy to the device")
                inner = inner if self.real else inner.to("meta")
            func(into.inner, inner)
            return into
        if isinstance(source, DeviceTensor):
            self.counts.downloads += 1
            self.counts.wait("copy to the host")
            func(into, inner if self.real else self._values(inner))
            return into
        self.counts.host_operators += 1
        return func(into, source)

    def _values(self, inner: torch.Tensor) -> torch.Tensor:
        """Values for the host where nothing was computed."""
        floats = inner.dtype.is_floating_point
        return torch.full(inner.shape, self.scalar if floats else 1, dtype=inner.dtype)


INDEX_TYPES = (torch.int64, torch.bool, torch.int32, torch.uint8)


def _on_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def _is_view(func: Any) -> bool:
    names = ("aten::_unsafe_view", "aten::_reshape_alias")
    return func._schema.name in names or bool(func.is_view)


def _is_pointwise(func: Any) -> bool:
    """Whether a scalar of the host may take part."""
    endings = ("where", "fill_", "copy_", "lerp", "lerp_", "masked_fill", "clamp")
    return torch.Tag.pointwise in func.tags or func._schema.name.endswith(endings)


def _flops(name: str, args: Any, out: Any) -> int:
    if name == "aten::convolution":
        return 2 * int(out.numel()) * int(args[1][0].numel())
    if name == "aten::convolution_backward":
        once = 2 * int(args[0].numel()) * int(args[2][0].numel())
        return once * (int(args[-1][0]) + int(args[-1][1]))
    if name in ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm"):
        return 2 * int(out.numel()) * int(args[-2].shape[-1])
    return 0


class NamesMode(TorchFunctionMode):
    """``mps`` and ``cuda`` with a number, since nothing here could add it."""

    NAMED = frozenset(
        [
            "to",
            "device",
            "zeros",
            "empty",
            "tensor",
            "as_tensor",
            "ones",
            "rand",
            "randn",
            "full",
            "arange",
            "eye",
            "new_zeros",
            "zeros_like",
        ]
    )

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.pretended = device

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__getitem__" and isinstance(args[0], DeviceTensor):
            # torch's C++ makes a tensor of a list, on the device of the tensor.
            given = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (args[0], tuple(map(self._listed, given)))
        if name == "tolist" and isinstance(args[0], DeviceTensor):
            return args[0].cpu().tolist()
        if name == "new_tensor" and isinstance(args[0], DeviceTensor):
            return torch.tensor(args[1], dtype=args[0].dtype).to(self.pretended)
        target = self._named(kwargs.get("device"))
        if name in ("tensor", "as_tensor") and target is self.pretended:
            # On the host first, and copied, as torch does.
            kwargs.pop("device")
            return func(*args, **kwargs).to(self.pretended)
        if name in self.NAMED:
            args = tuple(map(self._named, args))
            kwargs = {key: self._named(value) for key, value in kwargs.items()}
        return func(*args, **kwargs)

    def _named(self, value: Any) -> Any:
        kind = self.pretended.type
        if isinstance(value, str) and value == kind:
            return self.pretended
        if isinstance(value, torch.device) and value == torch.device(kind):
            return self.pretended
        return value

    def _listed(self, index: Any) -> Any:
        if isinstance(index, list):
            return torch.tensor(index).to(self.pretended)
        return index


class AutocastMode(TorchFunctionMode):
    """What ``torch.autocast`` does on CUDA to the operators that are used here."""

    LOWER = frozenset(
        [
            "conv2d",
            "matmul",
            "__matmul__",
            "__rmatmul__",
            "bmm",
            "mm",
            "linear",
            "einsum",
        ]
    )

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self._cast: dict[int, torch.Tensor] = {}

    def cast(self, value: Any) -> Any:
        """A float32 tensor of the device in the lower precision."""
        if not isinstance(value, DeviceTensor) or value.dtype != torch.float32:
            return value
        # Leaves that learn are cast once while the context lasts.
        if value.is_leaf and value.requires_grad and torch.is_grad_enabled():
            if id(value) not in self._cast:
                self._cast[id(value)] = value.to(self.dtype)
            return self._cast[id(value)]
        return value.to(self.dtype)

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        lower = getattr(func, "__name__", "") in self.LOWER
        if lower and _autocast_types[-1] is self.dtype:
            args, kwargs = tree_map(self.cast, (args, kwargs))
            with _autocast_to(None):
                return func(*args, **kwargs)
        return func(*args, **kwargs)


_autocast_types: list[torch.dtype | None] = [None]


@contextmanager
def _autocast_to(dtype: torch.dtype | None) -> Iterator[None]:
    _autocast_types.append(dtype)
    try:
        yield
    finally:
        _autocast_types.pop()


def _autocast(kind: str, original: Any) -> Callable[..., Any]:
    """``torch.autocast`` that knows the pretended kind of device."""

    @contextmanager
    def autocast(
        device_type: str,
        dtype: torch.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> Iterator[None]:
        if device_type != kind:
            with original(device_type, dtype, enabled):
                yield
        elif not enabled or dtype is None:
            with _autocast_to(None):
                yield
        else:
            with _autocast_to(dtype), AutocastMode(dtype):
                yield

    return autocast


def _is_autocast_enabled(kind: str, original: Any) -> Callable[[str], bool]:
    """``torch.is_autocast_enabled`` that knows the pretended kind of device."""

    def is_enabled(device_type: str) -> bool:
        if device_type == kind:
            return _autocast_types[-1] is not None
        return bool(original(device_type))

    return is_enabled


@contextmanager
def pretended(
    device: str = "cuda:0",
    *,
    real: bool = True,
    bfloat16: bool = True,
    free_bytes: int = 100 * 2**30,
) -> Iterator[DeviceMode]:
    """A context in which a device is there."""
    mode = DeviceMode(device, real)
    kind = mode.pretended.type
    kinds: list[Any] = [torch.Tensor, torch.nn.Parameter, DeviceTensor]
    foreach = "torch.utils._foreach_utils._foreach_supported_types"
    with ExitStack() as stack:
        enter = stack.enter_context
        for name, function in {
            "available_devices": lambda: (device, "cpu"),
            "free_bytes": lambda _: free_bytes,
            "description": lambda _: "pretended",
            "fast_bfloat16": lambda _: kind == "cuda" and bfloat16,
        }.items():
            enter(mock.patch.object(devices, name, function))
        enter(mock.patch("torch.autocast", _autocast(kind, torch.autocast)))
        casts = _is_autocast_enabled(kind, torch.is_autocast_enabled)
        enter(mock.patch("torch.is_autocast_enabled", casts))
        if not torch.cuda.is_available():
            enter(mock.patch("torch.cuda._lazy_init", return_value=None))
        enter(mock.patch("torch.optim.optimizer._foreach_supported_types", kinds))
        enter(mock.patch(foreach, kinds))
        # What one device was, and what was kept there, is nothing to the next.
        caches: list[Any] = [devices.failure_of]
        caches += [] if real else [resize_operator, sampling_operator, degradation]
        for cached in caches:
            cached.cache_clear()
            stack.callback(cached.cache_clear)
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(
            torch.__future__.set_overwrite_module_params_on_conversion, before
        )
        enter(NamesMode(mode.pretended))
        enter(mode)
        yield mode
