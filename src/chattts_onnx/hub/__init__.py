"""Where models come from: a name, a repository or a directory becomes a path on this disk, local files first.

The downloader is the standard library's, not a hub package: nine files with pinned hashes need no more, and the base
install stays small. Nothing here touches the network unless ``fetch_checkpoint`` is called.
"""

from chattts_onnx.hub.checkpoint import fetch_checkpoint, find_in_hugging_face_cache
from chattts_onnx.hub.download import download_file
from chattts_onnx.hub.published import (
    LICENCE_NOTICE,
    PUBLISHED_FILES,
    REPOSITORY,
    SOURCES,
    PublishedFile,
    Source,
)
from chattts_onnx.hub.resolve import (
    GPU_PRECISIONS,
    PRECISIONS,
    ResolvedModel,
    cache_directory,
    pulled_directory,
    resolve_model,
)

__all__ = [
    "GPU_PRECISIONS",
    "LICENCE_NOTICE",
    "PRECISIONS",
    "PUBLISHED_FILES",
    "REPOSITORY",
    "SOURCES",
    "PublishedFile",
    "ResolvedModel",
    "Source",
    "cache_directory",
    "download_file",
    "fetch_checkpoint",
    "find_in_hugging_face_cache",
    "pulled_directory",
    "resolve_model",
]
