"""Models that the decoder can drive. `base` is the contract; docs/new_backbone.md adds one."""

try:
    import transformers as _transformers  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("sjd2.backbones needs transformers: pip install 'sjd2-kernels[decoder]'") from error

from .base import Attend, Backbone, Defaults, Dims, Memory, NoPictureDecoder, Prompt
from .emu3 import Emu3, Emu3Card
from .loading import estimate_memory, load_backbone, outline
from .lumina_mgpt import LuminaCard, LuminaMGPT
from .transformer import TransformersBackbone

__all__ = [
    "Attend",
    "Backbone",
    "Defaults",
    "Dims",
    "Emu3",
    "Emu3Card",
    "LuminaCard",
    "LuminaMGPT",
    "Memory",
    "NoPictureDecoder",
    "Prompt",
    "TransformersBackbone",
    "estimate_memory",
    "load_backbone",
    "outline",
]
