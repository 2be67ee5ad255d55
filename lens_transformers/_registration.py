"""Makes transformers' Auto classes know LensMAE without importing transformers before the user does.

`AutoModel.register` needs the classes themselves, and importing those costs seconds. So nothing is registered until
transformers imports the module that holds an Auto class: a finder at the head of `sys.meta_path` sees that import and
registers right after it, through the public `register` methods alone.

"Right after" is when the outermost import of a transformers module has finished, not when the Auto module has: it is
often imported from the middle of another (`modeling_layers` imports `AutoModel`, and our model imports
`modeling_layers`), and registering there would import our model from half a module.
"""

import contextlib
import functools
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType


def install() -> None:
    """Register LensMAE with the Auto classes that are imported already, and with the others once they are."""
    if not any(isinstance(finder, _AutoImportWatcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AutoImportWatcher())
    _register_where_imported()


def _register_config() -> None:
    from transformers import AutoConfig

    from .models.lens_mae import LensMAEConfig

    AutoConfig.register(LensMAEConfig.model_type, LensMAEConfig, exist_ok=True)


def _register_models() -> None:
    from transformers import (
        AutoModel,
        AutoModelForImageClassification,
        AutoModelForImageToImage,
        AutoModelForPreTraining,
    )

    from .models.lens_mae import (
        LensMAEConfig,
        LensMAEForClassification,
        LensMAEForPreTraining,
        LensMAEForSuperResolution,
        LensMAEModel,
    )

    AutoModel.register(LensMAEConfig, LensMAEModel, exist_ok=True)
    AutoModelForPreTraining.register(LensMAEConfig, LensMAEForPreTraining, exist_ok=True)
    AutoModelForImageClassification.register(LensMAEConfig, LensMAEForClassification, exist_ok=True)
    AutoModelForImageToImage.register(LensMAEConfig, LensMAEForSuperResolution, exist_ok=True)


def _register_image_processor() -> None:
    from transformers import AutoImageProcessor

    from .models.lens_mae import LensMAEConfig, LensMAEImageProcessor

    # One class computes in torch whichever backend is asked for.
    backends: dict[str, type] = {"pil": LensMAEImageProcessor, "torchvision": LensMAEImageProcessor}
    AutoImageProcessor.register(LensMAEConfig, image_processor_classes=backends, exist_ok=True)


_pending: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": _register_config,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.image_processing_auto": _register_image_processor,
}


def _register_where_imported() -> None:
    # A registration imports further transformers modules, so each is taken off the list before it runs.
    while imported := [name for name in _pending if name in sys.modules]:
        _pending.pop(imported[0])()


class _AutoImportWatcher(importlib.abc.MetaPathFinder):
    """Finds nothing itself: it hands on what the other finders find, told to report when the module has run."""

    def __init__(self) -> None:
        # Per thread: where two threads import at once, the import system's own locks make one wait for the other.
        self._importing = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not _pending or fullname.partition(".")[0] not in ("transformers", __package__):
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                self._watch(spec)
                return spec
        return None

    def _watch(self, spec: importlib.machinery.ModuleSpec) -> None:
        loader = spec.loader
        if loader is None:  # a namespace package runs no code
            return
        run = loader.exec_module

        @functools.wraps(run)
        def run_then_register(module: ModuleType) -> None:
            with self._one_deeper():
                run(module)
            if self._importing.depth == 0:
                _register_where_imported()

        # Set on this one loader, so that its type and everything else that is asked of it stay as they were.
        loader.exec_module = run_then_register  # type: ignore[method-assign]

    @contextlib.contextmanager
    def _one_deeper(self) -> Iterator[None]:
        self._importing.depth = getattr(self._importing, "depth", 0) + 1
        try:
            yield
        finally:
            self._importing.depth -= 1
